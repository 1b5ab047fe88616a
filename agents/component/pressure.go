package component

import (
	"fmt"

	"bela/agents/protocol"
)

// sample is what the group tells beyond use: what its limits did, and the most
// memory that was ever in use.
func (g *group) sample() *protocol.GroupSample {
	var s protocol.GroupSample
	throttled, unit, peak := "throttled_time", int64(1), "memory.max_usage_in_bytes"
	if g.v2 {
		throttled, unit, peak = "throttled_usec", 1000, "memory.peak"
	}
	if g.cpuDir != "" {
		if n, ok := readField(g.cpuDir, "cpu.stat", throttled); ok {
			n *= unit
			s.ThrottledNS = &n
		}
		if n, ok := readField(g.cpuDir, "cpu.stat", "nr_throttled"); ok {
			s.ThrottledPeriods = &n
		}
	}
	if n, ok := g.oomKills(); ok {
		s.OOMKills = &n
	}
	if g.memoryDir != "" {
		if n, ok := readNumber(g.memoryDir, peak); ok {
			s.MemoryPeak = &n
		}
	}
	return &s
}

// oomKills counts the members that the kernel killed for want of memory.
func (g *group) oomKills() (int64, bool) {
	if g.memoryDir == "" {
		return 0, false
	}
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	return readField(g.memoryDir, file, "oom_kill")
}

// groupSample is nil where the instance has no group.
func (in *instance) groupSample() *protocol.GroupSample {
	if in.group == nil {
		return nil
	}
	return in.group.sample()
}

// outOfMemory says, for the end of an instance's status, whether the kernel
// killed it or one of its processes for want of memory: the one that is waited
// for may end in good order after its child was killed.
func (in *instance) outOfMemory() string {
	if in.group == nil {
		return ""
	}
	n, _ := in.group.oomKills()
	switch {
	case n == 0:
		return ""
	case in.spec.LimitMemory == 0:
		return ": the node ran out of memory"
	case n > 1:
		return fmt.Sprintf(": %d processes were killed by the memory limit of %s", n, mebibytes(in.spec.LimitMemory))
	}
	return ": killed by the memory limit of " + mebibytes(in.spec.LimitMemory)
}

func mebibytes(n int64) string {
	if n%(1<<20) != 0 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
