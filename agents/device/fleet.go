// Package device emulates the devices of one node: it connects them, publishes
// each message at the time that the schedule intends, and keeps an account of
// every measured one. It is open loop: no slow broker, connection or device ever
// delays another message. It knows nothing of customers or of other nodes, and
// draws no conclusions from its numbers.
package device

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bela/agents/clock"
	"bela/agents/payload"
	"bela/agents/protocol"
	"bela/agents/schedule"
	"bela/agents/transport"
	"bela/agents/transport/mqtt"
	"bela/measure"
)

const (
	// defaultQueue is how many due messages a device may have waiting; at more,
	// messages are unsent.
	defaultQueue = 1000
	// defaultAckTimeout is used where the spec gives none.
	defaultAckTimeout = 10 * time.Second
	// maxDevices bounds a fleet.
	maxDevices = 1_000_000
	// probeFlag tells a probe's ID from a sequence number.
	probeFlag = 1 << 63
)

// Fleet is an agent's share of the devices through one cell. Its methods may be
// called from any goroutine.
type Fleet struct {
	spec    protocol.DevicesSpec
	clock   *clock.Clock
	logger  *slog.Logger
	log     func(level, text string)
	dialer  transport.Dialer
	builder *payload.Builder
	group   *transport.Group
	devices []*device
	books   books
	buffers sync.Pool // *[]byte with room for a payload

	queueBound   int
	writeTimeout time.Duration
	groupOptions transport.GroupOptions
	waiter       func() waiter

	mu      sync.Mutex // guards the changes of life below
	start   atomic.Pointer[load]
	probes  map[uint32]chan error
	closed  bool
	broken  atomic.Int64           // connections lost so far
	lost    atomic.Int64           // of them, those since the last word about it
	example atomic.Pointer[string] // one of them

	senders sync.WaitGroup
	workers sync.WaitGroup // the pacer and the sweeper
	quit    chan struct{}
}

// load is a started schedule.
type load struct {
	protocol.Start
	at      int64
	warmup  int64
	end     int64 // ns from at
	options schedule.Options
	pacer   *pacer
	done    chan struct{} // closed when the pacer has returned
}

// Option changes a fleet before it is made.
type Option func(*Fleet)

// WithDialer takes another transport than MQTT.
func WithDialer(d transport.Dialer) Option { return func(f *Fleet) { f.dialer = d } }

// WithWriteTimeout bounds each write to a socket; the default is the
// transport's.
func WithWriteTimeout(d time.Duration) Option { return func(f *Fleet) { f.writeTimeout = d } }

// New prepares a fleet; nothing is connected yet. log takes what an operator
// should see (level info, warn or error); it and logger may be nil. The error
// is a *protocol.Error and says what is wrong with the spec.
func New(spec protocol.DevicesSpec, c *clock.Clock, logger *slog.Logger, log func(level, text string), options ...Option) (*Fleet, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if log == nil {
		log = func(string, string) {}
	}
	f := &Fleet{
		spec: spec, clock: c, logger: logger, log: log,
		dialer: mqtt.Dialer{}, queueBound: defaultQueue, waiter: newWaiter,
		probes: make(map[uint32]chan error), quit: make(chan struct{}),
	}
	if f.spec.AckTimeout <= 0 {
		f.spec.AckTimeout = defaultAckTimeout
	}
	f.groupOptions = transport.GroupOptions{Ramp: spec.Ramp, Lost: f.lostConnection}
	for _, o := range options {
		o(f)
	}
	if err := f.check(); err != nil {
		return nil, badRequest("devices of node %s: %v", spec.Node, err)
	}
	f.buffers.New = func() any {
		b := make([]byte, 0, spec.Payload)
		return &b
	}
	f.makeDevices()
	return f, nil
}

