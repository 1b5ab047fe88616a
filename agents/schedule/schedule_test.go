package schedule

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func mustNew(t testing.TB, o Options, device int) *Schedule {
	t.Helper()
	s, err := New(o, device)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// offsets are all messages of a device.
func offsets(t testing.TB, o Options, device int) []time.Duration {
	s := mustNew(t, o, device)
	var all []time.Duration
	for {
		k, offset, ok := s.Next()
		if !ok {
			return all
		}
		if int(k) != len(all) {
			t.Fatalf("message %d has sequence number %d", len(all), k)
		}
		all = append(all, offset)
	}
}

var kinds = []Options{
	{Seed: 20201114, Arrivals: Constant, Rate: 3},
	{Seed: 20201114, Arrivals: Poisson, Rate: 3},
	{Seed: 20201114, Arrivals: OnOff, Rate: 3, On: 2 * time.Second, Off: 5 * time.Second},
}

// The seed must give the same nanoseconds on every machine and in every version:
// else a cell cannot be repeated.
func TestGolden(t *testing.T) {
	var b strings.Builder
	for _, o := range kinds {
		o.Length = 3 * time.Second
		for device := range 4 {
			fmt.Fprintf(&b, "%s device %d:", o.Arrivals, device)
			for _, offset := range offsets(t, o, device) {
				fmt.Fprintf(&b, " %d", offset)
			}
			b.WriteString("\n")
		}
	}
	file := filepath.Join("testdata", "first.golden")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the schedules changed; have\n%swant\n%s", b.String(), want)
	}
}

// Each process must offer the rate that was asked for, in order, within the
// length: else the offered load is not what the report says.
func TestMeanRateAndOrder(t *testing.T) {
	for _, o := range kinds {
		o.Length = 700 * time.Second // 100 whole on-off cycles
		total := 0
		for device := range 20 {
			all := offsets(t, o, device)
			for k, offset := range all {
				if offset < 0 || offset >= o.Length || k > 0 && offset < all[k-1] {
					t.Fatalf("%s device %d: message %d at %v is out of order or range", o.Arrivals, device, k, offset)
				}
			}
			total += len(all)
		}
		want := 20 * 3 * 700.0
		// A Poisson count's standard deviation is its root; the others are off by
		// at most one message a device.
		if tolerance := 5 * math.Sqrt(want); math.Abs(float64(total)-want) > tolerance {
			t.Errorf("%s: %d messages, want %.0f ± %.0f", o.Arrivals, total, want, tolerance)
		}
		if o.Arrivals != Poisson && math.Abs(float64(total)-want) > 20 {
			t.Errorf("%s: %d messages, want %.0f ± 20", o.Arrivals, total, want)
		}
	}
}

// Constant arrivals must not drift: after a day at an awkward rate, message k is
// still where k says.
func TestConstantDoesNotDrift(t *testing.T) {
	s := mustNew(t, Options{Arrivals: Constant, Rate: 7.3, Length: 24 * time.Hour}, 0)
	const k = 600_000 // 82191.78 s
	got := s.at(k) - s.at(0)
	exact := int64(math.Floor(k * 1e9 / 7.3))
	if d := got - exact; d < -1 || d > 1 {
		t.Errorf("message %d is %d ns off", k, d)
	}
}

// Devices must be spread over the interval: in step they would be a burst that
// nobody asked for. Chi-square over 20 bins; 43.8 is its 99.9th percentile.
func TestPhaseIsUniform(t *testing.T) {
	for _, o := range kinds {
		o.Length = 100 * time.Second
		const devices, bins = 4000, 20
		period := float64(time.Second) / o.Rate
		if o.Arrivals == OnOff {
			period *= float64(o.On) / float64(o.On+o.Off) // within a burst
		}
		var n [bins]float64
		for device := range devices {
			_, offset, _ := mustNew(t, o, device).Next()
			phase := float64(offset) / period
			if o.Arrivals == Poisson {
				phase = -math.Expm1(-phase) // exponential to uniform
			}
			n[int(math.Mod(phase, 1)*bins)]++
		}
		chi := 0.0
		for _, c := range n {
			chi += (c - devices/bins) * (c - devices/bins) / (devices / bins)
		}
		if chi > 43.8 {
			t.Errorf("%s: phases are not uniform: chi-square %.1f, %v", o.Arrivals, chi, n)
		}
	}
}

// Poisson gaps must be exponential, not merely of the right mean: queues behave
// differently otherwise. The deciles of 200000 gaps hold 10 % each.
func TestPoissonGaps(t *testing.T) {
	all := offsets(t, Options{Seed: 1, Arrivals: Poisson, Rate: 1000, Length: 200 * time.Second}, 5)
	var deciles [10]int
	for k := 1; k < len(all); k++ {
		gap := (all[k] - all[k-1]).Seconds() * 1000
		deciles[min(int(-math.Expm1(-gap)*10), 9)]++
	}
	for i, n := range deciles {
		share := float64(n) / float64(len(all))
		if math.Abs(share-0.1) > 0.004 { // 6 standard deviations
			t.Errorf("decile %d holds %.4f of the gaps, want 0.1", i, share)
		}
	}
}

