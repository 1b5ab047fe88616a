package export

import (
	"context"
	"encoding/csv"
	"io"
	"path/filepath"

	"bela/measure"
	"bela/store"
)

// tidyKeys are the columns of the tidy table that say what a value is of; the
// matrix's dimensions stand between repetition and attempt.
func tidyKeys(r *store.Reader) []string {
	keys := []string{"experiment", "run", "table", "cell", "repetition"}
	keys = append(keys, r.Plan.Dimensions...)
	return append(keys, "attempt", "t_s", "time", "node", "component", "instance", "kind", "percentile", "expectation")
}

// Tidy writes all tables as one, with one value a row: what it is of, its
// metric's name, its unit where the name has one, and the value. A value that
// was not taken has no row.
func Tidy(ctx context.Context, w io.Writer, r *store.Reader, tables []Table) error {
	out := csv.NewWriter(w)
	keys := tidyKeys(r)
	err := out.Write(append(keys[:len(keys):len(keys)], "metric", "unit", "value"))
	if err != nil {
		return err
	}
	place := make(map[string]int)
	for i, name := range keys {
		place[name] = i
	}
	at := coordinates(r)
	for _, t := range tables {
		texts := make([]string, len(keys)+3)
		err := each(ctx, t, func(row []any) error {
			clear(texts)
			texts[0], texts[1], texts[2] = r.Plan.Experiment, runName(r), t.Name
			var cell, repetition int64
			for i, c := range t.Columns {
				if !c.Key {
					continue
				}
				texts[place[c.Name]] = c.format(row[i])
				switch n, _ := row[i].(int64); c.Name {
				case "cell":
					cell = n
				case "repetition":
					repetition = n
				}
			}
			for _, d := range at[[2]int64{cell, repetition}] {
				texts[place[d.Name]] = store.FormatValue(d.Value)
			}
			for i, c := range t.Columns {
				if c.Key || row[i] == nil {
					continue
				}
				texts[len(keys)], texts[len(keys)+1], texts[len(keys)+2] = c.Name, c.unit(), c.format(row[i])
				if err := out.Write(texts); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// coordinates are the values of each cell's dimensions.
func coordinates(r *store.Reader) map[[2]int64][]measure.Dimension {
	at := make(map[[2]int64][]measure.Dimension)
	for _, c := range r.Plan.Cells {
		at[[2]int64{int64(c.Number), int64(c.Repetition)}] = c.Values
	}
	return at
}

func runName(r *store.Reader) string { return filepath.Base(r.Dir) }
