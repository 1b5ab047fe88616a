package web

import (
	"math"
	"strconv"
	"time"

	"bela/event"
	"bela/live"
)

// The pieces of the state as the page gets them. Times are milliseconds since the
// Unix epoch, lengths of time milliseconds; null is what is not known.

// head is what changes with every second.
type head struct {
	Now     int64  `json:"now"`
	Elapsed int64  `json:"elapsed"`
	Left    *int64 `json:"left"` // to the end of the run, about
}

func headOf(s *live.State) head {
	h := head{Now: s.Now.UnixMilli()}
	if !s.Start.IsZero() {
		h.Elapsed = s.Now.Sub(s.Start).Milliseconds()
	}
	if left, known := s.Remaining(); known {
		ms := left.Milliseconds()
		h.Left = &ms
	}
	return h
}

type run struct {
	Experiment string             `json:"experiment"`
	Run        string             `json:"run"`
	Directory  string             `json:"directory"`
	Lab        bool               `json:"lab"`
	Cells      int                `json:"cells"`
	Done       int                `json:"done"`
	Names      []string           `json:"names"` // of the dimensions
	Repeated   bool               `json:"repeated"`
	Phases     []event.Phase      `json:"phases"`
	Bounds     []float64          `json:"bounds"` // of the latency's bands, in ms
	Control    bool               `json:"control"`
	Finished   *event.RunFinished `json:"finished"`
}

func runOf(s *live.State, control bool) run {
	r := run{
		Experiment: s.Run.Experiment, Run: s.Run.Run, Directory: s.Run.Directory, Lab: s.Run.Lab, Cells: len(s.Cells), Done: s.Done(),
		Names: s.Labels, Repeated: s.Repeated, Phases: event.Phases(), Control: control, Finished: s.Finished,
	}
	for _, b := range event.LatencyBounds() {
		r.Bounds = append(r.Bounds, float64(b)/1e6)
	}
	if f := s.Finished; f != nil {
		clean := *f
		clean.Reason, clean.Directory = live.Clean(f.Reason), live.Clean(f.Directory)
		r.Finished = &clean
	}
	return r
}

// current is the cell in progress.
type current struct {
	Position     int         `json:"position"`
	Label        string      `json:"label"`
	Repetition   int         `json:"repetition"`
	Attempt      int         `json:"attempt"`
	Started      int64       `json:"started"`
	Expected     int64       `json:"expected"`
	Phase        event.Phase `json:"phase"`
	PhaseStarted int64       `json:"phase_started"`
	Limit        int64       `json:"limit"`
	Fixed        bool        `json:"fixed"`
	Waiting      []string    `json:"waiting"`
	WaitingSince int64       `json:"waiting_since"`
	Faults       []fault     `json:"faults"`
}

type fault struct {
	Text  string `json:"text"`
	Since int64  `json:"since"`
	For   int64  `json:"for"`
}

// maxWaiting bounds the names that the page lists; it says how many there are.
const maxWaiting = 12

func currentOf(s *live.State) *current {
	if s.Current < 0 {
		return nil
	}
	cell := &s.Cells[s.Current]
	c := &current{
		Position: cell.Ref.Position, Label: cell.Label, Repetition: cell.Ref.Repetition, Attempt: cell.Ref.Attempt,
		Started: cell.Started.UnixMilli(), Expected: cell.Ref.Expected.Milliseconds(), Phase: event.Phase(live.Clean(string(s.Phase))),
		Limit: s.PhaseLimit.Milliseconds(), Fixed: s.PhaseFixed, Waiting: s.Waiting,
	}
	if s.Phase != "" {
		c.PhaseStarted = s.PhaseStarted.UnixMilli()
	}
	if len(s.Waiting) > 0 {
		c.WaitingSince = s.WaitingSince.UnixMilli()
		if more := len(s.Waiting) - maxWaiting; more > 0 {
			c.Waiting = append(append([]string(nil), s.Waiting[:maxWaiting]...), "and "+strconv.Itoa(more)+" more")
		}
	}
	for _, f := range s.Faults {
		c.Faults = append(c.Faults, fault{f.Text, f.Since.UnixMilli(), f.For.Milliseconds()})
	}
	return c
}

type cell struct {
	Order      int      `json:"order"`
	Position   int      `json:"position"`
	Number     int      `json:"number"`
	Repetition int      `json:"repetition"`
	Attempt    int      `json:"attempt"`
	Values     []string `json:"values"`
	Status     string   `json:"status"`
	P99        *float64 `json:"p99"`
}

func cellKey(c *live.Cell) string { return "cell " + strconv.Itoa(c.Ref.Position) }

