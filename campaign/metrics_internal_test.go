package campaign

import (
	"testing"

	"bela/agents/protocol"
	"bela/experiment"
	"bela/measure"
	"bela/store"
)

func value(v float64) *float64 { return &v }

// An expectation must not be held by a number that some instance, device or
// customer is missing from: "nothing dropped" of books that never came, "below
// the limit" of a component of which half was looked at.
func TestMetricsOfParts(t *testing.T) {
	t.Parallel()
	whole := measure.Cell{
		OfferedRate: value(100), AchievedRate: value(100), DeliveredRate: value(100), DropsPer5Min: value(0),
		Ledger: measure.Ledger{Published: 100, Acked: 100, Delivered: 100},
		Components: []measure.Component{
			{Component: "gateway", Instance: 1, NetIn: value(10), CPUMean: value(300), MessagesIn: value(5), MessageIn: value(512)},
			{Component: "gateway", Instance: 2, NetIn: value(20), CPUMean: value(200), MessagesIn: value(0), Restarts: 2},
		},
	}
	m := Metrics(whole)
	for name, want := range map[string]float64{
		"published": 100, "dropped": 0, "delivered": 100, "unknown": 0, "component.gateway.net_in_Bps": 30,
		"component.gateway.cpu_mcpu_mean": 300, "component.gateway.in_msg_s": 5, "component.gateway.restarts": 2,
		"component.gateway.in_message_B": 512, // the idle one has no messages to be larger
	} {
		if v, ok := m[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}

	absent := func(what string, c measure.Cell, present string, names ...string) {
		m := Metrics(c)
		for _, name := range names {
			if v, ok := m[name]; ok {
				t.Errorf("%s: %s is %v", what, name, v)
			}
		}
		if _, ok := m[present]; !ok {
			t.Errorf("%s: there is no %s", what, present)
		}
	}
	customers := whole
	customers.DropsPer5Min, customers.DeliveredRate = nil, nil
	customers.Ledger = measure.Ledger{Published: 100, Acked: 100, Unknown: 100}
	absent("customers' books are missing", customers, "published", "dropped", "delivered", "late", "duplicated", "reordered")
	absent("devices' books are missing", measure.Cell{MeasuredSeconds: 1}, "measured_s", "published", "acked", "dropped", "delivered", "unknown")
	half := whole
	half.Components = append([]measure.Component{{Component: "gateway", Instance: 3}}, whole.Components...)
	absent("an instance was not looked at", half, "component.gateway.restarts", "component.gateway.net_in_Bps", "component.gateway.cpu_mcpu_mean", "component.gateway.in_msg_s")
}

// Status 0 says that all expectations held: one that nobody could decide must not
// end in it, and a failed one must be told before it.
func TestUndecidedIsNotDone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		states  []string
		verdict measure.Verdict
		status  Status
		reason  string
	}{
		{[]string{"held"}, measure.Valid, Done, "all cells are done"},
		{[]string{"held", "unknown"}, measure.Degraded, Incomplete, `not decided, because a number was not taken or a condition cannot be worked out: "b" in cell 7`},
		{[]string{"failed", "unknown"}, measure.Valid, Unmet, `not held: "a" in cell 7`},
		{[]string{"unknown"}, measure.Invalid, Incomplete, "1 cells invalid, 0 missing"},
	} {
		c := measure.Cell{Number: 7, Verdict: row.verdict}
		for i, state := range row.states {
			c.Outcomes = append(c.Outcomes, measure.Outcome{Name: string(rune('a' + i)), State: state})
		}
		r := &runner{results: []measure.Cell{c}, planned: 1}
		if s := r.summarize(nil); s.Status != row.status || s.Reason != row.reason {
			t.Errorf("%v in a %s cell: status %d, %s; want %d, %s", row.states, row.verdict, s.Status, s.Reason, row.status, row.reason)
		}
	}
}

// A hop's throughput must be empty where one of its instances was not counted: that
// of the others alone reads as a hop that carries less.
func TestThroughputOfHalfAHop(t *testing.T) {
	t.Parallel()
	cell := experiment.Cell{Components: []experiment.Component{{Name: "gateway", Kind: experiment.KindGateway,
		Instances: []experiment.Instance{{Index: 1}, {Index: 2}}}}}
	use := newUseMeter(window{from: 0, to: 10 * oneSecond})
	count := func(instance int, until int64) {
		for at := int64(0); at <= until; at++ {
			in, out := 100*at, 50*at
			use.instance("gateway", instance).net.add(protocol.Traffic{At: at * oneSecond, Source: "own", BytesIn: &in, BytesOut: &out}, 1)
		}
	}
	count(1, 10)
	count(2, 4) // and died
	if in, out := use.throughput(cell, experiment.KindGateway); in != nil || out != nil {
		t.Errorf("of two gateways of which one died in the fourth second: %v in, %v out", *in, *out)
	}
	use.instance("gateway", 2).net = netUse{}
	count(2, 10)
	if in, out := use.throughput(cell, experiment.KindGateway); in == nil || *in != 200 || *out != 100 {
		t.Errorf("of two gateways: %v in, %v out; want 200 and 100", in, out)
	}
}

// The offered load of a cell must be empty where devices' books are missing: what
// the others offered, or 0 of none, is a number that nobody took.
func TestRatesWithoutTheDevicesBooks(t *testing.T) {
	t.Parallel()
	cell := experiment.Cell{}
	cell.Devices.Shares = []experiment.Share{{Node: "iot-1", First: 0, Count: 1}, {Node: "iot-2", First: 1, Count: 1}}
	cell.Customers.Count = 1
	cell.Customers.Shares = []experiment.Share{{Node: "customer-1", First: 0, Count: 1}}
	sent := measure.PublishAccount{Device: 0, Count: 10, Sent: measure.Bitmap{1<<10 - 1}}
	got := measure.ReceiptAccount{Device: 0, Delivered: measure.Bitmap{1<<10 - 1}}
	c := &cellRun{cell: cell, window: window{from: 0, to: 10 * oneSecond}, books: map[string]*protocol.Collected{
		"iot-1":      {Devices: &protocol.DevicesResult{Accounts: []measure.PublishAccount{sent}}},
		"customer-1": {Customers: &protocol.CustomersResult{Accounts: []measure.ReceiptAccount{got}}},
	}}
	out := new(store.CellResult)
	(&result{cellRun: c, out: out, lateness: new(measure.Histogram)}).ledger()
	if k := out.Cell; k.OfferedRate != nil || k.AchievedRate != nil || k.DeliveredRate != nil || k.DropsPer5Min != nil {
		t.Errorf("rates of half of the devices: %v offered, %v achieved, %v delivered, %v drops", k.OfferedRate, k.AchievedRate, k.DeliveredRate, k.DropsPer5Min)
	}
	if out.Cell.Ledger.Closed || out.Cell.Ledger.Published != 10 {
		t.Errorf("ledger %+v", out.Cell.Ledger)
	}
}
