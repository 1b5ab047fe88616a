package provision

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bela/agents/feed"
	"bela/nodes"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/provision/agentbin"
)

// feeds is the test's agent that gives itself to others, or something else where
// the login's home has a file that says so.
func feeds() int {
	self, err := os.Executable()
	if err == nil {
		args := os.Args[2:]
		if _, no := os.Stat("corrupt-feed"); no == nil {
			args = append(args, "-file", "corrupt-feed")
		}
		err = feed.Main(context.Background(), args, os.Stdin, os.Stdout, self)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// behindGateway is a bed whose nodes are reached through a gateway alone.
func behindGateway(t *testing.T, count int) *netns.Bed {
	return bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: count}}, Gateway: true})
}

// openAll opens every node of a bed side by side, checks that each has the right
// agent, and platform, and gives what was told and what each open says of itself.
func openAll(t *testing.T, bed *netns.Bed, depot *Depot) (opened []Opened, told []string) {
	t.Helper()
	pool := nodes.NewPool()
	bin, _ := self(agentbin.Agent, "", 0)
	opened = make([]Opened, len(bed.Nodes()))
	var mu sync.Mutex
	index := make([]int, len(opened))
	for i := range index {
		index[i] = i
	}
	list := make([]*nodes.Node, len(opened))
	defer func() { _ = nodes.CloseAll(list) }()
	err := nodes.Each(deadline(t), index, len(index), func(ctx context.Context, i int) (err error) {
		n, err := pool.Dial(ctx, bed.Node(i).Target())
		if list[i] = n; err != nil {
			return err
		}
		note := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, n.Name()+": "+text)
		}
		if opened[i], err = depot.Open(ctx, n, withPlatform(), Watch{Feeding: note, Note: note}); err != nil {
			return err
		}
		for _, b := range []Brought{opened[i].Agent, opened[i].Platform} {
			sum, wrong := n.SHA256(ctx, b.Path)
			if wrong == nil && sum != bin.SHA256 {
				wrong = fmt.Errorf("node %s: %s has SHA-256 %s", n.Name(), b.Path, sum)
			}
			err = errors.Join(err, wrong)
		}
		return errors.Join(err, opened[i].Conn.Close())
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(told, "\n"))
	}
	depot.Close()
	for i, n := range list {
		out, err := bed.Node(i).Run(deadline(t), "sh", "-c", "grep -lzx -e '-token[s]' /proc/[0-9]*/cmdline | wc -l")
		if err != nil || strings.TrimSpace(out) != "0" {
			t.Errorf("%s processes of node %s feed others when all have it: %v", strings.TrimSpace(out), n.Name(), err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		left, err := Leftovers(deadline(t), n)
		if err != nil || len(left) > 0 {
			t.Errorf("node %s keeps %v: %v", n.Name(), left, err)
		}
	}
	return opened, told
}

func ways(opened []Opened) map[string]int {
	got := map[string]int{}
	for _, o := range opened {
		got[o.Agent.Way]++
		got[o.Platform.Way]++
	}
	return got
}

// Through a slow gateway each program goes once, whatever the number of nodes behind
// it: what the gateway's network saw says so.
func TestSwarm(t *testing.T) {
	t.Parallel()
	bed := behindGateway(t, 6)
	if err := bed.Gateway().Slow(deadline(t), netns.Shape{BitsPerSecond: 25e6}); err != nil {
		t.Skipf("left out: %v", err)
	}
	before := received(t, bed)
	opened, told := openAll(t, bed, NewDepot(self))
	through := received(t, bed) - before
	var moved int64
	for _, o := range opened {
		moved += o.Agent.Moved + o.Platform.Moved
	}
	if got := ways(opened); got[wayFed] != 10 {
		t.Errorf("%v, want five fed with both programs\n%s", got, strings.Join(told, "\n"))
	}
	if one := moved; one == 0 || through < one || through > one+one/4+1<<20 {
		t.Errorf("%d bytes went through the gateway, one copy of both has %d", through, one)
	}
	if all := strings.Join(told, "\n"); !strings.Contains(all, "waits until worker-") || !strings.Contains(all, "from worker-") {
		t.Errorf("told only:\n%s", all)
	}
}

// received is what has come to the bed's gateway from the controller, in bytes.
func received(t *testing.T, bed *netns.Bed) int64 {
	t.Helper()
	out, err := bed.Gateway().Run(deadline(t), "cat", "/sys/class/net/eth1/statistics/rx_bytes")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A node that gives something else is found out by the hash, and those that got it
// get the agent through the gateway.
func TestSwarmCorruptFeeder(t *testing.T) {
	t.Parallel()
	bed := behindGateway(t, 4)
	for _, n := range bed.Nodes() {
		if _, err := n.Run(deadline(t), "sh", "-c", "echo rubbish >/root/corrupt-feed"); err != nil {
			t.Fatal(err)
		}
	}
	depot := NewDepot(self)
	depot.slow = math.Inf(1)
	opened, told := openAll(t, bed, depot)
	all := strings.Join(told, "\n")
	if got := ways(opened); got[wayFed] > 0 || !strings.Contains(all, "SHA-256") || !strings.Contains(all, "through the gateway instead") {
		t.Errorf("%v:\n%s", got, all)
	}
}

// Nodes that do not reach each other get the agent through the gateway, and after
// two have tried the others do not.
func TestSwarmUnreachable(t *testing.T) {
	t.Parallel()
	bed := behindGateway(t, 4)
	for i, n := range bed.Nodes() {
		for _, other := range bed.Nodes()[:i] {
			if err := errors.Join(n.CutFrom(deadline(t), other), other.CutFrom(deadline(t), n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	depot := NewDepot(self)
	depot.slow = math.Inf(1)
	opened, told := openAll(t, bed, depot)
	all := strings.Join(told, "\n")
	if got := ways(opened); got[wayFed] > 0 || !strings.Contains(all, "not reached") || !strings.Contains(all, "through the gateway instead") {
		t.Errorf("%v:\n%s", got, all)
	}
}

// A fast gateway is not spared: every node gets the agent through it at once.
func TestSwarmFastGateway(t *testing.T) {
	t.Parallel()
	var pushed atomic.Int64
	depot := NewDepot(self)
	depot.slow = 0
	probe := depot.measure
	depot.measure = func(v *visit, text []byte) (float64, error) {
		pushed.Add(1)
		return probe(v, text)
	}
	opened, told := openAll(t, behindGateway(t, 3), depot)
	if got := ways(opened); got[wayFed] > 0 || pushed.Load() != 3 { // the platform goes by what the agent showed
		t.Errorf("%v, %d pushed:\n%s", got, pushed.Load(), strings.Join(told, "\n"))
	}
}

// A node waits for another one only where there are enough of them, or the agent
// of two nodes would take twice as long for nothing.
func TestSwarmTurn(t *testing.T) {
	rows := []struct {
		name    string
		swarm   swarm
		has     string
		lead    bool
		fed     bool
		waits   time.Duration // before that; 0 is not at all
		changes func(*swarm)  // after a minute
	}{
		{name: "the first goes ahead", has: "fetch", lead: true},
		{name: "one of two waits a moment for more", has: "fetch", swarm: swarm{leader: "a", known: true, members: 1}, waits: gather},
		{name: "one of three waits for the first", has: "fetch", swarm: swarm{leader: "a", known: true, members: 2}, waits: time.Minute, fed: true,
			changes: func(s *swarm) { s.leader, s.feeders = "", []*feeder{newFeeder(&nodes.Node{}, "", "")} }},
		{name: "the first failed", has: "fetch", swarm: swarm{leader: "a", known: true, members: 2}, waits: time.Minute, lead: true,
			changes: func(s *swarm) { s.leader = "" }},
		{name: "the gateway is found to be fast", has: "fetch", swarm: swarm{leader: "a", members: 2}, waits: time.Minute, changes: func(s *swarm) { s.direct = true }},
		{name: "it has no bash", swarm: swarm{leader: "a", known: true, members: 5, feeders: []*feeder{newFeeder(&nodes.Node{}, "", "")}}},
		{name: "no place is left, and a fetch is under way", has: "fetch", swarm: swarm{known: true, members: 5, fetching: 1, feeders: []*feeder{{given: feedEach}}},
			waits: time.Minute, fed: true, changes: func(s *swarm) { s.feeders = append(s.feeders, newFeeder(&nodes.Node{}, "", "")) }},
	}
	for i := range rows {
		row := &rows[i]
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &row.swarm
				s.changed = make(chan struct{})
				if row.changes != nil {
					time.AfterFunc(time.Minute, func() { s.change(func() { row.changes(s) }) })
				}
				begin := time.Now()
				lead, from, err := s.turn(t.Context(), &visit{node: &nodes.Node{}, tools: []string{row.has}}, agentbin.Agent, func(string, ...any) {})
				if took := time.Since(begin); err != nil || lead != row.lead || (from != nil) != row.fed || took != row.waits {
					t.Errorf("leads %v, from %v, after %v: %v", lead, from, took, err)
				}
			})
		})
	}
}
