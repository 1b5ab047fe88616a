package store

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"bela/event"
	"bela/measure"
)

// flushEvery is how often events and metrics reach the file system while a run
// writes them; a transition in the journal flushes and syncs them as well.
const flushEvery = time.Second

// Inputs are what a run begins with. Variables and Plan are stored as JSON.
type Inputs struct {
	Experiment  []byte // the experiment file as read
	Variables   any
	Plan        any
	Environment Environment
	// Dimensions are the matrix's, in order: columns of cells.csv.
	Dimensions []string
}

// Run is a run directory being written. Its methods may be called from several
// goroutines.
type Run struct {
	dir  string
	now  func() time.Time
	lock *os.File

	mu          sync.Mutex
	closed      bool
	err         error // the first error of a flush in the background
	journal     *os.File
	journalSize int64
	eventsFile  *os.File
	events      *bufio.Writer
	metricsFile *os.File
	metrics     *gzip.Writer
	unflushed   bool // the metrics hold a gzip member that is not ended
	environment Environment
	dimensions  []string
	cells       map[int]measure.Cell // by position: what the CSV files are made of
	done        map[int]bool         // positions that the journal says are done

	stop    chan struct{}
	stopped chan struct{}
}

// Create makes results/<experiment>/<time>-<id>/ below root, stores the inputs
// and points root/latest at it. The run must be closed.
func Create(root, experiment string, now time.Time, id string, in Inputs) (*Run, error) {
	if err := checkDimensions(in.Dimensions); err != nil {
		return nil, err
	}
	relative := filepath.Join(fileName(experiment), now.UTC().Format("20060102T150405Z")+"-"+fileName(id))
	dir := filepath.Join(root, relative)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("results cannot be stored in %s: %w; give another directory with -results", root, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("run %s is already there; start again", dir)
		}
		return nil, fmt.Errorf("results cannot be stored in %s: %w; give another directory with -results", root, err)
	}
	r := &Run{dir: dir, dimensions: in.Dimensions, cells: map[int]measure.Cell{}}
	if err := r.open(); err != nil {
		return nil, err
	}
	if err := errors.Join(r.writeInputs(in), r.writeTables()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := errors.Join(syncDir(filepath.Dir(dir)), linkLatest(root, relative)); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Reopen opens a run directory to go on with it. What a crash left half written
// is cut off, the CSV files are made again, and root/latest is left as it is.
func Reopen(dir string) (*Run, error) {
	reader, err := Open(dir, "")
	if err != nil {
		return nil, err
	}
	r := &Run{dir: reader.Dir, dimensions: reader.Plan.Dimensions, environment: reader.Environment, cells: map[int]measure.Cell{}}
	if err := r.open(); err != nil {
		return nil, err
	}
	// Read again: only now does nobody else write.
	if r.cells, err = readCells(r.dir); err == nil {
		err = r.writeTables()
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

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
	if r.journal, err = openTail(path, whole); err != nil {
		return err
	}
	path = r.path("events.jsonl")
	if whole, err = readLines(path, func(json.RawMessage) {}); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if r.eventsFile, err = openTail(path, whole); err != nil {
		return err
	}
	path = r.path("metrics.lp.gz")
	if whole, err = wholeMembers(path); err != nil {
		return err
	}
	if r.metricsFile, err = openTail(path, whole); err != nil {
		return err
	}
	r.events = bufio.NewWriterSize(r.eventsFile, 1<<16)
	r.metrics = gzip.NewWriter(r.metricsFile)
	r.stop, r.stopped = make(chan struct{}), make(chan struct{})
	go r.flushRegularly()
	return nil
}

// openTail opens a file for appending after its first whole bytes.
func openTail(path string, whole int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(whole); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// takeLock locks the directory until the file is closed or the process ends,
// however it ends.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w; wait for it, or end it, and try again", dir, ErrLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (r *Run) writeInputs(in Inputs) error {
	r.environment = in.Environment
	if err := r.write("experiment.hcl", in.Experiment); err != nil {
		return err
	}
	if err := r.writeJSON("variables.json", in.Variables); err != nil {
		return err
	}
	if err := r.WriteEnvironment(in.Environment); err != nil {
		return err
	}
	// The plan comes last: with it the directory is a run.
	return r.writeJSON("plan.json", in.Plan)
}

// WriteEnvironment stores the environment again, once more of it is known.
func (r *Run) WriteEnvironment(e Environment) error {
	e.Format = Format
	if err := r.writeJSON("environment.json", e); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.environment = e
	return nil
}

// Environment is what was last stored.
func (r *Run) Environment() Environment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.environment
}

// Dir is the run directory.
func (r *Run) Dir() string { return r.dir }

// Name is the run directory's own name: its time and id.
func (r *Run) Name() string { return filepath.Base(r.dir) }

// Done are the positions of the cells that are done, in order.
func (r *Run) Done() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.safe()
}

