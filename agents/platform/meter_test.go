package platform

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"bela/agents/meter"
	"bela/agents/meter/sockdiag"
	"bela/agents/protocol"
)

// If this failed, the built-in broker's throughput and that of a foreign one could
// not be compared: the one counts for itself, the other's sockets are counted.
func TestBrokerCountsWhatItsSocketsCarry(t *testing.T) {
	sockets, watched, err := meter.OpenSockets()
	if err != nil {
		t.Fatal(err)
	}
	defer sockets.Close()
	if !watched {
		t.Skip("left out: the kernel does not tell of sockets that close")
	}
	b, err := startBroker(protocol.ComponentSpec{Name: "broker", Bind: "127.0.0.1", User: "u", Password: "p", Queue: defaultQueue}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.server.Close() }()
	owner := meter.Owner{Key: "broker", Inodes: func() []uint32 { return []uint32{listenerInode(t, b.address())} }}
	look := func() meter.Bytes {
		sums, _, err := sockets.Look([]meter.Owner{owner})
		if err != nil {
			t.Fatal(err)
		}
		return sums[owner.Key]
	}
	look() // from here on all its connections count

	const messages, size = 300, 8 << 10
	connect := func(id string) paho.Client {
		c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + b.address()).SetClientID(id).
			SetUsername("u").SetPassword("p").SetAutoReconnect(false))
		settleToken(t, c.Connect())
		return c
	}
	var arrived atomic.Int64
	to, from := connect("to"), connect("from")
	settleToken(t, to.Subscribe("load", 1, func(paho.Client, paho.Message) { arrived.Add(1) }))
	deadline := time.Now().Add(time.Minute) // of a busy machine
	for sent := range int64(messages) {
		settleToken(t, from.Publish("load", 1, false, make([]byte, size)))
		for arrived.Load() <= sent {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d arrived", arrived.Load(), messages)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	from.Disconnect(100)
	to.Disconnect(100)
	for ; ; time.Sleep(20 * time.Millisecond) {
		own, seen := b.counters(), look()
		if near(own.BytesIn, seen.In) && near(own.BytesOut, seen.Out) && seen.In > messages*size && seen.Out > messages*size {
			t.Logf("in: own %d, sockets %d; out: own %d, sockets %d", own.BytesIn, seen.In, own.BytesOut, seen.Out)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("in: own %d, sockets %d; out: own %d, sockets %d", own.BytesIn, seen.In, own.BytesOut, seen.Out)
		}
	}
}

func near(a, b int64) bool { return max(a, b)-min(a, b) <= max(a, b)/50 }

func settleToken(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		t.Fatalf("no answer, or %v", token.Error())
	}
}

// listenerInode finds a listening socket by its address.
func listenerInode(t *testing.T, at string) uint32 {
	t.Helper()
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sockdiag.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	all, err := c.Sockets(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := netip.AddrPortFrom(netip.MustParseAddr(host), uint16(n))
	i := slices.IndexFunc(all, func(s sockdiag.Socket) bool { return s.Listening && s.Local == want })
	if i < 0 {
		t.Fatal(fmt.Errorf("nobody listens at %s", at))
	}
	return all[i].Inode
}
