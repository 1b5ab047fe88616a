package store

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"

	"bela/measure"
)

// CellResult is all that is kept of a cell.
type CellResult struct {
	Cell measure.Cell
	// Latency, Service and Lateness are merged over the measured window; nil
	// where not taken.
	Latency  *measure.Histogram
	Service  *measure.Histogram
	Lateness *measure.Histogram
	Devices  []measure.DeviceLedger
	Series   []measure.Second
	// Arrived is what customers got in each second of load, of a cell with faults;
	// nil in it is a second that was not reported.
	Arrived []*int64
	// Clocks are the nodes' clocks against the controller's, ClockPairs those of
	// nodes that messages pass between against each other, with the probes behind
	// them.
	Clocks     []measure.NodeClock
	ClockPairs []measure.PairClock
	// Slices are the latencies as the agents recorded them, which are read back
	// by Reader.Slices alone; nil where not kept.
	Slices *measure.LatencyBooks
}

// maxPosition bounds a cell's position, and with it the name of its directory.
const maxPosition = 1_000_000

func cellName(position int) string { return fmt.Sprintf("%03d", position) }

// CellDir is the directory of the cell at a position in the running order, made
// with its logs directory if it is not there.
func (r *Run) CellDir(position int) (string, error) {
	if position < 1 || position > maxPosition {
		return "", fmt.Errorf("cell position %d is not between 1 and %d", position, maxPosition)
	}
	name := filepath.Join("cells", cellName(position))
	if err := os.MkdirAll(filepath.Join(r.dir, name, "logs"), 0o755); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return "", r.failed(name, err)
	}
	return r.path(name), nil
}

// CreateLog makes a log file of a cell, such as that of a component's instance
// or an agent, in cells/<nnn>/logs/. The name is made safe, and cannot lead out
// of that directory. A log of the same name is replaced.
func (r *Run) CreateLog(position int, name string) (*os.File, error) {
	dir, err := r.CellDir(position)
	if err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "logs", fileName(name)), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
}

// WriteCell stores a cell's result and then makes the CSV files again. When it
// returns nil the result survives a crash; the cell counts as done once the
// journal says so. A result at the same position is replaced.
//
// Numbers that are not finite are stored as not taken. A *WriteError says what
// is safe when the disk is full.
func (r *Run) WriteCell(c CellResult) error {
	dir, err := r.CellDir(c.Cell.Position)
	if err != nil {
		return err
	}
	c.Cell = finite(c.Cell)
	c.Series = finite(c.Series)
	files, err := cellFiles(c)
	if err != nil {
		return fmt.Errorf("cell at position %d: %w", c.Cell.Position, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return err
	}
	relative := filepath.Join("cells", cellName(c.Cell.Position))
	// Without its summary a directory holds no result, so an old and a new one
	// never mix; not every result has slices, or faults.
	for _, name := range []string{"summary.json", slicesFile, faultsFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r.failed(relative, err)
		}
	}
	delete(r.cells, c.Cell.Position)
	for _, f := range files {
		if err := r.write(filepath.Join(relative, f.name), f.content); err != nil {
			return err
		}
	}
	if err := errors.Join(syncDir(r.path("cells")), syncDir(r.dir)); err != nil {
		return r.failed(relative, err)
	}
	r.cells[c.Cell.Position] = c.Cell
	return r.writeTables()
}

type file struct {
	name    string
	content []byte
}

