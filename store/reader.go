package store

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"bela/event"
	"bela/measure"
)

// Outline is what the store needs of a plan; the whole is in Reader.PlanJSON.
type Outline struct {
	Experiment   string        `json:"experiment"`
	Description  string        `json:"description"`
	Seed         int64         `json:"seed"`
	Repetitions  int           `json:"repetitions"`
	Retry        int           `json:"retry"`
	Dimensions   []string      `json:"dimensions"`
	Cells        []OutlineCell `json:"cells"` // in running order
	Expectations []string      `json:"expectations"`
}

// OutlineCell is one cell of an Outline.
type OutlineCell struct {
	Position   int                 `json:"position"`
	Number     int                 `json:"cell"`
	Repetition int                 `json:"repetition"`
	Values     []measure.Dimension `json:"values"`
}

// Reader is a run as it was when it was opened.
type Reader struct {
	Dir         string
	Plan        Outline
	PlanJSON    json.RawMessage
	Environment Environment
	// Journal holds the transitions, in order.
	Journal []Entry
	// Cells are the results that are stored, by number and repetition.
	Cells []measure.Cell
	// Running says that a controller was writing the run when it was opened.
	Running bool
	// Holder is that controller; nil where there is none.
	Holder *Holder
}

// Open reads a run. run is a directory, a directory below root, or "latest" for
// the newest run below root. A run that did not finish opens as far as it came.
//
// Errors: ErrNotRun, ErrIncomplete, *VersionError, *CorruptError, or that of
// the file system.
func Open(run, root string) (*Reader, error) {
	dir, err := find(run, root)
	if err != nil {
		return nil, err
	}
	r := &Reader{Dir: dir}
	if err := r.readEnvironment(); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "plan.json")
	if r.PlanJSON, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: it ended while its plan was being stored; start it again", dir, ErrIncomplete)
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(r.PlanJSON, &r.Plan); err != nil {
		return nil, &CorruptError{Path: path, Err: err}
	}
	if r.Journal, _, err = readJournal(filepath.Join(dir, "journal.jsonl")); err != nil {
		return nil, err
	}
	cells, err := readCells(dir)
	if err != nil {
		return nil, err
	}
	r.Cells = inOrder(cells)
	for position := range donePositions(r.Journal) {
		if _, ok := cells[position]; !ok {
			return nil, &CorruptError{
				Path: filepath.Join(dir, "cells", cellName(position)),
				Err:  errors.New("the journal says that the cell is done, and it has no summary.json"),
			}
		}
	}
	r.Holder = locked(dir)
	r.Running = r.Holder != nil
	return r, nil
}

// find is the directory that a run's name means.
func find(run, root string) (string, error) {
	candidates := []string{run, filepath.Join(root, run)}
	if run == "latest" {
		candidates = []string{filepath.Join(root, run)}
	}
	for _, c := range candidates {
		dir, err := filepath.EvalSymlinks(c)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("run %s: %w", run, err)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return "", fmt.Errorf("%s: %w: it is a file; give the directory that holds cells.csv", c, ErrNotRun)
		}
		return dir, nil
	}
	if run == "latest" {
		return "", fmt.Errorf("%s: %w: there is no run yet; start one, or say with -results where they are", candidates[0], ErrNotRun)
	}
	return "", fmt.Errorf("%s: %w: there is no such directory; runs are in results/<experiment>/", run, ErrNotRun)
}

func (r *Reader) readEnvironment() error {
	path := filepath.Join(r.Dir, "environment.json")
	// The format comes first: the rest of a newer one may not decode.
	var format struct {
		Format int `json:"format"`
	}
	err := readJSON(path, &format)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(r.Dir, "plan.json")); err == nil { // which is stored last
			return &CorruptError{Path: path, Err: errors.New("it is missing, beside a plan")}
		}
		if _, err := os.Stat(filepath.Join(r.Dir, "lock")); err == nil {
			return fmt.Errorf("%s: %w: it ended while it was being made; start it again", r.Dir, ErrIncomplete)
		}
		return fmt.Errorf("%s: %w: it has no environment.json; give results/<experiment>/<run>, or latest", r.Dir, ErrNotRun)
	}
	if err != nil {
		return err
	}
	if format.Format > Format {
		return &VersionError{Dir: r.Dir, Format: format.Format}
	}
	if format.Format < 1 {
		return &CorruptError{Path: path, Err: errors.New("it has no format")}
	}
	return readJSON(path, &r.Environment)
}

// Done says whether the cell at a position is done.
func (r *Reader) Done(position int) bool { return donePositions(r.Journal)[position] }

// Missing are the planned cells without a result, in running order. Where the
// repetitions were enough before all had run, the rest is not missing.
func (r *Reader) Missing() []OutlineCell {
	var missing []OutlineCell
	last := math.MaxInt
	for _, e := range r.Journal {
		switch e.Kind {
		case RepetitionsEnough:
			last = e.Repetition
		case RunResumed:
			last = math.MaxInt // decided anew, from what is stored
		}
	}
	for _, p := range r.Plan.Cells {
		if p.Repetition <= last && !slices.ContainsFunc(r.Cells, func(c measure.Cell) bool { return c.Position == p.Position }) {
			missing = append(missing, p)
		}
	}
	return missing
}

