package netns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/nodes"
	"bela/nodes/inventory"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition, and fails the test for what it waits.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}

// impatient makes a target that gives up soon.
func impatient(n *netns.Node) nodes.Target {
	tg := n.Target()
	tg.SSH.ConnectTimeout, tg.SSH.Retries = 500*time.Millisecond, -1
	return tg
}

func dial(t *testing.T, tg nodes.Target) *nodes.Node {
	t.Helper()
	n, err := nodes.Dial(deadline(t), tg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// refused dials and wants an error of a kind.
func refused(t *testing.T, tg nodes.Target, want nodes.Kind) {
	t.Helper()
	n, err := nodes.Dial(deadline(t), tg)
	if err == nil {
		_ = n.Close()
		t.Fatalf("connected to %s; want %s", tg.Name, want)
	}
	if nodes.KindOf(err) != want {
		t.Errorf("kind %q, want %q: %v", nodes.KindOf(err), want, err)
	}
}

// byInventory gives the targets that the shipped reader makes of the bed's file.
func byInventory(t *testing.T, bed *netns.Bed) []nodes.Target {
	t.Helper()
	inv, err := inventory.Read(bed.Inventory())
	if err != nil {
		t.Fatal(err)
	}
	var targets []nodes.Target
	for _, g := range inv.Groups {
		for i, m := range g.Machines {
			tg := nodes.Target{Name: fmt.Sprintf("%s-%d", g.Name, i+1), Host: m.Login("").Host, User: inv.SSH.User, SSH: inv.SSH.Options}
			tg.SSH.Agent, tg.SSH.Config = "none", "none"
			targets = append(targets, tg)
		}
	}
	return targets
}

// If the inventory's nodes were not machines of their own, whatever is proved
// on them would not hold for real ones: each has its own name, home, processes
// and network, through the bridge and through a gateway alike.
func TestNodesAreMachinesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, gateway := range []bool{false, true} {
		t.Run(fmt.Sprintf("gateway=%v", gateway), func(t *testing.T) {
			t.Parallel()
			bed := bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 3}, {Name: "iot", Count: 1}}, Gateway: gateway})
			for i, tg := range byInventory(t, bed) {
				n := dial(t, tg)
				res, err := n.Run(deadline(t), nodes.Script("look", `hostname; ls -A ~; ls -d /proc/[0-9]* | wc -l; echo "$1" >~/mine; cat /proc/self/cgroup`, tg.Name))
				if err != nil {
					t.Fatal(err)
				}
				lines := strings.Fields(string(res.Stdout))
				if lines[0] != tg.Name || tg.Name != bed.Node(i).Name() {
					t.Errorf("host name %q, want %q as node %d", lines[0], tg.Name, i)
				}
				if strings.Contains(string(res.Stdout), "mine") {
					t.Error("the home has another node's file")
				}
				if len(lines[1]) > 2 {
					t.Errorf("%s processes on a node that only runs a server", lines[1])
				}
				if strings.Contains(string(res.Stdout), "..") {
					t.Errorf("the login is outside the node's control groups:\n%s", res.Stdout)
				}
				mine, err := os.ReadFile(bed.Node(i).Path("/root/mine"))
				if err != nil || strings.TrimSpace(string(mine)) != tg.Name {
					t.Errorf("the node's file from outside: %q, %v", mine, err)
				}
			}
			if gateway {
				direct := impatient(bed.Node(0))
				direct.SSH.Jump = nil
				refused(t, direct, nodes.Unreachable)
			}
		})
	}
}

