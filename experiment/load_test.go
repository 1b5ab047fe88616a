package experiment_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bela/experiment"
)

// Shipped experiments are the first thing a user runs; one that is refused
// would end the first look with an error.
func TestShippedExperimentsLoad(t *testing.T) {
	files, err := filepath.Glob("../experiments/*.hcl")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d shipped experiments (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			e, err := experiment.Load(file, experiment.Inputs{Vars: []string{"measure=15s"}})
			if err != nil {
				t.Fatal(detailed(err))
			}
			if w := e.Warnings(); len(w) > 0 {
				t.Errorf("warnings: %v", w)
			}
			for _, cell := range e.Plan().Cells {
				if cell.Phases.Measure != 15*time.Second {
					t.Errorf("cell %d measures %v: -var measure=15s had no effect", cell.Number, cell.Phases.Measure)
				}
			}
			if len(e.Plan().Cells) == 0 {
				t.Error("the plan has no cells")
			}
		})
	}
}

// The four cells that the first user asked for, with the defaults at full
// length; a slip here would measure something else under the same name.
func TestQoS1(t *testing.T) {
	e, err := experiment.Load("../experiments/qos1.hcl", experiment.Inputs{})
	if err != nil {
		t.Fatal(detailed(err))
	}
	p := e.Plan()
	if len(p.Cells) != 4 || p.InfluxDB != nil {
		t.Fatalf("%d cells, InfluxDB %v; want 4 and none without INFLUX_URL", len(p.Cells), p.InfluxDB)
	}
	for i, devices := range []int{1, 100, 500, 1000} {
		c := p.Cells[i]
		d := c.Devices
		if d.Count != devices || d.QoS != 1 || d.Rate != 1 || d.PayloadSize != 1024 || c.Customers.Count != 4 || c.Customers.QoS != 1 {
			t.Errorf("cell %d: %+v, %+v", c.Number, d, c.Customers)
		}
		if c.Phases.Warmup != 30*time.Second || c.Phases.Measure != 5*time.Minute {
			t.Errorf("cell %d: phases %+v", c.Number, c.Phases)
		}
		if n := len(component(t, c, "gateway").Instances); n != 2 {
			t.Errorf("cell %d has %d gateways, want 2", c.Number, n)
		}
	}
}

// What cannot be read must say why, and never panic.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := write("secret.hcl", basic)
	if err := os.Chmod(secret, 0); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path, want string
		skip       string
	}{
		{path: filepath.Join(dir, "missing.hcl"), want: "no such file"},
		{path: dir, want: "not a regular file but a directory"},
		{path: os.DevNull, want: "not a regular file but a device"},
		{path: write("large.hcl", strings.Repeat("# comment\n", 200_000)), want: "the most that is read is 1048576"},
		{path: write("binary.hcl", "\x7fELF\x00\x01"), want: "not a text file"},
		{path: write("latin1.hcl", "# caf\xe9"), want: "not a text file in UTF-8"},
		{path: write("deep.hcl", "x = "+strings.Repeat("(", 500_000)), want: "nest deeper than"},
		{path: write("not.hcl", "x = "+strings.Repeat("!", 500_000)+"true"), want: "more than 500 operators"},
		{path: write("sum.hcl", "x = 1"+strings.Repeat("+1", 300_000)), want: "more than 500 operators"},
		{path: write("index.hcl", "x = a"+strings.Repeat("[b]", 200_000)), want: "more than 500 operators"},
		{path: write("splat.hcl", "x = a"+strings.Repeat(".*", 200_000)), want: "more than 500 operators"},
		{path: write("huge.hcl", `x = "${1e999999999}"`), want: "out of range"},
		{path: write("blocks.hcl", strings.Repeat("node \"a\" {}\n", 80_000)), want: "more than 500 entries"},
		{path: write("empty.hcl", ""), want: "no experiment block"},
		{path: secret, want: "permission denied", skip: map[bool]string{true: "root may read every file"}[os.Geteuid() == 0]},
	}
	for _, test := range tests {
		t.Run(filepath.Base(test.path), func(t *testing.T) {
			if test.skip != "" {
				t.Skip(test.skip)
			}
			text := strings.Join(strings.Fields(detailed(mistakes(t, test.path, experiment.Inputs{}))), " ")
			if !strings.Contains(text, test.want) {
				t.Errorf("does not say %q: %.500s", test.want, text)
			}
		})
	}
}

