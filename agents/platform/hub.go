package platform

import (
	"context"
	"errors"
	"fmt"
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
	// maxPull bounds what one request of a hub asks of the stream.
	maxPull = 1000
	// A request that its instance of stan forgot, because it ended, is made again
	// after two heartbeats that did not come.
	pullExpiry    = 15 * time.Second
	pullHeartbeat = 2 * time.Second
	// ackSlack is how much longer than a hub's timeout JetStream waits before it
	// delivers a message again: a hub that lives has settled it by then.
	ackSlack = 30 * time.Second
)

// hub takes messages off the stream and publishes them to the brokers.
//
//	onMessage → queue → convert → underway → settle
//
// Customers may be connected to any of the brokers, which know nothing of each
// other, so every broker gets every message.
type hub struct {
	counts
	desk     desk
	book     *book
	codec    *transcoder
	timeout  time.Duration
	qos      byte
	delivery delivery
	log      *slog.Logger

	nc      *nats.Conn
	consume jetstream.ConsumeContext
	links   []*mqttLink

	stopping atomic.Bool
	held     atomic.Int64 // taken and not settled
	queue    chan hubItem
	underway chan hubItem
	quit     chan struct{} // closed when draining has ended
	ctx      context.Context
	cancel   context.CancelFunc
	workers  sync.WaitGroup
}

// hubItem is one message on its way.
type hubItem struct {
	message  jetstream.Msg
	received time.Time
	mark     mark
	topic    string
	body     []byte
	tokens   []mqtt.Token // one a broker; nil where it has acknowledged
}

