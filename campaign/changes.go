package campaign

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"bela/store"
)

// change is what differs on a testbed between two parts of a run.
type change struct {
	text string
	// matters says that numbers of before and after may not be comparable.
	matters bool
}

// sameMemory is by how much a machine's memory may differ and be the same:
// kernels take different parts of it.
const sameMemory = 0.05

// changes compares the nodes of a run as they were with what they are now.
func changes(before, now []store.NodeEnvironment) []change {
	var all []change
	for _, n := range now {
		i := slices.IndexFunc(before, func(b store.NodeEnvironment) bool { return b.Name == n.Name })
		if i < 0 {
			all = append(all, change{fmt.Sprintf("node %s is new", n.Name), true})
			continue
		}
		all = append(all, nodeChanges(before[i], n)...)
	}
	return all
}

func nodeChanges(before, now store.NodeEnvironment) []change {
	var all []change
	for _, f := range []struct {
		name        string
		before, now string
	}{
		{"kernel", before.Kernel, now.Kernel},
		{"system", before.OS, now.OS},
		{"architecture", before.Arch, now.Arch},
		{"CPU model", before.CPUModel, now.CPUModel},
		{"CPUs", strconv.Itoa(before.CPUs), strconv.Itoa(now.CPUs)},
		{"hypervisor", before.Virtual, now.Virtual},
		{"control groups", strconv.Itoa(before.Cgroup), strconv.Itoa(now.Cgroup)},
		{"agent", short12(before.AgentSHA256), short12(now.AgentSHA256)},
		{"platform", short12(before.PlatformSHA256), short12(now.PlatformSHA256)},
	} {
		if f.before != f.now {
			all = append(all, change{fmt.Sprintf("node %s: %s was %q and is %q", now.Name, f.name, f.before, f.now), true})
		}
	}
	if a, b := float64(before.MemoryTotal), float64(now.MemoryTotal); math.Abs(a-b) > sameMemory*max(a, b) {
		all = append(all, change{fmt.Sprintf("node %s: memory was %d MiB and is %d MiB", now.Name, before.MemoryTotal/mib, now.MemoryTotal/mib), true})
	}
	if before.BootID != now.BootID {
		all = append(all, change{fmt.Sprintf("node %s: the machine was restarted, or is another one", now.Name), false})
	}
	return all
}

// short12 is the beginning of a hash, enough to tell two apart.
func short12(hash string) string { return hash[:min(12, len(hash))] }
