package doctor

import (
	"context"
	"fmt"
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

	"bela/agents"
	"bela/agents/inspect"
	"bela/agents/launch"
	"bela/nodes"
	"bela/nodes/lab"
	"bela/nodes/sshdtest"
	"bela/provision"
	"bela/provision/agentbin"
)

// The test binary is also the agent that the doctor brings, and other
// processes that the tests plant on nodes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "inspect":
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			defer stop()
			if err := inspect.Main(ctx, os.Args[2:], os.Stdin, os.Stdout, "test", agents.ListenAddress); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "version":
			os.Exit(0)
		case launch.Command:
			dir, err := launch.Main(os.Args[2:], os.Stdout, "/proc/self/exe")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(serve("attach", dir))
		case "serve", "attach": // an agent of a run, as far as provisioning can see
			os.Exit(serve(os.Args[1], os.Args[3]))
		case "hold":
			os.Exit(hold(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

// serve is an agent that does nothing until it is asked to end. It listens, as
// that is what provisioning waits for.
func serve(as, dir string) int {
	if as == "attach" {
		conn, err := agents.Dial(dir)
		if err != nil {
			return 1
		}
		_ = conn.Close()
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if os.Chdir(dir) != nil {
		return 1
	}
	ln, err := net.Listen("unix", "run/agent.sock")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = ln.Close() }()
	if os.WriteFile("run/agent.pid", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600) != nil {
		return 1
	}
	<-ctx.Done()
	return 0
}

// hold listens on an address until its input ends.
func hold(address string) int {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = ln.Close() }()
	fmt.Println("listens")
	_, _ = os.Stdin.Read(make([]byte, 1))
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

// run has the doctor look, within a limit.
func run(t *testing.T, c Config) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	if c.Programs == nil {
		c.Programs = self
	}
	if c.Window == 0 {
		c.Window = 200 * time.Millisecond
	}
	c.By = "ada@desk"
	r, err := Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// about gives the findings of one check about one node.
func about(r *Report, node, check string) []Finding {
	var list []Finding
	for _, f := range r.Findings {
		if f.Node == node && f.Check == check {
			list = append(list, f)
		}
	}
	return list
}

// startLab makes the nodes of a plan, with an environment for some of them.
func startLab(t *testing.T, env map[string][]string) *lab.Lab {
	t.Helper()
	var specs []lab.Spec
	for _, name := range []string{"worker-1", "worker-2", "iot-1", "iot-2", "customer-1"} {
		specs = append(specs, lab.Spec{Name: name, Env: env[name]})
	}
	l, err := lab.Start(t.Context(), specs, lab.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// nothingLeft demands that the nodes' homes are empty and that no process of
// the doctor runs.
func nothingLeft(t *testing.T, l *lab.Lab) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(l.Dir(), "*", ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left on the nodes: %v, %v", left, err)
	}
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		if path, err := os.Readlink(exe); err == nil && strings.HasPrefix(path, l.Dir()+"/") {
			t.Errorf("still runs: %s (%s)", path, exe)
		}
	}
}

// On nodes where nothing is wrong the doctor finds no error, has seen all nodes
// and tried every way, and leaves nothing.
func TestLab(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	r := run(t, Config{Plan: plan(t, chain), Targets: l.Targets(), Lab: true})
	if !r.Fit || r.Err() != nil || r.Ways != 13 {
		t.Errorf("fit %v, %d ways: %+v", r.Fit, r.Ways, r.Findings)
	}
	for _, n := range r.Nodes {
		if n.Seen != "all" || n.ClockOffsetMS == nil || *n.ClockErrorMS <= 0 {
			t.Errorf("%+v", n)
		}
	}
	nothingLeft(t, l)
}

// A spare is looked at like the node whose place it may take: one that is not fit
// shows before the campaign, not in the night in which it is needed. It is no reason
// against the run, which begins without it.
func TestSpares(t *testing.T) {
	t.Parallel()
	l, err := lab.Start(t.Context(), []lab.Spec{
		{Name: "worker-1", Group: "worker"},
		{Name: "worker-2", Group: "worker"},
		{Name: "iot-1", Group: "iot"},
		{Name: "iot-2", Group: "iot"},
		{Name: "customer-1", Group: "customer"},
		{Name: "worker-spare-1", Group: "worker"},
		{Name: "iot-spare-1", Group: "iot"},
	}, lab.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	targets, spares := l.Targets()[:5], l.Targets()[5:]
	startHolder(t, net.JoinHostPort(spares[0].Host, "1883"))
	spares[1].Port, spares[1].SSH.Retries = 1, -1 // nobody answers there
	r := run(t, Config{Plan: plan(t, chain), Targets: targets, Spares: spares, Lab: true})
	if !r.Fit || r.Ways <= 13 { // those of TestLab, and from and to a spare
		t.Errorf("fit %v, %d ways: %+v", r.Fit, r.Ways, r.Findings)
	}
	for _, want := range []struct{ node, check, what string }{
		{"worker-spare-1", "ports", "port 1883, where broker/1 would listen, is taken"},
		{"iot-spare-1", "login", "connection refused"},
	} {
		found := about(r, want.node, want.check)
		if len(found) != 1 || found[0].Severity != Warning || !strings.Contains(found[0].What, want.what) || found[0].Why != spareWhy {
			t.Errorf("%s, %s: %+v, want %q", want.node, want.check, found, want.what)
		}
	}
	if !strings.Contains(r.summary(), "5 nodes and 2 spares, ") {
		t.Errorf("%q", r.summary())
	}
	nothingLeft(t, l)

	never := plan(t, strings.Replace(chain, `"chain" {`, "\"chain\" {\n  on_node_lost = \"stop\"", 1))
	if r := run(t, Config{Plan: never, Targets: targets, Spares: spares, Lab: true}); len(r.Nodes) != 5 || r.Ways != 13 {
		t.Errorf("the run leaves spares alone, and the doctor saw %+v", r.Nodes)
	}
}

// Each thing planted on one of the nodes is found there, all in one visit, and
// a node that cannot be reached keeps none of it from being found.
func TestPlanted(t *testing.T) {
	t.Parallel()
	l := startLab(t, map[string][]string{"iot-2": {"BELA_CLOCK_ERROR=+700ms"}})
	targets := l.Targets()
	holder := startHolder(t, net.JoinHostPort(targets[0].Host, "1883"))
	targets[4].Port = 1 // nobody answers there
	targets[4].SSH.Retries = -1
	leaveBehind(t, targets[2])
	r := run(t, Config{Plan: plan(t, chain), Targets: targets, Lab: true})
	if r.Fit || r.Err() == nil {
		t.Error("they are not fit")
	}
	for _, want := range []struct{ node, check, what string }{
		{"worker-1", "ports", fmt.Sprintf("port 1883, where broker/1 would listen, is taken by doctor.test (pid %d, user ", holder)},
		{"iot-2", "clock", "ahead of the controller's"},
		{"customer-1", "login", "connection refused"},
		{"iot-1", "left-overs", "left by an earlier run"},
		{"iot-1", "reachability", "1 ways from here were not tried"},
	} {
		found := about(r, want.node, want.check)
		if len(found) != 1 || !strings.Contains(found[0].What, want.what) {
			t.Errorf("%s, %s: %+v, want %q", want.node, want.check, found, want.what)
		}
	}
	for _, n := range r.Nodes {
		if n.Node == "iot-2" && (n.ClockOffsetMS == nil || *n.ClockOffsetMS < 700-*n.ClockErrorMS || *n.ClockOffsetMS > 700+*n.ClockErrorMS) {
			t.Errorf("planted +700 ms, read %v ±%v", *n.ClockOffsetMS, *n.ClockErrorMS)
		}
	}
}

// startHolder starts a process that listens, and returns its number.
func startHolder(t *testing.T, address string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "hold", address)
	in, err := cmd.StdinPipe()
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
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line := make([]byte, 64)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "listens\n" {
		t.Fatalf("%s: %q, %v", address, line[:n], err)
	}
	return cmd.Process.Pid
}

// onTarget does something on a node.
func onTarget(t *testing.T, target nodes.Target, do func(context.Context, *nodes.Node)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	n, err := nodes.Dial(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close() //nolint:errcheck // only a link
	do(ctx, n)
}

// startAgent starts an agent of a run on a node.
func startAgent(ctx context.Context, t *testing.T, n *nodes.Node) {
	t.Helper()
	facts, err := n.Facts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, agent, err := provision.Push(ctx, n, facts, self)
	if err == nil {
		err = provision.Start(ctx, n, provision.StartOptions{Agent: agent, Run: "20260102T030405Z-abc", Lease: time.Minute, Keep: time.Minute})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// leaveBehind puts on a node what a run that was killed leaves: the agent is
// dead, its files are there.
func leaveBehind(t *testing.T, target nodes.Target) {
	t.Helper()
	onTarget(t, target, func(ctx context.Context, n *nodes.Node) {
		startAgent(ctx, t, n)
		h, err := provision.HolderOf(ctx, n)
		if err != nil || h == nil {
			t.Fatalf("no agent runs: %v", err)
		}
		if err := syscall.Kill(h.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for h != nil && ctx.Err() == nil {
			if h, err = provision.HolderOf(ctx, n); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// files are all names below a directory, with their times of change.
func files(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A node that another run holds is that run's: the doctor says whose it is, and
// changes nothing there, not even the time of a directory. -fix does not either.
func TestHeldByAnotherRun(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	target := l.Targets()[2]
	onTarget(t, target, func(ctx context.Context, n *nodes.Node) { startAgent(ctx, t, n) })
	before := files(t, filepath.Join(l.Dir(), "iot-1"))
	r := run(t, Config{Plan: plan(t, chain), Targets: l.Targets(), Lab: true, Fix: true, UndoFile: filepath.Join(t.TempDir(), "undo.sh")})
	found := about(r, "iot-1", "in use")
	if len(found) != 1 || found[0].Severity != Error || !strings.Contains(found[0].What, "run 20260102T030405Z-abc by ") {
		t.Errorf("%+v", found)
	}
	if after := files(t, filepath.Join(l.Dir(), "iot-1")); after != before {
		t.Errorf("was touched:\n%s\nbefore:\n%s", after, before)
	}
	onTarget(t, target, func(ctx context.Context, n *nodes.Node) {
		if h, err := provision.HolderOf(ctx, n); err != nil || h == nil {
			t.Errorf("the other run's agent is gone: %v", err)
		}
	})
}

// -fix removes what a dead run left, after which the node is clean.
func TestFixRemovesLeftovers(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	leaveBehind(t, l.Targets()[2])
	c := Config{Plan: plan(t, chain), Targets: l.Targets(), Lab: true, Fix: true, UndoFile: filepath.Join(t.TempDir(), "undo.sh")}
	r := run(t, c)
	if len(about(r, "iot-1", "left-overs")) > 0 || len(r.Done) != 1 || !strings.Contains(r.Done[0], "iot-1: removed what an earlier run left") {
		t.Errorf("done %q, findings %+v", r.Done, r.Findings)
	}
	nothingLeft(t, l)
}

// A real sshd, as a lent machine has it.
func TestSSHD(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	// What the login's start files do is not to be waited for.
	s := sshdtest.Start(t, sshdtest.Options{Env: map[string]string{"HOME": t.TempDir()}})
	var targets []nodes.Target
	for _, name := range []string{"worker-1", "iot-1"} {
		targets = append(targets, nodes.Target{Name: name, Host: s.Host, Port: s.Port, User: s.User, Directory: filepath.Join(home, "made", name),
			SSH: nodes.Options{KeyFiles: []string{s.KeyFile}, KnownHosts: s.KnownHosts(t), Agent: "none", Config: "none"}})
	}
	r := run(t, Config{Targets: targets, Plan: plan(t, `
experiment "small" {}
node "worker" { hosts = ["127.0.0.1"] }
node "iot" { hosts = ["127.0.0.1"] }
component "broker" {
  uses = platform.broker
  on   = node.worker
  port = 18830
  limits { memory = "64MiB" }
}
devices {
  on    = node.iot
  count = 10
  via   = component.broker
}
customers {
  on    = node.iot
  count = 1
  via   = component.broker
}
`)})
	for _, n := range r.Nodes {
		if n.Seen != "all" {
			t.Errorf("%+v", n)
		}
	}
	if !r.Fit || r.Ways != 2 {
		t.Errorf("fit %v, %d ways: %+v", r.Fit, r.Ways, r.Findings)
	}
	if left, _ := os.ReadDir(home); len(left) > 0 {
		t.Errorf("left on the machine: %v", left)
	}
}
