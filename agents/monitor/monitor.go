// Package monitor reads what a node as a whole and the agent itself use, from
// /proc. It exists so that a result can be told from a starved machine. It knows
// nothing of components; package component reads those.
package monitor

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"

	"bela/agents/protocol"
)

// Host reads the node's counters.
func Host() (protocol.HostSample, error) { return HostFrom(procfs.DefaultMountPoint) }

// HostFrom reads the counters from a /proc file system mounted at proc. CPU,
// memory and network must be there; what some kernels do not tell is 0.
func HostFrom(proc string) (protocol.HostSample, error) {
	var h protocol.HostSample
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return h, fmt.Errorf("host counters: %w", err)
	}
	if err := readCPU(fs, &h); err != nil {
		return h, err
	}
	if err := readMemory(fs, &h); err != nil {
		return h, err
	}
	if err := readNetwork(fs, &h); err != nil {
		return h, err
	}
	if l, err := fs.LoadAvg(); err == nil {
		h.Load1 = l.Load1
	}
	if stats, err := fs.NetSoftnetStat(); err == nil {
		for _, s := range stats {
			h.SoftnetDrops += int64(s.Dropped)
			h.SoftnetSqueezed += int64(s.TimeSqueezed)
		}
	}
	if self, err := fs.Self(); err == nil {
		if n, err := self.Netstat(); err == nil {
			h.ListenOverflows = count(n.ListenOverflows)
			h.ListenDrops = count(n.ListenDrops)
		}
		if s, err := self.Snmp(); err == nil {
			h.TCPRetransmits = count(s.RetransSegs)
		}
	}
	return h, nil
}

// count is a counter that the kernel may not tell.
func count(v *float64) int64 {
	if v == nil {
		return 0
	}
	return int64(*v)
}

func readCPU(fs procfs.FS, h *protocol.HostSample) error {
	s, err := fs.Stat()
	if err != nil {
		return fmt.Errorf("host counters: cpu: %w", err)
	}
	t := s.CPUTotal
	// Guest time is in user and nice already.
	h.CPUs = len(s.CPU)
	h.CPUBusyNS = nanoseconds(t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ + t.Steal)
	h.StealNS = nanoseconds(t.Steal)
	h.RunQueue = int(s.ProcessesRunning)
	return nil
}

// nanoseconds turns seconds, which are hundredths in the file, into a count. It
// wraps after 292 CPU years; differences stay right.
func nanoseconds(seconds float64) int64 {
	return int64(seconds*100+0.5) * int64(10*time.Millisecond)
}

func readMemory(fs procfs.FS, h *protocol.HostSample) error {
	m, err := fs.Meminfo()
	if err != nil {
		return fmt.Errorf("host counters: memory: %w", err)
	}
	if m.MemTotalBytes == nil {
		return fmt.Errorf("host counters: memory: no MemTotal in meminfo")
	}
	h.MemoryTotal = int64(*m.MemTotalBytes)
	if m.MemAvailableBytes != nil {
		h.MemoryUsed = h.MemoryTotal - int64(*m.MemAvailableBytes)
		return nil
	}
	// Kernels before 3.14 leave the estimate to the reader.
	free := int64(0)
	for _, n := range []*uint64{m.MemFreeBytes, m.BuffersBytes, m.CachedBytes} {
		if n != nil {
			free += int64(*n)
		}
	}
	h.MemoryUsed = max(0, h.MemoryTotal-free)
	return nil
}

// readNetwork sums all interfaces but loopback, or takes loopback where it is
// alone.
func readNetwork(fs procfs.FS, h *protocol.HostSample) error {
	dev, err := fs.NetDev()
	if err != nil {
		return fmt.Errorf("host counters: network: %w", err)
	}
	for name, line := range dev {
		if name == "lo" && len(dev) > 1 {
			continue
		}
		h.NetIn += int64(line.RxBytes)
		h.NetOut += int64(line.TxBytes)
	}
	return nil
}
