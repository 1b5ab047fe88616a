package tui

import (
	"fmt"
	"io"
	"testing"
	"time"

	"bela/event"
	"bela/live"
)

// second is one second's events of a testbed: a sample a node, and the load.
func secondOf(nodes, t int) []event.Event {
	now := time.Unix(1000+int64(t), 0)
	p := 12.5
	es := []event.Event{{Time: now, Data: event.Load{Position: 1, T: t, Published: 500, Delivered: 499, P50: &p, P99: &p, Lateness: &p}}}
	for n := range nodes {
		es = append(es, event.Event{Time: now, Data: event.NodeSample{
			Position: 1, T: t, Node: fmt.Sprintf("node-%d", n), CPUs: 4, CPU: 700, Memory: 900, MemoryTotal: 4096,
			Components: []event.ComponentSample{{Component: "broker", Instance: n + 1, CPU: 200, Memory: 30, Counted: true}},
		}})
	}
	return es
}

// BenchmarkHandle is what a view costs the run per event.
func BenchmarkHandle(b *testing.B) {
	events := secondOf(10, 1)
	for _, c := range []struct {
		name string
		view View
	}{
		{"plain", NewPlain(io.Discard, Options{})},
		{"json", NewJSON(io.Discard, Options{})},
		{"dashboard", &Dashboard{state: live.New()}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.view.Handle(events[i%len(events)])
			}
		})
	}
}

// BenchmarkSecond is the CPU that the dashboard takes a second with 25 nodes and
// 1000 events: samples, messages, and four frames with their copies of the state.
func BenchmarkSecond(b *testing.B) {
	s := stateAfter(measuring().events)
	for t := 0; b.Loop(); t++ {
		events := secondOf(25, t)
		for len(events) < 1000 {
			events = append(events, event.Event{Time: events[0].Time, Data: event.Message{Level: "info", Node: "node-1", Text: "a line of a log"}})
		}
		for _, e := range events {
			s.Handle(e)
		}
		for range 4 {
			c := s.Clone()
			render(&c, viewport{}, 120, 39)
		}
	}
}
