package measure

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Missing says whose books never came, by number: those of a node that was
// lost, or that could not be collected in time.
type Missing struct {
	Devices   []int
	Customers []int
}

// DeviceLedger is the part of the ledger that one device's messages make.
type DeviceLedger struct {
	Device int `json:"device"`
	Ledger
	// ReorderDistance is the largest of the customers' reorder distances.
	ReorderDistance uint32 `json:"reorder_distance,omitempty"`
}

// CloseLedger holds what customers received against what devices published and
// decides the fate of every message. expected names the customers that should
// get a device's messages; it is asked once for each account in published.
//
// What the customers' books say decides: a message without acknowledgement is
// delivered, late or dropped like any other, and also counted in InDoubt. A
// customer that has no account of a device received nothing of it, unless it is
// in missing: then its messages that no account shows are Unknown. The ledger
// stays closed over Unknown.
//
// The ledger is open when a device's books are in missing (what was received
// of it is then left out), when books contradict themselves or appear twice,
// and when something was received that was not sent, or by a customer that it
// was not for; each such delivery is a Phantom. Open names the first cause and
// counts the others.
//
// The device ledgers come in ascending order of device.
func CloseLedger(published []PublishAccount, received []ReceiptAccount, expected func(device int) []int, missing Missing) (Ledger, []DeviceLedger) {
	c := closing{
		received: received,
		order:    make([]int32, len(received)),
		missing:  numberSet(missing.Customers),
		lost:     numberSet(missing.Devices),
	}
	for i := range c.order {
		c.order[i] = int32(i)
	}
	slices.SortFunc(c.order, func(a, b int32) int {
		x, y := &received[a], &received[b]
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Customer, y.Customer))
	})
	accounts := make([]*PublishAccount, len(published))
	for i := range published {
		accounts[i] = &published[i]
	}
	slices.SortFunc(accounts, func(a, b *PublishAccount) int { return cmp.Compare(a.Device, b.Device) })

	devices := make([]DeviceLedger, 0, len(accounts))
	for i, account := range accounts {
		if i > 0 && accounts[i-1].Device == account.Device {
			c.total.open("device %d has two accounts of what it published", account.Device)
			continue
		}
		d := c.closeDevice(account, expected(account.Device))
		c.total.add(&d.Ledger)
		devices = append(devices, d)
	}
	c.orphans(len(c.order))
	if len(missing.Devices) > 0 {
		c.total.open("the books of %s are missing", numbers("device", missing.Devices))
	}
	return c.total.done(), devices
}

// closing is a ledger being closed.
type closing struct {
	received []ReceiptAccount
	order    []int32 // of received, by device and customer
	next     int     // the first in order not yet looked at
	missing  map[int]bool
	lost     map[int]bool
	total    entry
}

// closeDevice closes one device's ledger. Devices come in ascending order.
func (c *closing) closeDevice(p *PublishAccount, customers []int) DeviceLedger {
	var e entry
	e.published(p)
	first := c.next
	for first < len(c.order) && c.received[c.order[first]].Device < p.Device {
		first++
	}
	c.orphans(first)
	var distance uint32
	customers = slices.Sorted(slices.Values(customers))
	for i, customer := range customers {
		if i > 0 && customers[i-1] == customer {
			e.open("device %d: customer %d is expected twice", p.Device, customer)
			continue
		}
		e.Expected += e.Published
		for ; c.at(p.Device) && c.receipt().Customer < customer; c.next++ {
			e.foreign(c.receipt())
		}
		var arrived int64
		for n := 0; c.at(p.Device) && c.receipt().Customer == customer; c.next++ {
			if n++; n > 1 {
				e.open("customer %d has two accounts of device %d", customer, p.Device)
				continue
			}
			arrived = e.received(p, c.receipt())
			distance = max(distance, c.receipt().ReorderDistance)
		}
		if c.missing[customer] {
			e.Unknown += e.Published - arrived
		} else {
			e.Dropped += e.Published - arrived
		}
	}
	for ; c.at(p.Device); c.next++ {
		e.foreign(c.receipt())
	}
	return DeviceLedger{Device: p.Device, Ledger: e.done(), ReorderDistance: distance}
}

func (c *closing) receipt() *ReceiptAccount { return &c.received[c.order[c.next]] }

func (c *closing) at(device int) bool {
	return c.next < len(c.order) && c.receipt().Device == device
}

// orphans passes over the receipts before end in order, which have no
// publisher's books: phantoms, unless those books are known to be missing.
func (c *closing) orphans(end int) {
	for ; c.next < end; c.next++ {
		r := c.receipt()
		if n := r.Delivered.Count() + r.Late.Count(); n > 0 && !c.lost[r.Device] {
			c.total.Phantom += n
			c.total.open("customer %d received %d messages of device %d, which has no books", r.Customer, n, r.Device)
		}
	}
}

// entry is a ledger under way with what speaks against it.
type entry struct {
	Ledger
	causes int
}

// open notes a cause for which the ledger does not close.
func (e *entry) open(format string, args ...any) {
	if e.causes++; e.causes == 1 {
		e.Open = fmt.Sprintf(format, args...)
	}
}

