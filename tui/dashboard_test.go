package tui

import (
	"context"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"bela/event"
	"bela/live"
)

// terminal is a pseudo-terminal with a reader that feeds a screen.
type terminal struct {
	t           *testing.T
	master, tty *os.File

	mu     sync.Mutex
	screen *screen
	raw    strings.Builder
}

func newTerminal(t *testing.T, width, height int) *terminal {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatalf("open a pseudo-terminal: %v", err)
	}
	term := &terminal{t: t, master: master, tty: tty, screen: newScreen(width, height)}
	term.setSize(width, height)
	return term
}

func (m *terminal) setSize(width, height int) {
	if err := pty.Setsize(m.master, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		m.t.Fatal(err)
	}
}

// read feeds the screen until the terminal is closed.
func (m *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := m.master.Read(buf)
		m.mu.Lock()
		m.raw.Write(buf[:n])
		m.screen.write(buf[:n])
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (m *terminal) resize(width, height int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.screen.resize(width, height)
	m.setSize(width, height)
}

func (m *terminal) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.screen.text()
}

// await waits until the screen and its scrollback fulfil a condition.
func (m *terminal) await(what string, ok func(text string) bool) {
	m.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok(m.text()) {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited 30s for %s; the terminal shows:\n%s", what, m.text())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (m *terminal) press(keys string) {
	m.t.Helper()
	if _, err := m.master.WriteString(keys); err != nil {
		m.t.Fatal(err)
	}
}

func (m *terminal) mode() *unix.Termios {
	m.t.Helper()
	mode, err := unix.IoctlGetTermios(int(m.master.Fd()), unix.TCGETS)
	if err != nil {
		m.t.Fatal(err)
	}
	return mode
}

// startPlayer starts the player in the terminal, and reads what it writes
// until the terminal is closed.
func (m *terminal) startPlayer(env ...string) (cmd *exec.Cmd, read chan struct{}) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	m.t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(append(os.Environ(), playerEnv+"=40", "TERM=xterm-256color", "NO_COLOR="), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.tty, m.tty, m.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	read = make(chan struct{})
	go func() { defer close(read); m.read() }()
	return cmd, read
}

func containing(s string) func(string) bool {
	return func(text string) bool { return strings.Contains(text, s) }
}

// A user runs bela in a terminal, resizes it, presses q, and gets the shell
// back: in its old mode, with every finished cell above the prompt, in order
// and whole, and nothing left of the dashboard.
func TestDashboardInATerminal(t *testing.T) {
	term := newTerminal(t, 100, 32)
	before := term.mode()
	cmd, read := term.startPlayer()
	term.await("the first cell's result", containing("cell 1/4 devices=1 qos=1  valid"))
	term.resize(120, 30)
	term.await("a frame as wide as the new terminal", containing(strings.Repeat("─", 110)))
	term.await("the end of the run", containing("run finished with status 4"))
	term.await("the last frame", containing("q stop"))
	term.press("q")
	term.await("the question", containing("stop the run? finished cells are kept"))
	term.press("y")
	if err := cmd.Wait(); err != nil {
		t.Errorf("the player ended with %v", err)
	}
	if after := term.mode(); !reflect.DeepEqual(before, after) {
		t.Errorf("the terminal's mode was not restored:\nbefore %+v\nafter  %+v", before, after)
	}
	term.await("the line printed after the dashboard", containing("the player has ended"))
	_ = term.tty.Close()
	_ = term.master.Close()
	<-read
	checkEnd(t, term)
}

// checkEnd looks at the terminal after the dashboard has gone.
func checkEnd(t *testing.T, term *terminal) {
	t.Helper()
	if len(term.screen.unknown) > 0 {
		t.Errorf("sequences that the test's screen does not know: %v", term.screen.unknown)
	}
	if !term.screen.modes["25"] {
		t.Error("the cursor stays hidden")
	}
	if term.screen.modes["2004"] {
		t.Error("bracketed paste stays on")
	}
	if strings.Contains(term.raw.String(), "\x1b]0;") {
		t.Error("a node's text set the window's title")
	}
	text := term.text()
	at := -1
	for _, want := range []string{
		"run 20201114T100000Z-3f9a of experiment qos1", "cell 1/4 devices=1 qos=1  valid", "cell 2/4 devices=100 qos=1  degraded",
		"node iot-2 lost", "cell 3/4 devices=500 qos=1  invalid", "cell 4/4 devices=1000 qos=1  valid", "run finished with status 4", "the player has ended",
	} {
		i := strings.Index(text, want)
		if i < 0 || strings.Count(text, want) != 1 {
			t.Errorf("%q stands there %d times, not once", want, strings.Count(text, want))
		}
		if i < at {
			t.Errorf("%q stands above what came before it", want)
		}
		at = max(at, i)
	}
	if strings.Contains(text, "enlarge a pane") {
		t.Error("the dashboard was not taken away")
	}
	if t.Failed() {
		t.Logf("the terminal shows:\n%s", text)
	}
}

// The second Ctrl-C ends the process at once. The shell must still get its
// terminal back, or the user types blind.
func TestSecondInterruptRestoresTheTerminal(t *testing.T) {
	term := newTerminal(t, 100, 32)
	before := term.mode()
	cmd, read := term.startPlayer(stubbornEnv + "=1")
	term.await("the dashboard", containing("q stop"))
	term.press("\x03")
	term.await("the first Ctrl-C", containing("q again: stop at once"))
	time.Sleep(againAfter) // a shorter one is the same press
	term.press("\x03")
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("the player ended with %v, not with status 130", err)
	}
	if after := term.mode(); !reflect.DeepEqual(before, after) {
		t.Error("the terminal's mode was not restored")
	}
	_ = term.tty.Close()
	_ = term.master.Close()
	<-read
	if !term.screen.modes["25"] {
		t.Error("the cursor stays hidden")
	}
	if strings.Contains(term.text(), "enlarge a pane") {
		t.Errorf("the dashboard was not taken away:\n%s", term.text())
	}
}

