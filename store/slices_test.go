package store

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"bela/measure"
)

func sampleSlices() measure.LatencyBooks {
	values := func(all ...int64) *measure.Histogram {
		h := new(measure.Histogram)
		for _, v := range all {
			h.Record(v)
		}
		return h
	}
	return measure.LatencyBooks{
		Start: 1_800_000_000e9, From: 1_800_000_030e9, To: 1_800_000_330e9, ServiceSeconds: 10, Sources: []string{"iot-1", "iot-2"},
		Nodes: []measure.NodeLatencies{
			{
				Node:    "customer-1",
				Latency: []measure.LatencySlice{{Second: 0, Source: 1, Latency: values(1e6, -5)}, {Second: 7, Latency: values(3e9)}},
				Service: []measure.LatencySlice{{Second: 30, Source: 1, Latency: values(4)}},
			},
			{Node: "customer-2"},
		},
	}
}

// Whoever corrects a cell's latencies again needs every slice as it was.
func TestSlicesRoundTrip(t *testing.T) {
	want := sampleSlices()
	r := &Reader{Dir: t.TempDir()}
	if got, err := r.Slices(1); got != nil || err != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
	b, err := encodeSlices(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.CellDir(1), slicesFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := r.Slices(1)
	if err != nil || len(got.Nodes) != 2 || len(got.Nodes[0].Latency) != 2 {
		t.Fatalf("came back as %+v, %v", got, err)
	}
	again, err := encodeSlices(*got)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("what came back is written differently: %+v, %v", got, err)
	}
	if !reflect.DeepEqual(got.Sources, want.Sources) || got.From != want.From || got.Nodes[1].Node != "customer-2" {
		t.Errorf("came back as %+v", got)
	}
	if err := os.WriteFile(path, b[:len(b)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Slices(1); err == nil {
		t.Error("half a file is read as a whole one")
	}
}

// Files come from other machines and other hands: reading one must not panic.
func FuzzDecodeSlices(f *testing.F) {
	b, err := encodeSlices(sampleSlices())
	if err != nil {
		f.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		f.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(z); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(text)
		_ = z.Close()
		b, err := decodeSlices(&packed)
		if err != nil {
			return
		}
		if _, err := encodeSlices(*b); err != nil {
			t.Fatal(err)
		}
		measure.RecomputeLatencies(nil, nil, *b)
	})
}
