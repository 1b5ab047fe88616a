package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

// A chart is a claim: larger values must be higher, what is no number must break
// the line, and names must not become markup.
func TestChart(t *testing.T) {
	t.Parallel()
	c := Chart{ID: "x", Title: "a <b>", Text: "text & more", Bands: []Band{{0, 1, `fault "x"<`, "fault"}},
		Lines: []Line{{Name: "l", Colour: 4, Dashed: true, Points: []Point{{X: 0, Y: 1}, {X: 1, Y: 2}, {X: 2, Y: math.NaN()}, {X: 3, Y: 4}, {X: 4, Y: 8}},
			Dots: []Point{{0, 1, "low <i>"}, {4, 8, "high"}}, Intervals: []Interval{{0, 0.5, 2}}}}}
	type shape struct {
		XMLName xml.Name
		Class   string  `xml:"class,attr"`
		D       string  `xml:"d,attr"`
		CY      float64 `xml:"cy,attr"`
		Title   string  `xml:"title"`
	}
	var svg struct {
		Title string  `xml:"title"`
		Desc  string  `xml:"desc"`
		Paths []shape `xml:"path"`
		Dots  []shape `xml:"circle"`
		Bands []shape `xml:"g"`
	}
	if err := xml.Unmarshal([]byte(c.SVG()), &svg); err != nil {
		t.Fatal(err)
	}
	if svg.Title != c.Title || svg.Desc != c.Text || len(svg.Bands) != 1 || svg.Bands[0].Title != c.Bands[0].Name {
		t.Errorf("names: %+v", svg)
	}
	if len(svg.Dots) != 2 || svg.Dots[0].CY <= svg.Dots[1].CY || svg.Dots[0].Title != "low <i>" {
		t.Errorf("dots: %+v", svg.Dots)
	}
	lines := 0
	for _, p := range svg.Paths {
		if p.Class == "l c4" && strings.Count(p.D, "L") == 1 {
			lines++
		}
	}
	if lines != 5 { // two stretches, an interval and its two caps
		t.Errorf("%d strokes of the line, want 5: %+v", lines, svg.Paths)
	}
}

// Numbers of a run may be anything; a picture of them must never end the report.
func FuzzSVG(f *testing.F) {
	f.Add(1.0, 2.0, true, false)
	f.Add(0.0, -1.0, true, true)
	f.Add(math.Inf(1), math.NaN(), false, false)
	f.Add(1e300, 1e-300, true, false)
	f.Add(5e14, 5e14, false, true)
	f.Add(1e-12, 1e14, true, true)
	f.Fuzz(func(t *testing.T, a, b float64, log, zero bool) {
		c := Chart{ID: "x", X: Axis{Log: log}, Y: Axis{Log: log, FromZero: zero}, Bands: []Band{{a, b, "b", "phase"}, {b, a, "b", "phase"}},
			Lines: []Line{{Points: []Point{{X: a, Y: b}, {X: b, Y: a}}, Dots: []Point{{X: a, Y: a}}, Intervals: []Interval{{a, b, a}}}}}
		out := string(c.SVG())
		d := xml.NewDecoder(strings.NewReader(out))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, out)
			}
		}
		if strings.Contains(out, "NaN") || strings.Contains(out, "Inf") {
			t.Errorf("a place that is none: %s", out)
		}
		if (out != "") != c.Drawn() {
			t.Errorf("drawn %v, but %q", c.Drawn(), out)
		}
	})
}

