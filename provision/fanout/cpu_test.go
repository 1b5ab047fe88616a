package fanout

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpu is processor time that was used so far, in seconds: by this process and
// the programs that it ran to their end, and on the nodes. Neighbours on the
// machine, who stretch every wall time, change it little.
type cpu struct{ here, nodes float64 }

func (c cpu) since(before cpu) cpu { return cpu{c.here - before.here, c.nodes - before.nodes} }

func (bed *benchBed) cpu(b *testing.B) cpu {
	b.Helper()
	var own, children syscall.Rusage
	for who, use := range map[int]*syscall.Rusage{syscall.RUSAGE_SELF: &own, syscall.RUSAGE_CHILDREN: &children} {
		if err := syscall.Getrusage(who, use); err != nil {
			b.Fatal(err)
		}
	}
	var c cpu
	for _, t := range []syscall.Timeval{own.Utime, own.Stime, children.Utime, children.Stime} {
		c.here += time.Duration(t.Nano()).Seconds()
	}
	used, err := groupCPU(bed.Name())
	if err != nil {
		b.Fatal(err)
	}
	c.nodes = used
	return c
}

// groupCPU is what the processes of a bed's nodes used, in seconds, by their
// control groups of either version.
func groupCPU(bed string) (float64, error) {
	for _, dir := range []string{"cpuacct", "cpu,cpuacct"} {
		text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", dir, "bela-testbed-"+bed, "cpuacct.usage"))
		if err != nil {
			continue
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return float64(ns) / 1e9, err
	}
	for _, dir := range []string{"", "unified"} {
		text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", dir, "bela-testbed-"+bed, "cpu.stat"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
				us, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				return float64(us) / 1e6, err
			}
		}
	}
	return 0, fmt.Errorf("no control group of testbed %s counts its CPU time", bed)
}
