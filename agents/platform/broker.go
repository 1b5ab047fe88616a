package platform

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"bela/agents/protocol"
	"bela/measure"
)

const (
	// maxInflight is how many unacknowledged messages the broker keeps for one
	// client: half of the 65535 packet identifiers, so that a free one is found
	// quickly. One gateway that takes 10,000 msg/s may lag three seconds behind.
	maxInflight = 32768
	// sysInterval is how often the broker writes its $SYS topics, in seconds.
	// Nobody reads them here, and writing them stops the world.
	sysInterval = 24 * 60 * 60
)

// broker is the MQTT broker.
type broker struct {
	counts
	server *mqtt.Server
	listen *brokerListener

	desk                desk
	ingest              string // the first level of devices' topics
	fromDevices, toward *book  // toward the customers
}

func startBroker(spec protocol.ComponentSpec, log *slog.Logger) (*broker, error) {
	ln, err := net.Listen("tcp", listenAddress(spec))
	if err != nil {
		return nil, err
	}
	caps := mqtt.NewDefaultServerCapabilities()
	// A client's write queue takes 8 bytes a place even when empty: 64 KiB at
	// the default of 8192.
	caps.MaximumClientWritesPending = int32(min(spec.Queue, 1<<20))
	caps.MaximumInflight = maxInflight
	// What a client may have under way towards the broker. The broker works a
	// client's messages off one by one, so this needs no lower bound than MQTT's.
	caps.ReceiveMaximum = math.MaxUint16
	caps.MaximumPacketSize = maxPayload + 64<<10
	caps.MaximumSessionExpiryInterval = 60 * 60
	caps.MaximumQos = 2

	b := &broker{}
	b.desk.spec = spec.Books
	b.ingest, _, _ = strings.Cut(spec.Ingest, "/")
	b.fromDevices, b.toward = newBook(&b.desk, measure.SideIn), newBook(&b.desk, measure.SideOut)
	b.server = mqtt.New(&mqtt.Options{
		Capabilities:             caps,
		ClientNetWriteBufferSize: 4 << 10,
		ClientNetReadBufferSize:  4 << 10,
		Logger:                   log,
		SysTopicResendInterval:   sysInterval,
	})
	hook := &brokerHook{broker: b, user: []byte(spec.User), password: []byte(spec.Password)}
	b.listen = &brokerListener{Listener: ln, broker: b, done: make(chan struct{})}
	if err := errors.Join(b.server.AddHook(hook, nil), b.server.AddListener(b.listen), b.server.Serve()); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

func (b *broker) address() string      { return b.listen.Address() }
func (b *broker) failed() <-chan error { return nil }
func (b *broker) books() []measure.HopBook {
	return []measure.HopBook{b.fromDevices.export(), b.toward.export()}
}

// book is the one that a message belongs in, by its topic.
func (b *broker) book(topic string) *book {
	if root, _, _ := strings.Cut(topic, "/"); root == b.ingest {
		return b.fromDevices
	}
	return b.toward
}

// counters adds the library's own counts. Messages are PUBLISH packets that
// were read from and written to connections, deliveries again included.
func (b *broker) counters() protocol.Counters {
	s := b.snapshot()
	info := b.server.Info
	s.MessagesIn = atomic.LoadInt64(&info.MessagesReceived)
	s.MessagesOut = atomic.LoadInt64(&info.MessagesSent)
	// The library has no hook for messages that find maxInflight exceeded.
	if n := atomic.LoadInt64(&info.InflightDropped); n > 0 {
		if s.Dropped == nil {
			s.Dropped = make(map[string]int64)
		}
		s.Dropped[reasonNames[dropInflightFull]] = n
	}
	return s
}

// drain refuses new connections, waits until no client owes an acknowledgement
// and closes.
func (b *broker) drain(ctx context.Context) {
	b.listen.stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for atomic.LoadInt64(&b.server.Info.Inflight) > 0 && atomic.LoadInt64(&b.server.Info.ClientsConnected) > 0 {
		select {
		case <-ctx.Done():
			_ = b.server.Close()
			return
		case <-tick.C:
		}
	}
	_ = b.server.Close()
}

// brokerListener accepts connections and counts their bytes. Unlike the
// library's own, it goes on after an error such as too many open files.
type brokerListener struct {
	net.Listener
	broker *broker
	done   chan struct{}
	once   sync.Once
}

func (l *brokerListener) Init(*slog.Logger) error { return nil }
func (l *brokerListener) ID() string              { return "tcp" }
func (l *brokerListener) Address() string         { return l.Addr().String() }
func (l *brokerListener) Protocol() string        { return "tcp" }

// Serve accepts until the listener is stopped.
func (l *brokerListener) Serve(establish listeners.EstablishFn) {
	for {
		conn, err := l.Accept()
		if err != nil {
			select {
			case <-l.done:
				return
			case <-time.After(50 * time.Millisecond):
				l.broker.server.Log.Warn("accept", "error", err)
				continue
			}
		}
		counted := &countedConn{Conn: conn, read: &l.broker.bytesIn, written: &l.broker.bytesOut}
		go func() {
			// The error is how the connection ended, which the hook sees too.
			_ = establish(l.ID(), counted)
		}()
	}
}

// Close stops accepting and has the clients disconnected.
func (l *brokerListener) Close(closeClients listeners.CloseFn) {
	l.stop()
	closeClients(l.ID())
}

func (l *brokerListener) stop() {
	l.once.Do(func() {
		close(l.done)
		_ = l.Listener.Close()
	})
}

// brokerHook is what the broker adds to the library: credentials, a fair choice
// among shared subscribers, and drops.
type brokerHook struct {
	mqtt.HookBase
	broker         *broker
	user, password []byte
	turn           atomic.Uint64 // of shared subscriptions
}

func (h *brokerHook) ID() string { return "bela" }

func (h *brokerHook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnConnect, mqtt.OnSessionEstablished,
		mqtt.OnPublish, mqtt.OnSelectSubscribers, mqtt.OnPublishDropped, mqtt.OnQosDropped:
		return true
	}
	return false
}

