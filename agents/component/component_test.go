package component

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/agents/protocol"
)

// bothWays runs a test with control groups and without.
func bothWays(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Run("group", func(t *testing.T) { f(t, newBench(t, true)) })
	t.Run("tree", func(t *testing.T) { f(t, newBench(t, false)) })
}

// If this failed, the millicores in a report would be wrong. The truth is what
// the kernel tells the process itself; nominal shares do not hold on a busy machine.
func TestTruthCPUAgainstGroundTruth(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"one process, 30 % of a core", []string{"burn", "0.9"}},
		{"children that are gone when the sample is taken", []string{"spawn", "3", "spin", "0.3"}},
		{"many that live for a moment", []string{"spawn", "40", "spin", "0.02"}},
		{"threads", []string{"threads", "4", "0.8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, b *bench) {
				b.start(b.process(tt.args...))
				used, err := strconv.ParseInt(b.awaitOutput("used ", 1), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				if got := b.sample().CPUNS; got < used*95/100 || got > used*105/100 {
					t.Errorf("%s of CPU, the process says %s", time.Duration(got), time.Duration(used))
				}
			})
		})
	}
}

// If this failed, a rate of CPU use would be negative for a second.
func TestCPUNeverDecreases(t *testing.T) {
	b := newBench(t, false)
	b.start(b.process("spawn", "20", "spin", "0.02"))
	last := int64(0)
	await(t, "the end of the children", func() bool {
		now := b.sample().CPUNS
		if now < last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
		return strings.Contains(b.output(), "used ")
	})
}

// If this failed, the MiB in a report would be wrong, and limits set by them.
func TestTruthMemoryAgainstGroundTruth(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		procs int
	}{
		{"one process of 200 MiB", []string{"memory", "200"}, 1},
		{"two children of 100 MiB each", []string{"spawn-memory", "100"}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, b *bench) {
				b.start(b.process(tt.args...))
				b.awaitOutput("up", tt.procs)
				before := b.sample().Memory
				if err := os.WriteFile(filepath.Join(b.Dir, "cells", "001", "p-1", "go"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				b.awaitOutput("touched", tt.procs)
				if got := (b.sample().Memory - before) >> 20; got < 190 || got > 210 {
					t.Errorf("%d MiB more, want 200", got)
				}
			})
		})
	}
}

// If this failed, a limit in an experiment would be without effect, or a result
// would claim that it held.
func TestCPULimitHolds(t *testing.T) {
	b := newBench(t, true)
	spec := b.process("spin", "100")
	spec.LimitCPU = 200
	if s := b.start(spec); !s.LimitsEnforced || s.LimitsReason != "" {
		t.Fatalf("%+v", s)
	}
	from, begin := b.sample().CPUNS, time.Now()
	await(t, "400 ms of CPU time", func() bool { return b.sample().CPUNS-from > int64(400*time.Millisecond) })
	used, wall := b.sample().CPUNS-from, time.Since(begin)
	// One period's quota may have been left over at the beginning. A busy machine
	// only makes it less.
	if most := wall.Nanoseconds()*200/1000 + int64(40*time.Millisecond); used > most {
		t.Errorf("%s of CPU in %s, with a limit of 200 mcpu", time.Duration(used), wall)
	}
}

// If this failed, nobody would learn that a memory limit killed a component.
func TestMemoryLimitKillsAndSaysSo(t *testing.T) {
	b := newBench(t, true)
	spec := b.process("memory", "200")
	spec.LimitMemory = 64 << 20
	if s := b.start(spec); !s.LimitsEnforced {
		t.Fatalf("%+v", s)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "cells", "001", "p-1", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := b.awaitEvent()
	if e.State != "exited" || !strings.Contains(e.Detail, "SIGKILL") || !strings.Contains(e.Detail, "killed by the memory limit of 64 MiB") {
		t.Errorf("%+v", e)
	}
	if !slices.Contains(e.Log, "up") || e.At != 42 {
		t.Errorf("%+v", e)
	}
}

func (b *bench) awaitEvent() protocol.ComponentEvent {
	b.t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(patience):
		b.t.Fatal("no event")
		return protocol.ComponentEvent{}
	}
}

// If this failed, a result from a host without control groups would look as if
// its limits had held.
func TestLimitsWithoutGroupsAreNotClaimed(t *testing.T) {
	b := newBench(t, false)
	spec := b.process("burn", "100")
	spec.LimitCPU = 100
	if s := b.start(spec); s.LimitsEnforced || !strings.Contains(s.LimitsReason, "without control groups") {
		t.Errorf("%+v", s)
	}
}

