package customer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bela/agents/clock"
	"bela/agents/payload"
	"bela/agents/protocol"
	"bela/agents/transport"
	"bela/measure"
)

// station is a transport that hands a test the customers' handlers.
type station struct {
	mu       sync.Mutex
	handlers map[string]func([]byte) // by topic
	conns    map[string]*stationConn
	refuse   error
}

type stationConn struct {
	station *station
	done    chan struct{}
	once    sync.Once
	err     error
}

func newStation() *station {
	return &station{handlers: map[string]func([]byte){}, conns: map[string]*stationConn{}}
}

func (s *station) Dial(context.Context, transport.Options) (transport.Conn, error) {
	return &stationConn{station: s, done: make(chan struct{})}, nil
}

func (c *stationConn) Publish(uint64, string, byte, []byte) error { return errors.New("not here") }

func (c *stationConn) Subscribe(_ context.Context, filter string, _ byte, handle func([]byte)) error {
	c.station.mu.Lock()
	defer c.station.mu.Unlock()
	c.station.handlers[filter], c.station.conns[filter] = handle, c
	return c.station.refuse
}

func (c *stationConn) Done() <-chan struct{} { return c.done }
func (c *stationConn) Err() error            { return c.err }
func (c *stationConn) Close(context.Context) error {
	c.end(transport.ErrClosed)
	return nil
}

func (c *stationConn) end(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.done)
	})
}

func testSpec() protocol.CustomersSpec {
	return protocol.CustomersSpec{
		Run: 1, Cell: 2, Node: "customer-1", First: 0, Count: 2, Devices: 10, SourceOf: []int{0, 4, 4, 8},
		Brokers: []string{"b:1"}, QoS: 1, Topic: "out/{customer}", Receive: "own", Late: 50 * time.Millisecond,
	}
}

// hall is a connected crowd with 2 customers of 2 in the cell.
type hall struct {
	*Crowd
	station *station
	builder *payload.Builder
	at      int64
}

func newHall(t testing.TB, spec protocol.CustomersSpec) *hall {
	t.Helper()
	h := &hall{station: newStation()}
	spec.Customers = 2
	var err error
	if h.builder, err = payload.NewBuilder(payload.Options{Size: 128}); err != nil {
		t.Fatal(err)
	}
	if h.Crowd, err = New(spec, clock.New(clock.Options{}), nil, nil, WithDialer(h.station)); err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.at = h.clock.Now() + int64(time.Second)
	return h
}

// begin starts a load of a second's warm-up and ten that are measured, and waits
// for its start.
func (h *hall) begin(t testing.TB) {
	t.Helper()
	if err := h.Start(protocol.Start{At: h.at, Warmup: time.Second, Measure: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(h.at - h.clock.Now()))
}

// deliver gives message k of a device (10 a second) to a customer, latency after
// its intended time, which need not be now.
func (h *hall) deliver(customer int, device, k uint32, latency time.Duration) {
	h.give(customer, payload.Envelope{
		Run: 1, Cell: 2, Device: device, Sequence: k,
		Intended: h.clock.Now() - int64(latency), Actual: h.clock.Now() - int64(latency/2),
	})
}

func (h *hall) give(customer int, e payload.Envelope) {
	h.station.mu.Lock()
	handle := h.station.handlers[fmt.Sprintf("out/%d", customer)]
	h.station.mu.Unlock()
	handle(h.builder.Append(nil, e))
}

func members(b measure.Bitmap, first uint32) []uint32 {
	var m []uint32
	for i := range uint32(len(b)) * 64 {
		if b.Has(i) {
			m = append(m, first+i)
		}
	}
	return m
}

// Duplicates, reordering and lateness must be told apart and counted exactly;
// warm-up must stay out of the accounts.
func TestAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, testSpec())
		h.begin(t)
		h.deliver(0, 4, 98, 0) // warm-up
		h.deliver(0, 4, 98, 0) // and twice
		time.Sleep(2 * time.Second)
		for _, k := range []uint32{
			102,      // the first to come is not the lowest
			100,      // 2 behind
			103, 103, // twice
			200,      // a gap, and another word of the bitmap
			104, 104, // 96 behind; the second one is a duplicate and not reordered again
			102, // twice, after others
			201,
		} {
			h.deliver(0, 4, k, 10*time.Millisecond)
		}
		h.deliver(0, 4, 202, 50*time.Millisecond) // at the bound: in time
		h.deliver(0, 4, 203, 50*time.Millisecond+1)
		h.deliver(0, 4, 203, 0) // a late message's duplicate does not make it good
		r := h.Collect()
		if len(r.Accounts) != 1 {
			t.Fatalf("%d accounts, want 1", len(r.Accounts))
		}
		a := r.Accounts[0]
		if got, want := members(a.Delivered, a.First), []uint32{100, 102, 103, 104, 200, 201, 202}; !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		if got := members(a.Late, a.First); !slices.Equal(got, []uint32{203}) {
			t.Errorf("late %v, want 203", got)
		}
		if a.Customer != 0 || a.Device != 4 || a.Duplicated != 4 || a.Reordered != 2 || a.ReorderDistance != 96 {
			t.Errorf("%+v", a)
		}
		if s := h.Status(); s.Delivered != 8 || s.Connected != 2 || s.Prepared != 2 {
			t.Errorf("status %+v", s)
		}
		if s := h.Sample(); s.Delivered != 9 || s.Duplicated != 5 || s.Latency.Count() != 9 {
			t.Errorf("sample %+v with %d latencies", s, s.Latency.Count())
		}
		if s := h.Sample(); s.Latency.Count() != 0 || s.Delivered != 9 {
			t.Error("the second sample repeats the latencies of the first, or forgets the counters")
		}
		closeCrowd(t, h.Crowd)
	})
}

