package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sick() *Report {
	r := &Report{
		Experiment: "qos1", Ways: 12,
		Nodes: []Patient{{Node: "worker-1", Address: "10.0.0.1", Seen: "all"}, {Node: "iot-1", Address: "10.0.0.2", Seen: "all"},
			{Node: "iot-2", Address: "10.0.0.3", Seen: "all"}, {Node: "customer-1", Address: "10.0.0.4", Seen: "nothing"}},
		Findings: []Finding{
			{Node: "worker-1", Check: "left-overs", Severity: Warning, What: "left by an earlier run: process 9 /x", Why: "its processes take CPU and ports from the next run", Fix: "bela clean FILE"},
			{Node: "iot-2", Check: "swap", Severity: Note, What: "5 MiB are in swap", Why: "what comes back from there comes late", Fix: "sudo swapoff -a && sudo swapon -a"},
			{Node: "iot-1", Check: "swap", Severity: Note, What: "5 MiB are in swap", Why: "what comes back from there comes late", Fix: "sudo swapoff -a && sudo swapon -a"},
			{Node: "customer-1", Check: "login", Severity: Error, What: "unreachable: connect to 10.0.0.4:22: no answer", Why: "a run needs every node"},
			{Node: "worker-1", Check: "ports", Severity: Error, What: "port 1883, where broker/1 would listen, is taken by \x1b[31mevil (pid 812, user root)", Why: "the component could not start",
				Fix: "sudo ss -ltnp 'sport = :1883' shows it: end it, or give the component another port"},
		},
		Done: []string{"worker-1: net.core.somaxconn set from '128' to '4096'"}, UndoFile: "qos1.undo.sh",
	}
	r.settle()
	return r
}

// The report is what an operator reads at night: the worst first, what nodes
// have alike said once, and no name of a process that steers the terminal.
func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, sick()); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/sick.golden", b.Bytes())
	fit := &Report{Experiment: "qos1", Ways: 1, Nodes: []Patient{{Node: "worker-1"}}}
	fit.settle()
	b.Reset()
	if err := Text(&b, fit); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/fit.golden", b.Bytes())
	if fit.Err() != nil || sick().Err() == nil {
		t.Error("errors, and only they, make nodes unfit")
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
	}
}

// Scripts read the JSON: its names are a promise.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, sick()); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Experiment string
		Fit        *bool
		Nodes      []map[string]any
		Findings   []map[string]any
		UndoFile   string `json:"undo_file"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Experiment != "qos1" || got.Fit == nil || *got.Fit || len(got.Nodes) != 4 || len(got.Findings) != 5 || got.UndoFile == "" {
		t.Errorf("%s", b.String())
	}
	for _, name := range []string{"node", "check", "severity", "what", "why"} {
		if s, _ := got.Findings[0][name].(string); s == "" {
			t.Errorf("a finding without %s: %v", name, got.Findings[0])
		}
	}
	b.Reset()
	if err := JSON(&b, &Report{}); err != nil || !strings.Contains(b.String(), `"findings": []`) {
		t.Errorf("no findings must be an empty list: %v %s", err, b.String())
	}
}
