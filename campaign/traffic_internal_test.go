package campaign

import (
	"testing"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
)

const oneSecond = int64(1e9)

// sampled is a node's sample of one foreign process that took in bytes by then.
func sampled(at int64, pid int, readAt, bytes, throttled, kills int64) protocol.Sample {
	out, peak := 2*bytes, int64(64<<20)
	return protocol.Sample{At: at, Components: []protocol.ComponentSample{{
		Name: "broker", Instance: 1, PID: pid,
		Group:   &protocol.GroupSample{ThrottledNS: &throttled, OOMKills: &kills, MemoryPeak: &peak},
		Traffic: &protocol.Traffic{At: readAt, Source: "sys", BytesIn: &bytes, BytesOut: &out},
	}}}
}

// If this failed, a source that answers late or a component that began again
// would bend its throughput.
func TestTrafficOfAForeignProcess(t *testing.T) {
	node := nodeMeter{node: "worker-1"}
	w := window{from: 2 * oneSecond, to: 12 * oneSecond}
	use := newUseMeter(w)
	for i := range int64(14) {
		// 1000 B/s, read 0.3 s before the sample, and in the fifth second not at all.
		s := sampled(i*oneSecond, 7, i*oneSecond-300_000_000, 1000*i, i*oneSecond/10, min(i/5, 1))
		if i == 5 {
			s.Components[0].Traffic = nil
		}
		n, ok := node.add(s)
		if ok && i != 5 && i > 1 {
			c := n.Components[0]
			if c.NetIn == nil || *c.NetIn != 1000 || *c.NetOut != 2000 || c.NetSource != "sys" || *c.Throttled != 100 || c.NetMessagesIn != nil {
				t.Fatalf("second %d: %+v", i, c)
			}
		}
		if ok && i == 5 && n.Components[0].NetIn != nil {
			t.Errorf("a rate of nothing: %v", *n.Components[0].NetIn)
		}
		use.add(n, s)
	}
	cell := experiment.Cell{Components: []experiment.Component{{Name: "broker", Kind: experiment.KindProcess,
		Instances: []experiment.Instance{{Index: 1, Node: "worker-1"}}}}}
	row := use.components(cell)[0]
	if row.NetIn == nil || *row.NetIn != 1000 || *row.NetOut != 2000 || row.NetSource != "sys" ||
		*row.CPUThrottled != 1 || *row.OOMKills != 1 || *row.MemoryPeak != 64 {
		t.Errorf("%+v", row)
	}
	if in, out := use.throughput(cell, experiment.KindBroker); in == nil || *in != 1000 || *out != 2000 {
		t.Errorf("broker: %v %v", in, out)
	}
	if in, _ := use.throughput(cell, experiment.KindHub); in != nil {
		t.Errorf("hub: %v", *in)
	}
}

