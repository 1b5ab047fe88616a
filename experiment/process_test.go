package experiment_test

import (
	"fmt"
	"strings"
	"testing"

	"bela/experiment"
)

// withProcess is the basic experiment with a process of one's own in it.
func withProcess(arguments string) string {
	return basic + "component \"p\" {\n  on      = node.worker\n  command = [\"/bin/p\"]\n" + arguments + "\n}\n"
}

// surroundings are a testbed of which everything is known.
var surroundings = experiment.Surroundings{
	Address: func(node string) string { return "addr-of-" + node },
	CPUs:    func(string) int { return 8 }, Memory: func(string) int64 { return 4 << 30 },
}

// A process that is told a wrong address of itself or of another would talk to
// nobody, or to somebody else's server.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	text := strings.Replace(withProcess(`
  instances = 3
  ports     = { mqtt = 1900, admin = 8000 }
  directory = "d${self.instance}"
  env = {
    PEERS = join(",", component.p.endpoints.admin)
    NATS  = component.nats.address
    ME    = "${self.name}-${self.instance}/${self.node} ${self.address}:${self.port} ${self.ports.admin} ${self.cpus} ${self.memory_mib} ${cell.devices}"
    AT    = self.directory
  }
  file "p.conf" {
    content = "hosts = ${jsonencode(component.p.hosts)}"
  }
  ready { http = "http://${self.address}:${self.ports.admin}/" }
`), "[1, 100, 500, 1000]", "[7]", 1)
	cell := mustLoad(t, text, experiment.Inputs{}).Plan().Cells[0]
	c := component(t, cell, "p")
	got, err := c.Filled(cell, c.Instances[2], surroundings) // the second on its node
	if err != nil {
		t.Fatal(err)
	}
	node, other := c.Instances[0].Node, c.Instances[1].Node
	for what, pair := range map[string][2]string{
		"peers":                                 {got.Env["PEERS"], fmt.Sprintf("addr-of-%s:8000,addr-of-%s:8000,addr-of-%s:8001", node, other, node)},
		"nats":                                  {got.Env["NATS"], "addr-of-" + component(t, cell, "nats").Instances[0].Node + ":4222"},
		"self":                                  {got.Env["ME"], fmt.Sprintf("p-3/%s addr-of-%s:1901 8001 8 4096 7", node, node)},
		"directory, which only the agent knows": {got.Env["AT"], experiment.PlaceholderDirectory},
		"working directory":                     {got.Directory, "d3"},
		"file":                                  {got.Files[0].Content, fmt.Sprintf(`hosts = ["addr-of-%s","addr-of-%s","addr-of-%s"]`, node, other, node)},
		"ready":                                 {got.Ready.HTTP, "http://addr-of-" + node + ":8001/"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if c.Port != 1900 || got.Ready.Status != 200 {
		t.Errorf("main port %d, status %d; want the one called mqtt, and 200", c.Port, got.Ready.Status)
	}
}

// The number of addresses must follow the matrix, also where only the other
// component's block mentions the dimension.
func TestPlaceholdersFollowTheMatrix(t *testing.T) {
	t.Parallel()
	text := strings.Replace(withProcess(`env = { ALL = join(" ", component.many.addresses) }`), "matrix {", "matrix {\nn = [1, 3]", 1) +
		"component \"many\" {\n  on = node.worker\n  command = [\"/bin/q\"]\n  port = 99\n  instances = cell.n\n}\n"
	for _, cell := range mustLoad(t, text, experiment.Inputs{}).Plan().Cells {
		want := 1
		if cell.Values[0].Value == 3.0 {
			want = 3
		}
		if got := len(strings.Fields(component(t, cell, "p").Env["ALL"])); got != want {
			t.Errorf("%d addresses of %d instances", got, want)
		}
	}
}

func TestPlacementPolicies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		place string
		want  int // instances
		nodes int // that have some
	}{
		{"instances = 4", 4, 2},
		{"instances = 4\nplace = \"spread\"", 4, 2},
		{"instances = 4\nplace = \"pack\"", 4, 1},
		{"place = \"one_per_node\"", 2, 2},
		{"instances = 1\nplace = \"one_per_node\"", 1, 1},
	} {
		cell := mustLoad(t, withProcess(tt.place), experiment.Inputs{}).Plan().Cells[0]
		nodes := map[string]bool{}
		all := component(t, cell, "p").Instances
		for _, i := range all {
			nodes[i.Node] = true
		}
		if len(all) != tt.want || len(nodes) != tt.nodes {
			t.Errorf("%s: %d instances on %d nodes, want %d on %d", tt.place, len(all), len(nodes), tt.want, tt.nodes)
		}
	}
}

// What would fail on a testbed, after an hour, must be said before.
func TestProcessMistakes(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	for _, tt := range []struct{ arguments, want string }{
		{`env = { A = self.prot }`, `there is no fact of an instance "prot"`},
		{`env = { A = component.brokr.address }`, `did you mean component.broker?`},
		{`env = { A = component.gateway.address }`, `component "gateway": it has no such port`},
		{`env = { A = self.port }`, `self.port: it has no such port`},
		{`env = { A = self.ports.admin }`, `does not have an attribute named "admin"`},
		{`ready { command = ["x", self.password] }`, `could be read by every user`},
		{`port = self.port`, `self.… stands in what a process of your own is given`},
		{`user = "a b"`, `cannot be a user's name`},
		{`directory = "../x"`, `leads out of the instance's directory`},
		{`state = ["/etc"]`, `no path that may be wiped`},
		{`state = ["/var/lib/../../etc"]`, `no path that may be wiped`},
		{`packages = ["a b"]`, `cannot be a Debian package's name`},
		{`packages = ["-y"]`, `cannot be a Debian package's name`},
		{`restart = "sometimes"`, `legal: "never", "on-failure", "always"`},
		{`restart_max = 3`, `the component is never restarted`},
		{`place = "anywhere"`, `legal: "spread", "pack", "one_per_node"`},
		{"place = \"one_per_node\"\ninstances = 3", `has 2 nodes`},
		{`ports = { a = 0 }`, `a port from 1 to 65535 is wanted`},
		{"ports = { a = 80 }\nport = 79\ninstances = 4", `both listen on port 80`},
		{`ready { http = "ftp://x" }`, `no URL of http or https`},
		{"ready {\nlog = \"x\"\nbody = \"y\"\n}", `no request whose answer has one`},
		{`file "../x" { content = "" }`, `one label, its path within`},
		{`file "x" {}`, `needs the argument content`},
		{"file \"x\" {\ncontent = \"\"\nmode = \"rw\"\n}", `no file mode`},
		{`artifact "a" { source = "x" }`, `needs the argument sha256`},
		{"artifact \"a\" {\nsource = \"x\"\nsha256 = \"abc\"\n}", `"abc" is no SHA-256`},
		{"artifact \"a\" {\nsource = \"x.rar\"\nunpack = true\nsha256 = \"" + sum + "\"\n}", `no archive that bela unpacks`},
	} {
		t.Run(tt.arguments, func(t *testing.T) { refused(t, withProcess(tt.arguments), experiment.Inputs{}, tt.want) })
	}
}
