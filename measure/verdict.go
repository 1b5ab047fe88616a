package measure

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Thresholds are the limits of the verdict, in one place; docs/metrics.md
// shows the defaults.
type Thresholds struct {
	// Achieved over offered rate. Below 99 % the load is not what the cell says;
	// below 95 % the cell measured another experiment.
	AchievedDegraded float64 // share
	AchievedInvalid  float64 // share
	// Lateness of the generator at p99. It is part of every latency, which
	// counts from the intended time, so it must stay small beside it: it
	// degrades above LatenessDegradedMS, and already above the median latency
	// where it is more than LatenessFloorMS. The floor is twice what Go's
	// timers alone are late by.
	LatenessFloorMS    float64
	LatenessDegradedMS float64
	LatenessInvalidMS  float64
	// NegativeShare of latencies below zero after correction: more than this is
	// a clock that was corrected wrongly, not one at the edge of its error.
	NegativeShare float64
	// StealPercent of a node's CPU time that its hypervisor gave to others.
	StealPercent float64
	// CPUPercent of a node's CPUs busy, on average over the window.
	CPUPercent float64
	// AgentCPUPercent of a node's CPUs used by the agent that makes or takes the
	// load, on average over the window. The rest is for the kernel's network,
	// which works for the agent and is not counted as its.
	AgentCPUPercent float64
	// GCPausePercent of the window that such an agent was stopped by its own
	// garbage collection, and GCPauseMaxMS at once. A pause delays every message
	// that is due in it: a hundredth of the time shows at p99, and the longest
	// one is a lateness like any other.
	GCPausePercent float64
	GCPauseMaxMS   float64
	// GeneratorPercent of what a node's generator could do when it was
	// calibrated, with a network that costs nothing; a real one needs the rest.
	GeneratorPercent float64
	// Steady: medians of the first and the last third of the window may differ
	// by this factor, or by SteadyFloorMS if that is more.
	SteadyFactor  float64
	SteadyFloorMS float64
	// WarmUp: the transient may end this many seconds after the warm-up, which
	// is as exactly as MSER-5 can tell, or change the first latencies measured
	// by this share, or by no more than steady seconds differ from each other.
	WarmUpSeconds float64
	WarmUpShare   float64
}

// DefaultThresholds are the limits that Judge uses.
func DefaultThresholds() Thresholds {
	return Thresholds{
		AchievedDegraded:   0.99,
		AchievedInvalid:    0.95,
		LatenessFloorMS:    2,
		LatenessDegradedMS: 10,
		LatenessInvalidMS:  100,
		NegativeShare:      0.001,
		StealPercent:       5,
		CPUPercent:         90,
		AgentCPUPercent:    80,
		GCPausePercent:     1,
		GCPauseMaxMS:       10,
		GeneratorPercent:   80,
		SteadyFactor:       2,
		SteadyFloorMS:      1,
		WarmUpSeconds:      steadyBatch,
		WarmUpShare:        0.1,
	}
}

// NodeLoad is how busy a node was over the measured window, in percent of all
// its CPUs.
type NodeLoad struct {
	Node  string
	CPU   float64
	Steal float64
}

// NodeHealth is what a node and its agent noticed about themselves over the
// measured window.
type NodeHealth struct {
	Node string
	Load bool // it runs devices or customers
	// PacketsDropped found their CPU's backlog full, on all of the machine;
	// ListenOverflows are connections that found an accept queue full.
	PacketsDropped  int64
	ListenOverflows int64
	// ConnectionsLost are its devices' and customers' that broke.
	ConnectionsLost int64
	AgentCPU        float64 // percent of all CPUs of the node, mean
	GCPausePercent  float64 // of the window
	GCPauseMaxMS    float64
}

// GeneratorLoad is what a node's generator has to do in a cell beside what it
// could do when it was calibrated, in messages a second.
type GeneratorLoad struct {
	Node    string
	Planned float64
	Capable float64
}

// Percent is planned over capable.
func (g GeneratorLoad) Percent() float64 { return 100 * g.Planned / g.Capable }

// Evidence is what a cell's verdict is made of. A nil pointer and an empty list
// are evidence that was not taken; it does not speak against the cell.
type Evidence struct {
	Ledger       Ledger
	LostNodes    []string // lost during the cell
	LostAgents   []string // lost during the cell, on nodes that are there
	LostEvents   []string // nodes of which samples are lost
	MissingBooks []string // agents whose books could not be collected
	OfferedRate  *float64 // messages a second
	AchievedRate *float64 // messages a second
	Lateness     *float64 // generator, p99, ms
	LatencyP50   *float64 // ms
	ClockError   *float64 // ms
	// ClockSteps are nodes whose clock jumped during the cell.
	ClockSteps []string
	// Latencies were recorded, Negative of them below zero.
	Latencies int64
	Negative  int64
	Nodes     []NodeLoad
	Health    []NodeHealth
	// Generators were calibrated before the run.
	Generators []GeneratorLoad
	// SharedMachine says that all nodes are on one machine (the loopback lab),
	// so that each shows the load of all.
	SharedMachine bool
	// Unenforced are limits that were asked for and not enforced, as
	// "component/instance on node: why".
	Unenforced []string
	// Exited are component instances that ended without being asked to.
	Exited []string
	// RestartsAllowed says that the experiment expects components to restart.
	RestartsAllowed bool
	// FirstP50 and LastP50 are the median latencies of the first and the last
	// third of the measured window, in ms.
	FirstP50 *float64
	LastP50  *float64
	WarmUp   *WarmUp
}

