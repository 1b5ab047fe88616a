package protocol

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"bela/measure"
)

// What an agent says is a node's word, and a node may be broken or hostile. What
// no agent says is refused where it comes in; texts are cut to a length. What only
// the plan can tell, such as which components there are, is checked by whoever
// knows the plan.

// Bounds on what an agent may say.
const (
	// MaxEvent bounds an event's JSON, and every answer's of which nothing else is
	// known, in bytes.
	MaxEvent = 4 << 20
	// MaxText bounds a text, in bytes, and MaxLines a list of texts.
	MaxText  = 4096
	MaxLines = 100
	// maxName bounds a name, maxList a list of names, instances or peers.
	maxName = 256
	maxList = 10_000
	// maxCounter bounds what is counted, in whatever unit: 2^60.
	maxCounter = 1 << 60
	// maxSample bounds what one histogram of an agent's holds, in messages.
	maxSample = 1 << 40
	// maxKinds bounds the kinds of errors in books.
	maxKinds = 100
	maxPort  = 1<<16 - 1
)

// Checked is what an agent says that can be held against what agents say. Check
// cuts texts that are too long.
type Checked interface{ Check() error }

// DropReasons are the words with which built-in components say why they dropped
// a message.
func DropReasons() []string {
	return []string{"decode", "topic", "queue_full", "timeout", "no_ack", "disconnected", "inflight_full", "slow_consumer"}
}

// Clip cuts a text to a number of bytes, at the beginning of a character.
func Clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " …"
}

func clipAll(texts []string) []string {
	texts = texts[:min(len(texts), MaxLines)]
	for i := range texts {
		texts[i] = Clip(texts[i], MaxText)
	}
	return texts
}

// check gathers the first thing that is wrong.
type check struct{ err error }

func (c *check) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// counts demands of pairs of a name and a number that no number is negative or
// absurd.
func (c *check) counts(pairs ...any) {
	for i := 0; i+1 < len(pairs); i += 2 {
		var n int64
		switch v := pairs[i+1].(type) {
		case int64:
			n = v
		case int:
			n = int64(v)
		case *int64:
			if v != nil {
				n = *v
			}
		}
		if n < 0 || n > maxCounter {
			c.fail("%s is %d", pairs[i], n)
		}
	}
}

func (c *check) name(what, name string) {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		c.fail("%s is no name: %q", what, Clip(name, maxName))
	}
}

func (c *check) instance(name string, instance int) {
	c.name("a component", name)
	if instance < 1 || instance > maxList {
		c.fail("component %s has an instance %d", Clip(name, maxName), instance)
	}
}

// time demands a time between 1970 and 2116: what is added to it then has room.
func (c *check) time(what string, at int64) {
	if at < 0 || at > 1<<62 {
		c.fail("%s is %d ns", what, at)
	}
}

func (c *check) histogram(what string, h *measure.Histogram) {
	if h.Count() > maxSample {
		c.fail("%s has %d values", what, h.Count())
	}
}

func (c *check) length(what string, n, most int) {
	if n > most {
		c.fail("%s are %d, more than %d", what, n, most)
	}
}

// Check implements Checked.
func (e *Error) Check() error {
	e.Code, e.Text = Clip(e.Code, maxName), Clip(e.Text, MaxText)
	e.Missing, e.Log = clipAll(e.Missing), clipAll(e.Log)
	return nil
}

// Check implements Checked.
func (w *Welcome) Check() error {
	w.Agent, w.Virtual = Clip(w.Agent, maxName), Clip(w.Virtual, maxName)
	var c check
	c.counts("pid", w.PID, "max_procs", w.MaxProcs)
	c.number("last_event", w.LastEvent)
	if len(w.Instance) > maxName || len(w.Run) > maxName {
		c.fail("its instance or run is %d characters long", max(len(w.Instance), len(w.Run)))
	}
	return c.err
}

// number demands an event's number that more can be added to.
func (c *check) number(what string, n uint64) {
	if n > maxCounter {
		c.fail("%s is %d", what, n)
	}
}

// Check implements Checked.
func (s *Synced) Check() error {
	var c check
	c.number("last_event", s.LastEvent)
	return c.err
}

// Check implements Checked.
func (p *Pong) Check() error {
	var c check
	c.time("received", p.Received)
	c.time("sent", p.Sent)
	return c.err
}

// Check implements Checked.
func (s *ComponentStarted) Check() error {
	s.LimitsReason = Clip(s.LimitsReason, MaxText)
	var c check
	c.counts("pid", s.PID)
	return c.err
}

