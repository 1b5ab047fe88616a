package client

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bela/agents/protocol"
)

// A hostile or broken node that never stops telling must be given up before it
// fills the run directory, and must not be dialed again; the controller's memory
// stays bounded meanwhile.
func TestFlood(t *testing.T) {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		hello, err := protocol.ReadFrame(far)
		if err != nil {
			return
		}
		body, _ := protocol.Body(protocol.Welcome{Version: protocol.Version, Instance: "x"})
		if protocol.WriteFrame(far, protocol.Frame{ID: hello.ID, Type: protocol.TypeOK, Body: body}) != nil {
			return
		}
		text := strings.Repeat("x", 200) // small ones cost as much as large ones
		for seq := uint64(1); ; seq++ {
			body, _ := protocol.Body(protocol.Event{Seq: seq, Log: &protocol.LogEvent{Level: "info", Text: text}})
			if protocol.WriteFrame(far, protocol.Frame{Type: protocol.TypeEvent, Body: body}) != nil {
				return
			}
		}
	}()
	var taken atomic.Int64
	c, _, err := Open(t.Context(), near, Options{
		Run: "run-1", Now: func() int64 { return time.Now().UnixNano() }, Lease: time.Minute,
		OnEvent: func(protocol.Event) { taken.Add(eventCost + wordCost + 200) },
		Redial: func(context.Context) (io.ReadWriteCloser, error) {
			t.Error("a node that floods is dialed again")
			return nil, errors.New("no")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-time.After(2 * time.Minute): // the detector of races makes this ten times slower
		t.Fatalf("it still listens after 2 minutes and %d MiB of events", taken.Load()>>20)
	}
	if !errors.Is(c.Err(), ErrFlood) {
		t.Errorf("it ended with %v, want that of a flood", c.Err())
	}
	if n := taken.Load(); n < eventBurst/2 || n > 2*eventBurst {
		t.Errorf("%d MiB of events were taken; the burst is %d", n>>20, eventBurst>>20)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d MiB are still held", grown>>20)
	}
}

// What an honest agent says in a long run is never too much: a node with a
// thousand devices tells some ten thousand bytes a second.
func TestHonestAgentIsNoFlood(t *testing.T) {
	now := time.Unix(0, 0)
	a := newAllowance(now)
	for second := range 24 * 3600 {
		now = now.Add(time.Second)
		n := 100 << 10
		if second%3600 == 0 { // and once an hour all that its spool holds
			n += 64 << 20
		}
		if err := a.take(n, now); err != nil {
			t.Fatalf("after %d s: %v", second, err)
		}
	}
}
