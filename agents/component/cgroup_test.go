package component

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes the files of a table row.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// If this failed, limits and exact counting would be missing on hosts that offer
// them, or be looked for in the wrong place.
func TestFindGroups(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mounts string
		own    string
		v1     map[string]string
		v2     []string
		fails  bool
	}{
		{
			name:   "version 2 alone, as systemd mounts it; its root comes first, for there processes may be in the way",
			mounts: "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
			own:    "0::/user.slice/user-0.slice/session-3.scope\n",
			v2:     []string{"/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/user-0.slice/session-3.scope"},
		},
		{
			name:   "version 2 in a container of its own name space",
			mounts: "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw",
			own:    "0::/\n",
			v2:     []string{"/sys/fs/cgroup"},
		},
		{
			name: "version 1, cpu and cpuacct together, beside an empty version 2: the controllers decide",
			mounts: `33 31 0:29 / /no/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /no/memory rw shared:9 master:2 - cgroup cgroup rw,memory
41 31 0:38 / /no/unified rw - cgroup2 cgroup2 rw`,
			own: "5:memory:/x\n3:cpu,cpuacct:/y\n0::/\n",
			// The process's own groups are not below these mounts.
			v1: map[string]string{"cpu": "/no/cpu,cpuacct", "cpuacct": "/no/cpu,cpuacct", "memory": "/no/memory"},
		},
		{
			name:   "a mount point with a space",
			mounts: `30 23 0:26 / /sys/fs/c\040group rw - cgroup2 cgroup2 rw`,
			own:    "0::/\n",
			v2:     []string{"/sys/fs/c group"},
		},
		{name: "none at all", mounts: "22 1 8:1 / / rw - ext4 /dev/sda1 rw", own: "", fails: true},
		{name: "lines that make no sense", mounts: "x\n - \n1 2 3 - cgroup\n", own: "::\nx", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proc := t.TempDir()
			write(t, proc, map[string]string{"self/mountinfo": tt.mounts, "self/cgroup": tt.own})
			g := findGroups(proc, "/dir")
			if (g.err != nil) != tt.fails {
				t.Fatalf("error %v", g.err)
			}
			if !maps.Equal(g.v1, tt.v1) || !slices.Equal(g.v2, tt.v2) {
				t.Errorf("version 1 %v, version 2 %v", g.v1, g.v2)
			}
		})
	}
	if g := findGroups(t.TempDir(), "/dir"); g.err == nil {
		t.Error("no /proc, and no error")
	}
}

// If this failed, two agents on one machine, as in the loopback lab, would kill
// each other's components.
func TestGroupsOfTwoDirectoriesDiffer(t *testing.T) {
	if a, b := findGroups("/proc", "/a"), findGroups("/proc", "/b"); a.id == b.id {
		t.Errorf("both are %s", a.id)
	}
}

// If this failed, CPU and memory would be misread on one of the two versions.
func TestGroupUsage(t *testing.T) {
	for _, tt := range []struct {
		name        string
		v2          bool
		files       map[string]string
		cpu, memory int64
		oom         bool
	}{
		{"version 1", false, map[string]string{
			"cpuacct.usage":         "1234567890\n",
			"memory.usage_in_bytes": "1000000\n",
			"memory.stat":           "inactive_file 5\ntotal_cache 7\ntotal_inactive_file 300000\n",
			"memory.oom_control":    "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
		}, 1234567890, 700000, true},
		{"version 2", true, map[string]string{
			"cpu.stat":       "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n",
			"memory.current": "1000000\n",
			"memory.stat":    "anon 600000\nfile 400000\ninactive_file 300000\nactive_file 100000\n",
			"memory.events":  "low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\n",
		}, 1234567000, 700000, false},
		{"more inactive than in use, for the kernel updates them apart", true, map[string]string{
			"cpu.stat": "usage_usec 1\n", "memory.current": "10\n", "memory.stat": "inactive_file 20\n",
		}, 1000, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := t.TempDir()
			write(t, d, tt.files)
			g := &group{v2: tt.v2, paths: []string{d}, cpuacctDir: d, memoryDir: d}
			cpu, cpuOK := g.cpu()
			memory, memoryOK := g.memory()
			kills, _ := g.oomKills()
			if !cpuOK || !memoryOK || cpu != tt.cpu || memory != tt.memory || kills > 0 != tt.oom {
				t.Errorf("cpu %d %v, memory %d %v, %d killed", cpu, cpuOK, memory, memoryOK, kills)
			}
		})
	}
	gone := &group{paths: []string{"/no"}, cpuacctDir: "/no", memoryDir: "/no"}
	if _, ok := gone.cpu(); ok {
		t.Error("CPU time of a group that is gone")
	}
	if _, ok := gone.memory(); ok {
		t.Error("memory of a group that is gone")
	}
}

