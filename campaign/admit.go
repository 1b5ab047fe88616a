package campaign

import (
	"fmt"
	"math"
	"slices"
	"time"

	"bela/agents/protocol"
	"bela/experiment"
	"bela/measure"
)

// What nodes say is held against the plan where it comes in: what is not planned
// reaches neither memory nor the run directory, whatever a node says.

const (
	// ahead is how far before the controller's clock a sample may be, once its agent
	// knows the testbed's time axis; behind is how far after it, beyond the lease.
	ahead  = 30 * time.Second
	behind = time.Minute
	// maxNotes bounds what is noted of one kind in a cell.
	maxNotes = 200
	// maxPeerProbes bounds the probes of one pair of nodes.
	maxPeerProbes = 2 * probesKept
	// maxForeign bounds the clients of a broker beside the customers.
	maxForeign = 1000
)

// refuse ends the conversation with an agent that says what cannot be.
func (m *member) refuse(cause error) error {
	c := m.link()
	if c == nil {
		return fmt.Errorf("node %s: %w", m.name(), cause)
	}
	_ = c.Refuse(cause)
	return m.lostBy(c)
}

// plannedInstances are those of all cells.
func plannedInstances(p *experiment.Plan) map[instanceKey]bool {
	all := make(map[instanceKey]bool)
	for _, cell := range p.Cells {
		for _, c := range cell.Components {
			for _, i := range c.Instances {
				all[instanceKey{c.Name, i.Index}] = true
			}
		}
	}
	return all
}

// runs tells whether an instance is on a node in the cell.
func (c *cellRun) runs(k instanceKey, node string) bool {
	return slices.ContainsFunc(c.cell.Components, func(of experiment.Component) bool {
		return of.Name == k.component && slices.ContainsFunc(of.Instances, func(i experiment.Instance) bool {
			return i.Index == k.instance && i.Node == node
		})
	})
}

// admit takes what is not of the cell out of an event. Its error is what no agent
// of this run says.
func (r *runner) admit(m *member, c *cellRun, e *protocol.Event) error {
	unknown := func(name string, instance int) error {
		return fmt.Errorf("it tells of component %s-%d, which no cell has", protocol.Clip(name, 100), instance)
	}
	if x := e.Component; x != nil {
		key := instanceKey{x.Name, x.Instance}
		switch {
		case !r.instances[key]:
			return unknown(x.Name, x.Instance)
		case c == nil || !c.runs(key, m.name()):
			e.Component = nil // an earlier cell's
		}
	}
	s := e.Sample
	if s == nil {
		return nil
	}
	seen := make(map[instanceKey]bool, len(s.Components))
	for _, x := range s.Components {
		key := instanceKey{x.Name, x.Instance}
		if !r.instances[key] {
			return unknown(x.Name, x.Instance)
		}
		if seen[key] {
			return fmt.Errorf("it tells of component %s-%d twice in one sample", x.Name, x.Instance)
		}
		seen[key] = true
	}
	s.Components = slices.DeleteFunc(s.Components, func(x protocol.ComponentSample) bool {
		return c == nil || !c.runs(instanceKey{x.Name, x.Instance}, m.name())
	})
	if c == nil || !slices.Contains(c.devices, m) {
		s.Devices = nil
	}
	if c == nil || !slices.Contains(c.customers, m) {
		s.Customers = nil
	}
	return nil
}

// inTime tells whether a sample's time can be one of now. A node that does not
// know the testbed's time axis yet has its own time.
func (r *runner) inTime(m *member, s *protocol.Sample) bool {
	if !m.clock.onAxis() {
		return true
	}
	off := s.At - controllerClock()
	return off <= int64(ahead) && off >= -int64(r.testbed.lease+behind)
}

// near is a time that a node says something happened at, or now where that
// cannot be.
func near(at int64) int64 {
	now := controllerClock()
	if d := abs64(at - now); at != 0 && d > int64(time.Minute) {
		return now
	}
	return at
}

// noted appends a text to those of its kind, unless there are too many.
func noted(all []string, text string) []string {
	switch len(all) {
	case maxNotes:
		return append(all, "there is more of this kind")
	case maxNotes + 1:
		return all
	}
	return append(all, text)
}