// Rule is one threshold of the verdict.
type Rule struct {
	Code    string
	Verdict Verdict
	When    string // in words, with the threshold
	// test gives the value in words where the rule applies to the evidence.
	test func(*Evidence) (text string, applies bool)
}

// Judge gives a cell's verdict by the default thresholds, with every reason
// against it, the gravest first.
func Judge(e Evidence) (Verdict, []Reason) { return DefaultThresholds().Judge(e) }

// Judge gives a cell's verdict, with every reason against it, the gravest
// first. Of the rules with one code only the gravest counts.
func (t Thresholds) Judge(e Evidence) (Verdict, []Reason) {
	verdict := Valid
	var reasons []Reason
	seen := map[string]bool{}
	for _, r := range t.Rules() {
		text, applies := r.test(&e)
		if !applies || seen[r.Code] {
			continue
		}
		seen[r.Code] = true
		reasons = append(reasons, Reason{Code: r.Code, Verdict: r.Verdict, Text: text + " (" + string(r.Verdict) + " " + r.When + ")"})
		verdict = Worse(verdict, r.Verdict)
	}
	slices.SortStableFunc(reasons, func(a, b Reason) int { return cmp.Compare(gravity(b.Verdict), gravity(a.Verdict)) })
	return verdict, reasons
}

// Worse is the graver of two verdicts.
func Worse(a, b Verdict) Verdict {
	if gravity(b) > gravity(a) {
		return b
	}
	return a
}

func gravity(v Verdict) int {
	switch v {
	case Valid:
		return 0
	case Degraded:
		return 1
	default:
		return 2
	}
}

// Rules are the verdict's rules, an invalid one before the degraded one of the
// same code.
func (t Thresholds) Rules() []Rule {
	return slices.Concat(t.bookRules(), t.linkRules(), t.loadRules(), t.clockRules(), t.hostRules(), t.networkRules(), t.agentRules())
}

func (t Thresholds) bookRules() []Rule {
	return []Rule{
		{"node_lost", Invalid, "if any node is lost during the cell", func(e *Evidence) (string, bool) {
			return list("lost", e.LostNodes)
		}},
		{"books_missing", Invalid, "if any agent's books are missing, or the fate of more than 0 deliveries is unknown", func(e *Evidence) (string, bool) {
			text, any := list("no books from", e.MissingBooks)
			if e.Ledger.Unknown > 0 {
				if any {
					text += "; "
				}
				text += fmt.Sprintf("the fate of %d deliveries is unknown", e.Ledger.Unknown)
			}
			return text, any || e.Ledger.Unknown > 0
		}},
		{"phantom", Invalid, "if more than 0 deliveries were never sent", func(e *Evidence) (string, bool) {
			return fmt.Sprintf("%d deliveries of messages that no device sent to that customer", e.Ledger.Phantom), e.Ledger.Phantom > 0
		}},
		{"ledger_open", Invalid, "if the ledger does not close", func(e *Evidence) (string, bool) {
			why := e.Ledger.Open
			if why == "" {
				why = "it was never closed"
			}
			return "ledger open: " + why, !e.Ledger.Closed
		}},
		{"nothing_delivered", Invalid, "if 0 messages are delivered", func(e *Evidence) (string, bool) {
			return fmt.Sprintf("0 of %d deliveries arrived", e.Ledger.Expected), e.Ledger.Delivered+e.Ledger.Late == 0
		}},
		{"component_exited", Invalid, "if a component ends without being asked to", func(e *Evidence) (string, bool) {
			text, any := list("ended", e.Exited)
			return text, any && !e.RestartsAllowed
		}},
		{"component_exited", Degraded, "if a component ends without being asked to where restarts are allowed", func(e *Evidence) (string, bool) {
			return list("ended", e.Exited)
		}},
	}
}

