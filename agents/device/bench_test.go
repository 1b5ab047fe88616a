package device

import (
	"context"
	"testing"
	"time"

	"bela/agents/clock"
	"bela/agents/protocol"
	"bela/agents/transport"
)

// nowhere is a transport that takes everything at once and sends it nowhere.
type nowhere struct{}

func (nowhere) Dial(context.Context, transport.Options) (transport.Conn, error) {
	return &nowhereConn{done: make(chan struct{})}, nil
}

type nowhereConn struct{ done chan struct{} }

func (*nowhereConn) Publish(uint64, string, byte, []byte) error { return nil }
func (*nowhereConn) Subscribe(context.Context, string, byte, func([]byte)) error {
	return nil
}
func (c *nowhereConn) Done() <-chan struct{}     { return c.done }
func (*nowhereConn) Err() error                  { return nil }
func (*nowhereConn) Close(context.Context) error { return nil }

// BenchmarkPacer reports how late 1000 devices of 20 msg/s are when the network
// costs nothing: the generator's own part. Each iteration is one second of load.
func BenchmarkPacer(b *testing.B) {
	waiters := map[string]func() waiter{
		"thread": newWaiter,
		"timer":  func() waiter { return newTimerWaiter() },
	}
	for name, waiter := range waiters {
		b.Run(name, func(b *testing.B) { benchmarkPacer(b, waiter) })
	}
}

func benchmarkPacer(b *testing.B, waiter func() waiter) {
	c := clock.New(clock.Options{})
	spec := protocol.DevicesSpec{
		Count: 1000, Customers: 1, Brokers: []string{"nowhere"}, Rate: 20, Arrivals: "constant",
		Topic: "iot/{device}", Payload: 256, Seed: 1,
	}
	f, err := New(spec, c, nil, nil, WithDialer(nowhere{}), func(f *Fleet) { f.waiter = waiter })
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.Connect(ctx); err != nil {
		b.Fatal(err)
	}
	length := time.Duration(b.N) * time.Second
	start := protocol.Start{At: c.Now() + int64(100*time.Millisecond), Measure: length}
	if err := f.Start(start); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	<-f.start.Load().done
	b.StopTimer()
	r := f.Collect()
	for q, unit := range map[float64]string{0.5: "p50-µs", 0.99: "p99-µs", 0.999: "p999-µs"} {
		late, _ := r.Lateness.Quantile(q)
		b.ReportMetric(late/1e3, unit)
	}
	b.ReportMetric(float64(r.Lateness.Count())/length.Seconds(), "msg/s")
	if err := f.Close(ctx); err != nil {
		b.Fatal(err)
	}
}
