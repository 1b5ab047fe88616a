package influx

import (
	"fmt"
	"testing"
	"time"

	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"bela/event"
)

// benchSample is one second on a worker node.
func benchSample() event.Event {
	for _, ev := range fixtureRun(1, steady) {
		if s, ok := ev.Data.(event.NodeSample); ok && s.Position > 0 && len(s.Components) == 0 {
			return ev
		}
	}
	panic("the fixture has no such sample")
}

// BenchmarkEncoder encodes one node's second. Read it beside BenchmarkClientPoint,
// which makes the same line with InfluxData's client.
func BenchmarkEncoder(b *testing.B) {
	e := NewEncoder("qos 1", "r")
	for _, ev := range fixtureRun(1, steady) {
		e.Append(nil, ev)
	}
	ev := benchSample()
	buf := make([]byte, 0, 1<<12)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.Append(buf[:0], ev)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

// BenchmarkClientPoint makes BenchmarkEncoder's line with InfluxData's client.
func BenchmarkClientPoint(b *testing.B) {
	ev := benchSample()
	d := ev.Data.(event.NodeSample)
	tags := map[string]string{"experiment": "qos 1", "run": "r", "node": d.Node, "role": "master", "cell": "1", "repetition": "1", "attempt": "1"}
	for _, dim := range fixtureCells()[0].Dimensions {
		tags["dim_"+dim.Name] = fmt.Sprint(dim.Value)
	}
	b.ReportAllocs()
	for b.Loop() {
		p := write.NewPoint("bela_node", tags, map[string]any{
			"t_s": d.T, "cpus": d.CPUs, "cpu_mcpu": d.CPU, "steal_mcpu": d.Steal, "memory_mib": d.Memory, "memory_total_mib": d.MemoryTotal,
			"net_in_Bps": d.NetIn, "net_out_Bps": d.NetOut, "load1": d.Load1, "agent_cpu_mcpu": d.AgentCPU, "agent_memory_mib": d.AgentMemory,
		}, ev.Time)
		_ = write.PointToLineProtocol(p, time.Nanosecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "points/s")
}
