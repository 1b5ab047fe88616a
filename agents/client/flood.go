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
)

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