// Each fault must be what it says, seen from bela's side, and be gone when it
// is mended, or the tests that use it prove something else.
func TestFaults(t *testing.T) {
	t.Parallel()
	bed := bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 2}}, HomeBytes: 4 << 20})
	n, other := bed.Node(0), bed.Node(1)
	ping := func(from, to *netns.Node) bool {
		conn := from.Command(deadline(t), "timeout", "0.5", "bash", "-c", "exec 3<>/dev/tcp/"+to.Address().String()+"/22")
		return conn.Run() == nil
	}
	mended := func(t *testing.T) {
		if err := n.Mend(deadline(t)); err != nil {
			t.Fatal(err)
		}
		tg := n.Target()
		tg.SSH.ConnectTimeout, tg.SSH.Retries = 2*time.Second, 5
		dial(t, tg)
	}
	for name, d := range map[string]netns.Direction{"both": netns.BothWays, "to": netns.ToNode, "from": netns.FromNode} {
		t.Run("cut "+name, func(t *testing.T) {
			up := dial(t, n.Target())
			if err := n.Cut(deadline(t), d); err != nil {
				t.Fatal(err)
			}
			refused(t, impatient(n), nodes.Unreachable)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := up.Run(ctx, nodes.Command{Name: "true", Args: []string{"true"}}); err == nil {
				t.Error("a connection that was up still works")
			}
			dial(t, other.Target())
			mended(t)
		})
	}
	t.Run("one direction passes", func(t *testing.T) {
		heard, err := net.ListenPacket("udp4", net.JoinHostPort("0.0.0.0", "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer heard.Close()
		port := heard.LocalAddr().(*net.UDPAddr).Port
		local, err := net.Dial("udp4", n.Address().String()+":9")
		if err != nil {
			t.Fatal(err)
		}
		here := local.LocalAddr().(*net.UDPAddr).IP.String()
		_ = local.Close()
		dial(t, n.Target()) // both know each other's hardware address now
		if err := n.Cut(deadline(t), netns.ToNode); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Run(deadline(t), "bash", "-c", fmt.Sprintf("echo hello >/dev/udp/%s/%d", here, port)); err != nil {
			t.Fatal(err)
		}
		_ = heard.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, _, err := heard.ReadFrom(make([]byte, 100)); err != nil {
			t.Errorf("nothing came from a node that is cut off only the other way: %v", err)
		}
		mended(t)
	})
	t.Run("cut between two", func(t *testing.T) {
		if !ping(n, other) {
			t.Fatal("the nodes do not reach each other before")
		}
		if err := n.CutFrom(deadline(t), other); err != nil {
			t.Fatal(err)
		}
		if ping(n, other) {
			t.Error("answers still pass")
		}
		dial(t, n.Target())
		mended(t)
		if !ping(n, other) {
			t.Error("they do not reach each other after")
		}
	})
	t.Run("unplug", func(t *testing.T) {
		if err := n.Unplug(deadline(t)); err != nil {
			t.Fatal(err)
		}
		refused(t, impatient(n), nodes.Unreachable)
		mended(t)
	})
	t.Run("host key changed", func(t *testing.T) {
		if err := n.ChangeHostKey(deadline(t)); err != nil {
			t.Fatal(err)
		}
		refused(t, impatient(n), nodes.HostKeyChanged)
		if err := n.ForgetHostKey(); err != nil {
			t.Fatal(err)
		}
		refused(t, impatient(n), nodes.HostKeyUnknown)
		if err := n.KnowHostKey(); err != nil {
			t.Fatal(err)
		}
		mended(t)
	})
	t.Run("login refused", func(t *testing.T) {
		if err := n.RefuseLogin(); err != nil {
			t.Fatal(err)
		}
		refused(t, impatient(n), nodes.AuthRefused)
		if err := n.AcceptLogin(); err != nil {
			t.Fatal(err)
		}
		mended(t)
	})
	t.Run("disk full", func(t *testing.T) {
		if err := n.Fill(100 << 10); err != nil {
			t.Fatal(err)
		}
		size := 1 << 20
		_, err := dial(t, n.Target()).Upload(deadline(t), "/root/big", 0o600, int64(size), strings.NewReader(strings.Repeat("x", size)))
		if nodes.KindOf(err) != nodes.NoSpace {
			t.Errorf("kind %q, want %q: %v", nodes.KindOf(err), nodes.NoSpace, err)
		}
		if err := n.Empty(); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, n.Target()).Upload(deadline(t), "/root/big", 0o600, int64(size), strings.NewReader(strings.Repeat("x", size))); err != nil {
			t.Error(err)
		}
	})
	t.Run("processes", func(t *testing.T) {
		if _, err := n.Run(deadline(t), "sh", "-c", "setsid sleep 4711 >/dev/null 2>&1 &"); err != nil {
			t.Fatal(err)
		}
		state := func() string {
			all, err := n.Processes()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				if strings.Join(p.Args, " ") == "sleep 4711" {
					return p.State
				}
			}
			return "gone"
		}
		eventually(t, "the process to run", func() bool { return state() == "S" })
		if err := n.Signal("sleep 4711", syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it to stand", func() bool { return state() == "T" })
		if err := n.Signal("sleep 4711", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it to be gone", func() bool { return state() == "gone" })
		if err := n.Signal("sleep 4711", syscall.SIGKILL); !errors.Is(err, netns.ErrNoProcess) {
			t.Errorf("killing what is gone: %v", err)
		}
	})
	t.Run("crash and boot", func(t *testing.T) {
		n.Crash()
		refused(t, impatient(n), nodes.Unreachable)
		dial(t, other.Target())
		if err := n.Boot(deadline(t)); err != nil {
			t.Fatal(err)
		}
		mended(t)
		if !ping(n, other) {
			t.Error("the nodes do not reach each other after the boot")
		}
	})
}

// A rate must hold: a test that measures a slow link would else measure a fast one.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	bed := bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 1}}})
	n := bed.Node(0)
	node := dial(t, n.Target())
	if err := n.Slow(deadline(t), netns.Shape{BitsPerSecond: 2_000_000}); err != nil {
		t.Fatal(err)
	}
	const size = 256 << 10 // takes 1.05 s at 2 Mbit/s
	began := time.Now()
	if _, err := node.Upload(deadline(t), "/root/slow", 0o600, size, strings.NewReader(strings.Repeat("x", size))); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 800*time.Millisecond {
		t.Errorf("256 KiB took %s over 2 Mbit/s", took)
	}
	err := n.Slow(deadline(t), netns.Shape{Delay: 50 * time.Millisecond})
	switch {
	case errors.Is(err, netns.ErrNoNetem):
		t.Log("this kernel has no netem: delay is not tested here")
	case err != nil:
		t.Fatal(err)
	default:
		began := time.Now()
		if _, err := node.Run(deadline(t), nodes.Command{Name: "true", Args: []string{"true"}}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("a command took %s over a link with 50 ms each way", took)
		}
	}
	if err := n.Mend(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if out, err := n.Run(deadline(t), "tc", "qdisc", "show"); err != nil || strings.Contains(out, "tbf") || strings.Contains(out, "netem") {
		t.Errorf("after mending: %q, %v", out, err)
	}
}

const beOwner = "BELA_TEST_OWN_BED"

// A bed whose owner was killed must not stay: its processes end with it, and
// the next Up, of whatever name, takes the rest away.
func TestOwnerKilled(t *testing.T) {
	if name := os.Getenv(beOwner); name != "" { // the owner, in a process of its own
		if _, err := netns.Up(t.Context(), netns.Options{Name: name, Groups: []netns.Group{{Name: "worker", Count: 2}}}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("owned")
		select {
		case <-t.Context().Done():
		case <-time.After(time.Minute):
		}
		return
	}
	t.Parallel()
	bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 1}}}) // or the test is left out
	name := fmt.Sprintf("killed-%d", os.Getpid())
	owner := exec.Command(os.Args[0], "-test.run", "^TestOwnerKilled$")
	owner.Env = append(os.Environ(), beOwner+"="+name)
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := netns.Down(deadline(t), name); err == nil {
		t.Error("a bed was removed under its living owner")
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()
	bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 1}}})
	left := func() []string {
		var found []string
		for _, pattern := range []string{"/run/bela-testbed/" + name + "*", "/sys/fs/cgroup/*/bela-testbed-" + name, "/sys/fs/cgroup/bela-testbed-" + name} {
			files, _ := filepath.Glob(pattern)
			found = append(found, files...)
		}
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), "BELA_TESTBED="+name) {
				found = append(found, f)
			}
		}
		return found
	}
	if found := left(); len(found) > 0 {
		t.Errorf("left after the owner's death and another Up: %v", found)
	}
}
