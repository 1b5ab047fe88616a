package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bela/agents/protocol"
)

// fake is an agent that answers hello and pings, and can fall silent.
type fake struct {
	mu       sync.Mutex
	instance string
	silent   bool
	hellos   []time.Time
	asked    []uint64 // IDs of status requests
	hold     bool     // status requests are not answered
}

func (f *fake) conn() io.ReadWriteCloser {
	near, far := net.Pipe()
	go func() {
		defer func() { _ = far.Close() }()
		for {
			frame, err := protocol.ReadFrame(far)
			if err != nil {
				return
			}
			if answer := f.answer(frame); answer != nil {
				if protocol.WriteFrame(far, *answer) != nil {
					return
				}
			}
		}
	}()
	return near
}

func (f *fake) answer(frame protocol.Frame) *protocol.Frame {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent {
		return nil
	}
	var v any
	switch frame.Type {
	case protocol.TypeHello:
		f.hellos = append(f.hellos, time.Now())
		v = protocol.Welcome{Version: protocol.Version, Instance: f.instance}
	case protocol.TypeStatus:
		f.asked = append(f.asked, frame.ID)
		if f.hold {
			return nil
		}
	}
	body, _ := json.Marshal(v)
	return &protocol.Frame{ID: frame.ID, Type: protocol.TypeOK, Body: body}
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// way notes each attempt to reach the agent.
type way struct {
	mu       sync.Mutex
	attempts []time.Time
	fail     error
	links    []Link
}

func (w *way) redial(f *fake) func(context.Context) (io.ReadWriteCloser, error) {
	return func(context.Context) (io.ReadWriteCloser, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attempts = append(w.attempts, time.Now())
		if w.fail != nil {
			return nil, w.fail
		}
		return f.conn(), nil
	}
}

func (w *way) onLink(l Link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links = append(w.links, l)
}

func open(t *testing.T, f *fake, w *way, lease time.Duration) (*Client, io.Closer) {
	t.Helper()
	conn := f.conn()
	c, _, err := Open(t.Context(), conn, Options{
		Run: "run-1", Now: func() int64 { return time.Now().UnixNano() }, OnEvent: func(protocol.Event) {},
		OnLink: w.onLink, Redial: w.redial(f), Lease: lease,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, conn
}

// A node that is gone must be tried again and again, less and less often and
// never at the same beat as the others, and be given up when its lease is over.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := &fake{}, &way{fail: errors.New("no route")}
		c, conn := open(t, f, w, 2*time.Minute)
		begun := time.Now()
		_ = conn.Close()
		<-c.Done()
		if d := time.Since(begun); d < 2*time.Minute-time.Second || d > 2*time.Minute+time.Second {
			t.Errorf("given up after %v, the lease is 2m", d)
		}
		away, ok := errors.AsType[*AwayError](c.Err())
		if !ok || !strings.Contains(away.Error(), "no route") {
			t.Errorf("it ended with %v", c.Err())
		}
		if n := len(w.attempts); n < 50 || n > 130 {
			t.Errorf("%d attempts in 2 minutes", n)
		}
		var waits []time.Duration
		for i := 1; i < len(w.attempts); i++ {
			waits = append(waits, w.attempts[i].Sub(w.attempts[i-1]))
			if d := waits[i-1]; d > longestWait*3/2 {
				t.Errorf("%v between two attempts", d)
			}
		}
		if waits[0] > 3*firstWait/2 || waits[10] < longestWait/2 {
			t.Errorf("the waits begin with %v and grow to %v", waits[0], waits[10])
		}
		same := 0
		for i := 11; i < len(waits); i++ {
			if waits[i] == waits[i-1] {
				same++
			}
		}
		if same > 2 {
			t.Error("there is no jitter")
		}
		if len(w.links) != 1 || w.links[0].Up || w.links[0].Away > 2*time.Second || w.links[0].Left < 117*time.Second {
			t.Errorf("told: %+v", w.links)
		}
	})
}