// On-off devices must be silent in their pause, and not all pause together.
func TestOnOffBursts(t *testing.T) {
	o := Options{Seed: 9, Arrivals: OnOff, Rate: 10, On: time.Second, Off: 4 * time.Second, Length: 60 * time.Second}
	var first [4]int
	for device := range 200 {
		all := offsets(t, o, device)
		pauses := 0
		for k := 1; k < len(all); k++ {
			switch gap := all[k] - all[k-1]; {
			case gap >= o.Off && gap <= o.Off+21*time.Millisecond:
				pauses++
			case gap < 19*time.Millisecond || gap > 21*time.Millisecond: // 50 msg/s in a burst
				t.Fatalf("device %d: a gap of %v is neither a burst's nor a pause", device, gap)
			}
		}
		if pauses < 11 || pauses > 12 {
			t.Errorf("device %d: %d pauses in 60 s of 5 s cycles", device, pauses)
		}
		first[min(int(all[0]/time.Second), 3)]++
	}
	// 40 devices begin within their burst, as many in each second of the pause.
	for second, want := range [4]int{80, 40, 40, 40} {
		if n := first[second]; n < want/2 || n > want*2 {
			t.Errorf("%d of 200 devices begin in second %d, want about %d: %v", n, second, want, first)
		}
	}
}

// The measured window must be what iterating finds, to the message: both books
// are cut by it.
func TestWindow(t *testing.T) {
	for _, o := range kinds {
		o.Length = 40 * time.Second
		for device := range 50 {
			all := offsets(t, o, device)
			s := mustNew(t, o, device)
			ranges := [][2]time.Duration{{0, o.Length}, {10 * time.Second, 40 * time.Second}, {10 * time.Second, 20 * time.Second},
				{0, 0}, {5 * time.Second, 5 * time.Second}, {39 * time.Second, 90 * time.Second}}
			if len(all) > 2 {
				ranges = append(ranges, [2]time.Duration{all[1], all[2]}, [2]time.Duration{all[1] + 1, all[2] + 1})
			}
			for _, r := range ranges {
				var first, count uint32
				for _, offset := range all {
					if offset < r[0] && offset < r[1] {
						first++
					} else if offset >= r[0] && offset < r[1] {
						count++
					}
				}
				gotFirst, gotCount := s.Window(r[0], r[1])
				if gotCount != count || count > 0 && gotFirst != first {
					t.Errorf("%s device %d [%v, %v): window %d+%d, want %d+%d", o.Arrivals, device, r[0], r[1], gotFirst, gotCount, first, count)
				}
			}
			if k, _, ok := s.Peek(); ok && k != 0 {
				t.Errorf("%s: Window moved the schedule to %d", o.Arrivals, k)
			}
		}
	}
}

// A device that sends less than once a minute must have a window that holds what
// it sends, down to one message a day and below: with another window its messages
// are phantoms, and a sound cell is invalid.
func TestWindowAtSlowRates(t *testing.T) {
	for _, o := range kinds {
		for _, every := range []time.Duration{time.Minute, 2 * time.Minute, time.Hour, 24 * time.Hour, 1000 * 24 * time.Hour} {
			o.Rate, o.Length = 1/every.Seconds(), 3*time.Hour
			for device := range 200 {
				all := offsets(t, o, device)
				if len(all) > 0 && all[0] < 0 {
					t.Fatalf("%s, one in %v: device %d begins at %v", o.Arrivals, every, device, all[0])
				}
				if first, count := mustNew(t, o, device).Window(0, o.Length); count != uint32(len(all)) || count > 0 && first != 0 {
					t.Fatalf("%s, one in %v: device %d sends %d messages, the window is %d+%d", o.Arrivals, every, device, len(all), first, count)
				}
			}
		}
	}
}

// What cannot be scheduled must be refused before a cell begins.
func TestCheck(t *testing.T) {
	good := Options{Arrivals: Constant, Rate: 1, Length: time.Minute}
	tests := map[string]func(*Options){
		"no rate":         func(o *Options) { o.Rate = 0 },
		"negative rate":   func(o *Options) { o.Rate = -1 },
		"slower than ns":  func(o *Options) { o.Rate = 1e-12 },
		"NaN":             func(o *Options) { o.Rate = math.NaN() },
		"infinite":        func(o *Options) { o.Rate = math.Inf(1) },
		"too many":        func(o *Options) { o.Rate, o.Length = 1e6, time.Hour },
		"unknown":         func(o *Options) { o.Arrivals = "bursty" },
		"negative length": func(o *Options) { o.Length = -1 },
		"no burst":        func(o *Options) { o.Arrivals = OnOff },
		"negative pause":  func(o *Options) { o.Arrivals, o.On, o.Off = OnOff, 1, -1 },
	}
	if err := good.Check(); err != nil {
		t.Errorf("good options: %v", err)
	}
	for name, change := range tests {
		o := good
		change(&o)
		if _, err := New(o, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, o := range kinds {
		o.Length = time.Duration(math.MaxInt64 / 4)
		b.Run(o.Arrivals, func(b *testing.B) {
			s := &Schedule{o: o}
			s.rewind()
			for b.Loop() {
				_, _, _ = s.Next()
			}
		})
	}
}
