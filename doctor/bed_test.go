package doctor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/nodes"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
)

// many is an experiment whose devices all connect in one second: more than the
// queue of an untuned kernel holds.
const many = `
experiment "many" {}
node "worker" { hosts = [%q] }
node "iot" { hosts = [%q, %q] }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = 12000
  via   = component.broker
  ramp  = "1s"
}
customers {
  on    = node.iot
  count = 1
  via   = component.broker
}
`

// A testbed of machines that are apart, each with OpenSSH and a network of its
// own: what only shows between machines is found, and what -fix changes on a
// machine is put back exactly, there and nowhere else.
func TestBed(t *testing.T) {
	t.Parallel()
	bed := bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: 1}, {Name: "iot", Count: 2}}})
	var targets []nodes.Target
	var hosts []any
	for _, n := range bed.Nodes() {
		targets = append(targets, n.Target())
		hosts = append(hosts, n.Address().String())
	}
	worker, iot2 := bed.Node(0), bed.Node(2)
	c := Config{Plan: plan(t, fmt.Sprintf(many, hosts...)), Targets: targets, UndoFile: filepath.Join(t.TempDir(), "many.undo.sh")}
	in := func(n *netns.Node, args ...string) string {
		t.Helper()
		out, err := n.Run(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	parameter := func(n *netns.Node, name string) string {
		return strings.Join(strings.Fields(in(n, "cat", "/proc/sys/net/"+name)), " ")
	}
	host := func(name string) string {
		b, err := os.ReadFile("/proc/sys/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(b)), " ")
	}

	t.Run("planted", func(t *testing.T) {
		// A firewall on the broker's machine, against one of the two.
		in(worker, "nft", "add table inet wall; add chain inet wall in { type filter hook input priority 0; }; add rule inet wall in ip saddr "+iot2.Address().String()+" tcp dport 1883 drop")
		defer in(worker, "nft", "delete table inet wall")
		if err := bed.Node(1).Fill(70 << 20); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := bed.Node(1).Empty(); err != nil {
				t.Error(err)
			}
		}()
		r := run(t, c)
		dropped := about(r, iot2.Name(), "reachability")
		want := fmt.Sprintf("%s cannot connect to %s at %s (", iot2.Name(), worker.Name(), net.JoinHostPort(worker.Address().String(), "1883"))
		if len(dropped) == 0 || !strings.HasPrefix(dropped[0].What, want) || !strings.Contains(dropped[0].What, "no answer within 3s") {
			t.Errorf("firewall: %+v, want %q", dropped, want)
		}
		if found := about(r, bed.Node(1).Name(), "reachability"); len(found) > 0 {
			t.Errorf("the other way is open: %+v", found)
		}
		if found := about(r, bed.Node(1).Name(), "disk"); len(found) != 1 || found[0].Severity != Error {
			t.Errorf("a full disk: %+v in %+v", found, r.Findings)
		}
	})

	t.Run("fix and undo", func(t *testing.T) {
		const queue, ports = "core/somaxconn", "ipv4/ip_local_port_range"
		hostBefore := host(queue) + host(ports)
		in(worker, "sh", "-c", "echo 300 >/proc/sys/net/"+queue)
		in(iot2, "sh", "-c", "echo 40000 40999 >/proc/sys/net/"+ports)
		fixed := c
		fixed.Fix = true
		r := run(t, fixed)
		if a, b := parameter(worker, queue), parameter(iot2, ports); a != "16384" || b != "10000 65535" || len(r.Done) == 0 {
			t.Errorf("set to %s and %s: %q, %+v", a, b, r.Done, r.Findings)
		}
		if text, err := os.ReadFile(c.UndoFile); err != nil || r.UndoFile != c.UndoFile || strings.Count(string(text), "\nssh ") < 2 {
			t.Errorf("the undo file: %v\n%s", err, text)
		}
		if found := about(run(t, c), worker.Name(), "undo"); len(found) == 0 {
			t.Error("another doctor does not tell what is changed")
		}
		undone := c
		undone.Undo = true
		r = run(t, undone)
		if a, b := parameter(worker, queue), parameter(iot2, ports); a != "300" || b != "40000 40999" || !r.Fit {
			t.Errorf("put back to %s and %s: %q, %+v", a, b, r.Done, r.Findings)
		}
		if _, err := os.Stat(c.UndoFile); !os.IsNotExist(err) {
			t.Errorf("the controller's undo file stays: %v", err)
		}
		if now := host(queue) + host(ports); now != hostBefore {
			t.Errorf("the machine's own parameters changed: %s, were %s", now, hostBefore)
		}
	})

	for _, n := range bed.Nodes() {
		if left := in(n, "sh", "-c", "ls -d /root/.bela* 2>/dev/null || true"); left != "" {
			t.Errorf("left on %s: %s", n.Name(), left)
		}
	}
}
