package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bela/agents/protocol"
	"bela/experiment"
	"bela/measure"
	"bela/nodes"
	"bela/provision"
)

// healthy is a node about which there is nothing to say.
func healthy() *exam {
	return &exam{
		target: nodes.Target{Name: "worker-1", User: "bela"}, address: "10.0.0.1",
		facts: &nodes.Facts{User: "bela"}, programSize: 20 << 20,
		inspection: &protocol.Inspection{
			UID: 1000, Uptime: 24 * time.Hour,
			Clock:   protocol.KernelClock{Synchronized: true, Daemon: "chronyd"},
			Disk:    protocol.Disk{Path: "/home/bela", Free: 10 << 30, Inodes: 1e6},
			Memory:  protocol.MemoryFacts{Total: 4 << 30, Available: 3 << 30},
			Files:   protocol.FileLimits{Hard: 1 << 20, System: 1 << 20},
			Tasks:   protocol.TaskLimits{User: 8192, UserNow: 20, System: 32768, Now: 200, Group: 4096, GroupNow: 20},
			Network: protocol.NetworkFacts{LocalPorts: [2]int{32768, 60999}, Somaxconn: 4096, SynBacklog: 4096, SynCookies: 1, ConntrackMax: 65536, Conntrack: 10},
			Cgroup:  &protocol.CgroupFacts{Version: 2},
			Load:    protocol.LoadFacts{Window: time.Second, CPUs: 4, Busy: 0.01},
		},
		clock:     &clockReading{offset: 2 * time.Millisecond, bound: time.Millisecond, driftBound: 500},
		listeners: map[int]protocol.Listener{1883: {}},
	}
}

func usualNeed() *need {
	return &need{cell: 3, connections: 1000, again: 2000, arrivals: 200, arrivesAt: "broker/1", files: 1100, processes: 3, memory: 500 << 20,
		limited: []string{"broker"}, ports: []port{{1883, "broker/1"}}}
}

