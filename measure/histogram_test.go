package measure

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// relativeError is the bound that the type promises, with the half unit by
// which the middle of integers can be off a whole number.
func relativeError(v float64) float64 { return math.Abs(v)/2048 + 0.5 }

// samples draws values of very different scales and both signs.
func samples(r *rand.Rand, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		v := int64(math.Exp(r.Float64() * 29)) // up to 1.1 h
		if r.IntN(4) == 0 {
			v = -v
		}
		out[i] = v
	}
	return out
}

func record(values []int64) *Histogram {
	h := &Histogram{}
	for _, v := range values {
		h.Record(v)
	}
	return h
}

func encoded(t *testing.T, h *Histogram) string {
	t.Helper()
	b, err := h.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// If buckets had gaps or overlapped, or a middle lay outside its bucket, some
// latencies would be reported at the wrong size.
func TestBucketsAreContiguousAndNarrow(t *testing.T) {
	previous := -1
	for _, step := range []uint64{1, 2, 3, 1021} {
		for m := uint64(0); m < 1<<rangeBits; m += step + m/4096 {
			index, clamped := bucketOf(m)
			if clamped {
				t.Fatalf("%d is inside the range and was clamped", m)
			}
			if step == 1 && index != previous && index != previous+1 {
				t.Fatalf("bucket of %d is %d, after %d", m, index, previous)
			}
			previous = index
			if off := math.Abs(middleOf(index) - float64(m)); off > float64(m)/2048 {
				t.Fatalf("middle of the bucket of %d is off by %g", m, off)
			}
		}
	}
	if last, clamped := bucketOf(1<<rangeBits - 1); last != buckets-1 || clamped {
		t.Fatalf("the largest resolved magnitude is in bucket %d (clamped %v), not the last, %d", last, clamped, buckets-1)
	}
	if _, clamped := bucketOf(1 << rangeBits); !clamped {
		t.Fatal("2^43 ns is beyond the range and was not clamped")
	}
}

// The quantiles in every report come from here: they must be those of the
// sorted values within the stated error, and the moments exactly.
func TestQuantilesAgainstSortedValues(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		values := samples(r, 1+r.IntN(5000))
		h := record(values)
		slices.Sort(values)
		n := len(values)
		for _, q := range []float64{0, 0.001, 0.05, 0.25, 0.5, 0.95, 0.99, 0.999, 1, r.Float64()} {
			rank := min(max(int(math.Ceil(q*float64(n))), 1), n)
			want := float64(values[rank-1])
			got, ok := h.Quantile(q)
			if !ok || math.Abs(got-want) > relativeError(want) {
				t.Fatalf("seed %d: quantile %g of %d values is %g, want %g", seed, q, n, got, want)
			}
		}
		var sum float64
		negative := int64(0)
		for _, v := range values {
			sum += float64(v)
			if v < 0 {
				negative++
			}
		}
		low, _ := h.Min()
		high, _ := h.Max()
		mean, _ := h.Mean()
		if low != values[0] || high != values[n-1] || h.Count() != int64(n) || h.Negative() != negative {
			t.Fatalf("seed %d: min %d max %d count %d negative %d", seed, low, high, h.Count(), h.Negative())
		}
		if math.Abs(mean-sum/float64(n)) > 1+math.Abs(mean)*1e-9 {
			t.Fatalf("seed %d: mean %g, want %g", seed, mean, sum/float64(n))
		}
	}
}

// An independent implementation of the same idea must agree, else bela's
// latencies could not be compared with those of other tools.
func TestAgainstHdrHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	oracle := hdrhistogram.New(1, 1<<42, 3)
	var h Histogram
	for range 200_000 {
		v := int64(math.Exp(10 + r.NormFloat64()*3))
		if err := oracle.RecordValue(v); err != nil {
			t.Fatal(err)
		}
		h.Record(v)
	}
	for _, q := range []float64{1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99} {
		want := float64(oracle.ValueAtQuantile(q)) // the upper end of its bucket
		got, _ := h.Quantile(q / 100)
		if math.Abs(got-want) > want/1024+1 {
			t.Errorf("p%g: %g, hdrhistogram-go has %g", q, got, want)
		}
	}
}

