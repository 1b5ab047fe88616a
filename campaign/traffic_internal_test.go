package campaign

import (
	"testing"

	"bela/agents/protocol"
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
		got := rateWithin([]measure.Reading{{At: tt.first * oneSecond, Value: 100 * tt.first}, {At: tt.last * oneSecond, Value: 100 * tt.last}}, w)
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
