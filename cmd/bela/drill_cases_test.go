package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bela/campaign"
	"bela/event"
	"bela/influx"
	"bela/influx/influxtest"
	"bela/nodes/netns"
)

// mishaps are all drills, in the order of the page.
func mishaps(earnest bool) []mishap {
	lease := "5s"
	if earnest {
		lease = "12s"
	}
	all := []mishap{killedComponent("broker"), killedComponent("gateway"), killedComponent("hub"), killedAgent()}
	all = append(all, cuts()...)
	all = append(all, crashes()...)
	all = append(all, controllers()...)
	all = append(all, fullDisks()...)
	all = append(all, doors(lease)...)
	return append(all, secondController(), databaseAway(earnest))
}

func killedComponent(name string) mishap {
	return mishap{
		name: "the " + name + "'s process is killed",
		happen: func(t *testing.T, r *rehearsal) {
			r.now()
			if err := r.node(t, "worker-1").Signal(" "+name+" -config ", syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r.finish(t)
		},
		noticed: exited(name), back: measuringAgain, says: "component " + name + "/1 on worker-1 exited", lost: drillLoss{Attempts: 1},
	}
}

func killedAgent() mishap {
	return mishap{
		name: "the agent of a device node is killed with -9",
		happen: func(t *testing.T, r *rehearsal) {
			r.now()
			if err := r.node(t, "iot-1").Signal(" serve -dir ", syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r.finish(t)
		},
		noticed: state("iot-1", event.NodeAgentLost), back: measuringAgain, says: "node iot-1 agent lost", lost: drillLoss{Attempts: 1},
	}
}

func cuts() []mishap {
	cut := func(name string, cut func(*testing.T, *netns.Node) error, away time.Duration, measure string) mishap {
		return mishap{
			name: name, args: []string{"-var", "measure=" + measure},
			happen: func(t *testing.T, r *rehearsal) {
				n := r.node(t, "iot-1")
				r.now()
				if err := cut(t, n); err != nil {
					t.Fatal(err)
				}
				time.Sleep(away) // what happens is that the link is away for so long
				if err := n.Mend(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.finish(t)
			},
			noticed: state("iot-1", event.NodeLinkLost), back: state("iot-1", event.NodeLinkBack), says: "node iot-1 link lost",
		}
	}
	fromController := func(t *testing.T, n *netns.Node) error { return n.CutController(t.Context()) }
	fromAll := func(t *testing.T, n *netns.Node) error { return n.Cut(t.Context(), netns.BothWays) }
	short := cut("the controller does not reach a device node for 5 s", fromController, 5*time.Second, "20s")
	// Three keepalives of 2 s must be missed before a link counts as lost.
	short.noticed, short.back, short.says = nil, nil, "cell 1/2 devices=4  (valid|degraded)"
	long := cut("the controller does not reach a device node for 30 s", fromController, 30*time.Second, "45s")
	// What is sent while nobody can take it is late or in doubt, and the books say so.
	all := cut("nobody reaches a device node for 30 s", fromAll, 30*time.Second, "45s")
	all.lost, all.books = drillLoss{Attempts: 1, Invalid: 1}, true
	gone := long
	gone.name = "the controller does not reach a device node for longer than the lease (2 m); then `bela resume -retry-invalid`"
	gone.args, gone.back, gone.lost = nil, measuringAgain, drillLoss{Attempts: 1}
	gone.happen = func(t *testing.T, r *rehearsal) {
		n := r.node(t, "iot-1")
		r.now()
		if err := n.CutController(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.finish(t)
		if r.status != campaign.Unreachable {
			t.Errorf("status %d, want 3", r.status)
		}
		if err := n.Mend(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.then(t, "resume", "-retry-invalid", "-view", "plain")
	}
	return []mishap{short, long, all, gone}
}

func crashes() []mishap {
	crash := func(t *testing.T, r *rehearsal) {
		r.now()
		r.node(t, "iot-2").Crash()
		r.dead["iot-2"] = true
		r.finish(t)
	}
	return []mishap{
		{
			name: "a node crashes, and has a spare", spare: true, args: []string{"-var", "lost=spare"}, happen: crash,
			noticed: state("iot-2", event.NodeLinkLost), back: state("iot-2", event.NodeReplaced), says: "node iot-2 replaced",
			lost: drillLoss{Attempts: 1},
		},
		{
			name: "a node crashes, `on_node_lost = \"stop\"`", args: []string{"-var", "lost=stop"}, happen: crash,
			noticed: state("iot-2", event.NodeLinkLost), status: campaign.Unreachable, says: "the lost node did not come back",
			lost: drillLoss{Missing: 1, Invalid: 1},
		},
		{
			name: "a node crashes, `on_node_lost = \"without\"`", args: []string{"-var", "lost=without"}, happen: crash,
			noticed: state("iot-2", event.NodeLinkLost), back: state("iot-2", event.NodeRemoved), says: "node iot-2 removed",
			lost: drillLoss{Attempts: 1},
		},
		{
			name: "a node is rebooted", short: true, args: []string{"-var", "measure=6s"},
			happen: func(t *testing.T, r *rehearsal) {
				r.now()
				if err := r.node(t, "iot-2").Boot(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.finish(t)
			},
			noticed: state("iot-2", event.NodeRebooted), back: measuringAgain, says: "node iot-2 rebooted", lost: drillLoss{Attempts: 1},
		},
	}
}

func controllers() []mishap {
	return []mishap{
		{
			name: "the controller is killed with -9, then `bela resume`",
			happen: func(t *testing.T, r *rehearsal) {
				r.await(t, "cell 2/2 devices=6  measure ")
				r.kill(t)
				r.then(t, "resume", "-view", "plain")
			},
			back: measuringAgain, says: "run \\S+ goes on", lost: drillLoss{Attempts: 1},
		},
		{
			// A controller that is gone for good must not leave load on lent machines, and
			// in the end nothing at all.
			name: "the controller is killed and never comes back (lease 5 s, keep 4 s)", short: true,
			args: []string{"-var", "lease=5s", "-var", "keep=4s", "-var", "measure=60s"},
			happen: func(t *testing.T, r *rehearsal) {
				r.kill(t)
				r.eventually(t, "load and components to end", func() bool { return r.processes(t, "bela-platform-") == 0 })
				r.noticed = time.Now()
				if n := r.processes(t, " serve -dir "); n == 0 {
					t.Error("the agents ended with the lease: what they measured is lost before anybody could fetch it")
				}
				r.eventually(t, "the agents to remove themselves", func() bool { return len(r.left(t, 0)) == 0 })
				r.back = time.Now()
				r.noRun, r.status = true, -1
				r.firstOut = "(nobody watches: load and components end, then the agents remove themselves)"
			},
			status: -1,
		},
	}
}

// processes counts those of all nodes whose command line holds a text.
func (r *rehearsal) processes(t *testing.T, text string) int {
	t.Helper()
	count := 0
	for _, n := range r.bed.Nodes() {
		all, err := n.Processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if strings.Contains(strings.Join(p.Args, " "), text) {
				count++
			}
		}
	}
	return count
}

func fullDisks() []mishap {
	return []mishap{
		{
			name: "the disk of the worker is full for the rest of the cell",
			happen: func(t *testing.T, r *rehearsal) {
				n := r.node(t, "worker-1")
				r.now()
				if err := n.Fill(0); err != nil {
					t.Fatal(err)
				}
				r.await(t, "cell 1/2 devices=4  drain")
				if err := n.Empty(); err != nil {
					t.Fatal(err)
				}
				r.finish(t)
			},
			noticed: state("worker-1", event.NodeDiskFull), back: state("worker-1", event.NodeDiskFree), says: "node worker-1 disk full",
			lost: drillLoss{Attempts: 1}, books: true,
		},
		{
			name: "the disk of the controller is full, then `bela resume`", short: true, small: true, args: []string{"-var", "measure=5s"},
			happen: func(t *testing.T, r *rehearsal) {
				r.await(t, "cell 2/2 devices=6  measure ")
				filler := filepath.Join(r.dir, "results", "filler")
				r.now()
				fill(t, filler)
				r.finish(t)
				r.noticed = time.Now()
				if r.status != campaign.Internal {
					t.Errorf("status %d with a full disk, want 5", r.status)
				}
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
				r.then(t, "resume", "-view", "plain")
			},
			back: measuringAgain, says: "the disk of the controller is full", lost: drillLoss{Attempts: 1},
		},
	}
}

// smallDisk puts a file system of its own on a directory.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bela-drill", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=32m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all the room that a file system has.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // its content is of no use
	block := make([]byte, 1<<20)
	for {
		if n, err := f.Write(block); err != nil || n < len(block) {
			return
		}
	}
}

// doors are nodes that a controller is locked out of after a link was cut.
func doors(lease string) []mishap {
	locked := func(name, says string, lock, unlock func(*testing.T, *netns.Node) error) mishap {
		return mishap{
			name: name, short: true, args: []string{"-var", "lease=" + lease, "-var", "keep=4s"},
			happen: func(t *testing.T, r *rehearsal) {
				n := r.node(t, "iot-1")
				if err := lock(t, n); err != nil {
					t.Fatal(err)
				}
				r.now()
				if err := n.CutController(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.await(t, "node iot-1 link lost")
				if err := n.Mend(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.finish(t)
				if err := unlock(t, n); err != nil {
					t.Fatal(err)
				}
			},
			noticed: state("iot-1", event.NodeLinkLost), status: campaign.Unreachable, says: says,
			lost: drillLoss{Missing: 1, Invalid: 1},
		}
	}
	return []mishap{
		locked("the link is cut, and the login is refused afterwards (lease 12 s)", "login refused",
			func(_ *testing.T, n *netns.Node) error { return n.RefuseLogin() },
			func(_ *testing.T, n *netns.Node) error { return n.AcceptLogin() }),
		locked("the link is cut, and the host key is another one afterwards (lease 12 s)", "host key changed",
			func(t *testing.T, n *netns.Node) error { return n.ChangeHostKey(t.Context()) },
			func(_ *testing.T, n *netns.Node) error { return n.KnowHostKey() }),
	}
}

func secondController() mishap {
	return mishap{
		name: "a second controller comes to the same nodes",
		happen: func(t *testing.T, r *rehearsal) {
			r.now()
			status, out := bela(t, r.dir, "run", "drills.hcl", "-inventory", "machines.hcl", "-view", "plain", "-results", t.TempDir())
			r.noticed = time.Now()
			if status != int(campaign.Unreachable) {
				t.Errorf("the second controller ended with status %d\n%s", status, out)
			}
			r.firstOut = "(the second, status 3) " + firstLine(out, "in use")
			r.finish(t)
		},
	}
}

func databaseAway(earnest bool) mishap {
	m := mishap{name: "InfluxDB is away for a while", says: "InfluxDB has "}
	if !earnest {
		return m // it needs a server that is started by then
	}
	m.happen = func(t *testing.T, r *rehearsal) {
		// The run began with no server there; it comes in the second cell.
		r.now()
		r.await(t, "cell 2/2 devices=6  measure ")
		db := influxtest.Start(t, false, "bela")
		r.finish(t)
		if status, out := bela(t, r.dir, "export", "latest", "-influx", db.URL); status != 0 {
			t.Errorf("export: status %d\n%s", status, out)
		}
		f, err := os.Open(filepath.Join(r.dir, "results", "latest", "metrics.lp.gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // only read
		var lines []byte
		for line, err := range influx.ReadLines(f) {
			if err != nil {
				t.Fatal(err)
			}
			lines = append(append(lines, line...), '\n')
		}
		influxtest.Same(t, db.Stored(t, "bela"), influxtest.Values(influxtest.Parse(t, lines)))
	}
	m.more = fmt.Sprintf("influxdb {\n  url    = %q\n  bucket = \"bela\"\n}\n", "http://127.0.0.1:9")
	return m
}
