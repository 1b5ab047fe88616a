package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bela/measure"
)

// Reopen opens a run directory to go on with it. What a crash left half written
// is cut off, which Repairs tells, and the CSV files are made again. root/latest
// is pointed at the run where it names an older one.
func Reopen(dir string) (*Run, error) {
	reader, err := Open(dir, "")
	if err != nil {
		return nil, err
	}
	r := &Run{dir: reader.Dir, dimensions: reader.Plan.Dimensions, environment: reader.Environment, cells: map[int]measure.Cell{}}
	if err := r.open(); err != nil {
		return nil, err
	}
	if err := r.restore(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// restore puts right what several files say together. Only now, with the lock,
// does nobody else write.
func (r *Run) restore() error {
	if err := r.removeTemporary(); err != nil {
		return err
	}
	dirs, err := filepath.Glob(r.path("cells/[0-9]*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := finishAside(dir); err != nil {
			return err
		}
	}
	if r.cells, err = readCells(r.dir); err != nil {
		return err
	}
	if err := r.writeTables(); err != nil {
		return err
	}
	return r.followLatest()
}

// removeTemporary removes the temporary files of writes that were cut short:
// those of WriteFile are hidden, and nothing else that is hidden is a file.
func (r *Run) removeTemporary() error {
	for _, pattern := range []string{".*", "cells/[0-9]*/.*"} {
		found, err := filepath.Glob(r.path(pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if err := os.Remove(path); err != nil {
				return err
			}
			name, _ := filepath.Rel(r.dir, path) // it is below, by the pattern
			r.repairs = append(r.repairs, fmt.Sprintf("%s: a file that was being written is removed; the one that it would have replaced stands", name))
		}
	}
	return nil
}

// followLatest points root/latest at this run where it points at an older one:
// the crash may have come before the link was made. A directory that was moved
// away from its root has no such link beside it, and gets none.
func (r *Run) followLatest() error {
	experiment := filepath.Dir(r.dir)
	root := filepath.Dir(experiment)
	target, err := os.Readlink(filepath.Join(root, "latest"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && filepath.Base(target) >= r.Name() {
		return nil
	}
	if err != nil {
		return nil //nolint:nilerr // not a link, so not bela's
	}
	_ = os.Remove(filepath.Join(root, ".latest-"+r.Name())) // what a crash left
	return linkLatest(root, filepath.Join(filepath.Base(experiment), r.Name()))
}

// Repairs tells what Reopen found half written and what it did about it.
func (r *Run) Repairs() []string { return r.repairs }

// LastEvent is the number of the last event that was there when the run was
// opened; 0 for none.
func (r *Run) LastEvent() uint64 { return r.lastEvent }