// Each thing that would spoil a campaign is planted alone in an otherwise fit
// node, and must be found, weighed and given a remedy. A finding that is missing
// here is a night lost; one too many is a doctor that nobody reads.
func TestJudge(t *testing.T) {
	pressure := 12.0
	way := func(code string) func(*exam, *need) {
		return func(e *exam, _ *need) {
			e.ways = []tried{{way: way{"worker-1", "worker-2", 1883, "gateway/1 to broker/1"}, address: "10.0.0.2:1883", result: protocol.Way{Code: code, Error: "because", MTU: 1500}}}
		}
	}
	tests := []struct {
		name  string
		plant func(*exam, *need)
		want  string // severity check: part of what; empty is nothing
		fix   string // part of it
	}{
		{"fit", func(*exam, *need) {}, "", ""},
		{"unreachable", func(e *exam, _ *need) {
			e.err = &nodes.Error{Node: "worker-1", Kind: nodes.Unreachable, Err: errors.New("refused"), Next: "start sshd"}
		}, "error login: unreachable: refused", "start sshd"},
		{"held by another run", func(e *exam, _ *need) {
			e.holder = &provision.Holder{PID: 7, Age: 3 * time.Hour, For: "run abc by ada@desk"}
		}, "error in use: an agent holds the node since 3 hours: run abc by ada@desk (pid 7)", "bela clean"},
		{"no agent for it", func(e *exam, _ *need) {
			e.unusable, e.inspection = errors.Join(&nodes.Error{Kind: nodes.Unsupported, Err: errors.New("there is no agent for mips")}), nil
		}, "error agent: unsupported: there is no agent for mips", ""},
		{"left-overs", func(e *exam, _ *need) { e.leftovers = []string{"process 9 /x/bin/bela-agent-1", "file /x/run"} },
			"warning left-overs: left by an earlier run: process 9", "bela clean"},
		{"a kept agent", func(e *exam, _ *need) { e.leftovers = []string{"file /x/MANIFEST", "file /x/bin"} }, "note left-overs: an agent is kept", ""},
		{"disk: 64 MiB of logs, 20 of the agent", func(e *exam, _ *need) { e.inspection.Disk.Free = 84<<20 - 1 }, "error disk: /home/bela has 83 MiB free, and 84 are needed", "free some space"},
		{"disk: just enough", func(e *exam, _ *need) { e.inspection.Disk.Free = 84 << 20 }, "", ""},
		{"disk: books", func(e *exam, n *need) { n.books = 20 << 30 }, "error disk: /home/bela has 10240 MiB free", ""},
		{"inodes", func(e *exam, _ *need) { e.inspection.Disk.Inodes = 12 }, "error disk: /home/bela has 12 inodes", "df -i"},
		{"inodes without a number", func(e *exam, _ *need) { e.inspection.Disk.Inodes = -1 }, "", ""},
		{"memory", func(e *exam, n *need) { n.memory = 3<<30 + 1 }, "warning memory: 3072 MiB are available, and cells need about 3073", "fewer devices"},
		{"swap in use", func(e *exam, _ *need) { e.inspection.Memory.SwapUsed = 5 << 20 }, "note swap: 5 MiB", "swapoff"},
		{"swapping", func(e *exam, _ *need) {
			e.inspection.Memory.SwapUsed, e.inspection.Memory.SwapMoved = 5<<20, 8<<10
		}, "warning swap: 8 KiB went in or out of swap within 1 s", "swapoff"},
		{"threads of the login: 3 × 64", func(e *exam, _ *need) { e.inspection.Tasks.User = 211 }, "error threads: 191 threads are free of the 211 of this login", "nproc"},
		{"threads of the machine", func(e *exam, _ *need) { e.inspection.Tasks.System = 300 }, "error threads: 100 threads are free of the 300 of the machine", "pid_max"},
		{"threads of the control group", func(e *exam, _ *need) { e.inspection.Tasks.Group = 33 }, "error threads: 13 threads are free of the 33 of the login's control group", "TasksMax"},
		{"threads without a limit", func(e *exam, _ *need) { e.inspection.Tasks.User, e.inspection.Tasks.Group = -1, -1 }, "", ""},
		{"open files of the machine", func(e *exam, _ *need) {
			e.inspection.Files.System, e.inspection.Files.SystemOpen = 2000, 901
		}, "error open files: the machine allows 2000", "fs.file-max"},
		{"limits without rights", func(e *exam, _ *need) { e.inspection.Cgroup.Error = "permission denied" }, "warning limits: the limits of broker cannot be enforced by the login bela: permission denied", "root"},
		{"limits that systemd could hand down", func(e *exam, _ *need) { e.inspection.Cgroup.Error = "permission denied" }, "warning limits: the limits of broker cannot", "have systemd hand cpu and memory down to the login"},
		{"limits on version 1, where it cannot", func(e *exam, _ *need) {
			e.inspection.Cgroup = &protocol.CgroupFacts{Version: 1, Error: "permission denied"}
		}, "warning limits: the limits of broker cannot", "log in as root, or leave limits out"},
		{"no rights, and no limits asked for", func(e *exam, n *need) { e.inspection.Cgroup.Error, n.limited = "permission denied", nil }, "", ""},
		{"a cut without root", func(_ *exam, n *need) { n.faults = []faultNeed{{cutFault(), true}} },
			"error faults: the fault \"split\" (cut worker-1 ↔ iot-1) needs root, and bela is the login bela there", "root"},
		{"a cut without iptables", func(e *exam, n *need) {
			e.inspection.UID, e.toolbox, n.faults = 0, readTools("missing iptables\nmissing tc\n"), []faultNeed{{cutFault(), true}}
		}, "error faults: the fault \"split\" (cut worker-1 ↔ iot-1) needs the program iptables", "apt install iptables"},
		{"a cut that can be done", func(e *exam, n *need) {
			e.inspection.UID, e.toolbox, n.faults = 0, readTools("netem Error: Specified qdisc kind is unknown.\n"), []faultNeed{{cutFault(), true}}
		}, "", ""},
		{"a slow network without netem", func(e *exam, n *need) {
			e.inspection.UID, e.toolbox, n.faults = 0, readTools("netem Error: Specified qdisc kind is unknown.\n"), []faultNeed{{slowFault(), true}}
		}, "error faults: the fault \"far\" (slow worker-1 ↔ iot-1: delay 50ms) needs netem, and the kernel has none: Error: Specified", "modprobe"},
		{"more CPU than there is", func(_ *exam, n *need) {
			n.faults = []faultNeed{{experiment.Fault{Name: "busy", Kind: experiment.FaultPressure, Nodes: []string{"worker-1"}, CPU: 4001}, false}}
		}, "warning faults: the fault \"busy\" (pressure worker-1: cpu 4001m): the node has 4 CPUs", "4000m"},
		{"more memory than there is", func(_ *exam, n *need) {
			n.faults = []faultNeed{{experiment.Fault{Name: "full", Kind: experiment.FaultPressure, Nodes: []string{"worker-1"}, Memory: 3<<30 + 1}, false}}
		}, "warning faults: the fault \"full\"", "less memory"},
		{"a disk that is none", func(e *exam, n *need) {
			e.inspection.Disk.InMemory = true
			n.faults = []faultNeed{{experiment.Fault{Name: "disk", Kind: experiment.FaultDisk, Nodes: []string{"worker-1"}, Leave: 1 << 30}, false}}
		}, "error faults: the fault \"disk\" (disk worker-1: leaving 1 GiB): /home/bela is in memory, not on a disk", "directory"},
		{"a disk that is full already", func(_ *exam, n *need) {
			n.faults = []faultNeed{{experiment.Fault{Name: "disk", Kind: experiment.FaultDisk, Nodes: []string{"worker-1"}, Leave: 10 << 30}, false}}
		}, "warning faults: the fault \"disk\"", "leave less"},
		{"powersave", func(e *exam, _ *need) { e.inspection.Governors = []string{"performance", "powersave"} }, "warning cpu frequency: the governor powersave", "performance"},
		{"just booted", func(e *exam, _ *need) { e.inspection.Uptime = 9 * time.Minute }, "note uptime: the machine has been up for 9m0s", ""},
		{"changed by an earlier doctor", func(e *exam, _ *need) {
			e.inspection.Undo = []protocol.SysctlSetting{{Name: somaxconn, Old: "128", New: "4096"}}
		}, "note undo: net.core.somaxconn was set from '128' to '4096'", "-undo"},
		{"port taken", func(e *exam, _ *need) {
			e.listeners[1883] = protocol.Listener{Code: protocol.ListenTaken, Holder: "mosquitto (pid 812, user mosquitto)"}
		}, "error ports: port 1883, where broker/1 would listen, is taken by mosquitto (pid 812, user mosquitto)", ":1883"},
		{"port of another machine", func(e *exam, _ *need) {
			e.listeners[1883] = protocol.Listener{Address: "10.9.9.9:1883", Code: protocol.ListenForeign}
		}, "error ports: broker/1 cannot listen on 10.9.9.9:1883: it is no address of this node", "hosts"},
		{"privileged port", func(e *exam, _ *need) { e.listeners[1883] = protocol.Listener{Code: protocol.ListenDenied} },
			"error ports: the login bela may not listen on port 1883", "1024"},
		{"port among those of outgoing connections", func(e *exam, n *need) { n.ports = []port{{40000, "broker/1"}} }, "note ports: port 40000 of broker/1", "reserved"},
		{"way open", way(""), "", ""},
		{"way rejected", way(protocol.WayRefused), "error reachability: worker-1 cannot connect to worker-2 at 10.0.0.2:1883 (gateway/1 to broker/1): refused", "on worker-2: sudo iptables -I INPUT -p tcp -s 10.0.0.1 --dport 1883"},
		{"way dropped", way(protocol.WaySilent), "error reachability: worker-1 cannot connect to worker-2 at 10.0.0.2:1883 (gateway/1 to broker/1): no answer within 3s", "--dport 1883"},
		{"no route", way(protocol.WayNoRoute), "error reachability: worker-1 cannot connect", "ip route get"},
		{"full packets lost", way(protocol.WayStuck), "error reachability: worker-1 connects to worker-2 at 10.0.0.2:1883 (gateway/1 to broker/1), but full packets", "ping -M do"},
		{"somebody else answers", way(protocol.WayOther), "error reachability: worker-1 connects to 10.0.0.2:1883, but it is not worker-2 that answers", "address"},
		{"a tunnel", func(e *exam, n *need) { way("")(e, n); e.ways[0].result.MTU = 1280 }, "note path mtu: some paths", ""},
		{"the other end not there", func(e *exam, _ *need) { e.untried = 2 }, "note reachability: 2 ways", ""},
		{"two cells in a row: 28,232 ports", func(e *exam, n *need) { n.again = 28_233 }, "warning local ports: two cells in a row take 28233", "ip_local_port_range"},
		{"two cells in a row, ports reused", func(e *exam, n *need) { n.again, e.inspection.Network.TimeWaitReuse = 28_233, 1 }, "", ""},
		{"accept queue", func(e *exam, n *need) { n.arrivals = 4097 }, "warning accept queue: 4097 connections a second arrive at broker/1, and its queue holds 4096", "net.core.somaxconn=8192"},
		{"half-open connections", func(e *exam, n *need) {
			e.inspection.Network.SynBacklog, e.inspection.Network.SynCookies = 128, 0
		}, "warning accept queue: 200 connections a second arrive at broker/1, 128 may be half open", "tcp_max_syn_backlog=4096"},
		{"conntrack too small for a cell", func(e *exam, _ *need) { e.inspection.Network.ConntrackMax = 1009 }, "error conntrack: the kernel tracks at most 1009 connections, 10 are there, and cell 3 has 1000", "nf_conntrack_max=65536"},
		{"conntrack too small for two cells", func(e *exam, _ *need) { e.inspection.Network.ConntrackMax = 2009 }, "warning conntrack: the kernel tracks at most 2009", "nf_conntrack_max"},
		{"no conntrack", func(e *exam, _ *need) { e.inspection.Network.ConntrackMax = 0 }, "", ""},
		{"no time daemon", func(e *exam, _ *need) { e.inspection.Clock = protocol.KernelClock{} }, "warning clock: the kernel's clock is not synchronised; no time daemon is seen", "chrony"},
		{"clock behind", func(e *exam, _ *need) { e.clock.offset = -250 * time.Millisecond }, "warning clock: its clock is 250 ms (±1) behind the controller's; chronyd runs", "makestep"},
		{"clock ahead, but not surely", func(e *exam, _ *need) {
			e.clock.offset, e.clock.bound = 104*time.Millisecond, 4*time.Millisecond+time.Microsecond
		}, "", ""},
		{"clock read from afar", func(e *exam, _ *need) { e.clock.bound = 40 * time.Millisecond }, "note clock: its clock can be read to ±40 ms only", "near"},
		{"drift", func(e *exam, _ *need) { e.clock.drift, e.clock.driftBound = -180, 60 }, "warning clock: its clock drifts by -180 ppm (±60)", "settled"},
		{"drift that may be none", func(e *exam, _ *need) { e.clock.drift, e.clock.driftBound = 180, 100 }, "", ""},
		{"busy", func(e *exam, _ *need) {
			e.inspection.Load.Busy, e.inspection.Load.Busiest = 0.31, []protocol.BusyTask{{PID: 4, Name: "cc1", CPUs: 0.9}}
		}, "warning neighbours: 31 % of 4 CPUs are in use before the run, over 1 s: cc1 (pid 4) 90 % of a CPU", "end"},
		{"steal", func(e *exam, _ *need) { e.inspection.Load.Steal = 0.03 }, "warning neighbours: the hypervisor gave 3.0 %", "dedicated"},
		{"memory pressure", func(e *exam, _ *need) { e.inspection.Memory.Pressure = &pressure }, "warning neighbours: something waited for memory in 12 %", "ps"},
		{"an upgrade under way", func(e *exam, _ *need) { e.inspection.Watched = []protocol.WatchedTask{{PID: 5, Name: "dpkg"}} }, "warning neighbours: a package manager is at work: dpkg (pid 5)", "apt-daily"},
		{"another run", func(e *exam, _ *need) {
			e.inspection.Agents = []protocol.ForeignAgent{{PID: 5, Run: "r1", Directory: "/a", Age: time.Minute}, {PID: 6, Run: "r1", Directory: "/b"}}
		}, "warning neighbours: run r1 is on the machine since 60 s, with 2 agents: pid 5 in /a", "wait"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, n := healthy(), usualNeed()
			test.plant(e, n)
			found := judge(e, n)
			if test.want == "" {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("%d findings, want 1: %+v", len(found), found)
			}
			f := found[0]
			if got := string(f.Severity) + " " + f.Check + ": " + f.What; !strings.HasPrefix(got, test.want) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if !strings.Contains(f.Fix, test.fix) {
				t.Errorf("fix %q, want %q in it", f.Fix, test.fix)
			}
			if f.Why == "" || f.Node != "worker-1" {
				t.Errorf("%+v", f)
			}
		})
	}
}

