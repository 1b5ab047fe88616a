package inventory_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bela/nodes"
	"bela/nodes/inventory"
)

// The same experiment on other machines: the inventory says which, and how.
func TestHCL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lab.hcl")
	text := `
# the lab in the basement
node "worker" {
  hosts  = ["10.2.0.11:22", "admin@10.2.0.12", "fe80::1", "[fe80::2]:2222"]
  spares = ["box"]
  user   = "bela"
}
node "iot" { hosts = [] }
ssh {
  port            = 2022
  user            = "me"
  key_files       = ["~/.ssh/lab"]
  known_hosts     = "known"
  host_keys       = "pinned"
  fingerprints    = ["SHA256:abc"]
  jump            = ["gate", "me@gate2:2200"]
  connect_timeout = "3s"
  keepalive       = "1s"
  retries         = 0
  directory       = "/var/tmp/bela"
}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := inventory.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	at4 := func(h nodes.Host) inventory.Machine { return inventory.Machine{Name: h.Host, Line: 4, Host: h} }
	want := &inventory.Inventory{
		File: file, Format: inventory.HCL,
		Groups: []inventory.Group{
			{Name: "worker", User: "bela", Machines: []inventory.Machine{
				at4(nodes.Host{Host: "10.2.0.11", Port: 22}), at4(nodes.Host{User: "admin", Host: "10.2.0.12"}),
				at4(nodes.Host{Host: "fe80::1"}), at4(nodes.Host{Host: "fe80::2", Port: 2222}),
			}, Spares: []nodes.Host{{Host: "box"}}},
			{Name: "iot"},
		},
		SSH: &inventory.SSH{Port: 2022, User: "me", Directory: "/var/tmp/bela", Options: nodes.Options{
			KeyFiles: []string{"~/.ssh/lab"}, KnownHosts: "known", HostKeys: nodes.HostKeysPinned, Fingerprints: []string{"SHA256:abc"},
			Jump: []string{"gate", "me@gate2:2200"}, ConnectTimeout: 3 * time.Second, Keepalive: time.Second,
			Retries: -1, // none at all, which 0 in Options does not say
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, err := inventory.Read(file + "x"); err == nil {
		t.Error("a file that is not there is taken")
	}
}

// A mistake in an inventory is found before any machine is touched, at its line.
func TestHCLMistakes(t *testing.T) {
	rows := []struct{ name, text, want string }{
		{"syntax", "node \"a\" {\n  hosts = [\n", "f.hcl:3"},
		{"unknown block", "\nnodes \"a\" {}\n", "f.hcl:2"},
		{"unknown argument", "node \"a\" {\n hosts = []\n host = 1\n}", "f.hcl:3"},
		{"no hosts", "node \"a\" {\n}", "f.hcl:1"},
		{"hosts is no list", "node \"a\" {\n hosts = 7\n}", "f.hcl:2"},
		{"a bad host", "node \"a\" {\n hosts = [\"a b\"]\n}", "f.hcl:2"},
		{"a bad port", "node \"a\" {\n hosts = [\"a:99999\"]\n}", "99999"},
		{"twice", "node \"a\" { hosts = [] }\nnode \"a\" {\n hosts = []\n}", "f.hcl:3: there are two node blocks"},
		{"a variable", "node \"a\" {\n hosts = var.x\n}", "f.hcl:2"},
		{"policy", "ssh {\n host_keys = \"no\"\n}", "f.hcl:2: host_keys is \"no\""},
		{"time", "ssh {\n keepalive = \"5\"\n}", "f.hcl:2"},
		{"time below 0", "ssh {\n connect_timeout = \"-1s\"\n}", "f.hcl:2"},
		{"port", "ssh {\n port = 1.5\n}", "f.hcl:2: want a whole number from 1 to 65535"},
		{"retries", "ssh {\n retries = -1\n}", "f.hcl:2"},
		{"several at once", "ssh {\n port = 0\n host_keys = \"x\"\n}", "f.hcl:2: want a whole number from 1 to 65535\ninventory: f.hcl:3"},
		{"deep", "x = " + strings.Repeat("[", 10_000), "f.hcl:1: brackets nest deeper"},
		{"long", strings.Repeat("#", 1<<20+1), "larger than"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inv, err := inventory.Parse([]byte(row.text), "f.hcl", inventory.HCL)
			if err == nil {
				t.Fatalf("taken as %+v", inv)
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "inventory: ") {
					t.Errorf("a line that does not say what it is about: %q", line)
				}
			}
			if !strings.Contains(row.want, "\n") && !strings.Contains(err.Error(), row.want) {
				t.Errorf("no %q in: %v", row.want, err)
			}
			for part := range strings.Lines(row.want) {
				if !strings.Contains(err.Error(), strings.TrimSpace(part)) {
					t.Errorf("no %q in: %v", part, err)
				}
			}
		})
	}
}

// An inventory is somebody's file: whatever is in it, bela must not crash, and
// what it takes must be hosts that a command line and a log line can hold.
func FuzzHCL(f *testing.F) {
	for _, s := range []string{"", "node \"a\" {\n hosts = [\"b:1\"]\n}", "ssh {\n port = 1e400\n retries = null\n}", "ssh {\n jump = [null]\n}",
		"node \"a\" {\n hosts = [for x in [1,2] : x]\n}", "node \"${x}\" { hosts = \"\" }", "ssh {}\nssh {}", "node \"a\" {\n hosts = [\"\\u0000\"]\n}",
		"ssh {\n port = !!!!!!!!!!1\n}", "node \"a\" { hosts = [<<X\n\nX\n] }"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		inv, err := inventory.Parse(text, "f.hcl", inventory.HCL)
		if (inv == nil) == (err == nil) {
			t.Fatalf("got %v and %v", inv, err)
		}
		if err != nil {
			return
		}
		for _, g := range inv.Groups {
			hosts := g.Spares
			for _, m := range g.Machines {
				hosts = append(hosts, m.Host)
			}
			for _, h := range hosts {
				again, err := nodes.ParseHost(h.String())
				if err != nil || again != h {
					t.Errorf("%+v writes as %q, which reads as %+v: %v", h, h.String(), again, err)
				}
			}
		}
	})
}
