package nodes_test

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"bela/nodes"
)

// The agent to push, the room on the disk and the record of the run all come
// from the facts; here they must be this machine's.
func TestFacts(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		f, err := n.Facts(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		hostname, _ := os.Hostname()
		boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		for what, pair := range map[string][2]any{
			"OS":       {f.OS, "Linux"},
			"GOARCH":   {f.GOARCH, runtime.GOARCH},
			"hostname": {f.Hostname, hostname},
			"CPUs":     {f.CPUs, runtime.NumCPU()},
			"UID":      {f.UID, os.Getuid()},
			"boot id":  {f.BootID, strings.TrimSpace(string(boot))},
			"address":  {f.Address, n.Address()},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s is %v, want %v", what, pair[0], pair[1])
			}
		}
		if f.Memory < 64<<20 || f.MemoryAvailable <= 0 || f.MemoryAvailable > f.Memory || f.DiskFree <= 0 || f.OpenFilesSoft == 0 || f.LocalPorts[0] == 0 || f.Kernel == "" || f.User == "" || f.Home == "" {
			t.Errorf("something is missing in %+v", f)
		}
	})
}

// A machine that is not Linux must be refused by name, before anything is
// pushed to it.
func TestFactsNotLinux(t *testing.T) {
	rows := map[string]string{
		"FreeBSD": `case $1 in -s|"") echo FreeBSD;; *) echo x;; esac`,
		"Darwin":  `echo Darwin`,
	}
	for system, text := range rows {
		onNode(t, fakePath(t, map[string]string{"uname": text}), func(t *testing.T, n *nodes.Node) {
			_, err := n.Facts(deadline(t))
			if nodes.KindOf(err) != nodes.NotLinux || !strings.Contains(err.Error(), system) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An ARM board must get the build that its CPU runs.
func TestFactsArchitecture(t *testing.T) {
	rows := []struct {
		machine, goarch string
		goarm           int
	}{
		{"x86_64", "amd64", 0},
		{"aarch64", "arm64", 0}, // Raspberry Pi OS 64 bit
		{"armv7l", "arm", 7},    // Raspberry Pi OS 32 bit
		{"armv8l", "arm", 7},    // a 64-bit CPU that runs 32 bit
		{"armv6l", "arm", 6},    // Raspberry Pi Zero
		{"sparc64", "", 0},      // no agent is built for it
	}
	for _, row := range rows {
		t.Run(row.machine, func(t *testing.T) {
			env := fakePath(t, map[string]string{"uname": `echo Linux ` + row.machine})
			f, err := dial(t, backends[1].start(t, env)).Facts(deadline(t))
			if err != nil || f.GOARCH != row.goarch || f.GOARM != row.goarm || f.Machine != row.machine {
				t.Errorf("got %s %s/%d: %v", f.Machine, f.GOARCH, f.GOARM, err)
			}
		})
	}
}
