package component

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// On a host with both versions the second one's hierarchy is there without cpu and
// memory: what needs no controller is tried on the kernel itself. If this failed,
// use would be misread, or processes be left, on hosts with version 2 alone.
func TestVersion2OfThisKernel(t *testing.T) {
	mounts, err := cgroupMounts("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	root := mounts[""]
	if root == "" || os.Geteuid() != 0 {
		t.Logf("version 2 is mounted at %q, the user is %d: nothing can be tried", root, os.Geteuid())
		return
	}
	gs := &groups{v2: []string{root}, id: "test" + strconv.Itoa(os.Getpid())}
	top := filepath.Join(root, groupRoot, gs.id)
	g, err := gs.create("broker-1")
	if err != nil {
		// The controllers belong to version 1 here: that is told, and nothing stays.
		if !strings.Contains(err.Error(), "cannot be handed down") || isDir(top) {
			t.Fatalf("%v; %s is there: %v", err, top, isDir(top))
		}
		dir := filepath.Join(top, "broker-1")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		g = &group{v2: true, paths: []string{dir}, cpuacctDir: dir}
	} else if err := g.limit(limits{cpu: 500, memory: 64 << 20}); err != nil {
		t.Error(err)
	}
	// What escapes its parent, as a daemon does, is still in the group.
	cmd := exec.Command("/bin/sh", "-c", `echo $$ >"$0/cgroup.procs" && (setsid sleep 600 >/dev/null 2>&1 & i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done) && echo done`, g.paths[0])
	out, err := cmd.Output()
	if err != nil || string(out) != "done\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if ns, ok := g.cpu(); !ok || ns < int64(5*time.Millisecond) {
		t.Errorf("%d ns of CPU, %v", ns, ok)
	}
	if g.memoryDir != "" {
		if limit, _ := os.ReadFile(filepath.Join(g.memoryDir, "memory.max")); string(limit) != "67108864\n" {
			t.Errorf("memory.max is %q", limit)
		}
		if limit, _ := os.ReadFile(filepath.Join(g.cpuDir, "cpu.max")); string(limit) != "50000 100000\n" {
			t.Errorf("cpu.max is %q", limit)
		}
	}
	left := g.members()
	if len(left) != 1 || slices.Contains(left, os.Getpid()) {
		t.Errorf("the group holds %v, want what left its parent", left)
	}
	if err := g.kill(killWait); err != nil {
		t.Error(err)
	}
	if err := g.remove(killWait); err != nil || isDir(top) {
		t.Errorf("%v; %s is there: %v", err, top, isDir(top))
	}
}
