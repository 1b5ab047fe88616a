package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const lockFile = "lock"

// Holder is the process that writes a run.
type Holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

// String names the holder, or what of it is known.
func (h Holder) String() string {
	if h.PID == 0 {
		return "a process that does not say which"
	}
	return fmt.Sprintf("process %d on %s since %s", h.PID, h.Host, h.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// lockWait is how long a lock is tried: somebody who only looks whether the run
// goes on holds it for a moment.
const lockWait = 500 * time.Millisecond

// takeLock locks the directory until the file is closed or the process ends,
// however it ends, and writes into it who holds it.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(10 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = &LockedError{Dir: dir, Holder: readHolder(f)}
	}
	if err == nil {
		err = writeHolder(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func writeHolder(f *os.File) error {
	h := Holder{PID: os.Getpid(), Since: time.Now().UTC()}
	h.Host, _ = os.Hostname() // without a name the process is still told
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(line, '\n'), 0)
	return err
}

// readHolder is best effort: the holder may be about to write it.
func readHolder(f io.ReaderAt) Holder {
	var h Holder
	if json.NewDecoder(io.NewSectionReader(f, 0, 4096)).Decode(&h) != nil {
		return Holder{}
	}
	return h
}

// locked tells who writes the run; nil where nobody does.
func locked(dir string) *Holder {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // gives the lock up again
	if !errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		return nil
	}
	h := readHolder(f)
	return &h
}