// check refuses a spec that cannot be run, and prepares the payloads.
func (f *Fleet) check() error {
	s := f.spec
	switch {
	case s.Count < 0 || s.Count > maxDevices || s.First < 0:
		return fmt.Errorf("count %d from %d: want 0 to %d devices", s.Count, s.First, maxDevices)
	case s.QoS < 0 || s.QoS > 2:
		return fmt.Errorf("QoS %d: want 0, 1 or 2", s.QoS)
	case len(s.Brokers) == 0:
		return fmt.Errorf("no broker to connect to")
	case s.Topic == "" || strings.ContainsAny(f.topicOf(0), "+#\x00"):
		return fmt.Errorf("topic %q: want one without wildcards", s.Topic)
	case s.Ramp < 0:
		return fmt.Errorf("ramp %v is negative", s.Ramp)
	}
	if err := f.scheduleOptions(0).Check(); err != nil {
		return err
	}
	var err error
	o := payload.Options{Seed: s.Seed, Codec: s.PayloadCodec, Size: s.Payload, Template: s.Template, Customers: s.Customers}
	for _, sensor := range s.Sensors {
		o.Sensors = append(o.Sensors, payload.Sensor(sensor))
	}
	f.builder, err = payload.NewBuilder(o)
	return err
}

func (f *Fleet) scheduleOptions(length time.Duration) schedule.Options {
	s := f.spec
	return schedule.Options{Seed: s.Seed, Arrivals: s.Arrivals, Rate: s.Rate, On: s.On, Off: s.Off, Length: length}
}

func badRequest(format string, a ...any) error {
	return &protocol.Error{Code: "bad_request", Text: fmt.Sprintf(format, a...)}
}

// makeDevices makes the devices and the group that keeps them connected.
func (f *Fleet) makeDevices() {
	members := make([]transport.Member, f.spec.Count)
	f.devices = make([]*device, f.spec.Count)
	for i := range f.devices {
		number := f.spec.First + i
		d := &device{
			fleet: f, index: i, number: number, topic: f.topicOf(number),
			shard: &f.books.shard[i%shards], flights: make(map[uint32]flight),
		}
		f.devices[i] = d
		members[i] = transport.Member{
			Name: "device " + strconv.Itoa(number),
			Dial: func(ctx context.Context) (transport.Conn, error) { return f.dial(ctx, d) },
		}
	}
	f.group = transport.NewGroup(members, f.groupOptions)
}

// topicOf fills in a device's topic.
func (f *Fleet) topicOf(number int) string {
	return strings.NewReplacer(
		"{device}", strconv.Itoa(number),
		"{customer}", strconv.Itoa(number%max(f.spec.Customers, 1)),
		"{node}", f.spec.Node,
	).Replace(f.spec.Topic)
}

// dial opens a device's connection.
func (f *Fleet) dial(ctx context.Context, d *device) (transport.Conn, error) {
	return f.dialer.Dial(ctx, transport.Options{
		Address:      f.spec.Brokers[d.number%len(f.spec.Brokers)],
		ClientID:     fmt.Sprintf("bela-d%d-%x-%x", d.number, f.spec.Run, f.spec.Cell),
		User:         f.spec.User,
		Password:     f.spec.Password,
		Bind:         f.spec.Bind,
		WriteTimeout: f.writeTimeout,
		Acked:        d.fate,
	})
}

// Connect connects all devices, spread over the ramp, and returns when all are.
// When ctx ends before, the error is a *protocol.Error (connect_failed) that
// names up to ten of those that are missing; they go on trying.
func (f *Fleet) Connect(ctx context.Context) error {
	begun := time.Now()
	err := f.group.Connect(ctx)
	if err == nil {
		return nil
	}
	missing := f.group.Missing(10)
	text := fmt.Sprintf("%d of %d devices on node %s are not connected after %v",
		f.spec.Count-f.group.Connected(), f.spec.Count, f.spec.Node, time.Since(begun).Round(time.Millisecond))
	if len(missing) > 0 {
		text += " (" + missing[0] + "); check the broker at " + strings.Join(f.spec.Brokers, ", ")
	}
	return &protocol.Error{Code: "connect_failed", Text: text, Missing: missing}
}

