package store

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// open takes the lock and opens the files that grow, cut to their whole lines.
func (r *Run) open() (err error) {
	r.now = time.Now
	if r.lock, err = takeLock(r.dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, f := range []*os.File{r.journal, r.eventsFile, r.metricsFile, r.lock} {
				if f != nil {
					_ = f.Close() // nothing was written
				}
			}
		}
	}()
	path := r.path("journal.jsonl")
	entries, whole, err := readJournal(path)
	if err != nil {
		return err
	}
	r.done, r.journalSize = donePositions(entries), whole
	if r.journal, err = r.openTail("journal.jsonl", whole); err != nil {
		return err
	}
	whole, err = readLines(r.path("events.jsonl"), func(e numbered) { r.lastEvent = e.Seq })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if r.eventsFile, err = r.openTail("events.jsonl", whole); err != nil {
		return err
	}
	if err := r.openMetrics(); err != nil {
		return err
	}
	r.events = bufio.NewWriterSize(r.eventsFile, 1<<16)
	r.stop, r.stopped = make(chan struct{}), make(chan struct{})
	go r.flushRegularly()
	return nil
}

// numbered is what opening needs of an event.
type numbered struct {
	Seq uint64 `json:"seq"`
}

// openTail opens a file for appending after its first whole bytes, and notes
// what it cuts off behind them.
func (r *Run) openTail(name string, whole int64) (*os.File, error) {
	f, err := os.OpenFile(r.path(name), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if torn := info.Size() - whole; torn > 0 {
		r.repairs = append(r.repairs, fmt.Sprintf("%s: %d bytes at its end were half written and are cut off", name, torn))
	}
	if err := f.Truncate(whole); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openMetrics opens metrics.lp.gz behind its last whole member. What can be read
// of a torn one is written again, as the beginning of the next.
func (r *Run) openMetrics() error {
	const name = "metrics.lp.gz"
	whole, torn, err := members(r.path(name))
	if err != nil {
		return err
	}
	if r.metricsFile, err = r.openTail(name, whole); err != nil {
		return err
	}
	r.metrics = gzip.NewWriter(r.metricsFile)
	if len(torn) == 0 {
		return nil
	}
	r.unflushed = true
	if _, err := r.metrics.Write(torn); err != nil {
		return r.failed(name, err)
	}
	r.repairs = append(r.repairs, fmt.Sprintf("%s: %d points could be read of what was cut off and are kept", name, bytes.Count(torn, []byte{'\n'})))
	return nil
}

// maxTorn bounds what is taken of a torn member, unpacked: a member is a second
// of a run.
const maxTorn = 64 << 20

// members are a gzip file's whole members, by their length, and the whole lines
// that can still be read of a last one without its end: that is what a crash
// leaves.
func members(path string) (whole int64, torn []byte, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	counted := &countingReader{r: bufio.NewReaderSize(f, 1<<16)}
	z := new(gzip.Reader)
	for {
		if err := z.Reset(counted); err != nil {
			return whole, nil, nil
		}
		z.Multistream(false)
		// Only a torn member's text is kept, and which one is torn shows at its end.
		var last bytes.Buffer
		_, err := io.Copy(&last, io.LimitReader(z, maxTorn))
		if err == nil {
			_, err = io.Copy(io.Discard, z)
		}
		if err != nil {
			text := last.Bytes()
			return whole, text[:bytes.LastIndexByte(text, '\n')+1], nil
		}
		whole = counted.n
	}
}

// countingReader counts what is taken from it. As an io.ByteReader it keeps
// gzip from reading ahead.
type countingReader struct {
	r *bufio.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}
