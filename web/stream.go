package web

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// heartbeat is how often a browser hears something at least: it can then tell a
// run in which nothing happens from a connection that is dead.
const heartbeat = 5 * time.Second

// events is a stream of server-sent events: first all that there is, then what
// changed since, as fast as the reader takes it. What changed twice meanwhile is
// sent once.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if !s.hub.join(s.opts.MaxClients) {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "as many browsers as may follow this run do so already", http.StatusServiceUnavailable)
		return
	}
	defer s.hub.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that hold answers back
	control := http.NewResponseController(w)
	send := func(text []byte) bool {
		if err := control.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout)); err != nil {
			return false
		}
		if _, err := w.Write(text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !send([]byte("retry: 1000\n\n")) {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for have := uint64(0); ; {
		frame, version, changed, over := s.hub.since(have)
		if version != have && !send(sse("", frame)) {
			return
		}
		have = version
		if over {
			send(sse("over", []byte("{}")))
			return
		}
		select {
		case <-changed:
		case <-beat.C:
			if !send(sse("beat", []byte("{}"))) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// sse is one server-sent event. JSON has no line feeds of its own.
func sse(name string, data []byte) []byte {
	var b bytes.Buffer
	if name != "" {
		fmt.Fprintf(&b, "event: %s\n", name)
	}
	fmt.Fprintf(&b, "data: %s\n\n", data)
	return b.Bytes()
}

// state is all that there is now, as one JSON object, for programs.
func (s *Server) state(w http.ResponseWriter, _ *http.Request) {
	if !s.hub.join(s.opts.MaxClients) {
		http.Error(w, "too many readers at once", http.StatusServiceUnavailable)
		return
	}
	defer s.hub.leave()
	frame, _, _, _ := s.hub.since(0)
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
	_, _ = w.Write(frame) // a reader that is gone needs no answer
}
