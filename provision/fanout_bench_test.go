package provision

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"bela/nodes"
	"bela/nodes/sshdtest"
	"bela/provision/agentbin"
)

// BenchmarkFanOut is the way of many nodes from nothing to agents that run, whose
// hash was checked, and again when there is nothing to do. Each node is an sshd
// of its own. Beside it, where they are installed, Ansible's copy and parallel-scp
// put the same file on the same servers, in the same run.
func BenchmarkFanOut(b *testing.B) {
	source := agentbin.For
	bin, err := source(runtime.GOARCH, 7)
	if err != nil {
		b.Skipf("left out: %v", err)
	}
	for _, count := range []int{25, 100} {
		b.Run(fmt.Sprintf("nodes=%d", count), func(b *testing.B) {
			bed := newBenchBed(b, count)
			var first, second []float64
			for b.Loop() {
				took, moved := bed.open(b, source, true)
				first = append(first, took.Seconds())
				if moved == 0 {
					b.Fatal("nothing was moved")
				}
				took, moved = bed.open(b, source, false)
				second = append(second, took.Seconds())
				if moved != 0 {
					b.Fatalf("%d bytes were moved when there was nothing to do", moved)
				}
				bed.remove(b)
			}
			b.ReportMetric(median(first), "s/first")
			b.ReportMetric(median(second), "s/again")
			b.ReportMetric(float64(bin.Size)/1e6, "MB")
			if count > 25 {
				return
			}
			bed.others(b, bin)
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

type benchBed struct {
	servers []*sshdtest.Server
	targets []nodes.Target
	dir     string
}

func newBenchBed(b *testing.B, count int) *benchBed {
	bed := &benchBed{dir: b.TempDir()}
	for i := range count {
		s := sshdtest.Start(b, sshdtest.Options{Config: []string{"LogLevel ERROR", "MaxStartups 10:30:100", "MaxSessions 10"}})
		if i > 0 {
			s.Authorize(b, bed.servers[0].Signer.PublicKey())
		}
		bed.servers = append(bed.servers, s)
		bed.targets = append(bed.targets, nodes.Target{Name: fmt.Sprintf("n%d", i+1), Host: s.Host, Port: s.Port, User: s.User,
			Directory: filepath.Join(bed.dir, fmt.Sprint(i), "bela"), SSH: nodes.Options{Signers: []ssh.Signer{bed.servers[0].Signer}, Agent: "none", Config: "none",
				HostKeys: nodes.HostKeysPinned, Fingerprints: []string{ssh.FingerprintSHA256(s.HostKey)}}})
	}
	return bed
}

// each works on all nodes at once, as a run does.
func (bed *benchBed) each(b *testing.B, f func(context.Context, *nodes.Node, int) error) {
	b.Helper()
	pool := nodes.NewPool()
	index := make([]int, len(bed.targets))
	for i := range index {
		index[i] = i
	}
	err := nodes.Each(b.Context(), index, len(index), func(ctx context.Context, i int) error {
		n, err := pool.Dial(ctx, bed.targets[i])
		if err != nil {
			return err
		}
		defer n.Close() //nolint:errcheck // it ends at any rate
		return f(ctx, n, i)
	})
	if err != nil {
		b.Fatal(err)
	}
}

// open measures from nothing to the last agent that listens; the agents are
// stopped afterwards.
func (bed *benchBed) open(b *testing.B, source Source, fresh bool) (took time.Duration, moved int64) {
	b.Helper()
	depot := NewDepot(source)
	var sum, last atomic.Int64
	begin := time.Now()
	bed.each(b, func(ctx context.Context, n *nodes.Node, _ int) error {
		o, err := depot.Open(ctx, n, StartOptions{Run: "bench", Lease: time.Minute, Keep: time.Minute}, Watch{})
		if err != nil {
			return err
		}
		sum.Add(o.Moved)
		last.Store(int64(time.Since(begin)))
		return o.Conn.Close()
	})
	took = time.Duration(last.Load())
	bed.each(b, func(ctx context.Context, n *nodes.Node, _ int) error { return Stop(ctx, n) })
	return took, sum.Load()
}

func (bed *benchBed) remove(b *testing.B) {
	b.Helper()
	bed.each(b, func(ctx context.Context, n *nodes.Node, _ int) error { return Remove(ctx, n, RemoveOptions{}) })
}

// others measures what people use otherwise, with their defaults for many hosts.
func (bed *benchBed) others(b *testing.B, bin agentbin.Binary) {
	file := filepath.Join(bed.dir, "agent")
	text, err := newCargo(bin).load()
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o755); err != nil {
		b.Fatal(err)
	}
	key := bed.servers[0].KeyFile
	var inventory, hosts strings.Builder
	for i, s := range bed.servers {
		fmt.Fprintf(&inventory, "n%d ansible_host=%s ansible_port=%d ansible_user=%s destination=%s\n", i, s.Host, s.Port, s.User, filepath.Join(bed.dir, fmt.Sprint(i), "agent"))
		fmt.Fprintf(&hosts, "%s:%d\n", s.Host, s.Port)
		if err := os.MkdirAll(filepath.Join(bed.dir, fmt.Sprint(i)), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	list, names := filepath.Join(bed.dir, "inventory"), filepath.Join(bed.dir, "hosts")
	if err := os.WriteFile(list, []byte(inventory.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(names, []byte(hosts.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	ansible := []string{"ansible", "all", "-i", list, "-f", "25", "--private-key", key, "-m", "copy", "-a", "src=" + file + " dest={{destination}} mode=0755"}
	bed.run(b, "s/ansible-first", ansible...)
	bed.run(b, "s/ansible-again", ansible...)
	bed.run(b, "s/parallel-scp", "parallel-scp", "-h", names, "-p", "8", "-l", bed.servers[0].User, "-t", "0", "-x",
		"-i "+key+" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null", file, filepath.Join(bed.dir, "pscp"))
}

func (bed *benchBed) run(b *testing.B, metric string, args ...string) {
	if _, err := exec.LookPath(args[0]); err != nil {
		b.Logf("left out: %s is not installed", args[0])
		return
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Env = append(os.Environ(), "ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_LOCAL_TEMP="+bed.dir, "ANSIBLE_REMOTE_TEMP="+bed.dir, "ANSIBLE_HOME="+bed.dir)
	begin := time.Now()
	if out, err := command.CombinedOutput(); err != nil {
		b.Errorf("%s: %v\n%.2000s", args[0], err, out)
		return
	}
	b.ReportMetric(time.Since(begin).Seconds(), metric)
}
