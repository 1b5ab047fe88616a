package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bela/campaign"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/nodes/netns/snapshot"
)

// bedRun is a run on a bed of its own whose nodes' state before is known.
type bedRun struct {
	bed    *netns.Bed
	before []snapshot.Snapshot
	dir    string
	cmd    *exec.Cmd
	out    *lookout
}

var measures = regexp.MustCompile(`measure (1m|30s|45s)|"phase":"measure"`)

// startOnBed starts the quick experiment on a bed.
func startOnBed(t *testing.T, args ...string) *bedRun {
	t.Helper()
	return startOnBedWith(t, nil, shipped(t, "quick.hcl"), args...)
}

// startOnBedWith is startOnBed of another experiment, with more environment.
func startOnBedWith(t *testing.T, env []string, file string, args ...string) *bedRun {
	t.Helper()
	r := &bedRun{bed: bedtest.Up(t, netns.Options{}), dir: t.TempDir(), out: &lookout{}}
	for _, n := range r.bed.Nodes() {
		s, err := snapshot.Take(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		r.before = append(r.before, s)
	}
	r.cmd = belaCommand(t, r.dir, append([]string{"run", file, "-inventory", r.bed.Inventory()}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	r.cmd.Env = append(r.cmd.Env, env...)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// measuring waits until the cell measures, and looks whether the nodes show it.
func (r *bedRun) measuring(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !measures.MatchString(r.out.String()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not measure within a minute\n%s", r.out)
		}
	}
	found := strings.Join(r.differences(t, 0), "\n")
	for _, want := range []string{"processes: ", "files: ", "cgroups: ", "ports: "} {
		if !strings.Contains(found, want) {
			t.Errorf("no sign of bela in the %s of the nodes while it runs; this test would see nothing left:\n%s", want, found)
		}
	}
}

func (r *bedRun) worker(t *testing.T) *netns.Node {
	t.Helper()
	return r.node(t, "worker-1")
}

func (r *bedRun) node(t *testing.T, name string) *netns.Node {
	t.Helper()
	n, err := r.bed.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (r *bedRun) interrupt(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ended waits for the command; want are the exit statuses that are right.
func (r *bedRun) ended(t *testing.T, want ...campaign.Status) {
	t.Helper()
	_ = r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); len(want) > 0 && !slices.Contains(want, campaign.Status(got)) {
		t.Errorf("status %d, want %v\n%s", got, want, r.out)
	}
}

func (r *bedRun) clean(t *testing.T) {
	t.Helper()
	if status, out := bela(t, r.dir, "clean", shipped(t, "quick.hcl"), "-inventory", r.bed.Inventory()); status != 0 {
		t.Errorf("clean: status %d\n%s", status, out)
	}
}

func (r *bedRun) differences(t *testing.T, patience time.Duration) []string {
	t.Helper()
	var all []string
	for i := range r.bed.Nodes() {
		all = append(all, r.differencesOn(t, i, patience)...)
	}
	return all
}

// differencesOn are those of the i-th node.
func (r *bedRun) differencesOn(t *testing.T, i int, patience time.Duration) []string {
	t.Helper()
	n := r.bed.Node(i)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	found, err := snapshot.Await(ctx, n, r.before[i])
	if err != nil {
		t.Fatal(err)
	}
	for k := range found {
		found[k] = n.Name() + " " + found[k]
	}
	return found
}

// Nothing may be left behind on lent machines, however a run ends.
func TestEveryNodeIsAsBefore(t *testing.T) {
	needAgents(t)
	if err := netns.Available(); err != nil {
		bedtest.Up(t, netns.Options{}) // says so
	}
	t.Parallel()
	var all sync.WaitGroup
	long := []string{"-var", "measure=60s"}
	for name, test := range map[string]func(t *testing.T) *bedRun{
		"finished": func(t *testing.T) *bedRun {
			r := startOnBed(t, "-var", "measure=2s")
			r.ended(t, campaign.Done, campaign.Incomplete)
			return r
		},
		"Ctrl-C": func(t *testing.T) *bedRun {
			r := startOnBed(t, long...)
			r.measuring(t)
			r.interrupt(t, syscall.SIGINT)
			r.ended(t, campaign.Interrupted)
			return r
		},
		"Ctrl-C twice, then clean": func(t *testing.T) *bedRun {
			r := startOnBed(t, long...)
			r.measuring(t)
			r.interrupt(t, syscall.SIGINT)
			time.Sleep(20 * time.Millisecond) // two signals at once are one
			r.interrupt(t, syscall.SIGINT)
			r.ended(t, campaign.Interrupted)
			r.clean(t)
			return r
		},
		"a component dies": func(t *testing.T) *bedRun {
			r := startOnBed(t, "-var", "measure=45s") // a busy machine takes long to look
			r.measuring(t)
			if err := r.worker(t).Signal(" hub -config ", syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r.ended(t, campaign.Incomplete)
			return r
		},
		"the controller is killed, then clean": func(t *testing.T) *bedRun {
			r := startOnBed(t, long...)
			r.measuring(t)
			r.interrupt(t, syscall.SIGKILL)
			r.ended(t)
			r.clean(t)
			return r
		},
		"the controller is killed, then by hand": func(t *testing.T) *bedRun {
			r := startOnBed(t, long...)
			r.measuring(t)
			r.interrupt(t, syscall.SIGKILL)
			r.ended(t)
			for _, n := range r.bed.Nodes() {
				byHand(t, n)
			}
			return r
		},
		"agent, guard and controller are killed, then clean": func(t *testing.T) *bedRun {
			r := startOnBed(t, long...)
			r.measuring(t)
			r.interrupt(t, syscall.SIGKILL)
			r.ended(t)
			if err := r.worker(t).Signal("bela-agent", syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			r.clean(t)
			return r
		},
	} {
		// All at once: they wait more than they work, and t.Parallel would hold them
		// to one a core.
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				r := test(t)
				if found := r.differences(t, 10*time.Second); len(found) > 0 {
					t.Errorf("left on the nodes:\n%s\n\n%s", strings.Join(found, "\n"), r.out)
				}
			})
		})
	}
	all.Wait()
}

// byHand types what docs/operations.md says on a node, line by line: who has no
// bela any more must be able to put a machine back.
func byHand(t *testing.T, n *netns.Node) {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```sh\nD=$HOME/.bela-worker-1\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the page does not say any more what to type on worker-1")
	}
	home := "D=$HOME/.bela-" + n.Name() + "\n"
	for line := range strings.Lines(block) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		out, err := n.Run(ctx, "bash", "-c", home+line)
		// The agent takes a moment to stop its components, as who types does.
		for strings.HasPrefix(line, "kill ") && err == nil && ctx.Err() == nil {
			if left, _ := n.Run(ctx, "bash", "-c", home+`grep -lzxF "BELA_DIR=$D" /proc/[0-9]*/environ`); left == "" {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		cancel()
		found := strings.HasPrefix(line, "grep ")                     // finds nothing, and says so
		if err != nil && !found && !strings.Contains(line, "rmdir") { // of what is gone already
			t.Errorf("node %s: %s%v: %s", n.Name(), line, err, out)
		}
		if found && out != "" {
			t.Errorf("node %s: these outlive the agent: %s", n.Name(), out)
		}
	}
}

// lookout is output that can be read while it is written.
type lookout struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lookout) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lookout) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
