package store

import (
	"errors"
	"io/fs"

	"bela/measure"
)

// CellColumns are the columns of cells.csv.
func (r *Reader) CellColumns() []string { return cellColumns(r.Plan.Dimensions) }

// CellRow is a cell's row of cells.csv: as many texts as CellColumns, empty
// where a number was not taken.
func (r *Reader) CellRow(c measure.Cell) []string { return cellRow(c, r.Plan.Dimensions) }

// ComponentColumns are the columns of components.csv.
func (r *Reader) ComponentColumns() []string { return componentColumns() }

// ComponentRows are a cell's rows of components.csv, one an instance.
func (r *Reader) ComponentRows(c measure.Cell) [][]string {
	rows := make([][]string, len(c.Components))
	for i, k := range c.Components {
		rows[i] = componentRow(c, k)
	}
	return rows
}

// SeriesColumns are the columns of series.csv.
func (r *Reader) SeriesColumns() []string { return seriesColumns() }

// SeriesRows are a cell's rows of series.csv, one a second; none for a cell that
// came to no load.
func (r *Reader) SeriesRows(c measure.Cell) ([][]string, error) {
	series, err := r.Series(c.Position)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return seriesRows(c, series), nil
}
