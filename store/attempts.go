package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bela/measure"
)

// maxAttempt bounds the number of an attempt, and with it the name of its directory.
const maxAttempt = 1000

// An attempt that is moved aside lies in a hidden directory until all of it is
// there.
const (
	attemptPrefix = "attempt-"
	stagingPrefix = "." + attemptPrefix
)

// SetAside moves what is stored of a cell, its result and its logs, into
// cells/<nnn>/attempt-<k>/, so that the next attempt at the cell has the
// directory to itself. last is the attempt before that: what lies there is of
// the first one that has no directory yet, and further ones up to last left
// nothing and get an empty one. Called again it does nothing. The cell has no
// result until the next is written, and the CSV files are made again without it.
// The journal must not call the cell done when this is called.
func (r *Run) SetAside(position, last int) error {
	if last < 1 || last > maxAttempt {
		return fmt.Errorf("cell at position %d: attempt %d is not between 1 and %d", position, last, maxAttempt)
	}
	// A move that was begun comes first: making the cell's directory anew would
	// put a second one of logs beside those that were moved.
	err := finishAside(r.path(filepath.Join("cells", cellName(position))))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := r.CellDir(position)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return err
	}
	if err := setAside(dir, last); err != nil {
		return r.failed(filepath.Join("cells", cellName(position)), err)
	}
	delete(r.cells, position)
	return r.writeTables()
}

func setAside(dir string, last int) error {
	kept, err := attempts(dir)
	if err != nil {
		return err
	}
	for k := highest(kept) + 1; k <= last; k++ {
		if err := os.Mkdir(filepath.Join(dir, stagingPrefix+strconv.Itoa(k)), 0o755); err != nil {
			return err
		}
		if err := finishAside(dir); err != nil {
			return err
		}
	}
	return nil
}

// finishAside ends a move that was begun, perhaps before a crash: everything
// that is no attempt goes into the hidden directory, which then gets its name.
// The summary goes first: a directory without it holds no result, so what is
// half moved is none either.
func finishAside(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	staging := ""
	var names []string
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), stagingPrefix) && e.IsDir():
			staging = e.Name()
		case e.Name() == "summary.json":
			names = append([]string{e.Name()}, names...)
		case !strings.HasPrefix(e.Name(), attemptPrefix):
			names = append(names, e.Name())
		}
	}
	if staging == "" {
		return nil
	}
	aside := filepath.Join(dir, staging)
	for _, n := range names {
		if err := os.Rename(filepath.Join(dir, n), filepath.Join(aside, n)); err != nil {
			return err
		}
	}
	// What was moved is durable in its new place before the place gets its name.
	if err := errors.Join(syncDir(aside), syncDir(dir)); err != nil {
		return err
	}
	if err := os.Rename(aside, filepath.Join(dir, strings.TrimPrefix(staging, "."))); err != nil {
		return err
	}
	return syncDir(dir)
}

// attempts are the numbers of the attempts that were set aside, in the order of
// their directories.
func attempts(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []int
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), attemptPrefix)
		if k, err := strconv.Atoi(text); ok && err == nil && k > 0 && k <= maxAttempt && strconv.Itoa(k) == text && e.IsDir() {
			all = append(all, k)
		}
	}
	return all, nil
}

func highest(numbers []int) int {
	most := 0
	for _, n := range numbers {
		most = max(most, n)
	}
	return most
}

// Attempted is what is known of the earlier attempts at the cell at a position,
// in order: those that have a result, whether it was set aside or stands.
func (r *Reader) Attempted(position int) ([]measure.Attempt, error) {
	dir := r.CellDir(position)
	kept, err := attempts(dir)
	if err != nil {
		return nil, err
	}
	var all []measure.Attempt
	for k := 1; k <= highest(kept)+1; k++ {
		path := filepath.Join(dir, attemptPrefix+strconv.Itoa(k), "summary.json")
		if k > highest(kept) {
			path = filepath.Join(dir, "summary.json")
		}
		var c measure.Cell
		if err := readJSON(path, &c); errors.Is(err, fs.ErrNotExist) {
			continue // it came to no result
		} else if err != nil {
			return nil, err
		}
		all = append(all, measure.Attempt{Attempt: c.Attempt, StartedAt: c.StartedAt, Verdict: c.Verdict, Reasons: c.Reasons})
	}
	return all, nil
}