// Check implements Checked.
func (f *FaultBegun) Check() error {
	f.Measured = Clip(f.Measured, MaxText)
	var c check
	c.time("at_ns", f.At)
	return c.err
}

// Check implements Checked.
func (f *FaultEnded) Check() error {
	f.Measured = Clip(f.Measured, MaxText)
	var c check
	c.time("at_ns", f.At)
	return c.err
}

// Check implements Checked.
func (k *Calibrated) Check() error {
	var c check
	if !(k.Rate >= 0 && k.Rate <= maxCounter) {
		c.fail("rate_msg_s is %v", k.Rate)
	}
	if ns := k.LatenessP99NS; ns != nil && (*ns < -maxCounter || *ns > maxCounter) {
		c.fail("lateness_p99_ns is %d", *ns)
	}
	return c.err
}

// Check implements Checked.
func (s *LoadStatus) Check() error {
	s.Missing = clipAll(s.Missing)
	var c check
	c.counts("connected", s.Connected, "prepared", s.Prepared, "published", s.Published, "delivered", s.Delivered)
	// Two counters that are read one after the other.
	if s.Pending > maxCounter || s.Pending < -maxCounter {
		c.fail("pending is %d", s.Pending)
	}
	c.length("probes", len(s.Probes), maxList)
	return c.err
}

// Check implements Checked.
func (p *PeerAnswering) Check() error {
	var c check
	if p.Port < 1 || p.Port > maxPort {
		c.fail("port is %d", p.Port)
	}
	return c.err
}

// Check implements Checked.
func (w *PeerWatching) Check() error {
	w.Silent = clipAll(w.Silent)
	return nil
}

// Check implements Checked.
func (p *PeerProbes) Check() error {
	var c check
	c.counts("sent", p.Sent)
	for _, s := range p.Probes {
		for _, at := range []int64{s.T1, s.T2, s.T3, s.T4} {
			c.time("a probe's time", at)
		}
	}
	return c.err
}

// Check implements Checked.
func (e *Event) Check() error {
	var c check
	c.number("seq", e.Seq)
	if e.Seq == 0 {
		c.fail("it has no number")
	}
	if x := e.Component; x != nil {
		x.Detail, x.Log = Clip(x.Detail, MaxText), clipAll(x.Log)
		c.time("at_ns", x.At)
		c.instance(x.Name, x.Instance)
		if x.State != "exited" && x.State != "restarted" {
			c.fail("a component's state is %q", Clip(x.State, maxName))
		}
	}
	if l := e.Log; l != nil {
		l.Text = Clip(l.Text, MaxText)
		c.time("at_ns", l.At)
		if !slices.Contains([]string{"info", "warn", "error"}, l.Level) || !slices.Contains([]Code{"", DiskFull, DiskFree}, l.Code) {
			c.fail("a message has level %q and code %q", Clip(l.Level, maxName), Clip(string(l.Code), maxName))
		}
	}
	if s := e.Sample; s != nil {
		s.check(&c)
	}
	return c.err
}

func (s *Sample) check(c *check) {
	h := &s.Host
	c.time("at_ns", s.At)
	c.counts("cpus", h.CPUs, "cpu_busy_ns", h.CPUBusyNS, "steal_ns", h.StealNS, "memory_used_bytes", h.MemoryUsed, "memory_total_bytes", h.MemoryTotal,
		"net_in_bytes", h.NetIn, "net_out_bytes", h.NetOut, "run_queue", h.RunQueue, "softnet_drops", h.SoftnetDrops, "softnet_squeezed", h.SoftnetSqueezed,
		"listen_overflows", h.ListenOverflows, "listen_drops", h.ListenDrops, "tcp_retransmits", h.TCPRetransmits)
	if !(h.Load1 >= 0 && h.Load1 <= 1e9) {
		c.fail("load1 is %v", h.Load1)
	}
	a := &s.Agent
	c.counts("goroutines", a.Goroutines, "gc_pause_ns", a.GCPauseNS, "gc_pause_max_ns", a.GCPauseMaxNS, "scheduling_p99_ns", a.SchedulingP99NS,
		"the agent's cpu_ns", a.CPUNS, "the agent's memory_bytes", a.Memory)
	if d := s.Devices; d != nil {
		c.counts("connected", d.Connected, "intended", d.Intended, "sent", d.Sent, "acked", d.Acked, "failed", d.Failed, "unknown", d.Unknown,
			"lost", d.Lost, "reconnects", d.Reconnects)
		c.histogram("lateness", d.Lateness)
	}
	if u := s.Customers; u != nil {
		c.counts("connected", u.Connected, "delivered", u.Delivered, "duplicated", u.Duplicated, "lost", u.Lost, "reconnects", u.Reconnects)
		c.histogram("latency", u.Latency)
	}
	c.length("components", len(s.Components), maxList)
	for i := range s.Components {
		s.Components[i].check(c)
	}
}

