package inventory_test

import (
	"os"
	"strings"
	"testing"

	"bela/nodes"
	"bela/nodes/inventory"
)

// fuzz reads any text as one format. Whatever is in a file, bela must not crash or
// hang, and what it takes must be hosts that a command line and a log line can hold.
func fuzz(f *testing.F, format inventory.Format, shipped string, seeds ...string) {
	text, err := os.ReadFile("testdata/" + shipped)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if format == inventory.SSHConfig && strings.Contains(strings.ToLower(string(text)), "include") {
			return // it would read this machine's files
		}
		inv, err := inventory.Parse(text, "f", format)
		if (inv == nil) == (err == nil) {
			t.Fatalf("got %v and %v", inv, err)
		}
		if err != nil {
			return
		}
		for _, n := range inv.Notes {
			if strings.ContainsAny(n.Text, "\n\x1b") {
				t.Errorf("a note that steers the terminal: %q", n.Text)
			}
		}
		for _, g := range inv.Groups {
			for _, m := range g.Machines {
				if m.Problem != "" {
					if strings.ContainsAny(m.Problem, "\n\x1b") {
						t.Errorf("a problem that steers the terminal: %q", m.Problem)
					}
					continue
				}
				if again, err := nodes.ParseHost(m.Host.String()); err != nil || again != m.Host {
					t.Errorf("%+v reads as %+v: %v", m.Host, again, err)
				}
				for _, j := range m.Jump {
					if _, err := nodes.ParseHost(j); err != nil {
						t.Errorf("jump host %q: %v", j, err)
					}
				}
			}
		}
	})
}

func FuzzAnsibleINI(f *testing.F) {
	fuzz(f, inventory.AnsibleINI, "testbed.ini", "h[a:Z:3]", "[a]\nh[1:2][::]:22", "h ansible_ssh_common_args='-o \"ProxyCommand ssh -W [%h]:%p -J x y\"'", "[all:vars]\nansible_user=\"\\x1b\"")
}

func FuzzAnsibleYAML(f *testing.F) {
	fuzz(f, inventory.AnsibleYAML, "testbed.yml", "a: &a\n  children: {b: *a}", "? [1]\n: 2", "a: {hosts: h[1:3]}", "a: {vars: {<<: [*x]}}", "a: {hosts: {h: {ansible_port: 0x16}}}")
}

func FuzzSSHConfig(f *testing.F) {
	fuzz(f, inventory.SSHConfig, "testbed.ssh_config", "Host a\nPort 0", "Host \"a b\"", "Host a\nMatch all\nUser b", "host=a\n# bela: group \x1b")
}

func FuzzRSpec(f *testing.F) {
	fuzz(f, inventory.RSpec, "testbed.rspec", "<rspec><node client_id='a'><services><login hostname='-x'/></services></node></rspec>", "<a:rspec xmlns:a='b'/>")
}
