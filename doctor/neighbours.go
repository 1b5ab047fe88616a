package doctor

import (
	"fmt"
	"math"
	"strings"
	"time"

	"bela/agents/protocol"
)

// Thresholds of the clock: what is surely beyond them is told.
const (
	offsetLimit = 100 * time.Millisecond
	boundLimit  = 5 * time.Millisecond
	driftLimit  = 100 // parts per million
)

// Thresholds of what others do on the machine.
const (
	busyLimit     = 0.10 // share of all CPUs
	stealLimit    = 0.02 // share of all CPUs; a cell is degraded from 5 % on
	pressureLimit = 1.0  // percent of ten seconds
)

// clocks judges the node's clock. That of a lab node is the controller's own.
func clocks(d *desk, e *exam, _ *need) {
	k := e.inspection.Clock
	daemon := "no time daemon is seen"
	if k.Daemon != "" {
		daemon = k.Daemon + " runs"
	}
	if !k.Synchronized && !e.onLab {
		d.add(Warning, "clock", "the kernel's clock is not synchronised; "+daemon, "it drifts, and may be stepped in the middle of a cell when somebody sets it",
			"sudo timedatectl set-ntp true, or sudo apt-get install chrony")
	}
	c := e.clock
	if c == nil {
		return
	}
	if c.offset.Abs()-c.bound > offsetLimit {
		way := "ahead of"
		if c.offset < 0 {
			way = "behind"
		}
		d.add(Warning, "clock", fmt.Sprintf("its clock is %s ms (±%s) %s the controller's; %s", ms(c.offset.Abs()), ms(c.bound), way, daemon),
			"latencies are corrected for it, but logs do not match, and a daemon that steps it back spoils a cell", "sudo chronyc makestep, or sudo systemctl restart systemd-timesyncd")
	}
	if c.bound > boundLimit {
		d.add(Note, "clock", fmt.Sprintf("its clock can be read to ±%s ms only, over this link", ms(c.bound)), "latencies between nodes are uncertain by that much",
			"run bela on a machine near the nodes")
	}
	if math.Abs(c.drift)-c.driftBound > driftLimit {
		d.add(Warning, "clock", fmt.Sprintf("its clock drifts by %.0f ppm (±%.0f) against the controller's", c.drift, c.driftBound),
			"a time daemon slews it, or it is broken; a drift that changes cannot be corrected", "wait until the daemon has settled (chronyc tracking)")
	}
}

// ms is a length of time in milliseconds, for people.
func ms(d time.Duration) string {
	v := float64(d.Microseconds()) / 1000
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// neighbours judges what else goes on.
func neighbours(d *desk, e *exam) {
	in := e.inspection
	window := seconds(in.Load.Window)
	if in.Load.Busy >= busyLimit {
		var names []string
		for _, b := range in.Load.Busiest {
			names = append(names, fmt.Sprintf("%s (pid %d) %.0f %%", b.Name, b.PID, 100*b.CPUs))
		}
		busiest := ""
		if len(names) > 0 {
			busiest = ": " + strings.Join(names, ", ") + " of a CPU"
		}
		d.add(Warning, "neighbours", fmt.Sprintf("%.0f %% of %d CPUs are in use before the run, over %s%s", 100*in.Load.Busy, in.Load.CPUs, window, busiest),
			"they are missing in the measurement, and come and go", "end what takes them, or use another machine")
	}
	if in.Load.Steal >= stealLimit {
		d.add(Warning, "neighbours", fmt.Sprintf("the hypervisor gave %.1f %% of the CPU time to others, over %s", 100*in.Load.Steal, window),
			"from 5 % on cells are degraded", "use a machine with dedicated CPUs")
	}
	if p := in.Memory.Pressure; p != nil && *p >= pressureLimit {
		d.add(Warning, "neighbours", fmt.Sprintf("something waited for memory in %.0f %% of the last ten seconds", *p), "waiting for memory shows up as latency",
			"find what takes the memory (ps aux --sort -rss)")
	}
	if len(in.Watched) > 0 {
		var names []string
		for _, w := range in.Watched {
			names = append(names, fmt.Sprintf("%s (pid %d)", w.Name, w.PID))
		}
		d.add(Warning, "neighbours", "a package manager is at work: "+some(names, 4), "it takes CPU and disk, and may restart services",
			"wait for it; sudo systemctl stop apt-daily.timer apt-daily-upgrade.timer for the campaign")
	}
	others(d, in.Agents)
}

// others tells of agents that serve other runs on the machine, once a run.
func others(d *desk, agents []protocol.ForeignAgent) {
	count := make(map[string]int)
	for _, a := range agents {
		count[a.Run]++
	}
	for _, a := range agents {
		if count[a.Run] == 0 {
			continue
		}
		d.add(Warning, "neighbours", fmt.Sprintf("run %s is on the machine since %s, with %s: pid %d in %s", a.Run, ago(a.Age), plural(count[a.Run], "agent"), a.PID, a.Directory),
			"two runs on one machine measure each other", "wait for that run to end")
		count[a.Run] = 0
	}
}
