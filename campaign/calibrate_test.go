package campaign

import (
	"strings"
	"testing"
	"time"

	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/store"
)

// The calibration must be made for the cell that asks most of a node, bursts
// counted at their full rate, or it would be late for the very cell it is for.
func TestHeaviestCellOfANode(t *testing.T) {
	share := func(a, b int) []experiment.Share {
		return []experiment.Share{{Node: "iot-1", Count: a}, {Node: "iot-2", First: a, Count: b}}
	}
	plan := &experiment.Plan{Cells: []experiment.Cell{
		{Number: 1, Devices: experiment.Devices{Rate: 10, Shares: share(100, 100)}},
		{Number: 2, Devices: experiment.Devices{Rate: 1, Shares: share(500, 2000)}},
		{Number: 3, Devices: experiment.Devices{Rate: 6, Arrivals: experiment.ArrivalsOnOff, On: time.Second, Off: 2 * time.Second, Shares: share(100, 0)}},
	}}
	for node, want := range map[string]struct {
		cell int
		rate float64
	}{"iot-1": {3, 1800}, "iot-2": {2, 2000}} {
		cell, s, ok := heaviest(plan, node)
		if !ok || cell.Number != want.cell || peak(cell.Devices, s) != want.rate {
			t.Errorf("%s: cell %d at %g msg/s, want %+v", node, cell.Number, peak(cell.Devices, s), want)
		}
	}
	if _, _, ok := heaviest(plan, "worker-1"); ok {
		t.Error("a node without devices has a heaviest cell")
	}
}

// A cell that asks too much of a generator must be told of before its load, and
// give the evidence for the verdict; one whose generator was not calibrated must
// not.
func TestWarnCapacity(t *testing.T) {
	var said collector
	c := &cellRun{
		runner: &runner{
			stream:  &stream{now: time.Now, journal: &said},
			testbed: &testbed{members: []*member{{}, {}}},
		},
		cell: experiment.Cell{Position: 4, Devices: experiment.Devices{Rate: 9, Shares: []experiment.Share{{Node: "iot-1", Count: 10}, {Node: "iot-2", Count: 10}}}},
	}
	c.testbed.members[0].target.Name, c.testbed.members[1].target.Name = "iot-1", "iot-2"
	c.warnCapacity()
	c.testbed.members[0].generator = &store.Generator{Rate: 113} // 90 of 113 is 79.6 %
	c.warnCapacity()
	if len(said) != 0 {
		t.Fatalf("warned of %+v", said)
	}
	c.testbed.members[1].generator = &store.Generator{Rate: 112} // 80.4 %
	c.warnCapacity()
	if len(said) != 1 {
		t.Fatalf("%d warnings, want 1", len(said))
	}
	m, ok := said[0].Data.(event.Message)
	if !ok || m.Level != "warn" || m.Position != 4 || !strings.Contains(m.Text, "90 of 112 msg/s on iot-2") || strings.Contains(m.Text, "iot-1") {
		t.Errorf("%+v", said[0].Data)
	}
	want := []measure.GeneratorLoad{{Node: "iot-1", Planned: 90, Capable: 113}, {Node: "iot-2", Planned: 90, Capable: 112}}
	if got := c.generators(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// collector is a journal in memory.
type collector []event.Event

func (c *collector) Event(e event.Event) error {
	*c = append(*c, e)
	return nil
}
