package campaign_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/agents/transport/mqtt/mqtttest"
	"bela/event"
	"bela/measure"
)

// drill says that losses last as long as in earnest, with the settings that a
// user has (BELA_DRILL=1).
var drill = os.Getenv("BELA_DRILL") != ""

// wires puts a wire that can be frozen before the SSH servers of some nodes.
func (r *rig) wires(t *testing.T, names ...string) map[string]*mqtttest.Proxy {
	t.Helper()
	all := make(map[string]*mqtttest.Proxy)
	for i := range r.config.Targets {
		target := &r.config.Targets[i]
		if !drill {
			target.SSH.Keepalive, target.SSH.ConnectTimeout = time.Second, 5*time.Second
		}
		if !slices.Contains(names, target.Name) {
			continue
		}
		p := mqtttest.NewProxy(t, net.JoinHostPort(target.Host, strconv.Itoa(target.Port)), 0)
		host, port, err := net.SplitHostPort(p.Address)
		if err != nil {
			t.Fatal(err)
		}
		target.Host = host
		if target.Port, err = strconv.Atoi(port); err != nil {
			t.Fatal(err)
		}
		all[target.Name] = p
	}
	return all
}

// atMeasure acts once, when a cell begins to measure.
func (r *rig) atMeasure(position int, do func()) {
	var once sync.Once
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Phase == event.PhaseMeasure && p.Position == position {
			once.Do(do)
		}
	}
}

// states are a node's, in order, and when they were told.
func (r *rig) states(node string) (states []string, at []time.Time) {
	for _, e := range r.events.list() {
		if s, ok := e.Data.(event.NodeState); ok && s.Node == node {
			states = append(states, s.State)
			at = append(at, e.Time)
		}
	}
	return states, at
}

// noticed demands that a node's state was told soon after something happened.
func (r *rig) noticed(t *testing.T, node, state string, since time.Time) {
	t.Helper()
	states, at := r.states(node)
	for i, s := range states {
		// A busy machine may have been told of before anything happened.
		if s != state || at[i].Before(since) {
			continue
		}
		if d := at[i].Sub(since); d > 15*time.Second {
			t.Errorf("node %s was told to be %s after %v", node, state, d)
		}
		return
	}
	t.Fatalf("node %s was never told to be %s: %v", node, state, states)
}

// A link that drops in mid-cell must cost nothing but the sight of it: load goes
// on, the books close, and every second of every node is there in the end.
func TestLinkDrops(t *testing.T) {
	t.Parallel()
	gap, length := 8*time.Second, 14
	if drill {
		gap, length = 30*time.Second, 45
	}
	const devices = 10
	r := newRig(t, fmt.Sprintf(small, fmt.Sprintf("[%d]", devices), ""), nil, fmt.Sprintf("measure=%ds", length))
	wires := r.wires(t, "iot-1", "worker-1")
	var cut time.Time
	mended := make(chan struct{})
	r.atMeasure(1, func() {
		cut = time.Now()
		for _, w := range wires {
			w.Freeze()
		}
		time.AfterFunc(gap, func() {
			for _, w := range wires {
				w.Thaw()
			}
			close(mended)
		})
	})
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-mended
	if slices.ContainsFunc(run.Cells, spoiled) || len(run.Cells) != 1 {
		t.Fatalf("summary %+v: %+v", summary, run.Cells)
	}
	for node := range wires {
		r.noticed(t, node, event.NodeLinkLost, cut)
		states, _ := r.states(node)
		states = states[max(slices.Index(states, event.NodeReady), 0):]
		want := []string{event.NodeReady, event.NodeLinkLost, event.NodeLinkBack, event.NodeClean}
		if !slices.Equal(states, want) {
			t.Errorf("node %s was %v, want %v", node, states, want)
		}
	}
	c := run.Cells[0]
	want := int64(devices * 10 * length)
	if l := c.Ledger; !l.Closed || l.Published != want || l.Delivered != want || l.Acked != want {
		t.Errorf("ledger %+v, want %d published and delivered", l, want)
	}
	for node := range wires {
		if !slices.ContainsFunc(c.Notes, func(n string) bool { return strings.Contains(n, node) && strings.Contains(n, "away for") }) {
			t.Errorf("no note says that the link of %s was away: %q", node, c.Notes)
		}
	}
	assertEverySecond(t, r, run.Cells[0], length+1)
	for _, u := range c.Components {
		if u.CPUMean == nil || u.MemoryMax == nil {
			t.Errorf("use of %s-%d is missing: %+v", u.Component, u.Instance, u)
		}
	}
}

// assertEverySecond demands a sample of each node and a line of load for each
// second of a cell, late or not.
func assertEverySecond(t *testing.T, r *rig, c measure.Cell, seconds int) {
	t.Helper()
	samples := make(map[string]map[int]int)
	var loads []int
	var published float64
	for _, e := range r.events.list() {
		switch d := e.Data.(type) {
		case event.NodeSample:
			if samples[d.Node] == nil {
				samples[d.Node] = make(map[int]int)
			}
			samples[d.Node][d.T]++
		case event.Load:
			loads = append(loads, d.T)
			published += d.Published
		}
	}
	for _, target := range r.config.Targets {
		for s := 1; s <= seconds; s++ { // a sample tells of the second before it
			if samples[target.Name][s] == 0 {
				t.Errorf("node %s has no sample of second %d", target.Name, s)
			}
		}
	}
	for s := range seconds {
		if s >= len(loads) || loads[s] != s {
			t.Fatalf("the load's seconds are %v, want %d from 0 on without a gap", loads, seconds)
		}
	}
	if least := float64(c.Ledger.Published); published < least {
		t.Errorf("the seconds of load have %v messages published, the ledger %v and a warm-up", published, least)
	}
}
