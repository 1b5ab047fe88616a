package device

import (
	"sync"
	"time"

	"bela/agents/payload"
	"bela/agents/transport"
	"bela/measure"
)

// device is one emulated endpoint: a queue of messages that are due, and the
// account of what became of each.
type device struct {
	fleet  *Fleet
	index  int // in the fleet
	number int // in the cell
	topic  string
	shard  *shard

	mu sync.Mutex
	// queue holds what is due and not yet handed over; sending says that a
	// goroutine works on it. There is one only while there is work.
	queue   []message
	sending bool
	over    bool              // the books are closed: nothing may be sent any more
	flights map[uint32]flight // by sequence number
	// The account. first is set with the first measured message.
	hasFirst                     bool
	first                        uint32
	sent, acked, failed, unknown measure.Bitmap
}

// message is one that is due.
type message struct {
	sequence uint32
	measured bool
	offset   int64 // intended, ns from the start of load
}

// flight is a message between being taken from the queue and its fate.
type flight struct {
	message
	actual int64
	// handed is set when Publish returned without an error; until then the
	// message may still fail.
	handed bool
	size   int // of the payload, in bytes
	buffer *[]byte
}

// Why a message was not sent. Part of the errors' texts.
const (
	reasonQueue        = "unsent: the device's queue is full"
	reasonDisconnected = "unsent: not connected"
	reasonStopped      = "unsent: stopped"
)

// dispatch takes note of a message that is due. It never waits for the network.
func (d *device) dispatch(m message) {
	b := &d.fleet.books
	b.intended.Add(1)
	if m.measured {
		b.open.Add(1)
	}
	d.mu.Lock()
	if m.measured && !d.hasFirst {
		d.hasFirst, d.first = true, m.sequence
	}
	full := len(d.queue) >= d.fleet.queueBound
	wake := false
	if !full {
		d.queue = append(d.queue, m)
		wake = !d.sending
		d.sending = true
	}
	d.mu.Unlock()
	if full {
		d.unsent(m, reasonQueue)
	}
	if wake {
		d.fleet.senders.Go(d.drain)
	}
}

// drain sends what is queued, in order, and ends when nothing is.
func (d *device) drain() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.queue, d.sending = d.queue[:0], false
			d.mu.Unlock()
			return
		}
		m := d.queue[0]
		// Moving the rest is cheap at the length that a queue has while all is
		// well (one), and keeps its memory.
		d.queue = d.queue[:copy(d.queue, d.queue[1:])]
		d.mu.Unlock()
		d.send(m)
	}
}

// send hands one message over, with the actual time in it.
func (d *device) send(m message) {
	f := d.fleet
	conn := f.group.Conn(d.index)
	if conn == nil {
		d.unsent(m, reasonDisconnected)
		return
	}
	buffer := f.buffers.Get().(*[]byte)
	intended := f.start.Load().at + m.offset
	actual := f.clock.Now()
	*buffer = f.builder.Append((*buffer)[:0], payload.Envelope{
		Run: f.spec.Run, Cell: f.spec.Cell, Device: uint32(d.number), Sequence: m.sequence,
		Intended: intended, Actual: actual,
	})
	d.mu.Lock()
	over := d.over
	if !over {
		d.flights[m.sequence] = flight{message: m, actual: actual, size: len(*buffer), buffer: buffer}
	}
	d.mu.Unlock()
	if over {
		d.unsent(m, reasonStopped)
		return
	}
	d.shard.late(actual-intended, m.measured)

	err := conn.Publish(uint64(m.sequence), d.topic, byte(f.spec.QoS), *buffer)
	if err != nil {
		d.refused(m, err)
	} else {
		d.handed(m)
	}
}

// handed notes that the transport took a message.
func (d *device) handed(m message) {
	d.mu.Lock()
	fl, flying := d.flights[m.sequence]
	if !flying { // its fate came before Publish returned, and counted it
		d.mu.Unlock()
		return
	}
	fl.handed = true
	settled := d.fleet.spec.QoS == 0 // nothing more will be heard of it
	if settled {
		delete(d.flights, m.sequence)
	} else {
		d.flights[m.sequence] = fl
	}
	d.countSent(fl)
	d.mu.Unlock()
	if settled {
		d.settle(fl)
		d.fleet.buffers.Put(fl.buffer)
	}
}

