package campaign

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"bela/agents/protocol"
)

// Control lets whoever watches a run step in. Its zero value is ready: it takes
// hold of a run by being in the run's Config. Its methods may be called from
// any goroutine, and do not wait for what they ask for.
type Control struct {
	mu   sync.Mutex
	run  *runner // nil before and after the run
	stop context.CancelCauseFunc
}

var errNoRun = errors.New("no run is in progress")

// take gives the control a run, or takes it away.
func (c *Control) take(r *runner, stop context.CancelCauseFunc) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run, c.stop = r, stop
}

// SkipCell gives up the cell at a position, which must be the one in progress,
// and goes on with the next. The cell has no result then: it counts as missing,
// and a resumed run runs it. by says who wants it.
func (c *Control) SkipCell(position int, by string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil {
		return errNoRun
	}
	return c.run.skip(position, by)
}

// StopRun ends the run as the first Ctrl-C does: cleanly, with what is finished
// kept.
func (c *Control) StopRun() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil {
		return errNoRun
	}
	c.stop(ErrInterrupted)
	return nil
}

// skipError is a cell that was given up on purpose.
type skipError struct{ by string }

func (e *skipError) Error() string { return "skipped by " + e.by }

// skip ends the cell in progress, if it is the one at the position.
func (r *runner) skip(position int, by string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.current
	if c == nil || c.cell.Position != position {
		return fmt.Errorf("cell %d is not running: only the cell in progress can be skipped", position)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skipped == nil {
		c.skipped = &skipError{protocol.Clip(by, protocol.MaxText)}
	}
	if c.cause != nil {
		c.cause(c.skipped)
	}
	return nil
}

// endCurrent ends the time in which the cell in progress can be skipped, and says
// whether it was.
func (r *runner) endCurrent() *skipError {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.current
	r.current = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skipped
}
