// Package doctor looks at every node of a plan at once, before a campaign, and
// says what would spoil it: what is wrong, why that matters, and what to type.
//
// It reaches each node once, has a short-lived agent look around there, lets
// the nodes connect to each other as the plan will, and holds what it saw
// against what the plan needs. Seeing and judging are apart: an exam is what was
// seen of a node, and judge makes findings of it without a network. It knows
// nodes, plans and agents, and neither runs nor campaigns. It leaves nothing on
// a node but what -fix was asked to change, and how to undo that.
package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"bela/experiment"
	"bela/nodes"
	"bela/provision"
)

// fanOut bounds how many nodes are looked at at once: so many that some which
// do not answer delay no others.
const fanOut = 64

// usualWindow is how long a node is watched.
const usualWindow = time.Second

// Config is what a doctor needs.
type Config struct {
	Plan *experiment.Plan
	// Targets are the plan's nodes and how to reach them.
	Targets []nodes.Target
	// Spares may take the place of a node of their group. One that is not fit is a
	// warning: a run begins without it.
	Spares []nodes.Target
	// Lab says that the nodes are the loopback lab's: they share the
	// controller's machine, which -fix leaves alone.
	Lab bool
	// Programs holds the programs for nodes.
	Programs provision.Source
	// Window is how long the nodes are watched; 0 is one second.
	Window time.Duration

	// Fix mends what is safe to mend.
	Fix bool
	// Undo puts back what an earlier Fix changed, and does nothing else.
	Undo bool
	// UndoFile is where Fix writes shell commands that undo it, on the controller.
	UndoFile string
	// By says who asks, for the record on the nodes: "user@host".
	By string
}

func (c *Config) window() time.Duration {
	if c.Window > 0 {
		return c.Window
	}
	return usualWindow
}

// Run looks at the nodes. What is wrong with a node is a finding; the error is
// of the controller's own doing: an undo file that cannot be written, or a ctx
// that ended.
func Run(ctx context.Context, c Config) (*Report, error) {
	needs, ways := needs(c.Plan)
	targets := c.Targets
	if c.Plan.OnNodeLost != experiment.LossStop { // a run would leave them alone
		ways = standIns(needs, ways, c.Plan, c.Spares)
		targets = slices.Concat(targets, c.Spares)
	}
	visits := make([]*visit, len(targets))
	byName := make(map[string]*visit)
	for i, t := range targets {
		visits[i] = &visit{exam: exam{target: t, spare: i >= len(c.Targets), onLab: c.Lab, first: i == 0}, need: needs[t.Name]}
		if visits[i].need == nil {
			visits[i].need = &need{processes: 1}
		}
		byName[t.Name] = visits[i]
	}
	r := &Report{Experiment: c.Plan.Experiment}
	left := false
	leave := func() {
		if !left {
			left = true
			r.leave(ctx, visits)
		}
	}
	defer leave()
	if c.Undo {
		err := undo(ctx, c, r, visits)
		r.settle()
		return r, err
	}
	token := rand.Text()
	if err := each(ctx, visits, func(ctx context.Context, v *visit) { v.look(ctx, &c, token) }); err != nil {
		return nil, err
	}
	// Every node listens now, or never will.
	if err := each(ctx, visits, func(ctx context.Context, v *visit) { v.try(ctx, token, ways, byName) }); err != nil {
		return nil, err
	}
	r.judge(&c, visits)
	var err error
	if c.Fix {
		err = fix(ctx, c, r, byName)
	}
	leave()
	r.settle()
	return r, err
}

