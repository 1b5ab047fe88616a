package inspect

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bela/agents/client"
	"bela/agents/clock"
	"bela/agents/protocol"
)

const token = "0123456789abcdefghij"

// converse starts a conversation over pipes and gives the controller's end.
func converse(t *testing.T, change func(*Config)) *client.Client {
	t.Helper()
	c := Config{Clock: clock.New(clock.Options{}), PID: os.Getpid(), ListenAddress: func(a string) string { return a }, Proc: "/proc", Sys: "/sys"}
	if change != nil {
		change(&c)
	}
	theirs, mine := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(t.Context(), c, theirs, theirs) }()
	link, _, err := client.Open(t.Context(), mine, client.Options{Now: func() int64 { return time.Now().UnixNano() }, OnEvent: func(protocol.Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		link.Close()
		if err := <-ended; err != nil {
			t.Errorf("the conversation ended with %v", err)
		}
	})
	return link
}

func ask[T any](t *testing.T, link *client.Client, typ protocol.Type, req any) T {
	t.Helper()
	var resp T
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := link.Call(ctx, typ, req, &resp); err != nil {
		t.Fatal(err)
	}
	return resp
}

// A fact that is not read is a check that never fires: every one that a Linux
// machine tells must be there.
func TestInspect(t *testing.T) {
	in := ask[protocol.Inspection](t, converse(t, nil), protocol.TypeInspect,
		protocol.InspectSpec{Directory: filepath.Join(t.TempDir(), "not", "there"), Window: 200 * time.Millisecond})
	for what, ok := range map[string]bool{
		"uptime":      in.Uptime > 0,
		"disk":        in.Disk.Free > 0 && in.Disk.Path != "" && in.Disk.Inodes != 0,
		"memory":      in.Memory.Total > 0 && in.Memory.Available > 0,
		"files":       in.Files.Hard != 0 && in.Files.System > 0 && in.Files.SystemOpen > 0,
		"threads":     in.Tasks.System > 0 && in.Tasks.Now > 0 && in.Tasks.UserNow > 0,
		"local ports": in.Network.LocalPorts[1] > in.Network.LocalPorts[0],
		"somaxconn":   in.Network.Somaxconn > 0,
		"syn backlog": in.Network.SynBacklog > 0,
		"window":      in.Load.Window >= 200*time.Millisecond && in.Load.CPUs > 0 && in.Load.Busy >= 0 && in.Load.Busy <= 1.01,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, in)
		}
	}
}

// A campaign fails when its broker finds its port taken; who holds it must be
// named, or the operator has to search.
func TestListenNamesTheHolder(t *testing.T) {
	holder, port := holdPort(t, "127.0.0.1")
	// Another address's port is not in the way.
	if ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", port)); err != nil {
		t.Error(err)
	} else {
		defer func() { _ = ln.Close() }()
	}
	l := ask[protocol.Listening](t, converse(t, nil), protocol.TypeListen,
		protocol.ListenSpec{Token: token, Addresses: []string{net.JoinHostPort("127.0.0.1", port), "192.0.2.1:9", "127.0.0.1:0"}}).Listeners
	if l[0].Code != protocol.ListenTaken || !strings.Contains(l[0].Holder, "(pid "+strconv.Itoa(holder)+", user ") {
		t.Errorf("a taken port: %+v, want pid %d", l[0], holder)
	}
	if l[1].Code != protocol.ListenForeign {
		t.Errorf("an address of another machine: %+v", l[1])
	}
	if l[2].Code != "" {
		t.Errorf("a free port: %+v", l[2])
	}
}

// holdPort starts another process that listens on a port.
func holdPort(t *testing.T, host string) (pid int, port string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "hold", host)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line := make([]byte, 5)
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, string(line)
}

// hold listens on a port from 10000 on, says which, and waits for its input's end.
func hold(host string) int {
	for port := 10000; port < 20000; port++ {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer func() { _ = ln.Close() }()
		_, _ = io.WriteString(os.Stdout, strconv.Itoa(port))
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	}
	return 1
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "hold" {
		os.Exit(hold(os.Args[2]))
	}
	os.Exit(m.Run())
}

