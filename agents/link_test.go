package agents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
)

// cuttable gives connections to an agent that a test can cut.
type cuttable struct {
	agent *served

	mu    sync.Mutex
	conn  net.Conn
	cut   bool
	dials int
}

func (c *cuttable) dial(context.Context) (io.ReadWriteCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials++
	if c.cut {
		return nil, errors.New("the test has cut the link")
	}
	conn, err := Dial(c.agent.dir)
	c.conn = conn
	return conn, err
}

func (c *cuttable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		_ = c.conn.Close()
	}
}

// joined is a conversation over a link that can be cut.
func (s *served) joined(t *testing.T, onEvent func(protocol.Event), change func(*client.Options)) (*client.Client, *cuttable) {
	t.Helper()
	// The agent listens by then.
	first, _, err := s.connect(t, "run-1", 0, func(protocol.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	way := &cuttable{agent: s}
	conn, err := way.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := client.Options{Run: "run-1", Now: func() int64 { return time.Now().UnixNano() }, OnEvent: onEvent, Redial: way.dial, Lease: time.Minute}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := client.Open(ctx, conn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, way
}

// A component that is being started while the link breaks must be started once,
// and the answer must come to the controller that asked, over the new link.
func TestRequestOutlivesTheLink(t *testing.T) {
	agent := serve(t, time.Minute, time.Minute)
	c, way := agent.joined(t, func(protocol.Event) {}, nil)
	marks := agent.dir + "/marks"
	spec := protocol.ComponentSpec{
		Cell: "001", Name: "slow", Instance: 1, Kind: "process", StopTimeout: time.Second, ReadyTimeout: 20 * time.Second,
		Command:  []string{"/bin/sh", "-c", "echo started >>" + marks + "; while [ ! -e " + agent.dir + "/go ]; do sleep 0.05; done; echo ready; sleep 300"},
		ReadyLog: "ready",
	}
	var started protocol.ComponentStarted
	result := make(chan error, 1)
	go func() {
		result <- c.CallTimeout(t.Context(), 20*time.Second, protocol.TypeStartComponent, spec, &started)
	}()
	await(t, "the component to run", func() bool { _, err := os.Stat(marks); return err == nil })
	for range 3 { // asked four times in all
		way.set(true)
		way.set(false)
		if err := pingAgain(t, c); err != nil {
			t.Fatal(err)
		}
	}
	way.set(true)
	if err := os.WriteFile(agent.dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the component to be ready while nobody listens", func() bool {
		log, _ := os.ReadFile(agent.dir + "/cells/001/slow-1.log")
		return strings.Contains(string(log), "ready")
	})
	way.set(false)
	if err := <-result; err != nil || started.PID == 0 {
		t.Fatalf("started %+v: %v", started, err)
	}
	if text, _ := os.ReadFile(marks); string(text) != "started\n" {
		t.Errorf("it was started %d times", strings.Count(string(text), "\n"))
	}
	if err := c.CallTimeout(t.Context(), 20*time.Second, protocol.TypeStopComponent, protocol.ComponentStop{}, nil); err != nil {
		t.Error(err)
	}
}

// await waits for a condition.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("20 s are not enough for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pingAgain waits until the link is there and pings over it.
func pingAgain(t *testing.T, c *client.Client) (err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		if err := c.Await(ctx); err != nil {
			return err
		}
		if _, err = c.Ping(ctx); !errors.Is(err, client.ErrAway) {
			return err
		}
	}
}

// What happened while the link was cut must come afterwards, all of it, in order,
// once.
func TestEventsOfTheGap(t *testing.T) {
	agent := serve(t, time.Minute, time.Minute)
	got := &seen{more: make(chan struct{}, 1)}
	var gaps uint64
	c, way := agent.joined(t, got.add, func(o *client.Options) { o.OnGap = func(n uint64) { gaps += n } })
	got.await(t, 1)
	way.set(true)
	await(t, "events that nobody hears", func() bool {
		way.mu.Lock()
		defer way.mu.Unlock()
		return way.dials > 6 // about three seconds
	})
	way.set(false)
	if err := pingAgain(t, c); err != nil {
		t.Fatal(err)
	}
	var now protocol.Synced
	if err := c.CallTimeout(t.Context(), 10*time.Second, protocol.TypeSync, nil, &now); err != nil {
		t.Fatal(err)
	}
	seqs := got.await(t, int(now.LastEvent))
	for i, seq := range seqs {
		if seq != uint64(i)+1 {
			t.Fatalf("event %d is number %d", i+1, seq)
		}
	}
	if len(seqs) < 3 || gaps != 0 {
		t.Errorf("%d events, %d lost", len(seqs), gaps)
	}
	if c.Away() <= 0 {
		t.Error("nothing says that the link was away")
	}
}

// A controller that took an agent over must not lose it to the one before, whose
// link comes back.
func TestTakenOver(t *testing.T) {
	agent := serve(t, time.Minute, time.Minute)
	first, _ := agent.joined(t, func(protocol.Event) {}, nil)
	second, _, err := agent.connect(t, "run-1", 0, func(protocol.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	select {
	case <-first.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the first controller still believes that the agent is its")
	}
	if err := first.Err(); !strings.Contains(fmt.Sprint(err), "taken") {
		t.Errorf("the first controller hears %v", err)
	}
	if _, err := second.Ping(t.Context()); err != nil {
		t.Errorf("the second: %v", err)
	}
}

// A link that is away for longer than the lease must not come back as if nothing
// had been: load and components have been stopped. After a reset all is well.
func TestLeaseRanOut(t *testing.T) {
	agent := serve(t, time.Second, time.Minute)
	c, way := agent.joined(t, func(protocol.Event) {}, nil)
	way.set(true)
	select {
	case <-c.Done():
		t.Fatalf("given up before its lease: %v", c.Err())
	case <-time.After(2500 * time.Millisecond): // the lease is 1 s
	}
	way.set(false)
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the conversation goes on")
	}
	if gone, ok := errors.AsType[*client.GoneError](c.Err()); !ok || !strings.Contains(gone.Error(), "lease") {
		t.Errorf("it ended with %v", c.Err())
	}
	again, welcome, err := agent.connect(t, "run-1", 0, func(protocol.Event) {})
	if err != nil || !welcome.Expired {
		t.Fatalf("welcome %+v: %v", welcome, err)
	}
	defer again.Close()
	if err := again.CallTimeout(t.Context(), 10*time.Second, protocol.TypeReset, nil, nil); err != nil {
		t.Fatal(err)
	}
	third, welcome, err := agent.connect(t, "run-1", 0, func(protocol.Event) {})
	if err != nil || welcome.Expired {
		t.Fatalf("after a reset: welcome %+v: %v", welcome, err)
	}
	third.Close()
}