// extent bounds what the books of a cell may hold.
type extent struct {
	messages int64 // of one device, warm-up included; more than any schedule has
	seconds  int   // of load
	devices  int
	sources  int // nodes with devices
}

func extentOf(cell experiment.Cell) extent {
	d := cell.Devices
	length := wholeSeconds(cell.Phases.Warmup) + cell.Phases.Measure
	mean := d.Rate * (length + d.On + d.Off).Seconds()
	return extent{
		messages: int64(mean+10*math.Sqrt(mean)) + 64,
		seconds:  int(wholeSeconds(length)/time.Second) + 1,
		devices:  d.Count, sources: len(d.Shares),
	}
}

// words are how many a bitmap of a device's messages may have.
func (x extent) words() int { return int(x.messages/64) + 1 }

// bookCheck holds the pages of an agent's books against the plan, as they come.
// Entries come in order, and so none comes twice.
type bookCheck struct {
	extent
	devices   experiment.Share // none where the node has no devices
	customers experiment.Share
	next      protocol.Cursor
	device    int
	receipt   [2]int
	latency   [2]int
	service   [2]int
	beyond    bool // something was folded
}

func newBookCheck(cell experiment.Cell, node string) *bookCheck {
	of := func(shares []experiment.Share) experiment.Share {
		i := slices.IndexFunc(shares, func(s experiment.Share) bool { return s.Node == node })
		if i < 0 {
			return experiment.Share{}
		}
		return shares[i]
	}
	return &bookCheck{
		extent: extentOf(cell), devices: of(cell.Devices.Shares), customers: of(cell.Customers.Shares),
		device: -1, receipt: [2]int{-1, -1}, latency: [2]int{-1, math.MaxInt}, service: [2]int{-1, math.MaxInt},
	}
}

func holds(s experiment.Share, number int) bool { return number >= s.First && number < s.First+s.Count }

// pageSize is how many bytes a page may have: its last entry comes on top.
func (b *bookCheck) pageSize() int {
	const bitmaps, rest = 4, 1 << 20
	if b.customers.Count > 0 {
		return protocol.MaxFrame // what customers get may have any number
	}
	return 2*protocol.PageSize + rest + bitmaps*(8*b.words()+2)/3*4
}

// page checks the next page.
func (b *bookCheck) page(p *protocol.Collected) error {
	if p.Next != nil {
		if empty(p) {
			return fmt.Errorf("a page of its books has nothing, and more are to come at %+v", *p.Next)
		}
		if !b.next.Before(*p.Next) && b.next != (protocol.Cursor{}) || p.Next.Part == "" {
			return fmt.Errorf("its books go on at %+v after %+v", *p.Next, b.next)
		}
		b.next = *p.Next
	}
	if d := p.Devices; d != nil {
		if err := b.published(d); err != nil {
			return err
		}
	}
	if c := p.Customers; c != nil {
		return b.received(c)
	}
	return nil
}

func empty(p *protocol.Collected) bool {
	return (p.Devices == nil || len(p.Devices.Accounts) == 0) &&
		(p.Customers == nil || len(p.Customers.Accounts)+len(p.Customers.Latency)+len(p.Customers.Service) == 0)
}

func (b *bookCheck) published(d *protocol.DevicesResult) error {
	for i := range d.Accounts {
		a := &d.Accounts[i]
		words := max(len(a.Sent), len(a.Acked), len(a.Failed), len(a.Unknown))
		switch {
		case !holds(b.devices, a.Device) || a.Device <= b.device:
			return fmt.Errorf("its books have device %d after %d, and it has devices %d to %d", a.Device, b.device, b.devices.First, b.devices.First+b.devices.Count-1)
		case int64(a.First)+int64(a.Count) > b.messages || int64(words) > int64(a.Count)/64+1:
			return fmt.Errorf("its books have %d messages from %d of device %d, which means to send fewer than %d", max(int64(a.Count), 64*int64(words)), a.First, a.Device, b.messages)
		}
		b.device = a.Device
	}
	if len(d.PublishedPerSecond) > b.seconds {
		return fmt.Errorf("its books have %d seconds of load of %d", len(d.PublishedPerSecond), b.seconds)
	}
	for _, n := range d.PublishedPerSecond {
		if n < 0 || n > b.messages*int64(b.devices.Count) {
			return fmt.Errorf("its books have a second with %d messages", n)
		}
	}
	return nil
}

