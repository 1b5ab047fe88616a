package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"bela/nodes"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, n int) *Lab {
	t.Helper()
	var specs []Spec
	for i := range n {
		specs = append(specs, Spec{Name: fmt.Sprintf("worker-%d", i+1), Group: "worker", Role: "worker"})
	}
	l, err := Start(t.Context(), specs, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(t *testing.T, tg nodes.Target) *nodes.Node {
	t.Helper()
	n, err := nodes.Dial(deadline(t), tg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Two experiments on one machine, each with its lab, must not meet: neither by
// address nor by key.
func TestLabsAreApart(t *testing.T) {
	seen := map[string]bool{}
	var first nodes.Target
	for range 5 {
		l := start(t, 20)
		for i, tg := range l.Targets() {
			if !strings.HasPrefix(tg.Host, "127.") || strings.HasPrefix(tg.Host, "127.0.") || seen[tg.Host] || tg.Address != tg.Host {
				t.Errorf("%s has address %s", tg.Name, tg.Host)
			}
			seen[tg.Host] = true
			if tg.Name != fmt.Sprintf("worker-%d", i+1) || tg.Group != "worker" || tg.Role != "worker" {
				t.Errorf("node %d is %+v", i, tg)
			}
		}
		tg := l.Targets()[0]
		if first.Host == "" {
			first = tg
			continue
		}
		tg.SSH.Signers = first.SSH.Signers
		if _, err := nodes.Dial(deadline(t), tg); nodes.KindOf(err) != nodes.AuthRefused {
			t.Errorf("another lab's key: %v", err)
		}
	}
}

// A network that another lab holds is passed over.
func TestListenAvoidsWhatIsTaken(t *testing.T) {
	held, err := listenOn(t.Context(), "127.77.77.", sshPorts[0], 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenOn(t.Context(), "127.77.77.", sshPorts[0], 1); err == nil {
		t.Error("an address was taken twice")
	}
	// A failure half way must give back what it took.
	_ = held[0].Close()
	if _, err := listenOn(t.Context(), "127.77.77.", sshPorts[0], 2); err == nil {
		t.Error("an address was taken twice")
	}
	again, err := listenOn(t.Context(), "127.77.77.", sshPorts[0], 1)
	if err != nil {
		t.Errorf("the first address was not given back: %v", err)
	}
	for _, l := range append(again, held...) {
		_ = l.Close()
	}
}

// The controller's environment may hold tokens; nothing of it gets to a node,
// as nothing would get to a machine.
func TestEnvironmentIsTheNodesOwn(t *testing.T) {
	t.Setenv("BELA_TEST_SECRET", "hunter2")
	l := start(t, 2)
	for _, tg := range l.Targets() {
		home := filepath.Join(l.Dir(), tg.Name)
		res, err := dial(t, tg).Run(deadline(t), nodes.Script("look", "env; echo AT=$(pwd)"))
		if err != nil {
			t.Fatal(err)
		}
		out := string(res.Stdout)
		for _, want := range []string{"HOME=" + home + "\n", "AT=" + home + "\n", "BELA_LAB=" + l.ID() + "\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %q", want, out)
			}
		}
		if strings.Contains(out, "hunter2") {
			t.Error("the controller's environment is on the node")
		}
	}
}

// Nothing of a lab may stay: not what detached itself, not what ignores being
// asked, not what hides its environment, no files, no goroutines.
func TestCloseLeavesNothing(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	l := start(t, 3)
	var list []*nodes.Node
	for i, script := range []string{
		`setsid sleep 1000 </dev/null >/dev/null 2>&1 &`,
		`setsid sh -c 'trap "" TERM; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 &`,
		`env -i setsid sleep 1000 </dev/null >/dev/null 2>&1 &`,
	} {
		n := dial(t, l.Targets()[i])
		list = append(list, n)
		if _, err := n.Run(deadline(t), nodes.Script("detach", script)); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Upload(deadline(t), "file", 0o600, 1, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := list[0].Stream(deadline(t), nodes.Command{Args: []string{"sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	if left := findProcesses(l.ID(), l.Dir()); len(left) < 4 {
		t.Fatalf("only %v run before Close", left)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left := findProcesses(l.ID(), l.Dir()); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	for _, n := range list {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines instead of %d:\n%s", runtime.NumGoroutine(), goroutines, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// A node serves what a bounded sshd serves, so that a mistake on the
// controller's side shows in the lab and not first on real machines.
func TestServerBounds(t *testing.T) {
	tg := start(t, 1).Targets()[0]
	client, err := ssh.Dial("tcp", net.JoinHostPort(tg.Host, strconv.Itoa(tg.Port)), &ssh.ClientConfig{
		User: tg.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(tg.SSH.Signers...)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if ssh.FingerprintSHA256(key) != tg.SSH.Fingerprints[0] {
				return errors.New("another host key")
			}
			return nil
		},
		Timeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // a test's
	if _, err := client.Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Error("the node forwards connections")
	}
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, nil); err == nil {
		t.Error("the node gives a terminal")
	}
	if err := s.Setenv("LD_PRELOAD", "x"); err == nil {
		t.Error("the node takes environment variables")
	}
	if err := s.Shell(); err == nil {
		t.Error("the node gives a shell")
	}
	if err := s.RequestSubsystem("other"); err == nil {
		t.Error("the node has a subsystem other than sftp")
	}
	for i := 0; ; i++ {
		s, err := client.NewSession()
		if err != nil {
			var refused *ssh.OpenChannelError
			if !errors.As(err, &refused) || refused.Reason != ssh.ResourceShortage || i < maxSessions-1 {
				t.Errorf("session %d: %v", i+1, err)
			}
			break
		}
		if i > maxSessions {
			t.Fatal("there is no end of sessions")
		}
		if err := s.Start("sleep 1000"); err != nil {
			t.Fatal(err)
		}
	}
}

// What cannot be a lab is refused before anything is made.
func TestStartRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, specs := range map[string][]Spec{
		"a path as name": {{Name: "../x"}},
		"no name":        {{}},
		"the same twice": {{Name: "a"}, {Name: "a"}},
		"too many":       make([]Spec, MaxNodes+1),
	} {
		if l, err := Start(t.Context(), specs, Options{Dir: dir}); err == nil {
			_ = l.Close()
			t.Errorf("%s: taken", name)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// The largest lab starts, answers on every node and ends in reasonable time.
func TestLargestLab(t *testing.T) {
	l := start(t, MaxNodes)
	list, err := nodes.DialAll(deadline(t), l.Targets(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.CloseAll(list) //nolint:errcheck // only read from
	err = nodes.Each(deadline(t), list, 4, func(ctx context.Context, n *nodes.Node) error {
		res, err := n.Run(ctx, nodes.Command{Args: []string{"pwd"}})
		if got := strings.TrimSpace(string(res.Stdout)); err == nil && filepath.Base(got) != n.Name() {
			return fmt.Errorf("%s is at %s", n.Name(), got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
