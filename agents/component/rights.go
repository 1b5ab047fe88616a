package component

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// TryLimits makes a control group for CPU and memory, limits both, and removes
// it again: it says whether this login could limit a component, and which
// version of control groups the host has (0 where none). dir tells this try's
// groups from others'.
func TryLimits(proc, dir string) (version int, err error) {
	gs := findGroups(proc, filepath.Join(dir, "rights"))
	version = 1
	if gs.v2 != nil {
		version = 2
	}
	if gs.err != nil {
		return 0, gs.err
	}
	restore := keepControllers(gs.v2)
	defer func() { err = errors.Join(err, restore()) }()
	g, err := gs.create("try")
	if err != nil {
		return version, err
	}
	return version, errors.Join(g.limit(1000, 256<<20), g.remove(killWait))
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