// Agents record apart and the controller merges: any split of the values over
// any number of histograms must give the same bytes as one.
func TestMergeOfAnySplitEqualsRecordingAll(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		values := append(samples(r, 2000), 0, math.MaxInt64, math.MinInt64, 1<<rangeBits)
		parts := make([]Histogram, 1+r.IntN(9))
		for _, v := range values {
			parts[r.IntN(len(parts))].Record(v)
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var merged Histogram
		for i := range parts {
			merged.Merge(&parts[i])
		}
		merged.Merge(nil)
		if got, want := encoded(t, &merged), encoded(t, record(values)); got != want {
			t.Fatalf("seed %d: merged %s\nrecorded %s", seed, got, want)
		}
		if merged.Clamped() != 3 || merged.Count() != int64(len(values)) {
			t.Fatalf("seed %d: %d clamped of %d", seed, merged.Clamped(), merged.Count())
		}
	}
}

// RecordN stands for many equal messages; a wrong sum would show as a wrong mean.
func TestRecordNEqualsRecordingNTimes(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 12345678, -987654321, math.MaxInt64, math.MinInt64} {
		var many, once Histogram
		for range 1000 {
			many.Record(v)
		}
		once.RecordN(v, 1000)
		once.RecordN(v, 0)
		once.RecordN(v, -5)
		if a, b := encoded(t, &many), encoded(t, &once); a != b {
			t.Errorf("%d: %s, want %s", v, b, a)
		}
		if mean, _ := once.Mean(); mean != float64(v) {
			t.Errorf("mean of 1000 × %d is %g", v, mean)
		}
	}
}

// Histograms travel from agents and into the run directory; what comes back
// must be what was recorded.
func TestEncodingRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, values := range [][]int64{nil, {0}, {-1}, {math.MinInt64, math.MaxInt64}, samples(r, 1), samples(r, 10_000)} {
		h := record(values)
		js, err := json.Marshal(LatencySlice{Second: 1, Latency: h})
		if err != nil {
			t.Fatal(err)
		}
		var back LatencySlice
		if err := json.Unmarshal(js, &back); err != nil {
			t.Fatal(err)
		}
		if encoded(t, back.Latency) != encoded(t, h) || back.Latency.Count() != h.Count() || back.Latency.Negative() != h.Negative() {
			t.Errorf("%d values came back as %d", len(values), back.Latency.Count())
		}
	}
}

// A second's latencies on one machine must stay small on the wire, for there
// are thousands of such slices.
func TestEncodingIsCompact(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	var h Histogram
	for range 1000 {
		h.Record(int64(math.Exp(13.5 + r.NormFloat64()*0.3))) // about 0.7 ms
	}
	b, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 2500 {
		t.Errorf("1000 latencies take %d bytes", len(b))
	}
}

// The correction for the clocks moves histograms after the fact: counts must
// survive, values must move, and negative results must be kept as such.
func TestShifted(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 5))
		values := samples(r, 2000)
		by := samples(r, 1)[0]
		h := record(values)
		before := encoded(t, h)
		moved := h.Shifted(by)
		if encoded(t, h) != before {
			t.Fatal("Shifted changed its receiver")
		}
		slices.Sort(values)
		low, _ := moved.Min()
		high, _ := moved.Max()
		was, _ := h.Mean()
		mean, _ := moved.Mean()
		if low != values[0]+by || high != values[len(values)-1]+by || moved.Count() != h.Count() {
			t.Fatalf("seed %d: min %d max %d count %d", seed, low, high, moved.Count())
		}
		if math.Abs(mean-was-float64(by)) > 1+1e-9*(math.Abs(was)+math.Abs(mean)) {
			t.Fatalf("seed %d: mean went from %g to %g by %d", seed, was, mean, by)
		}
		for _, q := range []float64{0.05, 0.5, 0.95, 0.99} {
			original := values[int(math.Ceil(q*float64(len(values))))-1]
			got, _ := moved.Quantile(q)
			want := float64(original + by)
			if math.Abs(got-want) > relativeError(float64(original))+relativeError(want)+1 {
				t.Fatalf("seed %d: quantile %g moved by %d is %g, want %g", seed, q, by, got, want)
			}
		}
	}
}

