package export

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"bela/store"
)

// Type is what a column holds.
type Type int

// The types of columns. A value that was not taken is nil in each of them.
const (
	Text    Type = iota // string
	Integer             // int64
	Number              // float64
	Truth               // bool
	Time                // time.Time, UTC
)

// Column is one column of a table.
type Column struct {
	Name string
	Type Type
	// Key says that the column tells rows apart, and is no measured value.
	Key bool
}

// Table is one table of a run. Rows yields each row once, in order, with as
// many values as Columns; a row is only good until the next one. It ends after
// an error.
type Table struct {
	Name    string
	Columns []Column
	Rows    iter.Seq2[[]any, error]
}

// names of the tables, in the order in which they are written.
const (
	cellsTable        = "cells"
	componentsTable   = "components"
	seriesTable       = "series"
	percentilesTable  = "percentiles"
	expectationsTable = "expectations"
	nodesTable        = "nodes"
	instancesTable    = "instances"
)

// TableNames lists the tables.
func TableNames() []string {
	return []string{cellsTable, componentsTable, seriesTable, percentilesTable, expectationsTable, nodesTable, instancesTable}
}

// Tables are the run's tables of the given names; all where there are none.
func Tables(r *store.Reader, names ...string) ([]Table, error) {
	if len(names) == 0 {
		names = TableNames()
	}
	make := map[string]func(*store.Reader) Table{
		cellsTable: cells, componentsTable: components, seriesTable: series, percentilesTable: percentiles,
		expectationsTable: expectations, nodesTable: nodes, instancesTable: instances,
	}
	var tables []Table
	for _, name := range names {
		table, ok := make[name]
		if !ok {
			return nil, fmt.Errorf("there is no table %q: use %s", name, strings.Join(TableNames(), ", "))
		}
		tables = append(tables, table(r))
	}
	return tables, nil
}

// keyColumns tell the rows of any table apart; so do a matrix's dimensions.
func keyColumns() map[string]bool {
	return map[string]bool{"cell": true, "repetition": true, "attempt": true, "component": true, "instance": true,
		"node": true, "t_s": true, "kind": true, "percentile": true, "expectation": true}
}

// typeOf is the type of a column of the CSV files, by its name: the files are
// text, and their names are a contract.
func typeOf(name string) Type {
	switch name {
	case "verdict", "reason", "component", "node", "phase", "net_source":
		return Text
	case "started_at":
		return Time
	case "cell", "repetition", "instance", "t_s", "published", "acked", "delivered", "dropped", "duplicated", "reordered",
		"late", "unknown", "restarts", "oom_kills":
		return Integer
	}
	return Number
}

// textual makes a table of what the CSV files hold.
func textual(name string, header []string, dimensions []Column, rows iter.Seq2[[]string, error]) Table {
	t := Table{Name: name}
	keys := keyColumns()
	for _, h := range header {
		c := Column{Name: h, Type: typeOf(h), Key: keys[h]}
		for _, d := range dimensions {
			if d.Name == h {
				c = d
			}
		}
		t.Columns = append(t.Columns, c)
	}
	t.Rows = func(yield func([]any, error) bool) {
		row := make([]any, len(t.Columns))
		for texts, err := range rows {
			for i := 0; i < len(texts) && err == nil; i++ {
				row[i], err = t.Columns[i].parse(texts[i])
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
	return t
}

// parse reads a value as it stands in a CSV file; empty is nil.
func (c Column) parse(text string) (v any, err error) {
	if text == "" {
		return nil, nil
	}
	switch c.Type {
	case Integer:
		v, err = strconv.ParseInt(text, 10, 64)
	case Number:
		v, err = strconv.ParseFloat(text, 64)
	case Truth:
		v, err = strconv.ParseBool(text)
	case Time:
		v, err = time.Parse(time.RFC3339Nano, text)
	default:
		return text, nil
	}
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", c.Name, err)
	}
	return v, nil
}

// format writes a value as it stands in a CSV file.
func (c Column) format(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	return fmt.Sprint(v)
}

// unit is the unit that a column's name ends with; empty where it has none.
func (c Column) unit() string {
	_, unit, ok := cutLast(strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(c.Name, "_mean"), "_max"), "_p95"), "_")
	if !ok {
		return ""
	}
	switch unit {
	case "ms", "s", "mib", "mcpu", "Bps":
		return map[string]string{"mib": "MiB", "mcpu": "mCPU", "Bps": "B/s"}[unit] + map[string]string{"ms": "ms", "s": perSecond(c.Name)}[unit]
	case "5min":
		return "1/5min"
	}
	return ""
}

// perSecond tells a rate ("delivered_msg_s", "listen_drops_s") from seconds.
func perSecond(name string) string {
	if name == "t_s" || name == "measured_s" || strings.HasSuffix(name, "_throttled_s") {
		return "s"
	}
	return "1/s"
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
