package tui

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bela/event"
	"bela/measure"
)

// tone is how a line is marked.
type tone int

const (
	plainTone tone = iota
	faintTone
	goodTone
	warnTone
	badTone
)

// note is one line about an event. Its text is clean.
type note struct {
	At   time.Duration // since the run's start
	Text string
	Tone tone
	// Lasting notes stay in the scrollback above the dashboard.
	Lasting bool
	// Logged notes are in the dashboard's log pane; the others are shown by
	// its other panes.
	Logged bool
	// Chat may be left out where a reader is too slow for everything.
	Chat bool
}

// narrate says what an event means, after it was applied. Samples and load are
// not told one by one.
func (s *state) narrate(e event.Event) []note {
	var ns []note
	switch d := e.Data.(type) {
	case event.RunStarted:
		ns = []note{{Text: s.sayRun(e.Time), Lasting: true}}
	case event.RunResumed:
		ns = []note{{Text: sayResumed(e.Time, d), Lasting: true, Logged: true}}
	case event.NodeState:
		ns = []note{s.sayNode(d)}
	case event.CellStarted:
		ns = []note{{Text: s.sayCell(d.Cell)}}
	case event.PhaseStarted:
		ns = []note{{Text: s.cellName(d.Position) + "  " + sayPhase(d)}}
	case event.Waiting:
		ns = s.sayWaiting(d)
	case event.ComponentState:
		ns = s.sayComponent(d)
	case event.FaultStarted:
		ns = []note{s.sayFault(d)}
	case event.FaultHealed:
		ns = []note{s.sayHealed(d)}
	case event.CellFinished:
		ns = []note{s.sayResult(d)}
	case event.Message:
		ns = []note{s.sayMessage(d)}
	case event.RunFinished:
		ns = []note{sayEnd(d)}
	}
	for i := range ns {
		ns[i].At = e.Time.Sub(s.Start)
	}
	return ns
}

func (s *state) sayRun(at time.Time) string {
	r := s.Run
	var b strings.Builder
	fmt.Fprintf(&b, "%s  run %s of experiment %s: %s on %s", at.Format(time.RFC3339), r.Run, r.Experiment,
		plural(len(s.Cells), "cell"), plural(len(s.Nodes), "node"))
	if r.Lab {
		b.WriteString(" of the loopback lab")
	}
	if r.Expected > 0 {
		fmt.Fprintf(&b, ", about %s", length(r.Expected))
	}
	if r.Directory != "" {
		fmt.Fprintf(&b, "; results in %s", r.Directory)
	}
	return b.String()
}

func sayResumed(at time.Time, d event.RunResumed) string {
	text := fmt.Sprintf("%s  run %s goes on: %s done, %d to run", at.Format(time.RFC3339), clean(d.Run), plural(d.Done, "cell"), d.Left)
	if d.Expected > 0 {
		text += ", about " + length(d.Expected)
	}
	return text
}

func (s *state) sayNode(d event.NodeState) note {
	n := s.node(clean(d.Node))
	who := n.Name
	if about := strings.TrimSpace(n.Role + " " + n.Address); about != "" && n.State == "connecting" {
		who += " (" + about + ")"
	}
	note := note{Text: "node " + who + " " + nodeWord(clean(d.State)), Logged: d.State == "ready", Tone: faintTone}
	if n.Detail != "" {
		note.Text += ": " + n.Detail
	}
	switch d.State {
	case event.NodeLost, event.NodeAgentLost, event.NodeRebooted, event.NodeRemoved, event.NodeDiskFull:
		note.Tone, note.Lasting, note.Logged = badTone, true, true
	case event.NodeLinkLost:
		note.Tone, note.Lasting, note.Logged = warnTone, true, true
	case event.NodeLinkBack, event.NodeReplaced, event.NodeDiskFree:
		note.Lasting, note.Logged = true, true
	}
	return note
}

func (s *state) sayCell(ref event.CellRef) string {
	text := s.cellTitle(ref) + "  started"
	if ref.Attempt > 1 {
		text += ", attempt " + strconv.Itoa(ref.Attempt)
	}
	if ref.Expected > 0 {
		text += ", about " + length(ref.Expected)
	}
	return text
}

// cellName names a cell by its position; empty between cells.
func (s *state) cellName(position int) string {
	if c := s.at(position); c != nil {
		return s.cellTitle(c.Ref)
	}
	if position > 0 {
		return "cell " + strconv.Itoa(position)
	}
	return "run"
}

// cellTitle names a cell: cell 3/4 devices=500 qos=1.
func (s *state) cellTitle(ref event.CellRef) string {
	text := fmt.Sprintf("cell %d/%d", ref.Position, max(len(s.Cells), ref.Position))
	if label := coordinates(ref.Dimensions); label != "" {
		text += " " + label
	}
	if s.Repeated {
		text += " repetition " + strconv.Itoa(ref.Repetition)
	}
	return text
}

func sayPhase(d event.PhaseStarted) string {
	text := clean(string(d.Phase))
	switch {
	case d.Limit <= 0:
	case d.Fixed:
		text += " " + length(d.Limit)
	default:
		text += ", at most " + length(d.Limit)
	}
	return text
}

func (s *state) sayWaiting(d event.Waiting) []note {
	if len(s.Waiting) == 0 {
		return nil // the next line says what comes instead
	}
	return []note{{Text: fmt.Sprintf("%s  %s: waiting for %s", s.cellName(d.Position), clean(string(d.Phase)), some(s.Waiting, 8))}}
}