// refused notes that the transport did not take a message.
func (d *device) refused(m message, err error) {
	d.mu.Lock()
	fl, flying := d.flights[m.sequence]
	if flying {
		delete(d.flights, m.sequence)
		if m.measured {
			d.failed.Set(m.sequence - d.first)
		}
	}
	d.mu.Unlock()
	if !flying {
		return
	}
	d.fleet.books.failed.Add(1)
	d.fleet.books.errors.Add("failed: "+transport.Cause(err), 1)
	d.settle(fl)
}

// fate is told by the transport of each message at QoS 1 and 2.
func (d *device) fate(id uint64, err error) {
	if id&probeFlag != 0 {
		d.fleet.probed(uint32(id), err)
		return
	}
	now := d.fleet.clock.Now()
	sequence := uint32(id)
	d.mu.Lock()
	fl, flying := d.flights[sequence]
	if flying {
		d.land(fl, err == nil)
	}
	d.mu.Unlock()
	switch {
	case !flying: // the wait for it has ended before
		if err == nil {
			d.fleet.books.errors.Add("acknowledged after the timeout", 1)
		}
	case err != nil:
		d.fleet.books.errors.Add("unknown: "+transport.Cause(err), 1)
	default:
		if fl.measured {
			d.shard.acknowledged(now - fl.actual)
		}
		// The broker has it, so nothing reads the buffer any more.
		d.fleet.buffers.Put(fl.buffer)
	}
}

// land takes a message out of flight: acknowledged, or never to be known. The
// caller holds the lock.
func (d *device) land(fl flight, acknowledged bool) {
	delete(d.flights, fl.sequence)
	if !fl.handed {
		d.countSent(fl)
	}
	set, counter := &d.unknown, &d.fleet.books.unknown
	if acknowledged {
		set, counter = &d.acked, &d.fleet.books.acked
	}
	counter.Add(1)
	if fl.measured {
		set.Set(fl.sequence - d.first)
	}
	d.settle(fl)
}

// countSent enters a message as handed over. The caller holds the lock.
func (d *device) countSent(fl flight) {
	d.fleet.books.sent.Add(1)
	d.shard.handed(int(fl.offset / int64(time.Second)))
	if fl.measured {
		d.sent.Set(fl.sequence - d.first)
		d.fleet.books.published.Add(1)
		d.fleet.books.payload.Add(int64(fl.size))
	}
}

// settle closes a message's fate.
func (d *device) settle(fl flight) {
	if fl.measured {
		d.fleet.books.open.Add(-1)
	}
}

// unsent notes a message that was never tried. That is the account's default,
// so only the reason is written down.
func (d *device) unsent(m message, reason string) {
	d.fleet.books.errors.Add(reason, 1)
	if m.measured {
		d.fleet.books.open.Add(-1)
	}
}

// expire gives up on acknowledgements of messages sent before a moment.
func (d *device) expire(before int64) {
	d.mu.Lock()
	n := int64(0)
	for _, fl := range d.flights {
		if fl.handed && fl.actual < before {
			d.land(fl, false)
			n++
		}
	}
	d.mu.Unlock()
	if n > 0 {
		d.fleet.books.errors.Add("unknown: no acknowledgement in time", n)
	}
}

// clear takes back what is queued.
func (d *device) clear() {
	d.mu.Lock()
	queue := d.queue
	d.queue = nil
	d.mu.Unlock()
	for _, m := range queue {
		d.unsent(m, reasonStopped)
	}
}

// abandon closes the books of all that is in flight, because the cell is over.
// What is just being handed over may still arrive, so it counts as sent, with an
// unknown fate.
func (d *device) abandon() {
	d.mu.Lock()
	d.over = true
	n := int64(len(d.flights))
	for _, fl := range d.flights {
		d.land(fl, false)
	}
	d.mu.Unlock()
	if n > 0 {
		d.fleet.books.errors.Add("unknown: in flight at the end", n)
	}
}

// account is the device's books; first and count are its schedule's window.
func (d *device) account(first, count uint32) measure.PublishAccount {
	d.mu.Lock()
	defer d.mu.Unlock()
	return measure.PublishAccount{
		Device: d.number, First: first, Count: count,
		Sent: clone(d.sent), Acked: clone(d.acked), Failed: clone(d.failed), Unknown: clone(d.unknown),
	}
}

func clone(b measure.Bitmap) measure.Bitmap { return append(measure.Bitmap(nil), b...) }
