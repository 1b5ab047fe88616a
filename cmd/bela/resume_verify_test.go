package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bela/event"
	"bela/influx"
	"bela/store"
)

// verify demands a whole run: every cell once, of one attempt, told once.
func (d *drill) verify() {
	t := d.t
	t.Helper()
	run, err := store.Open("latest", filepath.Join(d.dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Cells) != drillCells || run.Finished() == nil || run.Running {
		t.Fatalf("%d cells, finished %v, running %v\n%s", len(run.Cells), run.Finished(), run.Running, d.out)
	}
	for _, c := range run.Cells {
		l := c.Ledger
		if !l.Closed || l.Intended == 0 || l.Delivered+l.Late+l.Dropped != l.Expected {
			t.Errorf("cell %d: ledger %+v of %v", c.Number, l, c.Reasons)
		}
		if l.Phantom != 0 {
			t.Errorf("cell %d: %d messages of no attempt of its own", c.Number, l.Phantom)
		}
		for k := 1; k < c.Attempt; k++ {
			if _, err := os.Stat(filepath.Join(run.CellDir(c.Position), fmt.Sprintf("attempt-%d", k))); err != nil {
				t.Errorf("cell %d, whose result is of attempt %d: %v", c.Number, c.Attempt, err)
			}
		}
	}
	verifyTables(t, run)
	verifyJournal(t, run)
	verifyEvents(t, run)
	verifyMetrics(t, run)
	awaitNothingLeft(t, d.dir)
}

func verifyTables(t *testing.T, run *store.Reader) {
	t.Helper()
	for name, want := range map[string]int{"cells.csv": 1, "components.csv": 1, "series.csv": 0} {
		f, err := os.Open(filepath.Join(run.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(f).ReadAll()
		_ = f.Close() // only read
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		count := make(map[string]int)
		seen := make(map[string]bool)
		for _, row := range rows[1:] {
			count[row[0]]++
			key := strings.Join(row[:3], ",")
			if seen[key] {
				t.Errorf("%s has the row %s twice", name, key)
			}
			seen[key] = true
		}
		for n := 1; n <= drillCells; n++ {
			if got := count[strconv.Itoa(n)]; got == 0 || want > 0 && got != want {
				t.Errorf("%s has %d rows of cell %d", name, got, n)
			}
		}
		if len(count) != drillCells {
			t.Errorf("%s has rows of %d cells", name, len(count))
		}
	}
}

// verifyJournal demands that attempts count without gaps, that each cell is
// done once, by the attempt whose result stands, and that the end is the end.
func verifyJournal(t *testing.T, run *store.Reader) {
	t.Helper()
	started, done := make(map[int]int), make(map[int]int)
	for i, e := range run.Journal {
		switch e.Kind {
		case store.RunStarted:
			if i != 0 {
				t.Errorf("line %d of the journal begins the run again", i+1)
			}
		case store.CellStarted:
			if e.Attempt != started[e.Position]+1 || done[e.Position] != 0 {
				t.Errorf("line %d of the journal: attempt %d at cell %d after %d, done by %d", i+1, e.Attempt, e.Position, started[e.Position], done[e.Position])
			}
			started[e.Position] = e.Attempt
		case store.CellDone:
			if done[e.Position] != 0 {
				t.Errorf("line %d of the journal: cell %d is done twice", i+1, e.Position)
			}
			done[e.Position] = e.Attempt
		case store.RunFinished:
			if i != len(run.Journal)-1 {
				t.Errorf("line %d of the journal ends the run, and %d follow", i+1, len(run.Journal)-1-i)
			}
		}
	}
	for _, c := range run.Cells {
		if done[c.Position] != c.Attempt || started[c.Position] != c.Attempt {
			t.Errorf("cell %d: the result is of attempt %d, %d were started and %d is done", c.Number, c.Attempt, started[c.Position], done[c.Position])
		}
	}
}

// verifyEvents demands numbers without gaps, and one end of each cell.
func verifyEvents(t *testing.T, run *store.Reader) {
	t.Helper()
	var last uint64
	finished := make(map[int]int)
	begun := 0
	err := run.Events(func(e event.Event) {
		if e.Seq != last+1 {
			t.Errorf("event %d follows %d", e.Seq, last)
		}
		last = e.Seq
		switch d := e.Data.(type) {
		case event.RunStarted:
			begun++
		case event.CellFinished:
			if finished[d.Cell.Position] != 0 {
				t.Errorf("cell %d is told to have finished twice", d.Cell.Number)
			}
			finished[d.Cell.Position] = d.Cell.Attempt
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if begun != 1 {
		t.Errorf("the run is told to have started %d times", begun)
	}
	for _, c := range run.Cells {
		if finished[c.Position] != c.Attempt {
			t.Errorf("cell %d: the result is of attempt %d, and %d is told to have finished", c.Number, c.Attempt, finished[c.Position])
		}
	}
}

// verifyMetrics demands that no point is there twice, and one result of each cell.
func verifyMetrics(t *testing.T, run *store.Reader) {
	t.Helper()
	f, err := os.Open(filepath.Join(run.Dir, "metrics.lp.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	seen := make(map[string]bool)
	results := 0
	for line, err := range influx.ReadLines(f) {
		if err != nil {
			t.Fatal(err)
		}
		text := string(line)
		series, _, _ := strings.Cut(text, " ")
		key := series + text[strings.LastIndexByte(text, ' '):]
		if seen[key] {
			t.Errorf("twice in metrics.lp.gz: %s", key)
		}
		seen[key] = true
		if strings.HasPrefix(text, "bela_cell,") {
			results++
		}
	}
	if results != drillCells {
		t.Errorf("metrics.lp.gz has %d results of %d cells", results, drillCells)
	}
}

// awaitNothingLeft gives the lab's sweepers, which clean up after a controller
// that was killed, their time, and then demands that nothing is left.
func awaitNothingLeft(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); len(leftOf(t, dir)) > 0 && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	assertNothingLeft(t, dir)
}
