package component

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// insideSystemd is set where a systemd of the test's own runs the "host": to
// where bela's sources are.
const insideSystemd = "BELA_TEST_SYSTEMD"

// systemdBed is a real systemd, the first process of its own namespaces.
type systemdBed struct {
	t    *testing.T
	name string
	pid  string
	log  bytes.Buffer // read after its end
}

// bootSystemd boots one, which lives until the test ends. Where none can be, the
// test is left out; under CI, where it must be possible, it fails.
func bootSystemd(t *testing.T, layout string) *systemdBed {
	t.Helper()
	var missing []string
	for _, program := range []string{"/lib/systemd/systemd", "busctl", "dbus-daemon", "unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	why := ""
	switch {
	case os.Geteuid() != 0:
		why = "only root can boot one"
	case len(missing) > 0:
		why = strings.Join(missing, ", ") + " missing (Debian: systemd, dbus)"
	}
	if why != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("left out: limits through a real systemd: %s", why)
		}
		t.Skipf("left out: limits through a real systemd: %s", why)
	}
	b := &systemdBed{t: t, name: fmt.Sprintf("bela-systemd-%d-%s", os.Getpid(), layout)}
	cmd := exec.Command("sh", "testdata/systemd.sh", "outside", b.name, layout)
	cmd.Stderr = &b.log
	cmd.WaitDelay = patience
	life, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(life.Close(), cmd.Wait())
		if err != nil || t.Failed() {
			t.Errorf("%v; systemd said:\n%s", err, &b.log)
		}
		if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + b.name); len(left) > 0 || isDir("/sys/fs/cgroup/"+b.name) {
			t.Errorf("control groups left: %v", left)
		}
	})
	if b.pid, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("systemd does not start: %v", err)
	}
	b.pid = strings.TrimSpace(b.pid)
	await(t, "systemd to be up", func() bool {
		_, err := b.command("systemctl", "is-active", "bed.target").Output()
		return err == nil
	})
	return b
}

// command runs in the namespaces, though in the control groups of the test.
func (b *systemdBed) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target=" + b.pid, "--all", "--"}, args...)...)
}

// test runs tests of this package as a service of the systemd, and wants each
// of them to pass.
func (b *systemdBed) test(user string, names ...string) {
	t := b.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// Other users do not get at the test's own executable.
	exe := "/run/tmp/component.test"
	if out, err := exec.Command("install", "-m", "755", self(t), "/proc/"+b.pid+"/root"+exe).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	args := []string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--property=DefaultDependencies=no", "--uid=" + user, "--setenv=" + insideSystemd + "=" + root,
		"--setenv=TMPDIR=/run/tmp", "--setenv=PATH=" + os.Getenv("PATH"), "--working-directory=/run/tmp", "--",
		exe, "-test.v", "-test.run=^(" + strings.Join(names, "|") + ")$"}
	cmd := b.command(args...)
	text := make(chan []byte, 1)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		all, _ := io.ReadAll(out) // cut off with the namespaces
		text <- all
	}()
	var said []byte
	select {
	case said = <-text:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		said = <-text
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("within systemd: %v\n%s", err, said)
		return
	}
	for _, name := range names {
		if !strings.Contains(string(said), "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass within systemd:\n%s", name, said)
		}
	}
	t.Logf("within systemd, as %s:\n%s", user, said)
}

// inside leaves a test out that has no systemd of its own around it.
func inside(t *testing.T) {
	t.Helper()
	if os.Getenv(insideSystemd) == "" {
		t.Skip("runs inside of TestLimitsThroughSystemd")
	}
}

// If this failed, limits would not hold, or not be seen to hold, on hosts that
// systemd runs; or a run would leave units there. The tests of groups made by
// hand hold for units too.
func TestLimitsThroughSystemd(t *testing.T) {
	layouts := []string{"hybrid", "v1"}
	if findGroups("/proc", "").v2 != nil {
		layouts = []string{"v2"}
	}
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			b := bootSystemd(t, layout)
			tests := []string{"TestWithinSystemd", "TestMemoryLimitKillsAndSaysSo", "TestNothingOutlivesAKilledAgent", "TestCreateKillsWhatAnEarlierAgentLeft"}
			if layout != "v1" { // as in hybrid
				tests = append(tests, "TestTruthMemoryAgainstGroundTruth", "TestStopEndsTheWholeTree")
				b.test("nobody", "TestLoginWithoutSystemd")
			}
			b.test("root", tests...)
			left, err := b.command("systemctl", "list-units", "--all", "--plain", "--no-legend", unitPrefix+"*").Output()
			if err != nil || len(left) > 0 {
				t.Errorf("units left: %s %v", left, err)
			}
		})
	}
}

