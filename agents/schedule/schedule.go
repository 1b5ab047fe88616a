// Package schedule says when a device means to send each of its messages. It is
// pure: the same seed gives the same nanoseconds on every machine and every
// architecture, so that a cell can be repeated exactly and both ends of the
// testbed agree on what was intended. It knows no clock and no connection.
package schedule

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// The arrival processes.
const (
	Constant = "constant" // evenly spaced, at a random phase for each device
	Poisson  = "poisson"  // independent exponential gaps
	OnOff    = "onoff"    // evenly spaced within bursts, silent between them
)

// Bounds on what is taken, so that a slip in an experiment cannot make an agent
// work or allocate without end.
const (
	MinRate     = 1e-8      // messages a second and device: one in three years, so that a gap fits in nanoseconds
	MaxRate     = 1e6       // messages a second and device
	MaxMessages = 1<<28 - 1 // of a device in one cell
)

// Options are what the devices of a cell have in common.
type Options struct {
	Seed     int64
	Arrivals string
	// Rate is messages a second and device, averaged over bursts and pauses.
	Rate float64
	// On and Off are the lengths of a burst and of the pause after it (onoff).
	On, Off time.Duration
	// Length is warm-up and measuring together; no message is intended at or
	// after it.
	Length time.Duration
}

// Check reports what is wrong with the options.
func (o Options) Check() error {
	switch {
	case math.IsNaN(o.Rate) || o.Rate < MinRate || o.Rate > MaxRate:
		return fmt.Errorf("schedule: rate %v msg/s must be at least %v and at most %v", o.Rate, float64(MinRate), float64(MaxRate))
	case o.Length < 0:
		return fmt.Errorf("schedule: length %v is negative", o.Length)
	case o.Rate*o.Length.Seconds() > MaxMessages/2:
		// Half of the bound leaves a Poisson process room above its mean.
		return fmt.Errorf("schedule: %v msg/s over %v is more than %d messages a device", o.Rate, o.Length, MaxMessages/2)
	}
	switch o.Arrivals {
	case Constant, Poisson:
	case OnOff:
		if o.On <= 0 || o.Off < 0 || o.On > 24*time.Hour || o.Off > 24*time.Hour {
			return fmt.Errorf("schedule: onoff needs a burst above 0 and a pause of 0 or more, both at most 24h; have %v and %v", o.On, o.Off)
		}
	default:
		return fmt.Errorf("schedule: arrivals %q: want %s, %s or %s", o.Arrivals, Constant, Poisson, OnOff)
	}
	return nil
}

// Schedule hands out one device's intended send times in order. It is not safe
// for concurrent use.
type Schedule struct {
	o      Options
	device int
	next   uint32 // sequence number of the message at offset
	offset int64  // of the next message, ns from the start of load
	phase  int64
	gap    float64 // ns between messages; within a burst for onoff
	random *rand.Rand
}

// New is the schedule of a device; the error says what is wrong with o.
func New(o Options, device int) (*Schedule, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	s := &Schedule{o: o, device: device}
	s.rewind()
	return s, nil
}

// rewind puts the schedule before its first message.
func (s *Schedule) rewind() {
	s.random = rand.New(rand.NewPCG(uint64(s.o.Seed), uint64(s.device)))
	s.next = 0
	s.gap = 1e9 / s.o.Rate
	switch s.o.Arrivals {
	case Poisson:
		s.offset = s.exponential()
	case OnOff:
		// The device starts somewhere in its cycle. phase is the active time
		// (time within bursts) before its first message.
		cycle := int64(s.o.On + s.o.Off)
		s.gap = float64(float64(s.gap)*float64(s.o.On)) / float64(cycle)
		s.phase = s.uniform(float64(cycle))
		s.offset = s.at(0)
	default:
		s.phase = s.uniform(s.gap)
		s.offset = s.at(0)
	}
}

// Peek is the next message without taking it. ok is false after the last.
func (s *Schedule) Peek() (sequence uint32, offset time.Duration, ok bool) {
	return s.next, time.Duration(s.offset), s.offset < int64(s.o.Length)
}

