package device

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bela/agents/clock"
	"bela/agents/payload"
	"bela/agents/protocol"
	"bela/agents/schedule"
	"bela/agents/transport"
)

// script is a transport that does what a test says; time is synctest's.
type script struct {
	dial    func(o transport.Options) error
	publish func(c *scriptConn, id uint64, payload []byte) error

	mu    sync.Mutex
	conns []*scriptConn
}

type scriptConn struct {
	transport.Options
	done chan struct{}
	once sync.Once
	err  error
}

func (s *script) Dial(_ context.Context, o transport.Options) (transport.Conn, error) {
	if s.dial != nil {
		if err := s.dial(o); err != nil {
			return nil, err
		}
	}
	c := &scriptConn{Options: o, done: make(chan struct{})}
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	return &bound{scriptConn: c, script: s}, nil
}

// bound ties a connection to what its script does with messages.
type bound struct {
	*scriptConn
	script *script
}

func (b *bound) Publish(id uint64, _ string, _ byte, payload []byte) error {
	return b.script.publish(b.scriptConn, id, payload)
}
func (b *bound) Subscribe(context.Context, string, byte, func([]byte)) error { return nil }
func (b *bound) Done() <-chan struct{}                                       { return b.done }
func (b *bound) Err() error                                                  { return b.err }
func (b *bound) Close(context.Context) error {
	b.end(transport.ErrClosed)
	return nil
}

func (c *scriptConn) end(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.done)
	})
}

func testSpec() protocol.DevicesSpec {
	return protocol.DevicesSpec{
		Run: 1, Cell: 2, Node: "iot-1", First: 10, Count: 3, Customers: 2, Brokers: []string{"a:1", "b:1"}, QoS: 1,
		Rate: 100, Arrivals: "constant", Topic: "iot/{node}/{customer}/{device}", Payload: 128, Seed: 7, AckTimeout: time.Second,
	}
}

