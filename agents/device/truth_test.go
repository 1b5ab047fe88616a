package device_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"bela/agents/clock"
	"bela/agents/customer"
	"bela/agents/device"
	"bela/agents/payload"
	"bela/agents/protocol"
	"bela/agents/transport/mqtt/mqtttest"
	"bela/measure"
)

// rig is devices and customers around a real broker, with a known truth.
type rig struct {
	t     *testing.T
	clock *clock.Clock
	fleet *device.Fleet
	crowd *customer.Crowd
	start protocol.Start
}

// specs are a small load: the devices' broker and the customers' may differ, so
// that a proxy can stand on one side.
func specs(toBroker, fromBroker string, qos int) load {
	d := protocol.DevicesSpec{
		Run: 0xbe1a, Cell: 7, Node: "iot-1", First: 0, Count: 8, Customers: 3, Brokers: []string{toBroker},
		QoS: qos, Rate: 100, Arrivals: "constant", Topic: "iot/{customer}/{device}", Payload: 256,
		Seed: 42, AckTimeout: 2 * time.Second,
	}
	c := protocol.CustomersSpec{
		Run: 0xbe1a, Cell: 7, Node: "customer-1", First: 0, Count: 3, Devices: 8, SourceOf: []int{0, 4},
		Brokers: []string{fromBroker}, QoS: qos, Topic: "iot/{customer}/#", Receive: "own",
	}
	return load{d, c}
}

// load is both sides of it.
type load struct {
	devices   protocol.DevicesSpec
	customers protocol.CustomersSpec
}

// connect brings both sides up; they end with the test.
func connect(t *testing.T, l load, options ...device.Option) *rig {
	t.Helper()
	r := &rig{t: t, clock: clock.New(clock.Options{})}
	log := func(level, text string) { t.Logf("%s: %s", level, text) }
	l.customers.Customers = l.devices.Customers
	var err error
	if r.crowd, err = customer.New(l.customers, r.clock, nil, log); err != nil {
		t.Fatal(err)
	}
	if r.fleet, err = device.New(l.devices, r.clock, nil, log, options...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.fleet.Close(ctx); err != nil {
			t.Errorf("closing the devices: %v", err)
		}
		if err := r.crowd.Close(ctx); err != nil {
			t.Errorf("closing the customers: %v", err)
		}
	})
	if err := r.crowd.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.fleet.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin starts both sides with a schedule a little ahead.
func (r *rig) begin(warmup, measured time.Duration) {
	r.t.Helper()
	r.start = protocol.Start{At: r.clock.Now() + int64(300*time.Millisecond), Warmup: warmup, Measure: measured}
	if err := r.crowd.Start(r.start); err != nil {
		r.t.Fatal(err)
	}
	if err := r.fleet.Start(r.start); err != nil {
		r.t.Fatal(err)
	}
}

// waitEnd waits for the end of the schedule, then for the given condition or,
// at most, the limit.
func (r *rig) waitEnd(limit time.Duration, settled func(d, c protocol.LoadStatus) bool) {
	r.t.Helper()
	end := r.clock.ToLocal(r.start.At) + int64(r.start.Warmup+r.start.Measure)
	await(r.t, time.Duration(end-r.clock.Local())+limit, func() bool {
		return r.clock.Local() > end && settled(r.fleet.Status(), r.crowd.Status())
	}, func() string {
		return fmt.Sprintf("the load did not settle: devices %+v %v, customers %+v %v",
			r.fleet.Status(), r.fleet.Collect().Errors, r.crowd.Status(), r.crowd.Collect().Errors)
	})
}

// await polls a condition until the limit.
func await(t *testing.T, limit time.Duration, done func() bool, what func() string) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what())
		}
	}
}

// allDelivered is settled when each published message has arrived.
func allDelivered(d, c protocol.LoadStatus) bool { return d.Pending == 0 && c.Delivered == d.Published }

// subset reports whether a is within b.
func subset(a, b measure.Bitmap) bool {
	for i, w := range a {
		if w != 0 && (i >= len(b) || w&^b[i] != 0) {
			return false
		}
	}
	return true
}

