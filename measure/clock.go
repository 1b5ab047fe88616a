package measure

import (
	"cmp"
	"errors"
	"math"
	"slices"
)

// ProbeSample is one exchange of timestamps between the controller and an
// agent, in nanoseconds: T1 the controller sends, T2 the agent receives, T3 the
// agent sends, T4 the controller receives. T1 and T4 are on the controller's
// clock, which is the testbed's time axis; T2 and T3 are on the agent's.
type ProbeSample struct {
	T1 int64 `json:"t1"`
	T2 int64 `json:"t2"`
	T3 int64 `json:"t3"`
	T4 int64 `json:"t4"`
}

// RoundTrip is the time that the exchange spent on the way, in nanoseconds.
func (s ProbeSample) RoundTrip() int64 { return (s.T4 - s.T1) - (s.T3 - s.T2) }

// plausible says whether the timestamps can be those of an exchange: in order,
// and within 70 years of the Unix epoch, so that differences do not overflow.
func (s ProbeSample) plausible() bool {
	for _, t := range []int64{s.T1, s.T2, s.T3, s.T4} {
		if t < -(1<<61) || t > 1<<61 {
			return false
		}
	}
	return s.RoundTrip() > 0 && s.T3 >= s.T2 && s.T4 >= s.T1
}

var errNoProbe = errors.New("clock fit: no probe has a positive round trip; probe the node again")

// MaxDrift bounds the rate at which two clocks part, in seconds a second: the
// largest by which Linux slews a clock (adjtimex), and well above what a
// crystal is off by.
const MaxDrift = 500e-6

// The fitted line is the best one over the probed span and this much around
// it, because a fit made before a cell serves for what follows.
const clockHorizon = 60e9

// ClockFit relates an agent's clock to the testbed's time axis:
//
//	testbed = local + Offset + Drift × (local − Epoch)
//
// It holds for the last stretch of samples that one straight line explains;
// At looks the right stretch up.
type ClockFit struct {
	Epoch  int64   `json:"epoch_ns"`  // local time at which Offset holds
	Offset int64   `json:"offset_ns"` // testbed minus local
	Drift  float64 `json:"drift"`     // seconds a second
	// Error bounds the error of the offset over the probed span, in nanoseconds.
	Error int64 `json:"error_ns"`
	// RoundTrip is the smallest round trip of all samples, in nanoseconds.
	RoundTrip int64 `json:"round_trip_ns"`
	// Samples were used; Rejected were not, because their timestamps are
	// impossible: a round trip of nothing or less, or times out of order.
	Samples  int `json:"samples"`
	Rejected int `json:"rejected,omitempty"`
	// Steps are sudden jumps of the agent's clock against the controller's.
	Steps []ClockStep `json:"steps,omitempty"`

	segments []segment // by time, never empty in a fit
}

// ClockStep is a jump of a clock, somewhere between two probes.
type ClockStep struct {
	After  int64 `json:"after_ns"`  // local time of the last probe before it
	Before int64 `json:"before_ns"` // local time of the first probe after it
	By     int64 `json:"by_ns"`     // how much the offset grew
}

// segment is a stretch of samples that one line explains. Times are relative to
// epoch and offsets to base, so that floats keep nanoseconds.
type segment struct {
	of          []ProbeSample
	epoch, base int64
	from, to    float64 // of the samples, relative to epoch
	began       int64   // testbed time when the first sample was surely over
	ended       int64   // and when the last had surely not begun
	roundTrip   int64   // the smallest
	wanders     bool    // it ended although the clock did not step
	line        line
	corners     []line // of the set of all lines that the samples allow
}

// line is offset(t) = a + b·t.
type line struct{ a, b float64 }

func (l line) at(t float64) float64 { return l.a + l.b*t }