// newFleet is a connected fleet over a script, on synctest's time.
func newFleet(t *testing.T, spec protocol.DevicesSpec, s *script, options ...Option) *Fleet {
	t.Helper()
	options = append(options, WithDialer(s), func(f *Fleet) { f.waiter = func() waiter { return newTimerWaiter() } })
	f, err := New(spec, clock.New(clock.Options{}), nil, nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func begin(t *testing.T, f *Fleet, warmup, measured time.Duration) {
	t.Helper()
	if err := f.Start(protocol.Start{At: f.clock.Now() + 1e9, Warmup: warmup, Measure: measured}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
}

func closeFleet(t *testing.T, f *Fleet) {
	t.Helper()
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// classes are the sums over all accounts, which must close.
type classes struct{ intended, sent, acked, failed, unknown, unsent int64 }

func sum(t *testing.T, r protocol.DevicesResult) classes {
	t.Helper()
	var c classes
	for _, a := range r.Accounts {
		c.intended += int64(a.Count)
		c.sent += a.Sent.Count()
		c.acked += a.Acked.Count()
		c.failed += a.Failed.Count()
		c.unknown += a.Unknown.Count()
	}
	c.unsent = c.intended - c.sent - c.failed
	if c.acked+c.unknown != c.sent {
		t.Errorf("%d acknowledged and %d unknown are not the %d sent", c.acked, c.unknown, c.sent)
	}
	return c
}

func errorCount(r protocol.DevicesResult, what string) int64 {
	for _, c := range r.Errors {
		if c.What == what {
			return c.N
		}
	}
	return 0
}

// checkPages demands that the books of one device after another are the whole.
func checkPages(t *testing.T, f *Fleet, whole protocol.DevicesResult) {
	t.Helper()
	var pages protocol.Collected
	for next := 0; next >= 0; {
		var page protocol.DevicesResult
		if page, next = f.CollectPage(next, 1); len(page.Accounts) != 1 {
			t.Fatalf("a page for one device has %d", len(page.Accounts))
		}
		pages.Add(protocol.Collected{Devices: &page})
	}
	if !reflect.DeepEqual(*pages.Devices, whole) {
		t.Errorf("the pages hold other books than the whole: %+v, %+v", *pages.Devices, whole)
	}
}

// acknowledge answers each message at once, even before Publish returns.
func acknowledge(c *scriptConn, id uint64, _ []byte) error {
	c.Acked(id, nil)
	return nil
}

// A load that goes well must be in the books completely, with the envelope that
// was scheduled; also where acknowledgements overtake Publish.
func TestFleetSendsWhatIsScheduled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[uint32][]payload.Envelope{}
		s := &script{publish: func(c *scriptConn, id uint64, p []byte) error {
			e, err := payload.Parse(p)
			if err != nil || len(p) != 128 || uint64(e.Sequence) != id || e.Run != 1 || e.Cell != 2 || e.Probe {
				t.Errorf("message %d: %+v, %v", id, e, err)
			}
			mu.Lock()
			got[e.Device] = append(got[e.Device], e)
			mu.Unlock()
			c.Acked(id, nil)
			return nil
		}}
		f := newFleet(t, testSpec(), s)
		begin(t, f, time.Second, 2*time.Second)
		at := f.start.Load().at
		time.Sleep(4 * time.Second)
		r := f.Collect()
		checkPages(t, f, r)
		if c := sum(t, r); c != (classes{intended: 600, sent: 600, acked: 600}) {
			t.Errorf("%+v", c)
		}
		for device := uint32(10); device < 13; device++ {
			plan, err := schedule.New(f.scheduleOptions(3*time.Second), int(device))
			if err != nil {
				t.Fatal(err)
			}
			if len(got[device]) != 300 {
				t.Fatalf("device %d sent %d messages, want 300", device, len(got[device]))
			}
			for _, e := range got[device] {
				k, offset, _ := plan.Next()
				if e.Sequence != k || e.Intended != at+int64(offset) || e.Actual < e.Intended || e.Actual > e.Intended+1e6 {
					t.Fatalf("device %d: %+v, want %d at %v", device, e, k, offset)
				}
			}
		}
		if s := f.Status(); s.Published != 600 || s.Pending != 0 || s.Connected != 3 || s.Prepared != 3 {
			t.Errorf("status %+v", s)
		}
		if s := f.Sample(); s.Intended != 900 || s.Sent != 900 || s.Acked != 900 || s.Lateness.Count() != 900 {
			t.Errorf("sample %+v with %d latenesses", s, s.Lateness.Count())
		}
		if s := f.Sample(); s.Lateness.Count() != 0 || s.Sent != 900 {
			t.Error("the second sample repeats the lateness of the first, or forgets the counters")
		}
		for i, n := range r.PublishedPerSecond {
			if n != 300 {
				t.Errorf("second %d: %d published, want 300", i, n)
			}
		}
		closeFleet(t, f)
	})
}

// A device that is stuck must cost only its own messages, and those exactly:
// what its queue holds goes out late, the rest is unsent.
func TestStuckDeviceQueuesUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &script{publish: func(c *scriptConn, id uint64, p []byte) error {
			if strings.HasPrefix(c.ClientID, "bela-d11-") {
				<-release
			}
			c.Acked(id, nil)
			return nil
		}}
		f := newFleet(t, testSpec(), s, func(f *Fleet) { f.queueBound = 50 })
		begin(t, f, 0, 2*time.Second)
		time.Sleep(3 * time.Second)
		if s := f.Status(); s.Pending != 51 || s.Published != 400 { // one is being published
			t.Errorf("pending %d, published %d, want 51 and 400", s.Pending, s.Published)
		}
		close(release)
		synctest.Wait()
		r := f.Collect()
		if c := sum(t, r); c != (classes{intended: 600, sent: 451, acked: 451, unsent: 149}) {
			t.Errorf("%+v", c)
		}
		if n := errorCount(r, reasonQueue); n != 149 {
			t.Errorf("%d messages found the queue full, want 149: %v", n, r.Errors)
		}
		if late, _ := r.Lateness.Max(); late < int64(2*time.Second) {
			t.Errorf("the stuck messages' lateness is %v, want over 2 s", time.Duration(late))
		}
		if p75, _ := r.Lateness.Quantile(0.75); p75 > 1e6 {
			t.Errorf("the other devices were late by %v", time.Duration(p75))
		}
		closeFleet(t, f)
	})
}