// checkBooks holds a device's account against its identities; it returns the
// number of unsent messages.
func checkBooks(t *testing.T, a measure.PublishAccount) int64 {
	t.Helper()
	unsent := int64(a.Count) - a.Sent.Count() - a.Failed.Count()
	if unsent < 0 {
		t.Errorf("device %d: %d intended, but %d sent and %d failed", a.Device, a.Count, a.Sent.Count(), a.Failed.Count())
	}
	if !subset(a.Acked, a.Sent) || !subset(a.Unknown, a.Sent) {
		t.Errorf("device %d: acknowledged or unknown messages that were not sent", a.Device)
	}
	for i := range a.Count {
		if a.Sent.Has(i) && a.Failed.Has(i) || a.Acked.Has(i) && a.Unknown.Has(i) {
			t.Errorf("device %d message %d is in two classes", a.Device, a.First+i)
		}
	}
	for _, b := range []measure.Bitmap{a.Sent, a.Failed} {
		if over := b; int64(len(over))*64 > 0 {
			for i := a.Count; i < uint32(len(over))*64; i++ {
				if over.Has(i) {
					t.Errorf("device %d: message %d is beyond the %d intended", a.Device, i, a.Count)
				}
			}
		}
	}
	return unsent
}

// has reports whether a receipt account holds a sequence number as delivered.
func has(a measure.ReceiptAccount, sequence uint32) bool {
	return sequence >= a.First && (a.Delivered.Has(sequence-a.First) || a.Late.Has(sequence-a.First))
}

func receiptsOf(t *testing.T, c protocol.CustomersResult, device int) measure.ReceiptAccount {
	t.Helper()
	for _, a := range c.Accounts {
		if a.Device == device {
			return a
		}
	}
	t.Fatalf("no customer has an account of device %d", device)
	return measure.ReceiptAccount{}
}

// checkNoPhantoms reports deliveries that the publisher does not know as sent.
func checkNoPhantoms(t *testing.T, d measure.PublishAccount, r measure.ReceiptAccount) {
	t.Helper()
	for i := range uint32(len(r.Delivered)) * 64 {
		if !r.Delivered.Has(i) {
			continue
		}
		if sequence := r.First + i; sequence < d.First || !d.Sent.Has(sequence-d.First) {
			t.Errorf("device %d: message %d was delivered, but not sent", d.Device, sequence)
		}
	}
}

// Every message of an undisturbed load must be in both books, at each QoS and
// with two brokers: else users see drops that never happened.
func TestEveryMessageIsAccounted(t *testing.T) {
	brokers := map[string]func(t *testing.T) string{
		"mochi": func(t *testing.T) string {
			_, address := mqtttest.Broker(t)
			return address
		},
		"mosquitto": func(t *testing.T) string { return mqtttest.Mosquitto(t) },
	}
	for name, broker := range brokers {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s/qos%d", name, qos), func(t *testing.T) {
				t.Parallel()
				address := broker(t)
				r := connect(t, specs(address, address, qos))
				r.begin(300*time.Millisecond, time.Second)
				r.waitEnd(10*time.Second, allDelivered)
				d, c := r.fleet.Collect(), r.crowd.Collect()
				checkPerfect(t, r, qos, d, c)
			})
		}
	}
}