// If this failed, processes would pile up on a node after each cell.
func TestStopEndsTheWholeTree(t *testing.T) {
	bothWays(t, func(t *testing.T, b *bench) {
		spec := b.process("parent")
		spec.ReadyLog = "^child "
		s := b.start(spec)
		child, err := strconv.Atoi(b.awaitOutput("child ", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Stop(t.Context(), "p", 1); err != nil {
			t.Fatal(err)
		}
		if alive(s.PID) {
			t.Error("the process is alive")
		}
		await(t, "the end of its child in a session of its own", func() bool { return !alive(child) })
		if err := b.Stop(t.Context(), "p", 1); err != nil {
			t.Errorf("second stop: %v", err)
		}
		select {
		case e := <-b.events:
			t.Errorf("a stop that was asked for is no event: %+v", e)
		default:
		}
	})
}

// If this failed, a process that ignores its stop signal would hold a run up for
// ever.
func TestStubbornProcessIsKilled(t *testing.T) {
	b := newBench(t, false)
	spec := b.process("stubborn")
	spec.ReadyLog, spec.StopTimeout = "up", 50*time.Millisecond
	s := b.start(spec)
	if err := b.Stop(t.Context(), "p", 1); err != nil {
		t.Fatal(err)
	}
	if alive(s.PID) {
		t.Error("it lives")
	}
}

// If this failed, whatever an agent had started would go on after it was killed,
// and spoil the next run on that node.
func TestNothingOutlivesAKilledAgent(t *testing.T) {
	dir := t.TempDir()
	agent := exec.Command(self(t), "helper", "supervise", dir)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = agent.Process.Kill() }()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "supervising" {
		t.Fatalf("the agent said %q", lines.Text())
	}
	// All that descends from it: the guard, the shims become, and a child that
	// left its process group.
	pids := descendants(t, agent.Process.Pid)
	want := 4
	gs := findGroups("/proc", dir)
	if gs.units = gs.findUnits("/proc"); gs.units != nil && gs.units.err == nil {
		want += 2 // keepers of units
	}
	if len(pids) != want {
		t.Fatalf("%d processes below the agent, want %d: the guard, a parent with a child, and a built-in", len(pids), want)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait() // killed
	grouped := gs.err == nil && os.Geteuid() == 0
	for _, pid := range pids {
		if !grouped && ownSession(pid) {
			// Without control groups nothing ties such a child to the instance.
			_ = syscall.Kill(pid, syscall.SIGKILL)
			continue
		}
		await(t, fmt.Sprintf("the end of pid %d", pid), func() bool { return !alive(pid) })
	}
	for _, base := range gs.v1 {
		await(t, "the removal of its control groups", func() bool { return !isDir(filepath.Join(base, groupRoot, gs.id)) })
	}
	if want > 4 {
		for _, instance := range []string{"tree-1", "builtin-1"} {
			name := gs.units.name(instance)
			if gs.v1 != nil { // in a container nobody may tell systemd that it is empty
				_ = exec.Command("systemctl", "stop", name).Run()
			}
			awaitUnitGone(t, name)
		}
	}
}

func ownSession(pid int) bool {
	sid, err := syscall.Getpgid(pid)
	return err == nil && sid == pid
}

func descendants(t *testing.T, root int) []int {
	t.Helper()
	var table processTable
	table.load()
	var pids []int
	for pid := range table.procs {
		for p := table.procs[pid].PPID; p > 1; p = table.procs[p].PPID {
			if p == root {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// If this failed, a run would start load on a component that does not take it
// yet, or would not learn why it never does.
func TestReady(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	open := l.Addr().String()
	_, port, _ := net.SplitHostPort(open)
	portNumber, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		spec func(*protocol.ComponentSpec)
		code string // of the error; empty for none
		text string
	}{
		{"a port that is open", func(s *protocol.ComponentSpec) { s.ReadyTCP = open }, "", ""},
		{"a port that another has", func(s *protocol.ComponentSpec) { s.Port, s.Bind = portNumber, "127.0.0.1" }, "component_failed", "is in use by the test"},
		{"nothing given at all: it runs", func(*protocol.ComponentSpec) {}, "", ""},
		{"a line", func(s *protocol.ComponentSpec) { s.ReadyLog = "^up$" }, "", ""},
		{"a command that ends well", func(s *protocol.ComponentSpec) { s.ReadyCommand = []string{"true"} }, "", ""},
		{"a line and a command", func(s *protocol.ComponentSpec) { s.ReadyLog, s.ReadyCommand = "up", []string{"true"} }, "", ""},
		{"a port that stays closed", func(s *protocol.ComponentSpec) {
			s.ReadyTCP, s.ReadyTimeout = "127.0.0.1:1", 300*time.Millisecond
		}, "deadline", "a TCP connection to 127.0.0.1:1: its ready timeout is over: dial tcp 127.0.0.1:1"},
		{"a line that does not come", func(s *protocol.ComponentSpec) {
			s.ReadyLog, s.ReadyTimeout = "never", 300*time.Millisecond
		}, "deadline", `a line of its output that matches "never"`},
		{"a command that fails, with its last words", func(s *protocol.ComponentSpec) {
			s.ReadyCommand, s.ReadyTimeout = []string{"sh", "-c", "echo too early; exit 7"}, 300*time.Millisecond
		}, "deadline", "exit status 7: too early"},
		{"a built-in that reports", func(s *protocol.ComponentSpec) { builtIn(s, "broker") }, "", ""},
		{"a built-in that does not", func(s *protocol.ComponentSpec) {
			builtIn(s, "mute")
			s.ReadyTimeout = 300 * time.Millisecond
		}, "deadline", "its own report that it accepts work"},
		{"a built-in whose program is not there", func(s *protocol.ComponentSpec) {
			s.Kind, s.Executable = "broker", "/no/such/bela-platform"
		}, "component_failed", "component p-1: the built-in platform is not on this node: stat /no/such/bela-platform: no such file or directory: the controller brings it"},
		{"a built-in whose program is none", func(s *protocol.ComponentSpec) {
			s.Kind, s.Executable = "broker", "/etc/passwd"
		}, "component_failed", "the built-in platform /etc/passwd is no program"},
		{"a built-in whose program is looked for", func(s *protocol.ComponentSpec) {
			s.Kind, s.Executable = "broker", "bela-platform"
		}, "bad_request", "must be given in full"},
		{"an end before it was ready", func(s *protocol.ComponentSpec) {
			s.Command, s.ReadyLog = []string{"sh", "-c", "echo no such luck; exit 9"}, "never"
		}, "component_failed", "exit status 9"},
		{"a command that is not there", func(s *protocol.ComponentSpec) {
			s.Command = []string{"no-such-command-here"}
		}, "component_failed", "is not on this node"},
		{"a path that is not there", func(s *protocol.ComponentSpec) {
			s.Command, s.ReadyLog = []string{"/no/such/file"}, "never"
		}, "component_failed", `command "/no/such/file" is not on this node`},
		{"a file that is no program", func(s *protocol.ComponentSpec) {
			s.Command = []string{"/etc/passwd"}
		}, "component_failed", `command "/etc/passwd" is no program`},
		{"a name that would leave the directory", func(s *protocol.ComponentSpec) { s.Name = "../p" }, "bad_request", "name"},
		{"a pattern that is none", func(s *protocol.ComponentSpec) { s.ReadyLog = "(" }, "bad_request", "ready"},
		{"a signal that is none", func(s *protocol.ComponentSpec) { s.StopSignal = "WAVE" }, "bad_request", "WAVE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, false)
			spec := b.process("stubborn")
			spec.StopSignal = "SIGKILL"
			tt.spec(&spec)
			_, err := b.Start(t.Context(), spec)
			var e *protocol.Error
			switch {
			case tt.code == "" && err != nil:
				t.Fatal(err)
			case tt.code == "":
				if r := b.Running(); !slices.Equal(r, []string{"p-1"}) {
					t.Errorf("running %v", r)
				}
				return
			case !errors.As(err, &e):
				t.Fatalf("error %v", err)
			}
			if e.Code != tt.code || !strings.Contains(e.Text, tt.text) {
				t.Errorf("%s: %s; want %s: …%s…", e.Code, e.Text, tt.code, tt.text)
			}
			if len(b.Running()) > 0 {
				t.Errorf("left running: %v", b.Running())
			}
			select {
			case ev := <-b.events:
				t.Errorf("told twice: %+v", ev)
			default:
			}
		})
	}
}

// If this failed, the last words of a failing component would not reach the
// operator.
func TestStartErrorCarriesLastLines(t *testing.T) {
	b := newBench(t, false)
	spec := b.process("lines", "50")
	spec.ReadyLog = "never"
	_, err := b.Start(t.Context(), spec)
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if len(e.Log) != keptLines || e.Log[keptLines-1] != "line 49" || e.Log[0] != "line 30" {
		t.Errorf("log %q", e.Log)
	}
}

// If this failed, the counters of a built-in would not reach the results, or a
// component started twice would be two.
func TestBuiltInCountersAndDoubleStart(t *testing.T) {
	b := newBench(t, false)
	spec := b.process()
	builtIn(&spec, "broker")
	b.start(spec)
	await(t, "a counter", func() bool { c := b.sample().Counters; return c != nil && c.MessagesIn > 1 })
	_, err := b.Start(t.Context(), spec)
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != "bad_request" || !strings.Contains(e.Text, "runs already") {
		t.Errorf("second start: %v", err)
	}
	info, err := os.Stat(filepath.Join(b.Dir, "cells", "001", "p-1", "config.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("config.json: %v %v", info, err)
	}
}

// If this failed, components would be stopped before those that depend on them,
// which costs messages.
func TestStopAllIsInReverse(t *testing.T) {
	b := newBench(t, false)
	var pids []int
	for i := 1; i <= 3; i++ {
		spec := b.process("stubborn")
		spec.Instance, spec.ReadyLog, spec.StopSignal = i, "up", "KILL"
		pids = append(pids, b.start(spec).PID)
	}
	if r := b.Running(); !slices.Equal(r, []string{"p-1", "p-2", "p-3"}) {
		t.Errorf("running %v", r)
	}
	if err := b.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("pid %d lives", pid)
		}
	}
}

// If this failed, what an agent happens to have in its environment would change
// results from node to node, and secrets in it would reach foreign processes.
func TestEnvironmentIsSmall(t *testing.T) {
	t.Setenv("BELA_LAB", "lab-7")
	t.Setenv("SOME_TOKEN", "leaks")
	b := newBench(t, false)
	spec := b.process()
	spec.Command = []string{"sh", "-c", "env; echo done; sleep 1000"}
	spec.Env = map[string]string{"GIVEN": "1", "LANG": "C"}
	spec.ReadyLog = "^done"
	b.start(spec)
	out := b.output()
	for _, want := range []string{"BELA_LAB=lab-7\n", "GIVEN=1\n", "LANG=C\n", "PATH="} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if strings.Contains(out, "SOME_TOKEN") {
		t.Error("the agent's environment leaks")
	}
}

// If this failed, a chatty component would fill a node's disk.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.log")
	l := &outputLog{limit: 1000}
	if err := l.open(path); err != nil {
		t.Fatal(err)
	}
	found := l.watch(regexp.MustCompile("^line 999$"))
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	text.WriteString(strings.Repeat("long ", 100_000))
	l.read(strings.NewReader(text.String()))
	l.close()
	for _, p := range []string{path, path + ".1"} {
		info, err := os.Stat(p)
		if err != nil || info.Size() > 1000+readBuffer {
			t.Errorf("%s: %v, %v", p, info, err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(b), "[bela: the log was full") {
		t.Errorf("no notice: %v", err)
	}
	select {
	case <-found:
	default:
		t.Error("the line was not noticed")
	}
	for _, line := range l.last() {
		if len(line) > keptLine {
			t.Errorf("a kept line has %d bytes", len(line))
		}
	}
}

// If this failed, what a built-in counted would stand at the time at which somebody
// looked, and a rate over a window would have up to a second's messages too many or
// too few.
func TestCountersHaveTheTimeAtWhichTheyCame(t *testing.T) {
	b := newBench(t, false)
	b.Now = func() int64 { return time.Now().UnixNano() }
	spec := b.process()
	builtIn(&spec, "broker")
	b.start(spec)
	await(t, "a counter", func() bool { return b.sample().Counters != nil })
	if err := b.Pause(spec.Name, spec.Instance); err != nil {
		t.Fatal(err)
	}
	var last protocol.ComponentSample
	await(t, "no new counter", func() bool {
		before := last
		last = b.sample()
		return before.Counters != nil && before.Counters.MessagesIn == last.Counters.MessagesIn
	})
	paused := b.Now()
	await(t, "some time to pass", func() bool { return b.Now()-paused > int64(300*time.Millisecond) })
	again := b.sample()
	// The two looks read two clocks each, a moment apart.
	if moved := time.Duration(again.CountedAt - last.CountedAt); again.Counters.MessagesIn == last.Counters.MessagesIn && moved.Abs() > 100*time.Millisecond {
		t.Errorf("counters that did not change are of %v later", moved)
	}
	if last.CountedAt > paused || last.CountedAt < paused-int64(patience) {
		t.Errorf("counters of %v before the pause", time.Duration(paused-last.CountedAt))
	}
}
