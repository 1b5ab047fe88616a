package platform

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bela/agents/protocol"
	"bela/measure"
)

const (
	// gatewayGroup is the shared subscription of all instances of gateway.
	gatewayGroup = "gateway"
	// maxUnderway bounds the messages handed on and not yet acknowledged.
	maxUnderway = 4096
	// retryWait is how long a hop waits before it tries again to hand on.
	retryWait = 10 * time.Millisecond
	// ackPatience is how long a gateway waits for the stream's acknowledgement at
	// QoS 1 before it hands a message on again: what an instance of stan or nats
	// had that was killed is answered by nobody. A stream that works answers a
	// hundred times as fast.
	ackPatience = 5 * time.Second
	// handBack is for how long nothing may come any more before a gateway that has
	// unsubscribed ends: a broker may have chosen it for a message that it writes
	// only after its answer.
	handBack = 250 * time.Millisecond
)

// gateway takes messages off the brokers and puts them into the stream.
//
//	onMessage → queue → convert → underway → settle
//
// Each step is one goroutine, so the order of a device's messages stays.
type gateway struct {
	counts
	desk    desk
	book    *book
	codec   *transcoder
	timeout time.Duration
	again   bool // hand on again what may have been lost on the way: QoS 1
	log     *slog.Logger

	links []*mqttLink
	nc    *nats.Conn
	js    jetstream.JetStream

	stopping atomic.Bool
	held     atomic.Int64 // taken and not settled
	queue    chan gatewayItem
	underway chan gatewayItem
	quit     chan struct{} // closed when draining has ended
	workers  sync.WaitGroup
}

// gatewayItem is one message on its way.
type gatewayItem struct {
	message  mqtt.Message
	received time.Time
	mark     mark
	subject  string
	body     []byte
	ack      jetstream.PubAckFuture
}

func startGateway(ctx context.Context, spec protocol.ComponentSpec, log *slog.Logger) (*gateway, error) {
	g := &gateway{
		timeout: spec.Timeout, again: spec.QoS > 0, log: log,
		queue:    make(chan gatewayItem, spec.Queue),
		underway: make(chan gatewayItem, min(spec.Queue, maxUnderway)),
		quit:     make(chan struct{}),
	}
	g.desk.spec = spec.Books
	g.book = newBook(&g.desk, "")
	var err error
	if g.codec, err = newTranscoder(spec.PayloadCodec, spec.Codec); err != nil {
		return nil, err
	}
	if g.nc, err = dialNATS(ctx, spec, log, &natsDialer{written: &g.bytesOut}); err != nil {
		return nil, err
	}
	wait := spec.Timeout
	if g.again {
		wait = min(wait, ackPatience)
	}
	g.js, err = jetstream.NewWithDomain(g.nc, jsDomain,
		jetstream.WithPublishAsyncMaxPending(2*maxUnderway), jetstream.WithPublishAsyncTimeout(wait))
	if err == nil {
		_, err = awaitStream(ctx, g.js)
	}
	if err != nil {
		g.nc.Close()
		return nil, err
	}
	g.workers.Go(g.convert)
	g.workers.Go(g.settle)
	if err := g.subscribe(ctx, spec); err != nil {
		g.drain(ctx)
		return nil, err
	}
	return g, nil
}