func checkPerfect(t *testing.T, r *rig, qos int, d protocol.DevicesResult, c protocol.CustomersResult) {
	t.Helper()
	var sent, perSecond, latencies, services int64
	for _, a := range d.Accounts {
		if unsent := checkBooks(t, a); unsent != 0 || a.Failed.Count() != 0 || a.Unknown.Count() != 0 {
			t.Errorf("device %d: %d unsent, %d failed, %d unknown; want none", a.Device, unsent, a.Failed.Count(), a.Unknown.Count())
		}
		if want := a.Sent.Count(); qos > 0 && a.Acked.Count() != want {
			t.Errorf("device %d: %d of %d acknowledged", a.Device, a.Acked.Count(), want)
		}
		receipts := receiptsOf(t, c, a.Device)
		if receipts.Customer != a.Device%3 {
			t.Errorf("device %d went to customer %d", a.Device, receipts.Customer)
		}
		if receipts.Delivered.Count() != a.Sent.Count() || receipts.Duplicated != 0 || receipts.Reordered != 0 {
			t.Errorf("device %d: sent %d; delivered %d, duplicated %d, reordered %d",
				a.Device, a.Sent.Count(), receipts.Delivered.Count(), receipts.Duplicated, receipts.Reordered)
		}
		checkNoPhantoms(t, a, receipts)
		sent += a.Sent.Count()
	}
	if want := int64(8 * 100); sent != want { // 8 devices × 100 msg/s × 1 s
		t.Errorf("%d measured messages were sent, want %d", sent, want)
	}
	for _, n := range d.PublishedPerSecond {
		perSecond += n
	}
	for _, s := range c.Latency {
		latencies += s.Latency.Count()
	}
	for _, s := range c.Service {
		services += s.Latency.Count()
	}
	if want := int64(8 * 130); perSecond != want || latencies != want || services != sent {
		t.Errorf("with warm-up: published %d, latencies %d, want %d; service times %d, want %d", perSecond, latencies, want, services, sent)
	}
	if len(c.Latency) != 4 { // seconds 0 and 1 of two device nodes
		t.Errorf("%d latency slices, want 4", len(c.Latency))
	}
	if c.Foreign != 0 || c.Stray != 0 || d.Lateness.Count() != sent {
		t.Errorf("foreign %d, stray %d, lateness of %d messages, want 0, 0, %d", c.Foreign, c.Stray, d.Lateness.Count(), sent)
	}
	if qos > 0 && d.Ack.Count() != sent {
		t.Errorf("%d acknowledgement times, want %d", d.Ack.Count(), sent)
	}
	s := r.fleet.Sample()
	if s.Intended != 8*130 || s.Sent != s.Intended {
		t.Errorf("sample: intended %d, sent %d, want both %d", s.Intended, s.Sent, 8*130)
	}
}

// tamper is a broker that loses, doubles and swaps by sequence number.
type tamper struct {
	mochi.HookBase
	server *mochi.Server
	mu     sync.Mutex
	held   map[uint32]packets.Packet
}

const (
	dropEvery   = 97
	doubleEvery = 53
	swapEvery   = 31 // with its successor
)

// No message is dropped, doubled and swapped at once, nor the one that a held
// one is swapped with.
func drops(k uint32) bool { return k%dropEvery == 0 }
func swaps(k uint32) bool { return k%swapEvery == 5 && !drops(k) && !drops(k+1) }

func doubles(k uint32) bool {
	second := k > 0 && swaps(k-1) // of a swapped pair
	return k%doubleEvery == 7 && !swaps(k) && !second && !drops(k)
}

func (h *tamper) ID() string { return "tamper" }

func (h *tamper) Provides(b byte) bool { return b == mochi.OnPublish || b == mochi.OnPublished }

func (h *tamper) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	e, err := payload.Parse(pk.Payload)
	if err != nil || e.Probe || cl.Net.Inline {
		return pk, nil
	}
	if swaps(e.Sequence) {
		h.mu.Lock()
		h.held[e.Device] = pk
		h.mu.Unlock()
		return pk, packets.CodeSuccessIgnore
	}
	if drops(e.Sequence) {
		return pk, packets.CodeSuccessIgnore
	}
	return pk, nil
}

func (h *tamper) OnPublished(cl *mochi.Client, pk packets.Packet) {
	e, err := payload.Parse(pk.Payload)
	if err != nil || e.Probe || cl.Net.Inline {
		return
	}
	if doubles(e.Sequence) {
		_ = h.server.Publish(pk.TopicName, pk.Payload, false, pk.FixedHeader.Qos)
	}
	h.mu.Lock()
	held, ok := h.held[e.Device]
	if ok && !swaps(e.Sequence) {
		delete(h.held, e.Device)
	} else {
		ok = false
	}
	h.mu.Unlock()
	if ok {
		_ = h.server.Publish(held.TopicName, held.Payload, false, held.FixedHeader.Qos)
	}
}

