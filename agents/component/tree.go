package component

import (
	"os"
	"syscall"

	"github.com/prometheus/procfs"

	"bela/agents/protocol"
)

// tick is the unit of CPU times in /proc, in nanoseconds: USER_HZ is 100 on every
// architecture that Go runs Linux on.
const tick = 10_000_000

// processTable is all processes of the host, read once for a sample. The zero
// value reads them when first asked.
type processTable struct {
	read  bool
	procs map[int]procfs.ProcStat
	fs    procfs.FS
}

func (t *processTable) load() {
	if t.read {
		return
	}
	t.read = true
	t.procs = make(map[int]procfs.ProcStat)
	var err error
	if t.fs, err = procfs.NewDefaultFS(); err != nil {
		return
	}
	all, err := t.fs.AllProcs()
	if err != nil {
		return
	}
	for _, p := range all {
		if s, err := p.Stat(); err == nil { // else it has just ended
			t.procs[s.PID] = s
		}
	}
}

// tree accounts for a process and all that descend from it, where there is no
// control group to do so. What ended between two readings and was waited for by
// its parent is in the parent's times; what lost its parent stays in the tree as
// long as it is in the root's process group or was seen in the tree before.
type tree struct {
	known map[int]member
	lost  int64 // CPU time, in ticks, of orphans that ended
}

// member is what the last reading said of a process.
type member struct {
	start  uint64
	parent bool // its parent was in the tree
	ticks  int64
}

// usage reads the tree below root.
func (t *tree) usage(root int, table *processTable) protocol.ProcessSample {
	table.load()
	now := t.members(root, table.procs)
	for pid, m := range t.known {
		if s, ok := now[pid]; (!ok || s.start != m.start) && !m.parent && pid != root {
			t.lost += m.ticks
		}
	}
	t.known = now
	total := t.lost
	for _, m := range now {
		total += m.ticks
	}
	return protocol.ProcessSample{CPUNS: total * tick, Memory: t.memory(table)}
}

func (t *tree) members(root int, procs map[int]procfs.ProcStat) map[int]member {
	in := make(map[int]bool)
	var belongs func(pid, depth int) bool
	belongs = func(pid, depth int) bool {
		if yes, ok := in[pid]; ok {
			return yes
		}
		s, ok := procs[pid]
		if !ok || depth > len(procs) {
			return false
		}
		old, seen := t.known[pid]
		yes := pid == root || s.PGRP == root || seen && old.start == s.Starttime || belongs(s.PPID, depth+1)
		in[pid] = yes
		return yes
	}
	now := make(map[int]member)
	for pid, s := range procs {
		if belongs(pid, 0) {
			now[pid] = member{
				start: s.Starttime, parent: belongs(s.PPID, 0),
				ticks: int64(s.UTime) + int64(s.STime) + int64(s.CUTime) + int64(s.CSTime),
			}
		}
	}
	return now
}

// kill kills what is left of the tree after its root has ended: what was seen in
// it before, or descends from that.
func (t *tree) kill(root int) {
	var table processTable
	table.load()
	delete(t.known, root) // its number may be another's by now
	for pid := range t.members(root, table.procs) {
		if pid != root {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// memory is the resident set of one process; of several the proportional set, so
// that what they share counts once.
func (t *tree) memory(table *processTable) int64 {
	var sum int64
	for pid := range t.known {
		s := table.procs[pid]
		rss := int64(s.RSS) * int64(os.Getpagesize())
		if len(t.known) > 1 {
			if p, err := table.fs.Proc(pid); err == nil {
				if m, err := p.ProcSMapsRollup(); err == nil {
					rss = int64(m.Pss)
				}
			}
		}
		sum += rss
	}
	return sum
}
