package monitor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/agents/protocol"
)

// The files of a host with two CPUs, as far as they are read.
var base = map[string]string{
	"stat": `cpu  1000 200 300 40000 5000 60 70 8 900 10
cpu0 500 100 150 20000 2500 30 35 4 450 5
cpu1 500 100 150 20000 2500 30 35 4 450 5
intr 1
ctxt 2
btime 1763600000
processes 3
procs_running 1
procs_blocked 0
softirq 0 0 0 0 0 0 0 0 0 0 0
`,
	"meminfo": "MemTotal:        8000 kB\nMemFree:         1000 kB\nMemAvailable:    6000 kB\nBuffers:          500 kB\nCached:          2000 kB\n",
	"loadavg": "0.75 0.50 0.25 1/100 4242\n",
	"1/net/dev": `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1000 1 0 0 0 0 0 0 1000 1 0 0 0 0 0 0
  eth0: 20 1 0 0 0 0 0 0 300 1 0 0 0 0 0 0
  eth1: 4000 1 0 0 0 0 0 0 50000 1 0 0 0 0 0 0
`,
	"1/net/softnet_stat": "0000000d 00000002 00000004 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n" +
		"00005ad2 00000003 0000000a 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n",
	"1/net/netstat": "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 7 9\nIpExt: InNoRoutes\nIpExt: 0\n",
	"1/net/snmp":    "Tcp: RtoAlgorithm ActiveOpens OutSegs RetransSegs InErrs\nTcp: 1 5 1000 11 0\n",
	// The kernel's symbolic links: self is a process, net is self's.
}

