// Package fanout measures how long it takes until agents run on many nodes. It is
// apart from provision for its size: it carries the agents, and the tests of
// provision push themselves.
package fanout

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/nodes"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/provision"
	"bela/provision/agentbin"
)

// BenchmarkFanOut is the way of many nodes from nothing to agents that run, whose
// hash was checked and which answered a hello; again when there is nothing to do;
// and once more from nothing with one node that does not answer. Each node is a
// network namespace with an sshd of its own. Beside it, where they are installed,
// Ansible's copy and parallel-scp put the same file on the same nodes, in turns
// with bela: only put it there. An empty command on each node, over a login of its
// own, is what no way over SSH can be faster than. At the end it prints all of it as
// a table, medians of the rounds, with the CPU time that each took of both sides.
func BenchmarkFanOut(b *testing.B) {
	bin, err := agentbin.For(agentbin.Agent, runtime.GOARCH, 7)
	if err != nil {
		b.Skipf("left out: %v", err)
	}
	for _, count := range []int{25, 100} {
		b.Run(fmt.Sprintf("nodes=%d", count), func(b *testing.B) {
			bed := &benchBed{Bed: bedtest.Up(b, netns.Options{Groups: []netns.Group{{Name: "worker", Count: count}}}), dir: b.TempDir()}
			others := bed.others(b, bin)
			if count > 25 {
				others = nil // minutes a round
			}
			t := &table{}
			for b.Loop() {
				t.add("bela-first", bed.measure(b, func() time.Duration { return bed.first(b) }))
				bed.stop(b)
				t.add("bela-again", bed.measure(b, func() time.Duration { return bed.again(b) }))
				bed.remove(b)
				t.add("bela-one-dead", bed.measure(b, func() time.Duration { return bed.oneDead(b) }))
				bed.remove(b)
				t.add("empty-command", bed.measure(b, func() time.Duration { return bed.empty(b) }))
				for _, other := range others {
					t.add(other.name, bed.measure(b, func() time.Duration { return bed.run(b, other.args) }))
				}
				bed.each(b, bed.Nodes(), func(ctx context.Context, n *nodes.Node) error {
					_, err := n.Run(ctx, nodes.Command{Args: []string{"rm", "-f", "/root/agent", "/root/agent-scp"}})
					return err
				})
			}
			t.report(b)
			b.ReportMetric(float64(bin.Size)/1e6, "MB")
		})
	}
}

// stop ends the agents and leaves what a next time finds; remove takes all away.
func (bed *benchBed) stop(b *testing.B) {
	bed.each(b, bed.Nodes(), func(ctx context.Context, n *nodes.Node) error { return provision.Stop(ctx, n) })
}

func (bed *benchBed) remove(b *testing.B) {
	bed.each(b, bed.Nodes(), func(ctx context.Context, n *nodes.Node) error {
		return provision.Remove(ctx, n, provision.RemoveOptions{})
	})
}

func (bed *benchBed) first(b *testing.B) time.Duration {
	took, moved := bed.open(b, bed.Nodes())
	if moved == 0 {
		b.Fatal("nothing was moved")
	}
	return took
}

func (bed *benchBed) again(b *testing.B) time.Duration {
	took, moved := bed.open(b, bed.Nodes())
	if moved != 0 {
		b.Fatalf("%d bytes were moved when there was nothing to do", moved)
	}
	return took
}

// oneDead is first with a node that does not answer, until all others' agents run.
func (bed *benchBed) oneDead(b *testing.B) time.Duration {
	dead := bed.Node(3)
	if err := dead.Cut(b.Context(), netns.BothWays); err != nil {
		b.Fatal(err)
	}
	ctx, giveUp := context.WithCancel(b.Context())
	tried := make(chan struct{})
	pool := nodes.NewPool()
	go func() {
		defer close(tried)
		tg := dead.Target()
		tg.SSH.ConnectTimeout = 10 * time.Minute
		if _, err := pool.Dial(ctx, tg); err == nil {
			b.Error("a node without a link was reached")
		}
	}()
	took, _ := bed.openBy(b, pool, slices.DeleteFunc(slices.Clone(bed.Nodes()), func(n *netns.Node) bool { return n == dead }))
	giveUp()
	<-tried
	if err := dead.Mend(b.Context()); err != nil {
		b.Fatal(err)
	}
	return took
}