func closeCrowd(t testing.TB, c *Crowd) {
	t.Helper()
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// A latency belongs to the second in which its message was intended and to the
// node of its device; the service time counts from the actual sending; and what
// is negative stays negative.
func TestLatencySlices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testSpec()
		spec.Receive = "all"
		h := newHall(t, spec)
		h.begin(t)
		time.Sleep(500 * time.Millisecond)
		h.deliver(0, 3, 1, 20*time.Millisecond)   // second 0, node 0, warm-up
		time.Sleep(2500 * time.Millisecond)       // 3.0 s
		h.deliver(0, 4, 30, 20*time.Millisecond)  // intended in second 2; nodes 1 and 2 begin at 4, 1 has none
		h.deliver(1, 7, 31, -10*time.Millisecond) // second 3, node 2, a clock is wrong
		h.deliver(1, 8, 31, 0)                    // second 3, node 3
		r := h.Collect()
		type row struct {
			second  int32
			source  int
			latency time.Duration
		}
		rows := func(slices []measure.LatencySlice) (got []row) {
			for _, s := range slices {
				low, _ := s.Latency.Min()
				got = append(got, row{s.Second, s.Source, time.Duration(low)})
				if s.Latency.Count() != 1 {
					t.Errorf("%d latencies in second %d of node %d", s.Latency.Count(), s.Second, s.Source)
				}
			}
			return
		}
		want := []row{{0, 0, 20e6}, {2, 2, 20e6}, {3, 2, -10e6}, {3, 3, 0}}
		if got := rows(r.Latency); !slices.Equal(got, want) {
			t.Errorf("latency %v, want %v", got, want)
		}
		var service time.Duration
		for _, s := range r.Service {
			low, _ := s.Latency.Min()
			service += time.Duration(low)
		}
		if len(r.Service) != 2 || service != -5e6 { // half of −10 ms, and 0; warm-up left out
			t.Errorf("service %v in %d slices", service, len(r.Service))
		}
		for _, s := range r.Service {
			if s.Second != 0 {
				t.Errorf("service times of the first %d seconds are in a slice from %d on", protocol.ServiceSeconds, s.Second)
			}
		}
		closeCrowd(t, h.Crowd)
	})
}

