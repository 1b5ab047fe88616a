package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"bela/measure"
)

// EntryKind names a transition in the journal.
type EntryKind string

// The transitions of a run.
const (
	RunStarted  EntryKind = "run_started"
	RunResumed  EntryKind = "run_resumed"
	CellStarted EntryKind = "cell_started"
	CellDone    EntryKind = "cell_done"   // the attempt's result is durable
	CellFailed  EntryKind = "cell_failed" // it has no result
	// CellSkipped says that somebody gave the cell up; it has no result.
	CellSkipped EntryKind = "cell_skipped"
	// RepetitionsEnough says that the cells of later repetitions are not needed.
	RepetitionsEnough EntryKind = "repetitions_enough"
	RunFinished       EntryKind = "run_finished"
)

// Entry is one line of journal.jsonl.
type Entry struct {
	Time time.Time `json:"time"`
	Kind EntryKind `json:"kind"`
	// Position, Number, Repetition and Attempt name the cell; 0 in entries of the run,
	// but for the last repetition in repetitions_enough.
	Position   int             `json:"position,omitempty"`
	Number     int             `json:"cell,omitempty"`
	Repetition int             `json:"repetition,omitempty"`
	Attempt    int             `json:"attempt,omitempty"`
	Verdict    measure.Verdict `json:"verdict,omitempty"` // cell_done
	Reason     string          `json:"reason,omitempty"`  // cell_failed, cell_skipped, repetitions_enough, run_finished
	Status     *int            `json:"status,omitempty"`  // run_finished: the exit status
}

// readLines decodes a file of one JSON value a line and returns the length of
// its whole lines. A last line without its end is what a crash leaves of a
// write and is left out; a whole line that does not decode is corruption.
func readLines[T any](path string, use func(T)) (whole int64, err error) {
	return eachLine(path, func(v T) error { use(v); return nil })
}

// eachLine is readLines that ends early, with the error that use returns. It
// holds one line at a time.
func eachLine[T any](path string, use func(T) error) (whole int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	in := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return whole, err
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return whole, &CorruptError{Path: path, Line: n, Err: err}
		}
		if err := use(v); err != nil {
			return whole, err
		}
		whole += int64(len(line))
	}
}

// readJournal reads journal.jsonl; none is an empty one.
func readJournal(path string) (entries []Entry, whole int64, err error) {
	whole, err = readLines(path, func(e Entry) { entries = append(entries, e) })
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	return entries, whole, err
}

// Journal appends a transition; when it returns nil the entry, and every event
// and metric before it, survives a crash. A zero time is now.
func (r *Run) Journal(e Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = r.now()
	}
	e.Time = e.Time.UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := r.flush(true); err != nil {
		return err
	}
	if err := r.appendJournal(append(line, '\n')); err != nil {
		return r.failed("journal.jsonl", err)
	}
	transition(r.done, e)
	return nil
}

// appendJournal writes a line whole or not at all, as far as the disk lets it:
// what a full disk took of it is cut off again, so that the next line does not
// run into it.
func (r *Run) appendJournal(line []byte) error {
	_, err := r.journal.Write(line)
	if err == nil {
		err = r.journal.Sync()
	}
	if err != nil {
		return errors.Join(err, r.journal.Truncate(r.journalSize))
	}
	r.journalSize += int64(len(line))
	return nil
}
