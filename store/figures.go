package store

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"bela/measure"
)

// Figures are numbers that somebody published: cells as a run has them, as far
// as they were printed, and nothing behind them.
type Figures struct {
	Dir string `json:"-"`
	// Version is the version of the files.
	Version int `json:"figures"`
	// Name says where they come from; Notes what to keep in mind.
	Name  string   `json:"name"`
	Notes []string `json:"notes"`
	// Dimensions are columns of cells.csv. A cell without a value in one does not
	// have it.
	Dimensions []string `json:"dimensions"`
	// Only says, by an experiment's name, which values of dimensions belong to it.
	Only map[string]map[string][]string `json:"only"`
	// Cells are in the order of the file.
	Cells []measure.Cell `json:"-"`
	// Doubts are what is to be said about single cells, by their number.
	Doubts map[int]string `json:"-"`
	// Metrics are the published columns, of cells.csv and components.csv.
	Metrics []string `json:"-"`
}

// figuresVersion is the version that this package reads.
const figuresVersion = 1

// figuresFile is what tells figures from a run.
const figuresFile = "figures.json"

// IsFigures says whether a directory, or one of that name below root, holds
// figures.
func IsFigures(name, root string) bool {
	dir, err := find(name, root)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, figuresFile))
	return err == nil
}

// OpenFigures reads published figures. Its errors are those of Open.
func OpenFigures(name, root string) (*Figures, error) {
	dir, err := find(name, root)
	if err != nil {
		return nil, err
	}
	f := &Figures{Dir: dir, Doubts: map[int]string{}}
	path := filepath.Join(dir, figuresFile)
	if err := readJSON(path, f); err != nil {
		return nil, err
	}
	if f.Version != figuresVersion {
		return nil, &CorruptError{Path: path, Err: fmt.Errorf("version %d, and this bela reads %d", f.Version, figuresVersion)}
	}
	if err := f.readCells(); err != nil {
		return nil, err
	}
	return f, f.readComponents()
}

// For are the cells that belong to an experiment: those that Only allows, or
// all where it says nothing of it.
func (f *Figures) For(experiment string) []measure.Cell {
	only, ok := f.Only[experiment]
	if !ok {
		return f.Cells
	}
	var cells []measure.Cell
	for _, c := range f.Cells {
		belongs := true
		for name, legal := range only {
			i := slices.IndexFunc(c.Dimensions, func(d measure.Dimension) bool { return d.Name == name })
			belongs = belongs && i >= 0 && slices.Contains(legal, FormatValue(c.Dimensions[i].Value))
		}
		if belongs {
			cells = append(cells, c)
		}
	}
	return cells
}

// eachRow reads a CSV file by its header.
func eachRow(path string, use func(row map[string]string) error) (header []string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	rows, err := csv.NewReader(file).ReadAll()
	if err == nil && len(rows) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, &CorruptError{Path: path, Err: err}
	}
	for i, texts := range rows[1:] {
		row := map[string]string{}
		for j, name := range rows[0] {
			row[name] = texts[j]
		}
		if err := use(row); err != nil {
			return nil, &CorruptError{Path: path, Line: i + 2, Err: err}
		}
	}
	return rows[0], nil
}

func (f *Figures) readCells() error {
	header, err := eachRow(filepath.Join(f.Dir, "cells.csv"), func(row map[string]string) error {
		number, err := strconv.Atoi(row["cell"])
		if err != nil {
			return fmt.Errorf("cell: %w", err)
		}
		c := measure.Cell{Position: number, Number: number, Repetition: 1, Attempt: 1, Verdict: measure.Valid}
		for _, name := range f.Dimensions {
			switch v, err := strconv.ParseFloat(row[name], 64); {
			case row[name] == "":
			case err == nil:
				c.Dimensions = append(c.Dimensions, measure.Dimension{Name: name, Value: v})
			default:
				c.Dimensions = append(c.Dimensions, measure.Dimension{Name: name, Value: row[name]})
			}
		}
		if row["note"] != "" {
			f.Doubts[number] = row["note"]
		}
		var errs []error
		for name, to := range map[string]**float64{
			"latency_mean_ms": &c.Latency.Mean, "latency_p50_ms": &c.Latency.P50, "latency_p95_ms": &c.Latency.P95, "latency_p99_ms": &c.Latency.P99,
			"broker_in_Bps": &c.BrokerIn, "broker_out_Bps": &c.BrokerOut, "gateway_in_Bps": &c.GatewayIn, "gateway_out_Bps": &c.GatewayOut,
			"hub_in_Bps": &c.HubIn, "drops_per_5min": &c.DropsPer5Min, "delivered_msg_s": &c.DeliveredRate,
		} {
			errs = append(errs, figure(row, name, to))
		}
		f.Cells = append(f.Cells, c)
		return errors.Join(errs...)
	})
	f.published(header)
	return err
}

func (f *Figures) readComponents() error {
	header, err := eachRow(filepath.Join(f.Dir, "components.csv"), func(row map[string]string) error {
		i := slices.IndexFunc(f.Cells, func(c measure.Cell) bool { return strconv.Itoa(c.Number) == row["cell"] })
		if i < 0 {
			return fmt.Errorf("there is no cell %q", row["cell"])
		}
		k := measure.Component{Component: row["component"], Instance: 1}
		err := errors.Join(figure(row, "cpu_mcpu_mean", &k.CPUMean), figure(row, "cpu_mcpu_max", &k.CPUMax),
			figure(row, "memory_mib_mean", &k.MemoryMean), figure(row, "memory_mib_max", &k.MemoryMax))
		f.Cells[i].Components = append(f.Cells[i].Components, k)
		return err
	})
	f.published(header)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// published keeps the columns that are numbers of the contract.
func (f *Figures) published(header []string) {
	for _, name := range header {
		known := slices.Contains(measuredColumns(), name) || slices.Contains(componentColumns(), name)
		if known && !slices.Contains([]string{"cell", "component"}, name) {
			f.Metrics = append(f.Metrics, name)
		}
	}
}

// figure reads a number; empty was not published.
func figure(row map[string]string, name string, to **float64) error {
	if row[name] == "" {
		return nil
	}
	v, err := strconv.ParseFloat(row[name], 64)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*to = &v
	return nil
}
