package sockdiag

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

const patience = 20 * time.Second

// pair is a connection over loopback, of one family.
func pair(t testing.TB, network, at string) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Skipf("left out: %s is not to be had here: %v", network, err)
	}
	defer func() { _ = l.Close() }()
	if client, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

func send(t testing.TB, from, to net.Conn, bytes int) {
	t.Helper()
	go func() { _, _ = from.Write(make([]byte, bytes)) }()
	_ = to.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.CopyN(io.Discard, to, int64(bytes)); err != nil {
		t.Fatal(err)
	}
}

func local(c net.Conn) netip.AddrPort { return c.LocalAddr().(*net.TCPAddr).AddrPort() }

func find(t testing.TB, c *Conn, at, to netip.AddrPort) Socket {
	t.Helper()
	all, err := c.Sockets(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Local == at && s.Remote == to {
			return s
		}
	}
	t.Fatalf("no socket %v → %v among %d", at, to, len(all))
	return Socket{}
}

func open2(t testing.TB) *Conn {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// If this failed, the bytes of a foreign component would be wrong, or only be
// seen in one of the two families.
func TestCountsAreTheBytesThatWereSent(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			at := "127.0.0.1:0"
			if network == "tcp6" {
				at = "[::1]:0"
			}
			client, server := pair(t, network, at)
			send(t, client, server, 1_234_567)
			send(t, server, client, 89)
			c := open2(t)
			from, to := find(t, c, local(client), local(server)), find(t, c, local(server), local(client))
			if from.Sent != 1_234_567 || from.Received != 89 || to.Received != 1_234_567 || to.Sent != 89 {
				t.Errorf("client %+v, server %+v", from, to)
			}
			if from.Cookie == to.Cookie || from.Inode == 0 || from.Listening {
				t.Errorf("client %+v, server %+v", from, to)
			}
		})
	}
}

// If this failed, what a connection carried between its last look and its end
// would be missing, and short connections altogether.
func TestClosedSocketsComeWithTheirLastCounts(t *testing.T) {
	w, err := WatchClosed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	client, server := pair(t, "tcp4", "127.0.0.1:0")
	send(t, client, server, 54_321)
	c := open2(t)
	open := find(t, c, local(server), local(client))
	_, _ = client.Close(), server.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		closed, missed := w.Take()
		if missed {
			t.Error("some were missed")
		}
		for _, s := range closed {
			if s.Cookie != open.Cookie {
				continue
			}
			// The end of a connection may count as a byte.
			if s.Received < 54_321 || s.Received > 54_322 || s.Local != open.Local {
				t.Errorf("%+v, open it was %+v", s, open)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it was never told of")
		}
	}
}

// If this failed, an old kernel's bytes would be read from another field.
func TestCountsByKernel(t *testing.T) {
	whole := make([]byte, 248)
	binary.NativeEndian.PutUint64(whole[120:], 1000) // acknowledged
	binary.NativeEndian.PutUint64(whole[128:], 2000) // received
	binary.NativeEndian.PutUint64(whole[200:], 1500) // sent
	binary.NativeEndian.PutUint64(whole[208:], 400)  // of them again
	for _, tt := range []struct {
		name           string
		size           int
		received, sent uint64
		ok             bool
	}{
		{"today's: sent, without what was sent again", 248, 2000, 1100, true},
		{"Linux 4.9: acknowledged", 192, 2000, 1000, true},
		{"Linux 3.10 has no counts", 104, 0, 0, false},
	} {
		received, sent, ok := counts(whole[:tt.size])
		if received != tt.received || sent != tt.sent || ok != tt.ok {
			t.Errorf("%s: %d %d %v", tt.name, received, sent, ok)
		}
	}
}

// FuzzMessages feeds what a kernel might answer.
func FuzzMessages(f *testing.F) {
	f.Add(make([]byte, 200))
	good := make([]byte, 16+messageSize+12)
	binary.NativeEndian.PutUint32(good, uint32(len(good)))
	binary.NativeEndian.PutUint16(good[4:], byFamily)
	binary.NativeEndian.PutUint16(good[16+messageSize:], 12)
	binary.NativeEndian.PutUint16(good[16+messageSize+2:], attrGroup)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		read := 0
		_ = each(b, func(_ uint16, _ uint32, payload []byte) error {
			read += len(payload)
			parse(payload)
			_ = refusal(payload)
			return nil
		})
		if read > len(b) {
			t.Errorf("%d bytes of payload in %d", read, len(b))
		}
	})
}

// BenchmarkSockets is one look at 1000 connections, both ends of which are here.
func BenchmarkSockets(b *testing.B) {
	for range 1000 {
		pair(b, "tcp4", "127.0.0.1:0")
	}
	c := open2(b)
	var all []Socket
	for b.Loop() {
		var err error
		if all, err = c.Sockets(all[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(all)), "sockets")
}
