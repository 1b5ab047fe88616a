package device

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadWaiter sleeps in the kernel on a thread of its own. The runtime's timers
// end in epoll_wait, which rounds up to whole milliseconds; clock_nanosleep to an
// absolute time wakes within tens of microseconds, once the kernel is told not
// to gather timers (the slack, 50 µs by default).
type threadWaiter struct{}

func newWaiter() waiter { return threadWaiter{} }

// prepare ties the goroutine to its thread for good: the thread has a slack that
// no other goroutine should inherit, so it ends with this one.
func (threadWaiter) prepare() {
	runtime.LockOSThread()
	// Where this is refused, waking is a little later; lateness is measured.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

func (threadWaiter) now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // cannot happen: the clock and the address are good
	}
	return t.Nano()
}

func (threadWaiter) until(moment int64) {
	t := unix.NsecToTimespec(moment)
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil)
		if !errors.Is(err, unix.EINTR) {
			return // slept, or cannot; the pacer looks at the clock again
		}
	}
}
