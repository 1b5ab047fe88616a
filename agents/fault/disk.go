package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fill takes the room on the disk of bela's directory, with one file.
type fill struct {
	path  string
	leave int64 // bytes
	left  int64 // when it was in force
}

func (f *fill) check(context.Context) error {
	_, err := f.size()
	return err
}

// size is how many bytes the file needs.
func (f *fill) size() (int64, error) {
	dir := filepath.Dir(filepath.Dir(f.path)) // its own is not there before the first fault
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("how much room is left is not known: %w", &fs.PathError{Op: "statfs", Path: dir, Err: err})
	}
	if uint32(s.Type) == unix.TMPFS_MAGIC || uint32(s.Type) == unix.RAMFS_MAGIC {
		return 0, fmt.Errorf("bela's directory %s is in memory, not on a disk: set directory in the ssh block, or TMPDIR for the lab", dir)
	}
	free := int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // 32 bits wide on arm
	if free <= f.leave {
		return 0, fmt.Errorf("%d MiB are free, which is not more than the %d MiB to leave", free>>20, f.leave>>20)
	}
	return free - f.leave, nil
}

func (f *fill) free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(f.path), &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // 32 bits wide on arm
}

func (f *fill) before(context.Context) string {
	size, err := f.size()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("free before: %d MiB", (size+f.leave)>>20)
}

func (f *fill) remedy() remedy { return remedy{Files: []string{f.path}} }

// apply takes the room without writing to it where the file system can do so.
func (f *fill) apply(ctx context.Context) error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // what counts is that the room is taken
	size, err := f.size()
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = f.write(ctx, file, size)
	}
	if err != nil {
		return fmt.Errorf("take %d MiB of the disk: %w", size>>20, err)
	}
	if f.left, err = f.free(); err != nil {
		return err
	}
	return nil
}

// write takes the room by writing zeros.
func (f *fill) write(ctx context.Context, file *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for left := size; left > 0; left -= int64(len(zeros)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := file.Write(zeros[:min(left, int64(len(zeros)))]); err != nil {
			return err
		}
	}
	return file.Sync()
}

func (f *fill) during(ctx context.Context) string {
	<-ctx.Done()
	return fmt.Sprintf("free during: %d MiB", f.left>>20)
}