// A forest is a claim about a difference: what grew must stand right of the line,
// what shrank left of it, a bar must reach over its interval, what has no ratio
// must have no mark, and names must not become markup.
func TestForest(t *testing.T) {
	t.Parallel()
	f := Forest{ID: "x", Title: "p <50>", Text: "text", Rows: []Row{
		{Name: "same <b>", Says: "0 %", Title: "all <i>", Ratio: 1, Low: 0.8, High: 1.25, Class: "soft", Shape: Hollow},
		{Name: "half", Ratio: 0.5, Low: 0.4, High: 0.7, Class: "good", Shape: Square},
		{Name: "twice", Ratio: 2, Class: "bad", Shape: Diamond},
		{Name: "from nothing", Says: "0 to 5", Class: "bad", Shape: Diamond},
		{Name: "far away, with a name that is longer than any row has room for: devices=1000", Says: "much", Ratio: 1e9, Low: 5, High: 1e12, Class: "bad", Shape: Diamond},
	}}
	type shape struct {
		Class string  `xml:"class,attr"`
		D     string  `xml:"d,attr"`
		CX    float64 `xml:"cx,attr"`
	}
	var svg struct {
		ViewBox string  `xml:"viewBox,attr"`
		Lines   []shape `xml:"path"` // of the axis
		Ticks   []struct {
			Text string `xml:",chardata"`
		} `xml:"text"`
		Rows []struct {
			Title string   `xml:"title"`
			Texts []string `xml:"text"`
			Paths []shape  `xml:"path"`
			Dots  []shape  `xml:"circle"`
		} `xml:"g"`
	}
	if err := xml.Unmarshal([]byte(f.SVG()), &svg); err != nil {
		t.Fatal(err)
	}
	if len(svg.Rows) != 5 || svg.ViewBox != "0 0 460 204" || svg.Rows[0].Title != "all <i>" || svg.Rows[0].Texts[0] != "same <b>" || svg.Rows[0].Texts[1] != "0 %" {
		t.Fatalf("%+v", svg)
	}
	begin := func(d string) float64 {
		x, _, _ := strings.Cut(strings.TrimPrefix(d, "M"), ",")
		v, err := strconv.ParseFloat(x, 64)
		if err != nil {
			t.Fatalf("%q: %v", d, err)
		}
		return v
	}
	if last := svg.Ticks[len(svg.Ticks)-1]; last.Text != "0" { // no difference
		t.Errorf("ticks %+v", svg.Ticks)
	}
	zero := -1.0
	for _, l := range svg.Lines {
		if l.Class == "l soft" {
			zero = begin(l.D)
		}
	}
	same, half, twice := svg.Rows[0], svg.Rows[1], svg.Rows[2]
	if len(same.Dots) != 1 || same.Dots[0].Class != "hollow soft" || same.Dots[0].CX != zero || len(same.Paths) != 3 {
		t.Errorf("no change stands at %+v, the line at %g", same, zero)
	}
	if up, down, _ := strings.Cut(same.Paths[1].D, "L"); strings.TrimPrefix(up, "M") == down {
		t.Errorf("a cap without a height: %q", same.Paths[1].D)
	}
	if bar := same.Paths[0].D; begin(bar) >= zero || !strings.Contains(bar, "L") {
		t.Errorf("the bar %q does not cross the line at %g", bar, zero)
	}
	if left, right := begin(half.Paths[3].D), begin(twice.Paths[0].D); left >= zero || right <= zero || len(twice.Paths) != 1 || half.Paths[3].Class != "f good" {
		t.Errorf("half at %g, twice at %g, the line at %g: %+v %+v", left, right, zero, half, twice)
	}
	if none := svg.Rows[3]; len(none.Paths)+len(none.Dots) != 0 || none.Texts[1] != "0 to 5" {
		t.Errorf("what has no ratio: %+v", none)
	}
	far := svg.Rows[4]
	if len(far.Paths) != 3 || begin(far.Paths[2].D) > 460 || len([]rune(far.Texts[0])) > 66 || !strings.HasSuffix(far.Texts[0], "1000") || !strings.Contains(far.Texts[0], "…") {
		t.Errorf("what is far away: %+v", far)
	}
	if (Forest{}).SVG() != "" {
		t.Error("a picture of nothing")
	}
}

// Ticks that are too many overlap, and too few say nothing; no difference is
// always among them.
func TestRatioTicks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		low, top float64
		want     string
	}{
		{0.97, 1.03, "-3% -2% -1% 0 +1% +2% +3%"}, {0.9, 1.2, "-10% -5% 0 +5% +10% +15% +20%"}, {0.5, 2, "-50% -25% 0 +25% +50% +75% +100%"},
		{0.3, 1.1, "÷2 0"}, {0.4, 3, "÷2 ×2 0"}, {0.05, 30, "÷3 ×3 ÷10 ×10 ×30 0"}, {0.001, 1000, "÷10 ×10 ÷100 ×100 ÷1000 ×1000 0"},
	} {
		var got []string
		for _, k := range ratioTicks(tt.low, tt.top) {
			got = append(got, k.Text)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%g to %g: %s, want %s", tt.low, tt.top, s, tt.want)
		}
	}
}

// Numbers of a comparison may be anything; a picture of them must never end it.
func FuzzForest(f *testing.F) {
	f.Add(1.0, 0.5, 2.0)
	f.Add(math.Inf(1), math.NaN(), -1.0)
	f.Add(1e300, 1e-300, 0.0)
	f.Fuzz(func(t *testing.T, ratio, low, high float64) {
		out := string(Forest{ID: "x", Rows: []Row{{Name: "n", Ratio: ratio, Low: low, High: high}}}.SVG())
		d := xml.NewDecoder(strings.NewReader(out))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, out)
			}
		}
		if strings.Contains(out, "NaN") || strings.Contains(out, "Inf") {
			t.Errorf("a place that is none: %s", out)
		}
	})
}

// Lines are told apart without colours: neighbours have marks of other shapes.
func TestShapes(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for colour := range Colours {
		key := string(Line{Colour: colour, Dots: []Point{{}}}.Key())
		if last, ok := seen[key]; ok && colour-last < 4 {
			t.Errorf("lines %d and %d look alike", last, colour)
		}
		seen[key] = colour
	}
	if len(seen) != 4 {
		t.Errorf("%d shapes", len(seen))
	}
}

// Labels are read at a glance.
func TestShort(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 1500: "1500", 20000: "20k", 1.5e6: "1.5M", 2e9: "2G", -3e12: "-3T"} {
		if got := Short(v); got != want {
			t.Errorf("%g: %q, want %q", v, got, want)
		}
	}
}