func (t Thresholds) loadRules() []Rule {
	achieved := func(least float64) func(*Evidence) (string, bool) {
		return func(e *Evidence) (string, bool) {
			if e.OfferedRate == nil || e.AchievedRate == nil || *e.OfferedRate <= 0 {
				return "", false
			}
			share := *e.AchievedRate / *e.OfferedRate
			return fmt.Sprintf("achieved %s of %s msg/s offered, %.4g %%", brief(*e.AchievedRate), brief(*e.OfferedRate), 100*share), share < least
		}
	}
	late := func(e *Evidence) string { return fmt.Sprintf("generator lateness p99 is %s ms", brief(*e.Lateness)) }
	return []Rule{
		{"load_not_achieved", Invalid, fmt.Sprintf("below %g %% of the offered rate", 100*t.AchievedInvalid), achieved(t.AchievedInvalid)},
		{"load_not_achieved", Degraded, fmt.Sprintf("below %g %% of the offered rate", 100*t.AchievedDegraded), achieved(t.AchievedDegraded)},
		{"generator_late", Invalid, fmt.Sprintf("above %g ms at p99", t.LatenessInvalidMS), func(e *Evidence) (string, bool) {
			if e.Lateness == nil {
				return "", false
			}
			return late(e), *e.Lateness > t.LatenessInvalidMS
		}},
		{"generator_late", Degraded, fmt.Sprintf("above %g ms at p99, or above the median latency and %g ms", t.LatenessDegradedMS, t.LatenessFloorMS), func(e *Evidence) (string, bool) {
			if e.Lateness == nil {
				return "", false
			}
			if e.LatencyP50 != nil && *e.Lateness > *e.LatencyP50 && *e.Lateness > t.LatenessFloorMS {
				return late(e) + fmt.Sprintf(" beside a median latency of %s ms", brief(*e.LatencyP50)), true
			}
			return late(e), *e.Lateness > t.LatenessDegradedMS
		}},
		{"not_steady", Degraded, fmt.Sprintf("if the medians differ by a factor above %g and by more than %g ms", t.SteadyFactor, t.SteadyFloorMS), func(e *Evidence) (string, bool) {
			if e.FirstP50 == nil || e.LastP50 == nil {
				return "", false
			}
			low, high := min(*e.FirstP50, *e.LastP50), max(*e.FirstP50, *e.LastP50)
			return fmt.Sprintf("the median latency went from %s ms in the first third of the window to %s ms in the last", brief(*e.FirstP50), brief(*e.LastP50)),
				high > t.SteadyFactor*low && high-low > t.SteadyFloorMS
		}},
		{"warmup_too_short", Degraded, fmt.Sprintf("if the transient ends more than %g s after the warm-up, and the latency changes with it by more than %g %% and by more than the quartiles of the steady seconds lie apart and than their noise explains", t.WarmUpSeconds, 100*t.WarmUpShare), func(e *Evidence) (string, bool) {
			if e.WarmUp == nil {
				return "", false
			}
			w := *e.WarmUp
			needed, then := fmt.Sprintf("%d s", w.Needed), "after the transient"
			if w.NoEnd {
				needed, then = "more than "+needed, "later"
			}
			change := math.Abs(w.First - w.Steady)
			return fmt.Sprintf("the warm-up is %d s and the transient %s (MSER-5): the median latency is %s ms in the first %d s measured and %s ms %s",
					w.Given, needed, brief(w.First), steadyBatch, brief(w.Steady), then),
				float64(w.Needed-w.Given) > t.WarmUpSeconds && change > t.WarmUpShare*math.Abs(w.Steady) && change > w.Spread && change > w.Noise
		}},
	}
}

func (t Thresholds) clockRules() []Rule {
	return []Rule{
		{"clock_error", Degraded, "above the median latency", func(e *Evidence) (string, bool) {
			if e.ClockError == nil || e.LatencyP50 == nil {
				return "", false
			}
			return fmt.Sprintf("the clock error of %s ms beside a median latency of %s ms", brief(*e.ClockError), brief(*e.LatencyP50)), *e.ClockError > *e.LatencyP50
		}},
		{"clock_step", Degraded, "if any clock steps during the cell", func(e *Evidence) (string, bool) {
			return list("clock stepped on", e.ClockSteps)
		}},
		{"negative_latency", Degraded, fmt.Sprintf("above %g %% of the latencies", 100*t.NegativeShare), func(e *Evidence) (string, bool) {
			if e.Latencies <= 0 {
				return "", false
			}
			share := float64(e.Negative) / float64(e.Latencies)
			return fmt.Sprintf("%d of %d latencies are below zero, %.3g %%", e.Negative, e.Latencies, 100*share), share > t.NegativeShare
		}},
	}
}

