package tui

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf8"

	"bela/event"
)

// JSON writes every event as one object a line, for programs. The encoding is
// event.Event's own, with its version. Where the reader is slower than the run,
// samples and load are folded to the newest of each node, which shows as a gap
// in seq; changes of state are never left out.
type JSON struct {
	queue *queue
	once  sync.Once
	err   error

	mu  sync.Mutex
	bad error // the first event that could not be encoded
}

// NewJSON returns a JSON view that writes to w.
func NewJSON(w io.Writer, opts Options) *JSON {
	return &JSON{queue: newQueue(w, opts.withDefaults().CloseTimeout)}
}

// Handle implements View.
func (j *JSON) Handle(e event.Event) {
	if e.Data == nil {
		return
	}
	text, err := json.Marshal(e)
	if err != nil {
		j.mu.Lock()
		if j.bad == nil {
			j.bad = err
		}
		j.mu.Unlock()
		return
	}
	w, key := kept, ""
	switch d := e.Data.(type) {
	case event.NodeSample:
		w, key = sample, "node "+d.Node
	case event.Load:
		w, key = sample, "load"
	case event.Message:
		if d.Level != "error" {
			w = chat
		}
	}
	j.queue.put(append(escapeControls(text), '\n'), w, key)
}

// Close implements View.
func (j *JSON) Close() error {
	j.once.Do(func() {
		j.err = j.queue.close()
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.err == nil && j.bad != nil {
			j.err = fmt.Errorf("an event was left out of the JSON: %w", j.bad)
		}
	})
	return j.err
}

// escapeControls escapes DEL, the C1 controls and directions of text in encoded JSON, which
// encoding/json leaves as they are and some terminals obey. They can only stand
// inside strings, so the value stays the same.
func escapeControls(text []byte) []byte {
	for i := 0; i < len(text); i++ {
		if text[i] >= 0x7f {
			return escapeFrom(text, i)
		}
	}
	return text
}

func escapeFrom(text []byte, from int) []byte {
	out := append([]byte(nil), text[:from]...)
	for i := from; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r >= 0x7f && r < 0xa0 || unicode.Is(unicode.Bidi_Control, r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, text[i:i+n]...)
		}
		i += n
	}
	return out
}