// If this failed, what TestLimitsThroughSystemd stands for would not hold.
func TestWithinSystemd(t *testing.T) {
	inside(t)
	t.Run("seen and gone", unitIsSeenAndGone)
	t.Run("cpu", unitHoldsCPU)
	t.Run("killed children", unitCountsKilledChildren)
	t.Run("tried", unitIsTried)
	t.Run("side by side", unitsSideBySide)
	t.Run("of a dead agent", unitOfADeadAgentIsRemoved)
}

func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		args = append([]string{"--user"}, args...)
	}
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// If this failed, nobody could see by systemd's own means what bela runs, or
// limits would be others than those asked for.
func unitIsSeenAndGone(t *testing.T) {
	b := newBench(t, true)
	var recorded []string
	b.groups.units.record = func(unit string) error {
		recorded = append(recorded, unit)
		return nil
	}
	spec := b.process("stubborn")
	spec.ReadyLog, spec.StopSignal = "up", "KILL"
	spec.LimitCPU, spec.LimitMemory = 350, 700<<20
	name := b.groups.units.name("p-1")
	for range 2 { // a second one of the same name
		s := b.start(spec)
		if want := "systemd unit " + name + " ("; !s.LimitsEnforced || !strings.HasPrefix(s.LimitsBy, want) {
			t.Fatalf("%+v", s)
		}
		if list := systemctl(t, "list-units", "--plain", "--no-legend", unitPrefix+"*"); !strings.Contains(list, name) || !strings.Contains(list, "active running") {
			t.Errorf("systemctl lists %q", list)
		}
		got := systemctl(t, "show", name, "-p", "CPUQuotaPerSecUSec,MemoryMax,TasksMax,CollectMode,Delegate")
		for _, want := range []string{"CPUQuotaPerSecUSec=350ms", "MemoryMax=734003200", "TasksMax=infinity", "CollectMode=inactive-or-failed", "Delegate=yes"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in %q", want, got)
			}
		}
		if status := systemctl(t, "status", "--no-pager", "--lines=0", name); !strings.Contains(status, fmt.Sprintf("%d ", s.PID)) {
			t.Errorf("pid %d is not in %s", s.PID, status)
		}
		if err := b.Stop(t.Context(), "p", 1); err != nil {
			t.Fatal(err)
		}
		if list := systemctl(t, "list-units", "--all", "--plain", "--no-legend", unitPrefix+"*"); strings.Contains(list, "active running") {
			t.Errorf("after its end systemctl lists %q", list)
		}
	}
	if len(recorded) != 1 || recorded[0] != name {
		t.Errorf("recorded %q, want %s once", recorded, name)
	}
}

// If this failed, CPU limits through systemd would be off by a factor, or what
// they did would not be counted.
func unitHoldsCPU(t *testing.T) {
	b := newBench(t, true)
	spec := b.process("spin", "100")
	spec.LimitCPU, spec.LimitMemory = 200, 64<<20
	b.start(spec)
	before, begin := b.sample(), time.Now()
	await(t, "600 ms of CPU time", func() bool { return b.sample().CPUNS-before.CPUNS > int64(600*time.Millisecond) })
	after, wall := b.sample(), time.Since(begin)
	used := after.CPUNS - before.CPUNS
	t.Logf("%d mcpu over %s, throttled in %d periods", used*1000/int64(wall), wall, *after.Group.ThrottledPeriods-*before.Group.ThrottledPeriods)
	if most := wall.Nanoseconds()*200/1000 + int64(40*time.Millisecond); used > most {
		t.Errorf("%s of CPU in %s, with a limit of 200 mcpu", time.Duration(used), wall)
	}
	// Whenever it was held it had used up its 20 ms: so it got no less either, as
	// long as the machine let it.
	held := *after.Group.ThrottledPeriods - *before.Group.ThrottledPeriods
	if held == 0 || *after.Group.ThrottledNS == 0 || used < (held-2)*int64(18*time.Millisecond) {
		t.Errorf("%s of CPU, and held in %d periods", time.Duration(used), held)
	}
	if after.Group.MemoryPeak == nil || *after.Group.MemoryPeak == 0 {
		t.Error("no peak of memory")
	}
}