// A clamped value's true size is not known: moving it into the range would
// invent one.
func TestShiftedKeepsClampedValues(t *testing.T) {
	h := record([]int64{1 << 50, -(1 << 50), 5})
	moved := h.Shifted(-1 << 20)
	if moved.Clamped() != 2 || moved.Negative() != 2 || moved.Count() != 3 {
		t.Errorf("clamped %d negative %d count %d", moved.Clamped(), moved.Negative(), moved.Count())
	}
}

// An empty histogram must read as "not taken", not as zero milliseconds.
func TestEmptyHistogramHasNoNumbers(t *testing.T) {
	for _, h := range []*Histogram{nil, {}} {
		if q := h.Quantiles(); q.Count != 0 || q.Mean != nil || q.P50 != nil || q.Max != nil {
			t.Errorf("an empty histogram reads %+v", q)
		}
		if _, ok := h.Quantile(0.5); ok {
			t.Error("an empty histogram has a median")
		}
		if _, ok := h.Mean(); ok {
			t.Error("an empty histogram has a mean")
		}
	}
	one := record([]int64{1})
	if _, ok := one.Quantile(math.NaN()); ok {
		t.Error("there is a quantile of NaN")
	}
}

// Foreign bytes reach the decoder over the network: no input may crash it,
// and what it accepts must encode and decode to itself.
func FuzzHistogramDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, n := range []int{0, 1, 50} {
		b, _ := record(samples(r, n)).MarshalBinary()
		f.Add(b)
	}
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Histogram
		if h.UnmarshalBinary(b) != nil {
			return
		}
		again, err := h.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back Histogram
		if err := back.UnmarshalBinary(again); err != nil {
			t.Fatalf("what was accepted does not come back: %v", err)
		}
		twice, _ := back.MarshalBinary()
		if string(again) != string(twice) {
			t.Fatal("encoding is not stable")
		}
		h.Quantiles()
		h.Shifted(-12345)
	})
}

// Recording happens for every message: it must not allocate once warm.
func TestRecordDoesNotAllocate(t *testing.T) {
	var h Histogram
	warm := func() {
		for v := int64(100_000); v < 200_000; v += 50 {
			h.Record(v)
		}
	}
	warm()
	if n := testing.AllocsPerRun(10, warm); n != 0 {
		t.Errorf("%g allocations a run after warm-up", n)
	}
}

var latencies = func() []int64 {
	r := rand.New(rand.NewPCG(8, 8))
	out := make([]int64, 4096)
	for i := range out {
		out[i] = int64(math.Exp(13.5 + r.NormFloat64()))
	}
	return out
}()

func BenchmarkHistogramRecord(b *testing.B) {
	b.Run("bela", func(b *testing.B) {
		var h Histogram
		b.ReportAllocs()
		for i := range b.N {
			h.Record(latencies[i&4095])
		}
	})
	b.Run("hdrhistogram-go", func(b *testing.B) {
		h := hdrhistogram.New(1, 1<<42, 3)
		b.ReportAllocs()
		for i := range b.N {
			_ = h.RecordValue(latencies[i&4095])
		}
	})
}

func BenchmarkHistogramSlices(b *testing.B) {
	b.Run("bela", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			var h Histogram
			for _, v := range latencies[:1000] {
				h.Record(v)
			}
		}
	})
	b.Run("hdrhistogram-go", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			h := hdrhistogram.New(1, 1<<42, 3)
			for _, v := range latencies[:1000] {
				_ = h.RecordValue(v)
			}
		}
	})
}
