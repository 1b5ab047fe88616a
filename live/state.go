package live

import (
	"slices"
	"strings"
	"time"

	"bela/event"
	"bela/measure"
)

// What is kept: at least so many seconds of load and lines of the log, and at
// most twice as many.
const (
	HistorySeconds = 120
	LogLines       = 200
)

const staleAfter = 5 * time.Second

// State is what the events so far amount to. It is bounded by the plan and the
// testbed, however long the run is. All text in it is clean.
type State struct {
	Now    time.Time // the latest time known: of an event, or of the clock
	Start  time.Time
	Run    event.RunStarted
	Labels []string // the dimensions' names

	Cells    []Cell // in running order
	Current  int    // index into Cells; -1 between cells
	Last     int    // index of the cell that was current last; -1 before the first
	Repeated bool   // some combination has more than one repetition

	Phase        event.Phase
	PhaseStarted time.Time
	PhaseLimit   time.Duration
	PhaseFixed   bool

	Waiting      []string
	WaitingPhase event.Phase
	WaitingSince time.Time

	Nodes      []Node
	Components []Component

	Faults []Fault // in force

	Load    event.Load
	HasLoad bool
	History []Second // one a second, oldest first

	Log      []Note
	Finished *event.RunFinished
}

// Status is where a cell stands.
type Status int

// The statuses, from the one to come to the worst.
const (
	Pending Status = iota
	Running
	Valid
	Degraded
	Invalid
	Skipped // by an operator: no result
)

// Cell is one cell of the plan.
type Cell struct {
	Ref     event.CellRef
	Label   string
	Status  Status
	Started time.Time
	Took    time.Duration // from start to result
	P99     *float64      // of a finished cell, in ms

	reasons []string // codes of its last result that something helps against
}

// Node is one machine.
type Node struct {
	Name, Role, Address string
	State, Detail       string
	Sample              event.NodeSample
	SampledAt           time.Time // zero before the first sample
}

// Component is one instance.
type Component struct {
	Name          string
	Instance      int
	Node          string
	State, Detail string
	Sample        event.ComponentSample
	SampledAt     time.Time
}

// Second is one second of load.
type Second struct {
	T                               int
	Published, Delivered, UnderWay  float64
	P50, P99, Lateness              float64
	Bands                           []int64 // messages by latency, between event.LatencyBounds
	HasP50, HasP99, HasLateness, On bool
}

// New returns the state before the first event.
func New() State { return State{Current: -1, Last: -1} }

// Clone returns a copy that shares nothing that changes.
func (s *State) Clone() State {
	c := *s
	c.Cells = slices.Clone(s.Cells)
	c.Waiting = slices.Clone(s.Waiting)
	c.Nodes = slices.Clone(s.Nodes)
	c.Components = slices.Clone(s.Components)
	c.Faults = slices.Clone(s.Faults)
	c.History = slices.Clone(s.History)
	c.Log = slices.Clone(s.Log)
	return c
}

// Handle applies an event and returns what there is to say about it. What the
// dashboard's other panes do not show goes into the log.
func (s *State) Handle(e event.Event) []Note {
	s.apply(e)
	notes := s.narrate(e)
	for _, n := range notes {
		if !n.Logged {
			continue
		}
		s.Log = append(s.Log, n)
	}
	if len(s.Log) >= 2*LogLines {
		s.Log = slices.Clone(s.Log[len(s.Log)-LogLines:])
	}
	return notes
}

func (s *State) apply(e event.Event) {
	if s.Start.IsZero() {
		s.Start = e.Time
	}
	if e.Time.After(s.Now) {
		s.Now = e.Time
	}
	switch d := e.Data.(type) {
	case event.RunStarted:
		s.applyRun(e.Time, d)
	case event.RunResumed:
		s.applyResumed(e.Time, d)
	case event.NodeState:
		n := s.node(Clean(d.Node))
		n.State, n.Detail = Clean(d.State), Clean(d.Detail)
		if d.State == event.NodeLinkBack || d.State == event.NodeDiskFree {
			n.State = event.NodeReady // as before
		}
	case event.CellStarted:
		s.applyCell(e.Time, d.Cell)
	case event.PhaseStarted:
		s.Phase, s.PhaseStarted, s.PhaseLimit, s.PhaseFixed = d.Phase, e.Time, d.Limit, d.Fixed
		s.Waiting = nil
		if PhaseIndex(d.Phase) > PhaseIndex(event.PhaseStart) {
			s.Components = slices.DeleteFunc(s.Components, func(c Component) bool { return c.State == "" })
		}
	case event.Waiting:
		s.applyWaiting(e.Time, d)
	case event.ComponentState:
		c := s.component(Clean(d.Component), d.Instance)
		c.Node, c.State, c.Detail = Clean(d.Node), Clean(d.State), Clean(d.Detail)
		if d.State != "ready" {
			c.SampledAt = time.Time{}
		}
	case event.NodeSample:
		s.applySample(e.Time, d)
	case event.Load:
		s.applyLoad(d)
	case event.CellFinished:
		s.applyResult(e.Time, d)
	case event.CellSkipped:
		s.end(e.Time, s.cell(d.Cell), Skipped)
	case event.FaultStarted:
		s.applyFault(e.Time, d)
	case event.FaultHealed:
		s.Faults = slices.DeleteFunc(s.Faults, func(f Fault) bool { return f.Position == d.Position && f.Name == Clean(d.Name) })
	case event.RunFinished:
		s.Finished, s.Current, s.Waiting = &d, -1, nil
	}
}

