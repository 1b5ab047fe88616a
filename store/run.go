package store

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
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
	// Invocation is how the run was called, for whoever goes on with it.
	Invocation Invocation
	// Inventory is the inventory file as read; nil where there was none.
	Inventory []byte
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
	lastEvent   uint64               // number of the last event in events.jsonl when it was opened
	repairs     []string             // what a crash had left half written, in words

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

func (r *Run) writeInputs(in Inputs) error {
	r.environment = in.Environment
	if err := r.write("experiment.hcl", in.Experiment); err != nil {
		return err
	}
	if err := r.writeJSON("variables.json", in.Variables); err != nil {
		return err
	}
	if in.Inventory != nil {
		if err := r.write(inventoryFile, in.Inventory); err != nil {
			return err
		}
	}
	if err := r.writeJSON(invocationFile, in.Invocation); err != nil {
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
	case CellStarted, CellFailed, CellSkipped:
		delete(done, e.Position)
	}
}
