package doctor

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"bela/experiment"
)

// Thresholds of a node's room, beside what the plan needs.
const (
	spaceForRun  = 64 << 20 // bytes, for logs: what provisioning asks for
	inodesForRun = 1000
	freshlyUp    = 10 * time.Minute
)

const (
	mib       = 1 << 20
	moreNodes = "use more nodes, or fewer devices"
)

func disk(d *desk, e *exam, n *need) {
	v := e.inspection.Disk
	want := e.programSize + spaceForRun + n.books
	programs := "the agent"
	if n.platform {
		programs = "the agent, the built-in platform"
	}
	if v.Free < want {
		d.add(Error, "disk", fmt.Sprintf("%s has %d MiB free, and %d are needed: %s, logs, and the books of %d MiB", v.Path, v.Free/mib, ceil(want, mib), programs, ceil(n.books, mib)),
			"a full disk ends the run", "free some space there, or set directory in the ssh block to another disk")
	}
	if v.Inodes >= 0 && v.Inodes < inodesForRun {
		d.add(Error, "disk", fmt.Sprintf("%s has %d inodes free, and about %d are needed", v.Path, v.Inodes, inodesForRun),
			"no file can be made without one", "remove small files there (df -i), or set directory in the ssh block to another disk")
	}
}

func memory(d *desk, e *exam, n *need) {
	m := e.inspection.Memory
	if !e.onLab && n.memory > m.Available {
		d.add(Warning, "memory", fmt.Sprintf("%d MiB are available, and cells need about %d: clients, books and the components' limits", m.Available/mib, ceil(n.memory, mib)),
			"a machine that swaps or kills measures itself", moreNodes+", or lower the components' memory limits")
	}
}

func swap(d *desk, e *exam) {
	m := e.inspection.Memory
	switch {
	case m.SwapMoved > 0:
		d.add(Warning, "swap", fmt.Sprintf("%d KiB went in or out of swap within %s", m.SwapMoved>>10, seconds(e.inspection.Load.Window)),
			"swapping shows up as latency", "sudo swapoff -a, and find what takes the memory")
	case m.SwapUsed > 0:
		d.add(Note, "swap", fmt.Sprintf("%d MiB are in swap", ceil(m.SwapUsed, mib)), "what comes back from there comes late", "sudo swapoff -a && sudo swapon -a")
	}
}

func tasks(d *desk, e *exam, n *need) {
	t := e.inspection.Tasks
	want := int64(n.processes * threadsPerTask)
	for _, l := range []struct {
		limit, now int64
		of, fix    string
	}{
		{t.User, t.UserNow, "of this login (ulimit -u)", "echo '" + e.target.User + " - nproc 65536' | sudo tee /etc/security/limits.d/bela.conf"},
		{t.System, t.Now, "of the machine (kernel.pid_max, kernel.threads-max)", "sudo sysctl -w kernel.pid_max=4194304 kernel.threads-max=512000"},
		{t.Group, t.GroupNow, "of the login's control group (pids.max)", "sudo systemctl set-property user-$(id -u).slice TasksMax=infinity"},
	} {
		if l.limit > 0 && l.limit-l.now < want {
			d.add(Error, "threads", fmt.Sprintf("%d threads are free of the %d %s, and %d processes may need %d", max(0, l.limit-l.now), l.limit, l.of, n.processes, want),
				"a process that gets no thread dies", l.fix)
		}
	}
}

func systemFiles(d *desk, e *exam, n *need) {
	f := e.inspection.Files
	if f.System > 0 && f.System-f.SystemOpen < int64(n.files) {
		d.add(Error, "open files", fmt.Sprintf("the machine allows %d open files, %d are open, and cells need %d", f.System, f.SystemOpen, n.files),
			"connections would be refused", "sudo sysctl -w fs.file-max=1000000")
	}
}

func limits(d *desk, e *exam, n *need) {
	g := e.inspection.Cgroup
	if g == nil || len(n.limited) == 0 || g.Error == "" {
		return
	}
	fix := "log in as root, or leave limits out of the component"
	switch g.Version {
	case 2:
		fix = "log in as root, or have systemd hand cpu and memory down to the login (docs/operations.md), or leave limits out of the component"
	case 0:
		fix = "boot a kernel with control groups, or leave limits out of the component"
	}
	d.add(Warning, "limits", fmt.Sprintf("the limits of %s cannot be enforced by %s: %s", strings.Join(n.limited, ", "), who(e), g.Error),
		"cells would run without them and be degraded", fix)
}

// who names the login.
func who(e *exam) string {
	if e.inspection.UID == 0 {
		return "root"
	}
	if e.facts != nil && e.facts.User != "" {
		return "the login " + e.facts.User
	}
	return fmt.Sprintf("user %d", e.inspection.UID)
}

// settings judges what the machine is set to.
func settings(d *desk, e *exam) {
	in := e.inspection
	for _, g := range in.Governors {
		if g == "powersave" {
			d.add(Warning, "cpu frequency", "the governor powersave is in use", "CPU use and latency then depend on the clock rate of the moment",
				"sudo cpupower frequency-set -g performance")
		}
	}
	if in.Uptime > 0 && in.Uptime < freshlyUp {
		d.add(Note, "uptime", fmt.Sprintf("the machine has been up for %v only", in.Uptime.Round(time.Second)),
			"caches are cold, and what starts after boot (upgrades, indexing) may still come", "wait some minutes")
	}
}

func undone(d *desk, e *exam, _ *need) {
	for _, s := range e.inspection.Undo {
		d.add(Note, "undo", fmt.Sprintf("%s was set from '%s' to '%s' by an earlier doctor", s.Name, s.Old, s.New), "it stays so until it is put back or the machine starts anew",
			"bela doctor -undo FILE")
	}
}

// short turns what the plan's own check found into findings.
func short(f experiment.Finding) Finding {
	why := map[string]string{
		"local ports": "connections would fail: no port is left to connect from",
		"open files":  "connections would fail: too many open files",
		"memory":      "the machine would swap or kill processes",
	}[f.Resource]
	unit := f.Resource
	if f.Resource == "memory" {
		unit = "MiB of memory"
	}
	found := Finding{
		Node: f.Node, Check: f.Resource, Severity: Error, Why: why, Fix: f.Change,
		What: fmt.Sprintf("cell %d needs %d %s, and there are %d", f.Cell, f.Need, unit, f.Have),
	}
	// From one address there are at most 64,512 ports above the privileged ones.
	if f.Resource == "local ports" && f.Need <= int64(widePorts[1]-widePorts[0]+1) {
		found.mend = &mend{sysctl: portRange, value: fmt.Sprintf("%d %d", widePorts[0], widePorts[1])}
	}
	return found
}

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }

// above is the next power of two that is at least n, and at least 4096.
func above(n int) int { return max(4096, 1<<bits.Len(uint(max(n-1, 1)))) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2g s", d.Seconds()) }

// ago is a length of time for people.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