// FitClock fits offset and drift to samples, in any order.
//
// A message is never received before it is sent. Each sample therefore says
// that the offset at T2 is at least T1−T2 and at T3 at most T4−T3: two
// half-planes in the space of (offset, drift), as in Moon, Skelly and Towsley,
// "Estimation and removal of clock skew from network delay measurements"
// (INFOCOM 1999), here from both sides. All lines in the intersection explain
// the samples; queueing only loosens single bounds, so the smallest round trips
// decide by themselves. The fit is the middle of what is allowed at both ends
// of the span, and its error bound is the distance to the farthest allowed
// line, which is about half the smallest round trip and never stated below it;
// the true offset lies within it whatever the asymmetry, as long as the clocks
// part at a constant rate of at most MaxDrift.
//
// Where no single line is allowed, the samples are cut into stretches that have
// one each. A jump between two of them that is larger than their errors is a
// step; a smaller one is a clock that wanders.
//
// An error says that no sample was usable.
func FitClock(samples []ProbeSample) (ClockFit, error) {
	// By the controller's clock, which does not jump.
	samples = slices.SortedStableFunc(slices.Values(samples), func(a, b ProbeSample) int { return cmp.Compare(a.T1, b.T1) })
	return FitClockPair(samples)
}

// FitClockPair is FitClock for two clocks either of which may jump: T1 and T4
// are of one node, T2 and T3 of another, and "testbed" is the former. Only the
// order in which the samples were taken is above the clocks, so they must be in
// that order.
func FitClockPair(samples []ProbeSample) (ClockFit, error) {
	var fit ClockFit
	usable := make([]ProbeSample, 0, len(samples))
	for _, s := range samples {
		if !s.plausible() {
			fit.Rejected++
			continue
		}
		usable = append(usable, s)
	}
	if len(usable) == 0 {
		return fit, errNoProbe
	}
	fit.Samples = len(usable)
	fit.RoundTrip = usable[0].RoundTrip()
	for _, s := range usable {
		fit.RoundTrip = min(fit.RoundTrip, s.RoundTrip())
	}
	for rest := usable; len(rest) > 0; {
		stretch, n := fitSegment(rest)
		for n > 0 && n < len(stretch.of) {
			stretch, n = fitSegment(rest[:n]) // in the measures of its own span
		}
		if n == 0 { // beyond what floats resolve
			fit.Rejected, fit.Samples = fit.Rejected+1, fit.Samples-1
			rest = rest[1:]
			continue
		}
		stretch.of = nil
		fit.segments = append(fit.segments, stretch)
		rest = rest[n:]
	}
	if len(fit.segments) == 0 {
		return ClockFit{Rejected: fit.Rejected}, errNoProbe
	}
	fit.findSteps()
	last := &fit.segments[len(fit.segments)-1]
	fit.Epoch = last.epoch
	fit.Offset = last.base + int64(math.Round(last.line.a))
	fit.Drift = last.line.b
	for i := range fit.segments {
		s := &fit.segments[i]
		fit.Error = max(fit.Error, s.error(s.from), s.error(s.to))
	}
	return fit, nil
}

// fitSegment finds the lines that the first n samples allow, where n is as many
// as any line explains. The segment is finished only where that is all of them.
func fitSegment(samples []ProbeSample) (s segment, n int) {
	first, last := samples[0], samples[len(samples)-1]
	s = segment{
		of: samples, epoch: first.T2 + (last.T3-first.T2)/2, base: first.T1 - first.T2,
		began: first.T4, ended: last.T1, roundTrip: first.RoundTrip(),
	}
	// Drift is scaled by the span, so that both coordinates are nanoseconds.
	scale := math.Max(math.Abs(float64(last.T3-first.T2)), 1e6)
	bound := MaxDrift * scale
	var widest float64
	for _, p := range samples {
		widest = math.Max(widest, math.Abs(float64(p.T1-p.T2-s.base)))
		widest = math.Max(widest, math.Abs(float64(p.T4-p.T3-s.base)))
	}
	widest = 2*widest + bound + 1
	corners := []line{{-widest, -bound}, {widest, -bound}, {widest, bound}, {-widest, bound}}
	var spare []line
	s.from, s.to = math.Inf(1), math.Inf(-1)
	for n, p := range samples {
		s.roundTrip = min(s.roundTrip, p.RoundTrip())
		received, sent := float64(p.T2-s.epoch), float64(p.T3-s.epoch)
		s.from, s.to = math.Min(s.from, received), math.Max(s.to, sent)
		spare = clip(spare, corners, 1, received/scale, float64(p.T1-p.T2-s.base))
		corners = clip(corners, spare, -1, -sent/scale, -float64(p.T4-p.T3-s.base))
		if len(corners) == 0 {
			return s, n
		}
	}
	for i := range corners {
		corners[i].b /= scale
	}
	s.corners = corners
	left, right := s.from-clockHorizon, s.to+clockHorizon
	atLeft, atRight := s.middle(left), s.middle(right)
	s.line.b = (atRight - atLeft) / (right - left)
	s.line.a = atLeft - s.line.b*left
	return s, len(samples)
}