// Each way in which a message can fail must end in its own class.
func TestClasses(t *testing.T) {
	refusal := errors.New("no room")
	tests := []struct {
		name    string
		publish func(c *scriptConn, id uint64, p []byte) error
		want    classes
		what    string // the reason in the errors
	}{
		{"refused", func(*scriptConn, uint64, []byte) error { return refusal },
			classes{intended: 300, failed: 300, unsent: 0}, "failed: no room"},
		{"lost", func(c *scriptConn, id uint64, _ []byte) error { c.Acked(id, transport.ErrLost); return nil },
			classes{intended: 300, sent: 300, unknown: 300}, "unknown: connection lost"},
		{"never answered", func(*scriptConn, uint64, []byte) error { return nil },
			classes{intended: 300, sent: 300, unknown: 300}, "unknown: no acknowledgement in time"},
		{"answered too late", func(c *scriptConn, id uint64, _ []byte) error {
			time.AfterFunc(1500*time.Millisecond, func() { c.Acked(id, nil) })
			return nil
		}, classes{intended: 300, sent: 300, unknown: 300}, "acknowledged after the timeout"},
		{"answered late", func(c *scriptConn, id uint64, _ []byte) error {
			time.AfterFunc(900*time.Millisecond, func() { c.Acked(id, nil) })
			return nil
		}, classes{intended: 300, sent: 300, acked: 300}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, testSpec(), &script{publish: test.publish})
				begin(t, f, 0, time.Second)
				time.Sleep(3 * time.Second)
				if s := f.Status(); s.Pending != 0 {
					t.Errorf("%d pending", s.Pending)
				}
				r := f.Collect()
				if c := sum(t, r); c != test.want {
					t.Errorf("%+v, want %+v", c, test.want)
				}
				if test.what != "" && errorCount(r, test.what) != 300 {
					t.Errorf("errors %v, want 300 times %q", r.Errors, test.what)
				}
				if r.Ack.Count() != test.want.acked {
					t.Errorf("%d acknowledgement times, want %d", r.Ack.Count(), test.want.acked)
				}
				if p50, _ := r.Ack.Quantile(0.5); test.want.acked > 0 && (p50 < 899e6 || p50 > 901e6) {
					t.Errorf("acknowledged after %v, want 900 ms", time.Duration(p50))
				}
				closeFleet(t, f)
			})
		})
	}
}

// At QoS 0 a message is settled once it is written: nothing may stay pending.
func TestQoS0SettlesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testSpec()
		spec.QoS = 0
		f := newFleet(t, spec, &script{publish: func(*scriptConn, uint64, []byte) error { return nil }})
		begin(t, f, 0, time.Second)
		time.Sleep(2 * time.Second)
		if s := f.Status(); s.Pending != 0 || s.Published != 300 {
			t.Errorf("status %+v", s)
		}
		for _, a := range f.Collect().Accounts {
			if a.Sent.Count() != 100 || a.Acked.Count() != 0 || a.Unknown.Count() != 0 {
				t.Errorf("device %d: %d sent, %d acknowledged, %d unknown", a.Device, a.Sent.Count(), a.Acked.Count(), a.Unknown.Count())
			}
		}
		closeFleet(t, f)
	})
}

