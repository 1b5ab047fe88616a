package device

import (
	"testing"
	"testing/synctest"
	"time"

	"bela/agents/clock"
	"bela/agents/protocol"
	"bela/agents/schedule"
)

// The pacer must give out every message of every device, in order of time and
// at its time on the testbed's axis, whatever the clock's error.
func TestPacerKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New(clock.Options{Offset: -time.Hour, Drift: 100e-6})
		c.Set(protocol.Clock{Offset: int64(3 * time.Hour), Drift: -50e-6, At: c.Local()})
		o := schedule.Options{Seed: 3, Arrivals: schedule.Poisson, Rate: 50, Length: 10 * time.Second}
		var schedules []*schedule.Schedule
		want := 0
		for device := range 20 {
			s, err := schedule.New(o, device)
			if err != nil {
				t.Fatal(err)
			}
			_, count := s.Window(0, o.Length)
			want += int(count)
			schedules = append(schedules, s)
		}
		at := c.Now() + int64(time.Second)
		got, last := 0, int64(0)
		next := make([]uint32, 20)
		p := newPacer(c, newTimerWaiter(), at, schedules, func(device int, sequence uint32, offset int64) {
			got++
			// The sleep is in local time: 50 ppm of at most longestNap.
			if late := c.Now() - at - offset; late < 0 || late > 3000 {
				t.Errorf("device %d message %d is %d ns late", device, sequence, late)
			}
			if offset < last || sequence != next[device] {
				t.Errorf("device %d message %d is out of order", device, sequence)
			}
			last, next[device] = offset, sequence+1
		})
		p.run()
		if got != want || p.left.Load() != 0 {
			t.Errorf("%d messages, want %d; %d devices left", got, want, p.left.Load())
		}
	})
}

// A stop must end a pacer that sleeps, soon.
func TestPacerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New(clock.Options{})
		s, err := schedule.New(schedule.Options{Arrivals: schedule.Constant, Rate: 0.001, Length: time.Hour}, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := newPacer(c, newTimerWaiter(), c.Now(), []*schedule.Schedule{s}, func(int, uint32, int64) {})
		begun := time.Now()
		time.AfterFunc(time.Second, p.stop)
		p.run()
		if d := time.Since(begun); d < time.Second || d > time.Second+longestNap {
			t.Errorf("stopped after %v", d)
		}
	})
}

// The kernel's sleep must not return early: messages would go out before their
// time. How late it is, the benchmark tells.
func TestWaiterIsNeverEarly(t *testing.T) {
	done := make(chan struct{})
	go func() { // the thread is not used again
		defer close(done)
		w := newWaiter()
		w.prepare()
		for range 20 {
			moment := w.now() + int64(2*time.Millisecond)
			w.until(moment)
			if now := w.now(); now < moment {
				t.Errorf("woke %v early", time.Duration(moment-now))
			}
		}
		begun := w.now()
		w.until(begun - int64(time.Hour))
		if d := w.now() - begun; d > int64(time.Second) {
			t.Errorf("waiting for the past took %v", time.Duration(d))
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the waiter does not return")
	}
}
