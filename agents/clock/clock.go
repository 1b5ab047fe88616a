// Package clock gives an agent its two times: the node's own, which only ever
// runs forward, and the testbed's, on which all nodes' numbers are compared. It
// knows how to turn one into the other once it is told how they relate; how that
// relation is found (by exchanging timestamps) is the controller's matter.
package clock

import (
	"math"
	"sync/atomic"
	"time"

	"bela/agents/protocol"
)

// Clock reads the node's time and the testbed's. All methods may be called from
// any goroutine; none of them blocks.
type Clock struct {
	anchor time.Time // holds the monotonic reading that wall belongs to
	wall   int64     // ns since the Unix epoch at anchor, with the planted offset
	drift  float64   // planted
	step   Step      // planted
	axis   atomic.Pointer[protocol.Clock]
}

// Options plant an error in a clock, so that a test knows the truth that the
// clock measurement should find. The zero value plants none.
type Options struct {
	Offset time.Duration // added to the wall clock
	Drift  float64       // seconds gained a second since the clock was made
	Step   Step
}

// Step is a sudden jump of a clock. A step back is the one thing that makes a
// node's time run backward, as an operator's hand would.
type Step struct {
	By    time.Duration // how much the clock gains; 0 is no step
	After time.Duration // true time since the clock was made
}

// New anchors a clock to the wall clock, once. Later steps of the wall clock
// (an NTP daemon, an operator) do not reach it. Until Set is called, testbed
// time is local time.
func New(o Options) *Clock {
	now := time.Now()
	c := &Clock{anchor: now, wall: now.UnixNano() + int64(o.Offset), drift: o.Drift, step: o.Step}
	c.axis.Store(&protocol.Clock{})
	return c
}

// Local is the node's time in nanoseconds since the Unix epoch: the wall clock
// when the clock was made, plus the time that has passed since, and what was
// planted.
func (c *Clock) Local() int64 {
	passed := time.Since(c.anchor)
	local := c.wall + int64(passed) + scale(c.drift, int64(passed))
	if passed >= c.step.After {
		local += int64(c.step.By)
	}
	return local
}

// Set says how testbed time follows from local time from now on.
func (c *Clock) Set(axis protocol.Clock) { c.axis.Store(&axis) }

// Now is the testbed's time in nanoseconds since the Unix epoch.
func (c *Clock) Now() int64 { return c.FromLocal(c.Local()) }

// FromLocal turns a local time into testbed time.
func (c *Clock) FromLocal(local int64) int64 {
	a := c.axis.Load()
	return local + a.Offset + scale(a.Drift, local-a.At)
}

// ToLocal turns a testbed time into local time; it undoes FromLocal to within
// a few nanoseconds.
func (c *Clock) ToLocal(testbed int64) int64 {
	a := c.axis.Load()
	since := testbed - a.At - a.Offset // (1 + drift) × the local time since At
	return a.At + since - scale(a.Drift/(1+a.Drift), since)
}

// scale is factor × ns, rounded; only the small correction passes through a
// float, so that no nanosecond of the large number is lost.
func scale(factor float64, ns int64) int64 {
	if factor == 0 {
		return 0
	}
	return int64(math.Round(factor * float64(ns)))
}