func startHub(ctx context.Context, spec protocol.ComponentSpec, log *slog.Logger) (*hub, error) {
	h := &hub{
		timeout: spec.Timeout, qos: byte(spec.QoS),
		delivery: newDelivery(spec.Ingest, spec.Deliver), log: log,
		queue:    make(chan hubItem, spec.Queue),
		underway: make(chan hubItem, min(spec.Queue, maxUnderway)),
		quit:     make(chan struct{}),
	}
	h.desk.spec = spec.Books
	h.book = newBook(&h.desk, "")
	var err error
	if h.codec, err = newTranscoder(spec.Codec, spec.PayloadCodec); err != nil {
		return nil, err
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if h.nc, err = dialNATS(ctx, spec, log, &natsDialer{read: &h.bytesIn}); err != nil {
		h.cancel()
		return nil, err
	}
	h.workers.Go(h.convert)
	h.workers.Go(h.settle)
	if err = h.connect(ctx, spec); err == nil {
		err = h.take(ctx, spec)
	}
	if err != nil {
		h.drain(ctx)
		return nil, err
	}
	return h, nil
}

// connect connects to all brokers.
func (h *hub) connect(ctx context.Context, spec protocol.ComponentSpec) error {
	for _, addr := range spec.Links["broker"] {
		l := &mqttLink{
			addr: addr, clientID: clientID(spec), user: spec.User, password: spec.Password, log: h.log,
			wrap: func(c net.Conn) net.Conn { return &countedConn{Conn: c, written: &h.bytesOut} },
		}
		l.open()
		h.links = append(h.links, l)
	}
	for _, l := range h.links {
		if _, err := l.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// take begins to consume. The consumer is the same for all instances, and holds
// back what they have not settled: no more than Queue.
func (h *hub) take(ctx context.Context, spec protocol.ComponentSpec) error {
	js, err := jetstream.NewWithDomain(h.nc, jsDomain)
	if err != nil {
		return err
	}
	stream, err := awaitStream(ctx, js)
	if err != nil {
		return err
	}
	var consumer jetstream.Consumer
	err = retried(ctx, func(ctx context.Context) (err error) {
		consumer, err = stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       consumerName,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       spec.Timeout + ackSlack,
			MaxAckPending: spec.Queue,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("consumer %s on stream %s: %w", consumerName, streamName, err)
	}
	pull := min(maxPull, max(1, spec.Queue/2))
	h.consume, err = consumer.Consume(h.onMessage, jetstream.PullMaxMessages(pull),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if !h.stopping.Load() {
				h.log.Warn("consume", "error", err)
			}
		}))
	return err
}

// onMessage takes one message. While the hub ends, it gives messages back.
func (h *hub) onMessage(m jetstream.Msg) {
	if h.stopping.Load() {
		_ = m.Nak()
		return
	}
	h.in.Add(1)
	h.payloadIn.Add(int64(len(m.Data())))
	h.held.Add(1)
	it := hubItem{message: m, received: time.Now(), mark: h.desk.mark(m.Data())}
	h.book.take(it.mark)
	select {
	case h.queue <- it:
	default:
		h.giveUp(it, dropQueueFull)
	}
}

// giveUp counts a drop, and tells the stream not to deliver the message again.
func (h *hub) giveUp(it hubItem, r reason) {
	h.drop(r)
	h.book.drop(it.mark, r, "")
	_ = it.message.Term()
	h.held.Add(-1)
}

func (h *hub) convert() {
	defer close(h.underway)
	for {
		select {
		case <-h.quit:
			return
		case it := <-h.queue:
			if r, ok := h.handOn(&it); !ok {
				h.giveUp(it, r)
				continue
			}
			h.underway <- it // settle reads until convert has ended
		}
	}
}

func (h *hub) handOn(it *hubItem) (reason, bool) {
	var ok bool
	if it.topic, ok = h.delivery.of(it.message.Subject()); !ok {
		return dropTopic, false
	}
	var err error
	if it.body, err = h.codec.convert(it.message.Data()); err != nil {
		return dropDecode, false
	}
	it.tokens = make([]mqtt.Token, len(h.links))
	for i, l := range h.links {
		if it.tokens[i], ok = h.publish(l, it); !ok {
			return dropTimeout, false
		}
	}
	return 0, true
}

// publish hands a message to one broker. Without a connection, it waits for it
// until the message is too old.
func (h *hub) publish(l *mqttLink, it *hubItem) (mqtt.Token, bool) {
	left := h.timeout - time.Since(it.received)
	if left <= 0 {
		return nil, false
	}
	c := l.current()
	if c == nil {
		ctx, cancel := context.WithTimeout(h.ctx, left)
		defer cancel()
		var err error
		if c, err = l.wait(ctx); err != nil {
			return nil, false
		}
	}
	return c.Publish(it.topic, h.qos, false, it.body), true
}

// settle waits for the brokers' acknowledgements, in the order of the messages.
func (h *hub) settle() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for it := range h.underway {
		if r, ok := h.settled(&it, timer); !ok {
			h.giveUp(it, r)
			continue
		}
		h.out.Add(1)
		h.payloadOut.Add(int64(len(it.body)))
		h.book.handOn(it.mark)
		_ = it.message.Ack() // unheard, it is delivered again
		h.held.Add(-1)
	}
}

func (h *hub) settled(it *hubItem, timer *time.Timer) (reason, bool) {
	timer.Reset(h.timeout - time.Since(it.received))
	for i, l := range h.links {
		for it.tokens[i] != nil {
			select {
			case <-it.tokens[i].Done():
			case <-timer.C:
				return dropTimeout, false
			case <-h.ctx.Done():
				return dropNoAck, false
			}
			err := it.tokens[i].Error()
			switch {
			case err == nil:
				it.tokens[i] = nil
				continue
			case h.qos == 0:
				return dropDisconnected, false
			}
			// The connection broke and may have taken the message along.
			if errors.Is(err, mqtt.ErrNotConnected) {
				time.Sleep(retryWait) // until the link has noticed
			}
			var ok bool
			if it.tokens[i], ok = h.publish(l, it); !ok {
				return dropTimeout, false
			}
		}
	}
	return 0, true
}

func (h *hub) address() string             { return "" }
func (h *hub) failed() <-chan error        { return nil }
func (h *hub) counters() protocol.Counters { return h.snapshot() }
func (h *hub) books() []measure.HopBook    { return []measure.HopBook{h.book.export()} }

// drain stops consuming, gives back what it has not looked at, and ends what it
// holds.
func (h *hub) drain(ctx context.Context) {
	h.stopping.Store(true)
	if h.consume != nil {
		// Drain and not Stop: what has come already goes through onMessage, which
		// gives it back at once. Otherwise another hub would get it only when the
		// wait for its acknowledgement is over.
		h.consume.Drain()
		select {
		case <-h.consume.Closed():
		case <-ctx.Done():
		}
	}
	awaitZero(ctx, &h.held)
	close(h.quit)
	h.cancel()
	h.workers.Wait()
	_ = h.nc.FlushTimeout(time.Second) // the last acknowledgements
	for _, l := range h.links {
		l.close()
	}
	h.nc.Close()
}
