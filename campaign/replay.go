package campaign

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"bela/event"
	"bela/influx"
	"bela/measure"
	"bela/store"
)

// told is what the events of a run have said already.
type told struct {
	started  bool
	finished map[int]int // the last attempt that was told to have finished, by position
}

// replay reads the events of the run so far. The encoder learns from them; the
// views get the run's start and the results that stand; and points of events
// that were kept, but had not reached metrics.lp.gz, are written there.
func (r *runner) replay(rec *record) (told, error) {
	t := told{finished: make(map[int]int)}
	if err := r.Store.Flush(); err != nil {
		return t, err
	}
	path := filepath.Join(r.Store.Dir(), metricsFile)
	last, err := lastPoints(path)
	if err != nil {
		return t, err
	}
	var failed error
	err = r.Earlier.Run.Events(func(e event.Event) {
		switch d := e.Data.(type) {
		case event.RunStarted:
			t.started = true
			r.show(e)
		case event.CellFinished:
			t.finished[d.Cell.Position] = max(t.finished[d.Cell.Position], d.Cell.Attempt)
			if r.Earlier.holds(d.Result) {
				r.show(e)
			}
		}
		rec.buf = last.after(rec.encoder.Append(rec.buf[:0], e))
		if len(rec.buf) > 0 && failed == nil {
			failed = r.Store.Metrics(rec.buf)
		}
	})
	return t, errors.Join(err, failed, r.Store.Flush())
}

// holds says whether a result is the one that is stored, and stays.
func (e *Earlier) holds(result measure.Cell) bool {
	for _, c := range e.Run.Cells {
		if c.Position == result.Position {
			return c.Attempt == result.Attempt && !e.again(c)
		}
	}
	return false
}

// show hands an event of before to the views alone.
func (r *runner) show(e event.Event) {
	for _, s := range r.Earlier.Views {
		s.Handle(e)
	}
}

const metricsFile = "metrics.lp.gz"

// points are the latest ones of a file: their time, and how many there are of it.
type points struct {
	time  int64
	count int
}

// lastPoints reads which points are the latest in a file of metrics.
func lastPoints(path string) (points, error) {
	var last points
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return last, nil
	}
	if err != nil {
		return last, err
	}
	defer func() { _ = f.Close() }() // only read
	for line, err := range influx.ReadLines(f) {
		if err != nil {
			return last, &store.CorruptError{Path: path, Err: err}
		}
		switch at := pointTime(line); {
		case at > last.time:
			last = points{at, 1}
		case at == last.time:
			last.count++
		}
	}
	return last, nil
}

// pointTime is the time at the end of a line of line protocol; 0 where it has none.
func pointTime(line []byte) int64 {
	at, err := strconv.ParseInt(string(line[bytes.LastIndexByte(line, ' ')+1:]), 10, 64)
	if err != nil {
		return 0
	}
	return at
}

// after leaves those of an event's points that come after the latest: an event
// has one time, and its points are written in one order.
func (p *points) after(lines []byte) []byte {
	if len(lines) == 0 {
		return nil
	}
	end := bytes.IndexByte(lines, '\n')
	switch at := pointTime(lines[:end]); {
	case at < p.time:
		return nil
	case at > p.time:
		return lines
	}
	for ; p.count > 0 && len(lines) > 0; p.count-- {
		lines = lines[bytes.IndexByte(lines, '\n')+1:]
	}
	return lines
}
