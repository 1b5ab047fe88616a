package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"bela/agents/transport"
	"bela/agents/transport/mqtt/mqtttest"
)

// fateBook notes what Acked tells.
type fateBook struct {
	mu    sync.Mutex
	fates map[uint64][]error
}

func (b *fateBook) note(id uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fates == nil {
		b.fates = make(map[uint64][]error)
	}
	b.fates[id] = append(b.fates[id], err)
}

func (b *fateBook) count() (told, good int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, errs := range b.fates {
		told++
		if len(errs) == 1 && errs[0] == nil {
			good++
		}
	}
	return
}

// once checks that no message was told of twice.
func (b *fateBook) once(t *testing.T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, errs := range b.fates {
		if len(errs) != 1 {
			t.Errorf("message %d has %d fates: %v", id, len(errs), errs)
		}
	}
}

func dial(t *testing.T, o transport.Options) transport.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if o.ClientID == "" {
		o.ClientID = strings.ReplaceAll(t.Name(), "/", "-")
	}
	c, err := Dialer{}.Dial(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s still not: %s", what)
		}
	}
}

// Messages must arrive whole and in order, and each acknowledgement be told
// once: accounts are made of nothing else.
func TestPublishAndSubscribe(t *testing.T) {
	_, address := mqtttest.Broker(t)
	for qos := byte(0); qos <= 2; qos++ {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			var book fateBook
			subscriber := dial(t, transport.Options{Address: address, ClientID: fmt.Sprintf("s%d", qos)})
			publisher := dial(t, transport.Options{Address: address, ClientID: fmt.Sprintf("p%d", qos), Acked: book.note, Bind: "127.0.0.1"})
			var mu sync.Mutex
			var got []string
			err := subscriber.Subscribe(t.Context(), fmt.Sprintf("q%d/#", qos), qos, func(p []byte) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, string(p))
			})
			if err != nil {
				t.Fatal(err)
			}
			const n = 500
			var want []string
			for i := range n {
				text := fmt.Sprintf("message %d", i)
				want = append(want, text)
				if err := publisher.Publish(uint64(i), fmt.Sprintf("q%d/x", qos), qos, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			await(t, "all delivered", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(got) == n
			})
			if !slices.Equal(got, want) {
				t.Error("the messages came in another order")
			}
			if qos > 0 {
				await(t, "all acknowledged", func() bool { _, good := book.count(); return good == n })
			} else if told, _ := book.count(); told != 0 {
				t.Errorf("%d fates at QoS 0", told)
			}
			book.once(t)
		})
	}
}

// muteAcks is a broker that takes messages and keeps some acknowledgements.
type muteAcks struct {
	mochi.HookBase
	every int
	mu    sync.Mutex
	n     int
}

func (*muteAcks) ID() string           { return "mute" }
func (*muteAcks) Provides(b byte) bool { return b == mochi.OnPublish }
func (h *muteAcks) OnPublish(_ *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n++; h.n%h.every == 0 {
		return pk, packets.ErrRejectPacket
	}
	return pk, nil
}

// Messages without an acknowledgement must be told as lost when the connection
// ends, by either side, exactly once, and before Done says so. Paho by itself
// would call them a success.
func TestFatesAtTheEnd(t *testing.T) {
	ends := map[string]func(c transport.Conn, p *mqtttest.Proxy){
		"closed here":  func(c transport.Conn, _ *mqtttest.Proxy) { _ = c.Close(context.Background()) },
		"broken there": func(_ transport.Conn, p *mqtttest.Proxy) { p.Cut() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			_, address := mqtttest.Broker(t, &muteAcks{every: 3})
			proxy := mqtttest.NewProxy(t, address, 0)
			var book fateBook
			c := dial(t, transport.Options{Address: proxy.Address, Acked: book.note})
			const n = 30
			for i := range n {
				if err := c.Publish(uint64(i), "x", 1, []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			await(t, "two thirds acknowledged", func() bool { _, good := book.count(); return good == n*2/3 })
			if c.Err() != nil {
				t.Errorf("the connection stands, and its error is %v", c.Err())
			}
			end(c, proxy)
			select {
			case <-c.Done():
			case <-time.After(10 * time.Second):
				t.Fatal("the connection does not end")
			}
			if told, good := book.count(); told != n || good != n*2/3 {
				t.Errorf("%d fates, %d good; want %d, %d", told, good, n, n*2/3)
			}
			book.once(t)
			if c.Err() == nil {
				t.Error("the connection ended without an error")
			}
			for qos := byte(0); qos <= 1; qos++ {
				if err := c.Publish(99, "x", qos, []byte("x")); err == nil {
					t.Errorf("QoS %d: publishing on a connection that ended succeeds", qos)
				}
			}
			if told, _ := book.count(); told != n {
				t.Error("a refused message has a fate")
			}
		})
	}
}

// lastWriter is a client whose connection is lost while its last message is on the
// wire: the token completes after the news, or never.
type lastWriter struct {
	paho.Client
	token *lastToken
}

type lastToken struct {
	paho.Token
	done chan struct{}
}

func (w lastWriter) Publish(string, byte, bool, any) paho.Token { return w.token }
func (t *lastToken) Done() <-chan struct{}                      { return t.done }
func (t *lastToken) Error() error                               { return nil }

// A message that the socket took as the connection broke must not be called failed:
// where the broker delivers it, a sound cell has a phantom and is invalid.
func TestTakenAsTheConnectionBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := make(chan struct{})
		close(lost)
		written := &lastToken{done: make(chan struct{})}
		time.AfterFunc(10*time.Millisecond, func() { close(written.done) })
		if err := (&conn{client: lastWriter{token: written}, done: lost}).Publish(1, "x", 0, nil); err != nil {
			t.Errorf("the socket took it: %v", err)
		}
		never := &lastToken{done: make(chan struct{})}
		if err := (&conn{client: lastWriter{token: never}, done: lost}).Publish(2, "x", 0, nil); !errors.Is(err, transport.ErrLost) {
			t.Errorf("nobody took it: %v", err)
		}
	})
}

