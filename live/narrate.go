package live

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/event"
	"bela/measure"
)

// Tone is how a line is marked.
type Tone int

// The tones.
const (
	PlainTone Tone = iota
	FaintTone
	GoodTone
	WarnTone
	BadTone
)

// Note is one line about an event. Its text is clean.
type Note struct {
	At   time.Duration // since the run's start
	Text string
	Tone Tone
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
func (s *State) narrate(e event.Event) []Note {
	var ns []Note
	switch d := e.Data.(type) {
	case event.RunStarted:
		ns = []Note{{Text: s.sayRun(e.Time), Lasting: true}}
	case event.RunResumed:
		ns = []Note{{Text: sayResumed(e.Time, d), Lasting: true, Logged: true}}
	case event.NodeState:
		ns = []Note{s.sayNode(d)}
	case event.CellStarted:
		ns = []Note{{Text: s.sayCell(d.Cell)}}
	case event.PhaseStarted:
		ns = []Note{{Text: s.cellName(d.Position) + "  " + sayPhase(d)}}
	case event.Waiting:
		ns = s.sayWaiting(d)
	case event.ComponentState:
		ns = s.sayComponent(d)
	case event.FaultStarted:
		ns = []Note{s.sayFault(d)}
	case event.FaultHealed:
		ns = []Note{s.sayHealed(d)}
	case event.CellSkipped:
		ns = []Note{{Text: s.cellTitle(d.Cell) + "  skipped by " + Clean(d.By) + ": it has no result", Tone: WarnTone, Lasting: true, Logged: true}}
	case event.CellFinished:
		ns = []Note{s.sayResult(d)}
	case event.Message:
		ns = []Note{s.sayMessage(d)}
	case event.RunFinished:
		ns = append([]Note{sayEnd(d)}, s.sayHelps()...)
	}
	for i := range ns {
		ns[i].At = e.Time.Sub(s.Start)
	}
	return ns
}

func (s *State) sayRun(at time.Time) string {
	r := s.Run
	var b strings.Builder
	fmt.Fprintf(&b, "%s  run %s of experiment %s: %s on %s", at.Format(time.RFC3339), r.Run, r.Experiment,
		Plural(len(s.Cells), "cell"), Plural(len(s.Nodes), "node"))
	if r.Lab {
		b.WriteString(" of the loopback lab")
	}
	if r.Expected > 0 {
		fmt.Fprintf(&b, ", about %s", Length(r.Expected))
	}
	if r.Directory != "" {
		fmt.Fprintf(&b, "; results in %s", r.Directory)
	}
	return b.String()
}

func sayResumed(at time.Time, d event.RunResumed) string {
	text := fmt.Sprintf("%s  run %s goes on: %s done, %d to run", at.Format(time.RFC3339), Clean(d.Run), Plural(d.Done, "cell"), d.Left)
	if d.Expected > 0 {
		text += ", about " + Length(d.Expected)
	}
	return text
}

func (s *State) sayNode(d event.NodeState) Note {
	n := s.node(Clean(d.Node))
	who := n.Name
	if about := strings.TrimSpace(n.Role + " " + n.Address); about != "" && n.State == "connecting" {
		who += " (" + about + ")"
	}
	note := Note{Text: "node " + who + " " + NodeWord(Clean(d.State)), Logged: d.State == "ready", Tone: FaintTone}
	if n.Detail != "" {
		note.Text += ": " + n.Detail
	}
	switch d.State {
	case event.NodeLost, event.NodeAgentLost, event.NodeRebooted, event.NodeRemoved, event.NodeDiskFull:
		note.Tone, note.Lasting, note.Logged = BadTone, true, true
	case event.NodeLinkLost:
		note.Tone, note.Lasting, note.Logged = WarnTone, true, true
	case event.NodeLinkBack, event.NodeReplaced, event.NodeDiskFree:
		note.Lasting, note.Logged = true, true
	}
	return note
}

func (s *State) sayCell(ref event.CellRef) string {
	text := s.cellTitle(ref) + "  started"
	if ref.Attempt > 1 {
		text += ", attempt " + strconv.Itoa(ref.Attempt)
	}
	if ref.Expected > 0 {
		text += ", about " + Length(ref.Expected)
	}
	return text
}

// cellName names a cell by its position; empty between cells.
func (s *State) cellName(position int) string {
	if c := s.at(position); c != nil {
		return s.cellTitle(c.Ref)
	}
	if position > 0 {
		return "cell " + strconv.Itoa(position)
	}
	return "run"
}

// cellTitle names a cell: cell 3/4 devices=500 qos=1.
func (s *State) cellTitle(ref event.CellRef) string {
	text := fmt.Sprintf("cell %d/%d", ref.Position, max(len(s.Cells), ref.Position))
	if label := Coordinates(ref.Dimensions); label != "" {
		text += " " + label
	}
	if s.Repeated {
		text += " repetition " + strconv.Itoa(ref.Repetition)
	}
	return text
}

func sayPhase(d event.PhaseStarted) string {
	text := Clean(string(d.Phase))
	switch {
	case d.Limit <= 0:
	case d.Fixed:
		text += " " + Length(d.Limit)
	default:
		text += ", at most " + Length(d.Limit)
	}
	return text
}

func (s *State) sayWaiting(d event.Waiting) []Note {
	if len(s.Waiting) == 0 {
		return nil // the next line says what comes instead
	}
	return []Note{{Text: fmt.Sprintf("%s  %s: waiting for %s", s.cellName(d.Position), Clean(string(d.Phase)), Some(s.Waiting, 8))}}
}

// maxLogTail bounds the log lines told of a component that went away.
const maxLogTail = 10

func (s *State) sayComponent(d event.ComponentState) []Note {
	c := s.component(Clean(d.Component), d.Instance)
	text := fmt.Sprintf("component %s on %s %s", InstanceName(c.Name, c.Instance), c.Node, c.State)
	if c.Detail != "" {
		text += ": " + c.Detail
	}
	first := Note{Text: text, Tone: FaintTone}
	switch d.State {
	case "ready":
		first.Logged = true
	case "exited":
		first.Tone, first.Lasting, first.Logged = BadTone, true, true
	case "restarted":
		first.Tone, first.Lasting, first.Logged = WarnTone, true, true
	}
	ns := []Note{first}
	tail := d.Log[max(0, len(d.Log)-maxLogTail):]
	for _, l := range tail {
		ns = append(ns, Note{Text: "  | " + Clean(l), Logged: true, Tone: FaintTone, Lasting: first.Lasting, Chat: true})
	}
	return ns
}

// InstanceName names an instance: gateway/2.
func InstanceName(component string, instance int) string {
	return component + "/" + strconv.Itoa(instance)
}

// sayResult tells a cell's result in one line: the verdict, the ledger, the
// rate, the latency, and why it is not simply valid.
func (s *State) sayResult(d event.CellFinished) Note {
	r := d.Result
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  published %d delivered %d dropped %d", s.cellTitle(d.Cell), Clean(string(r.Verdict)),
		r.Ledger.Published, r.Ledger.Delivered, r.Ledger.Dropped)
	if r.Ledger.Unknown > 0 {
		fmt.Fprintf(&b, " unknown %d", r.Ledger.Unknown)
	}
	if r.Ledger.Late > 0 {
		fmt.Fprintf(&b, " late %d", r.Ledger.Late)
	}
	if r.DeliveredRate != nil {
		fmt.Fprintf(&b, "  %s", Rate(*r.DeliveredRate))
	}
	if r.Latency.P99 != nil {
		fmt.Fprintf(&b, "  p50 %s p99 %s", Millis(r.Latency.P50), Millis(r.Latency.P99))
	}
	n := Note{Lasting: true, Tone: GoodTone}
	switch r.Verdict {
	case measure.Valid:
	case measure.Degraded:
		n.Tone = WarnTone
	default:
		n.Tone = BadTone
	}
	sep := "  "
	for _, why := range r.Reasons {
		fmt.Fprintf(&b, "%s%s: %s", sep, Clean(why.Code), Clean(why.Text))
		sep = "; "
	}
	for _, o := range r.Outcomes {
		if o.State == "held" {
			continue
		}
		fmt.Fprintf(&b, "%sexpectation %q %s", sep, Clean(o.Name), Clean(o.State))
		if o.Message != "" {
			b.WriteString(": " + Clean(o.Message))
		}
		sep = "; "
		if n.Tone == GoodTone && o.State == "failed" {
			n.Tone = WarnTone
		}
	}
	n.Text = b.String()
	return n
}

