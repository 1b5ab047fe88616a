package influx

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bela/event"
	"bela/influx/influxtest"
	"bela/measure"
)

var update = flag.Bool("update", false, "write the golden files")

// Dashboards that users build break when a line of a known run changes shape.
func TestEncoderGolden(t *testing.T) {
	got := encodeAll(fixtureRun(2, steady))
	golden := filepath.Join("testdata", "run.lp")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Fatalf("line %d:\n got %s\nwant %s", i+1, gotLines[i], wantLines[i])
		}
	}
	if len(gotLines) != len(wantLines) {
		t.Fatalf("%d lines, want %d", len(gotLines), len(wantLines))
	}
}

// A tag or field that the page does not name, or names with another type, sends
// a user's query into the void.
func TestSchemaIsDocumented(t *testing.T) {
	got := map[string]bool{}
	for _, p := range influxtest.Parse(t, encodeAll(fixtureRun(2, steady))) {
		for _, k := range p.TagOrder {
			if strings.HasPrefix(k, "dim_") {
				k = "dim_…"
			}
			got[p.Measurement+" "+k+" tag"] = true
		}
		for k, v := range p.Fields {
			kind := map[string]string{"int64": "integer", "float64": "float", "string": "string", "bool": "boolean"}[fmt.Sprintf("%T", v)]
			got[p.Measurement+" "+k+" "+kind] = true
		}
	}
	want := documented(t)
	for k := range got {
		if !want[k] {
			t.Errorf("docs/influxdb.md does not name: %s", k)
		}
	}
	for k := range want {
		if !got[k] {
			t.Errorf("docs/influxdb.md names what is not written: %s", k)
		}
	}
}

// documented reads the tables under "## Measurements" of docs/influxdb.md.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "influxdb.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	measurement := ""
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "### "):
			measurement = strings.TrimPrefix(line, "### ")
		case strings.HasPrefix(line, "## "):
			measurement = ""
		case measurement != "" && strings.HasPrefix(line, "| `"):
			cells := strings.Split(line, "|")
			names[measurement+" "+strings.Trim(cells[1], " `")+" "+strings.TrimSpace(cells[2])] = true
		}
	}
	return names
}

// Points with the same series and time overwrite each other in InfluxDB without
// a word: a run's numbers would be fewer than what was measured.
func TestPointsAreDistinct(t *testing.T) {
	clocks := map[string]func(int) time.Time{
		"all of a second at one instant": steady,
		"a clock that stands still":      func(int) time.Time { return start },
		"a clock of whole seconds, two seconds at once after a lost link": func(s int) time.Time {
			return start.Truncate(time.Second).Add(time.Duration(s/2*2) * time.Second)
		},
		"a clock stepped back by a minute every fifty seconds": func(s int) time.Time {
			return start.Add(time.Duration(s-s/50*60) * time.Second).Add(time.Duration(s*7919) * time.Microsecond)
		},
	}
	for name, at := range clocks {
		t.Run(name, func(t *testing.T) {
			seconds := 200
			if name == "a clock that stands still" {
				seconds = 20 // beyond a thousand events nothing but time tells them apart
			}
			seen := map[string]bool{}
			for _, p := range influxtest.Parse(t, encodeAll(fixtureRun(seconds, at))) {
				key := fmt.Sprintf("%s %d", p.Series(), p.Time)
				if seen[key] {
					t.Fatalf("twice: %s", key)
				}
				seen[key] = true
			}
		})
	}
}

// A run that is sent again must not double its points.
func TestEncodingAgainGivesTheSame(t *testing.T) {
	events := fixtureRun(5, steady)
	if !bytes.Equal(encodeAll(events), encodeAll(events)) {
		t.Error("the same events gave other lines")
	}
}

// The number of series decides whether InfluxDB can hold a run: it may depend on
// cells and nodes, never on how long the run is or how many devices there are.
func TestCardinalityIsBounded(t *testing.T) {
	count := func(seconds int) int {
		series := map[string]bool{}
		for _, p := range influxtest.Parse(t, encodeAll(fixtureRun(seconds, steady))) {
			series[p.Series()] = true
		}
		return len(series)
	}
	short, long := count(2), count(60)
	// Five attempts of cells, each with five nodes, four instances, one load,
	// one summary, two summed instances, three drops, and the marks of its start
	// and of one phase; five nodes outside, and the start and the healing of one fault.
	if want := 5*(5+4+1+1+2+3+2) + 5 + 2; short != want || long != want {
		t.Errorf("%d series for 2 s a cell and %d for 60 s, want %d", short, long, want)
	}
}

