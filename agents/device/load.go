package device

import (
	"fmt"
	"time"

	"bela/agents/protocol"
	"bela/agents/schedule"
)

// Start fixes the schedule. It must come before the start of load: a schedule
// that begins in the past would begin with messages that are late already.
func (f *Fleet) Start(s protocol.Start) error {
	l := &load{
		Start: s, at: s.At, warmup: int64(s.Warmup), end: int64(s.Warmup + s.Measure),
		options: f.scheduleOptions(s.Warmup + s.Measure),
		done:    make(chan struct{}),
	}
	if s.Warmup < 0 || s.Measure <= 0 {
		return badRequest("start: warm-up %v and measuring %v: want 0 or more, and more than 0", s.Warmup, s.Measure)
	}
	if err := l.options.Check(); err != nil {
		return badRequest("start: %v", err)
	}
	schedules := make([]*schedule.Schedule, len(f.devices))
	for i, d := range f.devices {
		var err error
		if schedules[i], err = schedule.New(l.options, d.number); err != nil {
			return badRequest("start: %v", err)
		}
	}
	l.pacer = newPacer(f.clock, f.waiter(), s.At, schedules, func(device int, sequence uint32, offset int64) {
		f.devices[device].dispatch(message{sequence, offset >= l.warmup, offset})
	})

	f.mu.Lock()
	defer f.mu.Unlock()
	if late := time.Duration(f.clock.Now() - s.At); late >= 0 {
		return badRequest("start: the start of load is %v in the past on node %s; give a later one", late, f.spec.Node)
	}
	if f.closed || f.start.Load() != nil {
		return badRequest("start: the devices of node %s were started or closed before", f.spec.Node)
	}
	f.start.Store(l)
	f.workers.Go(func() {
		defer close(l.done)
		l.pacer.run()
	})
	f.workers.Go(f.sweep)
	return nil
}

// Stop ends the load at once: what was not handed over by then is unsent. It
// returns when the last message has been given out; acknowledgements may still
// come.
func (f *Fleet) Stop() {
	l := f.start.Load()
	if l == nil {
		return
	}
	l.pacer.stop()
	<-l.done // within longestNap
	for _, d := range f.devices {
		d.clear()
	}
}

// sweep gives up on acknowledgements that are overdue, and tells the operator of
// lost connections, once a second at most.
func (f *Fleet) sweep() {
	period := min(max(f.spec.AckTimeout/10, 10*time.Millisecond), 250*time.Millisecond)
	tick := time.NewTicker(period)
	defer tick.Stop()
	var told time.Time
	for {
		select {
		case <-f.quit:
			return
		case now := <-tick.C:
			overdue := f.clock.Now() - int64(f.spec.AckTimeout)
			for _, d := range f.devices {
				d.expire(overdue)
			}
			if now.Sub(told) >= time.Second {
				told = now
				f.tellLosses()
			}
		}
	}
}

// tellLosses sums up the connections lost since it last did.
func (f *Fleet) tellLosses() {
	n := f.lost.Swap(0)
	if n == 0 {
		return
	}
	f.log("warn", fmt.Sprintf("%d device connections lost on node %s (%s); reconnecting", n, f.spec.Node, *f.example.Load()))
}
