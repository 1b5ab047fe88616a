package agents

import (
	"context"
	"time"

	"bela/agents/monitor"
	"bela/agents/protocol"
)

// sample takes one sample each full second of the testbed's time, so that
// samples of all nodes belong together.
func (a *agent) sample(ctx context.Context) {
	failing := false
	self := monitor.NewProcess()
	for {
		now := a.Clock.Now()
		timer := time.NewTimer(time.Second - time.Duration(now%int64(time.Second)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		host, err := monitor.Host()
		if err != nil && !failing {
			a.log("error", "cannot read the host's counters: "+err.Error())
		}
		failing = err != nil
		s := protocol.Sample{At: a.Clock.Now(), Host: host, Agent: self.Sample(), Components: a.components.Sample()}
		a.load.samples(&s)
		a.events.append(protocol.Event{Sample: &s})
	}
}
