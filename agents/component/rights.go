package component

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// TryLimits makes a group for CPU and memory the way that a component's is made,
// limits both, and removes it again: it says whether this login could limit a
// component, by what, and which version of control groups the host has (0 where
// none). dir tells this try's groups from others'.
func TryLimits(proc, dir string) (version int, by string, err error) {
	gs := findGroups(proc, filepath.Join(dir, "rights"))
	gs.units = gs.findUnits(proc)
	switch {
	case gs.v2 != nil:
		version = 2
	case gs.v1 != nil:
		version = 1
	}
	restore := keepControllers(gs.v2)
	defer func() { err = errors.Join(err, restore()) }()
	g, err := gs.confine("try", limits{cpu: 1000, memory: 256 << 20})
	if err == nil {
		by = g.by()
	}
	return version, by, errors.Join(err, g.remove(killWait))
}

// keepControllers remembers which controllers groups of version 2 hand down,
// and gives what takes back those that were added since.
func keepControllers(groups []string) func() error {
	const file = "cgroup.subtree_control"
	read := func(dir string) []string {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil // nor can it be written then
		}
		return strings.Fields(string(b))
	}
	before := make(map[string][]string)
	for _, dir := range groups {
		before[dir] = read(dir)
	}
	return func() error {
		var errs []error
		for _, dir := range groups {
			for _, c := range read(dir) {
				if !slices.Contains(before[dir], c) {
					errs = append(errs, writeGroup(dir, file, "-"+c))
				}
			}
		}
		return errors.Join(errs...)
	}
}
