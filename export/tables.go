package export

import (
	"cmp"
	"errors"
	"io/fs"
	"iter"
	"math"
	"reflect"
	"strings"

	"bela/event"
	"bela/measure"
	"bela/store"
)

// dimensions are the matrix's columns; their types are those of their values.
func dimensions(r *store.Reader) []Column {
	var columns []Column
	for _, name := range r.Plan.Dimensions {
		c := Column{Name: name, Key: true}
		for _, cell := range r.Plan.Cells {
			for _, d := range cell.Values {
				if d.Name != name {
					continue
				}
				switch d.Value.(type) {
				case float64:
					c.Type = Number
				case bool:
					c.Type = Truth
				}
			}
		}
		columns = append(columns, c)
	}
	return columns
}

func cells(r *store.Reader) Table {
	return textual(cellsTable, r.CellColumns(), dimensions(r), func(yield func([]string, error) bool) {
		for _, c := range r.Cells {
			if !yield(r.CellRow(c), nil) {
				return
			}
		}
	})
}

func components(r *store.Reader) Table {
	return textual(componentsTable, r.ComponentColumns(), nil, func(yield func([]string, error) bool) {
		for _, c := range r.Cells {
			for _, row := range r.ComponentRows(c) {
				if !yield(row, nil) {
					return
				}
			}
		}
	})
}

func series(r *store.Reader) Table {
	return textual(seriesTable, r.SeriesColumns(), nil, func(yield func([]string, error) bool) {
		for _, c := range r.Cells {
			rows, err := r.SeriesRows(c)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		}
	})
}

// shownPercentiles are dense where latencies are looked at.
func shownPercentiles() []float64 {
	return []float64{0, 1, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 98, 99, 99.5, 99.9, 99.95, 99.99, 100}
}

// percentiles are the distributions of each cell, from its histograms.
func percentiles(r *store.Reader) Table {
	t := Table{Name: percentilesTable, Columns: []Column{
		{"cell", Integer, true}, {"repetition", Integer, true}, {"kind", Text, true}, {"percentile", Number, true},
		{"value_ms", Number, false}, {"count", Integer, false},
	}}
	t.Rows = func(yield func([]any, error) bool) {
		for _, c := range r.Cells {
			result, err := r.Result(c.Position)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a cell that came to no load
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, h := range []struct {
				kind string
				of   *measure.Histogram
			}{{"latency", result.Latency}, {"service", result.Service}, {"lateness", result.Lateness}} {
				for _, p := range shownPercentiles() {
					ns, ok := h.of.Quantile(math.Round(p*100) / 10_000) // 0.999 as it is written, and not 99.9/100
					if !ok {
						break
					}
					if !yield([]any{int64(c.Number), int64(c.Repetition), h.kind, p, ns / 1e6, h.of.Count()}, nil) {
						return
					}
				}
			}
		}
	}
	return t
}

func expectations(r *store.Reader) Table {
	t := Table{Name: expectationsTable, Columns: []Column{
		{"cell", Integer, true}, {"repetition", Integer, true}, {"expectation", Text, true}, {"state", Text, false}, {"message", Text, false},
	}}
	t.Rows = func(yield func([]any, error) bool) {
		for _, c := range r.Cells {
			for _, o := range c.Outcomes {
				var message any
				if o.Message != "" {
					message = o.Message
				}
				if !yield([]any{int64(c.Number), int64(c.Repetition), o.Name, o.State, message}, nil) {
					return
				}
			}
		}
	}
	return t
}

// sampleKeys are what a sample belongs to. Between cells, cell, repetition and
// attempt are empty; outside of load t_s is.
func sampleKeys() []Column {
	return []Column{{"time", Time, true}, {"cell", Integer, true}, {"repetition", Integer, true}, {"attempt", Integer, true}, {"t_s", Integer, true}, {"node", Text, true}}
}

