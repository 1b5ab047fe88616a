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

	"bela/measure"
)

// NodeClock is what a cell knows of one node's clock: enough to correct the
// cell's times again, offline and with another method.
type NodeClock struct {
	Node string
	// Applied is the axis on which the node's agent stamped its times.
	Applied Axis
	// Fit is the clock as all the probes show it after the cell. Read back, it
	// holds the last line alone: measure.FitClock makes the whole of Probes.
	Fit measure.ClockFit
	// Probes are all those that the fit was made of, from before the cell to
	// after it, in the order in which they were taken.
	Probes []measure.ProbeSample
}

// Axis is a testbed time axis as an agent is told of it:
//
//	testbed = local + Offset + Drift × (local − At)
type Axis struct {
	At     int64   `json:"at_ns"`     // local time
	Offset int64   `json:"offset_ns"` // testbed minus local
	Drift  float64 `json:"drift"`     // seconds a second
}

const clocksFile = "clocks.json.gz"

// maxClocks bounds what is read of a cell's clocks, unpacked: the most probes
// that a controller keeps, of a thousand nodes.
const maxClocks = 512 << 20

// storedClocks is the file. Probes are rows of t1, t2, t3, t4 minus base_ns:
// small, and exact also for readers that hold numbers as floats.
type storedClocks struct {
	Nodes []storedClock `json:"nodes"`
}

type storedClock struct {
	Node    string           `json:"node"`
	Applied Axis             `json:"applied"`
	Fit     measure.ClockFit `json:"fit"`
	Base    int64            `json:"base_ns"`
	Probes  [][]int64        `json:"probes"`
}

func encodeClocks(clocks []NodeClock) ([]byte, error) {
	s := storedClocks{Nodes: make([]storedClock, 0, len(clocks))}
	for _, c := range clocks {
		n := storedClock{Node: c.Node, Applied: c.Applied, Fit: c.Fit, Probes: make([][]int64, len(c.Probes))}
		if len(c.Probes) > 0 {
			n.Base = c.Probes[0].T1
		}
		for i, p := range c.Probes {
			n.Probes[i] = []int64{p.T1 - n.Base, p.T2 - n.Base, p.T3 - n.Base, p.T4 - n.Base}
		}
		s.Nodes = append(s.Nodes, n)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(s), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func decodeClocks(b []byte) ([]NodeClock, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var s storedClocks
	if err := json.NewDecoder(io.LimitReader(z, maxClocks)).Decode(&s); err != nil {
		return nil, err
	}
	var clocks []NodeClock
	for _, n := range s.Nodes {
		c := NodeClock{Node: n.Node, Applied: n.Applied, Fit: n.Fit}
		for i, p := range n.Probes {
			if len(p) != 4 {
				return nil, fmt.Errorf("probe %d of node %q has %d times, not 4", i+1, n.Node, len(p))
			}
			c.Probes = append(c.Probes, measure.ProbeSample{T1: n.Base + p[0], T2: n.Base + p[1], T3: n.Base + p[2], T4: n.Base + p[3]})
		}
		clocks = append(clocks, c)
	}
	return clocks, nil
}

// Clocks reads what the cell at a position knows of the nodes' clocks; nil
// where it was not kept, as in runs of earlier versions.
func (r *Reader) Clocks(position int) ([]NodeClock, error) {
	path := filepath.Join(r.CellDir(position), clocksFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	clocks, err := decodeClocks(b)
	if err != nil {
		return nil, &CorruptError{Path: path, Err: err}
	}
	return clocks, nil
}
