package nodes_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"bela/nodes"
	"bela/nodes/sshdtest"
)

// A hundred nodes behind one gateway must not need its sshd_config changed: it
// drops the eleventh login at once and the eleventh session of a connection.
func TestPoolBehindGateway(t *testing.T) {
	strict := []string{"MaxStartups 10:100:10", "MaxSessions 10"}
	gateway := sshdtest.Start(t, sshdtest.Options{Config: strict})
	inner := sshdtest.Start(t, sshdtest.Options{Config: strict})
	inner.Authorize(t, gateway.Signer.PublicKey())
	const count = 40
	targets := make([]nodes.Target, count)
	for i := range targets {
		targets[i] = nodes.Target{Name: fmt.Sprintf("worker-%d", i+1), Host: inner.Host, Port: inner.Port, User: inner.User, SSH: nodes.Options{
			Signers: []ssh.Signer{gateway.Signer}, Agent: "none", Config: "none", HostKeys: nodes.HostKeysPinned, Retries: 2, // a busy sshd counts a login for a while after it is done
			Fingerprints: []string{ssh.FingerprintSHA256(gateway.HostKey), ssh.FingerprintSHA256(inner.HostKey)},
			Jump:         []string{fmt.Sprintf("%s@%s", gateway.User, gateway.Addr())},
		}}
	}
	list, err := nodes.DialAll(deadline(t), targets, count)
	defer func() {
		if err := nodes.CloseAll(list); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	err = nodes.Each(deadline(t), list, count, func(ctx context.Context, n *nodes.Node) error {
		var all sync.WaitGroup
		errs := make([]error, 3) // several sessions of each node at once
		for i := range errs {
			all.Go(func() { _, errs[i] = n.Run(ctx, nodes.Script("wait", "sleep 0.2")) })
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(gateway.Log(), "Accepted publickey"); got != 4 {
		t.Errorf("%d connections to the gateway for %d nodes, want 4: one for ten", got, count)
	}
	for _, s := range []*sshdtest.Server{gateway, inner} {
		for _, word := range []string{"MaxStartups", "no more sessions"} {
			if strings.Contains(s.Log(), word) {
				t.Errorf("the server had to refuse: %q in its log", word)
			}
		}
	}
	// One that leaves takes nothing from the others on the same connection.
	if err := list[0].Close(); err != nil {
		t.Error(err)
	}
	for _, n := range list[1:11] {
		if _, err := n.Run(deadline(t), nodes.Script("again", "exit 0")); err != nil {
			t.Error(err)
		}
	}
	if err := nodes.CloseAll(list); err != nil {
		t.Error(err)
	}
	closed := func() int {
		return strings.Count(gateway.Log(), "Close session") + strings.Count(gateway.Log(), "Connection closed by")
	}
	for end := time.Now().Add(10 * time.Second); closed() < 4; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connections to the gateway stay when all nodes are closed")
		}
	}
}

// A server whose logins hang is not asked by more than eight at once, and keeps
// nobody from another server.
func TestPoolLimitsLogins(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // a test's
	held := make(chan net.Conn, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			held <- c
		}
	}()
	s := sshdtest.Start(t, sshdtest.Options{})
	good := nodes.Target{Name: "good", Host: s.Host, Port: s.Port, User: s.User, SSH: nodes.Options{KeyFiles: []string{s.KeyFile},
		KnownHosts: s.KnownHosts(t), Agent: "none", Config: "none"}}
	silent := good
	silent.Name, silent.Port, silent.SSH.Retries, silent.SSH.ConnectTimeout = "silent", ln.Addr().(*net.TCPAddr).Port, -1, time.Minute
	pool := nodes.NewPool()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := pool.Dial(deadline(t), silent); nodes.KindOf(err) != nodes.ConnectionCut {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, batch := range []int{8, 8, 4} {
		var open []net.Conn
		for range batch {
			open = append(open, <-held)
		}
		n, err := pool.Dial(deadline(t), good) // a whole login: time for a ninth to come
		if err != nil {
			t.Fatal(err)
		}
		_ = n.Close()
		if len(held) > 0 {
			t.Errorf("%d logins at once at one server, want %d", batch+len(held), batch)
		}
		for _, c := range open {
			_ = c.Close()
		}
	}
	all.Wait()
}
