package measure

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	histogramVersion = 1
	// maxEncoded bounds what is decoded: every bucket of both sides at ten
	// bytes a count is below it.
	maxEncoded = 1 << 20
	// maxDecodedCount bounds the values that a decoded histogram may hold, so
	// that merging many cannot overflow.
	maxDecodedCount = 1 << 53
)

var errHistogramShort = errors.New("it ends too early")

// MarshalBinary encodes the histogram: a version byte, then variable-length
// integers: the sum's halves, minimum, maximum and clamped count, and for the
// values below and from zero the number of runs of neighbouring non-empty
// buckets, each run as the gap before it, its length and its counts. An empty
// histogram is the version byte alone. Equal histograms encode alike.
func (h *Histogram) MarshalBinary() ([]byte, error) {
	if h.Count() == 0 {
		return []byte{histogramVersion}, nil
	}
	b := append(make([]byte, 0, 256), histogramVersion)
	b = binary.AppendVarint(b, h.sumHigh)
	b = binary.AppendUvarint(b, h.sumLow)
	b = binary.AppendVarint(b, h.min)
	b = binary.AppendVarint(b, h.max)
	b = binary.AppendUvarint(b, uint64(h.clamped))
	b = h.negative.encode(b)
	return h.positive.encode(b), nil
}

func (s *side) encode(b []byte) []byte {
	type run struct{ gap, length int }
	var runs []run
	var counts []int64
	next := 0
	s.each(func(index int, n int64) bool {
		if len(runs) == 0 || index != next {
			runs = append(runs, run{gap: index - next})
		}
		runs[len(runs)-1].length++
		counts = append(counts, n)
		next = index + 1
		return true
	})
	b = binary.AppendUvarint(b, uint64(len(runs)))
	for _, r := range runs {
		b = binary.AppendUvarint(b, uint64(r.gap))
		b = binary.AppendUvarint(b, uint64(r.length))
		for range r.length {
			b = binary.AppendUvarint(b, uint64(counts[0]))
			counts = counts[1:]
		}
	}
	return b
}

// UnmarshalBinary decodes what MarshalBinary made, replacing h. Foreign bytes
// give an error, never a histogram whose counts do not add up, and cannot make
// it take more memory than a full histogram does (about 560 KB).
func (h *Histogram) UnmarshalBinary(b []byte) error {
	if len(b) > maxEncoded {
		return fmt.Errorf("histogram: %d bytes is above the limit of %d", len(b), maxEncoded)
	}
	if len(b) == 0 {
		return fmt.Errorf("histogram: %w", errHistogramShort)
	}
	if b[0] != histogramVersion {
		return fmt.Errorf("histogram: version %d is not %d: it was written by another version of bela", b[0], histogramVersion)
	}
	if len(b) == 1 {
		*h = Histogram{}
		return nil
	}
	r := varints{b: b[1:]}
	var d Histogram
	d.sumHigh, d.sumLow = r.signed(), r.unsigned()
	d.min, d.max = r.signed(), r.signed()
	clamped := r.unsigned()
	d.negative.decode(&r)
	d.positive.decode(&r)
	switch n := uint64(d.Count()); {
	case r.err != nil:
		return fmt.Errorf("histogram: %w", r.err)
	case len(r.b) != 0:
		return fmt.Errorf("histogram: %d bytes too many", len(r.b))
	case n == 0 || n > maxDecodedCount:
		return fmt.Errorf("histogram: a count of %d is not between 1 and 2^53", n)
	case d.min > d.max:
		return fmt.Errorf("histogram: minimum %d is above maximum %d", d.min, d.max)
	case clamped > n:
		return fmt.Errorf("histogram: %d clamped of %d values", clamped, n)
	}
	d.clamped = int64(clamped)
	*h = d
	return nil
}

func (s *side) decode(r *varints) {
	next := uint64(0)
	for range r.upTo(buckets) {
		gap, length := r.upTo(buckets), r.upTo(buckets)
		if r.err == nil && (length == 0 || next+gap+length > buckets) {
			r.err = fmt.Errorf("a run of %d buckets after %d does not fit", length, next+gap)
		}
		next += gap
		for range length {
			n := r.upTo(maxDecodedCount)
			if r.err == nil && n == 0 {
				r.err = errors.New("a bucket in a run is empty")
			}
			if r.err != nil {
				return
			}
			s.add(int(next), int64(n))
			next++
		}
		if r.err != nil {
			return
		}
	}
}

// varints reads variable-length integers; after the first error it yields 0.
type varints struct {
	b   []byte
	err error
}

func (r *varints) unsigned() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.err = errHistogramShort
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *varints) signed() int64 {
	u := r.unsigned() // zigzag, as binary.AppendVarint writes it
	return int64(u>>1) ^ -int64(u&1)
}

func (r *varints) upTo(limit uint64) uint64 {
	v := r.unsigned()
	if v > limit {
		r.err = fmt.Errorf("%d is above the limit of %d", v, limit)
		return 0
	}
	return v
}

// MarshalText encodes the histogram as base64 of its binary form; JSON uses it.
func (h *Histogram) MarshalText() ([]byte, error) {
	b, err := h.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText decodes what MarshalText made.
func (h *Histogram) UnmarshalText(text []byte) error {
	if base64.StdEncoding.DecodedLen(len(text)) > maxEncoded+2 {
		return fmt.Errorf("histogram: %d characters is above the limit", len(text))
	}
	b, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	return h.UnmarshalBinary(b)
}