// All that is wrong is told at once; an operator who mends one thing after
// another calls the doctor for each.
func TestJudgeTellsAll(t *testing.T) {
	e, n := healthy(), usualNeed()
	e.inspection.Disk.Free, e.inspection.Uptime, e.inspection.Load.Steal = 0, time.Minute, 0.5
	e.listeners[1883] = protocol.Listener{Code: protocol.ListenTaken}
	if found := judge(e, n); len(found) != 4 {
		t.Errorf("%d findings, want 4: %+v", len(found), found)
	}
}

// What the lab's nodes share is said once, and in the name of what they share.
func TestJudgeTheLabOnce(t *testing.T) {
	for _, first := range []bool{true, false} {
		e, n := healthy(), usualNeed()
		e.onLab, e.first, e.inspection.Load.Steal = true, first, 0.5
		found := judge(e, n)
		if first && (len(found) != 1 || found[0].Node != labMachine) || !first && len(found) != 0 {
			t.Errorf("first %v: %+v", first, found)
		}
	}
}

// A remedy may only be one that bela can take back, and it must be enough.
func TestRemedies(t *testing.T) {
	e, n := healthy(), usualNeed()
	n.arrivals, n.again = 5000, 40_000
	e.inspection.Network.ConntrackMax = 100
	e.inspection.Network.SynCookies = 0
	got := make(map[string]string)
	for _, f := range append(judge(e, n), short(experiment.Finding{Node: "worker-1", Resource: "local ports", Need: 30_000, Have: 28_232})) {
		if f.mend != nil {
			got[f.mend.sysctl] = f.mend.value
		}
	}
	want := map[string]string{somaxconn: "8192", synBacklog: "8192", portRange: "10000 65535", conntrackMax: "65536"}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %q, want %q", name, got[name], value)
		}
	}
	if f := short(experiment.Finding{Resource: "local ports", Need: 60_000, Have: 28_232}); f.Fixable() {
		t.Error("more ports than there can be cannot be mended")
	}
}

