package tui

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"bela/event"
	"bela/live"
)

const (
	feedInterval  = 100 * time.Millisecond // a change of state shows within it
	frameInterval = 250 * time.Millisecond // samples show at most this often
	clockInterval = time.Second            // the clocks move at least this often
	maxScrollback = 1000                   // lines that wait for the terminal
)

// Dashboard shows a run live at the bottom of a terminal, and leaves what
// finished in the scrollback above. It does not use the alternate screen.
//
// Handle folds events into a state and never touches the terminal; a goroutine
// of the dashboard draws from copies of that state. So nothing that a slow or
// stopped terminal does reaches the run, and what is shown after it is the
// newest.
type Dashboard struct {
	opts    Options
	in, out *os.File
	profile colorprofile.Profile
	saved   *term.State // of the terminal, from before the start
	program *tea.Program
	width   atomic.Int64 // of the terminal, in columns

	stop  chan struct{} // closed by Close
	ended chan struct{} // closed when the program has ended
	fed   chan struct{} // closed when the feeding goroutine has ended
	once  sync.Once
	err   error
	ran   error // of the program; readable once ended is closed

	mu       sync.Mutex
	state    live.State
	lasting  []live.Note // for the scrollback, not printed yet
	left     int         // notes that the scrollback had no room for
	dirty    bool        // something changed since the last frame
	urgent   bool        // … which is more than a sample
	fallback *Plain      // set where the program ended before Close
	closed   bool
}

// NewDashboard starts a dashboard on a terminal. It fails where in or out is no
// terminal; nothing is changed then. The caller must call Close, or the
// terminal stays in raw mode.
func NewDashboard(in, out *os.File, opts Options) (*Dashboard, error) {
	opts = opts.withDefaults()
	if why := noDashboard(in, out, opts.Env); why != "" {
		return nil, fmt.Errorf("no dashboard: %s; use the plain view", why)
	}
	saved, err := term.GetState(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("no dashboard: read the terminal's state: %w", err)
	}
	d := &Dashboard{
		opts: opts, in: in, out: out, saved: saved,
		profile: colorprofile.Detect(out, opts.Env),
		stop:    make(chan struct{}), ended: make(chan struct{}), fed: make(chan struct{}),
		state: live.New(),
	}
	// Signals stay with the command: only it knows what stopping means.
	d.program = tea.NewProgram(newModel(d),
		tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(opts.Env),
		tea.WithColorProfile(d.profile), tea.WithoutSignalHandler(), tea.WithFPS(10))
	go func() {
		defer close(d.ended)
		last, err := d.program.Run()
		d.ran = err
		if m, ok := last.(model); ok && err == nil {
			// Nothing to be done where that fails: the terminal is gone.
			_, _ = io.WriteString(d.out, m.takeAway())
		}
	}()
	go d.feed()
	return d, nil
}

// Handle implements View.
func (d *Dashboard) Handle(e event.Event) {
	if e.Data == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return
	case d.fallback != nil:
		d.fallback.Handle(e)
		return
	}
	for _, n := range d.state.Handle(e) {
		if !n.Lasting {
			continue
		}
		if len(d.lasting) >= maxScrollback && n.Chat {
			d.left++
			continue
		}
		d.lasting = append(d.lasting, n)
	}
	d.dirty = true
	switch e.Data.(type) {
	case event.NodeSample, event.Load:
	default:
		d.urgent = true
	}
}

// feed hands frames and scrollback lines to the program until Close. Sending
// may wait for a slow terminal; only this goroutine waits then.
func (d *Dashboard) feed() {
	defer close(d.fed)
	tick := time.NewTicker(feedInterval)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-d.stop:
			select {
			case <-d.ended:
				d.takeOver()
				return
			default:
			}
			d.flush(true)
			d.program.Quit()
			return
		case <-d.ended:
			d.takeOver()
			return
		case <-tick.C:
		}
		since := time.Since(last)
		if d.due(since) {
			d.flush(since >= clockInterval)
			last = time.Now()
		}
	}
}