func (b *bookCheck) received(c *protocol.CustomersResult) error {
	for i := range c.Accounts {
		a := &c.Accounts[i]
		at := [2]int{a.Customer, a.Device}
		if !holds(b.customers, a.Customer) || a.Device < 0 || a.Device >= b.extent.devices || slices.Compare(at[:], b.receipt[:]) <= 0 {
			return fmt.Errorf("its books have customer %d with device %d after %d with %d, and it has customers %d to %d of %d devices",
				a.Customer, a.Device, b.receipt[0], b.receipt[1], b.customers.First, b.customers.First+b.customers.Count-1, b.extent.devices)
		}
		b.receipt = at
		if int64(a.First) > b.messages {
			return fmt.Errorf("its books of device %d begin with message %d, and the device means to send fewer than %d", a.Device, a.First, b.messages)
		}
		// A component may have given messages numbers that they never had: the ledger
		// needs to know that there are some, and not which.
		b.beyond = b.beyond || max(len(a.Delivered), len(a.Late)) > b.words()
		a.Delivered, a.Late = b.fold(a.Delivered), b.fold(a.Late)
	}
	if err := b.latencies(c.Latency, &b.latency, 1); err != nil {
		return err
	}
	return b.latencies(c.Service, &b.service, protocol.ServiceSeconds)
}

func (b *bookCheck) latencies(all []measure.LatencySlice, last *[2]int, step int) error {
	for _, s := range all {
		at := [2]int{int(s.Second), s.Source}
		if at[0] < 0 || at[0] >= b.seconds || at[0]%step != 0 || at[1] < -1 || at[1] >= b.sources || slices.Compare(at[:], last[:]) <= 0 {
			return fmt.Errorf("its books have latencies of second %d from source %d after %d from %d, in %d seconds from %d sources", at[0], at[1], last[0], last[1], b.seconds, b.sources)
		}
		*last = at
	}
	return nil
}

// fold keeps a bitmap within what a device can have sent: one bit behind that
// stands for all that are beyond.
func (x extent) fold(m measure.Bitmap) measure.Bitmap {
	most := x.words()
	if len(m) <= most {
		return m
	}
	folded := slices.Clone(m[:most+1])
	folded[most] = 0
	if slices.ContainsFunc(m[most:], func(w uint64) bool { return w != 0 }) {
		folded[most] = 1
	}
	return folded
}

// hopBooks checks and trims what a hop says of single messages. What it has of
// messages that the plan does not know came to it from elsewhere.
func (x extent) hopBooks(books []measure.HopBook, clients int) error {
	for i := range books {
		seen := make(map[int]bool)
		kept := books[i].Devices[:0]
		for _, a := range books[i].Devices {
			if a.Device < 0 || a.Device >= x.devices {
				continue
			}
			if seen[a.Device] {
				return fmt.Errorf("its books have device %d twice", a.Device)
			}
			if most := len(protocol.DropReasons()) * (clients + maxForeign); len(a.Dropped) > most {
				return fmt.Errorf("its books have %d reasons for what was dropped of device %d", len(a.Dropped), a.Device)
			}
			seen[a.Device] = true
			a.In, a.Out = x.fold(a.In), x.fold(a.Out)
			for j := range a.Dropped {
				a.Dropped[j].Messages = x.fold(a.Dropped[j].Messages)
			}
			kept = append(kept, a)
		}
		books[i].Devices = kept
	}
	return nil
}

// status checks where an agent's load stands.
func (x extent) status(s protocol.LoadStatus, customers int) error {
	sent := x.messages * int64(x.devices)
	if s.Published > sent || s.Pending > sent || s.Delivered > sent*int64(max(customers, 1)) {
		return fmt.Errorf("it has %d messages published, %d pending and %d delivered, and no more than %d are planned", s.Published, s.Pending, s.Delivered, sent)
	}
	return nil
}
