package client

import (
	"errors"
	"fmt"
	"time"
)

// What an agent may tell of its own accord: all that its own spool holds, several
// times over, at once, and then a rate that is far above what a node with
// thousands of devices says in a second.
const (
	eventBurst = 128 << 20 // bytes
	eventRate  = 1 << 20   // bytes a second
	// What an event costs beside its own bytes, and what one costs more that is no
	// sample: as many bytes as it may come to in the run directory, and more.
	eventCost = 4 << 10
	wordCost  = 16 << 10
	// escaped is how many times longer a text can be in the run directory: a '<'
	// is written as \u003c there.
	escaped = 6
	// strayCost bounds what an answer costs that nobody waits for: it may be late.
	strayCost = 1 << 20
	// maxGap bounds how many events may be lost at once: a spool holds fewer in
	// any lease.
	maxGap = 10_000_000
	// How often a connection may break at once, and for how long it must not to
	// be allowed once more.
	breakBurst = 60
	breakEvery = 2 * time.Second
)

// breaks is how often the link may still break: one that is made anew each time,
// and breaks at once, would go on for ever.
type breaks struct {
	left int
	at   time.Time
}

func (b *breaks) take(now time.Time) error {
	back := int(now.Sub(b.at) / breakEvery)
	b.left, b.at = min(breakBurst, b.left+back), b.at.Add(time.Duration(back)*breakEvery)
	if b.left--; b.left < 0 {
		return fmt.Errorf("the link was made anew %d times and more, and broke each time at once", breakBurst)
	}
	return nil
}

// ErrFlood says that an agent sends more events than one that works can have.
var ErrFlood = errors.New("the agent floods the controller with events")

// allowance is how many bytes of events are still taken. A broken or hostile
// node must not fill the run directory, where every event is kept.
type allowance struct {
	left int64
	at   time.Time
}

func newAllowance(now time.Time) allowance { return allowance{left: eventBurst, at: now} }

// take counts n bytes, or refuses them.
func (a *allowance) take(n int, now time.Time) error {
	a.left = min(eventBurst, a.left+int64(now.Sub(a.at).Seconds()*eventRate))
	a.at = now
	if a.left -= int64(n); a.left < 0 {
		return fmt.Errorf("%w: more than %d MiB at once, and then %d MiB a second: the node is not used any further", ErrFlood, eventBurst>>20, eventRate>>20)
	}
	return nil
}
