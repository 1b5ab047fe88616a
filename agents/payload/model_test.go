package payload

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

var household = []Sensor{
	{Path: []string{"door"}, Kind: "bool", Probability: 0.1},
	{Path: []string{"position", "fine", "lat"}, Kind: "walk", Min: 37, Max: 38, Step: 0.01, Decimals: 4},
	{Path: []string{"position", "lon"}, Kind: "walk", Min: -1, Max: 1, Step: 0.5, Decimals: 4},
	{Path: []string{"starts"}, Kind: "counter", Min: 5, Step: 2},
	{Path: []string{"state"}, Kind: "choice", Choices: []string{"idle", "ru\"n"}},
	{Path: []string{"temperature"}, Kind: "gaussian", Mean: 20, StdDev: 2, Unit: "C", Decimals: 3},
	{Path: []string{"zenith"}, Kind: "sine", Mean: 10, Amplitude: 5, Period: 86400, Decimals: 2},
}

func modelled(t *testing.T, size int, seed int64) *Builder {
	t.Helper()
	b, err := NewBuilder(Options{Seed: seed, Size: size, Sensors: household})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reading is household's document.
type reading struct {
	Bela     string
	Door     bool
	Position struct {
		Fine struct{ Lat float64 }
		Lon  float64
	}
	Starts      float64
	State       string
	Temperature struct {
		Value float64
		Unit  string
	}
	Zenith float64
}

// If this failed, sensors would not read what the experiment says, and a run
// could not be repeated with the same messages.
func TestSensorsFollowTheModel(t *testing.T) {
	b, again, other := modelled(t, 0, 7), modelled(t, 0, 7), modelled(t, 0, 8)
	const n = 20_000
	var sum, squares float64
	doors, last, differ := 0, reading{}, false
	for i := range n {
		e := Envelope{Run: 1, Device: 3, Sequence: uint32(i), Intended: int64(i%4) * 6 * 3600 * 1e9}
		p := b.Append(nil, e)
		if string(p) != string(again.Append(nil, e)) {
			t.Fatalf("the same seed made another message: %s", p)
		}
		differ = differ || string(p) != string(other.Append(nil, e))
		var r reading
		d := json.NewDecoder(strings.NewReader(string(p)))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%v in %s", err, p)
		}
		if got, err := Parse(p); err != nil || got != e {
			t.Fatalf("envelope %+v, %v", got, err)
		}
		sum += r.Temperature.Value
		squares += (r.Temperature.Value - 20) * (r.Temperature.Value - 20)
		if r.Door {
			doors++
		}
		zenith := []float64{10, 15, 10, 5}[i%4] // at midnight, six, noon and eighteen hours
		switch {
		case r.Temperature.Unit != "C" || math.Abs(r.Temperature.Value-20) > 8:
			t.Fatalf("temperature in %s", p)
		case r.Position.Fine.Lat < 37 || r.Position.Fine.Lat > 38 || math.Abs(r.Position.Lon) > 1:
			t.Fatalf("a walk left its bounds: %s", p)
		case i > 0 && (math.Abs(r.Position.Fine.Lat-last.Position.Fine.Lat) > 0.0102 || math.Abs(r.Position.Lon-last.Position.Lon) > 0.5002):
			t.Fatalf("a walk jumped from %+v to %+v", last.Position, r.Position)
		case r.Starts != float64(5+2*i) || r.State != "idle" && r.State != `ru"n`:
			t.Fatalf("counter or choice in %s", p)
		case math.Abs(r.Zenith-zenith) > 0.011:
			t.Fatalf("sine is %v, want %v", r.Zenith, zenith)
		}
		last = r
	}
	if !differ {
		t.Error("another seed made the same messages")
	}
	// Five standard errors: of the mean 2/√n, of the deviation 2/√2n, of the share √(0.09/n).
	if mean := sum / n; math.Abs(mean-20) > 5*2/math.Sqrt(n) {
		t.Errorf("mean temperature %v, want 20", mean)
	}
	if dev := math.Sqrt(squares / n); math.Abs(dev-2) > 5*2/math.Sqrt(2*n) {
		t.Errorf("standard deviation %v, want 2", dev)
	}
	if share := float64(doors) / n; math.Abs(share-0.1) > 5*math.Sqrt(0.09/n) {
		t.Errorf("the door is open in %v of the messages, want 0.1", share)
	}
}

// If this failed, messages would not have the length that the experiment states.
func TestSensorsFitTheSize(t *testing.T) {
	b := modelled(t, 700, 7)
	natural := modelled(t, 0, 7)
	for i := range uint32(1000) {
		e := Envelope{Device: i, Sequence: i * 4_000_000}
		if p := b.Append(nil, e); len(p) != 700 || !json.Valid(p) {
			t.Fatalf("%d bytes: %s", len(p), p)
		}
		if n := len(natural.Append(nil, e)); n > natural.longestModel() {
			t.Fatalf("%d bytes, at most %d were promised", n, natural.longestModel())
		}
	}
	buffer := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buffer = b.Append(buffer[:0], Envelope{Device: 1}) }); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
	for name, sensors := range map[string][]Sensor{
		"no name":                    {{Kind: "counter"}},
		"an unknown kind":            {{Path: []string{"a"}, Kind: "noise"}},
		"bela's own field":           {{Path: []string{"bela"}, Kind: "counter"}},
		"one that is also a group":   {{Path: []string{"a"}, Kind: "counter"}, {Path: []string{"a", "b"}, Kind: "counter"}},
		"a walk without way":         {{Path: []string{"a"}, Kind: "walk", Step: 1}},
		"what is no number":          {{Path: []string{"a"}, Kind: "gaussian", Mean: math.NaN()}},
		"more than fits in 128 byte": {{Path: []string{strings.Repeat("a", 60)}, Kind: "counter"}},
	} {
		if _, err := NewBuilder(Options{Size: 128, Sensors: sensors}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
