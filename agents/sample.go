package agents

import (
	"context"
	"time"

	"bela/agents/clock"
	"bela/agents/monitor"
	"bela/agents/protocol"
)

// sample takes one sample each full second of the testbed's time, so that
// samples of all nodes belong together.
func (a *agent) sample(ctx context.Context) {
	failing := false
	self := monitor.NewProcess()
	for awaitSecond(ctx, a.Clock) {
		host, err := monitor.Host()
		if err != nil && !failing {
			a.log("error", "cannot read the host's counters: "+err.Error())
		}
		if failing = err != nil; failing {
			host = protocol.HostSample{} // nothing of it rather than a part
		}
		s := protocol.Sample{At: a.Clock.Now(), Host: host, Agent: self.Sample(), Components: a.components.Sample()}
		a.load.samples(&s)
		a.events.append(protocol.Event{Sample: &s})
	}
}

// awaitSecond waits until the next full second of the testbed's time has begun;
// false when ctx ended before. A timer runs on the node's own clock, and is early
// where that is the faster one: a sample taken then would be followed at once by
// another of the same second, and what little was used between the two would
// count as the use of a second.
func awaitSecond(ctx context.Context, c *clock.Clock) bool {
	now := c.Now()
	full := nextSecond(now)
	for ; now < full; now = c.Now() {
		full = nextSecond(now) // sooner where the time was set back
		timer := time.NewTimer(time.Duration(full - now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
	return ctx.Err() == nil
}

// nextSecond is the first full second after a time, both in nanoseconds.
func nextSecond(at int64) int64 { return at - at%int64(time.Second) + int64(time.Second) }