// If this failed, the kernel's kills within a component would not be counted, or
// take the rest of the component with them.
func unitCountsKilledChildren(t *testing.T) {
	b := newBench(t, true)
	spec := b.process("spawn-memory", "200")
	spec.LimitMemory = 64 << 20
	s := b.start(spec)
	b.awaitOutput("up", 2)
	if err := os.WriteFile(filepath.Join(b.Dir, "cells", "001", "p-1", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "two killed processes", func() bool { return *b.sample().Group.OOMKills == 2 })
	if !alive(s.PID) {
		t.Error("the component itself ended")
	}
}

// If this failed, the doctor would say of a host that systemd runs that limits
// are enforced otherwise, or leave a unit there.
func unitIsTried(t *testing.T) {
	_, by, err := TryLimits("/proc", t.TempDir())
	if err != nil || !strings.HasPrefix(by, "systemd unit "+unitPrefix) {
		t.Errorf("by %q, %v", by, err)
	}
}

// If this failed, components that start one after the other would get in each
// other's units.
func unitsSideBySide(t *testing.T) {
	b := newBench(t, true)
	for n := 1; n <= 5; n++ {
		spec := b.process("stubborn")
		spec.ReadyLog, spec.Instance, spec.StopSignal = "up", n, "KILL"
		spec.LimitCPU = 100 * n
		b.start(spec)
	}
	for n, in := range b.list() {
		if share, ok := in.group.cpuShare(); !ok || share*10 != float64(n+1) {
			t.Errorf("%s: %.2f cores", in, share)
		}
		if got := in.group.members(); len(got) != 1 || got[0] != in.pid {
			t.Errorf("%s: members %v, want %d", in, got, in.pid)
		}
	}
}

// If this failed, a login that systemd cannot help would not learn why, and what
// to do.
func TestLoginWithoutSystemd(t *testing.T) {
	inside(t)
	_, by, err := TryLimits("/proc", "/run/tmp")
	for _, want := range []string{"through systemd: this login has no systemd of its own", "loginctl enable-linger", "by hand: ", "log in as root"} {
		if by != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("by %q, %v; want %q", by, err, want)
		}
	}
}

// awaitUnitGone waits until systemd has removed a unit whose processes have ended.
func awaitUnitGone(t *testing.T, name string) {
	t.Helper()
	await(t, "the removal of unit "+name, func() bool {
		return systemctl(t, "show", "-P", "LoadState", name) == "not-found"
	})
}

// If this failed, what an agent that was killed left in a unit would stay on the
// node. The scripts are those that provisioning runs there.
func unitOfADeadAgentIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bela")
	write(t, dir, map[string]string{"MANIFEST": "bela manifest 1\nnow\tdirectory\t" + dir + "\t-\nnow\tunit\tdbus.service\t-\n"})
	script := func(name string, args ...string) string {
		t.Helper()
		text := "dir=$1\n"
		for _, file := range []string{"common.sh", name} {
			b, err := os.ReadFile(filepath.Join(os.Getenv(insideSystemd), "provision", "scripts", file))
			if err != nil {
				t.Fatal(err)
			}
			text += string(b)
		}
		out, err := exec.Command("sh", append([]string{"-c", text, "sh", dir}, args...)...).Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	gs := findGroups("/proc", dir)
	gs.units = gs.findUnits("/proc")
	gs.units.record = func(unit string) error {
		f, err := os.OpenFile(filepath.Join(dir, "MANIFEST"), os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = fmt.Fprintf(f, "now\tunit\t%s\t-\n", unit)
		}
		return errors.Join(err, f.Close())
	}
	g, err := gs.units.create("p-1", limits{})
	if err != nil {
		t.Fatal(err)
	}
	left := exec.Command(self(t), "helper", "stubborn")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	go left.Wait() //nolint:errcheck // killed
	if err := errors.Join(g.unit.manager.attach(g.unit.name, left.Process.Pid), g.unit.end()); err != nil {
		t.Fatal(err)
	}
	if got := script("leftovers.sh"); !strings.Contains(got, "unit "+g.unit.name+"\n") || !strings.Contains(got, fmt.Sprintf("process %d ", left.Process.Pid)) || strings.Contains(got, "dbus") {
		t.Errorf("left over: %s", got)
	}
	script("stop.sh", "1", "20")
	script("remove.sh", "")
	if alive(left.Process.Pid) || isDir(dir) {
		t.Error("the process or the directory is left")
	}
	awaitUnitGone(t, g.unit.name)
	if systemctl(t, "is-active", "dbus.service") != "active" {
		t.Error("a unit that is not bela's was stopped")
	}
}
