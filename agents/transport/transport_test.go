package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a connection that a test breaks when it likes.
type wire struct {
	done   chan struct{}
	err    error
	closed atomic.Bool
}

func newWire() *wire { return &wire{done: make(chan struct{})} }

func (w *wire) Publish(uint64, string, byte, []byte) error { return nil }
func (w *wire) Subscribe(context.Context, string, byte, func([]byte)) error {
	return nil
}
func (w *wire) Done() <-chan struct{} { return w.done }
func (w *wire) Err() error            { return w.err }
func (w *wire) Close(context.Context) error {
	w.closed.Store(true)
	return nil
}

func (w *wire) breakWith(err error) {
	w.err = err
	close(w.done)
}

// Devices must connect over the ramp, not all at once and not after it: a herd
// of a thousand CONNECTs is a load test of its own.
func TestGroupRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, ramp = 10, 10 * time.Second
		begun := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		members := make([]Member, n)
		for i := range members {
			members[i] = Member{Name: "m", Dial: func(context.Context) (Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Since(begun))
				return newWire(), nil
			}}
		}
		g := NewGroup(members, GroupOptions{Ramp: ramp})
		if err := g.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, d := range at {
			if d != time.Duration(i)*time.Second {
				t.Errorf("member %d dialed after %v, want %d s", i, d, i)
			}
		}
		if g.Connected() != n || g.Missing(10) != nil {
			t.Errorf("%d connected, missing %v", g.Connected(), g.Missing(10))
		}
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if g.Connected() != 0 {
			t.Errorf("%d connected after closing", g.Connected())
		}
	})
}

// No more than AtOnce attempts may run together: an unreachable broker would
// otherwise hold a socket for each device.
func TestGroupDialsFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		members := make([]Member, 20)
		for i := range members {
			members[i] = Member{Name: "m", Dial: func(context.Context) (Conn, error) {
				n := running.Add(1)
				defer running.Add(-1)
				if n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Second)
				return newWire(), nil
			}}
		}
		g := NewGroup(members, GroupOptions{AtOnce: 4})
		if err := g.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if most.Load() != 4 {
			t.Errorf("%d dialed at once, want 4", most.Load())
		}
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A member that cannot connect must be named with its reason, and be tried again
// with growing waits, not in a loop.
func TestGroupMissingAndBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		g := NewGroup([]Member{
			{"good", func(context.Context) (Conn, error) { return newWire(), nil }},
			{"bad", func(context.Context) (Conn, error) {
				attempts.Add(1)
				return nil, &net.OpError{Op: "dial", Addr: &net.TCPAddr{Port: 1883}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
			}},
		}, GroupOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := g.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connect: %v", err)
		}
		if missing := fmt.Sprint(g.Missing(10)); missing != "[bad: dial: connection refused]" {
			t.Errorf("missing %s", missing)
		}
		// 0.1, 0.2 … 5 s, each with jitter down to half: 6 until 5 s, then 11 to 22.
		if n := attempts.Load(); n < 16 || n > 30 {
			t.Errorf("%d attempts in a minute, want 16 to 30", n)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A broken connection must be dialed again and counted, and its owner told why.
func TestGroupReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wires := [...]*wire{newWire(), newWire()} // a third one would be one too many
		var dialed atomic.Int64
		var mu sync.Mutex
		var lost []string
		g := NewGroup([]Member{{"one", func(context.Context) (Conn, error) {
			return wires[dialed.Add(1)-1], nil
		}}}, GroupOptions{Lost: func(i int, err error) {
			mu.Lock()
			defer mu.Unlock()
			lost = append(lost, fmt.Sprintf("%d %v", i, err))
		}})
		if err := g.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		wires[0].breakWith(io.EOF)
		synctest.Wait()
		if g.Connected() != 0 || g.Conn(0) != nil || !wires[0].closed.Load() {
			t.Error("the broken connection is still shown or not closed")
		}
		if err := g.Connect(t.Context()); err != nil { // waits for the new one
			t.Fatal(err)
		}
		if g.Reconnects() != 1 || dialed.Load() != 2 || g.Conn(0) != Conn(wires[1]) {
			t.Errorf("%d reconnects, %d connections", g.Reconnects(), dialed.Load())
		}
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(lost) != "[0 EOF]" {
			t.Errorf("lost %v, want member 0 once", lost)
		}
		if !wires[1].closed.Load() || len(lost) != 1 {
			t.Errorf("closing: closed %v, lost %v", wires[1].closed.Load(), lost)
		}
	})
}

// The broker that hangs must not hang Connect or Close: both have a deadline and
// say so.
func TestGroupDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := NewGroup([]Member{{"stuck", func(context.Context) (Conn, error) {
			<-release
			return nil, io.EOF
		}}}, GroupOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connect: %v", err)
		}
		if missing := fmt.Sprint(g.Missing(10)); missing != "[stuck: no attempt yet]" {
			t.Errorf("missing %s", missing)
		}
		if err := g.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v", err)
		}
		close(release)
		synctest.Wait()
		if err := g.Close(t.Context()); err != nil {
			t.Errorf("close, when nothing hangs any more: %v", err)
		}
		if err := g.Connect(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("connect after close: %v", err)
		}
	})
}

// The same trouble of many devices must be one line in the report, not one for
// each port.
func TestCause(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 4711}, Addr: &net.TCPAddr{Port: 1883},
		Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	tests := []struct {
		err  error
		want string
	}{
		{nil, ""},
		{io.EOF, "EOF"},
		{reset, "read: connection reset by peer"},
		{fmt.Errorf("network Error : %w", reset), "read: connection reset by peer"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "mq-17"}}, "dial: no such host"},
		{&net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, "write: i/o timeout"},
	}
	for _, test := range tests {
		if got := Cause(test.err); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}

// A broker that makes up a new error each time must not fill an agent's memory.
func TestTallyIsBounded(t *testing.T) {
	var tally Tally
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				tally.Add(fmt.Sprintf("kind %d", i), 1)
			}
		})
	}
	all.Wait()
	list, sum := tally.List(), int64(0)
	for _, c := range list {
		sum += c.N
	}
	if len(list) != MaxKinds || sum != 4000 || list[0].What != "other" || !strings.HasPrefix(list[1].What, "kind ") {
		t.Errorf("%d kinds of %d, most frequent %v", len(list), sum, list[0])
	}
}