// host writes a /proc with the given files put in place of base's; an empty text
// leaves a file out.
func host(t *testing.T, changes map[string]string) string {
	t.Helper()
	proc := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range base {
		if c, ok := changes[name]; ok {
			text = c
		}
		if text != "" {
			put(name, text)
		}
	}
	for name, to := range map[string]string{"self": "1", "net": "self/net"} {
		if err := os.Symlink(to, filepath.Join(proc, name)); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

// If this failed, a starved or overrun node would not show in the results, or a
// sound one would be called unfit.
func TestHostFrom(t *testing.T) {
	const ms = 1_000_000
	whole := protocol.HostSample{
		CPUs: 2,
		// 1000+200+300+60+70+8 hundredths of a second; guest is in user already.
		CPUBusyNS: 16380 * ms, StealNS: 80 * ms,
		MemoryTotal: 8000 << 10, MemoryUsed: 2000 << 10,
		NetIn: 4020, NetOut: 50300, // without loopback
		Load1: 0.75, RunQueue: 1, SoftnetDrops: 5, SoftnetSqueezed: 14, ListenOverflows: 7, ListenDrops: 9, TCPRetransmits: 11,
	}
	for _, tt := range []struct {
		name    string
		changes map[string]string
		want    func(*protocol.HostSample)
		fails   string
	}{
		{"an ordinary host; it has neither pressure files nor IPv6, which nobody reads", nil, func(*protocol.HostSample) {}, ""},
		{"one CPU", map[string]string{"stat": "cpu  100 0 0 9 9 0 0 0 0 0\ncpu0 100 0 0 9 9 0 0 0 0 0\n"},
			func(h *protocol.HostSample) { h.CPUs, h.CPUBusyNS, h.StealNS, h.RunQueue = 1, 1000*ms, 0, 0 }, ""},
		{"an old kernel without steal and guest", map[string]string{"stat": "cpu  100 0 0 9 9 0 0\ncpu0 100 0 0 9 9 0 0\n"},
			func(h *protocol.HostSample) { h.CPUs, h.CPUBusyNS, h.StealNS, h.RunQueue = 1, 1000*ms, 0, 0 }, ""},
		{"thirty-eight CPU years: exact to the hundredth", map[string]string{"stat": "cpu  121100000001 0 0 0 0 0 0 1 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\n"},
			func(h *protocol.HostSample) {
				h.CPUs, h.CPUBusyNS, h.StealNS, h.RunQueue = 1, 121100000002*10*ms, 10*ms, 0
			}, ""},
		{"a byte counter beyond 32 bits", map[string]string{"1/net/dev": netDev("eth0: 1152921504606846976 1 0 0 0 0 0 0 9007199254740993 1 0 0 0 0 0 0")},
			func(h *protocol.HostSample) { h.NetIn, h.NetOut = 1152921504606846976, 9007199254740993 }, ""},
		{"loopback alone counts", map[string]string{"1/net/dev": netDev("lo: 11 1 0 0 0 0 0 0 12 1 0 0 0 0 0 0")},
			func(h *protocol.HostSample) { h.NetIn, h.NetOut = 11, 12 }, ""},
		{"no MemAvailable: free, buffers and cache are", map[string]string{"meminfo": "MemTotal: 8000 kB\nMemFree: 1000 kB\nBuffers: 500 kB\nCached: 2000 kB\n"},
			func(h *protocol.HostSample) { h.MemoryUsed = 4500 << 10 }, ""},
		{"no softnet, no netstat, no load: 0, no error", map[string]string{"1/net/softnet_stat": "", "1/net/netstat": "", "1/net/snmp": "", "loadavg": ""},
			func(h *protocol.HostSample) {
				h.SoftnetDrops, h.SoftnetSqueezed, h.ListenOverflows, h.ListenDrops, h.TCPRetransmits, h.Load1 = 0, 0, 0, 0, 0, 0
			}, ""},
		{"a kernel without ListenDrops and retransmits", map[string]string{"1/net/netstat": "TcpExt: ListenOverflows\nTcpExt: 7\n", "1/net/snmp": "Tcp: OutSegs\nTcp: 1\n"},
			func(h *protocol.HostSample) { h.ListenDrops, h.TCPRetransmits = 0, 0 }, ""},
		{"no CPU times", map[string]string{"stat": ""}, nil, "cpu"},
		{"no memory", map[string]string{"meminfo": ""}, nil, "memory"},
		{"no total", map[string]string{"meminfo": "MemFree: 1 kB\n"}, nil, "MemTotal"},
		{"no network", map[string]string{"1/net/dev": ""}, nil, "network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := HostFrom(host(t, tt.changes))
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("error %v, want one about %s", err, tt.fails)
				}
				return
			}
			want := whole
			tt.want(&want)
			if err != nil || got != want {
				t.Errorf("got  %+v\nwant %+v\n%v", got, want, err)
			}
		})
	}
	if _, err := HostFrom("/no/such/proc"); err == nil {
		t.Error("no /proc, and no error")
	}
}

func netDev(line string) string {
	return "Inter-|   Receive |  Transmit\n face |bytes packets |bytes packets\n  " + line + "\n"
}

// If this failed, this host could not be sampled at all.
func TestHostIsThisHost(t *testing.T) {
	h, err := Host()
	if err != nil {
		t.Fatal(err)
	}
	if h.CPUs < 1 || h.CPUBusyNS <= 0 || h.MemoryTotal <= 0 || h.MemoryUsed <= 0 || h.MemoryUsed > h.MemoryTotal {
		t.Errorf("%+v", h)
	}
}

// FuzzHostFrom feeds what a kernel might write.
func FuzzHostFrom(f *testing.F) {
	f.Add(base["stat"], base["meminfo"], base["1/net/dev"])
	f.Add("cpu", "MemTotal:", "eth0:")
	f.Add("cpu  -1\n", "MemTotal: 99999999999999999999 kB\n", netDev("x: 1"))
	f.Fuzz(func(t *testing.T, stat, meminfo, dev string) {
		h, err := HostFrom(host(t, map[string]string{"stat": stat + "\n", "meminfo": meminfo + "\n", "1/net/dev": dev + "\n"}))
		if err == nil && h.CPUs < 0 {
			t.Errorf("%+v", h)
		}
	})
}
