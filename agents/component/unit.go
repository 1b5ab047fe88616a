package component

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// units makes transient scope units, where systemd runs the host: the tree of
// control groups is systemd's there, and a login without root has no other way.
type units struct {
	manager *manager
	err     error // why there is none
	id      string
	proc    string
	// record notes a unit before it is made; nil notes nothing.
	record func(unit string) error
	noted  map[string]bool
}

// unit is a scope that holds one instance, and the process that keeps it.
//
// systemd removes a scope's control group with its last process, and with it go
// the counters that say how that process ended. So each has a keeper: a cat that
// was started outside and waits for the end of its input, which costs the scope
// no memory and no time. It ends with the agent at the latest.
type unit struct {
	name    string
	manager *manager
	keeper  *exec.Cmd
	life    io.Closer // the keeper ends when this is closed
}

const (
	// unitPrefix begins the names of all units that bela makes.
	unitPrefix = "bela-"
	// unitGone is how long systemd may take to notice that a unit is empty before
	// it is told to remove it.
	unitGone = time.Second
)

func (u *units) name(instance string) string { return unitPrefix + u.id + "-" + instance + ".scope" }

// create makes an instance's unit with its limits. What an earlier agent left in
// one of the same name is killed. Whether limits hold is for group.limit to say.
func (u *units) create(instance string, l limits) (*group, error) {
	if u.err != nil {
		return nil, u.err
	}
	mounts, err := cgroupMounts(filepath.Join(u.proc, "self", "mountinfo"))
	if err != nil {
		return nil, err
	}
	if _, v1 := mounts["memory"]; v1 && u.manager.user() {
		return nil, errors.New("systemd hands a login no controllers where the host has control groups of version 1 (boot with systemd.unified_cgroup_hierarchy=1)")
	}
	name := u.name(instance)
	if err := u.note(name); err != nil {
		return nil, err
	}
	n, err := startKeeper(name, u.manager)
	if err != nil {
		return nil, err
	}
	err = n.start(instance, l)
	if err != nil && strings.Contains(err.Error(), "already") {
		if err = n.clear(); err == nil {
			err = n.start(instance, l)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("systemd makes no unit %s: %w", name, err), n.end())
	}
	g, err := u.await(n, mounts)
	if err != nil {
		return nil, errors.Join(err, n.end(), n.stop())
	}
	return g, nil
}

// note records a unit that is to be made, once.
func (u *units) note(name string) error {
	if u.record == nil || u.noted[name] {
		return nil
	}
	if err := u.record(name); err != nil {
		return fmt.Errorf("record unit %s: %w", name, err)
	}
	if u.noted == nil {
		u.noted = make(map[string]bool)
	}
	u.noted[name] = true
	return nil
}

// keeps says that a process is the unit's keeper; nil has none.
func (n *unit) keeps(pid int) bool { return n != nil && n.keeper.Process.Pid == pid }

func startKeeper(name string, m *manager) (*unit, error) {
	n := &unit{name: name, manager: m, keeper: exec.Command("cat")}
	n.keeper.Dir = "/"
	n.keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no signal to the agent's group ends it
	life, err := n.keeper.StdinPipe()
	if err == nil {
		err = n.keeper.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("keeper of unit %s: %w", name, err)
	}
	n.life = life
	// Out of the kernel's choice when memory runs out; only root may say so.
	_ = writeGroup(fmt.Sprintf("/proc/%d", n.keeper.Process.Pid), "oom_score_adj", "-1000")
	return n, nil
}

// start makes the unit around its keeper.
func (n *unit) start(instance string, l limits) error {
	err := n.manager.call("StartTransientUnit", n.request(instance, l, true)...)
	if err != nil && strings.Contains(err.Error(), "OOMPolicy") { // before version 253
		return n.manager.call("StartTransientUnit", n.request(instance, l, false)...)
	}
	return err
}

// request is StartTransientUnit's signature and arguments. Quotas are in
// microseconds of CPU a second, memory in bytes.
func (n *unit) request(instance string, l limits, oomPolicy bool) []string {
	properties := [][]string{
		{"Description", "s", "bela: component " + instance},
		{"PIDs", "au", "1", strconv.Itoa(n.keeper.Process.Pid)},
		{"Delegate", "b", "true"}, // else no other process can be moved into it
		{"CollectMode", "s", "inactive-or-failed"},
		{"CPUAccounting", "b", "true"},
		{"MemoryAccounting", "b", "true"},
		// systemd limits the tasks of every unit; bela only what it was asked to.
		{"TasksMax", "t", strconv.FormatUint(math.MaxUint64, 10)},
	}
	if l.cpu > 0 { // over the kernel's period, which is systemd's too
		properties = append(properties, []string{"CPUQuotaPerSecUSec", "t", strconv.Itoa(quota(l.cpu) * (1_000_000 / cpuPeriod))})
	}
	if l.memory > 0 {
		properties = append(properties,
			[]string{"MemoryMax", "t", strconv.FormatInt(l.memory, 10)},
			[]string{"MemorySwapMax", "t", "0"})
	}
	if oomPolicy { // as without systemd: only the process that was killed ends
		properties = append(properties, []string{"OOMPolicy", "s", "continue"})
	}
	args := []string{"ssa(sv)a(sa(sv))", n.name, "fail", strconv.Itoa(len(properties))}
	return append(append(args, slices.Concat(properties...)...), "0")
}

