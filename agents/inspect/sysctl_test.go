package inspect

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bela/agents/protocol"
)

// kernel is a /proc with parameters that tests may set.
func kernel(t *testing.T, boot string, values map[string]string) *server {
	t.Helper()
	proc := t.TempDir()
	put := func(file, text string) {
		path := filepath.Join(proc, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("sys/kernel/random/boot_id", boot)
	for name, value := range values {
		put(sysctlFile(name), value)
	}
	return &server{Config: Config{Proc: proc}}
}

func set(t *testing.T, s *server, undo, name, value string) protocol.SysctlOutcome {
	t.Helper()
	out, err := s.setSysctls(protocol.SetSysctlSpec{Undo: undo, By: "ada@desk", Settings: []protocol.SysctlSetting{{Name: name, New: value}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What a doctor changed on a lent machine must come back exactly, also after
// two changes of the same parameter.
func TestUndoPutsBack(t *testing.T) {
	s := kernel(t, "boot-1", map[string]string{"net.core.somaxconn": "128", "net.ipv4.ip_local_port_range": "32768\t60999"})
	undo := filepath.Join(t.TempDir(), ".bela.undo")
	set(t, s, undo, "net.core.somaxconn", "4096")
	set(t, s, undo, "net.ipv4.ip_local_port_range", "10000 65535")
	set(t, s, undo, "net.core.somaxconn", "8192")
	if out := set(t, s, undo, "net.core.somaxconn", "8192"); len(out.Settings) > 0 {
		t.Errorf("what is already so was set: %+v", out)
	}
	if s.sysctl("net.core.somaxconn") != "8192" || s.sysctl("net.ipv4.ip_local_port_range") != "10000 65535" {
		t.Fatal("not set")
	}
	out, err := s.undoSysctls(protocol.UndoSysctlSpec{Undo: undo})
	if err != nil || len(out.Settings) != 3 || len(out.Kept) != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if a, b := s.sysctl("net.core.somaxconn"), s.sysctl("net.ipv4.ip_local_port_range"); a != "128" || b != "32768 60999" {
		t.Errorf("put back to %q and %q", a, b)
	}
	if _, err := os.Stat(undo); !os.IsNotExist(err) {
		t.Errorf("the undo file stays: %v", err)
	}
	if out, err := s.undoSysctls(protocol.UndoSysctlSpec{Undo: undo}); err != nil || len(out.Settings)+len(out.Kept) > 0 {
		t.Errorf("undone twice: %+v, %v", out, err)
	}
}

// The undo file is promised to be a script that needs no bela.
func TestUndoFileIsAScript(t *testing.T) {
	s := kernel(t, "boot-1", map[string]string{"net.core.somaxconn": "128"})
	undo := filepath.Join(t.TempDir(), ".bela.undo")
	set(t, s, undo, "net.core.somaxconn", "4096")
	set(t, s, undo, "net.core.somaxconn", "8192")
	text, err := os.ReadFile(undo)
	if err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(string(text), ">/proc/", ">"+s.Proc+"/")
	if out, err := exec.Command("/bin/sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := s.sysctl("net.core.somaxconn"); got != "128" {
		t.Errorf("the script left %s", got)
	}
}

// What somebody else has set since is theirs, and a machine that was started
// anew has forgotten all.
func TestUndoLeavesAlone(t *testing.T) {
	s := kernel(t, "boot-1", map[string]string{"net.core.somaxconn": "128"})
	undo := filepath.Join(t.TempDir(), ".bela.undo")
	set(t, s, undo, "net.core.somaxconn", "4096")
	if err := s.writeSysctl("net.core.somaxconn", "1000"); err != nil {
		t.Fatal(err)
	}
	out, err := s.undoSysctls(protocol.UndoSysctlSpec{Undo: undo})
	if err != nil || len(out.Kept) != 1 || s.sysctl("net.core.somaxconn") != "1000" {
		t.Errorf("an operator's value: %+v, %v, now %s", out, err, s.sysctl("net.core.somaxconn"))
	}

	set(t, s, undo, "net.core.somaxconn", "4096")
	again := kernel(t, "boot-2", map[string]string{"net.core.somaxconn": "4096"})
	out, err = again.undoSysctls(protocol.UndoSysctlSpec{Undo: undo})
	if err != nil || len(out.Settings) != 0 || again.sysctl("net.core.somaxconn") != "4096" {
		t.Errorf("after a restart: %+v, %v", out, err)
	}
}

// Nothing is changed where what it was cannot be written down, or where the
// kernel does not have it.
func TestSetNothingWithoutARecord(t *testing.T) {
	s := kernel(t, "boot-1", map[string]string{"net.core.somaxconn": "128"})
	out := set(t, s, filepath.Join(t.TempDir(), "not", "there"), "net.core.somaxconn", "4096")
	if len(out.Kept) != 1 || s.sysctl("net.core.somaxconn") != "128" {
		t.Errorf("without a record: %+v, now %s", out, s.sysctl("net.core.somaxconn"))
	}
	undo := filepath.Join(t.TempDir(), ".bela.undo")
	if out := set(t, s, undo, "net.netfilter.nf_conntrack_max", "65536"); len(out.Kept) != 1 {
		t.Errorf("a parameter that is not there: %+v", out)
	}
	if _, err := os.Stat(undo); !os.IsNotExist(err) {
		t.Errorf("an undo file without a change: %v", err)
	}
}

// The undo file lies on a machine that others use: nothing but what bela wrote
// may come out of it.
func FuzzParseUndo(f *testing.F) {
	f.Add(undoMagic + "\n# boot b\necho '1' >/proc/sys/net/core/somaxconn # net.core.somaxconn, set to '2' at now\n")
	f.Add("echo 1")
	f.Add(undoMagic + "\necho '1' >/proc/sys/../../etc/passwd # net.core.somaxconn, set to '2' at now\n")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseUndo("f", text)
		if err != nil {
			return
		}
		for _, s := range u.settings {
			if !plain(s.Old) || !plain(s.New) || !strings.HasPrefix(s.Name, "net.") || strings.ContainsAny(s.Name, "/ '") {
				t.Errorf("%q gave %+v", text, s)
			}
		}
	})
}