// An agent that has stopped, on a link that stands, must be noticed; requests wait
// for it without their own deadlines running out, and are asked again.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := &fake{hold: true}, &way{}
		c, _ := open(t, f, w, 2*time.Minute)
		defer c.Close()
		result := make(chan error, 1)
		go func() { result <- c.CallTimeout(t.Context(), 15*time.Second, protocol.TypeStatus, nil, nil) }()
		time.Sleep(time.Second)
		f.set(func(f *fake) { f.silent = true })
		time.Sleep(60 * time.Second)
		w.mu.Lock()
		links := len(w.links)
		w.mu.Unlock()
		if links != 1 {
			t.Fatalf("told: %+v", w.links)
		}
		if _, err := c.Ping(t.Context()); !errors.Is(err, ErrAway) {
			t.Errorf("a ping while it is away: %v", err)
		}
		f.set(func(f *fake) { f.silent, f.hold = false, false })
		if err := <-result; err != nil {
			t.Errorf("a request over a gap of a minute: %v", err)
		}
		if f.asked[0] != f.asked[len(f.asked)-1] || len(f.asked) != 2 {
			t.Errorf("asked with the IDs %v, want one of them twice", f.asked)
		}
		last := w.links[len(w.links)-1]
		if !last.Up || last.Away < 55*time.Second || last.Away > 75*time.Second {
			t.Errorf("back after %+v", last)
		}
		if away := c.Away(); away < 55*time.Second || away > 75*time.Second {
			t.Errorf("away for %v in all", away)
		}
		// Its own deadline counts again when the link is there.
		f.set(func(f *fake) { f.hold = true })
		begun := time.Now()
		if err := c.CallTimeout(t.Context(), 15*time.Second, protocol.TypeStatus, nil, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 15*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// A new agent in the place of the old one, or none at all, must end the
// conversation at once: what was asked is gone with the old one.
func TestGone(t *testing.T) {
	for name, change := range map[string]func(*fake, *way){
		"another agent": func(f *fake, _ *way) { f.instance = "two" },
		"no agent":      func(_ *fake, w *way) { w.fail = &GoneError{errors.New("no agent runs there")} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, w := &fake{instance: "one", hold: true}, &way{}
				c, conn := open(t, f, w, 2*time.Minute)
				result := make(chan error, 1)
				go func() { result <- c.CallTimeout(t.Context(), time.Minute, protocol.TypeStatus, nil, nil) }()
				synctest.Wait()
				f.set(func(f *fake) { change(f, w) })
				begun := time.Now()
				_ = conn.Close()
				<-c.Done()
				if _, ok := errors.AsType[*GoneError](c.Err()); !ok || time.Since(begun) > time.Second {
					t.Errorf("after %v: %v", time.Since(begun), c.Err())
				}
				if err := <-result; err == nil {
					t.Error("the request has an answer")
				}
				if len(w.links) != 0 {
					t.Errorf("told of a lost link: %+v", w.links)
				}
			})
		})
	}
}

// An agent that was asked to end may be gone before the conversation with it is
// closed: that is no lost link.
func TestClosedWhileRejoining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(way)
		conn := new(fake).conn()
		c, _, err := Open(t.Context(), conn, Options{
			Now: func() int64 { return 0 }, OnEvent: func(protocol.Event) {}, OnLink: w.onLink, Lease: time.Minute,
			Redial: func(ctx context.Context) (io.ReadWriteCloser, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		synctest.Wait()
		c.Close()
		synctest.Wait()
		if len(w.links) != 0 {
			t.Errorf("told of a lost link: %+v", w.links)
		}
	})
}