// Finished is the run's last entry where it is run_finished and nothing
// followed; nil where the run goes on or was broken off.
func (r *Reader) Finished() *Entry {
	if n := len(r.Journal); n > 0 && r.Journal[n-1].Kind == RunFinished {
		return &r.Journal[n-1]
	}
	return nil
}

// Attempts is how often the cell at a position was started.
func (r *Reader) Attempts(position int) int {
	n := 0
	for _, e := range r.Journal {
		if e.Kind == CellStarted && e.Position == position {
			n++
		}
	}
	return n
}

// CellDir is the directory of the cell at a position.
func (r *Reader) CellDir(position int) string {
	return filepath.Join(r.Dir, "cells", cellName(position))
}

// Result reads all that is kept of the cell at a position.
func (r *Reader) Result(position int) (CellResult, error) {
	i := slices.IndexFunc(r.Cells, func(c measure.Cell) bool { return c.Position == position })
	if i < 0 {
		return CellResult{}, fmt.Errorf("run %s has no result at position %d", r.Dir, position)
	}
	result := CellResult{Cell: r.Cells[i]}
	for _, h := range []struct {
		name string
		to   **measure.Histogram
	}{{"latency.hist", &result.Latency}, {"service.hist", &result.Service}, {"lateness.hist", &result.Lateness}} {
		path := filepath.Join(r.CellDir(position), h.name)
		b, err := os.ReadFile(path)
		if err != nil {
			return CellResult{}, err
		}
		*h.to = &measure.Histogram{}
		if err := (*h.to).UnmarshalBinary(b); err != nil {
			return CellResult{}, &CorruptError{Path: path, Err: err}
		}
	}
	ledger, err := readLedger(filepath.Join(r.CellDir(position), "ledger.json.gz"))
	if err != nil {
		return CellResult{}, err
	}
	result.Devices = ledger.Devices
	if result.Clocks, result.ClockPairs, err = r.Clocks(position); err != nil {
		return CellResult{}, err
	}
	if result.Series, err = r.Series(position); err != nil {
		return CellResult{}, err
	}
	result.Arrived, err = r.Arrivals(position)
	return result, err
}

// Series reads a cell's seconds.
func (r *Reader) Series(position int) ([]measure.Second, error) {
	path := filepath.Join(r.CellDir(position), "series.csv")
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, &CorruptError{Path: path, Err: err}
	}
	if len(rows) == 0 || !slices.Equal(rows[0], seriesColumns()) {
		return nil, &CorruptError{Path: path, Line: 1, Err: errors.New("it begins with other columns")}
	}
	series := make([]measure.Second, 0, len(rows)-1)
	for i, row := range rows[1:] {
		s, err := parseSecond(row)
		if err != nil {
			return nil, &CorruptError{Path: path, Line: i + 2, Err: err}
		}
		series = append(series, s)
	}
	return series, nil
}

// parseSecond reads a row of seriesColumns.
func parseSecond(row []string) (measure.Second, error) {
	s := measure.Second{Phase: row[9]}
	var errs []error
	keep := func(err error) { errs = append(errs, err) }
	count := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		keep(err)
		return n
	}
	float := func(text string) *float64 {
		if text == "" {
			return nil
		}
		v, err := strconv.ParseFloat(text, 64)
		if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
			err = fmt.Errorf("%q is not a number", text)
		}
		keep(err)
		return &v
	}
	s.T = int(count(row[2]))
	s.Published, s.Delivered = count(row[3]), count(row[4])
	if row[5] != "" {
		n := count(row[5])
		s.Dropped = &n
	}
	s.P5, s.P50, s.P99 = float(row[6]), float(row[7]), float(row[8])
	return s, errors.Join(errs...)
}

// Events reads the events, in order, one after the other, up to where the run
// was broken off.
func (r *Reader) Events(use func(event.Event)) error {
	return r.EventsUntil(func(e event.Event) error { use(e); return nil })
}

// EventsUntil is Events that ends early, with the error that use returns.
func (r *Reader) EventsUntil(use func(event.Event) error) error {
	_, err := eachLine(filepath.Join(r.Dir, "events.jsonl"), use)
	return err
}

// Rebuild makes the CSV files of a run again from its cells.
func (r *Reader) Rebuild() error {
	cells, err := readCells(r.Dir)
	if err != nil {
		return err
	}
	files, err := tables(r.Dir, r.Plan.Dimensions, cells)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := WriteFile(filepath.Join(r.Dir, f.name), f.content); err != nil {
			return fmt.Errorf("run %s: %w", r.Dir, err)
		}
	}
	return nil
}
