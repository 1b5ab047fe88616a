package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hierarchy is a control group hierarchy of the machine that nodes get a view of.
type hierarchy struct {
	point   string // where it is mounted
	options string // its controllers; empty for version 2
}

// wanted are the controllers of version 1 that nodes have.
var wanted = []string{"cpu", "cpuacct", "memory"}

func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var found []hierarchy
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[1], "/sys/fs/cgroup") {
			continue
		}
		switch fields[2] {
		case "cgroup2":
			found = append(found, hierarchy{point: fields[1]})
		case "cgroup":
			var controllers []string
			for o := range strings.SplitSeq(fields[3], ",") {
				if slices.Contains(wanted, o) {
					controllers = append(controllers, o)
				}
			}
			if len(controllers) > 0 {
				found = append(found, hierarchy{fields[1], strings.Join(controllers, ",")})
			}
		}
	}
	return found, lines.Err()
}

// groupName is the name of a bed's group in every hierarchy.
func groupName(bed string) string { return "bela-testbed-" + bed }

// makeGroups makes a node's group in every hierarchy.
func (n *Node) makeGroups() ([]string, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, h := range all {
		top := filepath.Join(h.point, groupName(n.bed.name))
		dir := filepath.Join(top, n.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if h.options == "" { // what the machine's version 2 has to hand down, if anything
			for _, at := range []string{h.point, top} {
				_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+cpu +memory"), 0)
			}
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// mounts are the lines of a node's fstab for its control groups.
func groupMounts() (string, error) {
	all, err := hierarchies()
	if err != nil || len(all) == 0 {
		return "", err
	}
	var b strings.Builder
	if all[0].point != "/sys/fs/cgroup" {
		b.WriteString("bed /sys/fs/cgroup tmpfs mode=755 0 0\n")
	}
	for _, h := range all {
		kind, options := "cgroup2", "X-mount.mkdir"
		if h.options != "" {
			kind, options = "cgroup", h.options+",X-mount.mkdir"
		}
		fmt.Fprintf(&b, "bed %s %s %s 0 0\n", h.point, kind, options)
	}
	return b.String(), nil
}

// removeGroups removes a bed's groups, the deepest first. One stays busy for a
// moment after its last process.
func removeGroups(ctx context.Context, bed string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := removeGroupTree(ctx, filepath.Join(h.point, groupName(bed))); err != nil {
			return err
		}
	}
	return nil
}

func removeGroupTree(ctx context.Context, top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		err := os.Remove(dir)
		for errors.Is(err, syscall.EBUSY) {
			if late := pause(ctx); late != nil {
				return errors.Join(err, late)
			}
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