// InfluxDB indexes faster when tags come sorted; an unsorted one shows that a
// tag was added in the wrong place.
func TestTagsAreSorted(t *testing.T) {
	for _, p := range influxtest.Parse(t, encodeAll(fixtureRun(2, steady))) {
		if !slices.IsSorted(p.TagOrder) {
			t.Fatalf("%s: tags %v are not sorted", p.Measurement, p.TagOrder)
		}
	}
}

// A second attempt at a cell must not be mixed up with the first, invalid one.
func TestAttemptsAreSeparate(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range influxtest.Parse(t, encodeAll(fixtureRun(2, steady))) {
		if p.Measurement == "bela_load" && p.Tags["cell"] == "2" && p.Tags["repetition"] == "1" {
			seen[p.Tags["attempt"]] = true
		}
	}
	if len(seen) != 2 || !seen["1"] || !seen["2"] {
		t.Errorf("attempts of cell 2: %v, want 1 and 2", seen)
	}
}

// A number that was not taken must be missing: a 0 would pull every mean down.
func TestMissingNumbers(t *testing.T) {
	e := NewEncoder("x", "r")
	at := func(d event.Data) []influxtest.Point {
		return influxtest.Parse(t, e.Append(nil, event.Event{Seq: 1, Time: start, Data: d}))
	}

	p := at(event.Load{Published: math.NaN(), Delivered: math.Inf(1)})[0]
	for _, name := range []string{"published_msg_s", "delivered_msg_s", "latency_p5_ms", "latency_p50_ms", "latency_p99_ms", "lateness_p99_ms"} {
		if v, ok := p.Fields[name]; ok {
			t.Errorf("%s is %v, want it missing", name, v)
		}
	}
	p = at(event.NodeSample{Node: "n", Components: []event.ComponentSample{{Component: "c", Instance: 1}}})[1]
	if v, ok := p.Fields["messages_in_s"]; ok {
		t.Errorf("messages_in_s of a component that does not count is %v, want it missing", v)
	}
	if v, ok := p.Tags["cell"]; ok {
		t.Errorf("cell of a sample between cells is %q, want it missing", v)
	}
	p = at(event.CellFinished{Result: measure.Cell{}})[0]
	if v, ok := p.Fields["latency_p50_ms"]; ok {
		t.Errorf("latency_p50_ms of a cell without deliveries is %v, want it missing", v)
	}
	for _, name := range []string{"measured_s", "published", "delivered", "dropped", "unknown"} {
		if v, ok := p.Fields[name]; ok {
			t.Errorf("%s of a cell that came to no load is %v, want it missing", name, v)
		}
	}
	p = at(event.CellFinished{Result: measure.Cell{MeasuredSeconds: 5, Ledger: measure.Ledger{Intended: 3, Unsent: 3, Closed: true}}})[0]
	if p.Fields["dropped"] != int64(0) || p.Fields["ledger_closed"] != true || p.Fields["measured_s"] != 5.0 {
		t.Errorf("a cell in which nothing was sent: %v", p.Fields)
	}
}

// Events without numbers must not disturb the stream.
func TestOtherEventsGiveNoPoints(t *testing.T) {
	e := NewEncoder("x", "r")
	for _, d := range []event.Data{
		nil, event.RunStarted{}, event.NodeState{}, event.Waiting{},
		event.ComponentState{}, event.Message{}, event.RunFinished{},
	} {
		if got := e.Append([]byte("kept"), event.Event{Data: d}); string(got) != "kept" {
			t.Errorf("%T appended %q", d, got)
		}
	}
}

// Encoding runs beside the load generator on the controller: garbage a point
// would show up as jitter in a run with hundreds of nodes.
func TestEncoderDoesNotAllocate(t *testing.T) {
	e := NewEncoder("qos 1", "r")
	var perSecond []event.Event
	for _, ev := range fixtureRun(1, steady) {
		e.Append(nil, ev)
		switch ev.Data.(type) {
		case event.NodeSample, event.Load:
			perSecond = append(perSecond, ev)
		}
	}
	buf := make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(100, func() {
		b := buf
		for _, ev := range perSecond {
			b = e.Append(b, ev)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d events, want none", n, len(perSecond))
	}
}

// sanitized is what InfluxDB should hold of a tag's text, by the page's words.
func sanitized(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case r < 0x20 || r == 0x7f:
			return ' '
		}
		return r
	}, string([]rune(s))) // a byte that is not UTF-8 becomes U+FFFD
}

