package netns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// stateDir holds a directory for each bed, and a lock beside it.
	stateDir  = "/run/bela-testbed"
	stateFile = "state.json"
	// nameVariable is in the environment of every node's first process.
	nameVariable = "BELA_TESTBED"
	// downTime bounds the removal of a bed.
	downTime = time.Minute
	// poll is how often something is looked at that is about to happen.
	poll = 5 * time.Millisecond
)

// state is what a bed's directory says of it.
type state struct {
	Keep  bool `json:"keep"`
	Owner int  `json:"owner"` // process number
}

// claim takes the lock of a name, which its owner holds for as long as it lives.
func claim(name string) (*os.File, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("testbed %s: %w", name, err)
	}
	path := filepath.Join(stateDir, name+".lock")
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("testbed %s: %w", name, err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("testbed %s: %w: another process owns it: end that, or choose another name", name, errOwned)
		}
		// Its last owner may have removed the file in between.
		mine, err := f.Stat()
		if there, serr := os.Stat(path); err == nil && serr == nil && os.SameFile(mine, there) {
			return f, nil
		}
		_ = f.Close()
	}
}

// release gives a name back.
func release(lock *os.File) error {
	return errors.Join(os.Remove(lock.Name()), lock.Close())
}

var errOwned = errors.New("in use")

// sweep removes the beds whose owners died, but for those that were to be kept.
func sweep(ctx context.Context) error {
	names, err := List()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		var s state
		text, err := os.ReadFile(filepath.Join(stateDir, name, stateFile))
		if err != nil || json.Unmarshal(text, &s) != nil || s.Keep {
			continue // kept, or just being made
		}
		if lock, err := claim(name); err == nil {
			errs = append(errs, remove(ctx, name), release(lock))
		}
	}
	return errors.Join(errs...)
}

// List gives the names of the beds on this machine.
func List() ([]string, error) {
	entries, err := os.ReadDir(stateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("testbed: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Down removes a bed by its name, whoever made it, unless its owner still lives.
// Where there is none it does nothing.
func Down(ctx context.Context, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("testbed: %q is no name of one", name)
	}
	ctx, cancel := context.WithTimeout(ctx, downTime)
	defer cancel()
	lock, err := claim(name)
	if err != nil {
		return err
	}
	return errors.Join(remove(ctx, name), release(lock))
}

// remove takes away all that is found of a bed by its name: its processes, and
// with them links and mounts, its control groups and its files.
func remove(ctx context.Context, name string) error {
	for {
		pids := holders(name)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("testbed %s: processes %v do not end: %w", name, pids, err)
		}
	}
	if err := removeGroups(ctx, name); err != nil {
		return fmt.Errorf("testbed %s: %w", name, err)
	}
	if err := os.RemoveAll(filepath.Join(stateDir, name)); err != nil {
		return fmt.Errorf("testbed %s: %w", name, err)
	}
	return nil
}

// holders are the first processes of a bed's nodes, which may be zombies of
// this process for a moment.
func holders(name string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(append([]byte{0}, text...), []byte("\x00"+nameVariable+"="+name+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// pause waits a moment, or says why not.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(poll):
		return nil
	}
}