// Messages and probes that come before the schedule is known must not be lost:
// nodes hear of the start at different times.
func TestBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, testSpec())
		for _, id := range []uint32{5, 6, 5} {
			h.give(1, payload.Envelope{Run: 1, Cell: 2, Sequence: id, Probe: true})
		}
		h.give(1, payload.Envelope{Run: 9, Cell: 2, Sequence: 7, Probe: true}) // another run's
		if s := h.Status(); !slices.Equal(s.Probes, []uint32{5, 6}) {
			t.Errorf("probes %v, want 5 and 6", s.Probes)
		}
		time.Sleep(3 * time.Second) // the load began two seconds ago, elsewhere
		h.deliver(0, 2, 20, 0)
		h.deliver(0, 2, 20, 0)
		if s := h.Status(); s.Delivered != 0 {
			t.Errorf("%d delivered before the window is known", s.Delivered)
		}
		h.begin(t)
		h.deliver(0, 2, 21, 0)
		a := h.Collect().Accounts
		if len(a) != 1 || a[0].Delivered.Count() != 2 || a[0].Duplicated != 1 {
			t.Errorf("accounts %+v", a)
		}
		if err := h.Start(protocol.Start{At: h.at, Measure: time.Second}); err == nil {
			t.Error("started twice")
		}
		closeCrowd(t, h.Crowd)
	})
}

// A flood before the start must not fill the memory, nor go unmentioned.
func TestBeforeStartIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, testSpec())
		for k := range uint32(maxEarly + 7) {
			h.deliver(0, 2, k, 0)
		}
		if n := len(h.receivers[0].early); n != maxEarly {
			t.Errorf("%d messages kept, want %d", n, maxEarly)
		}
		if e := h.Collect().Errors; len(e) != 1 || e[0].N != 7 {
			t.Errorf("errors %v, want 7 of a kind", e)
		}
		closeCrowd(t, h.Crowd)
	})
}

// With "all" every customer has an account of every device; with "own" only of
// its own, and another's message is stray.
func TestReceive(t *testing.T) {
	for receive, want := range map[string]struct{ accounts, stray int }{"own": {2, 2}, "all": {4, 0}} {
		synctest.Test(t, func(t *testing.T) {
			spec := testSpec()
			spec.Receive = receive
			h := newHall(t, spec)
			h.begin(t)
			time.Sleep(2 * time.Second)
			for customer := range 2 {
				for device := range uint32(2) {
					h.deliver(customer, device, 1, 0)
				}
			}
			if r := h.Collect(); len(r.Accounts) != want.accounts || r.Stray != int64(want.stray) {
				t.Errorf("%s: %d accounts and %d stray, want %+v", receive, len(r.Accounts), r.Stray, want)
			}
			closeCrowd(t, h.Crowd)
		})
	}
}

// A customer whose connection breaks must come back with its account intact: a
// message redelivered on the new connection is a duplicate, not news.
func TestReconnectKeepsTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, testSpec())
		var told []string
		h.log = func(level, text string) { told = append(told, level+": "+text) }
		h.begin(t)
		time.Sleep(2 * time.Second)
		h.deliver(0, 0, 1, 0)
		h.station.conns["out/0"].end(errors.New("broken pipe"))
		synctest.Wait()
		if s := h.Status(); s.Connected != 1 || fmt.Sprint(s.Missing) != "[customer 0: broken pipe]" {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Second)
		h.deliver(0, 0, 1, 0)
		h.deliver(0, 0, 2, 0)
		h.Sample()
		r := h.Collect()
		if r.Reconnects != 1 || len(r.Accounts) != 1 || r.Accounts[0].Delivered.Count() != 2 || r.Accounts[0].Duplicated != 1 {
			t.Errorf("%d reconnects, accounts %+v", r.Reconnects, r.Accounts)
		}
		if len(told) != 1 || !strings.Contains(told[0], "customer 0: broken pipe") {
			t.Errorf("the operator was told %q", told)
		}
		closeCrowd(t, h.Crowd)
	})
}

// Who cannot subscribe must be named, else a cell counts drops that are its own
// fault.
func TestConnectFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation()
		s.refuse = errors.New("subscribe to out/x: the broker refused it")
		c, err := New(testSpec(), clock.New(clock.Options{}), nil, nil, WithDialer(s))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var failed *protocol.Error
		if err := c.Connect(ctx); !errors.As(err, &failed) || failed.Code != "connect_failed" || len(failed.Missing) != 2 ||
			!strings.Contains(failed.Missing[1], "customer 1: subscribe to out/x: the broker refused it") ||
			!strings.Contains(failed.Text, "2 of 2 customers on node customer-1") {
			t.Errorf("%+v", err)
		}
		closeCrowd(t, c)
	})
}