func (s *State) sayMessage(d event.Message) Note {
	n := Note{Logged: true, Chat: true}
	var b strings.Builder
	switch d.Level {
	case "error":
		n.Tone, n.Lasting, n.Chat = BadTone, true, false
		b.WriteString("error: ")
	case "warn":
		n.Tone, n.Lasting = WarnTone, true
		b.WriteString("warning: ")
	}
	if d.Position > 0 {
		fmt.Fprintf(&b, "cell %d: ", d.Position)
	}
	if d.Node != "" {
		b.WriteString("node " + Clean(d.Node) + ": ")
	}
	b.WriteString(Clean(d.Text))
	if d.Next != "" {
		b.WriteString(" - next: " + Clean(d.Next))
	}
	n.Text = b.String()
	return n
}

func sayEnd(d event.RunFinished) Note {
	n := Note{Lasting: true, Tone: GoodTone}
	if d.Status != 0 {
		n.Tone = WarnTone
	}
	var b strings.Builder
	fmt.Fprintf(&b, "run finished with status %d", d.Status)
	if d.Reason != "" {
		b.WriteString(": " + Clean(d.Reason))
	}
	fmt.Fprintf(&b, "; cells: %d valid, %d degraded, %d invalid, %d missing", d.Valid, d.Degraded, d.Invalid, d.Missing)
	if d.Directory != "" {
		b.WriteString("; results in " + Clean(d.Directory))
	}
	n.Text = b.String()
	return n
}