// -var, -var-file and defaults: the later wins, types are kept, and a mistake
// names where it was made.
func TestVariables(t *testing.T) {
	const src = `
variable "count" {
  type    = number
  default = 3
}
variable "rates" {
  type    = list(string)
  default = ["1/s"]
}
variable "sizes" {
  type    = list(number)
  default = [128]
}
variable "measure" {
  type    = duration
  default = "5m"
}
variable "shuffle" {
  type    = bool
  default = false
}
variable "name" { default = "plain" }
experiment "v" {
  description = var.name
  order       = var.shuffle ? "shuffled" : "as_written"
  matrix {
    rate = var.rates
    size = var.sizes
  }
  phases {
    measure = var.measure
  }
}
devices {
  on    = node.iot
  count = var.count
  rate  = cell.rate
  payload {
    size = cell.size
  }
}
` + basicNodes + basicBroker + basicCustomers
	files := from(map[string]string{"test.hcl": src, "v.hcl": "count = 7\nname = \"file\"\nrates = [\"2/s\"]\n"})

	e := mustLoad(t, src, experiment.Inputs{ReadFile: files, VarFile: "v.hcl", Vars: []string{
		"rates=3/s, 4/s", "sizes=[256, 512]", "measure=15s", "shuffle=true", "name=a=b",
	}})
	p := e.Plan()
	if len(p.Cells) != 4 || p.Description != "a=b" || p.Order != experiment.OrderShuffled {
		t.Fatalf("%d cells, %q, %s", len(p.Cells), p.Description, p.Order)
	}
	if c := p.Cells[0]; c.Devices.Count != 7 || c.Phases.Measure != 15*time.Second || c.Devices.Rate < 3 {
		t.Errorf("%+v %+v", c.Devices, c.Phases)
	}

	// The values as read must give the same plan again: that is how a run is
	// taken up after the file has changed.
	var vars []string
	for name, value := range e.Variables() {
		vars = append(vars, name+"="+value)
	}
	if again := mustLoad(t, src, experiment.Inputs{Vars: vars}).Plan(); fmt.Sprint(again) != fmt.Sprint(p) {
		t.Errorf("from %q:\n%v\nwant\n%v", vars, again, p)
	}

	for _, test := range []struct{ flag, want string }{
		{"measure=15", `-var measure: error: the value: "15" is not a duration did you mean "15s"?`},
		{"measure=-", `"-" is not a duration`},
		{"measure=-5s", `"-5s" is out of range`},
		{"mesure=15s", `-var mesure: error: the experiment file has no variable "mesure" did you mean "measure"?`},
		{"measure", `"measure" is not NAME=VALUE`},
		{"=x", `"=…" is not NAME=VALUE`},
		{"count=many", `-var count: error: "many" is not a number`},
		{"count=NaN", `"NaN" is not a number`},
		{"count=1e999999999", `"1e999999999" is not a number`},
		{"count=1.5", "devices: count: 1.5 is out of range"},
		{"shuffle=yes", `"yes" is neither true nor false`},
		{"sizes=128,x", `"x" is not a number`},
		{`sizes=["x"]`, "a list of numbers is wanted"},
		{"rates=[", "-var rates: error:"},
		{"rates=[env(\"X\")]", `there is no function "env"`},
		{"name=\x00", "not text"},
	} {
		t.Run(test.flag, func(t *testing.T) {
			refused(t, src, experiment.Inputs{Vars: []string{test.flag}}, test.want)
		})
	}

	for _, test := range []struct{ name, content, want string }{
		{"undeclared", "cuont = 1", `v.hcl:1:1: error: the experiment file has no variable "cuont" 1 | cuont = 1 | ^^^^^ did you mean "count"?`},
		{"wrong type", "count = \"1\"", "v.hcl:1:9: error: count: a number is wanted"},
		{"a block", "x {}", "a variables file has no blocks"},
		{"a name", "count = var.count", "variables cannot be used here"},
		{"not text", "\x00", "v.hcl: error: this is not a text file"},
	} {
		t.Run("file/"+test.name, func(t *testing.T) {
			in := experiment.Inputs{VarFile: "v.hcl", ReadFile: from(map[string]string{"test.hcl": src, "v.hcl": test.content})}
			refused(t, src, in, test.want)
		})
	}
	refused(t, src, experiment.Inputs{VarFile: "none.hcl"}, "none.hcl: error: the variables file cannot be read: file does not exist")
	refused(t, basic+"variable \"needed\" { type = string }\n", experiment.Inputs{}, "give -var needed=…, or a default")
}