func cellOf(order int, c *live.Cell) cell {
	out := cell{
		Order: order, Position: c.Ref.Position, Number: c.Ref.Number, Repetition: c.Ref.Repetition, Attempt: c.Ref.Attempt,
		Status: c.Status.String(), P99: c.P99,
	}
	for _, d := range c.Ref.Dimensions {
		out.Values = append(out.Values, live.Coordinate(d.Value))
	}
	return out
}

type node struct {
	Order   int     `json:"order"`
	Name    string  `json:"name"`
	Role    string  `json:"role"`
	Address string  `json:"address"`
	State   string  `json:"state"` // in words
	Trouble bool    `json:"trouble"`
	Detail  string  `json:"detail"`
	Sample  *sample `json:"sample"` // null where none is fresh
}

// sample is a second of a node.
type sample struct {
	CPUs        int      `json:"cpus"`
	CPU         float64  `json:"cpu"` // mCPU
	Steal       float64  `json:"steal"`
	Memory      float64  `json:"memory"` // MiB
	MemoryTotal float64  `json:"memory_total"`
	In          float64  `json:"in"` // bytes a second
	Out         float64  `json:"out"`
	Errors      float64  `json:"errors"` // a second
	ClockError  *float64 `json:"clock_error"`
	Lateness    *float64 `json:"lateness"`
	Latency     *float64 `json:"latency"`
}

func nodeOf(order int, n *live.Node, s *live.State) node {
	out := node{Order: order, Name: n.Name, Role: n.Role, Address: n.Address, State: live.NodeWord(n.State), Trouble: live.NodeTrouble(n.State), Detail: n.Detail}
	if s.Fresh(n.SampledAt) {
		d := &n.Sample
		out.Sample = &sample{
			CPUs: d.CPUs, CPU: tidy(d.CPU), Steal: tidy(d.Steal), Memory: tidy(d.Memory), MemoryTotal: tidy(d.MemoryTotal), In: tidy(d.NetIn), Out: tidy(d.NetOut),
			Errors: tidy(live.Errors(d)), ClockError: d.ClockError, Lateness: d.Lateness, Latency: d.Latency,
		}
	}
	return out
}

type component struct {
	Order    int      `json:"order"`
	Name     string   `json:"name"` // gateway/2
	Node     string   `json:"node"`
	State    string   `json:"state"`
	Detail   string   `json:"detail"`
	CPU      *float64 `json:"cpu"`    // mCPU; null where no sample is fresh
	Memory   *float64 `json:"memory"` // MiB
	Restarts int      `json:"restarts"`
	In       *float64 `json:"in"` // messages a second; null where it does not count
	Out      *float64 `json:"out"`
	Dropped  *float64 `json:"dropped"`
}

func componentOf(order int, c *live.Component, s *live.State) component {
	out := component{Order: order, Name: live.InstanceName(c.Name, c.Instance), Node: c.Node, State: c.State, Detail: c.Detail}
	if !s.Fresh(c.SampledAt) {
		return out
	}
	number := func(v float64) *float64 { v = tidy(v); return &v }
	out.CPU, out.Memory, out.Restarts = number(c.Sample.CPU), number(c.Sample.Memory), c.Sample.Restarts
	if c.Sample.Counted {
		out.In, out.Out, out.Dropped = number(c.Sample.MessagesIn), number(c.Sample.MessagesOut), number(c.Sample.Dropped)
	}
	return out
}

func loadOf(s *live.State) *event.Load {
	if !s.HasLoad {
		return nil
	}
	l := s.Load
	l.Phase = event.Phase(live.Clean(string(l.Phase)))
	return &l
}

type slowest struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

func slowestOf(s *live.State) *slowest {
	if d, ok := s.Slowest(); ok {
		return &slowest{d.Node, d.Why}
	}
	return nil
}

// note is a line about an event.
type note struct {
	Time int64  `json:"time"` // since the run's start
	At   int64  `json:"at"`
	Text string `json:"text"`
	Tone string `json:"tone"`
}

func newNote(at time.Time, n live.Note) note {
	return note{Time: n.At.Milliseconds(), At: at.UnixMilli(), Text: n.Text, Tone: n.Tone.String()}
}

// second is one of load.
type second struct {
	Position  int      `json:"position"`
	T         int      `json:"t"`
	Published float64  `json:"published"`
	Delivered float64  `json:"delivered"`
	UnderWay  int64    `json:"under_way"`
	P50       *float64 `json:"p50"`
	P99       *float64 `json:"p99"`
	Bands     []int64  `json:"bands"`
}

func newSecond(l event.Load) second {
	return second{l.Position, l.T, l.Published, l.Delivered, l.UnderWay, l.P50, l.P99, l.Bands}
}

// tidy keeps a tenth: what nobody can see need not travel.
func tidy(v float64) float64 { return math.Round(v*10) / 10 }