// sayHelps tells what to do about the reasons of the cells as they stand in the end,
// one note a kind.
func (s *State) sayHelps() []Note {
	var codes []string
	for _, c := range s.Cells {
		for _, code := range c.reasons {
			if !slices.Contains(codes, code) {
				codes = append(codes, code)
			}
		}
	}
	var ns []Note
	for _, code := range codes {
		ns = append(ns, Note{Text: "  what helps against " + code + ": " + measure.NextStep(code), Lasting: true})
	}
	return ns
}

// SayProgress tells how the load stands.
func (s *State) SayProgress() string {
	l := s.Load
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s: devices %d customers %d  published %s delivered %s under way %d", s.cellName(l.Position),
		Clean(string(l.Phase)), l.Devices, l.Customers, Rate(l.Published), Rate(l.Delivered), l.UnderWay)
	if l.P99 != nil {
		fmt.Fprintf(&b, "  p50 %s p99 %s", Millis(l.P50), Millis(l.P99))
	}
	if c := s.Busiest(); c != nil {
		fmt.Fprintf(&b, "  busiest %s on %s %s mCPU", InstanceName(c.Name, c.Instance), c.Node, Short(c.Sample.CPU))
	}
	return b.String()
}

// SayStillWaiting tells for whom a wait goes on.
func (s *State) SayStillWaiting(position int) string {
	return fmt.Sprintf("%s  %s: waiting for %s since %s", s.cellName(position), Clean(string(s.WaitingPhase)),
		Some(s.Waiting, 8), Length(s.Now.Sub(s.WaitingSince)))
}

// Plural counts things: 1 node, 2 nodes.
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// String names a tone as the page knows it.
func (t Tone) String() string {
	switch t {
	case FaintTone:
		return "faint"
	case GoodTone:
		return "good"
	case WarnTone:
		return "warn"
	case BadTone:
		return "bad"
	}
	return "plain"
}
