package tui

import (
	"fmt"
	"io"
	"sync"
	"time"

	"bela/event"
	"bela/live"
)

// Plain tells a run in lines, for pipes, files and CI. It writes no escape
// code, ever. Every line begins with the time since the run's start; the first
// one holds the time of day.
type Plain struct {
	queue    *queue
	progress time.Duration
	once     sync.Once
	err      error

	mu    sync.Mutex
	state live.State
	told  time.Time // of the last progress line
}

// NewPlain returns a plain view that writes to w.
func NewPlain(w io.Writer, opts Options) *Plain {
	opts = opts.withDefaults()
	return &Plain{queue: newQueue(w, opts.CloseTimeout), progress: opts.Progress, state: live.New()}
}

// Handle implements View.
func (p *Plain) Handle(e event.Event) {
	if e.Data == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.state.Handle(e) {
		w := kept
		if n.Chat {
			w = chat
		}
		p.line(n.At, n.Text, w)
	}
	switch d := e.Data.(type) {
	case event.PhaseStarted:
		// The first progress line of a phase comes one interval into it.
		p.told = e.Time
	case event.Load:
		p.tell(e.Time, p.state.SayProgress)
	case event.NodeSample:
		if len(p.state.Waiting) > 0 {
			p.tell(e.Time, func() string { return p.state.SayStillWaiting(d.Position) })
		}
	}
}

// tell writes a progress line where one is due. The times are the events', so
// that the same events always give the same lines.
func (p *Plain) tell(at time.Time, text func() string) {
	if at.Sub(p.told) < p.progress {
		return
	}
	p.told = at
	p.line(at.Sub(p.state.Start), text(), sample)
}

func (p *Plain) line(at time.Duration, text string, w weight) {
	if w == kept {
		if n := p.queue.leftOut(); n > 0 {
			p.queue.put(fmt.Appendf(nil, "%s %d messages left out: the reader of this output is slow\n", live.Clock(at), n), kept, "")
		}
	}
	p.queue.put(fmt.Appendf(nil, "%s %s\n", live.Clock(at), text), w, "progress")
}

// say writes a line that is about the view itself.
func (p *Plain) say(text string) { p.queue.put([]byte(live.Clean(text)+"\n"), kept, "") }

// Close implements View.
func (p *Plain) Close() error {
	p.once.Do(func() { p.err = p.queue.close() })
	return p.err
}
