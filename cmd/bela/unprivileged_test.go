package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Nobody needs root to try bela: the loopback lab works for a user who has no
// rights at all.
func TestLabRunWithoutRoot(t *testing.T) {
	needAgents(t)
	if os.Getuid() != 0 {
		t.Skip("every other test of the lab here is one without root")
	}
	t.Parallel()
	const nobody = 65534
	// Below the system's own directory: the test's is closed to other users.
	dir, err := os.MkdirTemp("", "bela-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text, err := os.ReadFile(shipped(t, "quick.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "quick.hcl"), string(text))
	cmd := belaCommand(t, dir, "run", "quick.hcl", "-var", "measure=2s")
	self, err := filepath.EvalSymlinks(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bela")
	if out, err := exec.Command("cp", self, bin).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = bin
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "TMPDIR=" + labRoot(dir)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	assertStatus(t, dir, cmd.ProcessState.ExitCode(), string(out))
	assertWhole(t, dir, 1)
	assertNothingLeft(t, dir)
}
