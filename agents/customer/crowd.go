// Package customer emulates the end-customers of one node: it subscribes each
// over a connection of its own, takes the time of every receipt, and keeps an
// account of what came, twice, late or out of order. It knows only what the
// messages say of themselves, nothing of the devices that sent them, and draws
// no conclusions: whether something is missing is for those who have both books.
package customer

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bela/agents/clock"
	"bela/agents/protocol"
	"bela/agents/transport"
	"bela/agents/transport/mqtt"
)

// The ways customers receive.
const (
	receiveOwn = "own" // a message is for the one customer its device belongs to
	receiveAll = "all" // every customer gets every message
)

const (
	maxCustomers = 1_000_000
	// maxProbes bounds how many probes are remembered.
	maxProbes = 1000
)

// Crowd is an agent's share of the customers through one cell. Its methods may
// be called from any goroutine.
type Crowd struct {
	spec         protocol.CustomersSpec
	clock        *clock.Clock
	logger       *slog.Logger
	log          func(level, text string)
	dialer       transport.Dialer
	group        *transport.Group
	groupOptions transport.GroupOptions
	receivers    []*receiver
	shards       []shard
	window       atomic.Pointer[window]
	measured     atomic.Int64 // first deliveries of measured messages
	errors       transport.Tally

	mu     sync.Mutex
	probes []uint32
	losses losses
	broken int64 // connections lost so far
}

// window is a started schedule: the load is [at, end), measured from measure on;
// all in testbed time.
type window struct{ at, measure, end int64 }

// losses sums up broken connections, so that an operator hears of a thousand of
// them once.
type losses struct {
	n       int
	example string
	told    time.Time
}

// Option changes a crowd before it is made.
type Option func(*Crowd)

// WithDialer takes another transport than MQTT.
func WithDialer(d transport.Dialer) Option { return func(c *Crowd) { c.dialer = d } }

// New prepares a crowd; nothing is connected yet. log takes what an operator
// should see (level info, warn or error); it and logger may be nil. The error
// is a *protocol.Error and says what is wrong with the spec.
func New(spec protocol.CustomersSpec, clk *clock.Clock, logger *slog.Logger, log func(level, text string), options ...Option) (*Crowd, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if log == nil {
		log = func(string, string) {}
	}
	c := &Crowd{
		spec: spec, clock: clk, logger: logger, log: log, dialer: mqtt.Dialer{},
		// More locks than CPUs would bring nothing but histograms.
		shards: make([]shard, max(1, min(spec.Count, runtime.GOMAXPROCS(0)))),
	}
	c.groupOptions.Lost = c.lost
	for _, o := range options {
		o(c)
	}
	if err := c.check(); err != nil {
		return nil, badRequest("customers of node %s: %v", spec.Node, err)
	}
	c.makeReceivers()
	return c, nil
}

// check refuses a spec that cannot be run.
func (c *Crowd) check() error {
	s := c.spec
	switch {
	case s.Count < 0 || s.Count > maxCustomers || s.First < 0:
		return fmt.Errorf("count %d from %d: want 0 to %d customers", s.Count, s.First, maxCustomers)
	case s.QoS < 0 || s.QoS > 2:
		return fmt.Errorf("QoS %d: want 0, 1 or 2", s.QoS)
	case len(s.Brokers) == 0:
		return fmt.Errorf("no broker to connect to")
	case s.Topic == "":
		return fmt.Errorf("no topic to subscribe to")
	case s.Receive != receiveOwn && s.Receive != receiveAll:
		return fmt.Errorf("receive %q: want %s or %s", s.Receive, receiveOwn, receiveAll)
	case !slices.IsSorted(s.SourceOf):
		return fmt.Errorf("the first devices of the nodes are not ascending: %v", s.SourceOf)
	}
	return nil
}

func badRequest(format string, a ...any) error {
	return &protocol.Error{Code: "bad_request", Text: fmt.Sprintf(format, a...)}
}

// makeReceivers makes the customers and the group that keeps them connected.
func (c *Crowd) makeReceivers() {
	members := make([]transport.Member, c.spec.Count)
	c.receivers = make([]*receiver, c.spec.Count)
	for i := range c.receivers {
		r := &receiver{
			crowd: c, number: c.spec.First + i,
			shard:    &c.shards[i%len(c.shards)],
			accounts: make(map[uint32]*account),
		}
		c.receivers[i] = r
		members[i] = transport.Member{
			Name: "customer " + strconv.Itoa(r.number),
			Dial: func(ctx context.Context) (transport.Conn, error) { return c.dial(ctx, r) },
		}
	}
	c.group = transport.NewGroup(members, c.groupOptions)
}