// A terminal that is stopped (Ctrl-S, a dead SSH connection) must not stop the
// run, and must not keep bela from ending with the terminal set right.
func TestStoppedTerminal(t *testing.T) {
	term := newTerminal(t, 100, 30)
	defer func() { _ = term.tty.Close(); _ = term.master.Close() }()
	before := term.mode()
	d, err := NewDashboard(term.tty, term.tty, Options{Env: []string{"TERM=xterm-256color"}, CloseTimeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody reads the master: what the dashboard writes fills the terminal.
	events := whole().events
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			for _, e := range events {
				d.Handle(e)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("handling events waits for the terminal")
	}
	for deadline := time.Now().Add(10 * time.Second); reflect.DeepEqual(before, term.mode()); {
		if time.Now().After(deadline) {
			t.Fatal("the dashboard did not start")
		}
		time.Sleep(10 * time.Millisecond)
	}
	err = d.Close()
	if err == nil || !strings.Contains(err.Error(), "terminal took nothing") {
		t.Errorf("Close said %v; it should say that the terminal took nothing", err)
	}
	if after := term.mode(); !reflect.DeepEqual(before, after) {
		t.Error("the terminal's mode was not restored")
	}
	go term.read() // lets the dashboard's goroutines end
	<-d.ended
}

// Where Bubble Tea dies in the middle of a run, the operator still gets the
// rest of it as plain lines, and not a frozen picture.
func TestPlainAfterTheProgramDied(t *testing.T) {
	term := newTerminal(t, 100, 30)
	defer func() { _ = term.tty.Close(); _ = term.master.Close() }()
	go term.read()
	d, err := NewDashboard(term.tty, term.tty, Options{Env: []string{"TERM=xterm-256color"}})
	if err != nil {
		t.Fatal(err)
	}
	events := whole().events
	d.Handle(events[0])
	term.await("the dashboard", containing("enlarge a pane"))
	d.program.Quit() // as a panic in it would, without what that prints
	<-d.fed
	for _, e := range events[1:] {
		d.Handle(e)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"plain lines from here on", "cell 1/4 devices=1 qos=1  valid", "run finished with status 4"} {
		term.await(want, containing(want))
	}
}

// NO_COLOR is a wish of the user's that counts everywhere: in the dashboard and
// in the lines above it.
func TestNoColor(t *testing.T) {
	colour := regexp.MustCompile(`\x1b\[[0-9;:]*[39][0-7]m`)
	for _, c := range []struct {
		env  []string
		want bool
	}{
		{[]string{"TERM=xterm-256color"}, true},
		{[]string{"TERM=xterm-256color", "NO_COLOR=1"}, false},
	} {
		term := newTerminal(t, 100, 30)
		read := make(chan struct{})
		go func() { defer close(read); term.read() }()
		d, err := NewDashboard(term.tty, term.tty, Options{Env: c.env})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range whole().events {
			d.Handle(e)
		}
		term.await("the last line above", containing("run finished with status 4"))
		term.await("the dashboard", containing("enlarge a pane"))
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		_ = term.tty.Close()
		_ = term.master.Close()
		<-read
		if got := colour.MatchString(term.raw.String()); got != c.want {
			t.Errorf("with %v colours were written: %v", c.env, got)
		}
	}
}

// q stops cleanly once y has said so, and Ctrl-C after it at once; but a key that is
// held down is one press, or a clean stop would lose the cell.
func TestKeysInterrupt(t *testing.T) {
	now := time.Unix(0, 0)
	calls := 0
	d := &Dashboard{opts: Options{Interrupt: func() { calls++ }, Now: func() time.Time { return now }}}
	d.once.Do(func() {}) // there is no program to close
	m := newModel(d)
	for _, step := range []struct {
		key   tea.KeyPressMsg
		after time.Duration
		want  int
		why   string
	}{
		{tea.KeyPressMsg{Code: 'q', Text: "q"}, 0, 0, "q asks first"},
		{tea.KeyPressMsg{Code: 'n', Text: "n"}, time.Second, 0, "and n is no"},
		{tea.KeyPressMsg{Code: 'q', Text: "q"}, time.Second, 0, "q asks again"},
		{tea.KeyPressMsg{Code: 'y', Text: "y"}, time.Second, 1, "y stops cleanly"},
		{tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}, 40 * time.Millisecond, 1, "a key that is held down is no second press"},
		{tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}, time.Second, 2, "Ctrl-C counts as q does: the second stops at once"},
		{tea.KeyPressMsg{Code: 'x', Text: "x"}, time.Second, 2, "other keys do not stop"},
		{tea.KeyPressMsg{Code: 'z', Mod: tea.ModCtrl}, time.Second, 2, "Ctrl-Z would suspend the controller in the middle of a cell"},
	} {
		now = now.Add(step.after)
		next, cmd := m.Update(step.key)
		m = next.(model)
		if cmd != nil {
			cmd()
		}
		if calls != step.want {
			t.Errorf("%s: %d calls, want %d", step.why, calls, step.want)
		}
	}
}

