package live

import (
	"testing"
	"time"

	"bela/event"
)

// The time left is what people plan their evening by: it must follow what the
// run really takes.
func TestRemaining(t *testing.T) {
	start := time.Unix(1000, 0)
	cells := []event.CellRef{{Position: 1, Number: 1, Expected: 60 * time.Second}, {Position: 2, Number: 2, Expected: 60 * time.Second}, {Position: 3, Number: 3, Expected: 120 * time.Second}}
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	events := []event.Event{
		{Time: at(0), Data: event.RunStarted{Cells: cells}},
		{Time: at(10), Data: event.CellStarted{Cell: cells[0]}},
		{Time: at(100), Data: event.CellFinished{Cell: cells[0]}},
		{Time: at(100), Data: event.CellStarted{Cell: cells[1]}},
		{Time: at(130), Data: event.NodeSample{Node: "n"}},
		{Time: at(400), Data: event.NodeSample{Node: "n"}},
	}
	for _, c := range []struct {
		after int
		want  time.Duration
		why   string
	}{
		{1, 240 * time.Second, "the plan's own expectation: 60 + 60 + 120"},
		{2, 240 * time.Second, "the first cell has just begun"},
		{4, 270 * time.Second, "the first took 90s instead of 60s, so the rest is scaled by 1.5: 90 + 180"},
		{5, 240 * time.Second, "30s of the second cell's 90s have passed"},
		{6, 180 * time.Second, "a cell that is overdue adds nothing, and takes nothing from the others"},
	} {
		s := stateAfter(events[:c.after])
		if got, known := s.Remaining(); !known || got != c.want {
			t.Errorf("after %d events %v (known: %v), want %v: %s", c.after, got, known, c.want, c.why)
		}
	}
	if _, known := stateAfter([]event.Event{{Time: start, Data: event.RunStarted{Cells: []event.CellRef{{Position: 1, Number: 1}}}}}).Remaining(); known {
		t.Error("an estimate from a plan that expects nothing")
	}
}

// A run of days must not grow the views: what they keep is bounded.
func TestStateIsBounded(t *testing.T) {
	s := New()
	start := time.Unix(1000, 0)
	for i := range 5000 {
		now := start.Add(time.Duration(i) * time.Second)
		s.Handle(event.Event{Time: now, Data: event.Load{Position: 1, T: i}})
		s.Handle(event.Event{Time: now, Data: event.NodeSample{Node: "iot-1", Components: []event.ComponentSample{{Component: "broker", Instance: 1}}}})
		s.Handle(event.Event{Time: now, Data: event.Message{Level: "info", Text: "hello"}})
	}
	if len(s.History) > 2*HistorySeconds || len(s.Log) > 2*LogLines || len(s.Nodes) != 1 || len(s.Components) != 1 {
		t.Errorf("%d seconds, %d lines, %d nodes, %d components", len(s.History), len(s.Log), len(s.Nodes), len(s.Components))
	}
}

// The next cell may have fewer instances: the ones before must not stand there
// as if they ran.
func TestComponentsOfTheCellBefore(t *testing.T) {
	s := New()
	now := time.Unix(1000, 0)
	for _, d := range []event.Data{
		event.CellStarted{Cell: event.CellRef{Position: 1, Number: 1}},
		event.ComponentState{Position: 1, Component: "gateway", Instance: 1, State: "ready"},
		event.ComponentState{Position: 1, Component: "gateway", Instance: 2, State: "ready"},
		event.CellFinished{Cell: event.CellRef{Position: 1, Number: 1}},
		event.CellStarted{Cell: event.CellRef{Position: 2, Number: 2}},
		event.ComponentState{Position: 2, Component: "gateway", Instance: 1, State: "ready"},
	} {
		s.Handle(event.Event{Time: now, Data: d})
	}
	if len(s.Components) != 2 || s.Components[1].State != "" {
		t.Errorf("while they start: %+v", s.Components)
	}
	s.Handle(event.Event{Time: now, Data: event.PhaseStarted{Position: 2, Phase: event.PhaseConnect}})
	if len(s.Components) != 1 || s.Components[0].Instance != 1 {
		t.Errorf("once all have started: %+v", s.Components)
	}
}

func stateAfter(events []event.Event) *State {
	s := New()
	for _, e := range events {
		s.Handle(e)
	}
	return &s
}