// A device without a connection must not hold its messages back to send them
// late: they are unsent, and it is connected again for the next ones.
func TestDeviceReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down sync.Map
		s := &script{publish: acknowledge}
		s.dial = func(o transport.Options) error {
			if _, ok := down.Load("b"); ok {
				return errors.New("refused")
			}
			return nil
		}
		var told []string
		spec := testSpec()
		spec.Count = 1
		f, err := New(spec, clock.New(clock.Options{}), nil, func(level, text string) { told = append(told, level+": "+text) },
			WithDialer(s), func(f *Fleet) { f.waiter = func() waiter { return newTimerWaiter() } })
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin(t, f, 0, 20*time.Second)
		time.Sleep(5 * time.Second)
		down.Store("b", true)
		s.mu.Lock()
		first := s.conns[0]
		s.mu.Unlock()
		first.end(errors.New("broken pipe"))
		time.Sleep(5 * time.Second)
		if st := f.Status(); st.Connected != 0 || len(st.Missing) != 1 || st.Missing[0] != "device 10: refused" {
			t.Errorf("status %+v", st)
		}
		down.Delete("b")
		time.Sleep(12 * time.Second)
		r := f.Collect()
		c := sum(t, r)
		// Down for 5 s, and up to 5 s more until the next attempt.
		if c.intended != 2000 || c.unsent < 500 || c.unsent > 1010 || errorCount(r, reasonDisconnected) != c.unsent {
			t.Errorf("%+v, errors %v", c, r.Errors)
		}
		if r.Reconnects != 1 || f.Status().Connected != 1 {
			t.Errorf("%d reconnects, want 1", r.Reconnects)
		}
		if sample := f.Sample(); sample.Lost != 1 || sample.Reconnects != 1 {
			t.Errorf("the sample has %d lost and %d back, want 1 and 1", sample.Lost, sample.Reconnects)
		}
		if len(told) != 1 || !strings.Contains(told[0], "device 10: broken pipe") || !strings.HasPrefix(told[0], "warn: 1 device") {
			t.Errorf("the operator was told %q", told)
		}
		closeFleet(t, f)
	})
}

// Stopping early must leave closed books: what was not given out is unsent.
func TestStopMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, testSpec(), &script{publish: acknowledge})
		begin(t, f, time.Second, 10*time.Second)
		time.Sleep(3 * time.Second)
		f.Stop()
		c := sum(t, f.Collect())
		if c.intended != 3000 || c.sent < 590 || c.sent > 620 || c.unsent != 3000-c.sent {
			t.Errorf("%+v", c)
		}
		time.Sleep(time.Second)
		if again := sum(t, f.Collect()); again != c {
			t.Errorf("collected again: %+v, before %+v", again, c)
		}
		closeFleet(t, f)
	})
}

// A message that is being handed over while the books are collected may still
// arrive. It must be sent and unknown, and stay so: else a delivery without a
// sender opens the ledger.
func TestCollectWhilePublishing(t *testing.T) {
	for _, outcome := range []error{nil, errors.New("timed out")} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			f := newFleet(t, testSpec(), &script{publish: func(*scriptConn, uint64, []byte) error {
				<-release
				return outcome
			}})
			begin(t, f, 0, time.Second)
			time.Sleep(2 * time.Second)
			c := sum(t, f.Collect())
			if c != (classes{intended: 300, sent: 3, unknown: 3, unsent: 297}) {
				t.Errorf("%+v", c)
			}
			close(release)
			synctest.Wait()
			if again := sum(t, f.Collect()); again != c {
				t.Errorf("after the publish returned %v: %+v, before %+v", outcome, again, c)
			}
			if s := f.Status(); s.Pending != 0 {
				t.Errorf("%d pending after collecting", s.Pending)
			}
			closeFleet(t, f)
		})
	}
}

// A fleet that was never started has books too: a cell may fail before.
func TestCollectWithoutStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, testSpec(), &script{publish: acknowledge})
		if r := f.Collect(); len(r.Accounts) != 0 || r.Lateness == nil || r.Ack == nil {
			t.Errorf("%+v", r)
		}
		closeFleet(t, f)
	})
}

// Who is not connected must be named, ten at most, with the reason and where to
// look.
func TestConnectFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testSpec()
		spec.Count = 30
		f, err := New(spec, clock.New(clock.Options{}), nil, nil, WithDialer(&script{dial: func(o transport.Options) error {
			if o.Address == "b:1" {
				return errors.New("connection refused")
			}
			return nil
		}}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var failed *protocol.Error
		if err := f.Connect(ctx); !errors.As(err, &failed) {
			t.Fatalf("connect: %v", err)
		}
		if failed.Code != "connect_failed" || len(failed.Missing) != 10 || failed.Missing[0] != "device 11: connection refused" ||
			!strings.Contains(failed.Text, "15 of 30 devices on node iot-1") || !strings.Contains(failed.Text, "b:1") {
			t.Errorf("%+v", failed)
		}
		closeFleet(t, f)
	})
}