func (r *Run) safe() []int { return slices.Sorted(maps.Keys(r.done)) }

func (r *Run) path(name string) string { return filepath.Join(r.dir, name) }

func (r *Run) failed(name string, err error) error {
	return &WriteError{Path: r.path(name), Dir: r.dir, Safe: r.safe(), Err: err}
}

func (r *Run) write(name string, content []byte) error {
	if err := WriteFile(r.path(name), content); err != nil {
		return r.failed(name, err)
	}
	return nil
}

func (r *Run) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return r.write(name, append(b, '\n'))
}

// Event appends an event. It reaches the file system within a second, and the
// disk with the next transition. The error may be that of an earlier event.
func (r *Run) Event(e event.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return err
	}
	if _, err := r.events.Write(append(line, '\n')); err != nil {
		return r.sticky(r.failed("events.jsonl", err))
	}
	return nil
}

// Metrics appends whole lines of line protocol. They can be read from the file
// within a second, also after the process was killed.
func (r *Run) Metrics(lines []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return err
	}
	if len(lines) == 0 {
		return nil
	}
	r.unflushed = true
	if _, err := r.metrics.Write(lines); err != nil {
		return r.sticky(r.failed("metrics.lp.gz", err))
	}
	return nil
}

// Flush makes events and metrics readable up to here.
func (r *Run) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flush(false)
}

func (r *Run) usable() error {
	if r.closed {
		return fmt.Errorf("run %s is closed", r.dir)
	}
	return r.err
}

func (r *Run) sticky(err error) error {
	if r.err == nil {
		r.err = err
	}
	return err
}

// flush ends the current gzip member, so that the file is whole, and hands both
// files to the kernel, or with sync to the disk.
func (r *Run) flush(sync bool) error {
	if err := r.usable(); err != nil {
		return err
	}
	if err := r.events.Flush(); err != nil {
		return r.sticky(r.failed("events.jsonl", err))
	}
	if r.unflushed {
		if err := r.metrics.Close(); err != nil {
			return r.sticky(r.failed("metrics.lp.gz", err))
		}
		r.metrics.Reset(r.metricsFile)
		r.unflushed = false
	}
	if sync {
		if err := r.eventsFile.Sync(); err != nil {
			return r.sticky(r.failed("events.jsonl", err))
		}
		if err := r.metricsFile.Sync(); err != nil {
			return r.sticky(r.failed("metrics.lp.gz", err))
		}
	}
	return nil
}

func (r *Run) flushRegularly() {
	defer close(r.stopped)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			r.mu.Lock()
			_ = r.flush(false) // the error is kept and given to the next caller
			r.mu.Unlock()
		}
	}
}

// Close flushes and syncs everything and gives the lock up. A second Close is
// nothing.
func (r *Run) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	err := r.flush(true)
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	<-r.stopped
	return errors.Join(err, r.journal.Close(), r.eventsFile.Close(), r.metricsFile.Close(), r.lock.Close())
}

// wholeMembers is the length of a gzip file's whole members: a last one without
// its end is what a crash leaves.
func wholeMembers(path string) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	counted := &countingReader{r: bufio.NewReaderSize(f, 1<<16)}
	var whole int64
	var z *gzip.Reader
	for {
		if z == nil {
			z, err = gzip.NewReader(counted)
		} else {
			err = z.Reset(counted)
		}
		if err != nil {
			return whole, nil
		}
		z.Multistream(false)
		if _, err := io.Copy(io.Discard, z); err != nil {
			return whole, nil
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

// donePositions are the cells whose last transition says that they are done.
func donePositions(entries []Entry) map[int]bool {
	done := map[int]bool{}
	for _, e := range entries {
		transition(done, e)
	}
	return done
}

func transition(done map[int]bool, e Entry) {
	switch e.Kind {
	case CellDone:
		done[e.Position] = true
	case CellStarted, CellFailed:
		delete(done, e.Position)
	}
}
