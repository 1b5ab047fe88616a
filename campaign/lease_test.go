package campaign_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/nodes"
	"bela/nodes/lab"
	"bela/provision"
)

// A controller that is gone for good must not leave load and components running on
// lent machines: with the lease they end, what was measured can still be fetched,
// and then the agent takes itself and all of bela's files away.
func TestAgentWithoutController(t *testing.T) {
	t.Parallel()
	const lease, keep = 4 * time.Second, 6 * time.Second
	binary, err := agentPath()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), []lab.Spec{{Name: "worker-1", Group: "worker", Role: "worker"}}, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	source := programs(binary)
	reach := func() *nodes.Node {
		n, err := nodes.Dial(ctx, l.Targets()[0])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := reach()
	facts, err := n.Facts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, agent, err := provision.Push(ctx, n, facts, source)
	if err != nil {
		t.Fatal(err)
	}
	if err := provision.Start(ctx, n, provision.StartOptions{Agent: agent, Run: "run-1", Lease: lease, Keep: keep}); err != nil {
		t.Fatal(err)
	}
	open := func(n *nodes.Node) (*client.Client, protocol.Welcome) {
		conn, err := provision.Attach(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		c, welcome, err := client.Open(ctx, conn, client.Options{
			Run: "run-1", Now: func() int64 { return time.Now().UnixNano() }, OnEvent: func(protocol.Event) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c, welcome
	}
	c, _ := open(n)
	spec := protocol.ComponentSpec{
		Cell: "001", Name: "sleeper", Instance: 1, Kind: "process", StopTimeout: time.Second, ReadyTimeout: 10 * time.Second,
		Command: []string{"/bin/sleep", "301"},
	}
	if err := c.CallTimeout(ctx, 20*time.Second, protocol.TypeStartComponent, spec, nil); err != nil {
		t.Fatal(err)
	}
	sleeps := func() bool {
		for _, p := range processes(t, "BELA_LAB="+l.ID()) {
			if strings.Contains(p, "/bin/sleep 301") {
				return true
			}
		}
		return false
	}
	if !sleeps() {
		t.Fatal("the component does not run")
	}
	c.Close()
	if err := n.Close(); err != nil { // the controller is gone
		t.Fatal(err)
	}

	begun := time.Now()
	eventually(t, "the component to end with the lease", func() bool { return !sleeps() })
	if d := time.Since(begun); d < lease-time.Second {
		t.Errorf("it ended after %v, the lease is %v", d, lease)
	}
	n = reach()
	c, welcome := open(n)
	if !welcome.Expired || welcome.LastEvent < 3 {
		t.Errorf("the agent holds nothing for collection: %+v", welcome)
	}
	c.Close()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent to remove itself", func() bool {
		_, err := os.Stat(filepath.Join(l.Dir(), "worker-1", ".bela"))
		return errors.Is(err, os.ErrNotExist)
	})
	eventually(t, "its process to end", func() bool { return len(processes(t, "BELA_LAB="+l.ID()+"\x00")) == 0 })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("a minute is not enough for %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
