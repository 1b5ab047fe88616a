package inventory_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bela/nodes"
	"bela/nodes/inventory"
)

var update = flag.Bool("update", false, "write the golden files anew")

// text writes all that was understood of an inventory.
func text(inv *inventory.Inventory) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", inv.Format)
	for _, g := range inv.Groups {
		fmt.Fprintf(&b, "group %s\n", g.Name)
		for _, m := range g.Machines {
			fmt.Fprintf(&b, "  %s: %s", m.Name, m.Host)
			for _, l := range m.Logins {
				fmt.Fprintf(&b, " or %s", l)
			}
			if len(m.Jump) > 0 {
				fmt.Fprintf(&b, " through %s", strings.Join(m.Jump, ", "))
			}
			if len(m.KeyFiles) > 0 {
				fmt.Fprintf(&b, " with %s", strings.Join(m.KeyFiles, ", "))
			}
			if m.Problem != "" {
				fmt.Fprintf(&b, " but %s", m.Problem)
			}
			fmt.Fprintf(&b, " (line %d)\n", m.Line)
		}
	}
	for _, n := range inv.Notes {
		fmt.Fprintf(&b, "line %d: %s\n", n.Line, n.Text)
	}
	return b.String()
}

// People bring the inventories that they have. What is understood of one of each
// kind, and what is not, stands in the golden files; those of Ansible's were held
// by hand against what ansible-inventory 2.14 makes of the same files, host by
// host: its groups, address, port, user, key file and ssh arguments.
func TestFormats(t *testing.T) {
	for _, name := range []string{"testbed.hcl", "testbed.ini", "testbed.yml", "testbed.ssh_config", "testbed.rspec"} {
		t.Run(name, func(t *testing.T) {
			inv, err := inventory.Read(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			got, golden := text(inv), filepath.Join("testdata", name+".golden")
			if strings.Contains(got, "s3cret") {
				t.Error("a password is shown")
			}
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// A file is what it holds, whatever it is called; where nothing tells, its user
// is asked rather than guessed for.
func TestRecognition(t *testing.T) {
	rows := []struct {
		name, text string
		want       inventory.Format
	}{
		{"hosts", "# c\n\n[worker]\nw1\n", inventory.AnsibleINI},
		{"hosts.yml", "[worker]\nw1\n", inventory.AnsibleINI},
		{"hosts", "w1 ansible_host=10.0.0.1\n", inventory.AnsibleINI},
		{"hosts.ini", "w1\nw2\n", inventory.AnsibleINI},
		{"hosts", "---\nworker:\n  hosts:\n    w1:\n", inventory.AnsibleYAML},
		{"hosts", "worker: # ours\n  hosts:\n    w1:\n", inventory.AnsibleYAML},
		{"hosts", "{\"worker\": {\"hosts\": {\"w1\": {}}}}", inventory.AnsibleYAML},
		{"hosts.yaml", "worker: {hosts: {w1: {}}}\n", inventory.AnsibleYAML},
		{"lab", "Host w1\n  HostName 10.0.0.1\n", inventory.SSHConfig},
		{"lab", "User bela\nhost = w1\n", inventory.SSHConfig},
		{"lab", "\n <?xml version=\"1.0\"?><rspec><node client_id=\"w1\"/></rspec>", inventory.RSpec},
		{"lab", "node \"worker\" {\n  hosts = [\"w1\"]\n}\n", inventory.HCL},
		{"lab", "ssh {\n}\n", inventory.HCL},
		{"lab.hcl", "# nothing\n", inventory.HCL},
	}
	for _, row := range rows {
		inv, err := inventory.Parse([]byte(row.text), row.name, "")
		if err != nil || inv.Format != row.want {
			t.Errorf("%s with %q: got %v and %v, want %s", row.name, row.text, inv, err, row.want)
		}
	}
	for _, row := range []struct{ name, text, want string }{
		{"lab", "w1\nw2\n", "ini:lab"},
		{"lab.sh", "#!/bin/sh\necho {}\n", "lab.sh:1: it is a program"},
		{"lab", "$ANSIBLE_VAULT;1.1;AES256\n6138\n", "encrypted"},
		{"lab", "", "which format"},
	} {
		if _, err := inventory.Parse([]byte(row.text), row.name, ""); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: no %q in: %v", row.text, row.want, err)
		}
	}
	file := filepath.Join(t.TempDir(), "lab")
	if err := os.WriteFile(file, []byte("w1\nw2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if inv, err := inventory.Read("ini:" + file); err != nil || len(inv.Groups) != 2 || len(inv.Groups[0].Machines) != 2 {
		t.Errorf("forced: got %+v and %v", inv, err)
	}
	if _, err := inventory.Parse(nil, "lab", "toml"); err == nil || !strings.Contains(err.Error(), "rspec") {
		t.Errorf("an unknown format: %v", err)
	}
}

// A mistake is found before any machine is touched, at its line, with what to do.
func TestMistakes(t *testing.T) {
	deep := strings.Repeat("<a>", 100)
	bomb := "a: &a {hosts: {h: {v: 1}}}\nb: &b {children: {x1: *a, x2: *a, x3: *a, x4: *a, x5: *a, x6: *a, x7: *a, x8: *a, x9: *a}}\n"
	for c := 'c'; c < 'm'; c++ {
		bomb += fmt.Sprintf("%c: &%c {children: {y1: *%c, y2: *%c, y3: *%c, y4: *%c, y5: *%c, y6: *%c, y7: *%c, y8: *%c}}\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	rows := []struct {
		name   string
		format inventory.Format
		text   string
		want   []string // of which each stands in the error
	}{
		{"two of them", inventory.AnsibleINI, "[a]\nh1 x\nh2 'y\n", []string{"f:2: after the host there is \"x\"", "f:3: a ' has no second"}},
		{"section", inventory.AnsibleINI, "[a b]\n", []string{"f:1:", "without spaces"}},
		{"kind", inventory.AnsibleINI, "[a:hostvars]\n", []string{"f:1:", "hosts, children and vars are known"}},
		{"children without a section", inventory.AnsibleINI, "[a:children]\nb\n", []string{"f:2: there is no group \"b\""}},
		{"vars without a section", inventory.AnsibleINI, "h\n[b:vars]\nx=1\n", []string{"f:2: there is no group \"b\""}},
		{"vars", inventory.AnsibleINI, "[a]\nh\n[a:vars]\nx\n", []string{"f:4: want name=value"}},
		{"a password where it should not be", inventory.AnsibleINI, "h password hunter2\n", []string{"f:1: after the host"}},
		{"circle", inventory.AnsibleINI, "[a:children]\nb\n[b:children]\na\n", []string{"is its own child"}},
		{"range", inventory.AnsibleINI, "h[1:\n", []string{"f:1:", "has no ]"}},
		{"range backwards", inventory.AnsibleINI, "h[9:1]\n", []string{"f:1:", "ends before it begins"}},
		{"range of other widths", inventory.AnsibleINI, "h[01:100]\n", []string{"f:1:", "same number of digits"}},
		{"range of everything", inventory.AnsibleINI, "h[0:99999999]\n", []string{"f:1:", "more than 10000 hosts"}},
		{"ranges of everything", inventory.AnsibleINI, "h[0:999][0:999]\n", []string{"f:1:", "more than 10000 hosts"}},
		{"a port that is none", inventory.AnsibleINI, "h:99999\n", []string{"f:1: port 99999"}},
		{"no host", inventory.AnsibleINI, "[a]\n", []string{"no host"}},
		{"groups", inventory.AnsibleINI, manyGroups(), []string{"1102 groups"}},
		{"members", inventory.AnsibleINI, manyMembers(), []string{"more than 100000"}},
		{"not YAML", inventory.AnsibleYAML, "a:\n  hosts: [\n", []string{"f:", "not YAML"}},
		{"list", inventory.AnsibleYAML, "- a\n", []string{"f:1: the inventory is no mapping"}},
		{"unknown key", inventory.AnsibleYAML, "a:\n  host:\n    h:\n", []string{"f:2: the group \"a\" has \"host\""}},
		{"twice", inventory.AnsibleYAML, "a:\n  hosts:\n    h:\n    h:\n", []string{"f:4:", "twice"}},
		{"hosts is a list", inventory.AnsibleYAML, "a:\n  hosts:\n    - h\n", []string{"f:3:", "no mapping"}},
		{"for programs", inventory.AnsibleYAML, `{"_meta": {"hostvars": {}}, "all": {"children": []}}`, []string{"--yaml"}},
		{"two documents", inventory.AnsibleYAML, "a:\n---\nb:\n", []string{"several documents"}},
		{"alias bomb", inventory.AnsibleYAML, bomb, []string{"more than"}},
		{"alias of itself", inventory.AnsibleYAML, "a: &a\n  children:\n    b: *a\n", []string{"f:"}},
		{"request", inventory.RSpec, "<rspec type=\"request\"/>", []string{"f:1:", "manifest"}},
		{"other XML", inventory.RSpec, "\n<html/>", []string{"f:2:", "<html>"}},
		{"entities", inventory.RSpec, "<!DOCTYPE r [<!ENTITY a \"aaaa\">]>\n<rspec>&a;</rspec>", []string{"f:1: a document type"}},
		{"cut off", inventory.RSpec, "<rspec>\n<node client_id=\"a\">", []string{"f:2: it is not XML"}},
		{"deep", inventory.RSpec, "<rspec>" + deep, []string{"nest deeper"}},
		{"no id", inventory.RSpec, "<rspec>\n<node/></rspec>", []string{"f:2: a node has no client_id"}},
		{"id twice", inventory.RSpec, "<rspec>\n<node client_id=\"a\"/>\n<node client_id=\"a\"/></rspec>", []string{"f:3:", "line 2 already"}},
		{"port", inventory.RSpec, "<rspec><node client_id=\"a\"><services>\n<login port=\"x\"/></services></node></rspec>", []string{"f:2:", "port \"x\""}},
		{"proxy", inventory.RSpec, "<rspec><node client_id=\"a\"><services>\n<proxy proxy=\"\" for=\"a b\"/></services></node></rspec>", []string{"f:2: proxy of a: proxy", "f:2: proxy of a: for"}},
		{"no node", inventory.RSpec, "<rspec/>", []string{"no node"}},
		{"patterns only", inventory.SSHConfig, "Host *\n  User x\n", []string{"patterns such as"}},
		{"no keyword", inventory.SSHConfig, "Host a\n???\n", []string{"f:2:"}},
		{"quotes", inventory.SSHConfig, "Host a \"b\"\n", []string{"f:1:", "without them"}},
		{"match", inventory.SSHConfig, "Host a\nMatch exec \"true\"\n  User x\n", []string{"f:2:", "Match"}},
		{"size", inventory.AnsibleINI, strings.Repeat("#", 1<<20+1), []string{"larger than"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inv, err := inventory.Parse([]byte(row.text), "f", row.format)
			if err == nil {
				t.Fatalf("taken as\n%s", text(inv))
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("a password is shown")
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "inventory: f") || len(line) > 500 {
					t.Errorf("an odd line: %q", line)
				}
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

func manyGroups() string {
	var b strings.Builder
	b.WriteString("h\n")
	for i := range 1100 {
		fmt.Fprintf(&b, "[g%d]\n", i)
	}
	return b.String()
}

func manyMembers() string {
	var b strings.Builder
	b.WriteString("[g0]\nh[1:2000]\n")
	for i := range 100 {
		fmt.Fprintf(&b, "[g%d:children]\ng%d\n", i+1, i)
	}
	return b.String()
}

// What a machine's way needs and bela has not must stop a run, with the line, but
// only where the machine is wanted.
func TestProblems(t *testing.T) {
	rows := []struct{ vars, want string }{
		{"ansible_connection=local", "over SSH only"},
		{"ansible_host='{{ lookup(\"env\", \"H\") }}'", "template"},
		{"ansible_port=x", "port"},
		{"ansible_ssh_common_args='-o ProxyCommand=\"nc -X 5 %h %p\"'", "use ProxyJump"},
		{"ansible_ssh_common_args='-o ProxyCommand=\"ssh -W %h:22 gate\"'", "use ProxyJump"},
		{"ansible_ssh_common_args='-J \"a b\"'", "jump host"},
		{"ansible_ssh_common_args='-J'", "no value"},
		{"ansible_ssh_common_args='gate'", "what is \"gate\" for"},
		{"ansible_host=-oProxyCommand=id", "cannot begin with -"},
		{"ansible_user='a b'", "user"},
	}
	for _, row := range rows {
		inv, err := inventory.Parse([]byte("[worker]\nw1 "+row.vars+"\n[iot]\ni1\n"), "f", inventory.AnsibleINI)
		if err != nil {
			t.Errorf("%s: %v", row.vars, err)
			continue
		}
		workers, _ := inv.For("worker", "worker")
		if err := inv.Problems(workers); err == nil || !strings.Contains(err.Error(), "f:2: w1: ") || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: no %q in: %v", row.vars, row.want, err)
		}
		iot, _ := inv.For("iot", "iot")
		if err := inv.Problems(iot); err != nil {
			t.Errorf("%s: the others: %v", row.vars, err)
		}
	}
	vault := "worker:\n  hosts:\n    w1:\n      ansible_host: !vault |\n        $ANSIBLE_VAULT;1.1;AES256\n        6138\n"
	inv, err := inventory.Parse([]byte(vault), "f", inventory.AnsibleYAML)
	if err != nil || inv.Problems(inv.Groups[0]) == nil {
		t.Errorf("an encrypted address: %v", err)
	}
}

// An experiment's group gets the machines of its name, else those of its role.
func TestFor(t *testing.T) {
	inv, err := inventory.Parse([]byte("[field]\nf1\n[iot]\ni1\n[workers]\nw1\n"), "f", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, role, want string }{
		{"field", "iot", "f1"}, {"other", "iot", "i1"}, {"worker", "worker", "w1"}, {"brokers", "worker", "w1"},
	} {
		g, ok := inv.For(row.name, row.role)
		if !ok || len(g.Machines) != 1 || g.Machines[0].Name != row.want {
			t.Errorf("%s of role %s gets %+v", row.name, row.role, g)
		}
	}
	if g, ok := inv.For("shop", "customer"); ok {
		t.Errorf("a group that is not there gets %+v", g)
	}
}

// Of several logins an experiment's user takes their own.
func TestLogin(t *testing.T) {
	m := inventory.Machine{Host: nodes.Host{User: "alice", Host: "h"}, Logins: []nodes.Host{{User: "alice", Host: "h"}, {User: "bob", Host: "h", Port: 23}}}
	if got := m.Login("bob"); got != m.Logins[1] {
		t.Errorf("got %v", got)
	}
	if got := m.Login("carol"); got != m.Host {
		t.Errorf("got %v", got)
	}
}

// Ansible reads directories beside an inventory; that bela does not must be said.
func TestVariablesElsewhere(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "group_vars"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "hosts")
	if err := os.WriteFile(file, []byte("[worker]\nw1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Read(file)
	if err != nil || len(inv.Notes) != 1 || !strings.Contains(inv.Notes[0].Text, "group_vars is not read") {
		t.Errorf("got %+v and %v", inv, err)
	}
}

// What bela makes of an ssh_config must be what ssh makes of it: the address, the
// port, the user, the keys and the jump hosts of every machine.
func TestSSHConfigAsOpenSSH(t *testing.T) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skipf("left out: ssh_config against OpenSSH's ssh: %v", err)
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	inv, err := inventory.Read("testdata/testbed.ssh_config")
	if err != nil {
		t.Fatal(err)
	}
	machines := 0
	for _, g := range inv.Groups {
		for _, m := range g.Machines {
			machines++
			out, err := exec.Command(ssh, "-G", "-F", m.Config, m.Name).CombinedOutput()
			if err != nil {
				t.Fatalf("ssh -G %s: %v\n%s", m.Name, err, out)
			}
			r, err := nodes.RouteOf(nodes.Target{Name: m.Name, Host: m.Host.Host, Port: m.Host.Port, User: m.Host.User, SSH: nodes.Options{Config: m.Config}})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]string{}
			for line := range strings.Lines(string(out)) {
				keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				want[keyword] = append(want[keyword], strings.NewReplacer("~/", home+"/", "%r", r.Host.User).Replace(value))
			}
			got := map[string][]string{"hostname": {r.Host.Host}, "port": {fmt.Sprint(r.Host.Port)}, "user": {r.Host.User}, "identityfile": r.KeyFiles, "proxyjump": nil}
			if len(m.Jump) > 0 {
				got["proxyjump"] = []string{strings.Join(m.Jump, ",")}
			}
			for keyword, g := range got {
				if !slices.Equal(g, want[keyword]) {
					t.Errorf("%s: %s is %q, and for ssh it is %q", m.Name, keyword, g, want[keyword])
				}
			}
			if len(r.Jump) != len(m.Jump) {
				t.Errorf("%s goes through %v, want %v", m.Name, r.Jump, m.Jump)
			}
		}
	}
	if machines != 6 {
		t.Errorf("%d machines", machines)
	}
}