// If this failed, limits would be off by a factor, or only one of the two
// versions would have them.
func TestGroupLimits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		v2     bool
		have   []string
		mcpu   int
		memory int64
		want   map[string]string
		fails  bool
	}{
		{"350 mcpu is 35 ms in each 100 ms", true, []string{"cpu.max"}, 350, 0, map[string]string{"cpu.max": "35000 100000"}, false},
		{"the kernel takes no less than 1 ms", true, []string{"cpu.max"}, 1, 0, map[string]string{"cpu.max": "1000 100000"}, false},
		{"memory without swap", true, []string{"memory.max", "memory.swap.max"}, 0, 1 << 20,
			map[string]string{"memory.max": "1048576", "memory.swap.max": "0"}, false},
		{"memory where swap is not counted", true, []string{"memory.max"}, 0, 1 << 20, map[string]string{"memory.max": "1048576"}, false},
		{"version 1", false, []string{"cpu.cfs_period_us", "cpu.cfs_quota_us", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}, 2000, 1 << 20,
			map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "200000",
				"memory.limit_in_bytes": "1048576", "memory.memsw.limit_in_bytes": "1048576"}, false},
		{"a kernel without bandwidth control", false, nil, 100, 0, nil, true},
		{"a kernel without a memory limit", true, nil, 0, 1, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := t.TempDir()
			for _, f := range tt.have {
				write(t, d, map[string]string{f: ""})
			}
			g := &group{v2: tt.v2, paths: []string{d}, cpuDir: d, memoryDir: d}
			if err := g.limit(limits{tt.mcpu, tt.memory}); (err != nil) != tt.fails {
				t.Fatalf("error %v", err)
			}
			for f, want := range tt.want {
				if got, err := os.ReadFile(filepath.Join(d, f)); err != nil || string(got) != want {
					t.Errorf("%s: %q %v, want %q", f, got, err, want)
				}
			}
		})
	}
	none := &group{}
	if none.limit(limits{cpu: 1}) == nil || none.limit(limits{memory: 1}) == nil {
		t.Error("limits without controllers, and no error")
	}
}

// If this failed, a host that does not hand its controllers down would be
// counted as one that enforces limits.
func TestVersion2WithoutControllers(t *testing.T) {
	base := t.TempDir()
	_, err := (&groups{}).createV2(base, "bela/id", "p-1")
	if err == nil || !strings.Contains(err.Error(), "cannot be handed down") {
		t.Errorf("error %v", err)
	}
	if isDir(filepath.Join(base, "bela", "id", "p-1")) {
		t.Error("the group is left")
	}
}

// If this failed, a user without root would not learn what to do about limits.
func TestRefusalSaysWhatToDo(t *testing.T) {
	if err := explain(fs.ErrPermission); !strings.Contains(err.Error(), "log in as root") {
		t.Error(err)
	}
}

// If this failed, processes that a killed agent left in its groups would live on
// beside the next run's.
func TestCreateKillsWhatAnEarlierAgentLeft(t *testing.T) {
	b := newBench(t, true)
	spec := b.process("stubborn")
	spec.ReadyLog = "up"
	s := b.start(spec)
	g, err := b.groups.confine("p-1", limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.remove(killWait)
	if alive(s.PID) {
		t.Error("it lives")
	}
	if e := b.awaitEvent(); !strings.Contains(e.Detail, "SIGKILL") {
		t.Errorf("%+v", e)
	}
}

// FuzzOwnGroups feeds what the kernel might write into /proc/self/cgroup.
func FuzzOwnGroups(f *testing.F) {
	f.Add("0::/user.slice\n")
	f.Add("5:cpu,cpuacct:/a:b\n4:memory:/\n")
	f.Add(":::")
	f.Fuzz(func(t *testing.T, text string) {
		proc := t.TempDir()
		write(t, proc, map[string]string{"self/cgroup": text, "self/mountinfo": text})
		if g := findGroups(proc, "/d"); g.err == nil && g.v1 == nil && g.v2 == nil {
			t.Error("neither groups nor an error")
		}
	})
}
