package meter

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bela/agents/meter/sockdiag"
)

const patience = 20 * time.Second

// site is an instance's end of some connections: a listener that it has, and
// those that it opened. Both ends are in this process, so the test says which
// inodes are the instance's.
type site struct {
	t        *testing.T
	listener net.Listener
	others   net.Listener // somebody else's
	mine     []netip.AddrPort
}

func newSite(t *testing.T) *site {
	s := &site{t: t}
	for _, l := range []*net.Listener{&s.listener, &s.others} {
		var err error
		if *l, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*l).Close() })
	}
	s.mine = []netip.AddrPort{address(s.listener.Addr())}
	return s
}

func address(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// owner finds its inodes by the addresses of its own ends.
func (s *site) owner() Owner {
	return Owner{Key: "p-1@1", Inodes: func() []uint32 {
		c, err := sockdiag.Open()
		if err != nil {
			s.t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		all, err := c.Sockets(nil)
		if err != nil {
			s.t.Fatal(err)
		}
		var inodes []uint32
		for _, k := range all {
			if slices.Contains(s.mine, k.Local) && (k.Listening || k.Local != s.mine[0]) {
				inodes = append(inodes, k.Inode)
			}
		}
		return inodes
	}}
}

// accepted is a connection to the instance, opened one by it to somebody else.
func (s *site) accepted() (mine, theirs net.Conn) { return s.connect(s.listener) }

func (s *site) opened() (mine, theirs net.Conn) {
	theirs, mine = s.connect(s.others)
	s.mine = append(s.mine, address(mine.LocalAddr()))
	return mine, theirs
}

func (s *site) connect(l net.Listener) (server, client net.Conn) {
	s.t.Helper()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return server, client
}

func (s *site) send(from, to net.Conn, bytes int) {
	s.t.Helper()
	go func() { _, _ = from.Write(make([]byte, bytes)) }()
	_ = to.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.CopyN(io.Discard, to, int64(bytes)); err != nil {
		s.t.Fatal(err)
	}
}

func openSockets(t *testing.T) *Sockets {
	t.Helper()
	s, watched, err := OpenSockets()
	if err != nil {
		t.Fatal(err)
	}
	if !watched {
		t.Skip("left out: the kernel does not tell of sockets that close")
	}
	t.Cleanup(s.Close)
	return s
}

func look(t *testing.T, s *Sockets, o Owner) Bytes {
	t.Helper()
	sums, missed, err := s.Look([]Owner{o})
	if err != nil || missed {
		t.Fatalf("missed %v, %v", missed, err)
	}
	return sums[o.Key]
}

// await looks until the sums are as wanted, give or take a byte for each end of a
// connection.
func await(t *testing.T, s *Sockets, o Owner, want Bytes, ends int64) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		got := look(t, s, o)
		if got.In >= want.In && got.In <= want.In+ends && got.Out >= want.Out && got.Out <= want.Out+ends {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, want %+v and at most %d more", got, want, ends)
		}
	}
}

// If this failed, the throughput of a foreign broker would be wrong: a
// connection's last second, connections that live for a moment, and those of
// other processes are where it goes wrong.
func TestSocketsOfAnInstance(t *testing.T) {
	site, sockets := newSite(t), openSockets(t)
	o := site.owner()
	if got := look(t, sockets, o); got != (Bytes{}) {
		t.Fatalf("before there is a connection: %+v", got)
	}
	in, client := site.accepted()
	out, core := site.opened()
	_, stranger := site.connect(site.others)
	site.send(client, in, 100_000)
	site.send(in, client, 3_000)
	site.send(out, core, 70_000)
	_, _ = stranger.Write(make([]byte, 5_555)) // between others
	await(t, sockets, o, Bytes{In: 100_000, Out: 73_000}, 0)

	// What they carry after the last look counts although they are gone by the next.
	site.send(client, in, 20_000)
	site.send(out, core, 1_000)
	for _, c := range []net.Conn{client, in, out, core} {
		_ = c.Close()
	}
	await(t, sockets, o, Bytes{In: 120_000, Out: 74_000}, 4)

	// Connections that no look sees.
	for range 20 {
		in, client := site.accepted()
		site.send(client, in, 10_000)
		_, _ = client.Close(), in.Close()
	}
	await(t, sockets, o, Bytes{In: 320_000, Out: 74_000}, 24)
	was := look(t, sockets, o)
	for range forgetAfter + 2 {
		if got := look(t, sockets, o); got != was {
			t.Fatalf("%+v after %+v, and nothing was sent", got, was)
		}
	}
}

// If this failed, a gateway's bytes towards the core would count as those from
// the broker.
func TestSocketsByPort(t *testing.T) {
	site, sockets := newSite(t), openSockets(t)
	o := site.owner()
	o.InPorts = []int{int(address(site.listener.Addr()).Port())}
	o.OutPorts = []int{int(address(site.others.Addr()).Port())}
	in, client := site.accepted()
	out, core := site.opened()
	site.send(client, in, 4_000)
	site.send(in, client, 300) // acknowledgements
	site.send(out, core, 5_000)
	site.send(core, out, 200)
	await(t, sockets, o, Bytes{In: 4_000, Out: 5_000}, 0)
}

// If this failed, one that waits to be accepted would be taken for a stranger's,
// and never count.
func TestSocketThatWaitsToBeAccepted(t *testing.T) {
	site, sockets := newSite(t), openSockets(t)
	o := site.owner()
	client, err := net.Dial("tcp4", site.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Write(make([]byte, 1234)); err != nil {
		t.Fatal(err)
	}
	await(t, sockets, o, Bytes{In: 1234}, 0)
}

// If this failed, an instance that was started again would begin with what the
// one before it had.
func TestSocketsOfAnInstanceThatIsGone(t *testing.T) {
	site, sockets := newSite(t), openSockets(t)
	o := site.owner()
	in, client := site.accepted()
	site.send(client, in, 999)
	await(t, sockets, o, Bytes{In: 999}, 0)
	if _, _, err := sockets.Look(nil); err != nil {
		t.Fatal(err)
	}
	_, _ = client.Close(), in.Close()
	next := o
	next.Key = "p-1@2"
	next.Inodes = func() []uint32 { return nil }
	if got := look(t, sockets, next); got != (Bytes{}) {
		t.Errorf("%+v", got)
	}
}

// BenchmarkLook is a look at 1000 connections of an instance, both ends of which
// are on this machine.
func BenchmarkLook(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for range 1000 {
		client, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _, _ = client.Close(), server.Close() }()
	}
	s, _, err := OpenSockets()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c, err := sockdiag.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	all, err := c.Sockets(nil)
	if err != nil {
		b.Fatal(err)
	}
	i := slices.IndexFunc(all, func(k sockdiag.Socket) bool { return k.Listening && k.Local == address(l.Addr()) })
	o := Owner{Key: fmt.Sprint(i), Inodes: func() []uint32 { return []uint32{all[i].Inode} }}
	for b.Loop() {
		if _, _, err := s.Look([]Owner{o}); err != nil {
			b.Fatal(err)
		}
	}
}