// An agent that answers hello and breaks off, again and again, must not keep a
// controller for ever: while the link is lost its deadlines stand still.
func TestBreaksForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hellos int
		dial := func(context.Context) (io.ReadWriteCloser, error) {
			near, far := net.Pipe()
			go func() {
				defer func() { _ = far.Close() }()
				frame, err := protocol.ReadFrame(far)
				if err != nil {
					return
				}
				hellos++
				body, _ := json.Marshal(protocol.Welcome{Version: protocol.Version, Instance: "x"})
				_ = protocol.WriteFrame(far, protocol.Frame{ID: frame.ID, Type: protocol.TypeOK, Body: body})
			}()
			return near, nil
		}
		conn, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := Open(t.Context(), conn, Options{
			Run: "run-1", Now: func() int64 { return time.Now().UnixNano() }, OnEvent: func(protocol.Event) {}, Redial: dial, Lease: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-c.Done()
		if d := time.Since(begun); d > time.Minute || hellos < breakBurst {
			t.Errorf("given up after %v and %d connections: %v", d, hellos, c.Err())
		}
	})
}

// One byte a second is no sign of life: else a request would wait for its answer
// for as long as there are bytes.
func TestDrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var agent sync.WaitGroup
		defer agent.Wait()
		agent.Go(func() {
			frame, err := protocol.ReadFrame(far)
			if err != nil {
				return
			}
			body, _ := json.Marshal(protocol.Welcome{Version: protocol.Version, Instance: "x"})
			_ = protocol.WriteFrame(far, protocol.Frame{ID: frame.ID, Type: protocol.TypeOK, Body: body})
			agent.Go(func() { _, _ = io.Copy(io.Discard, far) })
			for _, err = far.Write([]byte{0, 0}); err == nil; _, err = far.Write([]byte{1}) {
				time.Sleep(time.Second)
			}
		})
		c, _, err := Open(t.Context(), near, Options{
			Run: "run-1", Now: func() int64 { return time.Now().UnixNano() }, OnEvent: func(protocol.Event) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-c.Done()
		if d := time.Since(begun); d > 15*time.Second || !errors.Is(c.Err(), ErrSilent) {
			t.Errorf("given up after %v: %v", d, c.Err())
		}
	})
}

// Nothing that no agent says is used: not even what follows it.
func TestBrokenAgent(t *testing.T) {
	for name, say := range map[string]string{
		"not JSON":                "nonsense",
		"a number without room":   `{"type":"event","body":{"seq":1,"sample":{"host":{"load1":1e999}}}}`,
		"an event far ahead":      `{"type":"event","body":{"seq":100000000}}`,
		"an answer to nothing":    `{"type":"ok","id":77}`,
		"what is no event":        `{"type":"event","body":[1]}`,
		"an event that cannot be": `{"type":"event","body":{"seq":1,"sample":{"at_ns":-5}}}`,
	} {
		near, far := net.Pipe()
		go func() {
			frame, err := protocol.ReadFrame(far)
			if err != nil {
				return
			}
			body, _ := json.Marshal(protocol.Welcome{Version: protocol.Version, Instance: "x"})
			_ = protocol.WriteFrame(far, protocol.Frame{ID: frame.ID, Type: protocol.TypeOK, Body: body})
			_, _ = far.Write(append([]byte{0, 0, 0, byte(len(say))}, say...))
			_ = protocol.WriteFrame(far, protocol.Frame{Type: protocol.TypeEvent, Body: json.RawMessage(`{"seq":1}`)})
		}()
		c, _, err := Open(t.Context(), near, Options{
			Run: "run-1", Now: func() int64 { return time.Now().UnixNano() },
			OnEvent: func(e protocol.Event) { t.Errorf("%s: event %d is taken", name, e.Seq) },
			Redial: func(context.Context) (io.ReadWriteCloser, error) {
				t.Errorf("%s: it is dialed again", name)
				return nil, errors.New("no")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if _, broken := errors.AsType[*BrokenError](c.Err()); !broken {
			t.Errorf("%s: %v", name, c.Err())
		}
		_ = far.Close()
	}
}