// Probe publishes one message with the probe's ID from the first device and
// waits until the broker has it as far as the QoS tells.
func (f *Fleet) Probe(ctx context.Context, id uint32) error {
	if len(f.devices) == 0 {
		return badRequest("probe %d: node %s has no devices", id, f.spec.Node)
	}
	d := f.devices[0]
	conn := f.group.Conn(0)
	if conn == nil {
		return &protocol.Error{Code: "not_ready", Text: fmt.Sprintf("probe %d: device %d is not connected", id, d.number)}
	}
	fate := make(chan error, 1)
	f.mu.Lock()
	f.probes[id] = fate
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.probes, id)
		f.mu.Unlock()
	}()
	now := f.clock.Now()
	message := f.builder.Append(nil, payload.Envelope{
		Run: f.spec.Run, Cell: f.spec.Cell, Device: uint32(d.number), Sequence: id,
		Intended: now, Actual: now, Probe: true,
	})
	if err := conn.Publish(probeFlag|uint64(id), d.topic, byte(f.spec.QoS), message); err != nil {
		return fmt.Errorf("probe %d from device %d: %w", id, d.number, err)
	}
	if f.spec.QoS == 0 {
		return nil
	}
	select {
	case err := <-fate:
		if err != nil {
			return fmt.Errorf("probe %d from device %d: %w", id, d.number, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("probe %d from device %d: the broker did not acknowledge it: %w", id, d.number, ctx.Err())
	}
}

// probed passes a probe's fate on.
func (f *Fleet) probed(id uint32, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fate := f.probes[id]; fate != nil {
		select {
		case fate <- err:
		default:
		}
	}
}

// lostConnection is told by the group of each broken connection.
func (f *Fleet) lostConnection(i int, err error) {
	cause := transport.Cause(err)
	f.books.errors.Add("connection lost: "+cause, 1)
	f.logger.Debug("connection lost", "device", f.devices[i].number, "cause", cause)
	example := fmt.Sprintf("device %d: %s", f.devices[i].number, cause)
	f.example.Store(&example)
	f.broken.Add(1)
	f.lost.Add(1)
}

// Status is where the fleet stands.
func (f *Fleet) Status() protocol.LoadStatus {
	s := protocol.LoadStatus{
		Connected: f.group.Connected(),
		Prepared:  len(f.devices),
		Missing:   f.group.Missing(10),
		Published: f.books.published.Load(),
		Pending:   f.books.open.Load(),
	}
	// A pacer that lags at the end of load still has messages to give out.
	if l := f.start.Load(); l != nil && f.clock.Now() >= l.at+l.end {
		select {
		case <-l.done:
		default:
			s.Pending += l.pacer.left.Load()
		}
	}
	return s
}

// Sample is the counters so far, and the lateness since the last sample.
func (f *Fleet) Sample() protocol.DevicesSample {
	b := &f.books
	return protocol.DevicesSample{
		Connected: f.group.Connected(),
		Intended:  b.intended.Load(),
		Sent:      b.sent.Load(),
		Acked:     b.acked.Load(),
		Failed:    b.failed.Load(),
		Unknown:   b.unknown.Load(),
		Lost:      f.broken.Load(), Reconnects: f.group.Reconnects(),
		Lateness: b.recentLateness(),
	}
}

// Collect ends the load and hands over all books at once. It may be called again.
func (f *Fleet) Collect() protocol.DevicesResult {
	result, _ := f.CollectPage(0, math.MaxInt)
	return result
}

// CollectPage ends the load and hands over the books from the device of an index
// on, 0 for the first page, up to about limit bytes of JSON, but at least one
// device's. next is the index with which the rest begins, negative if there is
// none. What does not grow is in the first page. Every page may be collected
// again.
func (f *Fleet) CollectPage(from, limit int) (page protocol.DevicesResult, next int) {
	f.Stop()
	page.Accounts = []measure.PublishAccount{}
	if from <= 0 {
		from = 0
		for _, d := range f.devices {
			d.abandon()
		}
		f.books.result(&page)
		page.Reconnects = f.group.Reconnects()
	}
	l := f.start.Load()
	if l == nil {
		return page, -1
	}
	for i := from; i < len(f.devices); i++ {
		d := f.devices[i]
		s, err := schedule.New(l.options, d.number)
		if err != nil { // it was made of the same options before
			continue
		}
		a := d.account(s.Window(time.Duration(l.warmup), time.Duration(l.end)))
		size := protocol.PublishAccountSize(a)
		if size > limit && len(page.Accounts) > 0 {
			return page, i
		}
		limit -= size
		page.Accounts = append(page.Accounts, a)
	}
	return page, -1
}

// Close ends the load and all connections, and waits for them until ctx ends.
func (f *Fleet) Close(ctx context.Context) error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.quit)
	}
	f.mu.Unlock()
	f.Stop()
	err := f.group.Close(ctx)
	done := make(chan struct{})
	go func() {
		f.workers.Wait()
		f.senders.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		if err == nil {
			err = fmt.Errorf("closing the devices of node %s: a device is still sending: %w", f.spec.Node, ctx.Err())
		}
	}
	return err
}
