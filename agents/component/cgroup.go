package component

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	procsFile = "cgroup.procs"
	groupRoot = "bela"
	// cpuPeriod is over which a CPU limit holds, in microseconds: the kernel's
	// default.
	cpuPeriod = 100_000
	// groupPoll is how often a group is looked at that is to become empty.
	groupPoll = 5 * time.Millisecond
)

// groups is where control groups are made on this host: hierarchies of version
// 1, one for each controller, or the one hierarchy of version 2.
type groups struct {
	// v1 maps cpu, cpuacct and memory to directories; nil on version 2.
	v1  map[string]string
	v2  []string // directories to try, the best first
	id  string   // tells this agent's groups from others'
	err error
	// units are what is tried first; nil where systemd does not run the host.
	units *units
	// record notes a directory before it is made, so that it can be found when
	// this agent did not live to remove it; nil notes nothing.
	record func(path string) error
	noted  map[string]bool
}

// findGroups looks for hierarchies in what a /proc file system tells.
func findGroups(proc, dir string) *groups {
	sum := sha256.Sum256([]byte(dir))
	g := &groups{id: hex.EncodeToString(sum[:4])}
	mounts, err := cgroupMounts(filepath.Join(proc, "self", "mountinfo"))
	if err != nil {
		g.err = err
		return g
	}
	own, err := ownGroups(filepath.Join(proc, "self", "cgroup"))
	if err != nil {
		g.err = err
		return g
	}
	// Version 2 counts where it has the controllers; on a host with both, the
	// memory controller is in one of them only.
	if m, ok := mounts[""]; ok && mounts["memory"] == "" {
		g.v2 = []string{m}
		if o := own[""]; o != "" && o != "/" {
			g.v2 = append(g.v2, filepath.Join(m, o))
		}
		return g
	}
	for _, c := range []string{"cpu", "cpuacct", "memory"} {
		m, ok := mounts[c]
		if !ok {
			continue
		}
		// Below this process's own group, so that its limits hold further. In a
		// container the path may be the host's: then the root is the container's.
		if d := filepath.Join(m, own[c]); isDir(d) {
			m = d
		}
		if g.v1 == nil {
			g.v1 = make(map[string]string)
		}
		g.v1[c] = m
	}
	if g.v1 == nil {
		g.err = errors.New("this host has no control groups for CPU and memory")
	}
	return g
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// cgroupMounts maps the controllers of version 1 to their mount points, and ""
// to version 2's.
func cgroupMounts(mountinfo string) (map[string]string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	mounts := make(map[string]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		point := unescapeMount(left[4])
		switch right[0] {
		case "cgroup2":
			mounts[""] = point
		case "cgroup":
			for o := range strings.SplitSeq(right[2], ",") {
				mounts[o] = point
			}
		}
	}
	return mounts, lines.Err()
}

// unescapeMount undoes mountinfo's octal escapes of white space.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// ownGroups maps controllers to this process's group, "" to that of version 2.
func ownGroups(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	own := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			own[c] = parts[2]
		}
	}
	return own, nil
}

// group is an instance's control group.
type group struct {
	unit  *unit    // whose group it is; nil for one made by hand
	paths []string // its directories, one in version 2
	// The directories that tell and limit; empty where that is not to be had.
	cpuDir, cpuacctDir, memoryDir string
	v2                            bool
	usageV2                       bool // cpuacctDir is of version 2 in any case
}

// create makes an instance's group. What an earlier agent left in one of the
// same name is killed.
func (gs *groups) create(name string) (*group, error) {
	if gs.err != nil {
		return nil, gs.err
	}
	var g *group
	var err error
	if gs.v1 != nil {
		g, err = gs.createV1(name)
	} else {
		for _, base := range gs.v2 {
			if g, err = gs.createV2(base, filepath.Join(groupRoot, gs.id), name); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, explain(err)
	}
	if err := g.kill(killWait); err != nil {
		return nil, fmt.Errorf("processes of an earlier run: %w", err)
	}
	return g, nil
}

// note records a group that is to be made, and the directory of all of this
// agent's above it, once each.
func (gs *groups) note(dir string) error {
	for _, d := range []string{filepath.Dir(dir), dir} {
		if gs.record == nil || gs.noted[d] {
			continue
		}
		if err := gs.record(d); err != nil {
			return fmt.Errorf("record control group %s: %w", d, err)
		}
		if gs.noted == nil {
			gs.noted = make(map[string]bool)
		}
		gs.noted[d] = true
	}
	return nil
}

// explain says what to do about a refusal.
func explain(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("control groups cannot be written here (log in as root, or leave limits out): %w", err)
	}
	return err
}

func (gs *groups) createV1(name string) (*group, error) {
	g := &group{}
	made := make(map[string]string) // by base: controllers may share a hierarchy
	for _, c := range []string{"cpuacct", "memory", "cpu"} {
		base, ok := gs.v1[c]
		if !ok {
			continue
		}
		dir, ok := made[base]
		if !ok {
			dir = filepath.Join(base, groupRoot, gs.id, name)
			if err := gs.note(dir); err != nil {
				_ = g.remove(killWait)
				return nil, err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				_ = g.remove(killWait)
				return nil, err
			}
			made[base] = dir
			g.paths = append(g.paths, dir)
		}
		switch c {
		case "cpu":
			g.cpuDir = dir
		case "cpuacct":
			g.cpuacctDir = dir
		case "memory":
			g.memoryDir = dir
		}
	}
	return g, nil
}