// A broker's drops, duplicates and swaps must be counted exactly, whatever the
// QoS: they are what users come for.
func TestDropsDuplicatesAndSwapsAreExact(t *testing.T) {
	for qos := range 2 {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			t.Parallel()
			hook := &tamper{held: make(map[uint32]packets.Packet)}
			server, address := mqtttest.Broker(t, hook)
			hook.server = server
			l := specs(address, address, qos)
			l.devices.Rate = 200
			r := connect(t, l)
			r.begin(500*time.Millisecond, 2*time.Second)
			want := make(map[int][3]int64) // drops, duplicates, swaps by device
			r.waitEnd(10*time.Second, func(d, c protocol.LoadStatus) bool {
				// All but the drops: at least 400 of each device less than 1 in 97.
				return d.Pending == 0 && c.Delivered >= d.Published-d.Published/dropEvery-8
			})
			d := r.fleet.Collect()
			expected := int64(0)
			for _, a := range d.Accounts {
				checkBooks(t, a)
				n := [3]int64{}
				for k := a.First; k < a.First+a.Count; k++ {
					if drops(k) {
						n[0]++
					}
					if doubles(k) {
						n[1]++
					}
					// A swap with the message after the window ends unseen: the
					// held message is never released.
					if swaps(k) && k+1 < a.First+a.Count {
						n[2]++
					} else if swaps(k) {
						n[0]++
					}
				}
				want[a.Device] = n
				expected += a.Sent.Count() - n[0]
			}
			await(t, 10*time.Second, func() bool { return r.crowd.Status().Delivered == expected }, func() string {
				return fmt.Sprintf("%d delivered, want %d", r.crowd.Status().Delivered, expected)
			})
			c := r.crowd.Collect()
			for _, a := range d.Accounts {
				receipts, n := receiptsOf(t, c, a.Device), want[a.Device]
				got := [3]int64{a.Sent.Count() - receipts.Delivered.Count(), int64(receipts.Duplicated), int64(receipts.Reordered)}
				if got != n {
					t.Errorf("device %d: dropped, duplicated, reordered %v, want %v", a.Device, got, n)
				}
				if n[2] > 0 && receipts.ReorderDistance != 1 {
					t.Errorf("device %d: reorder distance %d, want 1", a.Device, receipts.ReorderDistance)
				}
				for k := a.First; k < a.First+a.Count; k++ {
					lost := drops(k) || swaps(k) && k+1 == a.First+a.Count
					if has(receipts, k) == lost {
						t.Errorf("device %d message %d: delivered %v, want %v", a.Device, k, !lost, lost)
					}
				}
			}
		})
	}
}

// ackedArrived reports whether all that the broker acknowledged was delivered.
func ackedArrived(d measure.PublishAccount, r measure.ReceiptAccount) bool {
	for i := range d.Count {
		if d.Acked.Has(i) && !has(r, d.First+i) {
			return false
		}
	}
	return true
}

// A connection that breaks must leave its messages in doubt, not lost and not
// acknowledged: only the customers' books can tell, and the device must be back
// for the rest of the load.
func TestCutConnectionLeavesMessagesInDoubt(t *testing.T) {
	_, address := mqtttest.Broker(t)
	proxy := mqtttest.NewProxy(t, address, 20*time.Millisecond) // so that some are always in flight
	r := connect(t, specs(proxy.Address, address, 1))
	r.begin(200*time.Millisecond, 2*time.Second)
	await(t, 10*time.Second, func() bool { return r.fleet.Status().Published > 200 },
		func() string { return "the load does not get going" })
	if n := proxy.Cut(); n != 8 {
		t.Errorf("%d connections were cut, want 8", n)
	}
	r.waitEnd(10*time.Second, func(d, c protocol.LoadStatus) bool { return d.Pending == 0 && d.Connected == 8 })
	d := r.fleet.Collect()
	var acked, unknown, unsent int64
	for _, a := range d.Accounts {
		unsent += checkBooks(t, a) + a.Failed.Count()
		acked += a.Acked.Count()
		unknown += a.Unknown.Count()
		if a.Acked.Count()+a.Unknown.Count() != a.Sent.Count() {
			t.Errorf("device %d: %d sent, but %d acknowledged and %d unknown", a.Device, a.Sent.Count(), a.Acked.Count(), a.Unknown.Count())
		}
	}
	await(t, 10*time.Second, func() bool {
		c := r.crowd.Collect()
		for _, a := range d.Accounts {
			if !ackedArrived(a, receiptsOf(t, c, a.Device)) {
				return false
			}
		}
		return true
	}, func() string { return "messages were acknowledged and not delivered" })
	c := r.crowd.Collect()
	for _, a := range d.Accounts {
		checkNoPhantoms(t, a, receiptsOf(t, c, a.Device))
	}
	if unknown == 0 {
		t.Error("no message is unknown, although connections broke with messages in flight")
	}
	if unsent == 0 {
		t.Error("no message is unsent or failed, although the devices were without a connection")
	}
	if d.Reconnects < 8 {
		t.Errorf("%d reconnects, want at least 8", d.Reconnects)
	}
	t.Logf("acknowledged %d, unknown %d, unsent or failed %d, errors %v", acked, unknown, unsent, d.Errors)
}