// Next takes the next message: its sequence number, from 0, and its intended
// time from the start of load. ok is false after the last.
func (s *Schedule) Next() (sequence uint32, offset time.Duration, ok bool) {
	sequence, offset, ok = s.Peek()
	if !ok {
		return
	}
	s.next++
	if s.o.Arrivals == Poisson {
		s.offset += s.exponential()
	} else {
		s.offset = s.at(s.next)
	}
	return
}

// Window is the messages intended in [from, to): the sequence number of the
// first and how many there are. Where there are none, first is that of the next
// message after from. It does not move the schedule.
func (s *Schedule) Window(from, to time.Duration) (first, count uint32) {
	to = min(to, s.o.Length)
	if s.o.Arrivals != Poisson {
		first = s.search(int64(min(from, s.o.Length)))
		if end := s.search(int64(to)); end > first {
			count = end - first
		}
		return first, count
	}
	run := Schedule{o: s.o, device: s.device}
	run.rewind()
	for {
		_, offset, ok := run.Peek()
		if !ok || offset >= to {
			return first, count
		}
		if offset < from {
			first++
		} else {
			count++
		}
		_, _, _ = run.Next()
	}
}

// search is the first sequence number whose offset is at or after t, which is
// at most the length. Only for processes that know each offset from its sequence
// number.
func (s *Schedule) search(t int64) uint32 {
	low, high := uint32(0), s.beyond()
	for low < high {
		middle := low + (high-low)/2
		if s.at(middle) < t {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// beyond is a sequence number that is intended at or after the length, and not
// long after it: of messages that are much later than any load, at slow rates,
// the offset is no number of nanoseconds any more.
func (s *Schedule) beyond() uint32 {
	length := s.o.Length.Seconds()
	if s.o.Arrivals == OnOff {
		length += (s.o.On + s.o.Off).Seconds() // which the first burst may be ahead
	}
	return uint32(min(float64(length*s.o.Rate)+2, MaxMessages))
}

// at is the offset of message k, computed from k itself, so that rounding never
// adds up. The explicit conversions keep the compiler from fusing a
// multiplication and an addition into one rounding, which some architectures
// would do and others not.
func (s *Schedule) at(k uint32) int64 {
	spread := int64(float64(float64(k) * s.gap))
	if s.o.Arrivals != OnOff {
		return s.phase + spread
	}
	on, cycle := int64(s.o.On), int64(s.o.On+s.o.Off)
	active := s.startActive() + spread
	return active/on*cycle + active%on - s.phase
}

// startActive is the active time at which an on-off device's first message
// lies: what is over of its first burst when load starts, plus a share of a gap
// that follows from the phase too, so that devices in their pause do not all
// begin their burst in step.
func (s *Schedule) startActive() int64 {
	share := float64(s.phase) / float64(s.o.On+s.o.Off)
	// The fraction of a scaled phase is as good as a second random number.
	_, fraction := math.Modf(float64(share * 65537))
	return min(s.phase, int64(s.o.On)) + int64(float64(fraction*s.gap))
}

// uniform is a random number of nanoseconds in [0, below).
func (s *Schedule) uniform(below float64) int64 {
	return int64(float64(fraction(s.random.Uint64()) * below))
}

// exponential is a random gap with the schedule's mean. It uses von Neumann's
// method, which only compares random integers: math.Log and rand.ExpFloat64 may
// differ in the last bit between architectures.
func (s *Schedule) exponential() int64 {
	for whole := 0.0; ; whole++ {
		first := s.random.Uint64()
		last, accept := first, true
		for {
			u := s.random.Uint64()
			if u >= last {
				break
			}
			last, accept = u, !accept
		}
		if accept {
			x := float64(whole + fraction(first))
			return int64(math.Round(float64(x * s.gap)))
		}
	}
}

// fraction turns 64 random bits into a number in [0, 1).
func fraction(u uint64) float64 { return float64(float64(u>>11) / (1 << 53)) }