// env and file come from outside, and only from what the caller hands over.
func TestEnvAndFile(t *testing.T) {
	src := strings.Replace(basic, "experiment \"test\" {", `experiment "test" {
  description = "${env("HERE")}/${env("GONE", "default")}/${env("GONE")}/${file("note.txt")}"`, 1)
	in := experiment.Inputs{
		Env:      func(name string) (string, bool) { return "found", name == "HERE" },
		ReadFile: from(map[string]string{"dir/test.hcl": src, "dir/note.txt": "note"}),
	}
	e, err := experiment.Load("dir/test.hcl", in)
	if err != nil {
		t.Fatal(detailed(err))
	}
	if got := e.Plan().Description; got != "found/default//note" {
		t.Errorf("got %q", got)
	}
	refused(t, strings.Replace(src, "note.txt", "gone.txt", 1), experiment.Inputs{}, "gone.txt")
}

// A secret must not reach anything that is written or shown.
func TestSecrets(t *testing.T) {
	src := basic + `
variable "password" {
  default   = "hunter2"
  sensitive = true
}
component "feed" {
  command = ["/bin/feed"]
  on      = node.worker
  env     = { PASSWORD = "p-${var.password}", OTHER = sensitive("hunter3"), LEVEL = "info" }
}
influxdb {
  url    = "http://127.0.0.1:8086"
  bucket = "bela"
  token  = "hunter4"
}
notify {
  url         = "https://hooks.example/hunter6?key=hunter7"
  token       = "hunter8"
  signing_key = var.password
}
`
	e := mustLoad(t, src, experiment.Inputs{})
	p := e.Plan()
	feed := component(t, p.Cells[0], "feed")
	if feed.SecretEnv["PASSWORD"].Reveal() != "p-hunter2" || p.InfluxDB.Token.Reveal() != "hunter4" || p.Notify.SigningKey.Reveal() != "hunter2" || feed.Env["LEVEL"] != "info" {
		t.Errorf("the process does not get its secrets: %v, %v", feed.SecretEnv, feed.Env)
	}
	for what, text := range map[string]string{
		"variables": fmt.Sprint(e.Variables()), "plan": asJSON(t, p), "print": fmt.Sprintf("%v %+v %#v %+v", p.InfluxDB, feed, feed.SecretEnv, p.Notify),
		"source": string(e.Source()),
	} {
		if strings.Contains(text, "hunter") {
			t.Errorf("%s: %s", what, text)
		}
	}
	_, err := loadText(src+"influxdb {\n  token = \"hunter5\n}\n", experiment.Inputs{})
	if err == nil || strings.Contains(detailed(err), "hunter") {
		t.Errorf("a token that is not closed: %v", detailed(err))
	}
	if got, want := len(e.Source()), len(src); got != want {
		t.Errorf("the source has %d bytes, want %d: positions would move", got, want)
	}
}