// A probe is told by its acknowledgement, and not by another's.
func TestProbeFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{publish: func(c *scriptConn, id uint64, p []byte) error {
			e, err := payload.Parse(p)
			if err != nil || !e.Probe || e.Device != 10 {
				t.Errorf("probe %+v, %v", e, err)
			}
			switch e.Sequence {
			case 1:
				time.AfterFunc(time.Second, func() { c.Acked(id, nil) })
			case 2:
				c.Acked(id, transport.ErrLost)
			}
			return nil
		}}
		f := newFleet(t, testSpec(), s)
		begun := time.Now()
		if err := f.Probe(t.Context(), 1); err != nil || time.Since(begun) != time.Second {
			t.Errorf("probe 1: %v after %v", err, time.Since(begun))
		}
		if err := f.Probe(t.Context(), 2); !errors.Is(err, transport.ErrLost) {
			t.Errorf("probe 2: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Probe(ctx, 3); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "device 10") {
			t.Errorf("probe 3: %v", err)
		}
		closeFleet(t, f)
		var e *protocol.Error
		if err := f.Probe(t.Context(), 4); !errors.As(err, &e) || e.Code != "not_ready" {
			t.Errorf("a probe without a connection: %v", err)
		}
	})
}

// A schedule that cannot be kept must be refused, not begun late.
func TestStartErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, testSpec(), &script{publish: acknowledge})
		now := f.clock.Now()
		for name, s := range map[string]protocol.Start{
			"in the past":      {At: now - 1, Measure: time.Second},
			"now":              {At: now, Measure: time.Second},
			"nothing measured": {At: now + 1e9},
			"negative warm-up": {At: now + 1e9, Warmup: -1, Measure: time.Second},
			"without end":      {At: now + 1e9, Measure: 1 << 62},
		} {
			var e *protocol.Error
			if err := f.Start(s); !errors.As(err, &e) || e.Code != "bad_request" {
				t.Errorf("%s: %v", name, err)
			}
		}
		begin(t, f, 0, time.Second)
		if err := f.Start(protocol.Start{At: now + 60e9, Measure: time.Second}); err == nil {
			t.Error("started twice")
		}
		closeFleet(t, f)
	})
}

// A spec from the wire that cannot be run must be refused with what is wrong.
func TestSpecErrors(t *testing.T) {
	tests := map[string]func(*protocol.DevicesSpec){
		"count":        func(s *protocol.DevicesSpec) { s.Count = -1 },
		"QoS":          func(s *protocol.DevicesSpec) { s.QoS = 3 },
		"broker":       func(s *protocol.DevicesSpec) { s.Brokers = nil },
		"topic":        func(s *protocol.DevicesSpec) { s.Topic = "iot/#" },
		"rate":         func(s *protocol.DevicesSpec) { s.Rate = 0 },
		"arrivals":     func(s *protocol.DevicesSpec) { s.Arrivals = "x" },
		"payload size": func(s *protocol.DevicesSpec) { s.Payload = 10 },
		"placeholder":  func(s *protocol.DevicesSpec) { s.Template = `{"a":"{b}"}` },
		"ramp":         func(s *protocol.DevicesSpec) { s.Ramp = -1 },
	}
	for want, change := range tests {
		s := testSpec()
		change(&s)
		var e *protocol.Error
		if _, err := New(s, clock.New(clock.Options{}), nil, nil); !errors.As(err, &e) || !strings.Contains(e.Text, want) || !strings.Contains(e.Text, "iot-1") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Where devices connect and publish follows from their number alone.
func TestAddressing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{publish: acknowledge}
		f := newFleet(t, testSpec(), s)
		got := map[string]string{}
		for _, c := range s.conns {
			got[c.ClientID] = c.Address
		}
		want := map[string]string{"bela-d10-1-2": "a:1", "bela-d11-1-2": "b:1", "bela-d12-1-2": "a:1"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
		if f.devices[1].topic != "iot/iot-1/1/11" {
			t.Errorf("topic %s", f.devices[1].topic)
		}
		closeFleet(t, f)
	})
}
