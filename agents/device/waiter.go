package device

import "time"

// waiter lets a pacer sleep until a moment. Times are nanoseconds of a clock
// that only the waiter knows; now and until agree on it.
type waiter interface {
	// prepare is called once, by the goroutine that will wait.
	prepare()
	now() int64
	until(moment int64)
}

// timerWaiter sleeps on the runtime's timers, which wake about a millisecond
// late. It is for systems without something better.
type timerWaiter struct{ anchor time.Time }

func newTimerWaiter() *timerWaiter { return &timerWaiter{anchor: time.Now()} }

func (*timerWaiter) prepare()             {}
func (w *timerWaiter) now() int64         { return int64(time.Since(w.anchor)) }
func (w *timerWaiter) until(moment int64) { time.Sleep(time.Duration(moment - w.now())) }
