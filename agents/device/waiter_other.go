//go:build !linux

package device

func newWaiter() waiter { return newTimerWaiter() }
