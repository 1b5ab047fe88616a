package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// A chart is a claim: larger values must be higher, what is no number must break
// the line, and names must not become markup.
func TestChart(t *testing.T) {
	t.Parallel()
	c := Chart{ID: "x", Title: "a <b>", Text: "text & more", Bands: []Band{{0, 1, `fault "x"<`, "fault"}},
		Lines: []Line{{Name: "l", Colour: 1, Dashed: true, Points: []Point{{X: 0, Y: 1}, {X: 1, Y: 2}, {X: 2, Y: math.NaN()}, {X: 3, Y: 4}, {X: 4, Y: 8}},
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
		if p.Class == "l c1" && strings.Count(p.D, "L") == 1 {
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

// Labels are read at a glance.
func TestShort(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 1500: "1500", 20000: "20k", 1.5e6: "1.5M", 2e9: "2G", -3e12: "-3T"} {
		if got := Short(v); got != want {
			t.Errorf("%g: %q, want %q", v, got, want)
		}
	}
}