// dial opens a customer's connection and subscribes it.
func (c *Crowd) dial(ctx context.Context, r *receiver) (transport.Conn, error) {
	conn, err := c.dialer.Dial(ctx, transport.Options{
		Address:  c.spec.Brokers[r.number%len(c.spec.Brokers)],
		ClientID: protocol.CustomerClient(r.number, c.spec.Run, c.spec.Cell),
		User:     c.spec.User,
		Password: c.spec.Password,
		Bind:     c.spec.Bind,
	})
	if err != nil {
		return nil, err
	}
	topic := strings.ReplaceAll(c.spec.Topic, "{customer}", strconv.Itoa(r.number))
	if err := conn.Subscribe(ctx, topic, byte(c.spec.QoS), r.receive); err != nil {
		_ = conn.Close(ctx) // the refusal is what matters
		return nil, err
	}
	return conn, nil
}

// Connect connects and subscribes all customers and returns when the broker has
// granted every subscription. When ctx ends before, the error is a
// *protocol.Error (connect_failed) that names up to ten of those that are
// missing; they go on trying.
func (c *Crowd) Connect(ctx context.Context) error {
	begun := time.Now()
	if err := c.group.Connect(ctx); err == nil {
		return nil
	}
	missing := c.group.Missing(10)
	text := fmt.Sprintf("%d of %d customers on node %s are not subscribed after %v",
		c.spec.Count-c.group.Connected(), c.spec.Count, c.spec.Node, time.Since(begun).Round(time.Millisecond))
	if len(missing) > 0 {
		text += " (" + missing[0] + "); check the broker at " + strings.Join(c.spec.Brokers, ", ")
	}
	return &protocol.Error{Code: "connect_failed", Text: text, Missing: missing}
}

// Start says which intended times belong to the load and which are measured.
// Messages that came before it was known are entered now.
func (c *Crowd) Start(s protocol.Start) error {
	if s.Warmup < 0 || s.Measure <= 0 {
		return badRequest("start: warm-up %v and measuring %v: want 0 or more, and more than 0", s.Warmup, s.Measure)
	}
	w := &window{at: s.At, measure: s.At + int64(s.Warmup), end: s.At + int64(s.Warmup+s.Measure)}
	if !c.window.CompareAndSwap(nil, w) {
		return badRequest("start: the customers of node %s were started before", c.spec.Node)
	}
	for _, r := range c.receivers {
		r.begin(w)
	}
	return nil
}

// Stop closes the books, because draining is over: what arrives from then on did
// not come in time, and must not be in the latencies while it is missing from the
// receipts, which are handed over before them.
func (c *Crowd) Stop() {
	for _, r := range c.receivers {
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
	}
}

// source is the index of the device node that runs a device.
func (c *Crowd) source(device uint32) int {
	// The last node whose first device is not above it; a node without devices
	// has the same first device as the next.
	after := sort.Search(len(c.spec.SourceOf), func(i int) bool { return c.spec.SourceOf[i] > int(device) })
	return max(after-1, 0)
}

// probed notes a probe's arrival, once for each ID.
func (c *Crowd) probed(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.probes) < maxProbes && !slices.Contains(c.probes, id) {
		c.probes = append(c.probes, id)
	}
}

// lost is told by the group of each broken connection.
func (c *Crowd) lost(i int, err error) {
	cause := transport.Cause(err)
	c.errors.Add("connection lost: "+cause, 1)
	c.logger.Debug("connection lost", "customer", c.receivers[i].number, "cause", cause)
	c.mu.Lock()
	c.broken++
	c.losses.n++
	c.losses.example = fmt.Sprintf("customer %d: %s", c.receivers[i].number, cause)
	c.mu.Unlock()
}

// tellLosses sums up the connections lost, once a second at most.
func (c *Crowd) tellLosses() {
	c.mu.Lock()
	l := c.losses
	tell := l.n > 0 && time.Since(l.told) >= time.Second
	if tell {
		c.losses = losses{told: time.Now()}
	}
	c.mu.Unlock()
	if tell {
		c.log("warn", fmt.Sprintf("%d customer connections lost on node %s (%s); reconnecting", l.n, c.spec.Node, l.example))
	}
}

// Status is where the crowd stands.
func (c *Crowd) Status() protocol.LoadStatus {
	c.mu.Lock()
	probes := slices.Clone(c.probes)
	c.mu.Unlock()
	return protocol.LoadStatus{
		Connected: c.group.Connected(),
		Prepared:  len(c.receivers),
		Missing:   c.group.Missing(10),
		Probes:    probes,
		Delivered: c.measured.Load(),
	}
}

// Sample is the counters so far, and the latencies since the last sample. It
// also is when the operator hears of lost connections.
func (c *Crowd) Sample() protocol.CustomersSample {
	c.tellLosses()
	c.mu.Lock()
	broken := c.broken
	c.mu.Unlock()
	s := protocol.CustomersSample{
		Connected: c.group.Connected(), Latency: recentLatency(c.shards),
		Lost: broken, Reconnects: c.group.Reconnects(),
	}
	for _, r := range c.receivers {
		r.mu.Lock()
		s.Delivered += r.delivered
		s.Duplicated += r.duplicated
		r.mu.Unlock()
	}
	return s
}

// Close ends all connections and waits for them until ctx ends.
func (c *Crowd) Close(ctx context.Context) error { return c.group.Close(ctx) }