// A paused log stands still while new lines are counted, and goes on with them.
func TestPauseHoldsTheLog(t *testing.T) {
	s := waitingForDevices()
	st := stateAfter(s.events)
	m := newModel(&Dashboard{opts: Options{}.withDefaults()})
	step := func(msg tea.Msg) { next, _ := m.Update(msg); m = next.(model) }
	step(tea.WindowSizeMsg{Width: 100, Height: 40})
	step(frameMsg{st.Clone()})
	step(tea.KeyPressMsg{Code: 'p', Text: "p"})
	st.Handle(event.Event{Time: s.now, Data: event.Message{Level: "info", Text: "came while paused"}})
	step(frameMsg{st.Clone()})
	if strings.Contains(m.content, "came while paused") || !strings.Contains(strip(m.content), "paused, 1 new") {
		t.Errorf("the log went on, or does not count:\n%s", strip(m.content))
	}
	step(tea.KeyPressMsg{Code: 'p', Text: "p"})
	if !strings.Contains(m.content, "came while paused") {
		t.Errorf("the log did not go on:\n%s", strip(m.content))
	}
}

// A pane that is enlarged shows what the overview has no room for, and scrolls.
func TestTabEnlargesAPane(t *testing.T) {
	s := live.New()
	start := time.Unix(1000, 0)
	run := event.RunStarted{Experiment: "many"}
	for i := range 60 {
		run.Nodes = append(run.Nodes, event.NodeRef{Name: "iot-" + live.Count(int64(100+i)), Role: "iot"})
	}
	s.Handle(event.Event{Time: start, Data: run})
	m := newModel(&Dashboard{opts: Options{}.withDefaults()})
	step := func(msg tea.Msg) { next, _ := m.Update(msg); m = next.(model) }
	step(tea.WindowSizeMsg{Width: 80, Height: 24})
	step(frameMsg{s})
	before := strings.Count(m.content, "iot-1")
	for range paneNodes {
		step(tea.KeyPressMsg{Code: tea.KeyTab})
	}
	if after := strings.Count(m.content, "iot-1"); after <= before {
		t.Errorf("%d nodes are shown enlarged, %d before", after, before)
	}
	for range 10 {
		step(tea.KeyPressMsg{Code: tea.KeyPgDown})
	}
	if !strings.Contains(m.content, "iot-159") {
		t.Errorf("the last node cannot be scrolled to:\n%s", strip(m.content))
	}
}

// Nothing may be drawn or changed where there is no terminal: bela in a pipe
// would write escape codes, or fail.
func TestNoDashboardWithoutATerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	if d, err := NewDashboard(r, w, Options{Env: []string{"TERM=xterm"}}); err == nil {
		_ = d.Close()
		t.Error("a dashboard on a pipe")
	}
}

func stateAfter(events []event.Event) *live.State {
	s := live.New()
	for _, e := range events {
		s.Handle(e)
	}
	return &s
}
