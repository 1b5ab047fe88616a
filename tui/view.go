package tui

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"bela/event"
	"bela/live"
)

// View shows a run. Both methods may be called from any goroutine.
type View interface {
	// Handle takes the next event. It never waits for the reader or the
	// terminal. Events after Close are ignored.
	Handle(event.Event)
	// Close writes out what is pending, restores the terminal and ends the
	// view's goroutines. It waits at most Options.CloseTimeout; its error says
	// what could not be written. Further calls return the same error.
	Close() error
}

// The modes that Auto takes.
const (
	ModeAuto  = "auto"
	ModeTUI   = "tui"
	ModePlain = "plain"
	ModeJSON  = "json"
)

// Modes lists the modes that Auto takes.
func Modes() []string { return []string{ModeAuto, ModeTUI, ModePlain, ModeJSON} }

// Options tune a view. The zero value is fit for use.
type Options struct {
	// Interrupt is called when q or Ctrl-C is pressed in the dashboard, where
	// the terminal sends no signal. The first call should stop the run
	// cleanly, the second at once: before it the dashboard is closed and the
	// terminal restored, so that it may end the process. It is called in a
	// goroutine of its own.
	Interrupt func()
	// Control is what the keys to skip a cell act on; nil for no such keys.
	Control live.Control
	// Progress is the time between two progress lines of the plain view while
	// load is on; 0 is 10 s.
	Progress time.Duration
	// CloseTimeout is how long Close waits for a reader or a terminal that
	// does not take the output; 0 is 5 s.
	CloseTimeout time.Duration
	// Env is the environment (TERM, NO_COLOR, COLORTERM …); nil is the
	// process's own.
	Env []string
	// Now is the clock of the dashboard; nil is time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Progress <= 0 {
		o.Progress = 10 * time.Second
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = 5 * time.Second
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Auto makes the view that mode asks for: auto, tui, plain or json. The
// dashboard needs stdin and stdout to be terminals that can move the cursor;
// where they are not, auto gives plain lines without a word, and tui gives
// plain lines after one that says why.
func Auto(mode string, stdin, stdout *os.File, opts Options) (View, error) {
	opts = opts.withDefaults()
	switch mode {
	case ModePlain:
		return NewPlain(stdout, opts), nil
	case ModeJSON:
		return NewJSON(stdout, opts), nil
	case ModeAuto, ModeTUI, "":
	default:
		return nil, fmt.Errorf("unknown view %q: use one of %s", mode, strings.Join(Modes(), ", "))
	}
	why := noDashboard(stdin, stdout, opts.Env)
	if why == "" {
		d, err := NewDashboard(stdin, stdout, opts)
		if err == nil {
			return d, nil
		}
		why = err.Error()
	}
	v := NewPlain(stdout, opts)
	if mode == ModeTUI {
		v.say("plain lines instead of the dashboard: " + why)
	}
	return v, nil
}

// noDashboard says why there can be no dashboard; empty where there can.
func noDashboard(stdin, stdout *os.File, env []string) string {
	switch {
	case stdin == nil || !term.IsTerminal(int(stdin.Fd())):
		return "stdin is not a terminal"
	case stdout == nil || !term.IsTerminal(int(stdout.Fd())):
		return "stdout is not a terminal"
	}
	if t := lookup(env, "TERM"); t == "dumb" || t == "" {
		return fmt.Sprintf("TERM is %q: the terminal cannot move the cursor", t)
	}
	return ""
}

// lookup returns the last value of a name in an environment.
func lookup(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}
