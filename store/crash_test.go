package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"bela/event"
	"bela/measure"
)

// snapshot copies a run directory as a crash at this moment would leave it.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "results", "exp", filepath.Base(dir))
	must(t, os.MkdirAll(to, 0o755))
	must(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// A crash between any two writes must leave a directory that can be read, that
// can be gone on with, and in which a cell that was done still is.
func TestCrashBetweenAnyTwoWrites(t *testing.T) {
	r := create(t, t.TempDir())
	attempt := func(k int) CellResult {
		c := result(1)
		c.Cell.Attempt = k
		return c
	}
	log := func() error {
		f, err := r.CreateLog(1, "worker-1-broker.log")
		return errors.Join(err, f.Close())
	}
	cell := filepath.Join(r.Dir(), "cells", "001")
	move := func(name string) func() error {
		return func() error {
			return os.Rename(filepath.Join(cell, name), filepath.Join(cell, ".attempt-1", name))
		}
	}
	type step struct {
		what string
		do   func() error
		done bool // the first cell is, from here on
	}
	steps := []step{
		{"run started", func() error { return r.Journal(Entry{Kind: RunStarted}) }, false},
		{"event", func() error { return r.Event(event.Event{Seq: 1, Data: event.Message{Text: "x"}}) }, false},
		{"points", func() error { return r.Metrics([]byte("a v=1 1\n")) }, false},
		{"flush", r.Flush, false},
		{"cell started", func() error { return r.Journal(Entry{Kind: CellStarted, Position: 1, Attempt: 1}) }, false},
		{"log", log, false},
		{"result", func() error { return r.WriteCell(attempt(1)) }, false},
		{"cell done", func() error { return r.Journal(Entry{Kind: CellDone, Position: 1, Attempt: 1}) }, true},
		{"second attempt", func() error { return r.Journal(Entry{Kind: CellStarted, Position: 1, Attempt: 2}) }, false},
		{"staging", func() error { return os.Mkdir(filepath.Join(cell, ".attempt-1"), 0o755) }, false},
		{"summary moved", move("summary.json"), false},
		{"logs moved", move("logs"), false},
		{"set aside", func() error { return r.SetAside(1, 1) }, false},
		{"second log", log, false},
		{"temporary file", func() error { return os.WriteFile(filepath.Join(cell, ".summary.json.123"), []byte("{"), 0o600) }, false},
		{"second result", func() error { return r.WriteCell(attempt(2)) }, false},
		{"done again", func() error { return r.Journal(Entry{Kind: CellDone, Position: 1, Attempt: 2}) }, true},
		{"finished", func() error { return r.Journal(Entry{Kind: RunFinished}) }, true},
	}
	for _, s := range steps {
		must(t, s.do())
		t.Run(s.what, func(t *testing.T) {
			dir := snapshot(t, r.Dir())
			read, err := Open(dir, "")
			must(t, err)
			must(t, read.Rebuild())
			if read.Done(1) != s.done {
				t.Errorf("the cell is done: %v", read.Done(1))
			}
			again, err := Reopen(dir)
			must(t, err)
			if started := read.Attempts(1); started > 1 && !s.done {
				must(t, again.SetAside(1, started))
			}
			must(t, again.Close())
			read, err = Open(dir, "")
			must(t, err)
			assertAttempts(t, read, s.done)
		})
	}
}

// assertAttempts demands the attempts before the last where it is done, and all of
// them set aside where it is not.
func assertAttempts(t *testing.T, read *Reader, done bool) {
	t.Helper()
	last := read.Attempts(1)
	if last < 2 {
		return
	}
	for k := 1; k <= last; k++ {
		aside := filepath.Join(read.CellDir(1), fmt.Sprintf("attempt-%d", k))
		_, err := os.Stat(aside)
		if k == last && done {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the attempt that is done is set aside (%v)", err)
			}
			continue
		}
		must(t, err)
		var c measure.Cell
		err = readJSON(filepath.Join(aside, "summary.json"), &c)
		if k == 1 && err != nil || err == nil && c.Attempt != k {
			t.Errorf("attempt-%d holds attempt %d (%v)", k, c.Attempt, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(read.CellDir(1), ".*")); len(left) > 0 {
		t.Errorf("left half done: %v", left)
	}
}