// clip keeps the part of a convex polygon where x·a + y·b ≥ least, in the
// memory of kept.
func clip(kept, corners []line, x, y, least float64) []line {
	inside := func(c line) float64 { return x*c.a + y*c.b - least }
	kept = kept[:0]
	for i, c := range corners {
		before := corners[(i+len(corners)-1)%len(corners)]
		was, is := inside(before), inside(c)
		if (was < 0) != (is < 0) {
			f := was / (was - is)
			kept = append(kept, line{before.a + f*(c.a-before.a), before.b + f*(c.b-before.b)})
		}
		if is >= 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

// allowed is the range of offsets that the samples allow at a time.
func (s *segment) allowed(t float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, c := range s.corners {
		low, high = math.Min(low, c.at(t)), math.Max(high, c.at(t))
	}
	return low, high
}

func (s *segment) middle(t float64) float64 {
	low, high := s.allowed(t)
	return low + (high-low)/2
}

// error is how far the true offset can be from the line at a time, rounded up.
// It is never below half the smallest round trip, whatever different probes
// say together; for a clock that wanders it is not below the whole, because the
// bends inside the stretch are not seen.
func (s *segment) error(t float64) int64 {
	low, high := s.allowed(t)
	least := s.roundTrip / 2
	if s.wanders {
		least = s.roundTrip
	}
	return max(least, int64(math.Ceil(math.Max(high-s.line.at(t), s.line.at(t)-low))))
}

// first and last are the local times of its first and last sample.
func (s *segment) first() int64 { return s.epoch + int64(s.from) }
func (s *segment) last() int64  { return s.epoch + int64(s.to) }

// offset is testbed minus local at a local time, and the bound of its error.
func (s *segment) offset(local int64) (offset, err int64) {
	t := float64(local - s.epoch)
	return s.base + int64(math.Round(s.line.at(t))), s.error(t)
}

// findSteps compares neighbouring stretches between their probes.
func (f *ClockFit) findSteps() {
	for i := 1; i < len(f.segments); i++ {
		a, b := &f.segments[i-1], &f.segments[i]
		after, before := a.last(), b.first()
		offsetA, errorA := a.offset(after)
		offsetB, errorB := b.offset(before)
		// Between the two probes the clocks may also have parted steadily.
		if by := offsetB - offsetA; float64(abs(by)) > float64(errorA+errorB)+MaxDrift*math.Abs(float64(before-after)) {
			f.Steps = append(f.Steps, ClockStep{After: after, Before: before, By: by})
		} else {
			a.wanders, b.wanders = true, true
		}
	}
}

// At is the testbed's time minus local at a local time, and a bound of its
// error, both in nanoseconds. The error grows outside the probed span. Between
// two stretches it covers both, because nothing says when between two probes
// the clock changed.
func (f ClockFit) At(local int64) (offset, err int64) {
	if len(f.segments) == 0 {
		// Decoded from JSON: the line alone is known.
		return f.Offset + int64(math.Round(f.Drift*float64(local-f.Epoch))), f.Error
	}
	i := 0
	for i+1 < len(f.segments) && local >= f.segments[i+1].first() {
		i++
	}
	offset, err = f.segments[i].offset(local)
	for j := 1; j < len(f.segments); j++ {
		// The clock changed somewhere in the gap between the two stretches.
		// Local times that either may have shown there get an error that covers
		// both; after a jump back these are many.
		a, b := &f.segments[j-1], &f.segments[j]
		// How long it lasted is known from the clock that did not jump.
		gap := int64(float64(max(b.began-a.ended, b.first()-a.last())) * (1 + MaxDrift))
		if local < min(a.last(), b.first()-gap) || local > max(a.last()+gap, b.first()) {
			continue
		}
		for _, s := range []*segment{a, b} {
			other, otherErr := s.offset(local)
			err = max(err, abs(other-offset)+otherErr)
		}
	}
	return offset, err
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}