// maxLogTail bounds the log lines told of a component that went away.
const maxLogTail = 10

func (s *state) sayComponent(d event.ComponentState) []note {
	c := s.component(clean(d.Component), d.Instance)
	text := fmt.Sprintf("component %s on %s %s", instanceName(c.Name, c.Instance), c.Node, c.State)
	if c.Detail != "" {
		text += ": " + c.Detail
	}
	first := note{Text: text, Tone: faintTone}
	switch d.State {
	case "ready":
		first.Logged = true
	case "exited":
		first.Tone, first.Lasting, first.Logged = badTone, true, true
	case "restarted":
		first.Tone, first.Lasting, first.Logged = warnTone, true, true
	}
	ns := []note{first}
	tail := d.Log[max(0, len(d.Log)-maxLogTail):]
	for _, l := range tail {
		ns = append(ns, note{Text: "  | " + clean(l), Logged: true, Tone: faintTone, Lasting: first.Lasting, Chat: true})
	}
	return ns
}

func instanceName(component string, instance int) string {
	return component + "/" + strconv.Itoa(instance)
}

// sayResult tells a cell's result in one line: the verdict, the ledger, the
// rate, the latency, and why it is not simply valid.
func (s *state) sayResult(d event.CellFinished) note {
	r := d.Result
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  published %d delivered %d dropped %d", s.cellTitle(d.Cell), clean(string(r.Verdict)),
		r.Ledger.Published, r.Ledger.Delivered, r.Ledger.Dropped)
	if r.Ledger.Unknown > 0 {
		fmt.Fprintf(&b, " unknown %d", r.Ledger.Unknown)
	}
	if r.Ledger.Late > 0 {
		fmt.Fprintf(&b, " late %d", r.Ledger.Late)
	}
	if r.DeliveredRate != nil {
		fmt.Fprintf(&b, "  %s", rate(*r.DeliveredRate))
	}
	if r.Latency.P99 != nil {
		fmt.Fprintf(&b, "  p50 %s p99 %s", millis(r.Latency.P50), millis(r.Latency.P99))
	}
	n := note{Lasting: true, Tone: goodTone}
	switch r.Verdict {
	case measure.Valid:
	case measure.Degraded:
		n.Tone = warnTone
	default:
		n.Tone = badTone
	}
	sep := "  "
	for _, why := range r.Reasons {
		fmt.Fprintf(&b, "%s%s: %s", sep, clean(why.Code), clean(why.Text))
		sep = "; "
	}
	for _, o := range r.Outcomes {
		if o.State == "held" {
			continue
		}
		fmt.Fprintf(&b, "%sexpectation %q %s", sep, clean(o.Name), clean(o.State))
		if o.Message != "" {
			b.WriteString(": " + clean(o.Message))
		}
		sep = "; "
		if n.Tone == goodTone && o.State == "failed" {
			n.Tone = warnTone
		}
	}
	n.Text = b.String()
	return n
}

func (s *state) sayMessage(d event.Message) note {
	n := note{Logged: true, Chat: true}
	var b strings.Builder
	switch d.Level {
	case "error":
		n.Tone, n.Lasting, n.Chat = badTone, true, false
		b.WriteString("error: ")
	case "warn":
		n.Tone, n.Lasting = warnTone, true
		b.WriteString("warning: ")
	}
	if d.Position > 0 {
		fmt.Fprintf(&b, "cell %d: ", d.Position)
	}
	if d.Node != "" {
		b.WriteString("node " + clean(d.Node) + ": ")
	}
	b.WriteString(clean(d.Text))
	if d.Next != "" {
		b.WriteString(" - next: " + clean(d.Next))
	}
	n.Text = b.String()
	return n
}

func sayEnd(d event.RunFinished) note {
	n := note{Lasting: true, Tone: goodTone}
	if d.Status != 0 {
		n.Tone = warnTone
	}
	var b strings.Builder
	fmt.Fprintf(&b, "run finished with status %d", d.Status)
	if d.Reason != "" {
		b.WriteString(": " + clean(d.Reason))
	}
	fmt.Fprintf(&b, "; cells: %d valid, %d degraded, %d invalid, %d missing", d.Valid, d.Degraded, d.Invalid, d.Missing)
	if d.Directory != "" {
		b.WriteString("; results in " + clean(d.Directory))
	}
	n.Text = b.String()
	return n
}

// sayProgress tells how the load stands.
func (s *state) sayProgress() string {
	l := s.Load
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s: devices %d customers %d  published %s delivered %s under way %d", s.cellName(l.Position),
		clean(string(l.Phase)), l.Devices, l.Customers, rate(l.Published), rate(l.Delivered), l.UnderWay)
	if l.P99 != nil {
		fmt.Fprintf(&b, "  p50 %s p99 %s", millis(l.P50), millis(l.P99))
	}
	if c := s.busiest(); c != nil {
		fmt.Fprintf(&b, "  busiest %s on %s %s mCPU", instanceName(c.Name, c.Instance), c.Node, short(c.Sample.CPU))
	}
	return b.String()
}

// sayStillWaiting tells for whom a wait goes on.
func (s *state) sayStillWaiting(position int) string {
	return fmt.Sprintf("%s  %s: waiting for %s since %s", s.cellName(position), clean(string(s.WaitingPhase)),
		some(s.Waiting, 8), length(s.Now.Sub(s.WaitingSince)))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