// The ways between nodes are judged by what a try says: each way of failing
// has another remedy, and a stranger that answers must not pass for a node.
func TestDial(t *testing.T) {
	link := converse(t, nil)
	port := freePort(t)
	open := net.JoinHostPort("127.0.0.1", port)
	if l := ask[protocol.Listening](t, link, protocol.TypeListen, protocol.ListenSpec{Token: token, Addresses: []string{open}}); l.Listeners[0].Code != "" {
		t.Fatalf("%+v", l)
	}
	refused := net.JoinHostPort("127.0.0.1", freePort(t))
	stranger := listenTo(t, func(c net.Conn) { _, _ = c.Write(make([]byte, packet)) })
	silent := listenTo(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })

	got := ask[protocol.Dialled](t, converse(t, nil), protocol.TypeDial, protocol.DialSpec{Token: token, Timeout: 500 * time.Millisecond,
		Addresses: []string{open, refused, stranger, silent}}).Ways
	want := []string{"", protocol.WayRefused, protocol.WayOther, protocol.WayStuck}
	for i, w := range got {
		if w.Code != want[i] {
			t.Errorf("%s: %+v, want %q", w.Address, w, want[i])
		}
	}
	if got[0].MTU == 0 || got[0].Took <= 0 {
		t.Errorf("the open way: %+v", got[0])
	}
	// Another doctor's token is a stranger's.
	other := ask[protocol.Dialled](t, converse(t, nil), protocol.TypeDial, protocol.DialSpec{Token: strings.Repeat("x", 20), Timeout: time.Second, Addresses: []string{open}}).Ways[0]
	if other.Code != protocol.WayOther {
		t.Errorf("with another token: %+v", other)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func listenTo(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { serve(c); _ = c.Close() }()
		}
	}()
	return ln.Addr().String()
}

// When the controller goes away the ports must be free again: a run starts a
// moment later.
func TestPortsAreFreeAfterwards(t *testing.T) {
	theirs, mine := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(t.Context(), Config{Clock: clock.New(clock.Options{}), ListenAddress: func(a string) string { return a }, Proc: "/proc", Sys: "/sys"}, theirs, theirs)
	}()
	link, _, err := client.Open(t.Context(), mine, client.Options{Now: func() int64 { return 0 }, OnEvent: func(protocol.Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", freePort(t))
	ask[protocol.Listening](t, link, protocol.TypeListen, protocol.ListenSpec{Token: token, Addresses: []string{address}})
	ask[protocol.Dialled](t, link, protocol.TypeDial, protocol.DialSpec{Token: token, Timeout: time.Second, Addresses: []string{address}})
	link.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = ln.Close()
}

// What reaches beyond bounds is refused, not carried out.
func TestBounds(t *testing.T) {
	link := converse(t, nil)
	for name, req := range map[string]struct {
		typ  protocol.Type
		spec any
	}{
		"short token":        {protocol.TypeListen, protocol.ListenSpec{Token: "x"}},
		"too many addresses": {protocol.TypeListen, protocol.ListenSpec{Token: token, Addresses: slices.Repeat([]string{"127.0.0.1:1"}, maxAddresses+1)}},
		"no timeout":         {protocol.TypeDial, protocol.DialSpec{Token: token}},
		"long window":        {protocol.TypeInspect, protocol.InspectSpec{Directory: "/tmp", Window: time.Hour}},
		"relative directory": {protocol.TypeInspect, protocol.InspectSpec{Directory: "tmp", Window: time.Second}},
		"another parameter":  {protocol.TypeSetSysctl, protocol.SetSysctlSpec{Undo: "/tmp/undo", Settings: []protocol.SysctlSetting{{Name: "kernel.core_pattern", New: "1"}}}},
		"a value that is a command": {protocol.TypeSetSysctl, protocol.SetSysctlSpec{Undo: "/tmp/undo",
			Settings: []protocol.SysctlSetting{{Name: "net.core.somaxconn", New: "1; reboot"}}}},
		"unknown": {"load.start", nil},
	} {
		if err := link.Call(t.Context(), req.typ, req.spec, nil); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}
