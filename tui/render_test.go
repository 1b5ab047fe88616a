package tui

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"bela/event"
	"bela/live"
	"bela/measure"
)

var update = flag.Bool("update", false, "write the golden files")

// golden holds got against a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: write it with -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (look at it, then -update).\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// scenes are the states of a run that an operator has to understand.
func scenes() map[string][]event.Event {
	started := qos1()
	started.connect()
	return map[string][]event.Event{
		"started":   started.events,
		"waiting":   waitingForDevices().events,
		"measuring": measuring().events,
		"node-lost": nodeLost().events,
		"finished":  whole().events,
		"fault":     faulty().events,
		"grid":      bigGrid(),
		"list":      threeDimensions(),
	}
}

// bigGrid is 12 × 9 cells in two repetitions: more than fits.
func bigGrid() []event.Event {
	var cells []event.CellRef
	for rep := 1; rep <= 2; rep++ {
		for i := range 12 * 9 {
			cells = append(cells, event.CellRef{
				Position: len(cells) + 1, Number: i + 1, Repetition: rep, Attempt: 1, Expected: time.Minute,
				Dimensions: []measure.Dimension{{Name: "payload", Value: float64(int(64) << (i % 12))}, {Name: "gateways", Value: float64(1 + i/12)}},
			})
		}
	}
	return finishSome(cells, []string{"payload", "gateways"}, 150)
}

// threeDimensions is 3 × 4 × 2 cells: no grid.
func threeDimensions() []event.Event {
	var cells []event.CellRef
	for i := range 24 {
		cells = append(cells, event.CellRef{
			Position: i + 1, Number: i + 1, Repetition: 1, Attempt: 1, Expected: time.Minute,
			Dimensions: []measure.Dimension{
				{Name: "broker", Value: []string{"built-in", "mosquitto", "rabbitmq"}[i%3]}, {Name: "devices", Value: float64(100 * (1 + i/3%4))}, {Name: "tls", Value: i >= 12},
			},
		})
	}
	return finishSome(cells, []string{"broker", "devices", "tls"}, 17)
}

// finishSome runs the first cells with all verdicts, and starts the next.
func finishSome(cells []event.CellRef, dims []string, n int) []event.Event {
	s := qos1()
	s.events, s.cells = nil, cells
	s.add(event.RunStarted{Run: "r", Experiment: "big", Dimensions: dims, Cells: cells, Nodes: s.nodes, Expected: time.Duration(len(cells)) * time.Minute})
	s.connect()
	for i := range n {
		s.add(event.CellStarted{Cell: cells[i]})
		s.pass(time.Minute)
		s.result(i+1, 100, []measure.Verdict{measure.Valid, measure.Valid, measure.Degraded, measure.Valid, measure.Invalid}[i%5], 0)
	}
	s.add(event.CellStarted{Cell: cells[n]})
	s.load(n+1, 100, 3, 30, 9)
	return s.events
}

// The picture is the product's face: a change to it must be seen by a reviewer.
func TestGoldenPictures(t *testing.T) {
	for name, events := range scenes() {
		for _, size := range [][2]int{{80, 24}, {120, 40}, {200, 60}, {40, 10}} {
			t.Run(fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), func(t *testing.T) {
				golden(t, fmt.Sprintf("%s-%dx%d.txt", name, size[0], size[1]), Picture(events, size[0], size[1])+"\n")
			})
		}
	}
}

// readmePicture is the dashboard that the documentation shows.
func readmePicture() string {
	s := waitingForDevices()
	for i := range s.cells {
		s.cells[i].Expected = 100 * time.Second
	}
	s.add(event.Waiting{Position: 2, Phase: event.PhaseConnect})
	s.load(2, 100, 5, 15, 15)
	s.after(2)
	s.result(2, 100, measure.Degraded, 0, measure.Reason{Code: "generator_late", Verdict: measure.Degraded, Text: "lateness p99 1.9 ms, at most 1 ms"})
	s.prelude(3)
	s.add(event.Message{Level: "warn", Position: 3, Node: "iot-1", Text: "the generator is late", Next: "use more iot nodes"})
	s.load(3, 500, 30, 60, 41)
	return Picture(s.events, 100, 28)
}

// The README shows this file: it must be what bela draws.
func TestPictureOfTheReadme(t *testing.T) {
	golden(t, "readme-picture.txt", readmePicture()+"\n")
}

// fits says what is wrong with a drawn picture, if anything.
func fits(picture string, width, height int) error {
	if picture == "" {
		return nil
	}
	lines := strings.Split(picture, "\n")
	if len(lines) > height {
		return fmt.Errorf("%d lines", len(lines))
	}
	for i, l := range lines {
		// Terminals measure by rune or by grapheme: it has to fit for both.
		if w := max(ansi.StringWidth(l), ansi.StringWidthWc(l)); w > width {
			return fmt.Errorf("line %d is %d wide: %q", i+1, w, l)
		}
		for _, r := range strip(l) {
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				return fmt.Errorf("line %d holds %q: %q", i+1, r, l)
			}
		}
	}
	return nil
}

