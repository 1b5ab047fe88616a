package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"bela/measure"
)

// Latency reads the latencies of the cell at a position, merged over its
// measured window; nil where none were taken.
func (r *Reader) Latency(position int) (*measure.Histogram, error) {
	path := filepath.Join(r.CellDir(position), "latency.hist")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h := &measure.Histogram{}
	if err := h.UnmarshalBinary(b); err != nil {
		return nil, &CorruptError{Path: path, Err: err}
	}
	return h, nil
}
