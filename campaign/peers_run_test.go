package campaign_test

import (
	"fmt"
	"math"
	"net"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/agents/clock"
	"bela/event"
	"bela/measure"
	"bela/store"
)

// slowWay forwards TCP connections to an address, each direction with a delay of
// its own, and is itself reached at the address that it returns.
func slowWay(t *testing.T, to string, there, back time.Duration) *net.TCPAddr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	closed := false
	keep := func(conns ...net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, conns...)
		return !closed
	}
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		closed = true
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil || !keep(near, far) {
				_ = near.Close()
				continue
			}
			work.Go(func() { delayed(far, near, there) })
			work.Go(func() { delayed(near, far, back) })
		}
	})
	return listener.Addr().(*net.TCPAddr)
}

// delayed copies what arrives at from to another connection, so much later.
func delayed(to, from net.Conn, by time.Duration) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 10_000)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{time.Now().Add(by), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			_ = from.Close() // and read on until that is noticed
		}
	}
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}

// runFar runs one cell under a controller that is far away, by a way that is
// longer there than back.
func runFar(t *testing.T, length string, planted map[string]string) (*store.Reader, store.CellResult, []event.Event) {
	t.Helper()
	env := make(map[string][]string)
	for node, e := range planted {
		env[node] = []string{clock.Environment + "=" + e}
	}
	r := newRig(t, fmt.Sprintf(clocked, length), env)
	for i := range r.config.Targets {
		target := &r.config.Targets[i]
		way := slowWay(t, net.JoinHostPort(target.Host, strconv.Itoa(target.Port)), 30*time.Millisecond, 6*time.Millisecond)
		target.Host, target.Port = way.IP.String(), way.Port
	}
	_, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := run.Result(run.Cells[0].Position)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Cell.Ledger.Closed || c.Cell.Ledger.Delivered == 0 || c.Cell.Latency.P50 == nil || c.Cell.ClockErrorMS == nil {
		t.Fatalf("the cell measured nothing: %+v, %+v", c.Cell.Ledger, c.Cell.Reasons)
	}
	return run, c, r.events.list()
}

// withoutPairs is the cell as it would be known over the controller alone.
func withoutPairs(t *testing.T, run *store.Reader, c store.CellResult) measure.Latencies {
	t.Helper()
	books, err := run.Slices(c.Cell.Position)
	if err != nil || books == nil {
		t.Fatalf("no slices: %v", err)
	}
	return measure.RecomputeLatencies(c.Clocks, nil, *books)
}

// Machines in one rack are often measured from far away. Their latencies must be
// known as well as the rack allows, whatever the way to the controller is like:
// else a platform of 1 ms is measured with an error of tens.
func TestTruthFarControllerDoesNotBlurLatencies(t *testing.T) {
	run, c, events := runFar(t, "4s", map[string]string{
		"iot-1": "+100ms,50ppm", "iot-2": "-100ms", "customer-1": "-100ms,-50ppm", "customer-2": "+100ms,50ppm",
	})
	far := withoutPairs(t, run, c)
	p50, errorMS := *c.Cell.Latency.P50, *c.Cell.ClockErrorMS
	t.Logf("p50 %.3f ms ± %.3f ms; over the controller alone %.3f ms ± %.3f ms", p50, errorMS, *far.Latency.Quantiles().P50, float64(far.Error)/1e6)
	if far.Error < 30e6 {
		t.Errorf("over the controller the error is %v: the way to it is not slow, and the test shows nothing", time.Duration(far.Error))
	}
	// The bound is what a busy machine needs; half a round trip is microseconds.
	if errorMS > 5 || errorMS <= 0 {
		t.Errorf("the clock error is %.3f ms", errorMS)
	}
	if len(c.ClockPairs) != 4 {
		t.Fatalf("%d pairs are kept, want 4", len(c.ClockPairs))
	}
	for _, p := range c.ClockPairs {
		if p.Fit.Samples < 24+4 || len(p.Fit.Steps) > 0 {
			t.Errorf("%s and %s: %d probes, steps %+v", p.Device, p.Customer, p.Fit.Samples, p.Fit.Steps)
		}
	}
	// The truth: the planted clocks are known, and the probes between the nodes
	// must say so to within their error.
	ahead := map[string]float64{"iot-1": 100e6, "iot-2": -100e6, "customer-1": -100e6, "customer-2": 100e6}
	for _, p := range c.ClockPairs {
		want := ahead[p.Customer] - ahead[p.Device]
		// The drifts add up to 100 µs for each second since the agents' start, and
		// the agents anchored their clocks to the same machine's.
		if off := math.Abs(float64(p.Fit.Offset) - want); off > float64(p.Fit.Error)+60*100e3 {
			t.Errorf("%s and %s: apart by %v, planted were %v", p.Device, p.Customer, time.Duration(p.Fit.Offset), time.Duration(want))
		}
	}
	if p50 < -errorMS || p50 > 20 {
		t.Errorf("p50 %.3f ms ± %.3f ms is none of this chain", p50, errorMS)
	}
	for _, e := range events {
		if m, ok := e.Data.(event.Message); ok && strings.Contains(m.Text, "UDP") {
			t.Errorf("it was said that nodes do not reach each other: %s", m.Text)
		}
	}

	// What is stored must give the same numbers again.
	books, err := run.Slices(c.Cell.Position)
	if err != nil {
		t.Fatal(err)
	}
	again := measure.RecomputeLatencies(c.Clocks, c.ClockPairs, *books)
	for name, h := range map[string][2]*measure.Histogram{"latency": {again.Latency, c.Latency}, "service": {again.Service, c.Service}} {
		if got, want := encoded(t, h[0]), encoded(t, h[1]); got != want {
			t.Errorf("%s computed again from the run directory is not what the cell reported", name)
		}
	}
	if float64(again.Error)/1e6 != errorMS || !reflect.DeepEqual(again.Latency.Quantiles(), c.Cell.Latency) {
		t.Errorf("computed again: %+v ± %d ns, reported %+v ± %v ms", again.Latency.Quantiles(), again.Error, c.Cell.Latency, errorMS)
	}
}

func encoded(t *testing.T, h *measure.Histogram) string {
	t.Helper()
	b, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A clock that somebody sets during a cell must be found, and its node named,
// also where the controller's own probes cannot see so small a step.
func TestTruthFarControllerStillTellsOfAStep(t *testing.T) {
	_, c, _ := runFar(t, "14s", map[string]string{"iot-2": "step=10ms@16s"})
	for _, n := range c.Clocks {
		if len(n.Fit.Steps) > 0 {
			t.Errorf("over the controller a step of 10 ms shows on %s: the way to it is not slow, and the test shows nothing", n.Node)
		}
	}
	for _, reason := range c.Cell.Reasons {
		if reason.Code == "clock_step" {
			if !strings.Contains(reason.Text, "iot-2 by 1") && !strings.Contains(reason.Text, "iot-2 by 9") || strings.Contains(reason.Text, "customer") {
				t.Errorf("the reason is %+v", reason)
			}
			return
		}
	}
	t.Errorf("no reason clock_step: %+v", c.Cell.Reasons)
}
