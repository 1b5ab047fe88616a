package tui

import (
	"errors"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"bela/event"
)

type skipper struct{ skipped []int }

func (s *skipper) SkipCell(position int, by string) error {
	if position != 3 || !strings.Contains(by, "dashboard") {
		return errors.New("that cell is not running")
	}
	s.skipped = append(s.skipped, position)
	return nil
}

func (s *skipper) StopRun() error { return nil }

// typist presses keys on a dashboard without a terminal.
type typist struct {
	t *testing.T
	m model
}

func newTypist(t *testing.T, opts Options, events []event.Event) *typist {
	t.Helper()
	y := &typist{t: t, m: newModel(&Dashboard{opts: opts.withDefaults()})}
	y.step(tea.WindowSizeMsg{Width: 120, Height: 41})
	y.step(frameMsg{stateAfter(events).Clone()})
	return y
}

func (y *typist) step(msg tea.Msg) {
	next, cmd := y.m.Update(msg)
	y.m = next.(model)
	if cmd != nil {
		if msg := cmd(); msg != nil {
			y.step(msg)
		}
	}
}

func (y *typist) press(keys ...string) {
	for _, k := range keys {
		switch k {
		case "enter":
			y.step(tea.KeyPressMsg{Code: tea.KeyEnter})
		case "esc":
			y.step(tea.KeyPressMsg{Code: tea.KeyEscape})
		case "backspace":
			y.step(tea.KeyPressMsg{Code: tea.KeyBackspace})
		default:
			y.step(tea.KeyPressMsg{Code: rune(k[0]), Text: k})
		}
	}
}

func (y *typist) shows(want string, yes bool) {
	y.t.Helper()
	if got := strip(y.m.content); strings.Contains(got, want) != yes {
		y.t.Errorf("%q is shown: %v, want %v:\n%s", want, !yes, yes, got)
	}
}

// A slip of the finger must not cost a cell, and the cell that is skipped is the
// one that was asked about, though another may run by then.
func TestSkipAsksFirst(t *testing.T) {
	control := new(skipper)
	y := newTypist(t, Options{Control: control}, measuring().events)
	y.shows("s skip the cell", true)
	y.press("s")
	y.shows("skip cell 3 (devices=500 qos=1)? it will have no result", true)
	y.press("x")
	y.shows("skip cell 3", false)
	if len(control.skipped) != 0 {
		t.Error("a key that is not y skipped the cell")
	}
	y.press("s")
	y.step(frameMsg{stateAfter(untilCell(whole().events, 4)).Clone()}) // cell 4 runs now
	y.press("y")
	if len(control.skipped) != 1 {
		t.Error("y did not skip the cell that was asked about")
	}
	y.shows("cell 3 is given up", true)
	y.press("s", "y")
	y.shows("that cell is not running", true)

	none := newTypist(t, Options{}, measuring().events)
	none.shows("skip the cell", false)
	none.press("s")
	none.shows("it will have no result", false)
}

// untilCell is the events until a cell has started.
func untilCell(events []event.Event, position int) []event.Event {
	for i, e := range events {
		if d, ok := e.Data.(event.CellStarted); ok && d.Cell.Position == position {
			return events[:i+1]
		}
	}
	return events
}

// In hours of messages an operator finds those of one node, and gets all back.
func TestFilter(t *testing.T) {
	y := newTypist(t, Options{}, nodeLost().events)
	y.press("5") // the log
	y.shows("component nats/1 on worker-2 ready", true)
	y.press("/", "L", "O", "S", "T", "q", "backspace")
	y.shows("filter: LOST", true)
	y.shows("node iot-2 lost", true)
	y.shows("component nats/1 on worker-2 ready", false)
	y.press("enter")
	y.shows(`only "LOST"`, true)
	y.press("esc")
	y.shows("component nats/1 on worker-2 ready", true)
}