// nodes is a second of each node in a row.
func nodes(r *store.Reader) Table {
	shape := fieldsOf(reflect.TypeFor[event.NodeSample](), "position", "t_s", "node")
	t := Table{Name: nodesTable, Columns: append(sampleKeys(), shape.columns...)}
	t.Rows = func(yield func([]any, error) bool) {
		for s, err := range samples(r) {
			var row []any
			if err == nil {
				row = shape.append(s.keys, reflect.ValueOf(&s.NodeSample).Elem())
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
	return t
}

// instances is a second of each component's instance in a row.
func instances(r *store.Reader) Table {
	shape := fieldsOf(reflect.TypeFor[event.ComponentSample](), "component", "instance", "counted")
	t := Table{Name: instancesTable, Columns: append(sampleKeys(), Column{"component", Text, true}, Column{"instance", Integer, true})}
	t.Columns = append(t.Columns, shape.columns...)
	t.Rows = func(yield func([]any, error) bool) {
		for s, err := range samples(r) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range s.Components {
				c := &s.Components[i]
				row := shape.append(append(s.keys, c.Component, int64(c.Instance)), reflect.ValueOf(c).Elem())
				if !c.Counted {
					shape.clear(row, "messages_in_s", "messages_out_s", "bytes_in_Bps", "bytes_out_Bps", "dropped_s")
				}
				if !yield(row, nil) {
					return
				}
			}
		}
	}
	return t
}

// sample is one second of a node, and what it belongs to.
type sample struct {
	event.NodeSample
	keys []any // values of sampleKeys; with room for a row
}

// samples reads the nodes' seconds from the events.
func samples(r *store.Reader) iter.Seq2[sample, error] {
	return func(yield func(sample, error) bool) {
		var cell event.CellRef
		stop := errors.New("enough")
		keys := make([]any, 0, 64)
		err := r.EventsUntil(func(e event.Event) error {
			switch d := e.Data.(type) {
			case event.CellStarted:
				cell = d.Cell
			case event.NodeSample:
				keys = append(keys[:0], cmp.Or(d.At, e.Time)) // late ones have their own
				if d.Position > 0 && d.Position == cell.Position {
					keys = append(keys, int64(cell.Number), int64(cell.Repetition), int64(cell.Attempt))
				} else {
					keys = append(keys, nil, nil, nil)
				}
				if d.T >= 0 {
					keys = append(keys, int64(d.T))
				} else {
					keys = append(keys, nil)
				}
				if !yield(sample{d, append(keys, d.Node)}, nil) {
					return stop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, stop) {
			yield(sample{}, err)
		}
	}
}

// fields are the single-valued fields of an event's struct as columns, by the
// names that they have in events.jsonl.
type fields struct {
	columns []Column
	index   []int
}

// fieldsOf leaves out lists, and the fields named.
func fieldsOf(t reflect.Type, but ...string) fields {
	left := make(map[string]bool)
	for _, name := range but {
		left[name] = true
	}
	var f fields
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		of := t.Field(i).Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		var as Type
		switch of.Kind() {
		case reflect.String:
			as = Text
		case reflect.Bool:
			as = Truth
		case reflect.Int, reflect.Int64:
			as = Integer
		case reflect.Float64:
			as = Number
		default:
			continue
		}
		if name == "" || name == "-" || left[name] {
			continue
		}
		f.columns, f.index = append(f.columns, Column{Name: name, Type: as}), append(f.index, i)
	}
	return f
}

// append adds a struct's values to a row; a nil pointer is a value that was not
// taken.
func (f fields) append(row []any, v reflect.Value) []any {
	for i, c := range f.columns {
		field := v.Field(f.index[i])
		if field.Kind() == reflect.Pointer {
			if field.IsNil() {
				row = append(row, nil)
				continue
			}
			field = field.Elem()
		}
		switch c.Type {
		case Text:
			row = append(row, field.String())
		case Truth:
			row = append(row, field.Bool())
		case Integer:
			row = append(row, field.Int())
		default:
			row = append(row, field.Float())
		}
	}
	return row
}

// clear empties the named columns at the end of a row.
func (f fields) clear(row []any, names ...string) {
	at := len(row) - len(f.columns)
	for i, c := range f.columns {
		for _, name := range names {
			if c.Name == name {
				row[at+i] = nil
			}
		}
	}
}