// cellFiles encodes a result; the summary comes last, for it makes the
// directory a result.
func cellFiles(c CellResult) ([]file, error) {
	var files []file
	for _, h := range []struct {
		name string
		of   *measure.Histogram
	}{{"latency.hist", c.Latency}, {"service.hist", c.Service}, {"lateness.hist", c.Lateness}} {
		content, err := h.of.MarshalBinary() // of nil: an empty histogram
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.name, err)
		}
		files = append(files, file{h.name, content})
	}
	var ledger bytes.Buffer
	z := gzip.NewWriter(&ledger)
	err := json.NewEncoder(z).Encode(storedLedger{Ledger: c.Cell.Ledger, Devices: c.Devices})
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	clocks, err := encodeClocks(c.Clocks, c.ClockPairs)
	if err != nil {
		return nil, fmt.Errorf("clocks: %w", err)
	}
	var slices []byte
	if c.Slices != nil {
		if slices, err = encodeSlices(*c.Slices); err != nil {
			return nil, fmt.Errorf("latency slices: %w", err)
		}
	}
	series, err := encodeTable(seriesColumns(), seriesRows(c.Cell, c.Series))
	if err != nil {
		return nil, fmt.Errorf("series: %w", err)
	}
	summary, err := json.MarshalIndent(c.Cell, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	if slices != nil {
		files = append(files, file{slicesFile, slices})
	}
	faults, err := faultFiles(c)
	if err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	files = append(files, faults...)
	return append(files, file{"ledger.json.gz", ledger.Bytes()}, file{clocksFile, clocks}, file{"series.csv", series}, file{"summary.json", append(summary, '\n')}), nil
}

type storedLedger struct {
	Ledger  measure.Ledger         `json:"ledger"`
	Devices []measure.DeviceLedger `json:"devices"`
}

// readCells reads the summaries of all cells that have one, by position.
func readCells(dir string) (map[int]measure.Cell, error) {
	cells := map[int]measure.Cell{}
	entries, err := os.ReadDir(filepath.Join(dir, "cells"))
	if errors.Is(err, fs.ErrNotExist) {
		return cells, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		position, err := strconv.Atoi(e.Name())
		if err != nil || cellName(position) != e.Name() || !e.IsDir() {
			continue // not ours
		}
		path := filepath.Join(dir, "cells", e.Name(), "summary.json")
		var c measure.Cell
		if err := readJSON(path, &c); errors.Is(err, fs.ErrNotExist) {
			continue // it was under way
		} else if err != nil {
			return nil, err
		}
		if c.Position != position {
			return nil, &CorruptError{Path: path, Err: fmt.Errorf("it is of position %d", c.Position)}
		}
		cells[position] = c
	}
	return cells, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return &CorruptError{Path: path, Err: err}
	}
	return nil
}

// maxLedger bounds what is read of a cell's ledger, unpacked: far above what
// any testbed writes.
const maxLedger = 1 << 30

func readLedger(path string) (storedLedger, error) {
	var l storedLedger
	f, err := os.Open(path)
	if err != nil {
		return l, err
	}
	defer func() { _ = f.Close() }() // only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return l, &CorruptError{Path: path, Err: err}
	}
	if err := json.NewDecoder(io.LimitReader(z, maxLedger)).Decode(&l); err != nil {
		return l, &CorruptError{Path: path, Err: err}
	}
	return l, nil
}

// finite returns a copy of v in which no *float64 points at an infinity or at
// what is not a number, and plain floats of that kind are 0: JSON has neither,
// and one such number must not cost the cell.
func finite[T any](v T) T {
	out := clean(reflect.ValueOf(&v).Elem())
	return out.Interface().(T)
}

func clean(v reflect.Value) reflect.Value {
	bad := func(f float64) bool { return math.IsNaN(f) || math.IsInf(f, 0) }
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.Pointer:
		if f, ok := v.Interface().(*float64); ok && f != nil && bad(*f) {
			out.SetZero()
		}
	case reflect.Float64:
		if bad(v.Float()) {
			out.SetZero()
		}
	case reflect.Interface:
		if f, ok := v.Interface().(float64); ok && bad(f) {
			out.Set(reflect.ValueOf(strconv.FormatFloat(f, 'f', -1, 64)))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(clean(v.Field(i)))
			}
		}
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			break
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(clean(v.Index(i)))
		}
	}
	return out
}
