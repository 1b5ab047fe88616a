package export

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"bela/store"
)

// checkEvery is how many rows are written between two looks at the context.
const checkEvery = 1000

// each hands a table's rows on, until ctx ends.
func each(ctx context.Context, t Table, use func([]any) error) error {
	n := 0
	for row, err := range t.Rows {
		if n++; err == nil && n%checkEvery == 0 {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = use(row)
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return context.Cause(ctx)
}

// CSV writes one table as RFC 4180, with a header, and the line ends of Unix.
func CSV(ctx context.Context, w io.Writer, t Table) error {
	out := csv.NewWriter(w)
	texts := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		texts[i] = c.Name
	}
	err := out.Write(texts)
	if err != nil {
		return err
	}
	err = each(ctx, t, func(row []any) error {
		for i, v := range row {
			texts[i] = t.Columns[i].format(v)
		}
		return out.Write(texts)
	})
	out.Flush()
	return errors.Join(err, out.Error())
}

// object encodes rows as JSON objects with their columns in order.
type object struct {
	names [][]byte // with the colon
	buf   []byte
}

func newObject(columns []Column) (*object, error) {
	o := &object{}
	for _, c := range columns {
		name, err := json.Marshal(c.Name)
		if err != nil {
			return nil, err
		}
		o.names = append(o.names, append(name, ':'))
	}
	return o, nil
}

// encode appends the row to what buf begins with.
func (o *object) encode(begin string, row []any) ([]byte, error) {
	o.buf = append(o.buf[:0], begin...)
	for i, v := range row {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = append(o.buf, o.names[i]...)
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			v = nil // JSON has no such number
		}
		if t, ok := v.(time.Time); ok {
			v = t.UTC()
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		o.buf = append(o.buf, b...)
	}
	o.buf = append(o.buf, '}')
	return o.buf, nil
}

// NDJSON writes one JSON object a line, with the name of its table first.
func NDJSON(ctx context.Context, w io.Writer, tables []Table) error {
	for _, t := range tables {
		o, err := newObject(t.Columns)
		if err != nil {
			return err
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return err
		}
		begin := `{"table":` + string(name) + `,`
		err = each(ctx, t, func(row []any) error {
			b, err := o.encode(begin, row)
			if err == nil {
				_, err = w.Write(append(b, '\n'))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// JSON writes one object: the run's name, and each table as a list of objects.
func JSON(ctx context.Context, w io.Writer, r *store.Reader, tables []Table) error {
	out := bufio.NewWriter(w)
	head, err := json.Marshal(struct {
		Experiment string `json:"experiment"`
		Run        string `json:"run"`
	}{r.Plan.Experiment, runName(r)})
	if err != nil {
		return err
	}
	_, _ = out.Write(head[:len(head)-1]) // a bufio.Writer keeps its error for Flush
	for _, t := range tables {
		_, _ = fmt.Fprintf(out, ",\n%q: [", t.Name)
		o, err := newObject(t.Columns)
		if err != nil {
			return err
		}
		begin := "\n{"
		err = each(ctx, t, func(row []any) error {
			b, err := o.encode(begin, row)
			begin = ",\n{"
			if err == nil {
				_, err = out.Write(b)
			}
			return err
		})
		if err != nil {
			return err
		}
		_, _ = out.WriteString("\n]")
	}
	_, _ = out.WriteString("}\n")
	return out.Flush()
}
