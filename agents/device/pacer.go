package device

import (
	"sync/atomic"
	"time"

	"bela/agents/clock"
	"bela/agents/schedule"
)

// longestNap bounds how long a pacer sleeps without looking whether it should
// stop, and so how long stopping takes.
const longestNap = 50 * time.Millisecond

// pacer hands out all devices' messages at their intended times, from one
// goroutine. It never waits for a device: dispatch must only take note.
type pacer struct {
	clock    *clock.Clock
	waiter   waiter
	at       int64 // start of load, testbed time
	dispatch func(device int, sequence uint32, offset int64)
	queue    []due // a binary heap, soonest first
	stopped  atomic.Bool
	// left is how many devices still have messages to come.
	left atomic.Int64
}

// due is a device's next message.
type due struct {
	offset   int64 // ns from the start of load
	sequence uint32
	device   int
	schedule *schedule.Schedule
}

// newPacer makes a pacer of one schedule a device.
func newPacer(c *clock.Clock, w waiter, at int64, schedules []*schedule.Schedule, dispatch func(int, uint32, int64)) *pacer {
	p := &pacer{clock: c, waiter: w, at: at, dispatch: dispatch, queue: make([]due, 0, len(schedules))}
	for i, s := range schedules {
		if sequence, offset, ok := s.Next(); ok {
			p.queue = append(p.queue, due{int64(offset), sequence, i, s})
		}
	}
	for i := len(p.queue)/2 - 1; i >= 0; i-- {
		p.down(i)
	}
	p.left.Store(int64(len(p.queue)))
	return p
}

// run returns after the last message, or soon after stop.
func (p *pacer) run() {
	p.waiter.prepare()
	for len(p.queue) > 0 && !p.stopped.Load() {
		// The waiter's clock is read first: if this thread loses its CPU between
		// the two readings, the pacer wakes early and waits again, never late.
		reading := p.waiter.now()
		wait := p.at + p.queue[0].offset - p.clock.Now()
		if wait > 0 {
			p.waiter.until(reading + min(wait, int64(longestNap)))
			continue
		}
		p.next()
	}
}

// next dispatches the message at the head and moves its device on.
func (p *pacer) next() {
	head := &p.queue[0]
	p.dispatch(head.device, head.sequence, head.offset)
	sequence, offset, ok := head.schedule.Next()
	if ok {
		head.sequence, head.offset = sequence, int64(offset)
	} else {
		last := len(p.queue) - 1
		p.queue[0] = p.queue[last]
		p.queue = p.queue[:last]
		p.left.Add(-1)
	}
	p.down(0)
}

// stop makes run return within longestNap. It may be called at any time.
func (p *pacer) stop() { p.stopped.Store(true) }

// down restores the heap below i.
func (p *pacer) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(p.queue) {
			return
		}
		if right := child + 1; right < len(p.queue) && p.queue[right].offset < p.queue[child].offset {
			child = right
		}
		if p.queue[i].offset <= p.queue[child].offset {
			return
		}
		p.queue[i], p.queue[child] = p.queue[child], p.queue[i]
		i = child
	}
}