// A line that is too wide wraps, and everything below it is drawn in the wrong
// place. So every moment of a run has to fit every terminal.
func TestPicturesFit(t *testing.T) {
	hostile := whole().events
	for i, e := range hostile {
		hostile[i].Data = wideNames(e.Data)
	}
	all := scenes()
	all["hostile"] = hostile
	for name, events := range all {
		s := live.New()
		for i, e := range events {
			s.Handle(e)
			if i%211 != 0 && i != len(events)-1 {
				continue
			}
			for _, width := range []int{1, 7, 20, 40, 59, 60, 71, 72, 79, 80, 120} {
				for _, height := range []int{1, 3, 9, 14, 15, 23, 40} {
					v := viewport{Focus: pane(i+width+height) % panes, Offset: i % 7, Tall: i % 50}
					if err := fits(render(&s, v, width, height), width, height); err != nil {
						t.Fatalf("%s after %d events at %d×%d, pane %d: %v", name, i+1, width, height, v.Focus, err)
					}
				}
			}
		}
	}
}

// wideNames gives nodes names of wide and joined characters.
func wideNames(d event.Data) event.Data {
	wide := func(name string) string {
		return strings.NewReplacer("iot", "温度センサー", "worker", "👩‍💻", "customer", "🇩🇪é\u0301"+evil).Replace(name)
	}
	switch d := d.(type) {
	case event.RunStarted:
		d.Nodes = append([]event.NodeRef(nil), d.Nodes...)
		for i := range d.Nodes {
			d.Nodes[i].Name = wide(d.Nodes[i].Name)
		}
		d.Experiment = "実験 " + evil
		return d
	case event.NodeState:
		d.Node = wide(d.Node)
		return d
	case event.NodeSample:
		d.Node = wide(d.Node)
		return d
	case event.Waiting:
		for i := range d.For {
			d.For[i] = wide(d.For[i])
		}
		return d
	case event.ComponentState:
		d.Node, d.Detail = wide(d.Node), evil
		return d
	}
	return d
}

// The same state gives the same picture: a picture that depends on anything
// else cannot be tested or trusted.
func TestRenderIsPure(t *testing.T) {
	s := stateAfter(nodeLost().events)
	before, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	a := render(s, viewport{}, 100, 30)
	b := render(s, viewport{}, 100, 30)
	after, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Error("two pictures of one state differ")
	}
	if string(before) != string(after) {
		t.Error("drawing changed the state")
	}
}

// The dashboard draws from a copy while events go on: sharing memory with it
// would tear the picture, or crash the run.
func TestCloneSharesNothing(t *testing.T) {
	events := whole().events
	half := len(events) / 2
	s := stateAfter(events[:half])
	c := s.Clone()
	before := render(&c, viewport{}, 120, 40)
	for _, e := range events[half:] {
		s.Handle(e)
	}
	if render(&c, viewport{}, 120, 40) != before {
		t.Error("the copy changed with the original")
	}
}

func FuzzRender(f *testing.F) {
	f.Add("iot-1", evil, "lost", 3.5, 7, uint8(80), uint8(24))
	f.Add("", "", "", -1.0, -1, uint8(1), uint8(1))
	f.Add("温度", "\u202e", "ready", 1e300, 1<<30, uint8(40), uint8(10))
	f.Fuzz(func(t *testing.T, name, text, state string, number float64, n int, width, height uint8) {
		s := live.New()
		now := time.Unix(1000, 0)
		ref := event.CellRef{Position: n, Number: n, Repetition: n % 7, Attempt: n, Expected: time.Duration(n), Dimensions: []measure.Dimension{{Name: name, Value: text}, {Name: text, Value: number}}}
		for i, d := range []event.Data{
			event.RunStarted{Experiment: text, Cells: []event.CellRef{ref, {Position: 1, Number: 2}}, Nodes: []event.NodeRef{{Name: name, Role: text}}, Components: []string{text}},
			event.CellStarted{Cell: ref},
			event.PhaseStarted{Position: n, Phase: event.Phase(text), Limit: time.Duration(n), Fixed: n%2 == 0},
			event.Waiting{Position: n, Phase: event.Phase(text), For: []string{name, text}},
			event.NodeState{Node: name, State: state, Detail: text},
			event.ComponentState{Position: n, Component: name, Instance: n, Node: text, State: state, Detail: text, Log: []string{text}},
			event.NodeSample{Node: name, CPUs: n, CPU: number, Memory: number, MemoryTotal: number, NetIn: number, Components: []event.ComponentSample{{Component: name, Instance: n, CPU: number, Memory: number, Counted: true, Restarts: n}}},
			event.Load{Position: n, T: n, Published: number, Delivered: number, UnderWay: int64(n), P50: &number, P99: &number, Lateness: &number},
			event.Load{Position: n, T: -n, Published: number},
			event.Message{Level: state, Node: name, Text: text, Next: name},
			event.CellFinished{Cell: ref, Result: measure.Cell{Verdict: measure.Verdict(state), Reasons: []measure.Reason{{Code: name, Text: text}}, Latency: measure.Quantiles{P99: &number}}},
			event.RunFinished{Reason: text},
		} {
			for _, note := range s.Handle(event.Event{Time: now.Add(time.Duration(i) * time.Second), Data: d}) {
				if err := fits(note.Text, 1<<20, 1); err != nil {
					t.Fatalf("note: %v", err)
				}
			}
			if err := fits(render(&s, viewport{}, int(width), int(height)), int(width), int(height)); err != nil {
				t.Fatalf("after %T at %d×%d: %v", d, width, height, err)
			}
		}
	})
}
