package inspect

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"bela/agents/protocol"
)

// userHz is the unit of process times in /proc: every Linux architecture that
// agents are built for has 100 a second.
const userHz = 100

// agentName is how the names of all agents' processes begin.
const agentName = "bela-agent"

// Bounds of what is reported.
const (
	maxBusy    = 3
	maxWatched = 16
	maxAgents  = 16
)

// task is one process at one moment.
type task struct {
	name    string
	uid     int
	threads int
	ticks   uint64 // of CPU so far
	started uint64 // ticks after boot
}

// snapshot is the whole machine at one moment.
type snapshot struct {
	at        time.Time
	cpu       procfs.CPUStat
	cpus      int
	load1     float64
	swapPages int64
	uptime    time.Duration
	tasks     map[int]task
}

func (s *server) snapshot(fs procfs.FS) (snapshot, error) {
	n := snapshot{at: time.Now(), uptime: s.uptime(), tasks: make(map[int]task)}
	stat, err := fs.Stat()
	if err != nil {
		return n, fmt.Errorf("what the CPUs do: %w", err)
	}
	n.cpu, n.cpus = stat.CPUTotal, len(stat.CPU)
	if l, err := fs.LoadAvg(); err == nil {
		n.load1 = l.Load1
	}
	for line := range strings.Lines(s.read("vmstat")) {
		if name, value, ok := strings.Cut(line, " "); ok && (name == "pswpin" || name == "pswpout") {
			n.swapPages += number(value)
		}
	}
	procs, err := fs.AllProcs()
	if err != nil {
		return n, fmt.Errorf("the processes: %w", err)
	}
	for _, p := range procs {
		st, err := p.Stat()
		if err != nil {
			continue // it has ended
		}
		t := task{name: st.Comm, uid: -1, threads: st.NumThreads, ticks: uint64(st.UTime + st.STime), started: st.Starttime}
		if info, err := os.Stat(filepath.Join(s.Proc, strconv.Itoa(p.PID))); err == nil {
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				t.uid = int(sys.Uid)
			}
		}
		n.tasks[p.PID] = t
	}
	return n, nil
}

// until is what went on between two snapshots, this process and other agents
// left out: those that serve a run are found on their own.
func (s snapshot) until(end snapshot, self int) protocol.LoadFacts {
	l := protocol.LoadFacts{Window: end.at.Sub(s.at), CPUs: end.cpus, Load1: end.load1}
	busy := func(c procfs.CPUStat) float64 { return c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal }
	whole := busy(end.cpu) - busy(s.cpu) + (end.cpu.Idle + end.cpu.Iowait - s.cpu.Idle - s.cpu.Iowait)
	var own float64
	var all []protocol.BusyTask
	for pid, t := range end.tasks {
		before, there := s.tasks[pid]
		if there && before.started != t.started || t.ticks < before.ticks {
			before = task{}
		}
		used := float64(t.ticks-before.ticks) / userHz
		if pid == self || strings.HasPrefix(t.name, agentName) {
			own += used // of another run: that is told apart from the load
			continue
		}
		// What began earlier and was not there before is a number used again.
		if cpus := used / l.Window.Seconds(); there && cpus >= 0.02 {
			all = append(all, protocol.BusyTask{PID: pid, Name: printable(t.name), CPUs: cpus})
		}
	}
	if whole > 0 {
		l.Busy = max(0, busy(end.cpu)-busy(s.cpu)-own) / whole
		l.Steal = max(0, end.cpu.Steal-s.cpu.Steal) / whole
	}
	slices.SortFunc(all, func(a, b protocol.BusyTask) int {
		return cmp.Or(cmp.Compare(b.CPUs, a.CPUs), cmp.Compare(a.PID, b.PID))
	})
	l.Busiest = all[:min(len(all), maxBusy)]
	return l
}

// packagers are the package managers that are at work. What merely waits for
// its hour, as a daemon does, is not among them.
func (s *server) packagers(fs procfs.FS, tasks map[int]task) []protocol.WatchedTask {
	names := []string{"apt", "apt-get", "aptitude", "dpkg", unattended, "apt.systemd.dai", "dnf", "yum", "rpm", "zypper", "pacman", "apk"}
	var found []protocol.WatchedTask
	for pid, t := range tasks {
		if !slices.Contains(names, t.name) || t.name == unattended && waits(fs, pid) {
			continue
		}
		found = append(found, protocol.WatchedTask{PID: pid, Name: t.name})
	}
	slices.SortFunc(found, func(a, b protocol.WatchedTask) int { return cmp.Compare(a.PID, b.PID) })
	return found[:min(len(found), maxWatched)]
}

// unattended is the name of unattended-upgrades as the kernel cuts it.
const unattended = "unattended-upgr"

// waits tells the part of unattended-upgrades that only waits for the
// machine's shutdown.
func waits(fs procfs.FS, pid int) bool {
	p, err := fs.Proc(pid)
	if err != nil {
		return true // it has ended
	}
	line, err := p.CmdLine()
	return err == nil && slices.Contains(line, "--wait-for-signal")
}

// agents are the agents of runs, by their command lines, of whatever login.
func (s *server) agents(fs procfs.FS, now snapshot) []protocol.ForeignAgent {
	var found []protocol.ForeignAgent
	for pid, t := range now.tasks {
		if !strings.HasPrefix(t.name, agentName) {
			continue
		}
		p, err := fs.Proc(pid)
		if err != nil {
			continue
		}
		line, err := p.CmdLine()
		if err != nil || len(line) < 2 || line[1] != "serve" {
			continue
		}
		began := time.Duration(t.started) * time.Second / userHz
		a := protocol.ForeignAgent{PID: pid, Age: max(0, now.uptime-began)}
		for i := 2; i+1 < len(line); i += 2 {
			switch line[i] {
			case "-dir":
				a.Directory = printable(line[i+1])
			case "-run":
				a.Run = printable(line[i+1])
			}
		}
		found = append(found, a)
	}
	slices.SortFunc(found, func(a, b protocol.ForeignAgent) int { return cmp.Compare(a.PID, b.PID) })
	return found[:min(len(found), maxAgents)]
}