// A drift is told only from two readings that are far enough apart.
func TestReadClock(t *testing.T) {
	second := int64(time.Second)
	batch := func(at, ahead int64) (list []sample) {
		for i := range int64(8) {
			t1 := at + i*1e6
			// 100 µs each way; the node's clock is ahead.
			list = append(list, sample{T1: t1, T2: t1 + 100e3 + ahead, T3: t1 + 110e3 + ahead, T4: t1 + 210e3})
		}
		return list
	}
	c := readClock(batch(0, 50e6), batch(10*second, 50e6+2e6))
	if c == nil || (c.offset-50*time.Millisecond).Abs() > 3*time.Millisecond || c.offset < 0 {
		t.Fatalf("%+v, want about +50 ms", c)
	}
	if c.drift < 190 || c.drift > 210 || c.driftBound > 30 {
		t.Errorf("drift %.0f ±%.0f ppm, want 200: 2 ms in 10 s", c.drift, c.driftBound)
	}
	if c := readClock(nil, nil); c != nil {
		t.Errorf("without readings: %+v", c)
	}
	if c := readClock(batch(0, 0), nil); c == nil || c.driftBound < 1e6 {
		t.Errorf("from one batch: %+v", c)
	}
}

type sample = measure.ProbeSample

func cutFault() experiment.Fault {
	return experiment.Fault{Name: "split", Kind: experiment.FaultCut, Between: [2][]string{{"worker-1"}, {"iot-1"}}}
}

func slowFault() experiment.Fault {
	return experiment.Fault{Name: "far", Kind: experiment.FaultSlow, Between: [2][]string{{"worker-1"}, {"iot-1"}}, Delay: 50 * time.Millisecond}
}

// A fault is found at the nodes that it hits, once, in whatever cells it comes.
func TestNeedsOfFaults(t *testing.T) {
	t.Parallel()
	pressure := experiment.Fault{Name: "busy", Kind: experiment.FaultPressure, Nodes: []string{"worker-1"}, CPU: 500}
	cells := []experiment.Cell{{Number: 1, Faults: []experiment.Fault{cutFault(), pressure}}, {Number: 2, Faults: []experiment.Fault{cutFault()}}}
	all, _ := needs(&experiment.Plan{Cells: cells})
	if w, i := all["worker-1"], all["iot-1"]; len(w.faults) != 2 || len(i.faults) != 1 || !i.faults[0].network || w.faults[1].network {
		t.Errorf("worker-1: %+v, iot-1: %+v", w.faults, i.faults)
	}
}
