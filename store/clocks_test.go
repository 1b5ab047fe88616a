package store

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"bela/measure"
)

// sampleClocks are those of two nodes, one years off and one without probes.
func sampleClocks() []measure.NodeClock {
	const t = int64(1_800_000_000_123_456_789)
	far := t - 20*365*86400*1_000_000_000
	return []measure.NodeClock{
		{
			Node: "iot-1", Applied: measure.TimeAxis{At: far, Offset: t - far, Drift: 50e-6},
			Fit: measure.ClockFit{Epoch: far, Offset: t - far, Drift: 49e-6, Error: 4321, RoundTrip: 8642, Samples: 2, Steps: []measure.ClockStep{{After: far, Before: far + 9, By: 40e6}}},
			Probes: []measure.ProbeSample{
				{T1: t, T2: far + 4000, T3: far + 5000, T4: t + 9001},
				{T1: t + 1e9, T2: far + 1e9 + 4001, T3: far + 1e9 + 5003, T4: t + 1e9 + 9007},
			},
		},
		{Node: "customer-1"},
	}
}

// samplePairs are one pair of nodes that reached each other, and one that did not.
func samplePairs() []measure.PairClock {
	const t = int64(1_800_000_000_123_456_789)
	return []measure.PairClock{
		{
			Device: "iot-1", Customer: "customer-1",
			Fit:    measure.ClockFit{Epoch: t, Offset: -200e6, Drift: 1e-6, Error: 21_000, RoundTrip: 42_000, Samples: 1},
			Probes: []measure.ProbeSample{{T1: t - 200e6, T2: t + 20_000, T3: t + 21_000, T4: t - 200e6 + 43_000}},
		},
		{Device: "iot-2", Customer: "customer-1"},
	}
}

// Whoever doubts a cell's clocks fits the probes again; a nanosecond lost on the
// way to the disk and back would make another fit of them.
func TestClocksRoundTrip(t *testing.T) {
	want := sampleClocks()
	for _, wantPairs := range [][]measure.PairClock{nil, samplePairs()} {
		b, err := encodeClocks(want, wantPairs)
		if err != nil {
			t.Fatal(err)
		}
		got, pairs, err := decodeClocks(b)
		if err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(pairs, wantPairs) {
			t.Errorf("came back as %+v, %+v, %v; want %+v, %+v", got, pairs, err, want, wantPairs)
		}
	}
}

// Runs of earlier versions have no pairs in the file: it must be read as it was.
func TestClocksOfAnEarlierVersion(t *testing.T) {
	const old = `{"nodes":[{"node":"iot-1","applied":{"at_ns":5,"offset_ns":7,"drift":0.5},` +
		`"fit":{"epoch_ns":5,"offset_ns":6,"drift":0,"error_ns":9,"round_trip_ns":18,"samples":1},"base_ns":100,"probes":[[0,1,2,3]]}]}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(old))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	want := []measure.NodeClock{{
		Node: "iot-1", Applied: measure.TimeAxis{At: 5, Offset: 7, Drift: 0.5},
		Fit:    measure.ClockFit{Epoch: 5, Offset: 6, Error: 9, RoundTrip: 18, Samples: 1},
		Probes: []measure.ProbeSample{{T1: 100, T2: 101, T3: 102, T4: 103}},
	}}
	if got, pairs, err := decodeClocks(packed.Bytes()); err != nil || pairs != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %+v, %v; want %+v", got, pairs, err, want)
	}
}

// Runs of earlier versions may have no such file, and must stay readable; a damaged
// one must be named.
func TestClocksMissingOrDamaged(t *testing.T) {
	r := &Reader{Dir: t.TempDir()}
	if clocks, _, err := r.Clocks(1); clocks != nil || err != nil {
		t.Errorf("without a file: %v, %v", clocks, err)
	}
	path := filepath.Join(r.CellDir(1), clocksFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("no clock"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Clocks(1); err == nil || !reflect.DeepEqual(reflect.TypeOf(err), reflect.TypeFor[*CorruptError]()) {
		t.Errorf("a damaged file: %v, want a *CorruptError", err)
	}
}

// Files come from other machines and other hands: reading one must not panic,
// and what is read must be what is written again.
func FuzzDecodeClocks(f *testing.F) {
	for _, clocks := range [][]measure.NodeClock{nil, sampleClocks()} {
		b, err := encodeClocks(clocks, samplePairs())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		clocks, pairs, err := decodeClocks(b)
		if err != nil {
			return
		}
		again, err := encodeClocks(clocks, pairs)
		if err != nil {
			t.Fatal(err)
		}
		if back, backPairs, err := decodeClocks(again); err != nil || !reflect.DeepEqual(back, clocks) || !reflect.DeepEqual(backPairs, pairs) {
			t.Errorf("%+v, %+v came back as %+v, %+v, %v", clocks, pairs, back, backPairs, err)
		}
	})
}
