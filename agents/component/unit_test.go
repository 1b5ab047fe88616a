package component

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeManager is a busctl that writes down what it was asked and does as a line
// of shell says.
func fakeManager(t *testing.T, does string) (m *manager, asked func() string) {
	t.Helper()
	dir := t.TempDir()
	m = &manager{busctl: filepath.Join(dir, "busctl")}
	script := "#!/bin/sh\nPATH=/usr/bin:/bin\necho \"$*\" >>" + dir + "/asked\n" + does + "\n"
	if err := os.WriteFile(m.busctl, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return m, func() string {
		b, err := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

// If this failed, systemd would be asked for other limits than the experiment's.
func TestUnitRequest(t *testing.T) {
	n := &unit{name: "bela-0-p-1.scope", keeper: &exec.Cmd{Process: &os.Process{Pid: 7}}}
	const plain = "Description s bela: component p-1 PIDs au 1 7 Delegate b true CollectMode s inactive-or-failed CPUAccounting b true MemoryAccounting b true TasksMax t 18446744073709551615"
	for _, tt := range []struct {
		name   string
		l      limits
		policy bool
		want   string
	}{
		{"no limits: counted all the same", limits{}, false, "7 " + plain + " 0"},
		{"350 mcpu are 350 ms a second", limits{cpu: 350}, false, "8 " + plain + " CPUQuotaPerSecUSec t 350000 0"},
		{"no less than the kernel takes", limits{cpu: 1}, false, "8 " + plain + " CPUQuotaPerSecUSec t 10000 0"},
		{"memory without swap; one process killed, not all", limits{memory: 1 << 20}, true, "10 " + plain + " MemoryMax t 1048576 MemorySwapMax t 0 OOMPolicy s continue 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := "ssa(sv)a(sa(sv)) bela-0-p-1.scope fail " + tt.want
			if got := strings.Join(n.request("p-1", tt.l, tt.policy), " "); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}

// If this failed, an instance of a host that systemd runs would be read from the
// wrong group, or not at all.
func TestUnitGroup(t *testing.T) {
	const name = "bela-0-p-1.scope"
	v2 := t.TempDir()
	write(t, v2, map[string]string{"user.slice/" + name + "/memory.current": "", "system.slice/" + name + "/memory.current": "", "system.slice/" + name + "/cpu.max": ""})
	v1 := map[string]string{"cpu": "/c/cpu,cpuacct", "cpuacct": "/c/cpu,cpuacct", "memory": "/c/memory", "pids": "/c/pids", "name=systemd": "/c/systemd"}
	hybrid := maps.Clone(v1)
	hybrid[""] = "/c/unified"
	in := func(root string) string { return filepath.Join(root, "system.slice", name) }
	for _, tt := range []struct {
		name        string
		mounts, own map[string]string
		want        group
	}{
		{"version 2", map[string]string{"": v2}, map[string]string{"": "/system.slice/" + name},
			group{v2: true, paths: []string{in(v2)}, cpuDir: in(v2), cpuacctDir: in(v2), memoryDir: in(v2)}},
		{"a login to which cpu is not handed down: CPU time is told all the same", map[string]string{"": v2}, map[string]string{"": "/user.slice/" + name},
			group{v2: true, paths: []string{v2 + "/user.slice/" + name}, cpuacctDir: v2 + "/user.slice/" + name, memoryDir: v2 + "/user.slice/" + name}},
		{"not there yet", map[string]string{"": v2}, map[string]string{"": "/system.slice/ssh.service"}, group{v2: true}},
		{"version 1", v1, map[string]string{"cpu": "/system.slice/" + name, "cpuacct": "/system.slice/" + name, "memory": "/system.slice/" + name, "pids": "/system.slice/" + name, "name=systemd": "/system.slice/" + name, "net_cls": "/"},
			group{paths: []string{in("/c/cpu,cpuacct"), in("/c/memory"), in("/c/pids"), in("/c/systemd")}, cpuDir: in("/c/cpu,cpuacct"), cpuacctDir: in("/c/cpu,cpuacct"), memoryDir: in("/c/memory")}},
		{"version 1 with cpuacct apart, which systemd leaves out: version 2 counts", hybrid, map[string]string{"cpu": "/system.slice/" + name, "cpuacct": "/", "memory": "/system.slice/" + name, "": "/system.slice/" + name},
			group{paths: []string{in("/c/cpu,cpuacct"), in("/c/memory"), in("/c/unified")}, cpuDir: in("/c/cpu,cpuacct"), cpuacctDir: in("/c/unified"), usageV2: true, memoryDir: in("/c/memory")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := unitGroup(tt.mounts, tt.own, name)
			if !slices.Equal(g.paths, tt.want.paths) || g.cpuDir != tt.want.cpuDir || g.cpuacctDir != tt.want.cpuacctDir ||
				g.memoryDir != tt.want.memoryDir || g.v2 != tt.want.v2 || g.usageV2 != tt.want.usageV2 {
				t.Errorf("%+v\nwant %+v", *g, tt.want)
			}
		})
	}
}

// If this failed, a limit that systemd could not set would be taken for one that
// holds.
func TestUnitLimitsAreLookedAt(t *testing.T) {
	for _, tt := range []struct {
		name  string
		v2    bool
		files map[string]string
		want  string // part of the error; empty is none
	}{
		{"both set", true, map[string]string{"cpu.max": "35000 100000\n", "memory.max": "734003200\n"}, ""},
		{"both set, version 1; swap counts", false, map[string]string{"cpu.cfs_quota_us": "35000\n", "cpu.cfs_period_us": "100000\n", "memory.limit_in_bytes": "734003200\n", "memory.memsw.limit_in_bytes": ""}, ""},
		{"another period, the same share", true, map[string]string{"cpu.max": "70000 200000\n", "memory.max": "734003200\n"}, ""},
		{"no quota", true, map[string]string{"cpu.max": "max 100000\n", "memory.max": "734003200\n"}, "did not set the cpu limit"},
		{"no quota, version 1", false, map[string]string{"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n", "memory.limit_in_bytes": "734003200\n"}, "did not set the cpu limit"},
		{"no limit of memory", true, map[string]string{"cpu.max": "35000 100000\n", "memory.max": "max\n"}, "did not set the memory limit"},
		{"a larger limit of memory", true, map[string]string{"cpu.max": "35000 100000\n", "memory.max": "734007296\n"}, "did not set the memory limit"},
		{"cpu is not handed down", true, map[string]string{"memory.max": "734003200\n"}, "no cpu controller (as root: a drop-in of user@.service with Delegate=cpu memory"},
		{"memory is not handed down", true, map[string]string{"cpu.max": "35000 100000\n"}, "no memory controller (as root"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := t.TempDir()
			write(t, d, tt.files)
			g := &group{unit: &unit{name: "bela-0-p-1.scope"}, v2: tt.v2, paths: []string{d}}
			if exists(filepath.Join(d, "cpu.max")) || !tt.v2 {
				g.cpuDir = d
			}
			if exists(filepath.Join(d, "memory.max")) || !tt.v2 {
				g.memoryDir = d
			}
			err := g.limit(limits{cpu: 350, memory: 700 << 20})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if tt.want == "" && !tt.v2 {
				if got, _ := os.ReadFile(filepath.Join(d, "memory.memsw.limit_in_bytes")); string(got) != "734003200" {
					t.Errorf("memory and swap %q", got)
				}
			}
		})
	}
}

// If this failed, a systemd that says no would leave limits unenforced that the
// kernel could enforce, or nobody would learn both reasons.
func TestRefusedUnitFallsBack(t *testing.T) {
	m, asked := fakeManager(t, "echo 'Call failed: Interactive authentication required.' >&2; exit 1")
	gs := findGroups("/proc", t.TempDir())
	gs.units = &units{manager: m, id: gs.id, proc: "/proc"}
	gs.err = errors.New("read-only")
	g, err := gs.confine("p-1", limits{cpu: 100})
	if g != nil || err == nil || !strings.Contains(err.Error(), "through systemd: systemd makes no unit bela-"+gs.id+"-p-1.scope: Interactive authentication required.; by hand: read-only") {
		t.Errorf("%v, %v", g, err)
	}
	if want := "--system --timeout=5 --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) bela-" + gs.id + "-p-1.scope fail "; !strings.HasPrefix(asked(), want) {
		t.Errorf("asked %s\nwant %s", asked(), want)
	}
	gs.err = nil
	requireGroups(t, gs)
	g, err = gs.confine("p-1", limits{cpu: 100})
	if err != nil || g.unit != nil || !strings.HasPrefix(g.by(), "cgroup v") {
		t.Errorf("%+v, %v", g, err)
	}
	if err := g.remove(killWait); err != nil {
		t.Error(err)
	}
}

// If this failed, units would have no limits on a systemd that does not know
// what it is asked beside them.
func TestOlderSystemd(t *testing.T) {
	m, asked := fakeManager(t, `case "$*" in *OOMPolicy*) echo 'Call failed: Cannot set property OOMPolicy, or unknown property.' >&2; exit 1 ;; esac`)
	n := &unit{name: "bela-0-p-1.scope", manager: m, keeper: &exec.Cmd{Process: &os.Process{Pid: 7}}}
	if err := n.start("p-1", limits{cpu: 100}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(asked(), "CPUQuotaPerSecUSec t 100000"); got != 2 {
		t.Errorf("%d requests: %s", got, asked())
	}
}

// If this failed, root would make units in some user's systemd, or a login would
// wait for one that it does not have.
func TestFindManager(t *testing.T) {
	if _, err := findBusctl(); err != nil {
		t.Skip("no busctl here (Debian: systemd)")
	}
	runtime := t.TempDir()
	if m, err := findManager(runtime, 0); err != nil || m.user() {
		t.Errorf("root: %+v, %v", m, err)
	}
	if _, err := findManager(runtime, 1000); err == nil || !strings.Contains(err.Error(), "loginctl enable-linger") {
		t.Errorf("no bus: %v", err)
	}
	write(t, runtime, map[string]string{"1000/bus": ""})
	m, err := findManager(runtime, 1000)
	if err != nil || !m.user() || m.address != "unix:path="+runtime+"/1000/bus" {
		t.Errorf("a login: %+v, %v", m, err)
	}
}

// If this failed, a login on a host with version 1 would be promised limits that
// its systemd cannot set there.
func TestLoginOnVersionOne(t *testing.T) {
	proc := t.TempDir()
	write(t, proc, map[string]string{"self/mountinfo": "36 31 0:33 / /c/memory rw - cgroup cgroup rw,memory"})
	u := &units{manager: &manager{address: "unix:path=/x"}, proc: proc}
	if _, err := u.create("p-1", limits{}); err == nil || !strings.Contains(err.Error(), "unified_cgroup_hierarchy") {
		t.Error(err)
	}
}
