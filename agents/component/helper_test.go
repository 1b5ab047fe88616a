package component

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bela/agents/component/report"
	"bela/agents/protocol"
)

// TestMain is also the agent's executable and the processes under test.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case ShimCommand:
			err = Shim(os.Args[2:])
		case "broker", "mute": // as the built-in platform
			err = builtInHelper(os.Args[1])
		case "helper":
			err = helper(os.Args[2:])
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const patience = 30 * time.Second // of a busy machine

// helper is a process under test that does as told.
func helper(args []string) error {
	switch args[0] {
	case "burn": // CPU seconds at about 30 % of a core, then say what it took
		return helperBurn(args[1], 3*time.Millisecond, 7*time.Millisecond)
	case "spin": // CPU seconds as fast as it goes
		return helperBurn(args[1], 5*time.Millisecond, 0)
	case "spawn": // the given helper in this many children, one after the other
		return helperSpawn(args[1], args[2:])
	case "threads": // the number of threads, and CPU seconds of all together
		return helperThreads(args[1], args[2])
	case "memory": // touch that many MiB once the file "go" is there
		return helperMemory(args[1])
	case "spawn-memory":
		return helperSpawnMemory(args[1])
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		time.Sleep(time.Hour) // an empty select would be a deadlock without cgo
	case "parent": // a child in a session of its own, then wait for ever
		child := exec.Command(os.Args[0], "helper", "stubborn")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			return err
		}
		fmt.Println("child", child.Process.Pid)
		time.Sleep(time.Hour)
	case "serve": // answer every request at an address with a status and a text
		return http.ListenAndServe(args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			status, _ := strconv.Atoi(args[2])
			w.WriteHeader(status)
			_, _ = io.WriteString(w, args[3])
		}))
	case "supervise":
		return helperSupervise(args[1])
	case "lines":
		n, err := strconv.Atoi(args[1])
		for i := range n {
			fmt.Println("line", i)
		}
		return err
	}
	return fmt.Errorf("no helper %q", args)
}

// rusage is the CPU time of this process and the children that it waited for.
func rusage() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

func helperBurn(seconds string, busy, idle time.Duration) error {
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	for want := time.Duration(s * float64(time.Second)); rusage() < want; time.Sleep(idle) {
		for end := time.Now().Add(busy); time.Now().Before(end); {
		}
	}
	fmt.Println("used", int64(rusage()))
	if os.Getenv("END") == "" {
		time.Sleep(time.Hour)
	}
	return nil
}

func helperThreads(n, seconds string) error {
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			runtime.LockOSThread() // so that each is a thread of its own, gone at its end
			for rusage() < time.Duration(s*float64(time.Second)) {
				for end := time.Now().Add(5 * time.Millisecond); time.Now().Before(end); {
				}
			}
		})
	}
	all.Wait()
	fmt.Println("used", int64(rusage()))
	time.Sleep(time.Hour)
	return nil
}

func helperSpawn(n string, args []string) error {
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	for range count {
		child := exec.Command(os.Args[0], append([]string{"helper"}, args...)...)
		child.Env = append(os.Environ(), "END=1")
		if err := child.Run(); err != nil {
			return err
		}
	}
	fmt.Println("used", int64(rusage()))
	time.Sleep(time.Hour)
	return nil
}

