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

const clocksFile = "clocks.json.gz"

// maxClocks bounds what is read of a cell's clocks, unpacked: the most probes
// that are kept, of a thousand nodes and a thousand pairs.
const maxClocks = 1 << 30

// storedClocks is the file. Probes are rows of t1, t2, t3, t4 minus base_ns:
// small, and exact also for readers that hold numbers as floats.
type storedClocks struct {
	Nodes []storedClock `json:"nodes"`
	Pairs []storedPair  `json:"pairs,omitempty"` // not in runs of earlier versions
}

type storedClock struct {
	Node    string           `json:"node"`
	Applied measure.TimeAxis `json:"applied"`
	storedProbes
}

// storedPair is two nodes' clocks against each other; t1 and t4 are the
// customer node's.
type storedPair struct {
	Device   string `json:"device"`
	Customer string `json:"customer"`
	storedProbes
}

type storedProbes struct {
	Fit    measure.ClockFit `json:"fit"`
	Base   int64            `json:"base_ns"`
	Probes [][]int64        `json:"probes"`
}

func storeProbes(fit measure.ClockFit, probes []measure.ProbeSample) storedProbes {
	s := storedProbes{Fit: fit, Probes: make([][]int64, len(probes))}
	if len(probes) > 0 {
		s.Base = probes[0].T1
	}
	for i, p := range probes {
		s.Probes[i] = []int64{p.T1 - s.Base, p.T2 - s.Base, p.T3 - s.Base, p.T4 - s.Base}
	}
	return s
}

// load gives the probes back; of says whose they are.
func (s storedProbes) load(of string) ([]measure.ProbeSample, error) {
	var probes []measure.ProbeSample
	for i, p := range s.Probes {
		if len(p) != 4 {
			return nil, fmt.Errorf("probe %d of %s has %d times, not 4", i+1, of, len(p))
		}
		probes = append(probes, measure.ProbeSample{T1: s.Base + p[0], T2: s.Base + p[1], T3: s.Base + p[2], T4: s.Base + p[3]})
	}
	return probes, nil
}

func encodeClocks(clocks []measure.NodeClock, pairs []measure.PairClock) ([]byte, error) {
	s := storedClocks{Nodes: make([]storedClock, 0, len(clocks))}
	for _, c := range clocks {
		s.Nodes = append(s.Nodes, storedClock{c.Node, c.Applied, storeProbes(c.Fit, c.Probes)})
	}
	for _, p := range pairs {
		s.Pairs = append(s.Pairs, storedPair{p.Device, p.Customer, storeProbes(p.Fit, p.Probes)})
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(s), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func decodeClocks(b []byte) (clocks []measure.NodeClock, pairs []measure.PairClock, err error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	var s storedClocks
	if err := json.NewDecoder(io.LimitReader(z, maxClocks)).Decode(&s); err != nil {
		return nil, nil, err
	}
	for _, n := range s.Nodes {
		probes, err := n.load(fmt.Sprintf("node %q", n.Node))
		if err != nil {
			return nil, nil, err
		}
		clocks = append(clocks, measure.NodeClock{Node: n.Node, Applied: n.Applied, Fit: n.Fit, Probes: probes})
	}
	for _, p := range s.Pairs {
		probes, err := p.load(fmt.Sprintf("nodes %q and %q", p.Device, p.Customer))
		if err != nil {
			return nil, nil, err
		}
		pairs = append(pairs, measure.PairClock{Device: p.Device, Customer: p.Customer, Fit: p.Fit, Probes: probes})
	}
	return clocks, pairs, nil
}

// Clocks reads what the cell at a position knows of the nodes' clocks, against
// the controller's and against each other; nil where it was not kept, as in
// runs of earlier versions.
func (r *Reader) Clocks(position int) ([]measure.NodeClock, []measure.PairClock, error) {
	path := filepath.Join(r.CellDir(position), clocksFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	clocks, pairs, err := decodeClocks(b)
	if err != nil {
		return nil, nil, &CorruptError{Path: path, Err: err}
	}
	return clocks, pairs, nil
}
