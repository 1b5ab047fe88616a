package tui

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"bela/live"
)

// frameMsg carries a state to be drawn.
type frameMsg struct{ state live.State }

// againAfter is the shortest time between two presses that count as two: a key
// that is held down must not turn a clean stop into a hard one.
const againAfter = 300 * time.Millisecond

// model is the Bubble Tea model: what is drawn, and what the keys did. It does
// not look at the run.
type model struct {
	dash          *Dashboard
	state         live.State
	view          viewport
	width, height int
	pressed       time.Time // when the run was last asked to stop
	content       string    // drawn from the above; drawing is too dear for every message
}

func newModel(d *Dashboard) model {
	return model{dash: d, state: live.New(), view: viewport{Steps: d.opts.Control != nil}}
}

// Init implements tea.Model.
func (m model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.view.Tall = 0
		m.dash.width.Store(int64(msg.Width))
	case answerMsg:
		m.view.Answer = string(msg)
	case frameMsg:
		m.state = msg.state
		m.view.follow(m.state.Log)
	case tea.KeyPressMsg:
		m, cmd = m.key(msg)
	default:
		return m, nil
	}
	m.draw()
	return m, cmd
}

func (m model) key(msg tea.KeyPressMsg) (model, tea.Cmd) {
	m.view.Answer = ""
	switch {
	case msg.String() == "ctrl+c": // whatever else goes on
	case m.view.Ask.kind != askNothing:
		return m.answer(msg)
	case m.view.Typing:
		m.view.typed(msg)
		return m, nil
	}
	switch msg.String() {
	case "ctrl+c":
		return m.interrupt()
	case "q", "Q":
		if m.view.Stops > 0 {
			return m.interrupt()
		}
		m.view.Ask = question{kind: askStop}
	case "s", "S":
		m.askSkip()
	case "/":
		m.view.Typing = true
	case "esc":
		if m.view.Filter == "" {
			m.view.Focus, m.view.Offset = paneAll, 0
		}
		m.view.Filter = ""
	case "0", "1", "2", "3", "4", "5":
		m.view.Focus, m.view.Offset = pane(msg.String()[0]-'0'), 0
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
	dash, again := m.dash, m.view.Stops > 1
	if dash.opts.Interrupt == nil {
		return m, nil
	}
	return m, func() tea.Msg {
		if again {
			// The second press may end the process on the spot, and nobody
			// could set the terminal right after it. Close's error is for the
			// one who called it first, or has nobody to read it.
			_ = dash.Close()
		}
		dash.opts.Interrupt()
		return nil
	}
}

// draw fills content. The frame is a line lower than the terminal: Bubble Tea
// needs that line to print above it. It never gets lower while the terminal
// stays as it is, for Bubble Tea then loses track of the cursor and leaves the
// top of the old frame behind.
func (m *model) draw() {
	m.content = ""
	if m.width > 0 && m.height > 1 {
		m.content = render(&m.state, m.view, m.width, m.height-1)
		m.view.Tall = strings.Count(m.content, "\n") + 1
	}
}

// takeAway is what clears the last frame from the terminal, once the program
// has ended and left the cursor in the frame's last line.
func (m model) takeAway() string {
	if m.content == "" {
		return ""
	}
	out := "\r"
	if n := strings.Count(m.content, "\n"); n > 0 {
		out += ansi.CursorUp(n)
	}
	return out + ansi.EraseScreenBelow
}

// View implements tea.Model.
func (m model) View() tea.View { return tea.NewView(m.content) }
