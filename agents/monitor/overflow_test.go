package monitor

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// If this failed, connections that a broker's full accept queue turned away
// would not show: a listener that never accepts, with room for one, must move
// the counters.
func TestListenOverflowShows(t *testing.T) {
	before, err := Host()
	if err != nil {
		t.Fatal(err)
	}
	l := socket(t)
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		now, err := Host()
		if err != nil {
			t.Fatal(err)
		}
		if now.ListenOverflows > before.ListenOverflows && now.ListenDrops > before.ListenDrops {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("overflows %d → %d, drops %d → %d", before.ListenOverflows, now.ListenOverflows, before.ListenDrops, now.ListenDrops)
		}
		if err := unix.Connect(socket(t), address); err != nil && err != unix.EINPROGRESS {
			t.Fatal(fmt.Errorf("connect: %w", err))
		}
	}
}

func socket(t *testing.T) int {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s) })
	return s
}