func (t Thresholds) hostRules() []Rule {
	busy := func(what string, above float64, of func(NodeLoad) float64) func(*Evidence) (string, bool) {
		return func(e *Evidence) (string, bool) {
			var over []string
			var highest float64
			for _, n := range e.Nodes {
				if v := of(n); v > above {
					over = append(over, fmt.Sprintf("%s %.3g %%", n.Node, v))
					highest = max(highest, v)
				}
			}
			if len(over) > 0 && e.SharedMachine {
				return fmt.Sprintf("%s of the machine that all nodes share is %.3g %%", what, highest), true
			}
			return list(what+" of", over)
		}
	}
	return []Rule{
		{"cpu_steal", Degraded, fmt.Sprintf("above %g %% of a node's CPU time", t.StealPercent), busy("CPU steal", t.StealPercent, func(n NodeLoad) float64 { return n.Steal })},
		{"cpu_saturated", Degraded, fmt.Sprintf("above %g %% of a node's CPUs", t.CPUPercent), busy("CPU use", t.CPUPercent, func(n NodeLoad) float64 { return n.CPU })},
		{"limits_not_enforced", Degraded, "if any limit asked for is not enforced", func(e *Evidence) (string, bool) {
			return list("no limit on", e.Unenforced)
		}},
	}
}

func (t Thresholds) networkRules() []Rule {
	counted := func(text, unit string, sharedBy bool, of func(NodeHealth) int64) func(*Evidence) (string, bool) {
		return func(e *Evidence) (string, bool) {
			var over []string
			var most int64
			for _, n := range e.Health {
				if v := of(n); v > 0 {
					over = append(over, fmt.Sprintf("%s %d", n.Node, v))
					most = max(most, v)
				}
			}
			if len(over) > 0 && sharedBy && e.SharedMachine {
				return fmt.Sprintf("%s the machine that all nodes share: %d %s", text, most, unit), true
			}
			what, any := list(text, over)
			return what + " " + unit, any
		}
	}
	return []Rule{
		{"packets_dropped", Degraded, "if a node's kernel drops more than 0 packets", counted("full network backlog on", "packets", true, func(n NodeHealth) int64 { return n.PacketsDropped })},
		{"listen_overflow", Degraded, "if more than 0 connections find an accept queue full", counted("full accept queues on", "connections", true, func(n NodeHealth) int64 { return n.ListenOverflows })},
		{"connections_lost", Degraded, "if more than 0 connections of devices or customers break", counted("lost on", "connections", false, func(n NodeHealth) int64 { return n.ConnectionsLost })},
	}
}

// Overplanned names the nodes whose generators are planned to do more than they
// should.
func (t Thresholds) Overplanned(all []GeneratorLoad) []string {
	var over []string
	for _, g := range all {
		if p := g.Percent(); !(p <= t.GeneratorPercent) {
			over = append(over, fmt.Sprintf("%s of %s msg/s on %s", brief(g.Planned), brief(g.Capable), g.Node))
		}
	}
	return over
}

// agentRules are about agents with devices or customers: of the others nothing
// is timed.
func (t Thresholds) agentRules() []Rule {
	loaded := func(what string, text func(NodeHealth) (string, bool)) func(*Evidence) (string, bool) {
		return func(e *Evidence) (string, bool) {
			var over []string
			for _, n := range e.Health {
				if s, applies := text(n); applies && n.Load {
					over = append(over, n.Node+" "+s)
				}
			}
			return list(what, over)
		}
	}
	return []Rule{
		{"generator_capacity", Degraded, fmt.Sprintf("above %g %% of the rate that a node's generator held when it was calibrated", t.GeneratorPercent), func(e *Evidence) (string, bool) {
			return list("planned", t.Overplanned(e.Generators))
		}},
		{"agent_cpu", Degraded, fmt.Sprintf("above %g %% of the CPUs of a node with devices or customers", t.AgentCPUPercent),
			loaded("CPU use of bela's agent on", func(n NodeHealth) (string, bool) {
				return fmt.Sprintf("%.3g %%", n.AgentCPU), n.AgentCPU > t.AgentCPUPercent
			})},
		{"agent_gc", Degraded, fmt.Sprintf("above %g %% of the window, or above %g ms at once, on a node with devices or customers", t.GCPausePercent, t.GCPauseMaxMS),
			loaded("garbage collection stopped bela's agent on", func(n NodeHealth) (string, bool) {
				return fmt.Sprintf("%.3g %% of the window, %s ms at once", n.GCPausePercent, brief(n.GCPauseMaxMS)),
					n.GCPausePercent > t.GCPausePercent || n.GCPauseMaxMS > t.GCPauseMaxMS
			})},
	}
}

// list names at most ten.
func list(what string, names []string) (string, bool) {
	if len(names) == 0 {
		return "", false
	}
	more := ""
	if len(names) > 10 {
		more = fmt.Sprintf(" and %d more", len(names)-10)
		names = names[:10]
	}
	return what + " " + strings.Join(names, ", ") + more, true
}

// brief is a number with three significant digits, and with all those before the
// point: 0.123, 12.3, 1234.
func brief(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
