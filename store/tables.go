package store

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/measure"
)

// The columns are a contract with users' scripts: they keep their names and
// order, and new ones come at the end.

// cellColumns are the columns of cells.csv.
func cellColumns(dimensions []string) []string {
	return slices.Concat([]string{"cell", "repetition"}, dimensions, measuredColumns(), faultColumns(), []string{"payload_B"})
}

func measuredColumns() []string {
	return []string{
		"verdict", "reason", "started_at", "measured_s",
		"published", "acked", "delivered", "dropped", "duplicated", "reordered", "late", "unknown",
		"drops_per_5min", "offered_msg_s", "achieved_msg_s", "delivered_msg_s",
		"latency_mean_ms", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_p999_ms", "latency_max_ms",
		"clock_error_ms", "lateness_p99_ms",
		"broker_in_Bps", "broker_out_Bps", "gateway_in_Bps", "gateway_out_Bps", "hub_in_Bps",
	}
}

func componentColumns() []string {
	return []string{
		"cell", "repetition", "component", "instance", "node", "cpu_mcpu_mean", "cpu_mcpu_p95", "cpu_mcpu_max",
		"memory_mib_mean", "memory_mib_max", "net_in_Bps", "net_out_Bps", "restarts",
		"cpu_throttled_s", "oom_kills", "memory_mib_peak", "net_source",
		"in_msg_s", "out_msg_s", "in_message_B", "out_message_B", "share", "share_max_over_mean", "share_cv",
	}
}

func seriesColumns() []string {
	return []string{
		"cell", "repetition", "t_s", "published", "delivered", "dropped",
		"latency_p5_ms", "latency_p50_ms", "latency_p99_ms", "phase",
	}
}

// checkDimensions refuses what would give cells.csv two columns of one name.
func checkDimensions(dimensions []string) error {
	columns := cellColumns(dimensions)
	for i, c := range columns {
		if slices.Index(columns, c) != i {
			return fmt.Errorf("dimension %q is also another column of cells.csv; give it another name in the matrix", c)
		}
	}
	return nil
}

func cellRow(c measure.Cell, dimensions []string) []string {
	row := []string{strconv.Itoa(c.Number), strconv.Itoa(c.Repetition)}
	for _, name := range dimensions {
		i := slices.IndexFunc(c.Dimensions, func(d measure.Dimension) bool { return d.Name == name })
		if i < 0 {
			row = append(row, "")
			continue
		}
		row = append(row, FormatValue(c.Dimensions[i].Value))
	}
	reasons := make([]string, len(c.Reasons))
	for i, r := range c.Reasons {
		reasons[i] = r.Code + ": " + r.Text
	}
	row = append(row, string(c.Verdict), strings.Join(reasons, "; "), timestamp(c.StartedAt))
	if c.MeasuredSeconds > 0 {
		row = append(row, number(&c.MeasuredSeconds))
	} else {
		row = append(row, "")
	}
	l := c.Ledger
	for _, n := range []int64{l.Published, l.Acked, l.Delivered, l.Dropped, l.Duplicated, l.Reordered, l.Late, l.Unknown} {
		if HasLedger(c) {
			row = append(row, strconv.FormatInt(n, 10))
		} else {
			row = append(row, "")
		}
	}
	for _, v := range []*float64{
		c.DropsPer5Min, c.OfferedRate, c.AchievedRate, c.DeliveredRate,
		c.Latency.Mean, c.Latency.P50, c.Latency.P95, c.Latency.P99, c.Latency.P999, c.Latency.Max,
		c.ClockErrorMS, c.LatenessP99MS,
		c.BrokerIn, c.BrokerOut, c.GatewayIn, c.GatewayOut, c.HubIn,
	} {
		row = append(row, number(v))
	}
	return append(append(row, faultCells(c)...), number(c.Payload))
}

// HasLedger says whether a cell came as far as closing its books; without, the
// ledger's numbers were not taken.
func HasLedger(c measure.Cell) bool { return c.Ledger.Taken() }

func componentRow(c measure.Cell, k measure.Component) []string {
	row := []string{strconv.Itoa(c.Number), strconv.Itoa(c.Repetition), k.Component, strconv.Itoa(k.Instance), k.Node}
	for _, v := range []*float64{k.CPUMean, k.CPUP95, k.CPUMax, k.MemoryMean, k.MemoryMax, k.NetIn, k.NetOut} {
		row = append(row, number(v))
	}
	kills := ""
	if k.OOMKills != nil {
		kills = strconv.FormatInt(*k.OOMKills, 10)
	}
	row = append(row, strconv.Itoa(k.Restarts), number(k.CPUThrottled), kills, number(k.MemoryPeak), k.NetSource)
	for _, v := range []*float64{k.MessagesIn, k.MessagesOut, k.MessageIn, k.MessageOut, k.Share, k.MaxOverMean, k.ShareCV} {
		row = append(row, number(v))
	}
	return row
}

func seriesRows(c measure.Cell, series []measure.Second) [][]string {
	rows := make([][]string, len(series))
	for i, s := range series {
		dropped := ""
		if s.Dropped != nil {
			dropped = strconv.FormatInt(*s.Dropped, 10)
		}
		rows[i] = []string{
			strconv.Itoa(c.Number), strconv.Itoa(c.Repetition), strconv.Itoa(s.T),
			strconv.FormatInt(s.Published, 10), strconv.FormatInt(s.Delivered, 10), dropped,
			number(s.P5), number(s.P50), number(s.P99), s.Phase,
		}
	}
	return rows
}

// number writes a number with a point and all its digits; nil is empty.
func number(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}

// FormatValue writes a dimension's value as it stands in cells.csv.
func FormatValue(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return number(&v)
	default:
		return fmt.Sprint(v)
	}
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// encodeTable writes RFC 4180, with the line ends of Unix.
func encodeTable(header []string, rows [][]string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := errors.Join(w.Write(header), w.WriteAll(rows)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// inOrder are the cells by number and repetition, as a reader of a table looks
// for them, in whatever order they ran.
func inOrder(cells map[int]measure.Cell) []measure.Cell {
	return slices.SortedFunc(maps.Values(cells), func(a, b measure.Cell) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Repetition, b.Repetition), cmp.Compare(a.Position, b.Position))
	})
}

// writeTables makes cells.csv, components.csv and series.csv from the cells.
func (r *Run) writeTables() error {
	files, err := tables(r.dir, r.dimensions, r.cells)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := r.write(f.name, f.content); err != nil {
			return err
		}
	}
	return nil
}

func tables(dir string, dimensions []string, cells map[int]measure.Cell) ([]file, error) {
	var cellRows, componentRows [][]string
	series, err := encodeTable(seriesColumns(), nil)
	if err != nil {
		return nil, err
	}
	header := len(series)
	for _, c := range inOrder(cells) {
		cellRows = append(cellRows, cellRow(c, dimensions))
		for _, k := range c.Components {
			componentRows = append(componentRows, componentRow(c, k))
		}
		path := filepath.Join(dir, "cells", cellName(c.Position), "series.csv")
		own, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case !bytes.HasPrefix(own, series[:header]):
			return nil, &CorruptError{Path: path, Line: 1, Err: errors.New("it begins with other columns")}
		}
		series = append(series, own[header:]...)
	}
	cellTable, err := encodeTable(cellColumns(dimensions), cellRows)
	if err != nil {
		return nil, err
	}
	componentTable, err := encodeTable(componentColumns(), componentRows)
	if err != nil {
		return nil, err
	}
	return []file{{"cells.csv", cellTable}, {"components.csv", componentTable}, {"series.csv", series}}, nil
}
