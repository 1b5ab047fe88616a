package export

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/snappy"
)

// rowsInGroup bounds what a writer holds: a group of rows is compressed and
// written as a whole.
const rowsInGroup = 20_000

// Parquet writes one table. Every column is optional, null where a value was
// not taken; times are in milliseconds UTC. It is compressed with Snappy, which
// every reader knows.
func Parquet(ctx context.Context, w io.Writer, t Table) error {
	schema := parquet.NewSchema(t.Name, record{columns: t.Columns, Group: groupOf(t.Columns)})
	out := parquet.NewGenericWriter[any](w, schema, parquet.MaxRowsPerRowGroup(rowsInGroup),
		parquet.CreatedBy("bela", "", ""))
	values := make(parquet.Row, len(t.Columns))
	err := each(ctx, t, func(row []any) error {
		for i, v := range row {
			value, err := parquetValue(v)
			if err != nil {
				return fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
			}
			level := 1
			if value.IsNull() {
				level = 0
			}
			values[i] = value.Level(0, level, i)
		}
		_, err := out.WriteRows([]parquet.Row{values})
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// record is a group whose fields keep the table's order; a plain group sorts
// them by name.
type record struct {
	parquet.Group
	columns []Column
}

// Fields gives the columns in order.
func (r record) Fields() []parquet.Field {
	byName := make(map[string]parquet.Field)
	for _, f := range r.Group.Fields() {
		byName[f.Name()] = f
	}
	fields := make([]parquet.Field, len(r.columns))
	for i, c := range r.columns {
		fields[i] = byName[c.Name]
	}
	return fields
}

func groupOf(columns []Column) parquet.Group {
	g := make(parquet.Group)
	for _, c := range columns {
		var node parquet.Node
		switch c.Type {
		case Integer:
			node = parquet.Int(64)
		case Number:
			node = parquet.Leaf(parquet.DoubleType)
		case Truth:
			node = parquet.Leaf(parquet.BooleanType)
		case Time:
			node = parquet.Timestamp(parquet.Millisecond)
		default:
			node = parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
		}
		g[c.Name] = parquet.Optional(parquet.Compressed(node, &snappy.Codec{}))
	}
	return g
}

func parquetValue(v any) (parquet.Value, error) {
	switch v := v.(type) {
	case nil:
		return parquet.NullValue(), nil
	case string:
		return parquet.ByteArrayValue([]byte(v)), nil
	case int64:
		return parquet.Int64Value(v), nil
	case float64:
		return parquet.DoubleValue(v), nil
	case bool:
		return parquet.BooleanValue(v), nil
	case time.Time:
		return parquet.Int64Value(v.UnixMilli()), nil
	}
	return parquet.Value{}, fmt.Errorf("%T is no value of a table", v)
}