// published enters a device's own books.
func (e *entry) published(p *PublishAccount) {
	var either, both, refuted int64
	for i := range max(len(p.Sent), len(p.Failed), len(p.Acked), len(p.Unknown)) {
		sent, failed := word(p.Sent, i), word(p.Failed, i)
		acked, unknown := word(p.Acked, i), word(p.Unknown, i)
		e.Published += ones(sent)
		e.Failed += ones(failed)
		e.Acked += ones(acked & sent)
		e.InDoubt += ones(unknown & sent &^ acked)
		either += ones(sent | failed)
		both += ones(sent & failed)
		refuted += ones((acked | unknown) &^ sent)
	}
	e.Intended = int64(p.Count)
	e.Unsent = e.Intended - either
	if both > 0 {
		e.open("device %d: %d messages are both sent and failed", p.Device, both)
	}
	if refuted > 0 {
		e.open("device %d: %d messages have an acknowledgement state and were not sent", p.Device, refuted)
	}
	if top := max(highest(p.Sent), highest(p.Failed)); top >= int64(p.Count) {
		e.open("device %d: the books hold message %d of %d", p.Device, top+1, p.Count)
	}
}

// received enters a customer's books of a device and returns how many of its
// sent messages arrived.
func (e *entry) received(p *PublishAccount, r *ReceiptAccount) int64 {
	var delivered, late, phantom, both int64
	for i := range max(len(r.Delivered), len(r.Late)) {
		d, l := word(r.Delivered, i), word(r.Late, i)
		both += ones(d & l)
		l &^= d
		sent := sentAt(p, r.First, i)
		delivered += ones(d & sent)
		late += ones(l & sent)
		phantom += ones((d | l) &^ sent)
	}
	e.Delivered += delivered
	e.Late += late
	e.Duplicated += int64(r.Duplicated)
	e.Reordered += int64(r.Reordered)
	if both > 0 {
		e.open("customer %d: %d messages of device %d are both delivered and late", r.Customer, both, p.Device)
	}
	if phantom > 0 {
		e.Phantom += phantom
		e.open("customer %d received %d messages of device %d that were not sent", r.Customer, phantom, p.Device)
	}
	return delivered + late
}

// sentAt is the word of p.Sent that stands beside word i of an account that
// begins at sequence number first.
func sentAt(p *PublishAccount, first uint32, i int) uint64 {
	if first == p.First {
		return word(p.Sent, i)
	}
	var w uint64
	for bit := range int64(64) {
		at := int64(first) - int64(p.First) + 64*int64(i) + bit
		if at >= 0 && at < 64*int64(len(p.Sent)) && p.Sent.Has(uint32(at)) {
			w |= 1 << bit
		}
	}
	return w
}

// foreign enters what a customer received that was not for it.
func (e *entry) foreign(r *ReceiptAccount) {
	if n := r.Delivered.Count() + r.Late.Count(); n > 0 {
		e.Phantom += n
		e.open("customer %d received %d messages of device %d, which were not for it", r.Customer, n, r.Device)
	}
}

func (e *entry) add(d *Ledger) {
	e.Intended += d.Intended
	e.Unsent += d.Unsent
	e.Failed += d.Failed
	e.Published += d.Published
	e.Acked += d.Acked
	e.Expected += d.Expected
	e.Delivered += d.Delivered
	e.Late += d.Late
	e.Dropped += d.Dropped
	e.Unknown += d.Unknown
	e.Duplicated += d.Duplicated
	e.Reordered += d.Reordered
	e.InDoubt += d.InDoubt
	e.Phantom += d.Phantom
	if !d.Closed {
		e.open("%s", d.Open)
	}
}

// done checks the identities and settles whether the ledger is closed.
func (e *entry) done() Ledger {
	if e.Intended != e.Unsent+e.Failed+e.Published {
		e.open("%d intended is not %d unsent + %d failed + %d published", e.Intended, e.Unsent, e.Failed, e.Published)
	}
	if e.Expected != e.Delivered+e.Late+e.Dropped+e.Unknown {
		e.open("%d expected is not %d delivered + %d late + %d dropped + %d unknown", e.Expected, e.Delivered, e.Late, e.Dropped, e.Unknown)
	}
	if e.causes > 1 {
		e.Open += fmt.Sprintf(" (and %d more)", e.causes-1)
	}
	e.Closed = e.causes == 0
	return e.Ledger
}

func word(b Bitmap, i int) uint64 {
	if i < len(b) {
		return b[i]
	}
	return 0
}

func ones(w uint64) int64 { return int64(bits.OnesCount64(w)) }

// highest is the largest member, -1 when empty.
func highest(b Bitmap) int64 {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return int64(64*i + bits.Len64(b[i]) - 1)
		}
	}
	return -1
}

func numberSet(list []int) map[int]bool {
	set := make(map[int]bool, len(list))
	for _, n := range list {
		set[n] = true
	}
	return set
}

// numbers writes numbers as ranges, at most five of them: "devices 0-499, 700".
func numbers(what string, list []int) string {
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	if len(list) != 1 {
		what += "s"
	}
	var ranges []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if len(ranges) == 5 {
			ranges = append(ranges, "…")
			break
		}
		if i == j {
			ranges = append(ranges, fmt.Sprint(list[i]))
		} else {
			ranges = append(ranges, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return what + " " + strings.Join(ranges, ", ")
}
