package provision

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"bela/nodes"
	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
	"bela/nodes/sshdtest"
)

// A node that does not answer keeps no other one waiting: it is still being tried
// when all others' agents run.
func TestOpenUnreachableAmongMany(t *testing.T) {
	t.Parallel()
	const count = 20
	bed := bedtest.Up(t, netns.Options{Groups: []netns.Group{{Name: "worker", Count: count}}})
	dead := bed.Node(3)
	if err := dead.Cut(deadline(t), netns.BothWays); err != nil {
		t.Fatal(err)
	}
	ctx, giveUp := context.WithCancel(deadline(t))
	defer giveUp()
	pool, depot := nodes.NewPool(), NewDepot(self)
	defer depot.Close()
	done := make(chan string, count)
	ended := make(chan error, 1)
	go func() {
		ended <- nodes.Each(ctx, bed.Nodes(), count, func(ctx context.Context, of *netns.Node) error {
			tg := of.Target()
			tg.SSH.ConnectTimeout = 10 * time.Minute // longer than the test may take
			n, err := pool.Dial(ctx, tg)
			if err != nil {
				return err
			}
			defer n.Close() //nolint:errcheck // it ends at any rate
			opened, err := depot.Open(ctx, n, openOptions(), Watch{})
			if err != nil {
				return err
			}
			done <- n.Name()
			return errors.Join(opened.Conn.Close(), Remove(ctx, n, RemoveOptions{}))
		})
	}()
	for range count - 1 {
		select {
		case name := <-done:
			if name == dead.Name() {
				t.Errorf("%s was opened without a link", name)
			}
		case err := <-ended:
			t.Fatalf("the nodes ended before all but one were open: %v", err)
		case <-ctx.Done():
			t.Fatal("nodes wait for the one that does not answer")
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("the node without a link is given up already: %v", err)
	default:
	}
	// The others are cleaned while it is still tried.
	for _, of := range bed.Nodes() {
		for of != dead {
			if _, err := os.Stat(of.Path("/root/.bela")); errors.Is(err, os.ErrNotExist) {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s is not cleaned", of.Name())
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	giveUp()
	// Where the kernel has found out meanwhile that nobody is there, it says so.
	if err := <-ended; nodes.KindOf(err) != nodes.Canceled && nodes.KindOf(err) != nodes.Unreachable && !errors.Is(err, context.Canceled) {
		t.Errorf("the node without a link: %v", err)
	}
}

// cutAfter is a target whose first connection is cut after so many bytes to it.
func cutAfter(t *testing.T, tg *nodes.Target, most int64) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	server := net.JoinHostPort(tg.Host, strconv.Itoa(tg.Port))
	tg.Port = ln.Addr().(*net.TCPAddr).Port
	go func() {
		for limit := most; ; limit = 1 << 40 {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp4", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(in, out)
				_ = in.Close()
			}()
			go func() {
				_, _ = io.CopyN(out, in, limit)
				_, _ = in.Close(), out.Close()
			}()
		}
	}()
}

// An upload that breaks off leaves nothing that could be taken for an agent, and
// the next one is whole.
func TestOpenTruncated(t *testing.T) {
	t.Parallel()
	for _, way := range []float64{100 << 20, 1 << 20} {
		tg, dir := onServer(t, sshdtest.Options{})
		cutAfter(t, &tg, 2<<20)
		n := dial(t, tg)
		depot := measuredAs(way)
		opened, err := depot.Open(deadline(t), n, openOptions(), Watch{})
		if nodes.KindOf(err) != nodes.LinkLost || !opened.Begun || opened.Conn != nil {
			t.Fatalf("begun %v: %v", opened.Begun, err)
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			entries, err := os.ReadDir(filepath.Join(dir, "bin"))
			if err == nil && len(entries) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%v stays in bin: %v", entries, err)
			}
		}
		again := dial(t, tg)
		opened, err = depot.Open(deadline(t), again, openOptions(), Watch{})
		if err != nil || opened.Agent.Moved == 0 {
			t.Fatalf("moved %d: %v", opened.Agent.Moved, err)
		}
		saidBack(t, opened.Conn, "hello")
		if err := Remove(deadline(t), again, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, again, dir)
	}
}