// A spec from the wire that cannot be run must be refused with what is wrong.
func TestSpecErrors(t *testing.T) {
	tests := map[string]func(*protocol.CustomersSpec){
		"count":     func(s *protocol.CustomersSpec) { s.Count = -1 },
		"QoS":       func(s *protocol.CustomersSpec) { s.QoS = 3 },
		"broker":    func(s *protocol.CustomersSpec) { s.Brokers = nil },
		"topic":     func(s *protocol.CustomersSpec) { s.Topic = "" },
		"receive":   func(s *protocol.CustomersSpec) { s.Receive = "some" },
		"ascending": func(s *protocol.CustomersSpec) { s.SourceOf = []int{4, 0} },
	}
	for want, change := range tests {
		s := testSpec()
		change(&s)
		var e *protocol.Error
		if _, err := New(s, clock.New(clock.Options{}), nil, nil); !errors.As(err, &e) || !strings.Contains(e.Text, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c, err := New(testSpec(), clock.New(clock.Options{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(protocol.Start{At: 1}); err == nil {
		t.Error("nothing is measured, and Start takes it")
	}
}

// Looking at the numbers while messages arrive on many connections must be safe
// and lose nothing.
func TestConcurrentReceipts(t *testing.T) {
	spec := testSpec()
	spec.Count, spec.Devices, spec.Receive, spec.Late = 8, 4, "all", 0
	h := newHall(t, spec)
	h.at = h.clock.Now() - int64(2*time.Second) // in the middle of the load
	h.begin(t)
	var all sync.WaitGroup
	const n = 500
	for customer := range 8 {
		all.Go(func() {
			for k := range uint32(n) {
				h.deliver(customer, k%4, k, 0)
			}
		})
	}
	latencies := int64(0)
	for h.Status().Delivered < 8*n {
		latencies += h.Sample().Latency.Count()
		h.Collect()
	}
	all.Wait()
	latencies += h.Sample().Latency.Count()
	var delivered, sliced int64
	r := h.Collect()
	for _, a := range r.Accounts {
		delivered += a.Delivered.Count()
	}
	for _, s := range r.Latency {
		sliced += s.Latency.Count()
	}
	if delivered != 8*n || sliced != 8*n || latencies != 8*n || len(r.Accounts) != 32 {
		t.Errorf("%d delivered, %d in slices, %d in samples, want %d; %d accounts", delivered, sliced, latencies, 8*n, len(r.Accounts))
	}
	closeCrowd(t, h.Crowd)
}

// FuzzReceive feeds a customer what no device would send. It must not panic, nor
// count anything as delivered that is not from this load.
func FuzzReceive(f *testing.F) {
	b, err := payload.NewBuilder(payload.Options{Size: 128})
	if err != nil {
		f.Fatal(err)
	}
	h := newHall(f, testSpec())
	h.begin(f)
	f.Add(b.Append(nil, payload.Envelope{Run: 1, Cell: 2, Intended: h.at}))
	f.Add(b.Append(nil, payload.Envelope{Run: 1, Cell: 2, Sequence: 1 << 31, Intended: -1 << 63}))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := h.Sample().Delivered
		h.receivers[0].receive(data)
		if after := h.Sample().Delivered; after != before {
			e, err := payload.Parse(data)
			if err != nil || e.Run != 1 || e.Cell != 2 || e.Device >= 10 || e.Intended < h.at {
				t.Fatalf("delivered %+v, %v", e, err)
			}
		}
	})
}

// BenchmarkReceive is a customer's cost of a message, apart from the transport.
func BenchmarkReceive(b *testing.B) {
	h := newHall(b, testSpec())
	h.at = h.clock.Now() - int64(2*time.Second)
	h.begin(b)
	data := make([][]byte, 1000)
	for k := range data {
		data[k] = h.builder.Append(nil, payload.Envelope{Run: 1, Cell: 2, Sequence: uint32(k), Intended: h.at + int64(time.Second)})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(data) == 0 { // so that most are not duplicates
			clear(h.receivers[0].accounts)
		}
		h.receivers[0].receive(data[i%len(data)])
	}
}
