package campaign_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bela/campaign"
	"bela/event"
	"bela/measure"
	"bela/nodes/lab"
	"bela/provision/agentbin"
	"bela/store"
)

// onNodes lists the programs that each node of the lab has.
func (r *rig) onNodes(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.lab.Dir(), "*", ".bela*", "bin", "*"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, f := range files {
		node, _, _ := strings.Cut(strings.TrimPrefix(f, r.lab.Dir()+"/"), "/")
		all[node] = append(all[node], f)
	}
	return all
}

// names are what programs are, without their hashes.
func names(programs []string) string {
	var all []string
	for _, f := range programs {
		base := filepath.Base(f)
		all = append(all, base[:strings.LastIndex(base, "-")])
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// hosts demands that every node has the agent, and worker-1 alone the platform.
func hosts(t *testing.T, when string, found map[string][]string) {
	t.Helper()
	for _, node := range []string{"worker-1", "iot-1", "iot-2", "customer-1", "customer-2"} {
		want := "bela-agent"
		if node == "worker-1" {
			want = "bela-agent bela-platform"
		}
		if got := names(found[node]); got != want {
			t.Errorf("%s: node %s has %q, want %q", when, node, got, want)
		}
	}
}

// If this failed, small boards behind slow links would get the built-in platform,
// which they do not run; or -keep-agent would keep half of what the next run needs;
// or a platform that is damaged on a node would be started.
func TestPlatformGoesWhereItRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2]", ""), nil, "measure=1s")
	r.config.KeepAgents = true
	r.atMeasure(1, func() { hosts(t, "in the cell", r.onNodes(t)) })
	_, first, err := r.carryOut(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept := r.onNodes(t)
	hosts(t, "kept", kept)
	if t.Failed() {
		return
	}
	for _, n := range first.Environment.Nodes {
		if has := n.PlatformSHA256 != ""; has != (n.Name == "worker-1") {
			t.Errorf("the record says of node %s that its platform is %q", n.Name, n.PlatformSHA256)
		}
	}

	// The next run: what is whole is not brought again, what is damaged is.
	platform := kept["worker-1"][slices.IndexFunc(kept["worker-1"], func(f string) bool { return strings.Contains(f, string(agentbin.Platform)) })]
	if err := os.WriteFile(platform, []byte("#!/bin/sh\nsleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	again := &rig{config: r.config, lab: r.lab, events: new(recorder)}
	dir, err := store.Create(t.TempDir(), "again", time.Now(), "test", store.Inputs{Plan: r.config.Plan, Dimensions: r.config.Plan.Dimensions})
	if err != nil {
		t.Fatal(err)
	}
	again.root, again.config.Store, again.config.KeepAgents = dir.Dir(), dir, false
	again.config.Sinks = []campaign.Sink{again.events}
	summary, run, err := again.run(t, t.Context()) // and nothing is left of either
	if err != nil || summary.Missing != 0 || run.Cells[0].Ledger.Delivered != 2*10 {
		t.Fatalf("%+v: %v", summary, err)
	}
	for _, e := range again.events.list() {
		if s, ok := e.Data.(event.NodeState); ok && s.State == event.NodeReady {
			want := "agent already there"
			if s.Node == "worker-1" {
				want = "agent already there, platform pushed, "
			}
			if s.Detail != want && (s.Node != "worker-1" || !strings.HasPrefix(s.Detail, want)) {
				t.Errorf("node %s: %q, want %q", s.Node, s.Detail, want)
			}
		}
	}
}

// A platform that somebody removes in the middle of a run must cost the cell that
// misses it, and say what is missing where; for the next one it is there again.
func TestPlatformVanishes(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2, 3, 4]", ""), nil, "measure=1s")
	var path string
	r.events.on = func(e event.Event) {
		if f, ok := e.Data.(event.CellFinished); ok && f.Cell.Position == 1 {
			for _, f := range r.onNodes(t)["worker-1"] {
				if strings.Contains(f, string(agentbin.Platform)) {
					path = f
					if err := os.Remove(f); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	_, run, err := r.run(t, t.Context())
	if err != nil || len(run.Cells) != 3 {
		t.Fatalf("%d cells: %v", len(run.Cells), err)
	}
	missing := run.Cells[1]
	if text := fmt.Sprint(missing.Reasons); missing.Verdict != measure.Invalid || path == "" ||
		!strings.Contains(text, "broker-1 on worker-1") || !strings.Contains(text, "the built-in platform is not on this node") ||
		!strings.Contains(text, path) || !strings.Contains(text, "brings it before the next start") {
		t.Errorf("without %q: %+v", path, missing.Reasons)
	}
	if c := run.Cells[2]; c.Ledger.Delivered != 4*10 || strings.Contains(fmt.Sprint(c.Reasons), "cell_failed") {
		t.Errorf("the next cell delivered %d, want 40: %+v", c.Ledger.Delivered, c.Reasons)
	}
}

// moving is an experiment of two cells whose broker has so many nodes to itself.
func moving(policy string, edges int) string {
	text := strings.Replace(dying(policy), `node "worker" `, fmt.Sprintf(`node "edge" {
  role  = "worker"
  count = %d
}
node "worker" `, edges), 1)
	return strings.Replace(text, "uses = platform.broker\n  on   = node.worker", "uses = platform.broker\n  on   = node.edge", 1)
}

// Where components move to a node that never ran any, the built-in platform has to
// get there in the middle of the campaign, or every cell after the loss is invalid:
// a campaign that was left alone for a night is lost, though there was a spare. A
// node that stays what it was gets none.
func TestPlatformFollowsItsComponents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, policy string
		edges        int
		to, host     string // the node that the broker moves to: its name in the run, and in the lab
	}{
		{"to a spare", "", 1, "edge-1", "edge-spare-1"},
		{"to another node of the group", "without", 2, "edge-2", "edge-2"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, moving(c.policy, c.edges), nil)
			wires := r.wires(t, "edge-1")
			on := r // the lab that host is in
			if c.host != c.to {
				on = &rig{lab: r.spares(t, lab.Spec{Name: c.host, Group: "edge", Role: "worker"})}
			}
			var before, after map[string][]string
			measured := 0
			r.events.on = func(e event.Event) {
				if p, ok := e.Data.(event.PhaseStarted); ok && p.Phase == event.PhaseMeasure && p.Position == 1 {
					switch measured++; measured {
					case 1:
						before = on.onNodes(t)
						go r.kill(t, "edge-1", wires["edge-1"])
					case 2:
						after = on.onNodes(t)
					}
				}
			}
			summary, run, err := r.carryOut(t, t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := names(before[c.host]); strings.Contains(got, "platform") {
				t.Errorf("node %s had %q before anything of the platform ran there", c.host, got)
			}
			if got := names(after[c.host]); got != "bela-agent bela-platform" {
				t.Errorf("node %s has %q when the components are there", c.host, got)
			}
			if summary.Missing != 0 || slices.ContainsFunc(run.Cells, spoiled) || len(run.Cells) != 2 {
				t.Fatalf("summary %+v: %+v", summary, run.Cells)
			}
			for i, cell := range run.Cells {
				if want := int64([]int{4, 6}[i] * 10 * 3); !cell.Ledger.Closed || cell.Ledger.Delivered != want {
					t.Errorf("cell %d: ledger %+v, want %d delivered", cell.Number, cell.Ledger, want)
				}
				for _, component := range cell.Components {
					if component.Component == "broker" && component.Node != c.to {
						t.Errorf("cell %d: %s ran on %s, want %s", cell.Number, component.Component, component.Node, c.to)
					}
				}
			}
			for _, n := range run.Environment.Nodes {
				if has := n.PlatformSHA256 != ""; has != (n.Name == c.to || n.Name == "worker-1") {
					t.Errorf("the record says of node %s that its platform is %q", n.Name, n.PlatformSHA256)
				}
			}
			if left := on.onNodes(t)[c.host]; len(left) > 0 {
				t.Errorf("left on %s: %v", c.host, left)
			}
		})
	}
}
