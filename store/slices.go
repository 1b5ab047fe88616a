package store

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"bela/measure"
)

// slicesFile holds a cell's latencies as the agents recorded them: with
// clocks.json.gz all that is needed to correct them again. The first line says
// what the others are counted by, and each of those is one slice.
const slicesFile = "slices.jsonl.gz"

// maxSlices bounds the file, packed. A cell with more, many hours between many
// nodes, has none: its corrected histograms remain.
const maxSlices = 128 << 20

// maxSlicesRead bounds what is read of it, unpacked.
const maxSlicesRead = 4 << 30

// storedBooks is the first line.
type storedBooks struct {
	Start          int64    `json:"start_ns"` // testbed time of the start of load
	From           int64    `json:"from_ns"`  // the measured window
	To             int64    `json:"to_ns"`
	ServiceSeconds int      `json:"service_seconds"` // of load in a slice of kind service
	Sources        []string `json:"sources"`         // the nodes with devices
	Customers      []string `json:"customers"`       // the nodes with customers
}

// storedSlice is any other line: what one node's customers got from one node's
// devices.
type storedSlice struct {
	Kind     string             `json:"kind"`     // latency | service
	Customer int                `json:"customer"` // index of its node
	Source   int                `json:"source"`   // index of its node
	Second   int32              `json:"second"`   // of load, the first of them
	Values   *measure.Histogram `json:"values"`
}

const (
	kindLatency = "latency"
	kindService = "service"
)

// encodeSlices is nil where the file would be above its bound.
func encodeSlices(b measure.LatencyBooks) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	lines := json.NewEncoder(z)
	head := storedBooks{Start: b.Start, From: b.From, To: b.To, ServiceSeconds: b.ServiceSeconds, Sources: b.Sources}
	for _, n := range b.Nodes {
		head.Customers = append(head.Customers, n.Node)
	}
	if err := lines.Encode(head); err != nil {
		return nil, err
	}
	for i, n := range b.Nodes {
		for j, s := range slices.Concat(n.Latency, n.Service) {
			kind := kindLatency
			if j >= len(n.Latency) {
				kind = kindService
			}
			if err := lines.Encode(storedSlice{kind, i, s.Source, s.Second, s.Latency}); err != nil {
				return nil, err
			}
			if out.Len() > maxSlices {
				return nil, nil
			}
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func decodeSlices(r io.Reader) (*measure.LatencyBooks, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	lines := json.NewDecoder(io.LimitReader(z, maxSlicesRead))
	var head storedBooks
	if err := lines.Decode(&head); err != nil {
		return nil, err
	}
	b := &measure.LatencyBooks{Start: head.Start, From: head.From, To: head.To, ServiceSeconds: head.ServiceSeconds, Sources: head.Sources}
	for _, name := range head.Customers {
		b.Nodes = append(b.Nodes, measure.NodeLatencies{Node: name})
	}
	for line := 2; ; line++ {
		var s storedSlice
		err := lines.Decode(&s)
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err == nil && (s.Customer < 0 || s.Customer >= len(b.Nodes) || s.Values == nil) {
			err = fmt.Errorf("it is of customer node %d of %d, or without values", s.Customer, len(b.Nodes))
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		n, slice := &b.Nodes[s.Customer], measure.LatencySlice{Second: s.Second, Source: s.Source, Latency: s.Values}
		switch s.Kind {
		case kindLatency:
			n.Latency = append(n.Latency, slice)
		case kindService:
			n.Service = append(n.Service, slice)
		default:
			return nil, fmt.Errorf("line %d: %q is no kind of slice", line, s.Kind)
		}
	}
}

// Slices reads the latencies of the cell at a position as the agents recorded
// them, by their clocks as known before the cell; nil where they were not kept,
// as in runs of earlier versions. measure.RecomputeLatencies corrects them with
// what Clocks reads.
func (r *Reader) Slices(position int) (*measure.LatencyBooks, error) {
	path := filepath.Join(r.CellDir(position), slicesFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := decodeSlices(f)
	if err != nil {
		return nil, &CorruptError{Path: path, Err: err}
	}
	return b, nil
}