// If this failed, a source that looks seldom would leave no throughput, or a few
// seconds of it would stand for the whole window.
func TestRateOfMostOfAWindow(t *testing.T) {
	w := window{from: 10 * oneSecond, to: 20 * oneSecond}
	for _, tt := range []struct {
		name        string
		first, last int64
		want        bool
	}{
		{"over all of it", 9, 21, true},
		{"over nine seconds of ten", 11, 20, true},
		{"over seven", 10, 17, false},
		{"before it", 1, 9, false},
	} {
		c := counter{readings: []measure.Reading{{At: tt.first * oneSecond, Value: 100 * tt.first}, {At: tt.last * oneSecond, Value: 100 * tt.last}}}
		got := c.rate(w)
		if (got != nil) != tt.want || got != nil && *got != 100 {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// If this failed, kills of a process that was started again would be forgotten.
func TestKillsOverRestarts(t *testing.T) {
	use := newUseMeter(window{from: 0, to: 10 * oneSecond})
	for i, pid := range []int{7, 7, 8, 8} {
		kills := []int64{0, 1, 0, 2}[i]
		s := sampled(int64(i)*oneSecond, pid, int64(i)*oneSecond, 0, 0, kills)
		var node nodeMeter
		n, _ := node.add(s)
		use.add(n, s)
	}
	if got := use.instance("broker", 1).limits.oomKills; got == nil || *got != 3 {
		t.Errorf("%v kills", got)
	}
}

// built is a node's sample of one built-in component, which told its counters some
// time before: by then it had taken in messages of 10 bytes each, at 1000 a second
// since the time 0.
func built(at, age int64, pid int, began int64) protocol.Sample {
	told := at - age
	n := max(told-began, 0) * 1000 / oneSecond
	return protocol.Sample{At: at, Components: []protocol.ComponentSample{{
		Name: "broker", Instance: 1, PID: pid, ProcessSample: protocol.ProcessSample{CPUNS: n * 1000},
		Counters:  &protocol.Counters{MessagesIn: n, MessagesOut: 2 * n, BytesIn: 10 * n, BytesOut: 20 * n, PayloadIn: 8 * n},
		CountedAt: told,
	}}}
}

// If this failed, counters that a component told a moment before the sample would
// count as those of the sample's own time: of a window of 10 s a tenth could be
// missing, or too much. The age of what a sample finds changes from one to the next.
func TestCountersCountAtTheTimeAtWhichTheyWereTold(t *testing.T) {
	t.Parallel()
	cell := experiment.Cell{Components: []experiment.Component{{Name: "broker", Kind: experiment.KindBroker, Instances: []experiment.Instance{{Index: 1}}}}}
	w := window{from: 2 * oneSecond, to: 12 * oneSecond}
	for name, age := range map[string]func(second int64) int64{
		"old at the beginning, fresh at the end": func(second int64) int64 { return (14 - second) * oneSecond / 20 },
		"fresh at the beginning, old at the end": func(second int64) int64 { return second * oneSecond / 20 },
		"old and fresh by turns":                 func(second int64) int64 { return second % 2 * oneSecond * 9 / 10 },
	} {
		node, use := nodeMeter{node: "worker-1"}, newUseMeter(w)
		for second := int64(1); second <= 12; second++ { // no sample comes after the window's end
			s := built(second*oneSecond, age(second), 7, 0)
			n, ok := node.add(s)
			use.add(n, s)
			if ok && (n.Components[0].MessagesIn != 1000 || *n.Components[0].NetOut != 20_000) {
				t.Errorf("%s: second %d has %v messages/s, %v bytes/s out", name, second, n.Components[0].MessagesIn, *n.Components[0].NetOut)
			}
		}
		row := use.components(cell)[0]
		if row.MessagesIn == nil || *row.MessagesIn != 1000 || *row.MessagesOut != 2000 || *row.NetIn != 10_000 || *row.NetOut != 20_000 || *row.MessageIn != 8 {
			t.Errorf("%s: %+v", name, row)
		}
		if in, _ := use.throughput(cell, experiment.KindBroker); in == nil || *in != 10_000 {
			t.Errorf("%s: broker in %v", name, in)
		}
	}
}

// If this failed, a component that was started again while its counters were low
// would lose what it did first: the new process passes the old one's count before
// anybody looks.
func TestCountersOverRestarts(t *testing.T) {
	t.Parallel()
	use := newUseMeter(window{from: 0, to: 4 * oneSecond})
	for _, s := range []protocol.Sample{
		built(0, 0, 7, 0), built(1*oneSecond, 0, 7, 0), // 1000 by now
		built(2*oneSecond, 0, 8, 0), built(3*oneSecond, 0, 8, 0), built(4*oneSecond, 0, 8, 0), // 4000 more
	} {
		use.add(event.NodeSample{}, s)
	}
	var row measure.Component
	use.instance("broker", 1).fill(&row, use.window)
	if *row.MessagesIn != 5000/4 || *row.NetIn != 50_000/4 || *row.CPUMean != 5e6/4/1e6 {
		t.Errorf("in %v msg/s, %v B/s, CPU %v mCPU", *row.MessagesIn, *row.NetIn, *row.CPUMean)
	}
}

// If this failed, a node whose clock is ahead would have no traffic of a foreign
// process in a run's first cell: a reading of before it was told the testbed's time
// would stand before all that follow.
func TestTrafficReadBeforeTheTimeWasKnown(t *testing.T) {
	t.Parallel()
	w := window{from: 2 * oneSecond, to: 12 * oneSecond}
	use := newUseMeter(w)
	for i := range int64(14) {
		at := i * oneSecond
		if i == 0 {
			at += 3600 * oneSecond
		}
		use.add(event.NodeSample{}, sampled(i*oneSecond, 7, at, 1000*i, 0, 0))
	}
	if in := use.instance("broker", 1).net.in.rate(w); in == nil || *in != 1000 {
		t.Errorf("%v bytes/s", in)
	}
}
