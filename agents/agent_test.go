package agents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/agents/client"
	"bela/agents/clock"
	"bela/agents/component"
	"bela/agents/protocol"
)

// TestMain lets the test binary stand in for the agent's executable, which the
// supervisor runs as its helper.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == component.ShimCommand {
		if err := component.Shim(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// served is an agent that runs inside the test.
type served struct {
	dir   string
	ended chan error
	stop  context.CancelFunc
}

func serve(t *testing.T, lease, keep time.Duration) *served {
	t.Helper()
	back, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &served{dir: t.TempDir(), ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() {
		s.ended <- Serve(ctx, Config{
			Dir: s.dir, Run: "run-1", Lease: lease, Keep: keep, Self: self, Version: "test",
			Clock: clock.New(clock.Options{}), Logger: slog.New(slog.DiscardHandler),
		})
		close(s.ended)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
		if err := os.Chdir(back); err != nil {
			t.Error(err)
		}
	})
	return s
}

// connect says hello, and waits for an agent that is only just starting.
func (s *served) connect(t *testing.T, run string, after uint64, onEvent func(protocol.Event)) (*client.Client, protocol.Welcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		conn, err := Dial(s.dir)
		if err == nil {
			return client.Open(ctx, conn, client.Options{Run: run, After: after, Now: func() int64 { return time.Now().UnixNano() }, OnEvent: onEvent})
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the agent does not listen: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// seen collects events.
type seen struct {
	mu   sync.Mutex
	seqs []uint64
	more chan struct{}
}

func (s *seen) add(e protocol.Event) {
	s.mu.Lock()
	s.seqs = append(s.seqs, e.Seq)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *seen) await(t *testing.T, n int) []uint64 {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		got := append([]uint64(nil), s.seqs...)
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-s.more:
		case <-deadline:
			t.Fatalf("%d events, want %d", len(got), n)
		}
	}
}

// A controller whose link broke must get every event that it missed, once.
func TestEventsSurviveTheLink(t *testing.T) {
	agent := serve(t, time.Minute, time.Minute)
	first := &seen{more: make(chan struct{}, 1)}
	c, welcome, err := agent.connect(t, "run-1", 0, first.add)
	if err != nil {
		t.Fatal(err)
	}
	if welcome.Agent != "test" || welcome.PID != os.Getpid() {
		t.Errorf("welcome %+v", welcome)
	}
	first.await(t, 2)
	c.Close()
	last := c.LastEvent()
	time.Sleep(1500 * time.Millisecond) // at least one event comes while nobody listens
	second := &seen{more: make(chan struct{}, 1)}
	again, _, err := agent.connect(t, "run-1", last, second.add)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for i, seq := range second.await(t, 3) {
		if want := last + 1 + uint64(i); seq != want {
			t.Errorf("event %d after the break is number %d, want %d", i, seq, want)
		}
	}
}

// A second run must not take over a node that another run uses.
func TestOtherRunIsRefused(t *testing.T) {
	agent := serve(t, time.Minute, time.Minute)
	_, _, err := agent.connect(t, "run-2", 0, func(protocol.Event) {})
	var refused *protocol.Error
	if !errors.As(err, &refused) || refused.Code != "busy" || !strings.Contains(refused.Text, "run-1") {
		t.Errorf("hello of another run: %v", err)
	}
}

// A request that an agent does not know, or that it cannot read, must be an
// error to its sender and nothing else.
func TestBadRequests(t *testing.T) {
	agent := serve(t, time.Minute, time.Minute)
	c, _, err := agent.connect(t, "run-1", 0, func(protocol.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tc := range []struct {
		typ  protocol.Type
		body any
	}{
		{"load.explode", nil},
		{protocol.TypeStart, "not a start"},
		{protocol.TypeProbe, protocol.Probe{ID: 1}}, // nothing is prepared
	} {
		err := c.CallTimeout(t.Context(), 10*time.Second, tc.typ, tc.body, nil)
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != "bad_request" {
			t.Errorf("%s: %v", tc.typ, err)
		}
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Errorf("after bad requests: %v", err)
	}
}

// A node whose controller vanished must not go on loading the platform for
// ever: its components end with the lease, and the agent removes itself when
// nobody comes for its results.
func TestLease(t *testing.T) {
	agent := serve(t, 2*time.Second, time.Second)
	if err := os.WriteFile(filepath.Join(agent.dir, "MANIFEST"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := agent.connect(t, "run-1", 0, func(protocol.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	var started protocol.ComponentStarted
	spec := protocol.ComponentSpec{
		Cell: "001", Name: "sleeper", Instance: 1, Kind: "process",
		Command: []string{"/bin/sleep", "300"}, ReadyTimeout: 10 * time.Second, StopTimeout: time.Second,
	}
	if err := c.CallTimeout(t.Context(), 20*time.Second, protocol.TypeStartComponent, spec, &started); err != nil {
		t.Fatal(err)
	}
	c.Close()
	select {
	case err := <-agent.ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the agent is still there 30 s later")
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", started.PID)); !os.IsNotExist(err) {
		t.Errorf("the component is still there: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(agent.dir, "*")); len(left) > 0 {
		t.Errorf("left on the node: %v", left)
	}
}

// Shutdown must be answered before the agent goes, and two agents must not work
// in one directory.
func TestShutdown(t *testing.T) {
	agent := serve(t, time.Minute, time.Minute)
	c, _, err := agent.connect(t, "run-1", 0, func(protocol.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	second := Serve(t.Context(), Config{Dir: agent.dir, Run: "run-2", Lease: time.Minute, Clock: clock.New(clock.Options{}), Logger: slog.New(slog.DiscardHandler)})
	if second == nil || !strings.Contains(second.Error(), "another agent") {
		t.Errorf("a second agent in the directory: %v", second)
	}
	if err := c.CallTimeout(t.Context(), 10*time.Second, protocol.TypeShutdown, nil, nil); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	select {
	case err := <-agent.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the agent is still there")
	}
}