// due says whether it is time for a frame.
func (d *Dashboard) due(since time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.urgent || d.dirty && since >= frameInterval || since >= clockInterval
}

// flush sends what lasts, then the present state.
func (d *Dashboard) flush(clock bool) {
	now := d.opts.Now()
	d.mu.Lock()
	lasting, left := d.lasting, d.left
	d.lasting, d.left, d.dirty, d.urgent = nil, 0, false, false
	s := d.state.Clone()
	d.mu.Unlock()

	if clock || now.After(s.Now) {
		s.Now = now
	}
	if left > 0 {
		lasting = append(lasting, live.Note{Text: fmt.Sprintf("%d messages left out: the terminal is slow", left), Tone: live.FaintTone})
	}
	for _, n := range lasting {
		d.print(n)
	}
	d.program.Send(frameMsg{s})
}

// print puts one note into the scrollback. The lines are broken here, each
// shorter than the terminal is wide and sent for itself: Bubble Tea makes room
// for too many where a line wraps, and for too few above a frame that is nearly
// as high as the terminal.
func (d *Dashboard) print(n live.Note) {
	width := int(d.width.Load())
	if width <= 0 {
		width = 80
	}
	for _, l := range d.lines(n, width-1) {
		// The message of the command, and not Program.Println, which waits for
		// ever where the program has ended.
		d.program.Send(tea.Println(l)())
	}
}

// lines sets a note in lines of at most width columns, in the terminal's colours.
func (d *Dashboard) lines(n live.Note, width int) []string {
	const indent = "        " // below the mark and the time
	first := newTheme().mark(n.Tone) + " "
	var out []string
	for i, l := range wrap(live.Clock(n.At)+" "+n.Text, width-2, width-len(indent)) {
		if i == 0 {
			l = first + l
		} else {
			l = indent + l
		}
		out = append(out, d.coloured(cut(l, width)))
	}
	return out
}

// coloured takes away the colours that the terminal cannot show or the user
// does not want.
func (d *Dashboard) coloured(s string) string {
	var b bytes.Buffer
	w := colorprofile.Writer{Forward: &b, Profile: d.profile}
	if _, err := w.WriteString(s); err != nil {
		return ansi.Strip(s)
	}
	return b.String()
}

// takeOver goes on with plain lines where the program ended before its time,
// so that an operator is never left without a view.
func (d *Dashboard) takeOver() {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := NewPlain(d.out, d.opts)
	why := "it ended"
	if d.ran != nil {
		why = d.ran.Error()
	}
	p.say("the dashboard stopped: " + why + "; plain lines from here on")
	p.state = d.state
	for _, n := range d.lasting {
		p.line(n.At, n.Text, kept)
	}
	d.lasting, d.fallback = nil, p
}

// Close implements View. The dashboard is taken away and the lines above stay.
func (d *Dashboard) Close() error {
	d.once.Do(func() { d.err = d.close() })
	return d.err
}

func (d *Dashboard) close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	close(d.stop)
	deadline := time.NewTimer(d.opts.CloseTimeout)
	defer deadline.Stop()
	for _, end := range []chan struct{}{d.fed, d.ended} {
		select {
		case <-end:
		case <-deadline.C:
			// The terminal takes no output. Its mode can still be set right.
			return errors.Join(
				fmt.Errorf("the terminal took nothing for %s: the last lines were not shown", live.Length(d.opts.CloseTimeout)),
				term.Restore(int(d.in.Fd()), d.saved))
		}
	}
	d.mu.Lock()
	fallback := d.fallback
	d.mu.Unlock()
	if fallback != nil {
		return errors.Join(d.ran, fallback.Close(), term.Restore(int(d.in.Fd()), d.saved))
	}
	if d.ran != nil {
		return fmt.Errorf("dashboard: %w", errors.Join(d.ran, term.Restore(int(d.in.Fd()), d.saved)))
	}
	return nil
}
