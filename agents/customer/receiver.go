package customer

import (
	"sync"

	"bela/agents/payload"
	"bela/measure"
)

// receiver is one customer: one connection, and an account for each device that
// it hears of. Its connection delivers one message at a time, so the lock is
// contended only by a look at the numbers.
type receiver struct {
	crowd  *Crowd
	number int
	shard  *shard

	mu       sync.Mutex
	accounts map[uint32]*account // by device
	// early holds what came before the schedule was known.
	early []receipt
	over  bool // the books are closed

	foreign, stray, delivered, duplicated int64
}

// receipt is a message as it arrived.
type receipt struct {
	payload.Envelope
	received int64 // testbed time
}

// account is what a customer received of one device.
type account struct {
	seen measure.Bitmap // by sequence number, warm-up included
	late measure.Bitmap
	// first is the lowest measured sequence number seen, highest the highest;
	// intended times rise with sequence numbers, so all from first on are
	// measured.
	measured       bool
	first, highest uint32

	duplicated, reordered uint64
	distance              uint32
}

// maxSequence bounds what a bitmap may grow to (32 MiB), whatever a payload says.
const maxSequence = 1<<28 - 1

// maxEarly bounds how many messages wait for the schedule to become known.
const maxEarly = 10_000

// receive takes one payload. It is called in order, and does not keep it.
func (r *receiver) receive(p []byte) {
	received := r.crowd.clock.Now()
	e, err := payload.Parse(p)
	if err != nil {
		r.mu.Lock()
		r.foreign++
		r.mu.Unlock()
		r.crowd.errors.Add(err.Error(), 1)
		return
	}
	if e.Run != r.crowd.spec.Run || e.Cell != r.crowd.spec.Cell {
		r.strayed()
		return
	}
	if e.Probe {
		r.crowd.probed(e.Sequence)
		return
	}
	if !r.mine(e) {
		r.strayed()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		r.crowd.errors.Add("received after draining was over", 1)
		return
	}
	w := r.crowd.window.Load()
	if w == nil {
		r.keep(receipt{e, received})
		return
	}
	r.enter(w, receipt{e, received})
}

// mine reports whether this customer should get messages of the device.
func (r *receiver) mine(e payload.Envelope) bool {
	if int64(e.Device) >= int64(r.crowd.spec.Devices) || e.Sequence > maxSequence {
		return false
	}
	if r.crowd.spec.Receive != receiveOwn || r.crowd.spec.Customers == 0 {
		return true
	}
	return int(e.Device)%r.crowd.spec.Customers == r.number
}

func (r *receiver) strayed() {
	r.mu.Lock()
	r.stray++
	r.mu.Unlock()
}

// keep holds a message until the schedule is known. The caller holds the lock.
func (r *receiver) keep(m receipt) {
	if len(r.early) >= maxEarly {
		r.crowd.errors.Add("received before the start of load was known, too many to keep", 1)
		return
	}
	r.early = append(r.early, m)
}

// begin enters what came before the schedule was known.
func (r *receiver) begin(w *window) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.early {
		r.enter(w, m)
	}
	r.early = nil
}

// enter writes a message into the account. The caller holds the lock.
func (r *receiver) enter(w *window, m receipt) {
	if m.Intended < w.at || m.Intended >= w.end {
		r.stray++ // no message of this load has such a time
		return
	}
	a := r.accounts[m.Device]
	if a == nil {
		a = new(account)
		r.accounts[m.Device] = a
	}
	measured := m.Intended >= w.measure
	if a.seen.Has(m.Sequence) {
		r.duplicated++
		if measured {
			a.duplicated++
		}
		return
	}
	a.seen.Set(m.Sequence)
	r.delivered++
	if measured {
		a.enter(m.Sequence)
		if late := int64(r.crowd.spec.Late); late > 0 && m.received-m.Intended > late {
			a.late.Set(m.Sequence)
		}
		r.crowd.measured.Add(1)
	}
	r.shard.record(w, m, r.crowd.source(m.Device), measured)
}

// enter notes the order of a first delivery of a measured message.
func (a *account) enter(sequence uint32) {
	if !a.measured {
		a.measured, a.first, a.highest = true, sequence, sequence
		return
	}
	a.first = min(a.first, sequence)
	if sequence > a.highest {
		a.highest = sequence
		return
	}
	a.reordered++
	a.distance = max(a.distance, a.highest-sequence)
}

// receipts is the measured part of the account. Its bitmaps begin at a whole
// word, so that cutting off the warm-up moves no bits.
func (a *account) receipts(customer, device int) measure.ReceiptAccount {
	result := measure.ReceiptAccount{
		Customer: customer, Device: device,
		Duplicated: a.duplicated, Reordered: a.reordered, ReorderDistance: a.distance,
	}
	if !a.measured {
		return result
	}
	skip := int(a.first / 64)
	result.First = uint32(skip) * 64
	result.Delivered = append(measure.Bitmap(nil), a.seen[skip:]...)
	result.Delivered[0] &^= 1<<(a.first%64) - 1
	if skip < len(a.late) {
		result.Late = append(measure.Bitmap(nil), a.late[skip:]...)
		for i, w := range result.Late {
			result.Delivered[i] &^= w
		}
	}
	return result
}