// subscribe connects to all brokers.
func (g *gateway) subscribe(ctx context.Context, spec protocol.ComponentSpec) error {
	for _, addr := range spec.Links["broker"] {
		l := &mqttLink{
			addr: addr, clientID: clientID(spec), user: spec.User, password: spec.Password,
			keepSession: spec.QoS > 0,
			filter:      "$share/" + gatewayGroup + "/" + spec.Ingest, qos: byte(spec.QoS),
			onMessage: g.onMessage, log: g.log,
			wrap: func(c net.Conn) net.Conn { return &countedConn{Conn: c, read: &g.bytesIn} },
		}
		l.open()
		g.links = append(g.links, l)
	}
	for _, l := range g.links {
		if _, err := l.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// onMessage takes one message. It does not block. A gateway that has ended leaves
// messages unacknowledged, to the broker.
func (g *gateway) onMessage(_ mqtt.Client, m mqtt.Message) {
	if g.stopping.Load() {
		return
	}
	g.in.Add(1)
	g.payloadIn.Add(int64(len(m.Payload())))
	g.held.Add(1)
	it := gatewayItem{message: m, received: time.Now(), mark: g.desk.mark(m.Payload())}
	g.book.take(it.mark)
	select {
	case g.queue <- it:
	default:
		g.giveUp(it, dropQueueFull)
	}
}

// giveUp counts a drop. The message is acknowledged, since the broker could
// only hold it for this gateway, until its own bounds are reached.
func (g *gateway) giveUp(it gatewayItem, r reason) {
	g.drop(r)
	g.book.drop(it.mark, r, "")
	g.done(it)
}

func (g *gateway) done(it gatewayItem) {
	it.message.Ack()
	g.held.Add(-1)
}

// convert takes messages off the queue, turns them into what the stream gets,
// and hands them on.
func (g *gateway) convert() {
	defer close(g.underway)
	for {
		select {
		case <-g.quit:
			return
		case it := <-g.queue:
			if r, ok := g.handOn(&it); !ok {
				g.giveUp(it, r)
				continue
			}
			g.underway <- it // settle reads until convert has ended
		}
	}
}

func (g *gateway) handOn(it *gatewayItem) (reason, bool) {
	if time.Since(it.received) > g.timeout {
		return dropTimeout, false
	}
	var ok bool
	if it.subject, ok = topicSubject(it.message.Topic()); !ok {
		return dropTopic, false
	}
	var err error
	if it.body, err = g.codec.convert(it.message.Payload()); err != nil {
		return dropDecode, false
	}
	return g.publish(it)
}

// publish puts a message into the connection. Without one, it waits for it until
// the message is too old.
func (g *gateway) publish(it *gatewayItem) (reason, bool) {
	for {
		var err error
		it.ack, err = g.js.PublishAsync(it.subject, it.body)
		switch {
		case err == nil:
			return 0, true
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
			return dropNoAck, false
		case time.Since(it.received) > g.timeout:
			return dropTimeout, false
		}
		select {
		case <-g.quit:
			return dropDisconnected, false
		case <-time.After(retryWait):
		}
	}
}

// settle waits for the acknowledgements, in the order of the messages. One that
// takes longer holds up none but the count of those after it.
func (g *gateway) settle() {
	for it := range g.underway {
		r, ok := g.acknowledged(it)
		for !ok && r == dropDisconnected && g.again && !g.ended() {
			// Whoever had the message may have taken it along.
			if r, ok = g.publish(&it); ok {
				r, ok = g.acknowledged(it)
			}
		}
		if !ok {
			g.giveUp(it, r)
			continue
		}
		g.out.Add(1)
		g.payloadOut.Add(int64(len(it.body)))
		g.book.handOn(it.mark)
		g.done(it)
	}
}

func (g *gateway) acknowledged(it gatewayItem) (reason, bool) {
	select {
	case <-it.ack.Ok():
		return 0, true
	case err := <-it.ack.Err():
		switch {
		case errors.Is(err, nats.ErrDisconnected):
			return dropDisconnected, false
		case unanswered(err) && g.again && time.Since(it.received) < g.timeout:
			return dropDisconnected, false
		}
		return dropNoAck, false
	case <-g.quit:
		return dropNoAck, false
	}
}

// unanswered says that nobody who could have stored a message has answered: there
// is no leader for the moment, or one was killed.
func unanswered(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code == 503
	}
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrAsyncPublishTimeout) || errors.Is(err, nats.ErrNoResponders)
}

func (g *gateway) ended() bool {
	select {
	case <-g.quit:
		return true
	default:
		return false
	}
}

func (g *gateway) address() string             { return "" }
func (g *gateway) failed() <-chan error        { return nil }
func (g *gateway) counters() protocol.Counters { return g.snapshot() }
func (g *gateway) books() []measure.HopBook    { return []measure.HopBook{g.book.export()} }

// drain gives the subscription back, so that other instances get what comes,
// takes what the brokers had chosen it for already, and ends what it holds.
func (g *gateway) drain(ctx context.Context) {
	for _, l := range g.links {
		if c := l.current(); c != nil {
			t := c.Unsubscribe(l.filter)
			select {
			case <-t.Done():
			case <-ctx.Done():
			}
		}
	}
	g.awaitQuiet(ctx)
	g.stopping.Store(true)
	awaitZero(ctx, &g.held)
	close(g.quit)
	g.workers.Wait()
	for _, l := range g.links {
		l.close()
	}
	g.nc.Close()
}

// awaitQuiet waits until nothing has come for handBack.
func (g *gateway) awaitQuiet(ctx context.Context) {
	for before := int64(-1); before != g.in.Load(); {
		before = g.in.Load()
		select {
		case <-ctx.Done():
			return
		case <-time.After(handBack):
		}
	}
}

// awaitZero waits until n is 0 or ctx is done.
func awaitZero(ctx context.Context, n *atomic.Int64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