// Whoever is to be told must be told: a wrong occasion or address is found
// before the run and not after it.
func TestNotify(t *testing.T) {
	p := mustLoad(t, basic+"notify { url = \"https://hooks.example:8443/a/b\" }\n", experiment.Inputs{}).Plan()
	if n := p.Notify; n == nil || n.Host != "hooks.example:8443" || fmt.Sprint(n.On) != "[cell_invalid run_finished]" || n.Format != experiment.NotifyJSON {
		t.Errorf("defaults: %+v", p.Notify)
	}
	if p := mustLoad(t, basic+"notify { url = env(\"BELA_TEST_NO_SUCH\") }\n", experiment.Inputs{}).Plan(); p.Notify != nil {
		t.Errorf("an empty url turns it off: %+v", p.Notify)
	}
	for block, want := range map[string]string{
		`url = "ftp://x"`: "not an address that takes messages over HTTP",
		"url = \"http://x\"\n on = [\"run_finish\"]": `there is no occasion "run_finish"`,
		"url = \"http://x\"\n on = []":               `an empty list tells of nothing`,
		"url = \"http://x\"\n format = \"teams\"":    "format",
		"token = \"x\"": "url",
		"url = \"http://x\"\n occasions = [\"all\"]": "occasions",
	} {
		refused(t, basic+"notify {\n"+block+"\n}\n", experiment.Inputs{}, want)
	}
}

// Hosts from an inventory move the same experiment to other machines.
func TestHosts(t *testing.T) {
	src := strings.Replace(basic, `node "iot" { count = 2 }`, `node "iot" { hosts = ["a", "b", "c"] }`, 1)
	hosts := map[string][]string{"worker": {"10.0.0.1"}, "iot": {"10.0.0.2:2222", "[fd00::1]:22"}, "customer": {"x"}, "master": {"y"}}
	p := mustLoad(t, src, experiment.Inputs{Hosts: hosts}).Plan()
	for _, g := range p.Groups {
		if g.Count != len(hosts[g.Name]) || fmt.Sprint(g.Hosts) != fmt.Sprint(hosts[g.Name]) {
			t.Errorf("%s: count %d, hosts %v", g.Name, g.Count, g.Hosts)
		}
	}
	if shares := p.Cells[3].Devices.Shares; len(shares) != 2 || shares[1].Count != 500 {
		t.Errorf("1000 devices on 2 nodes: %v", shares)
	}
	for _, test := range []struct {
		hosts map[string][]string
		want  string
	}{
		{map[string][]string{"iott": {"a"}}, `-inventory: error: the experiment file has no node group "iott" did you mean "iot"?`},
		{map[string][]string{"iot": {}}, `node "iot" has 0 hosts`},
		{map[string][]string{"iot": {"a b"}}, `-inventory: error: node "iot": "a b" is not a host`},
	} {
		refused(t, src, experiment.Inputs{Hosts: test.hosts}, test.want)
	}
}

// A warning does not stop a run, but says what looks like a slip.
func TestWarnings(t *testing.T) {
	e := mustLoad(t, strings.Replace(basic, "devices = [1,", "qos = [0, 1]\n devices = [1,", 1), experiment.Inputs{})
	if w := e.Warnings(); len(w) != 1 || !strings.Contains(w[0].Message, "nothing uses cell.qos") {
		t.Errorf("a dimension that changes nothing: %v", w)
	}
	real := strings.Replace(basic, `node "worker" { count = 2 }`, `node "worker" { hosts = ["a"] }`, 1)
	if w := mustLoad(t, real, experiment.Inputs{}).Warnings(); len(w) != 2 || !strings.Contains(w[0].Message, "loopback lab") {
		t.Errorf("lab nodes that would have to reach real machines: %v", w)
	}
}

// Who says that nothing is to be tried again must not get the default.
func TestRetries(t *testing.T) {
	for text, want := range map[string]int{"": 0, "ssh { retries = 0 }\n": experiment.NoRetries, "ssh { retries = 3 }\n": 3} {
		if got := mustLoad(t, text+basic, experiment.Inputs{}).Plan().SSH.Retries; got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