// OnConnectAuthenticate admits those who know the run's credentials; everyone
// where there are none.
func (h *brokerHook) OnConnectAuthenticate(_ *mqtt.Client, pk packets.Packet) bool {
	if len(h.user) == 0 {
		return true
	}
	user := subtle.ConstantTimeCompare(pk.Connect.Username, h.user)
	return subtle.ConstantTimeCompare(pk.Connect.Password, h.password)&user == 1
}

// OnACLCheck lets every admitted client do everything.
func (h *brokerHook) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// OnConnect and OnSessionEstablished take away a send quota that can never
// bind, since the broker keeps no more than maxInflight anyway: with one, the
// library searches all of a client's unacknowledged messages at each packet from it.
func (h *brokerHook) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	h.lift(cl)
	return nil
}

// OnSessionEstablished does as OnConnect for a session that was taken over.
func (h *brokerHook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) { h.lift(cl) }

func (h *brokerHook) lift(cl *mqtt.Client) {
	if cl.Properties.Props.ReceiveMaximum >= maxInflight {
		cl.State.Inflight.ResetSendQuota(0)
	}
}

// OnSelectSubscribers deals the messages of a shared subscription out in turn
// among its connected members. The library's own choice, the first in a map's
// order, gives one of two members seven messages in eight.
func (h *brokerHook) OnSelectSubscribers(subs *mqtt.Subscribers, pk packets.Packet) *mqtt.Subscribers {
	turn := h.turn.Add(1)
	subs.SharedSelected = make(map[string]packets.Subscription, len(subs.Shared))
	for _, members := range subs.Shared {
		id := h.member(members, turn)
		sub := members[id]
		if already, ok := subs.SharedSelected[id]; ok {
			sub = already.Merge(sub)
		}
		subs.SharedSelected[id] = sub
		h.bookFull(id, sub, pk)
	}
	return subs
}

// member chooses among the connected; among all where none is, so that a
// session that is kept gets its message later.
func (h *brokerHook) member(members map[string]packets.Subscription, turn uint64) string {
	var up, all []string
	for id := range members {
		if len(members) == 1 {
			return id
		}
		all = append(all, id)
		if cl, ok := h.broker.server.Clients.Get(id); ok && !cl.Closed() {
			up = append(up, id)
		}
	}
	if len(up) == 0 {
		up = all
	}
	slices.Sort(up)
	return up[turn%uint64(len(up))]
}

// bookFull enters a message that the library is about to drop because its client
// owes too many acknowledgements: there is no hook for that, and only the
// choice among shared subscribers, gateways above all, comes just before it.
func (h *brokerHook) bookFull(id string, sub packets.Subscription, pk packets.Packet) {
	if min(sub.Qos, pk.FixedHeader.Qos) == 0 || h.broker.desk.spec == nil {
		return
	}
	if cl, ok := h.broker.server.Clients.Get(id); ok && cl.State.Inflight.Len() >= maxInflight {
		h.bookDrop(cl, pk, dropInflightFull)
	}
}

// OnPublish enters what a client published. It lets everything pass.
func (h *brokerHook) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.broker.book(pk.TopicName).take(h.broker.desk.mark(pk.Payload))
	return pk, nil
}

func (h *brokerHook) bookDrop(cl *mqtt.Client, pk packets.Packet, r reason) {
	h.broker.book(pk.TopicName).drop(h.broker.desk.mark(pk.Payload), r, cl.ID)
}

// OnPublishDropped counts a message that found its client's write queue full.
func (h *brokerHook) OnPublishDropped(cl *mqtt.Client, pk packets.Packet) {
	h.broker.drop(dropQueueFull)
	h.bookDrop(cl, pk, dropQueueFull)
}

// OnQosDropped counts a message whose client went away, for good, before it
// acknowledged. A session that another connection took over goes on there.
func (h *brokerHook) OnQosDropped(cl *mqtt.Client, pk packets.Packet) {
	if pk.FixedHeader.Type == packets.Publish && !cl.IsTakenOver() {
		h.broker.drop(dropDisconnected)
		h.bookDrop(cl, pk, dropDisconnected)
	}
}