// A broker that takes a connection and then never reads must not hold up the
// devices of another: lateness is the generator's own fault or nobody's.
func TestStalledBrokerHoldsUpNobodyElse(t *testing.T) {
	_, address := mqtttest.Broker(t)
	proxy := mqtttest.NewProxy(t, address, 0)
	l := specs(address, address, 1)
	// Device 1 is behind the proxy, device 0 is not. The payload fills a socket
	// within a second, and one device's is little for the broker.
	l.devices.Brokers, l.devices.Count, l.customers.Devices = []string{address, proxy.Address}, 2, 2
	l.devices.Payload, l.devices.AckTimeout, l.devices.Rate = 64<<10, 5*time.Second, 50
	r := connect(t, l, device.WithWriteTimeout(500*time.Millisecond))
	proxy.Freeze()
	r.begin(200*time.Millisecond, 3*time.Second)
	r.waitEnd(10*time.Second, func(d, c protocol.LoadStatus) bool { return d.Pending == 0 })
	d := r.fleet.Collect()
	var stalled int64
	for _, a := range d.Accounts {
		unsent := checkBooks(t, a)
		if a.Device%2 == 0 {
			if a.Acked.Count() != int64(a.Count) {
				t.Errorf("device %d is not behind the stalled connection: %d of %d acknowledged", a.Device, a.Acked.Count(), a.Count)
			}
			continue
		}
		if a.Acked.Count() != 0 {
			t.Errorf("device %d: %d acknowledged by nobody", a.Device, a.Acked.Count())
		}
		stalled += unsent + a.Failed.Count() + a.Unknown.Count()
		if int64(a.Count) != unsent+a.Failed.Count()+a.Unknown.Count() {
			t.Errorf("device %d: of %d messages %d unsent, %d failed, %d unknown", a.Device, a.Count, unsent, a.Failed.Count(), a.Unknown.Count())
		}
	}
	if stalled == 0 {
		t.Error("the stalled connection stopped nothing: the test does not test")
	}
	if !slices.ContainsFunc(d.Errors, func(c protocol.Count) bool { return strings.Contains(c.What, "timeout") }) {
		t.Errorf("no write to the stalled connection timed out: %v", d.Errors)
	}
	// Only devices on the good connection are heard. Had they waited for the
	// stalled writes, of half a second each, all would be late by seconds. The
	// median, since a busy machine makes some of them late by itself.
	all := new(measure.Histogram)
	for _, s := range r.crowd.Collect().Latency {
		all.Merge(s.Latency)
	}
	if p50, _ := all.Quantile(0.5); p50 > 400e6 {
		t.Errorf("the median latency beside the stalled connections is %v", time.Duration(p50))
	}
}