func (s *ComponentSample) check(c *check) {
	c.instance(s.Name, s.Instance)
	c.counts("pid", s.PID, "cpu_ns", s.CPUNS, "memory_bytes", s.Memory, "restarts", s.Restarts)
	if g := s.Group; g != nil {
		c.counts("throttled_ns", g.ThrottledNS, "throttled_periods", g.ThrottledPeriods, "oom_kills", g.OOMKills, "memory_peak_bytes", g.MemoryPeak)
	}
	if n := s.Counters; n != nil {
		c.time("counted_at_ns", s.CountedAt)
		c.counts("messages_in", n.MessagesIn, "messages_out", n.MessagesOut, "bytes_in", n.BytesIn, "bytes_out", n.BytesOut,
			"payload_in", n.PayloadIn, "payload_out", n.PayloadOut)
		for reason, dropped := range n.Dropped {
			c.counts("dropped", dropped)
			c.reason(reason)
		}
	}
	if t := s.Traffic; t != nil {
		c.time("a traffic's at_ns", t.At)
		if !slices.Contains([]string{TrafficOwn, TrafficSockets, TrafficSys, TrafficNATS, TrafficRabbitMQ, TrafficPrometheus}, t.Source) {
			c.fail("traffic has a source %q", Clip(t.Source, maxName))
		}
		// A user's broker may report what it likes, below zero too.
		for _, n := range []*int64{t.BytesIn, t.BytesOut, t.MessagesIn, t.MessagesOut, t.Dropped} {
			if n != nil && (*n > maxCounter || *n < -maxCounter) {
				c.fail("traffic is %d", *n)
			}
		}
	}
}

func (c *check) reason(reason string) {
	if !slices.Contains(DropReasons(), reason) {
		c.fail("a message was dropped for %q, which no component says", Clip(reason, maxName))
	}
}

// Check implements Checked.
func (b *ComponentBooks) Check() error {
	var c check
	c.length("books", len(b.Books), 2)
	for i := range b.Books {
		book := &b.Books[i]
		book.Component = "" // the controller's to say
		book.Incomplete = Clip(book.Incomplete, MaxText)
		c.counts("discarded", book.Discarded)
		if !slices.Contains([]string{"", measure.SideIn, measure.SideOut}, book.Side) || i > 0 && book.Side == b.Books[0].Side {
			c.fail("a book has the side %q", Clip(book.Side, maxName))
		}
		for _, a := range book.Devices {
			for _, d := range a.Dropped {
				c.reason(d.Reason)
				c.length("a client's characters", len(d.To), maxName)
			}
		}
	}
	return c.err
}

// Check implements Checked.
func (b *Collected) Check() error {
	var c check
	kinds := func(all []Count) []Count {
		c.length("kinds of errors", len(all), maxKinds)
		for i := range all {
			all[i].What = Clip(all[i].What, MaxText)
			c.counts("errors", all[i].N)
		}
		return all
	}
	if d := b.Devices; d != nil {
		c.counts("reconnects", d.Reconnects)
		c.histogram("lateness", d.Lateness)
		c.histogram("ack", d.Ack)
		d.Errors = kinds(d.Errors)
	}
	if p := b.Customers; p != nil {
		c.counts("reconnects", p.Reconnects, "foreign", p.Foreign, "stray", p.Stray)
		p.Errors = kinds(p.Errors)
		for _, s := range slices.Concat(p.Latency, p.Service) {
			c.histogram("latency", s.Latency)
		}
	}
	return c.err
}

// Before orders places in an agent's books: what comes after it is still to come.
func (c Cursor) Before(o Cursor) bool {
	order := []BookPart{PartDevices, PartReceipts, PartLatency, PartService}
	return cmp.Or(cmp.Compare(slices.Index(order, c.Part), slices.Index(order, o.Part)), cmp.Compare(c.Major, o.Major), cmp.Compare(c.Minor, o.Minor)) < 0
}