// each does something to all nodes side by side; the error is that of a ctx
// that ended.
func each(ctx context.Context, visits []*visit, do func(context.Context, *visit)) error {
	_ = nodes.Each(ctx, visits, fanOut, func(ctx context.Context, v *visit) error {
		do(ctx, v)
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// leave ends all visits; what stays on a node is a finding.
func (r *Report) leave(ctx context.Context, visits []*visit) {
	errs := make([]error, len(visits))
	index := make([]int, len(visits))
	for i := range index {
		index[i] = i
	}
	_ = nodes.Each(context.WithoutCancel(ctx), index, fanOut, func(ctx context.Context, i int) error {
		errs[i] = visits[i].leave(ctx)
		return nil
	})
	for i, err := range errs {
		if err != nil && visits[i].place != "" {
			what, fix := cause(err)
			r.Findings = append(r.Findings, Finding{Node: visits[i].target.Name, Check: "doctor", Severity: Note,
				What: fmt.Sprintf("%s may be left there: %s", visits[i].place, what), Why: "it is the doctor's own", Fix: fix})
		}
	}
}

// judge makes findings of what was seen.
func (r *Report) judge(c *Config, visits []*visit) {
	crowded := make(map[string]bool) // nodes that the plan's check calls short of memory
	for _, f := range c.Plan.Check(factsOf(visits)) {
		found := short(f)
		crowded[f.Node] = crowded[f.Node] || found.Check == "memory"
		r.Findings = append(r.Findings, found)
	}
	for _, v := range visits {
		if v.spare {
			r.spare(c.Plan, v, crowded)
		}
		for _, f := range judge(&v.exam, v.need) {
			if f.Check != "memory" || !crowded[f.Node] {
				r.Findings = append(r.Findings, f)
			}
		}
		r.Nodes = append(r.Nodes, v.patient())
		r.Ways += len(v.ways)
	}
}

// spare has the plan's check look at a spare in the place of each node of its group.
func (r *Report) spare(plan *experiment.Plan, v *visit, crowded map[string]bool) {
	known := factsOf([]*visit{v})
	seen := make(map[string]bool)
	for _, name := range groupOf(plan, v.target) {
		for _, f := range plan.Check(func(asked string) (experiment.Facts, bool) {
			if asked != name {
				return experiment.Facts{}, false
			}
			return known(v.target.Name)
		}) {
			found := short(f)
			if seen[found.Check] {
				continue
			}
			seen[found.Check] = true
			found.Node, found.Severity, found.Why = v.target.Name, Warning, spareWhy
			crowded[found.Node] = crowded[found.Node] || found.Check == "memory"
			r.Findings = append(r.Findings, found)
		}
	}
}

// patient is the node's line in the report.
func (v *visit) patient() Patient {
	p := Patient{Node: v.target.Name, Address: v.address, Spare: v.spare, Seen: "nothing"}
	if p.Address == "" {
		p.Address = v.target.Host
	}
	switch {
	case v.inspection != nil:
		p.Seen = "all"
		if v.inspection.Cgroup != nil {
			p.LimitsBy = v.inspection.Cgroup.By
		}
	case v.facts != nil:
		p.Seen = "facts"
	}
	if v.clock != nil {
		offset, bound := milliseconds(v.clock.offset), milliseconds(v.clock.bound)
		p.ClockOffsetMS, p.ClockErrorMS = &offset, &bound
	}
	return p
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// factsOf hands what the nodes said of themselves to the plan's check.
func factsOf(visits []*visit) func(string) (experiment.Facts, bool) {
	known := make(map[string]experiment.Facts)
	for _, v := range visits {
		if v.facts == nil {
			continue
		}
		files := int(v.facts.OpenFilesHard)
		if files < 0 { // unlimited
			files = math.MaxInt32
		}
		known[v.target.Name] = experiment.Facts{
			OpenFiles:      files,
			EphemeralPorts: v.facts.LocalPorts[1] - v.facts.LocalPorts[0] + 1,
			MemoryBytes:    v.facts.MemoryAvailable, CPUs: v.facts.CPUs, Shared: v.onLab,
		}
	}
	return func(name string) (experiment.Facts, bool) {
		f, ok := known[name]
		return f, ok
	}
}

// Err is what the report amounts to: nil where every node is fit.
func (r *Report) Err() error {
	if n := r.count(Error); n > 0 {
		return fmt.Errorf("%s on %d nodes: not fit for %s", plural(n, "error"), len(r.Nodes), r.Experiment)
	}
	return nil
}

var errNoUndoFile = errors.New("no file to write down how to undo it")
