package nodes_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/nodes"
	"bela/nodes/lab"
	"bela/nodes/sshdtest"
)

// A backend makes a machine to run the same tests on: OpenSSH's real server,
// and the loopback lab. env is the environment of the node's commands.
type backend struct {
	name  string
	start func(t *testing.T, env map[string]string) nodes.Target
}

var backends = []backend{
	{"sshd", func(t *testing.T, env map[string]string) nodes.Target {
		s := sshdtest.Start(t, sshdtest.Options{Env: env})
		return target(t, s)
	}},
	{"lab", func(t *testing.T, env map[string]string) nodes.Target {
		spec := lab.Spec{Name: "worker-1"}
		for name, value := range env {
			spec.Env = append(spec.Env, name+"="+value)
		}
		l, err := lab.Start(t.Context(), []lab.Spec{spec}, lab.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		tg := l.Targets()[0]
		tg.Directory = filepath.Join(t.TempDir(), "bela")
		return tg
	}},
}

// target says how to reach a test server: strictly, by a known_hosts file.
func target(t *testing.T, s *sshdtest.Server) nodes.Target {
	return nodes.Target{
		Name: "worker-1", Host: s.Host, Port: s.Port, User: s.User, Directory: filepath.Join(t.TempDir(), "bela"),
		SSH: nodes.Options{KeyFiles: []string{s.KeyFile}, KnownHosts: s.KnownHosts(t), Agent: "none", Config: "none"},
	}
}

// each runs a test on every backend.
func each(t *testing.T, env map[string]string, test func(t *testing.T, tg nodes.Target)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			noLeaks(t)
			test(t, b.start(t, env))
		})
	}
}

// onNode runs a test on a connected node of every backend.
func onNode(t *testing.T, env map[string]string, test func(t *testing.T, n *nodes.Node)) {
	each(t, env, func(t *testing.T, tg nodes.Target) { test(t, dial(t, tg)) })
}

func dial(t *testing.T, tg nodes.Target) *nodes.Node {
	t.Helper()
	n, err := nodes.Dial(deadline(t), tg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// deadline bounds a test.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition, and fails the test for what it waits.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}

// noLeaks fails the test when, after all its own clean-up, goroutines of
// connections are still there: a long campaign would pile them up.
func noLeaks(t *testing.T) {
	before := ownGoroutines()
	t.Cleanup(func() {
		end := time.Now().Add(10 * time.Second)
		for {
			now := ownGoroutines()
			if len(now) <= len(before) {
				return
			}
			if time.Now().After(end) {
				t.Errorf("%d goroutines are left:\n%s", len(now)-len(before), strings.Join(now, "\n\n"))
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func ownGoroutines() []string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var own []string
	for _, g := range strings.Split(string(stacks), "\n\n") {
		if strings.Contains(g, "x/crypto/ssh.") || strings.Contains(g, "pkg/sftp.") || strings.Contains(g, "bela/nodes.(") || strings.Contains(g, "bela/nodes/lab.(") {
			own = append(own, g)
		}
	}
	return own
}

// proxy stands between a client and a server, to refuse, cut or freeze the link.
type proxy struct {
	ln     net.Listener
	to     string
	refuse int // connections to hang up on, first of all

	mu     sync.Mutex
	frozen chan struct{} // closed when nothing passes any more
	conns  []net.Conn
	taken  int
	all    sync.WaitGroup
}

// through puts a proxy in front of a target.
func through(t *testing.T, tg nodes.Target, refuse int) (*proxy, nodes.Target) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, to: net.JoinHostPort(tg.Host, strconv.Itoa(tg.Port)), refuse: refuse, frozen: make(chan struct{})}
	p.all.Go(p.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		p.cut()
		p.all.Wait()
	})
	a := ln.Addr().(*net.TCPAddr)
	if tg.SSH.KnownHosts != "" { // the proxy's address shows the same key
		text, err := os.ReadFile(tg.SSH.KnownHosts)
		if err != nil {
			t.Fatal(err)
		}
		_, key, _ := strings.Cut(string(text), " ")
		file := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(file, fmt.Appendf(nil, "[127.0.0.1]:%d %s", a.Port, key), 0o600); err != nil {
			t.Fatal(err)
		}
		tg.SSH.KnownHosts = file
	}
	tg.Host, tg.Port = "127.0.0.1", a.Port
	return p, tg
}

func (p *proxy) serve() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.taken++
		refused := p.taken <= p.refuse
		p.mu.Unlock()
		if refused {
			_ = in.Close()
			continue
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		p.all.Go(func() { p.pass(in, out) })
		p.all.Go(func() { p.pass(out, in) })
	}
}

func (p *proxy) pass(from, to net.Conn) {
	defer from.Close() //nolint:errcheck // a test's
	defer to.Close()   //nolint:errcheck // a test's
	b := make([]byte, 32<<10)
	for {
		k, err := from.Read(b)
		if err != nil {
			return
		}
		select {
		case <-p.frozen:
			// Not even the end of the connection passes, as with a cable that was pulled.
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if _, err := to.Write(b[:k]); err != nil {
			return
		}
	}
}

// freeze lets nothing pass any more, and closes nothing.
func (p *proxy) freeze() { close(p.frozen) }

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// fakePath makes a directory of programs that stand in for a node's own, and
// gives a PATH with it in front.
func fakePath(t *testing.T, programs map[string]string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{"PATH": dir + ":/usr/local/bin:/usr/bin:/bin"}
}

// testLog writes to the test's log.
func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