func (s *State) applyRun(at time.Time, d event.RunStarted) {
	now := s.Now
	*s = New()
	s.Now, s.Start, s.Run = now, at, d
	s.Run.Run, s.Run.Experiment, s.Run.Directory = Clean(d.Run), Clean(d.Experiment), Clean(d.Directory)
	for _, name := range d.Dimensions {
		s.Labels = append(s.Labels, Clean(name))
	}
	for _, ref := range d.Cells {
		s.Cells = append(s.Cells, Cell{Ref: ref, Label: Coordinates(ref.Dimensions)})
		s.Repeated = s.Repeated || ref.Repetition > 1
	}
	for _, n := range d.Nodes {
		s.Nodes = append(s.Nodes, Node{Name: Clean(n.Name), Role: Clean(n.Role), Address: Clean(n.Address)})
	}
	s.Run.Components = nil
	for _, c := range d.Components {
		s.Run.Components = append(s.Run.Components, Clean(c))
	}
}

// applyResumed goes on with the cells that have a result, on nodes of which
// nothing is known yet. Time counts anew: the run stood still.
func (s *State) applyResumed(at time.Time, d event.RunResumed) {
	s.Start, s.Current, s.Finished = at, -1, nil
	s.Run.Run, s.Run.Directory = Clean(d.Run), Clean(d.Directory)
	s.Nodes, s.Components = nil, nil
	for _, n := range d.Nodes {
		s.Nodes = append(s.Nodes, Node{Name: Clean(n.Name), Role: Clean(n.Role), Address: Clean(n.Address)})
	}
}

func (s *State) applyCell(at time.Time, ref event.CellRef) {
	i := s.cell(ref)
	s.Cells[i].Ref, s.Cells[i].Status, s.Cells[i].Started = ref, Running, at
	s.Current, s.Last = i, i
	s.Phase, s.PhaseLimit, s.Waiting = "", 0, nil
	s.History, s.HasLoad, s.Faults = nil, false, nil
	// The instances of the cell before stay until this cell's are known: most
	// cells have the same, and the picture does not jump.
	for i := range s.Components {
		c := &s.Components[i]
		c.State, c.Detail, c.SampledAt = "", "", time.Time{}
	}
}

func (s *State) applyWaiting(at time.Time, d event.Waiting) {
	if len(s.Waiting) == 0 || s.WaitingPhase != d.Phase {
		s.WaitingSince = at
	}
	s.WaitingPhase, s.Waiting = d.Phase, nil
	for _, name := range d.For {
		s.Waiting = append(s.Waiting, Clean(name))
	}
}

func (s *State) applySample(at time.Time, d event.NodeSample) {
	n := s.node(Clean(d.Node))
	n.SampledAt, n.Sample = at, d
	n.Sample.Components = nil
	for _, c := range d.Components {
		k := s.component(Clean(c.Component), c.Instance)
		k.Node, k.SampledAt, k.Sample = n.Name, at, c
	}
}

func (s *State) applyLoad(d event.Load) {
	s.Load, s.HasLoad = d, true
	p := Second{T: d.T, Published: d.Published, Delivered: d.Delivered, UnderWay: float64(d.UnderWay), Bands: d.Bands, On: true}
	p.P50, p.HasP50 = deref(d.P50)
	p.P99, p.HasP99 = deref(d.P99)
	p.Lateness, p.HasLateness = deref(d.Lateness)
	s.History = append(s.History, p)
	if len(s.History) >= 2*HistorySeconds {
		s.History = slices.Clone(s.History[len(s.History)-HistorySeconds:])
	}
}

func (s *State) applyResult(at time.Time, d event.CellFinished) {
	i := s.cell(d.Cell)
	c := &s.Cells[i]
	switch d.Result.Verdict {
	case measure.Valid:
		c.Status = Valid
	case measure.Degraded:
		c.Status = Degraded
	default:
		c.Status = Invalid
	}
	c.reasons = nil // those of an earlier attempt are mended
	for _, r := range d.Result.Reasons {
		if measure.NextStep(r.Code) != "" {
			c.reasons = append(c.reasons, r.Code)
		}
	}
	c.P99 = d.Result.Latency.P99
	s.end(at, i, c.Status)
}