func awaitFile(name string) {
	for {
		if _, err := os.Stat(name); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func helperMemory(mib string) error {
	n, err := strconv.Atoi(mib)
	if err != nil {
		return err
	}
	fmt.Println("up")
	awaitFile("go")
	// Straight from the kernel: a Go slice would come with the collector's slack.
	b, err := unix.Mmap(-1, 0, n<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	fmt.Println("touched")
	time.Sleep(time.Hour)
	return nil
}

func helperSpawnMemory(mib string) error {
	for range 2 {
		child := exec.Command(os.Args[0], "helper", "memory", mib)
		out, err := child.StdoutPipe()
		if err != nil {
			return err
		}
		if err := child.Start(); err != nil {
			return err
		}
		go func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				fmt.Println(lines.Text())
			}
		}()
	}
	time.Sleep(time.Hour)
	return nil
}

// builtInHelper stands for a built-in: it reports as its kind says.
func builtInHelper(kind string) error {
	pipe, err := report.OpenPipe()
	if err != nil {
		return err
	}
	w := report.NewWriter(pipe)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if kind != "mute" {
		if err := w.Write(report.Line{Ready: &report.Ready{Address: "127.0.0.1:1"}}); err != nil {
			return err
		}
	}
	for n := int64(1); ; n++ {
		if err := w.Write(report.Line{Counters: &protocol.Counters{MessagesIn: n}}); err != nil {
			return err // the supervisor is gone
		}
		select {
		case <-term:
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// helperSupervise is an agent that starts a process with a child in another
// session, and a built-in, says so, and waits to be killed.
func helperSupervise(dir string) error {
	s := New(Options{Dir: dir, Self: os.Args[0], Now: func() int64 { return 1 }})
	for _, spec := range []protocol.ComponentSpec{
		{Cell: "1", Name: "tree", Instance: 1, Kind: KindProcess, Command: []string{os.Args[0], "helper", "parent"}, ReadyLog: "^child "},
		{Cell: "1", Name: "builtin", Instance: 1, Kind: "broker", Executable: os.Args[0]},
	} {
		if _, err := s.Start(context.Background(), spec); err != nil {
			return err
		}
	}
	fmt.Println("supervising")
	time.Sleep(time.Hour)
	return nil
}

// bench is a supervisor under test.
type bench struct {
	*Supervisor
	t      *testing.T
	events chan protocol.ComponentEvent
}

// newBench makes a supervisor; without groups it has to count processes one by one.
func newBench(t *testing.T, withGroups bool) *bench {
	t.Helper()
	b := &bench{t: t, events: make(chan protocol.ComponentEvent, 10)}
	b.Supervisor = New(Options{
		Dir: t.TempDir(), Self: self(t), Now: func() int64 { return 42 },
		OnEvent: func(e protocol.ComponentEvent) { b.events <- e },
		Holder:  func(string, int) string { return "the test" },
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if withGroups {
		requireGroups(t, b.groups)
	} else {
		b.groups.err, b.groups.units = errors.New("this test does without control groups"), nil
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.StopAll(ctx); err != nil {
			t.Error(err)
		}
		b.checkNothingLeft()
	})
	return b
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// requireGroups skips where the host lets this user make no control groups.
func requireGroups(t *testing.T, gs *groups) {
	t.Helper()
	g, err := gs.confine("probe", limits{})
	if g == nil {
		t.Skipf("control groups cannot be made here: %v", err)
	}
	if err := g.remove(killWait); err != nil {
		t.Fatal(err)
	}
}

// process is a spec that runs a helper.
func (b *bench) process(args ...string) protocol.ComponentSpec {
	return protocol.ComponentSpec{
		Cell: "001", Name: "p", Instance: 1, Kind: KindProcess,
		Command:      append([]string{self(b.t), "helper"}, args...),
		ReadyTimeout: patience, StopTimeout: patience,
	}
}

// builtIn has a spec stand for a built-in of a kind.
func builtIn(s *protocol.ComponentSpec, kind string) {
	s.Kind = kind
	s.Executable, _ = os.Executable()
}

func (b *bench) start(spec protocol.ComponentSpec) protocol.ComponentStarted {
	b.t.Helper()
	started, err := b.Start(b.t.Context(), spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return started
}

func (b *bench) sample() protocol.ComponentSample {
	b.t.Helper()
	all := b.Sample()
	if len(all) != 1 {
		b.t.Fatalf("%d samples, want one", len(all))
	}
	return all[0]
}

// output is what p-1 has written so far.
func (b *bench) output() string {
	text, err := os.ReadFile(filepath.Join(b.Dir, "cells", "001", "p-1.log"))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// awaitOutput waits until p-1 has written a line that often, and returns the
// rest of the last such line.
func (b *bench) awaitOutput(prefix string, times int) string {
	b.t.Helper()
	rest := ""
	await(b.t, fmt.Sprintf("%d lines %q", times, prefix), func() bool {
		n := 0
		for line := range strings.Lines(b.output()) {
			if after, ok := strings.CutPrefix(line, prefix); ok {
				n++
				rest = strings.TrimSpace(after)
			}
		}
		return n >= times
	})
	return rest
}

func (b *bench) checkNothingLeft() {
	b.t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/bela/" + b.groups.id, "/sys/fs/cgroup/*/bela/" + b.groups.id, "/sys/fs/cgroup/*/*/*/bela/" + b.groups.id} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			b.t.Errorf("control groups left: %v", left)
		}
	}
	if u := b.groups.units; u != nil && u.err == nil {
		if left := systemctl(b.t, "list-units", "--plain", "--no-legend", unitPrefix+u.id+"*"); left != "" {
			b.t.Errorf("units left: %s", left)
		}
	}
	if left := b.Running(); len(left) > 0 {
		b.t.Errorf("running: %v", left)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}

// alive tells whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
