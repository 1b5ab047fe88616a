package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/agents/fault"
	"bela/agents/feed"
	"bela/agents/launch"
	"bela/nodes"
	"bela/nodes/lab"
	"bela/nodes/sshdtest"
	"bela/provision/agentbin"
)

// The test binary itself is the agent that the tests push: on the node it is
// called as an agent is, and takes its other ways from BELA_TEST_AGENT.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "serve":
			os.Exit(serve(os.Args[3], os.Getenv("BELA_TEST_AGENT")))
		case "attach":
			os.Exit(attach(os.Args[3]))
		case launch.Command:
			os.Exit(launches())
		case fault.Command:
			if err := fault.Main(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case feed.Command:
			os.Exit(feeds())
		case "version":
			fmt.Println("test")
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// serve echoes what comes over its socket until it is asked to end.
func serve(dir, manner string) int {
	if manner == "crash" {
		fmt.Fprintln(os.Stderr, "no luck today")
		return 3
	}
	if err := os.Chdir(dir); err != nil {
		return 1
	}
	if manner == "stubborn" {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		// Children as components are: one in the directory, one elsewhere.
		for _, at := range []string{"cells", "/"} {
			child := exec.Command("sh", "-c", `trap "" TERM; while :; do sleep 1; done`)
			child.Dir = at
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if child.Start() != nil {
				return 1
			}
		}
	}
	pid := func() error { return os.WriteFile("run/agent.pid", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600) }
	if manner == "mute" {
		if pid() != nil {
			return 1
		}
		time.Sleep(time.Hour) // an empty select would be a deadlock without cgo
	}
	ln, err := net.Listen("unix", "run/agent.sock")
	if err == nil {
		err = pid() // last, as an agent does: then it listens
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return 1
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

func launches() int {
	self, err := os.Executable()
	if err != nil {
		return 1
	}
	dir, err := launch.Main(os.Args[2:], os.Stdout, self)
	if e, ok := errors.AsType[*launch.ExitError](err); ok {
		fmt.Fprintln(os.Stderr, e)
		return e.Status
	}
	if err != nil {
		return 1
	}
	return attach(dir)
}

func attach(dir string) int {
	if os.Chdir(dir) != nil {
		return 1
	}
	c, err := net.Dial("unix", "run/agent.sock")
	if err != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, c)
	return 0
}

// self is the test binary as an agent for every architecture.
func self(agentbin.Program, string, int) (agentbin.Binary, error) {
	path, err := os.Executable()
	if err != nil {
		return agentbin.Binary{}, err
	}
	return agentbin.FromFile(path)
}

// onNode runs a test on OpenSSH's server and on the lab. dir is bela's
// directory there, in a parent that does not exist yet.
func onNode(t *testing.T, test func(t *testing.T, tg nodes.Target, dir string)) {
	t.Run("sshd", func(t *testing.T) {
		s := sshdtest.Start(t, sshdtest.Options{})
		dir := filepath.Join(t.TempDir(), "made", "bela")
		test(t, nodes.Target{Name: "worker-1", Host: s.Host, Port: s.Port, User: s.User, Directory: dir,
			SSH: nodes.Options{KeyFiles: []string{s.KeyFile}, KnownHosts: s.KnownHosts(t), Agent: "none", Config: "none"}}, dir)
	})
	t.Run("lab", func(t *testing.T) {
		l, err := lab.Start(t.Context(), []lab.Spec{{Name: "worker-1"}}, lab.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		tg := l.Targets()[0]
		tg.Directory = "made/bela"
		test(t, tg, filepath.Join(l.Dir(), "worker-1", "made", "bela"))
	})
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// dial connects, and at the end of the test takes off the node what is left.
func dial(t *testing.T, tg nodes.Target) *nodes.Node {
	t.Helper()
	n, err := nodes.Dial(deadline(t), tg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = stop(ctx, n, 0, 0) // the test itself has looked at what this says
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func facts(t *testing.T, n *nodes.Node) nodes.Facts {
	t.Helper()
	f, err := n.Facts(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// started pushes and starts an agent.
func started(t *testing.T, n *nodes.Node, manner string) (agent string) {
	t.Helper()
	_, agent, err := Push(deadline(t), n, facts(t, n), self)
	if err != nil {
		t.Fatal(err)
	}
	if err := Start(deadline(t), n, options(agent, manner)); err != nil {
		t.Fatal(err)
	}
	return agent
}

func options(agent, manner string) StartOptions {
	return StartOptions{Agent: agent, Run: "r1", Lease: time.Minute, Keep: time.Minute, Env: map[string]string{"BELA_TEST_AGENT": manner}}
}

// is fails the test unless the error is of a kind and holds the words.
func is(t *testing.T, err error, kind nodes.Kind, words ...string) {
	t.Helper()
	if nodes.KindOf(err) != kind {
		t.Fatalf("kind %q, want %q: %v", nodes.KindOf(err), kind, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in: %v", w, err)
		}
	}
}

// clean fails the test unless nothing of bela is on the node.
func clean(t *testing.T, n *nodes.Node, dir string) {
	t.Helper()
	left, err := Leftovers(deadline(t), n)
	if err != nil || len(left) > 0 {
		t.Errorf("left on the node: %q: %v", left, err)
	}
	if _, err := os.Lstat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", filepath.Dir(dir), err)
	}
}

func echo(t *testing.T, n *nodes.Node, text string) {
	t.Helper()
	s, err := Attach(deadline(t), n)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // looked at below
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(s, got); err != nil || string(got) != text {
		t.Fatalf("the agent answers %q: %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// The whole stay of an agent on a node, as a run has it: nothing there, pushed
// once, up while the controller is away, reached again, and nothing left.
func TestStay(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		clean(t, n, dir)
		f := facts(t, n)
		if err := Check(deadline(t), n, f, self); err != nil {
			t.Fatal(err)
		}
		clean(t, n, dir) // looking leaves nothing
		if _, err := Attach(deadline(t), n); !errors.Is(err, ErrNoAgent) {
			t.Errorf("attach without an agent: %v", err)
		}
		pushed, agent, err := Push(deadline(t), n, f, self)
		if err != nil || !pushed || filepath.Dir(agent) != filepath.Join(dir, "bin") {
			t.Fatalf("pushed %v to %s: %v", pushed, agent, err)
		}
		if pushed, again, err := Push(deadline(t), n, f, self); err != nil || pushed || again != agent {
			t.Errorf("pushed again %v to %s: %v", pushed, again, err)
		}
		if err := Start(deadline(t), n, options(agent, "")); err != nil {
			t.Fatal(err)
		}
		echo(t, n, "hello")
		is(t, Start(deadline(t), n, options(agent, "")), nodes.InUse, "bela clean")
		for _, name := range []string{"", "bin", "run", "cells"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s: mode %v: %v", name, info.Mode(), err)
			}
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}

		n = dial(t, tg)
		echo(t, n, "still there?")
		left, err := Leftovers(deadline(t), n)
		if err != nil || len(left) < 5 || !strings.HasPrefix(left[0], "process ") { // and bin, cells, run, MANIFEST
			t.Errorf("leftovers %q: %v", left, err)
		}
		for range 2 { // doing it again does nothing
			if err := Stop(deadline(t), n); err != nil {
				t.Error(err)
			}
		}
		if _, err := Attach(deadline(t), n); !errors.Is(err, ErrNoAgent) {
			t.Errorf("attach after the agent's end: %v", err)
		}
		for range 2 {
			if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
				t.Error(err)
			}
			clean(t, n, dir)
		}
	})
}

// A damaged agent on the node must be replaced, not trusted for its name.
func TestPushReplacesDamaged(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		f := facts(t, n)
		_, agent, err := Push(deadline(t), n, f, self)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(agent, 1000); err != nil {
			t.Fatal(err)
		}
		if pushed, _, err := Push(deadline(t), n, f, self); err != nil || !pushed {
			t.Errorf("pushed %v: %v", pushed, err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}

// A user who keeps agents on the nodes saves the transfer, and only that stays.
func TestRemoveKeepsAgent(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		agent := started(t, n, "")
		if err := os.WriteFile(filepath.Join(dir, "bin", "bela-agent-old"), nil, 0o700); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := Remove(deadline(t), n, RemoveOptions{Keep: []string{agent}}); err != nil {
				t.Fatal(err)
			}
			left, err := Leftovers(deadline(t), n)
			want := []string{"file " + filepath.Join(dir, "MANIFEST"), "file " + filepath.Join(dir, "bin")}
			if err != nil || strings.Join(left, "|") != strings.Join(want, "|") {
				t.Errorf("left %q, want %q: %v", left, want, err)
			}
		}
		if entries, err := os.ReadDir(filepath.Join(dir, "bin")); err != nil || len(entries) != 1 {
			t.Errorf("bin has %v: %v", entries, err)
		}
		if pushed, _, err := Push(deadline(t), n, facts(t, n), self); err != nil || pushed {
			t.Errorf("pushed %v: %v", pushed, err)
		}
		if err := Start(deadline(t), n, options(agent, "")); err != nil {
			t.Error(err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}

// An agent that does not come up must say why in the run's own error, since
// nobody wants to log in to a hundred nodes to read a log.
func TestStartThatFails(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		_, agent, err := Push(deadline(t), n, facts(t, n), self)
		if err != nil {
			t.Fatal(err)
		}
		is(t, Start(deadline(t), n, options(agent, "crash")), nodes.CommandFailed, "no luck today")
		mute := options(agent, "mute")
		mute.Timeout = 500 * time.Millisecond
		is(t, Start(deadline(t), n, mute), nodes.CommandFailed, "does not answer")
		is(t, Start(deadline(t), n, StartOptions{Agent: agent}), nodes.BadConfig)
		left, err := Leftovers(deadline(t), n)
		if err != nil || strings.Contains(strings.Join(left, "\n"), "process") {
			t.Errorf("left %q: %v", left, err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}

// An agent that hangs, and components that outlive it, must not stay on the
// node to be part of the next run's numbers.
func TestStopByForce(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		started(t, n, "stubborn")
		left, err := Leftovers(deadline(t), n)
		if err != nil || strings.Count(strings.Join(left, "\n"), "process") < 3 {
			t.Fatalf("the agent and its two children should be there: %q: %v", left, err)
		}
		if err := stop(deadline(t), n, 300*time.Millisecond, 300*time.Millisecond); err != nil {
			t.Error(err)
		}
		if left, err = Leftovers(deadline(t), n); err != nil || strings.Contains(strings.Join(left, "\n"), "process") {
			t.Errorf("left %q: %v", left, err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}

// A fault that was killed before it could heal is undone by its record, and one
// that cannot be undone is not passed over in silence.
func TestStopUndoesFaults(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		started(t, n, "")
		records := filepath.Join(dir, "run", "faults")
		left, record := filepath.Join(records, "f1.fill"), filepath.Join(records, "f1.json")
		write := func(path, text string) {
			if err := errors.Join(os.MkdirAll(records, 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		write(left, "what a fault took of the disk")
		write(record, `{"files":["`+left+`"]}`)
		for range 2 {
			if err := Stop(deadline(t), n); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range []string{left, record} {
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", path, err)
			}
		}
		write(record, "no record")
		if err := Remove(deadline(t), n, RemoveOptions{}); err == nil || !strings.Contains(err.Error(), record) {
			t.Errorf("a fault that cannot be undone: %v", err)
		}
		if _, err := os.Stat(record); err != nil {
			t.Errorf("what would undo it is gone: %v", err)
		}
		if err := os.Remove(record); err != nil {
			t.Fatal(err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}

// A directory that has somebody else's files in it, named by mistake, must be
// left as it is, and so must the programs that run from it.
func TestForeignDirectory(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
			t.Fatal(err)
		}
		precious := filepath.Join(dir, "run", "precious")
		if err := os.WriteFile(precious, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		other := exec.Command("sleep", "1000")
		other.Dir = dir
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		n := dial(t, tg)
		f := facts(t, n)
		is(t, Check(deadline(t), n, f, self), nodes.BadConfig, "not bela's", "directory")
		_, _, err := Push(deadline(t), n, f, self)
		is(t, err, nodes.BadConfig, "not bela's")
		is(t, Remove(deadline(t), n, RemoveOptions{}), nodes.BadConfig, "not bela's")
		if left, err := Leftovers(deadline(t), n); err != nil || len(left) > 0 {
			t.Errorf("leftovers %q: %v", left, err)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Error(err)
		}
		if err := other.Process.Kill(); err != nil {
			t.Error(err)
		}
		var exit *exec.ExitError
		if err := other.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("the other program did not live until the test ended it: %v", err)
		}
	})
}

// What a user put beside bela's files stays, and is said; what a MANIFEST names
// outside is believed for control groups of bela alone.
func TestRemoveTakesOnlyItsOwn(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		started(t, n, "")
		outside := filepath.Join(t.TempDir(), "bela-group")
		if err := os.Mkdir(outside, 0o700); err != nil {
			t.Fatal(err)
		}
		manifest, err := os.OpenFile(filepath.Join(dir, "MANIFEST"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{outside, "/sys/fs/cgroup/bela/../../../.." + outside} {
			if _, err := fmt.Fprintf(manifest, "now\tcgroup\t%s\t-\n", path); err != nil {
				t.Fatal(err)
			}
		}
		if err := manifest.Close(); err != nil {
			t.Fatal(err)
		}
		notes := filepath.Join(dir, "my notes")
		if err := os.WriteFile(notes, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		is(t, Remove(deadline(t), n, RemoveOptions{}), nodes.FileFailed, "my notes")
		if _, err := os.Stat(notes); err != nil {
			t.Error(err)
		}
		if err := os.Remove(notes); err != nil {
			t.Fatal(err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(outside); err != nil {
			t.Errorf("a directory outside was removed: %v", err)
		}
		clean(t, n, dir)
	})
}

// doctor tells everything that is wrong with a node at once.
func TestCheckFindsAll(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, _ string) {
		n := dial(t, tg)
		good := facts(t, n)
		none := func(p agentbin.Program, goarch string, goarm int) (agentbin.Binary, error) {
			return agentbin.Binary{}, errors.New("this controller was built without the agent for " + agentbin.Machine(goarch, goarm))
		}
		rows := []struct {
			name   string
			change func(*nodes.Facts)
			source Source
			kind   nodes.Kind
			words  []string
		}{
			{"other system", func(f *nodes.Facts) { f.OS = "Darwin" }, self, nodes.NotLinux, []string{"Darwin"}},
			{"other machine", func(f *nodes.Facts) { f.GOARCH, f.Machine = "", "sparc64" }, self, nodes.Unsupported, []string{"sparc64"}},
			{"agent not built", func(f *nodes.Facts) { f.GOARCH, f.GOARM = "arm", 6 }, none, nodes.Unsupported, []string{"linux/arm/v6"}},
			{"full disk", func(f *nodes.Facts) { f.DiskFree = 1 << 20 }, self, nodes.NoSpace, []string{"1 MiB left"}},
			{"two at once", func(f *nodes.Facts) { f.DiskFree, f.GOARCH = 0, "" }, self, nodes.Unsupported, []string{"no space"}},
		}
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				f := good
				row.change(&f)
				is(t, Check(deadline(t), n, f, row.source), row.kind, row.words...)
			})
		}
		_, _, err := Push(deadline(t), n, good, none)
		is(t, err, nodes.Unsupported)
	})
}

// A place where nothing can be written, or nothing can run, is found before the
// run begins.
func TestCheckDirectory(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, _ string) {
		tg.Directory = "/proc/bela/x"
		n := dial(t, tg)
		f := facts(t, n)
		f.DiskFree = 1 << 40 // /proc has none, which is another error
		is(t, Check(deadline(t), n, f, self), nodes.NoPermission, "cannot be written to")

		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		tg.Directory = file
		n = dial(t, tg)
		is(t, Check(deadline(t), n, facts(t, n), self), nodes.BadConfig, "no directory")
	})
}

// See TestCheckDirectory; /tmp and /home are mounted noexec on hardened machines.
func TestCheckNoExec(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOEXEC, "size=160m"); err != nil {
		t.Skipf("this machine mounts no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	onNode(t, func(t *testing.T, tg nodes.Target, _ string) {
		tg.Directory = filepath.Join(dir, "bela")
		n := dial(t, tg)
		is(t, Check(deadline(t), n, facts(t, n), self), nodes.Unsupported, "noexec")
		_, _, err := Push(deadline(t), n, facts(t, n), self)
		is(t, err, nodes.Unsupported, "does not run there")
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// A carried agent that is damaged must not get onto nodes, and a push that is
// given up must be removable.
func TestPushThatFails(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		f := facts(t, n)
		damaged := func(p agentbin.Program, goarch string, goarm int) (agentbin.Binary, error) {
			b, err := self(p, goarch, goarm)
			b.SHA256 = strings.Repeat("0", 64)
			return b, err
		}
		_, _, err := Push(deadline(t), n, f, damaged)
		is(t, err, nodes.BadConfig, "make build")
		if entries, err := os.ReadDir(filepath.Join(dir, "bin")); err != nil || len(entries) > 0 {
			t.Errorf("bin has %v: %v", entries, err)
		}
		ctx, cancel := context.WithCancel(deadline(t))
		hang := func(p agentbin.Program, goarch string, goarm int) (agentbin.Binary, error) {
			b, err := self(p, goarch, goarm)
			open := b.Open
			b.Open = func() (io.ReadCloser, error) { cancel(); return open() }
			return b, err
		}
		_, _, err = Push(ctx, n, f, hang)
		is(t, err, nodes.Canceled)
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}
