package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Format is the version of the run directory that this package writes.
const Format = 1

// Errors of opening a run; test with errors.Is.
var (
	// ErrNotRun: there is no run directory at the path.
	ErrNotRun = errors.New("not a run directory")
	// ErrIncomplete: the run ended before its plan was stored; nothing was measured.
	ErrIncomplete = errors.New("the run never began")
	// ErrLocked: another controller writes the run.
	ErrLocked = errors.New("another bela is writing this run")
	// ErrCorrupt: a file does not hold what was written; see CorruptError.
	ErrCorrupt = errors.New("corrupt")
)

// LockedError says who else writes the run.
type LockedError struct {
	Dir    string
	Holder Holder
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s: %v: %s; wait for it, or end it, and try again", e.Dir, ErrLocked, e.Holder)
}

// Unwrap gives ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

// VersionError says that a run was written by a newer bela.
type VersionError struct {
	Dir    string
	Format int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("run %s has format %d, this bela reads up to %d; use the bela that wrote it or a newer one", e.Dir, e.Format, Format)
}

// CorruptError says which file does not hold what was written.
type CorruptError struct {
	Path string
	Line int // from 1; 0 where the file has no lines
	Err  error
}

func (e *CorruptError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d is corrupt: %v; restore the file from a copy, or move it away: what cells measured is read without it", e.Path, e.Line, e.Err)
	}
	next := "restore the file from a copy, or start the run anew"
	if filepath.Base(filepath.Dir(filepath.Dir(e.Path))) == "cells" { // only this cell rests on it
		next = "restore the file from a copy, or move the cell's directory away and run it again with bela resume"
	}
	return fmt.Sprintf("%s is corrupt: %v; %s", e.Path, e.Err, next)
}

// Unwrap gives the cause and ErrCorrupt.
func (e *CorruptError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }

// WriteError says what could not be stored, why, and what is safe.
type WriteError struct {
	Path string
	Dir  string
	// Safe are the positions of the cells that are durable.
	Safe []int
	Err  error
}

func (e *WriteError) Error() string {
	safe := "no cell is stored yet"
	if len(e.Safe) > 0 {
		list := make([]string, len(e.Safe))
		for i, p := range e.Safe {
			list[i] = fmt.Sprint(p)
		}
		safe = "safe are the cells at positions " + strings.Join(list, ", ")
	}
	return fmt.Sprintf("cannot store %s: %v; %s; make room or fix the cause, and run the missing cells with bela resume", e.Path, e.Err, safe)
}

func (e *WriteError) Unwrap() error { return e.Err }
