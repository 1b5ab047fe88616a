package inspect

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A fault that fills a disk is refused where bela's directory is in memory, and a
// doctor that calls such a node fit lets the cell find out.
func TestDiskInMemory(t *testing.T) {
	t.Parallel()
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err != nil || uint32(st.Type) != unix.TMPFS_MAGIC {
		t.Skipf("left out: %s is no tmpfs here: %v", shm, err)
	}
	dir, err := os.MkdirTemp(shm, "bela-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if d := disk(dir + "/not/there"); !d.InMemory || d.Path != dir {
		t.Errorf("%+v, want %s, in memory", d, dir)
	}
	if d := disk("/proc"); d.InMemory {
		t.Errorf("/proc is not in memory as tmpfs is: %+v", d)
	}
}