// createV2 makes base/parent/name with the controllers that base can hand down.
func (gs *groups) createV2(base, parent, name string) (*group, error) {
	dir := filepath.Join(base, parent, name)
	if err := gs.note(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	g := &group{v2: true, paths: []string{dir}, cpuacctDir: dir}
	var errs []error
	at := base
	for _, step := range append([]string{""}, strings.Split(parent, "/")...) {
		at = filepath.Join(at, step)
		for _, c := range []string{"+cpu", "+memory"} {
			errs = append(errs, os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte(c), 0))
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "cpu.max")); err == nil {
		g.cpuDir = dir
	}
	if _, err := os.Stat(filepath.Join(dir, "memory.current")); err == nil {
		g.memoryDir = dir
	}
	if g.cpuDir == "" || g.memoryDir == "" {
		_ = g.remove(killWait)
		return nil, fmt.Errorf("control group %s: cpu and memory cannot be handed down: %w", dir, errors.Join(errs...))
	}
	return g, nil
}

func (g *group) dirs() []string { return g.paths }

// limit sets limits. Those of a unit are set already, and only looked at.
func (g *group) limit(l limits) error {
	if g.unit != nil {
		return g.verify(l)
	}
	var errs []error
	if l.cpu > 0 {
		errs = append(errs, g.limitCPU(l.cpu))
	}
	if l.memory > 0 {
		errs = append(errs, g.limitMemory(l.memory))
	}
	if err := errors.Join(errs...); err != nil {
		return explain(err)
	}
	return nil
}

// quota is a CPU limit in microseconds a period. The kernel takes none below a
// millisecond: 10 thousandths.
func quota(mcpu int) int { return max(mcpu*cpuPeriod/1000, 1000) }

func (g *group) limitCPU(mcpu int) error {
	quota := quota(mcpu)
	switch {
	case g.cpuDir == "":
		return errors.New("cpu limit: no cpu controller")
	case g.v2:
		return writeGroup(g.cpuDir, "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod))
	}
	return errors.Join(
		writeGroup(g.cpuDir, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)),
		writeGroup(g.cpuDir, "cpu.cfs_quota_us", strconv.Itoa(quota)))
}

func (g *group) limitMemory(bytes int64) error {
	if g.memoryDir == "" {
		return errors.New("memory limit: no memory controller")
	}
	limit := "memory.limit_in_bytes"
	if g.v2 {
		limit = "memory.max"
	}
	if err := writeGroup(g.memoryDir, limit, strconv.FormatInt(bytes, 10)); err != nil {
		return err
	}
	return g.limitSwap(bytes)
}

// limitSwap leaves no swap to a limit on memory, where the kernel counts it: one
// that pages instead of holding would show up as latency.
func (g *group) limitSwap(bytes int64) error {
	swap, limit := "memory.memsw.limit_in_bytes", strconv.FormatInt(bytes, 10)
	if g.v2 {
		swap, limit = "memory.swap.max", "0"
	}
	if err := writeGroup(g.memoryDir, swap, limit); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeGroup writes to a control file that exists.
func writeGroup(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// cpu reads the CPU time used so far in nanoseconds, of members that are gone too.
func (g *group) cpu() (int64, bool) {
	if g.cpuacctDir == "" {
		return 0, false
	}
	if g.v2 || g.usageV2 {
		n, ok := readField(g.cpuacctDir, "cpu.stat", "usage_usec")
		return n * 1000, ok
	}
	return readNumber(g.cpuacctDir, "cpuacct.usage")
}

// memory reads the bytes in use, without the file pages that nobody has used for
// a while: what Kubernetes calls the working set.
func (g *group) memory() (int64, bool) {
	if g.memoryDir == "" {
		return 0, false
	}
	use, inactive := "memory.usage_in_bytes", "total_inactive_file"
	if g.v2 {
		use, inactive = "memory.current", "inactive_file"
	}
	n, ok := readNumber(g.memoryDir, use)
	if !ok {
		return 0, false
	}
	idle, _ := readField(g.memoryDir, "memory.stat", inactive)
	return max(0, n-idle), true
}

func readNumber(dir, file string) (int64, bool) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// readField reads one line "name number" of a file.
func readField(dir, file, name string) (int64, bool) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == name {
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// members are the processes in the group, without those in groups below it, and
// without a unit's keeper.
func (g *group) members() []int {
	var pids []int
	for _, d := range g.paths {
		b, err := os.ReadFile(filepath.Join(d, procsFile))
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !g.unit.keeps(pid) && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// kill kills all members, and those that they fork meanwhile, until none is left.
func (g *group) kill(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		pids := g.members()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("control group %s: pids %v do not end", g.paths[0], pids)
		}
		time.Sleep(groupPoll)
	}
}

// remove removes the group, and the directories above it that bela made when
// they are empty. A group stays busy for a moment after its last member's end.
func (g *group) remove(limit time.Duration) error {
	if g == nil {
		return nil
	}
	if g.unit != nil {
		return g.unit.remove(g.paths)
	}
	deadline := time.Now().Add(limit)
	var errs []error
	for _, d := range g.paths {
		err := os.Remove(d)
		for errors.Is(err, syscall.EBUSY) && time.Now().Before(deadline) {
			time.Sleep(groupPoll)
			err = os.Remove(d)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		if id := filepath.Dir(d); os.Remove(id) == nil {
			_ = os.Remove(filepath.Dir(id))
		}
	}
	return errors.Join(errs...)
}
