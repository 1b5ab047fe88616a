package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

// frameMsg carries a state to be drawn.
type frameMsg struct{ state state }

// endMsg takes the dashboard away.
type endMsg struct{}

// againAfter is the shortest time between two presses that count as two: a key
// that is held down must not turn a clean stop into a hard one.
const againAfter = 300 * time.Millisecond

// model is the Bubble Tea model: what is drawn, and what the keys did. It does
// not look at the run.
type model struct {
	dash          *Dashboard
	state         state
	view          viewport
	width, height int
	pressed       time.Time // when the run was last asked to stop
	content       string    // drawn from the above; drawing is too dear for every message
	ended         bool
}

func newModel(d *Dashboard) model { return model{dash: d, state: newState()} }

// Init implements tea.Model.
func (m model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.dash.width.Store(int64(msg.Width))
		// What the old size left on the screen cannot be trusted.
		cmd = tea.ClearScreen
	case frameMsg:
		m.state = msg.state
		m.view.follow(m.state.Log)
	case tea.KeyPressMsg:
		m, cmd = m.key(msg)
	case endMsg:
		m.ended = true
	default:
		return m, nil
	}
	m.draw()
	return m, cmd
}

func (m model) key(msg tea.KeyPressMsg) (model, tea.Cmd) {
	switch msg.String() {
	case "q", "Q", "ctrl+c":
		return m.interrupt()
	case "p", "P", "space":
		m.view.pause(m.state.Log)
	case "tab":
		m.view.turn(1)
	case "shift+tab":
		m.view.turn(-1)
	case "up", "k":
		m.view.scroll(-1)
	case "down", "j":
		m.view.scroll(1)
	case "pgup":
		m.view.scroll(-10)
	case "pgdown":
		m.view.scroll(10)
	}
	// Ctrl-Z does nothing, on purpose: a controller that is suspended cannot
	// hold its deadlines, and the cell would be lost.
	return m, nil
}

func (m model) interrupt() (model, tea.Cmd) {
	now := m.dash.opts.Now()
	if m.view.Stops > 0 && now.Sub(m.pressed) < againAfter {
		return m, nil
	}
	m.pressed = now
	m.view.Stops++
	call := m.dash.opts.Interrupt
	if call == nil {
		return m, nil
	}
	return m, func() tea.Msg { call(); return nil }
}

// draw fills content. The frame is a line lower than the terminal: Bubble Tea
// needs that line to print above it.
func (m *model) draw() {
	m.content = ""
	if !m.ended && m.width > 0 && m.height > 1 {
		m.content = render(&m.state, m.view, m.width, m.height-1)
	}
}

// View implements tea.Model.
func (m model) View() tea.View { return tea.NewView(m.content) }
