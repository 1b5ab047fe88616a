package campaign_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bela/campaign"
	"bela/event"
	"bela/measure"
)

// direct is an experiment whose devices and customers meet at one broker, for
// three seconds. %[1]s is the matrix's values of "case", %[2]s more blocks.
const direct = `
experiment "direct" {
  seed = 7
  matrix { case = %[1]s }
  phases {
    warmup  = "1s"
    measure = "2s"
    drain   = "10s"
    ready   = cell.case == "never ready" ? "2s" : "20s"
  }
}
node "worker"   { count = 1 }
node "iot"      { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = 3
  via   = component.broker
  qos   = 1
  rate  = "10/s"
}
customers {
  on    = node.customer
  count = 2
  via   = component.broker
}
%[2]s
`

// Each mistake about a component must cost its own cell only, name the component
// and the node, and say what happened; the cells after it must be whole.
func TestComponentsThatCannotStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	port := taken.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(file, []byte("not what was meant"), 0o600); err != nil {
		t.Fatal(err)
	}
	is := sha256.Sum256([]byte("not what was meant"))
	cases := []struct {
		name, arguments string
		want            []string // in the reason
	}{
		{"no such command", `command = ["/opt/none/brokerd"]`, []string{`command "/opt/none/brokerd" is not on this node`}},
		{"port in use", fmt.Sprintf("command = [\"sleep\", \"60\"]\n  port = %d", port),
			[]string{fmt.Sprintf("port %d of ", port), "is in use by campaign.test (pid "}},
		{"never ready", "command = [\"/bin/sh\", \"-c\", \"echo cannot read the licence; sleep 60\"]\n  ready { log = \"listening\" }",
			[]string{"is not ready", `a line of its output that matches "listening"`, `its last lines: "cannot read the licence"`}},
		{"ends early", `command = ["/bin/sh", "-c", "echo bad option >&2; exit 4"]
  ready { log = "listening" }`, []string{"ended with exit status 4", `"bad option"`}},
		{"no such package", `command = ["sleep", "60"]
  packages = ["bela-no-such-package"]`, []string{"install packages", "bela-no-such-package"}},
		{"wrong checksum", fmt.Sprintf("command = [\"sleep\", \"60\"]\n  artifact \"tool\" {\n    source = %q\n    sha256 = %q\n  }", file, strings.Repeat("0", 64)),
			[]string{`artifact "tool"`, "has the SHA-256 " + hex.EncodeToString(is[:])}},
		{"no such user", "command = [\"sleep\", \"60\"]\n  user = \"bela-no-such-user\"", []string{`user "bela-no-such-user"`}},
	}
	var names, parts []string
	for i, c := range cases {
		names = append(names, strconv.Quote(c.name))
		parts = append(parts, fmt.Sprintf("component \"part-%d\" {\n  on = node.worker\n  when = cell.case == %q\n  %s\n}\n", i, c.name, c.arguments))
	}
	names = append(names, `"good"`)
	r := newRig(t, fmt.Sprintf(direct, "["+strings.Join(names, ", ")+"]", strings.Join(parts, "")), nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Status != campaign.Incomplete || len(run.Cells) != len(cases)+1 {
		t.Fatalf("summary %+v with %d cells", summary, len(run.Cells))
	}
	for i, tt := range cases {
		cell := run.Cells[i]
		if cell.Verdict != measure.Invalid || len(cell.Reasons) == 0 {
			t.Errorf("%s: %s %+v", tt.name, cell.Verdict, cell.Reasons)
			continue
		}
		for _, want := range append(tt.want, fmt.Sprintf("component part-%d-1 on worker-1", i)) {
			if !strings.Contains(cell.Reasons[0].Text, want) {
				t.Errorf("%s: no %q in: %s", tt.name, want, cell.Reasons[0].Text)
			}
		}
	}
	if good := run.Cells[len(cases)]; !good.Ledger.Closed || good.Ledger.Published == 0 || good.Ledger.Delivered != good.Ledger.Published {
		t.Errorf("the good cell: %+v %+v", good.Ledger, good.Reasons)
	}
}

// A whole run with a part that gets all that a part can have: it must see it,
// end and come back once, be counted, and leave nothing.
func TestProcessWithEverything(t *testing.T) {
	t.Parallel()
	var tarball bytes.Buffer
	w := tar.NewWriter(&tarball)
	script := "#!/bin/sh\ncat conf\necho \"$@\"\nif [ ! -e once ]; then touch once; echo up; sleep 2.5; exit 3; fi\necho up\nexec sleep 60\n"
	if err := w.WriteHeader(&tar.Header{Name: "tool/run", Mode: 0o755, Size: int64(len(script))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(script)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tool.tar")
	if err := os.WriteFile(file, tarball.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(tarball.Bytes())
	r := newRig(t, fmt.Sprintf(direct, `["one", "two"]`, fmt.Sprintf(`
component "part" {
  on      = node.worker
  links   = { broker = component.broker }
  command = ["${self.artifacts.tool}/tool/run", cell.case, component.broker.address, self.node]
  restart = "on-failure"
  restart_backoff = "50ms"
  ready { log = "^up$" }
  file "conf" { content = "in ${self.directory} with ${self.cpus} CPUs\n" }
  artifact "tool" {
    source = %q
    sha256 = %q
    unpack = true
  }
}`, file, hex.EncodeToString(sum[:]))), nil)
	summary, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != 2 || slices.ContainsFunc(run.Cells, spoiled) {
		t.Fatalf("summary %+v: %+v", summary, run.Cells)
	}
	for i, c := range run.Cells {
		if l := c.Ledger; !l.Closed || l.Published == 0 || l.Delivered != l.Published {
			t.Errorf("cell %d: %+v", c.Number, l)
		}
		if !slices.ContainsFunc(c.Reasons, func(r measure.Reason) bool {
			return r.Code == "component_exited" && r.Verdict == measure.Degraded && strings.Contains(r.Text, "part-1 on worker-1: ended with exit status 3")
		}) {
			t.Errorf("cell %d: no reason tells of the end: %+v", c.Number, c.Reasons)
		}
		if !strings.Contains(strings.Join(c.Notes, "\n"), "part-1 on worker-1 was started again by its policy") {
			t.Errorf("cell %d: no note of the restart: %q", c.Number, c.Notes)
		}
		for _, u := range c.Components {
			if u.Component == "part" && u.Restarts != 1 {
				t.Errorf("cell %d: %d restarts counted, want 1", c.Number, u.Restarts)
			}
		}
		log, err := os.ReadFile(filepath.Join(r.root, "cells", fmt.Sprintf("%03d", c.Position), "logs", "worker-1-part-1.log"))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"one", "two"}[i]
		if text := string(log); strings.Count(text, "up\n") != 2 || !strings.Contains(text, want+" 127.") || !strings.Contains(text, ":1883 worker-1\n") ||
			!strings.Contains(text, "/part-1 with ") {
			t.Errorf("cell %d: the part says\n%s", c.Number, text)
		}
	}
	pushes := 0
	for _, e := range r.events.list() {
		if w, ok := e.Data.(event.Waiting); ok && strings.Contains(strings.Join(w.For, " "), "artifact") {
			pushes++
		}
	}
	if pushes > 2 {
		t.Errorf("the artifact was waited for %d times", pushes)
	}
}
