package store

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"bela/measure"
)

// sampleClocks are those of two nodes, one years off and one without probes.
func sampleClocks() []NodeClock {
	const t = int64(1_800_000_000_123_456_789)
	far := t - 20*365*86400*1_000_000_000
	return []NodeClock{
		{
			Node: "iot-1", Applied: Axis{At: far, Offset: t - far, Drift: 50e-6},
			Fit: measure.ClockFit{Epoch: far, Offset: t - far, Drift: 49e-6, Error: 4321, RoundTrip: 8642, Samples: 2, Steps: []measure.ClockStep{{After: far, Before: far + 9, By: 40e6}}},
			Probes: []measure.ProbeSample{
				{T1: t, T2: far + 4000, T3: far + 5000, T4: t + 9001},
				{T1: t + 1e9, T2: far + 1e9 + 4001, T3: far + 1e9 + 5003, T4: t + 1e9 + 9007},
			},
		},
		{Node: "customer-1"},
	}
}

// Whoever doubts a cell's clocks fits the probes again; a nanosecond lost on the
// way to the disk and back would make another fit of them.
func TestClocksRoundTrip(t *testing.T) {
	want := sampleClocks()
	b, err := encodeClocks(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeClocks(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("came back as %+v, %v; want %+v", got, err, want)
	}
}

// Runs of earlier versions have no such file, and must stay readable; a damaged
// one must be named.
func TestClocksMissingOrDamaged(t *testing.T) {
	r := &Reader{Dir: t.TempDir()}
	if clocks, err := r.Clocks(1); clocks != nil || err != nil {
		t.Errorf("without a file: %v, %v", clocks, err)
	}
	path := filepath.Join(r.CellDir(1), clocksFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("no clock"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Clocks(1); err == nil || !reflect.DeepEqual(reflect.TypeOf(err), reflect.TypeFor[*CorruptError]()) {
		t.Errorf("a damaged file: %v, want a *CorruptError", err)
	}
}

// Files come from other machines and other hands: reading one must not panic,
// and what is read must be what is written again.
func FuzzDecodeClocks(f *testing.F) {
	for _, clocks := range [][]NodeClock{nil, sampleClocks()} {
		b, err := encodeClocks(clocks)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		clocks, err := decodeClocks(b)
		if err != nil {
			return
		}
		again, err := encodeClocks(clocks)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeClocks(again); err != nil || !reflect.DeepEqual(back, clocks) {
			t.Errorf("%+v came back as %+v, %v", clocks, back, err)
		}
	})
}