// Payloads of others on the same broker, and of another run, must be counted
// apart and never end up in an account.
func TestForeignAndStrayPayloads(t *testing.T) {
	server, address := mqtttest.Broker(t)
	r := connect(t, specs(address, address, 0))
	r.begin(100*time.Millisecond, 400*time.Millisecond)
	builder, err := payload.NewBuilder(payload.Options{Size: 200})
	if err != nil {
		t.Fatal(err)
	}
	inside := r.start.At + int64(200*time.Millisecond)
	good := payload.Envelope{Run: 0xbe1a, Cell: 7, Device: 0, Sequence: 5, Intended: inside, Actual: inside}
	change := func(f func(*payload.Envelope)) []byte {
		e := good
		f(&e)
		return builder.Append(nil, e)
	}
	tests := []struct {
		name   string
		data   []byte
		stray  bool // else foreign
		reason string
	}{
		{"empty", nil, false, "no envelope"},
		{"json", []byte(`{"temperature":21}`), false, "no envelope"},
		{"cut", builder.Append(nil, good)[:40], false, "the envelope is not whole"},
		{"other run", change(func(e *payload.Envelope) { e.Run++ }), true, "a run before this one still publishes"},
		{"other cell", change(func(e *payload.Envelope) { e.Cell++ }), true, "a message of the cell before arrives late"},
		{"other customer's", change(func(e *payload.Envelope) { e.Device = 1 }), true, "device 1 belongs to customer 1, this is customer 0"},
		{"no such device", change(func(e *payload.Envelope) { e.Device = 8 }), true, "there are 8 devices"},
		{"huge number", change(func(e *payload.Envelope) { e.Sequence = 1 << 31 }), true, "would need a bitmap of 256 MiB"},
		{"before the load", change(func(e *payload.Envelope) { e.Intended = r.start.At - 1 }), true, "no schedule holds it"},
		{"after the load", change(func(e *payload.Envelope) { e.Intended = r.start.At + int64(500*time.Millisecond) }), true, "no schedule holds it"},
	}
	var foreign, stray int64
	for _, test := range tests {
		if test.stray {
			stray++
		} else {
			foreign++
		}
		if err := server.Publish("iot/0/x", test.data, false, 0); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
	}
	r.waitEnd(10*time.Second, allDelivered)
	await(t, 5*time.Second, func() bool {
		c := r.crowd.Collect()
		return c.Foreign == foreign && c.Stray == stray
	}, func() string {
		c := r.crowd.Collect()
		return fmt.Sprintf("foreign %d, stray %d, want %d, %d", c.Foreign, c.Stray, foreign, stray)
	})
	d, c := r.fleet.Collect(), r.crowd.Collect()
	for _, a := range d.Accounts {
		if got := receiptsOf(t, c, a.Device).Delivered.Count(); got != a.Sent.Count() {
			t.Errorf("device %d: %d delivered, %d sent", a.Device, got, a.Sent.Count())
		}
	}
}

// A delay on the wire must show in the latencies, whole and at its size.
func TestPlantedDelayShowsInLatency(t *testing.T) {
	const delay = 40 * time.Millisecond
	measured := func(wire func(broker string) string) (least, median time.Duration) {
		_, address := mqtttest.Broker(t)
		r := connect(t, specs(wire(address), address, 0))
		r.begin(100*time.Millisecond, 800*time.Millisecond)
		r.waitEnd(10*time.Second, allDelivered)
		r.fleet.Collect()
		all := new(measure.Histogram)
		for _, s := range r.crowd.Collect().Latency {
			all.Merge(s.Latency)
		}
		low, _ := all.Min()
		p50, _ := all.Quantile(0.5)
		return time.Duration(low), time.Duration(p50)
	}
	// A busy machine adds to either side, for a while. That no message is quicker
	// than the wire must hold always; the size of the step, in a quiet moment.
	var moved time.Duration
	for range 5 {
		_, direct := measured(func(broker string) string { return broker })
		least, delayed := measured(func(broker string) string { return mqtttest.NewProxy(t, broker, delay).Address })
		if least < delay {
			t.Fatalf("a message took %v over a wire of %v", least, delay)
		}
		if moved = delayed - direct; (moved - delay).Abs() < 10*time.Millisecond {
			return
		}
	}
	t.Errorf("the median moved by %v, want %v", moved, delay)
}

// A probe must reach its customer before any load, at each QoS: it is how a cell
// knows that the chain stands.
func TestProbe(t *testing.T) {
	for qos := range 2 {
		_, address := mqtttest.Broker(t)
		r := connect(t, specs(address, address, qos))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		for id := uint32(1); id <= 3; id++ {
			if err := r.fleet.Probe(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		await(t, 5*time.Second, func() bool { return len(r.crowd.Status().Probes) == 3 },
			func() string { return fmt.Sprintf("probes %v arrived, want 3", r.crowd.Status().Probes) })
		cancel()
		if s := r.crowd.Sample(); s.Delivered != 0 {
			t.Errorf("probes count as %d deliveries, want none", s.Delivered)
		}
	}
}