// Many messages at a connection that breaks in their midst must each be told
// once: refused, acknowledged or lost.
func TestFatesWhileBreaking(t *testing.T) {
	_, address := mqtttest.Broker(t)
	for round := range 10 {
		proxy := mqtttest.NewProxy(t, address, 0)
		var book fateBook
		c := dial(t, transport.Options{Address: proxy.Address, ClientID: fmt.Sprint("b", round), Acked: book.note, WriteTimeout: 500 * time.Millisecond})
		taken := 0
		for i := 0; ; i++ {
			if i == 200+37*round {
				go proxy.Cut()
			}
			if err := c.Publish(uint64(i), "x", 1, bytes.Repeat([]byte("x"), 100)); err != nil {
				break
			}
			taken++
		}
		<-c.Done()
		if told, _ := book.count(); told != taken {
			t.Errorf("round %d: %d messages were taken, %d have a fate", round, taken, told)
		}
		book.once(t)
	}
}

// A broker that never reads must not hold Publish for longer than the write
// timeout.
func TestPublishIsBounded(t *testing.T) {
	_, address := mqtttest.Broker(t)
	proxy := mqtttest.NewProxy(t, address, 0)
	for qos := byte(0); qos <= 1; qos++ {
		c := dial(t, transport.Options{Address: proxy.Address, ClientID: fmt.Sprint("w", qos), WriteTimeout: 200 * time.Millisecond})
		proxy.Freeze()
		var err error
		longest := time.Duration(0)
		for begun := time.Now(); err == nil; {
			if time.Since(begun) > 30*time.Second {
				t.Fatalf("QoS %d: 30 s of writing to nobody, and no error", qos)
			}
			before := time.Now()
			err = c.Publish(1, "x", qos, make([]byte, 256<<10))
			longest = max(longest, time.Since(before))
		}
		if longest > 5*time.Second {
			t.Errorf("QoS %d: a publish took %v", qos, longest)
		}
		proxy.Cut()
		proxy.Thaw()
	}
}

// refuser is a broker that lets nobody in or subscribe.
type refuser struct {
	mochi.HookBase
	connect bool
}

func (*refuser) ID() string { return "refuser" }
func (h *refuser) Provides(b byte) bool {
	return h.connect && b == mochi.OnConnect || !h.connect && b == mochi.OnSubscribe
}

func (*refuser) OnConnect(*mochi.Client, packets.Packet) error {
	return packets.ErrBadUsernameOrPassword
}

func (*refuser) OnSubscribe(_ *mochi.Client, pk packets.Packet) packets.Packet {
	for i := range pk.Filters {
		pk.Filters[i].Filter = "a/#/b" // not valid, so the broker answers 0x80
	}
	return pk
}

// What a broker refuses must be an error at once, else a cell runs without its
// customers.
func TestRefusals(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, address := mqtttest.Broker(t, &refuser{connect: true})
	_, err := Dialer{}.Dial(ctx, transport.Options{Address: address, ClientID: "x", User: "u", Password: "secret"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("dialing a broker that refuses: %v", err)
	}
	_, address = mqtttest.Broker(t, &refuser{})
	c := dial(t, transport.Options{Address: address})
	if err := c.Subscribe(ctx, "x/#", 1, func([]byte) {}); err == nil || !strings.Contains(err.Error(), "x/#") {
		t.Errorf("a refused subscription: %v", err)
	}
	if _, err := (Dialer{}).Dial(ctx, transport.Options{Address: address, ClientID: "y", Bind: "eth0"}); err == nil || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("binding to a name: %v", err)
	}
}

// A server that accepts and says nothing must not hold Dial beyond its deadline.
func TestDialIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		c, err := l.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		_, _ = io.Copy(io.Discard, c) // until the client gives up
		_ = c.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (Dialer{}).Dial(ctx, transport.Options{Address: l.Addr().String(), ClientID: "x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial: %v", err)
	}
	select {
	case <-hungUp:
	case <-time.After(10 * time.Second):
		t.Error("the connection was left open")
	}
}

// BenchmarkPublish is a device's cost of a message over a real broker.
func BenchmarkPublish(b *testing.B) {
	_, address := mqtttest.Broker(b)
	for qos := byte(0); qos <= 1; qos++ {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) {
			window := make(chan struct{}, 100)
			c, err := Dialer{}.Dial(b.Context(), transport.Options{Address: address, ClientID: fmt.Sprint("bench", qos),
				Acked: func(uint64, error) { <-window }})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close(context.Background()) }()
			data := make([]byte, 1024)
			id := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				if qos > 0 {
					window <- struct{}{}
				}
				id++
				if err := c.Publish(id, "x", qos, data); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.Close(context.Background())
		})
	}
}
