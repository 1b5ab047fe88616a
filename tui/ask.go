package tui

import (
	"fmt"

	tea "charm.land/bubbletea/v2"

	"bela/live"
)

// question is what the dashboard asks before it does something to the run.
type question struct {
	kind     asked
	position int    // of the cell that would be skipped
	label    string // its place in the matrix
}

type asked int

const (
	askNothing asked = iota
	askSkip
	askStop
)

func (q question) String() string {
	if q.kind == askSkip {
		return fmt.Sprintf("skip cell %d (%s)? it will have no result", q.position, q.label)
	}
	return "stop the run? finished cells are kept"
}

// answerMsg is what came of a question.
type answerMsg string

// askSkip asks whether to skip the cell in progress: the one that is seen now, and
// not the one that may run when the answer comes.
func (m *model) askSkip() {
	if !m.view.Steps {
		return
	}
	if m.state.Current < 0 {
		m.view.Answer = "no cell is running"
		return
	}
	c := &m.state.Cells[m.state.Current]
	m.view.Ask = question{askSkip, c.Ref.Position, c.Label}
}

// answer takes y or n; any other key is n.
func (m model) answer(msg tea.KeyPressMsg) (model, tea.Cmd) {
	q := m.view.Ask
	m.view.Ask = question{}
	if key := msg.String(); key != "y" && key != "Y" {
		return m, nil
	}
	if q.kind == askStop {
		return m.interrupt()
	}
	control := m.dash.opts.Control
	return m, func() tea.Msg { return skip(control, q.position) }
}

func skip(control live.Control, position int) answerMsg {
	if err := control.SkipCell(position, "the operator, in the dashboard"); err != nil {
		return answerMsg(live.Clean(err.Error()))
	}
	return answerMsg(fmt.Sprintf("cell %d is given up", position))
}

// maxFilter bounds the filter, in bytes.
const maxFilter = 100

// typed takes a key while the filter is typed.
func (v *viewport) typed(msg tea.KeyPressMsg) {
	switch msg.String() {
	case "enter":
		v.Typing = false
	case "esc":
		v.Typing, v.Filter = false, ""
	case "backspace":
		if r := []rune(v.Filter); len(r) > 0 {
			v.Filter = string(r[:len(r)-1])
		}
	default:
		if text := live.Clean(msg.Text); len(v.Filter)+len(text) <= maxFilter {
			v.Filter += text
		}
	}
}
