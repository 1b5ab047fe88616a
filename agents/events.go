package agents

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"bela/agents/protocol"
	"bela/agents/spool"
)

// eventLog numbers events and keeps the newest in a spool, so that a controller
// whose link broke gets what it missed. One that was away for longer than the
// spool holds sees a gap in the numbers.
type eventLog struct {
	now func() int64

	mu      sync.Mutex
	spool   *spool.Spool
	changed chan struct{} // closed and replaced at every append
	failing bool          // the last event is not on disk
}

// newEventLog opens the spool of a run in the working directory; an agent that
// died may have left events in it, which are told before those to come.
func newEventLog(run string, now func() int64) (*eventLog, error) {
	s, found, err := spool.Open(spool.Options{Dir: eventDir, Label: run, Limit: eventDiskBytes, Tail: eventTailBytes})
	if err != nil {
		return nil, fmt.Errorf("open the events' spool: %w", err)
	}
	l := &eventLog{now: now, spool: s, changed: make(chan struct{})}
	if found.Torn > 0 {
		l.log("warn", "", fmt.Sprintf("an agent before this one died while it wrote an event: %d events are kept and %d bytes dropped", found.Records, found.Torn))
	}
	return l, nil
}

func (l *eventLog) close() { l.spool.Close() }

// append numbers e and keeps it.
func (l *eventLog) append(e protocol.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// keep tells, once, that the disk takes no more events, and that it does again.
// The caller holds mu.
func (l *eventLog) keep(e protocol.Event) {
	err := l.put(e)
	if failing := err != nil; failing != l.failing {
		l.failing = failing
		_ = l.put(protocol.Event{Log: l.diskChanged(err)})
	}
}

// put writes one event. The caller holds mu.
func (l *eventLog) put(e protocol.Event) error {
	e.Seq = l.spool.Next()
	body, err := json.Marshal(e)
	if err != nil {
		// Only a NaN in a sample could do this; say so instead of losing the number.
		body, _ = json.Marshal(protocol.Event{Seq: e.Seq, Log: &protocol.LogEvent{Level: "error", Text: "an event could not be encoded: " + err.Error()}})
	}
	return l.spool.Append(body)
}

func (l *eventLog) diskChanged(err error) *protocol.LogEvent {
	e := &protocol.LogEvent{At: l.now(), Level: "info", Code: protocol.DiskFree, Text: "the disk takes events again"}
	if err != nil {
		e.Level, e.Code = "error", ""
		e.Text = "events cannot be written to disk, and only the newest are held: " + err.Error()
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			e.Code = protocol.DiskFull
		}
	}
	return e
}

// log appends something that an operator should see.
func (l *eventLog) log(level string, code protocol.Code, text string) {
	l.append(protocol.Event{Log: &protocol.LogEvent{At: l.now(), Level: level, Text: text, Code: code}})
}

// after returns frames with numbers above n, as many as come at once, and a
// channel that is closed when there are more than now. Without frames there are
// no more.
func (l *eventLog) after(n uint64) (frames []protocol.Frame, last uint64, changed <-chan struct{}) {
	l.mu.Lock()
	changed = l.changed
	l.mu.Unlock()
	// What comes between the two shows in both, and is not missed.
	records, first, err := l.spool.After(n)
	if err != nil {
		l.log("error", "", err.Error()+"; the events in it are lost")
	}
	for _, r := range records {
		frames = append(frames, protocol.Frame{Type: protocol.TypeEvent, Body: r})
	}
	if len(records) == 0 {
		return nil, n, changed
	}
	return frames, first + uint64(len(records)) - 1, changed
}

// last is the number of the last event.
func (l *eventLog) last() uint64 { return l.spool.Next() - 1 }