// await waits until the keeper is in all the unit's control groups.
func (u *units) await(n *unit, mounts map[string]string) (*group, error) {
	file := filepath.Join(u.proc, strconv.Itoa(n.keeper.Process.Pid), "cgroup")
	for deadline := time.Now().Add(askManager); ; time.Sleep(groupPoll) {
		own, err := ownGroups(file)
		if err != nil {
			return nil, err
		}
		g := unitGroup(mounts, own, n.name)
		if g.v2 && g.cpuacctDir != "" || g.cpuDir != "" && g.memoryDir != "" {
			g.unit = n
			return g, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("systemd hands unit %s no controllers for CPU and memory", n.name)
		}
	}
}

// unitGroup finds a unit's directories among the control groups of its keeper.
func unitGroup(mounts, own map[string]string, name string) *group {
	dirs := make(map[string]string)
	for c, path := range own {
		if mounts[c] != "" && filepath.Base(path) == name {
			dirs[c] = filepath.Join(mounts[c], path)
		}
	}
	_, v1 := mounts["memory"]
	g := &group{v2: !v1, paths: slices.Compact(slices.Sorted(maps.Values(dirs)))}
	if g.v2 {
		g.cpuacctDir = dirs[""] // told without the controller too
		if dirs[""] != "" && exists(filepath.Join(dirs[""], "cpu.max")) {
			g.cpuDir = dirs[""]
		}
		if dirs[""] != "" && exists(filepath.Join(dirs[""], "memory.current")) {
			g.memoryDir = dirs[""]
		}
		return g
	}
	g.cpuDir, g.cpuacctDir, g.memoryDir = dirs["cpu"], dirs["cpuacct"], dirs["memory"]
	if g.cpuacctDir == "" { // systemd leaves it out where it is mounted apart from cpu
		g.cpuacctDir, g.usageV2 = dirs[""], true
	}
	return g
}

// attach moves a process into the unit, in all hierarchies at once. A login
// cannot do that by itself: its own session is not its to take processes from.
func (m *manager) attach(name string, pid int) error {
	if err := m.call("AttachProcessesToUnit", "ssau", name, "", "1", strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("join unit %s: %w", name, err)
	}
	return nil
}

// verify says which limits systemd did not set, and sets the one that it does
// not know: that memory of version 1 counts swap.
func (g *group) verify(l limits) error {
	var errs []error
	const hint = "(as root: a drop-in of user@.service with Delegate=cpu memory, then log in anew)"
	if l.cpu > 0 {
		if share, ok := g.cpuShare(); g.cpuDir == "" {
			errs = append(errs, fmt.Errorf("systemd hands unit %s no cpu controller %s", g.unit.name, hint))
		} else if want := float64(quota(l.cpu)) / cpuPeriod; !ok || math.Abs(share-want) > want/100 {
			errs = append(errs, fmt.Errorf("systemd did not set the cpu limit of unit %s", g.unit.name))
		}
	}
	if l.memory > 0 {
		file := "memory.limit_in_bytes"
		if g.v2 {
			file = "memory.max"
		}
		if g.memoryDir == "" {
			errs = append(errs, fmt.Errorf("systemd hands unit %s no memory controller %s", g.unit.name, hint))
		} else if n, ok := readNumber(g.memoryDir, file); !ok || n > l.memory || n <= l.memory-int64(os.Getpagesize()) {
			errs = append(errs, fmt.Errorf("systemd did not set the memory limit of unit %s", g.unit.name))
		} else if !g.v2 {
			errs = append(errs, g.limitSwap(l.memory))
		}
	}
	return errors.Join(errs...)
}

// cpuShare reads how many cores the quota allows.
func (g *group) cpuShare() (float64, bool) {
	if !g.v2 {
		quota, ok := readNumber(g.cpuDir, "cpu.cfs_quota_us")
		period, ok2 := readNumber(g.cpuDir, "cpu.cfs_period_us")
		return float64(quota) / float64(max(period, 1)), ok && ok2 && quota > 0
	}
	b, err := os.ReadFile(filepath.Join(g.cpuDir, "cpu.max"))
	if err != nil {
		return 0, false
	}
	var quota, period float64
	_, err = fmt.Sscan(string(b), &quota, &period) // "max" is no number
	return quota / max(period, 1), err == nil
}

// clear kills what is left in a unit of this name and has it removed.
func (n *unit) clear() error {
	killed := n.manager.call("KillUnit", "ssi", n.name, "all", strconv.Itoa(int(syscall.SIGKILL)))
	if err := n.stop(); err != nil {
		return fmt.Errorf("processes of an earlier run: %w", errors.Join(err, killed))
	}
	return nil
}

// stop has the manager remove the unit, which has no process left, and waits
// until it has.
func (n *unit) stop() error {
	for deadline := time.Now().Add(killWait); ; time.Sleep(10 * groupPoll) {
		if err := n.manager.call("StopUnit", "ss", n.name, "replace"); notLoaded(err) {
			return nil
		} else if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("unit %s is left", n.name), err)
		}
	}
}

// notLoaded says that the manager has no such unit, any more or at all.
func notLoaded(err error) bool { return err != nil && strings.Contains(err.Error(), "not loaded") }

// end ends the keeper.
func (n *unit) end() error {
	err := n.life.Close()
	timer := time.AfterFunc(killWait, func() { _ = n.keeper.Process.Kill() })
	defer timer.Stop()
	_ = n.keeper.Wait() // it may have been killed with the unit
	return err
}

// remove lets go of the unit, which systemd then removes, and waits until it has.
func (n *unit) remove(dirs []string) error {
	err := n.end()
	for deadline := time.Now().Add(unitGone); slices.ContainsFunc(dirs, isDir); time.Sleep(groupPoll) {
		if time.Now().After(deadline) { // in a container nobody may tell systemd
			return errors.Join(err, n.stop())
		}
	}
	return err
}
