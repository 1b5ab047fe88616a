package clock

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bela/agents/protocol"
)

// A latency is the difference of two nodes' testbed times: if an axis is applied
// wrongly, every latency is wrong by it.
func TestNowFollowsTheAxis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{})
		begun := c.Local()
		if begun != time.Now().UnixNano() {
			t.Fatalf("local time %d, the wall clock says %d", begun, time.Now().UnixNano())
		}
		tests := []struct {
			name string
			axis protocol.Clock
			wait time.Duration // before the reading
			want int64         // testbed minus local time
			why  string
		}{
			{"none", protocol.Clock{}, 0, 0, "no axis is known yet"},
			{"offset", protocol.Clock{Offset: -7}, time.Second, -7, "the offset alone"},
			{"drift", protocol.Clock{Offset: 1000, Drift: 50e-6, At: begun + 1e9}, 10 * time.Second, 1000 + 500_000,
				"50 ppm over the 10 s since At, the second before being passed"},
			{"before", protocol.Clock{Drift: 100e-6, At: begun + 31e9}, 10 * time.Second, -1_000_000,
				"100 ppm over −10 s: At lies ahead"},
		}
		for _, test := range tests {
			time.Sleep(test.wait)
			c.Set(test.axis)
			if got := c.Now() - c.Local(); got != test.want {
				t.Errorf("%s: testbed is %d ns ahead, want %d: %s", test.name, got, test.want, test.why)
			}
		}
	})
}

// Start times travel as testbed time and are waited for in local time: the two
// ways must undo each other, else a node starts late by the difference.
func TestToLocalUndoesFromLocal(t *testing.T) {
	c := New(Options{})
	at := c.Local()
	for _, axis := range []protocol.Clock{
		{}, {Offset: 123_456_789, At: at}, {Offset: -5e9, Drift: 200e-6, At: at}, {Offset: 1, Drift: -0.01, At: at - 3600e9},
	} {
		c.Set(axis)
		for _, away := range []int64{-600e9, -1, 0, 1, 999, 3600e9, 24 * 3600e9} {
			local := at + away
			if back := c.ToLocal(c.FromLocal(local)); back < local-2 || back > local+2 {
				t.Errorf("axis %+v, %d ns away: came back %d ns off", axis, away, back-local)
			}
		}
	}
}

// The clock tests plant an error and look whether it is found; it must be
// exactly what was asked for.
func TestPlantedError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Offset: 100 * time.Millisecond, Drift: 50e-6})
		if got := c.Local() - time.Now().UnixNano(); got != 100e6 {
			t.Errorf("the clock begins %d ns ahead, want 100 ms", got)
		}
		time.Sleep(100 * time.Second)
		if got := c.Local() - time.Now().UnixNano(); got != 100e6+5e6 {
			t.Errorf("after 100 s the clock is %d ns ahead, want 105 ms", got)
		}
	})
}

// The test of clock steps plants one in mid-cell; if it came at another time or
// stayed for a moment only, the verdict would be tested against nothing.
func TestPlantedStep(t *testing.T) {
	for _, by := range []time.Duration{40 * time.Millisecond, -3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := New(Options{Offset: time.Millisecond, Step: Step{By: by, After: 6 * time.Second}})
			for _, after := range []time.Duration{0, 6*time.Second - 1, 6 * time.Second, time.Hour} {
				want := time.Millisecond
				if after >= 6*time.Second {
					want += by
				}
				time.Sleep(after - time.Since(c.anchor))
				if got := time.Duration(c.Local() - time.Now().UnixNano()); got != want {
					t.Errorf("step by %v: after %v the clock is %v ahead, want %v", by, after, got, want)
				}
			}
		})
	}
}

// A slip in the variable must be named, not ignored: a test that plants nothing
// proves nothing.
func TestParseOptions(t *testing.T) {
	tests := []struct {
		text string
		want Options
		ok   bool
	}{
		{"+100ms,50ppm", Options{Offset: 100 * time.Millisecond, Drift: 50e-6}, true},
		{" -20ppm , -1s", Options{Offset: -time.Second, Drift: -20e-6}, true},
		{"5us", Options{Offset: 5 * time.Microsecond}, true},
		{"1.5ppm", Options{Drift: 1.5e-6}, true},
		{"100", Options{}, false},      // which unit?
		{"1s,2s", Options{}, false},    // twice
		{"1ppm,", Options{}, false},    // an empty part
		{"NaNppm", Options{}, false},   // not a number
		{"20000ppm", Options{}, false}, // more than any clock
		{"25h", Options{}, false},
		{"step=40ms@6s", Options{Step: Step{40 * time.Millisecond, 6 * time.Second}}, true},
		{"step=-2s@0s,1ms,1ppm", Options{time.Millisecond, 1e-6, Step{By: -2 * time.Second}}, true},
		{"step=40ms", Options{}, false},               // when?
		{"step=0s@6s", Options{}, false},              // that is none
		{"step=40ms@-1s", Options{}, false},           // before the clock was made
		{"step=25h@1s", Options{}, false},             // a slip of the pen
		{"step=1ms@1s,step=2ms@2s", Options{}, false}, // twice
		{"step=40ms@6s@7s", Options{}, false},         // twice
	}
	for _, test := range tests {
		got, err := ParseOptions(test.text)
		if (err == nil) != test.ok || got.Offset != test.want.Offset || got.Step != test.want.Step || diff(got.Drift, test.want.Drift) > 1e-15 {
			t.Errorf("%q: %+v, %v; want %+v, good %v", test.text, got, err, test.want, test.ok)
		}
	}
	_, err := FromEnvironment(func(string) string { return "soon" })
	if err == nil || !strings.Contains(err.Error(), Environment) {
		t.Errorf("the error %v does not name %s", err, Environment)
	}
	if o, err := FromEnvironment(func(string) string { return "" }); err != nil || o != (Options{}) {
		t.Errorf("unset: %+v, %v", o, err)
	}
}

func diff(a, b float64) float64 { return max(a-b, b-a) }

// Devices read the clock on every message while the controller may set it; a
// torn reading would be a wild latency.
func TestSetWhileReading(t *testing.T) {
	c := New(Options{})
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if ahead := c.FromLocal(0); ahead != 0 && ahead != 1e9 {
					t.Errorf("read an axis that was never set: %d", ahead)
					return
				}
			}
		})
	}
	for i := range 1000 {
		c.Set(protocol.Clock{Offset: int64(i%2) * 1e9})
	}
	close(stop)
	readers.Wait()
}