// evil are names that would break a line that is not escaped, or move text from
// one tag into another.
var evil = []string{
	"plain", "two words", "a,b", "a=b", "a, b=c", `back\slash`, `ends in \`, `\,`, `\\ `, "line\nbreak", "\r\n", "tab\tnul\x00del\x7f",
	`"quoted"`, `quote"`, "#comment", "ä€𝄞", "\xff\xfe", " ", "=", ",", "1i", "t", "-1.5e300",
}

// Whatever a component or a dimension is called, its points must arrive under
// that name and no line may be torn in two.
func TestNamesAreEscaped(t *testing.T) {
	for _, name := range evil {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			e := NewEncoder(name, name)
			lines := e.Append(nil, event.Event{Data: event.NodeSample{Node: name, Components: []event.ComponentSample{{Component: name, Instance: 1}}}})
			if n := bytes.Count(lines, []byte("\n")); n != 2 {
				t.Fatalf("%d lines, want 2: %q", n, lines)
			}
			p := influxtest.Parse(t, lines)[1]
			for _, tag := range []string{"experiment", "run", "node", "component"} {
				if p.Tags[tag] != sanitized(name) {
					t.Errorf("%s is %q, want %q", tag, p.Tags[tag], sanitized(name))
				}
			}
		})
	}
}

// A name of any length must neither blow up a series key nor be cut inside a
// character.
func TestLongNamesAreCut(t *testing.T) {
	e := NewEncoder(strings.Repeat("€", 1000), "r")
	p := influxtest.Parse(t, e.Append(nil, event.Event{Data: event.NodeSample{Node: "n"}}))[0]
	if got := p.Tags["experiment"]; got != strings.Repeat("€", 85) { // 255 of 256 bytes
		t.Errorf("experiment is %d bytes, valid %v", len(got), utf8.ValidString(got))
	}
}

// A component that invents reasons without end must not flood the database with
// series.
func TestDropReasonsAreBounded(t *testing.T) {
	reasons := map[string]int64{}
	for i := range 1000 {
		reasons[fmt.Sprintf("reason %03d", i)] = 1
	}
	lines := NewEncoder("x", "r").Append(nil, event.Event{Data: event.CellFinished{
		Result: measure.Cell{DropsByHop: map[string]map[string]int64{"gateway": reasons}}}})
	if n := bytes.Count(lines, []byte("bela_cell_drops")); n != maxDropTags {
		t.Errorf("%d pairs, want %d", n, maxDropTags)
	}
}

// Names come from experiment files and from processes under test.
func FuzzEscaping(f *testing.F) {
	for _, s := range evil {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, name, reason string) {
		e := NewEncoder("x", "r")
		cell := event.CellRef{Position: 1, Number: 1, Repetition: 1, Dimensions: []measure.Dimension{{Name: "d" + name, Value: "v" + reason}}}
		lines := e.Append(nil, event.Event{Seq: 7, Time: start, Data: event.CellFinished{Cell: cell, Result: measure.Cell{
			Reasons:    []measure.Reason{{Code: "r" + reason}},
			Components: []measure.Component{{Component: "c" + name, Instance: 1, Node: "n"}},
		}}})
		points := influxtest.Parse(t, lines)
		if len(points) != 2 || bytes.Count(lines, []byte("\n")) != 2 {
			t.Fatalf("%d points, want 2: %q", len(points), lines)
		}
		// The shortening is by bytes of the text given, so compare what is short.
		if len(name) < maxTag-8 && points[1].Tags["component"] != sanitized("c"+name) {
			t.Errorf("component is %q, want %q", points[1].Tags["component"], sanitized("c"+name))
		}
		if len(name) < maxTag-8 && len(reason) < maxTag-8 && points[0].Tags[sanitized("dim_d"+name)] != sanitized("v"+reason) {
			t.Errorf("dimension %q is missing or wrong: %v", name, points[0].Tags)
		}
		if text, ok := points[0].Fields["reason"].(string); !ok || !utf8.ValidString(text) {
			t.Errorf("reason is %v", points[0].Fields["reason"])
		}
	})
}