// empty is a login on each node and a command that does nothing.
func (bed *benchBed) empty(b *testing.B) time.Duration {
	begin := time.Now()
	bed.each(b, bed.Nodes(), func(ctx context.Context, n *nodes.Node) error {
		_, err := n.Run(ctx, nodes.Script("do nothing", "exit 0"))
		return err
	})
	return time.Since(begin)
}

type benchBed struct {
	*netns.Bed
	dir string
}

// each works on all nodes at once, as a run does.
func (bed *benchBed) each(b *testing.B, list []*netns.Node, f func(context.Context, *nodes.Node) error) {
	b.Helper()
	eachBy(b, nodes.NewPool(), list, f)
}

func eachBy(b *testing.B, pool *nodes.Pool, list []*netns.Node, f func(context.Context, *nodes.Node) error) {
	b.Helper()
	err := nodes.Each(b.Context(), list, len(list), func(ctx context.Context, of *netns.Node) error {
		n, err := pool.Dial(ctx, of.Target())
		if err != nil {
			return err
		}
		defer n.Close() //nolint:errcheck // it ends at any rate
		return f(ctx, n)
	})
	if err != nil {
		b.Fatal(err)
	}
}

// open measures from nothing to the last agent's welcome.
func (bed *benchBed) open(b *testing.B, list []*netns.Node) (took time.Duration, moved int64) {
	b.Helper()
	return bed.openBy(b, nodes.NewPool(), list)
}

func (bed *benchBed) openBy(b *testing.B, pool *nodes.Pool, list []*netns.Node) (took time.Duration, moved int64) {
	b.Helper()
	depot := provision.NewDepot(agentbin.For)
	defer depot.Close()
	var sum, last atomic.Int64
	begin := time.Now()
	eachBy(b, pool, list, func(ctx context.Context, n *nodes.Node) error {
		o, err := depot.Open(ctx, n, provision.StartOptions{Run: "bench", Lease: time.Minute, Keep: time.Minute}, provision.Watch{})
		if err != nil {
			return err
		}
		c, _, err := client.Open(ctx, o.Conn, client.Options{Run: "bench", Now: func() int64 { return int64(time.Since(begin)) }, OnEvent: func(protocol.Event) {}})
		if err != nil {
			return err
		}
		sum.Add(o.Agent.Moved)
		last.Store(int64(time.Since(begin)))
		c.Close()
		return nil
	})
	return time.Duration(last.Load()), sum.Load()
}

// other is a program that puts the file on the nodes.
type other struct {
	name string
	args []string
}

// others are what people use otherwise, with their defaults for many hosts.
func (bed *benchBed) others(b *testing.B, bin agentbin.Binary) []other {
	b.Helper()
	file := filepath.Join(bed.dir, "agent")
	save(b, bin, file)
	ssh := bed.Node(0).Target().SSH
	var inventory, hosts strings.Builder
	for _, n := range bed.Nodes() {
		fmt.Fprintf(&inventory, "%s ansible_host=%s ansible_user=root\n", n.Name(), n.Address())
		fmt.Fprintln(&hosts, n.Address())
	}
	list, names := filepath.Join(bed.dir, "inventory"), filepath.Join(bed.dir, "hosts")
	if err := os.WriteFile(list, []byte(inventory.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(names, []byte(hosts.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	// Ansible's five forks would be half as fast.
	ansible := []string{"ansible", "all", "-i", list, "-f", "25", "--private-key", ssh.KeyFiles[0], "-m", "copy", "-a", "src=" + file + " dest=/root/agent mode=0755"}
	scp := []string{"parallel-scp", "-h", names, "-p", "8", "-l", "root", "-t", "0", "-x",
		"-i " + ssh.KeyFiles[0] + " -o UserKnownHostsFile=" + ssh.KnownHosts, file, "/root/agent-scp"}
	return slices.DeleteFunc([]other{{"ansible-first", ansible}, {"ansible-again", ansible}, {"parallel-scp", scp}}, func(o other) bool {
		_, err := exec.LookPath(o.args[0])
		if err != nil {
			b.Logf("left out: %s is not installed", o.args[0])
		}
		return err != nil
	})
}

func save(b *testing.B, bin agentbin.Binary, file string) {
	b.Helper()
	r, err := bin.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // only read
	w, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

func (bed *benchBed) run(b *testing.B, args []string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Env = append(os.Environ(), "ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_LOCAL_TEMP="+bed.dir, "ANSIBLE_HOME="+bed.dir)
	begin := time.Now()
	if out, err := command.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%.2000s", args[0], err, out)
	}
	return time.Since(begin)
}
