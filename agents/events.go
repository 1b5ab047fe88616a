package agents

import (
	"encoding/json"
	"sync"

	"bela/agents/protocol"
)

// eventLog numbers events and keeps the newest within a bound of bytes, so that
// a controller whose link broke gets what it missed. A controller that was away
// for longer than the log holds sees a gap in the numbers.
type eventLog struct {
	limit int

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every append
	first   uint64        // number of frames[0]
	frames  []protocol.Frame
	bytes   int
}

func newEventLog(limit int) *eventLog {
	return &eventLog{limit: limit, first: 1, changed: make(chan struct{})}
}

// append numbers e and keeps it.
func (l *eventLog) append(e protocol.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = l.first + uint64(len(l.frames))
	body, err := json.Marshal(e)
	if err != nil {
		// Only a NaN in a sample could do this; say so instead of losing the number.
		body, _ = json.Marshal(protocol.Event{Seq: e.Seq, Log: &protocol.LogEvent{Level: "error", Text: "an event could not be encoded: " + err.Error()}})
	}
	l.frames = append(l.frames, protocol.Frame{Type: protocol.TypeEvent, Body: body})
	l.bytes += len(body)
	for l.bytes > l.limit && len(l.frames) > 1 {
		l.bytes -= len(l.frames[0].Body)
		l.frames[0] = protocol.Frame{}
		l.frames = l.frames[1:]
		l.first++
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// after returns the frames with numbers above n, and a channel that is closed
// when there are more.
func (l *eventLog) after(n uint64) ([]protocol.Frame, uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.first + uint64(len(l.frames))
	if n+1 < l.first {
		n = l.first - 1
	}
	if n+1 >= next {
		return nil, n, l.changed
	}
	frames := l.frames[n+1-l.first:]
	return append([]protocol.Frame(nil), frames...), next - 1, l.changed
}

func (l *eventLog) firstHeld() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