// end is the end of a cell.
func (s *State) end(at time.Time, i int, status Status) {
	c := &s.Cells[i]
	c.Status = status
	if !c.Started.IsZero() {
		c.Took = at.Sub(c.Started)
	}
	if s.Current == i {
		s.Current, s.Phase, s.Waiting, s.Faults = -1, "", nil, nil
	}
}

func deref(v *float64) (float64, bool) {
	if v == nil {
		return 0, false
	}
	return *v, true
}

// cell returns the index of a cell, which it adds where the run's start did
// not name it.
func (s *State) cell(ref event.CellRef) int {
	if i := ref.Position - 1; i >= 0 && i < len(s.Cells) && s.Cells[i].Ref.Position == ref.Position {
		return i
	}
	if i := slices.IndexFunc(s.Cells, func(c Cell) bool { return c.Ref.Position == ref.Position }); i >= 0 {
		return i
	}
	s.Cells = append(s.Cells, Cell{Ref: ref, Label: Coordinates(ref.Dimensions)})
	s.Repeated = s.Repeated || ref.Repetition > 1
	return len(s.Cells) - 1
}

func (s *State) node(name string) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	s.Nodes = append(s.Nodes, Node{Name: name})
	return &s.Nodes[len(s.Nodes)-1]
}

func (s *State) component(name string, instance int) *Component {
	for i := range s.Components {
		if c := &s.Components[i]; c.Name == name && c.Instance == instance {
			return c
		}
	}
	s.Components = append(s.Components, Component{Name: name, Instance: instance})
	return &s.Components[len(s.Components)-1]
}

// at finds a cell by its position; nil where there is none.
func (s *State) at(position int) *Cell {
	if position < 1 {
		return nil
	}
	for i := range s.Cells {
		if s.Cells[i].Ref.Position == position {
			return &s.Cells[i]
		}
	}
	return nil
}

// Fresh says that a sample taken at t still describes the present.
func (s *State) Fresh(t time.Time) bool {
	return !t.IsZero() && s.Now.Sub(t) <= staleAfter
}

// Busiest returns the instance with the highest CPU now; nil where none is known.
func (s *State) Busiest() *Component {
	var top *Component
	for i := range s.Components {
		c := &s.Components[i]
		if s.Fresh(c.SampledAt) && (top == nil || c.Sample.CPU > top.Sample.CPU) {
			top = c
		}
	}
	return top
}

// Done counts the cells that have a result.
func (s *State) Done() int {
	n := 0
	for _, c := range s.Cells {
		if c.Status > Running {
			n++
		}
	}
	return n
}

// Remaining estimates the time to the end of the run: what the plan expects of
// the cells to come, scaled by how the finished ones compared with it. It is
// false where the plan expects nothing.
func (s *State) Remaining() (time.Duration, bool) {
	var took, planned time.Duration
	for _, c := range s.Cells {
		if c.Status > Running && c.Status != Skipped && c.Took > 0 && c.Ref.Expected > 0 {
			took += c.Took
			planned += c.Ref.Expected
		}
	}
	scale := 1.0
	if planned > 0 {
		scale = min(max(took.Seconds()/planned.Seconds(), 0.5), 3)
	}
	var left time.Duration
	known := false
	for _, c := range s.Cells {
		if c.Ref.Expected <= 0 || c.Status > Running {
			continue
		}
		known = true
		expected := time.Duration(float64(c.Ref.Expected) * scale)
		if c.Status == Running {
			expected -= s.Now.Sub(c.Started)
		}
		left += max(expected, 0)
	}
	return left, known
}

// PhaseIndex is a phase's place in the order of phases; -1 for none of them.
func PhaseIndex(p event.Phase) int {
	for i, q := range event.Phases() {
		if p == q {
			return i
		}
	}
	return -1
}

// NodeTrouble tells of a state that needs an operator's eye.
func NodeTrouble(state string) bool {
	switch state {
	case event.NodeLinkLost, event.NodeAgentLost, event.NodeRebooted, event.NodeLost, event.NodeRemoved, event.NodeDiskFull:
		return true
	}
	return false
}

// NodeWord is a node's state as people say it.
func NodeWord(state string) string { return strings.ReplaceAll(state, "_", " ") }

// String names a status as the page and programs know it.
func (s Status) String() string {
	switch s {
	case Running:
		return "running"
	case Valid:
		return "valid"
	case Degraded:
		return "degraded"
	case Invalid:
		return "invalid"
	case Skipped:
		return "skipped"
	}
	return "pending"
}
