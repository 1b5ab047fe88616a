package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile replaces a file: readers see the old content or the new, also after
// a crash. It writes a temporary file beside it, syncs and renames it, and
// syncs the directory.
func WriteFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()           // the first error counts
			_ = os.Remove(f.Name()) // best effort: it may not be there any more
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// linkLatest points results/latest at a run, in one step.
func linkLatest(root, target string) error {
	latest := filepath.Join(root, "latest")
	if info, err := os.Lstat(latest); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s is not a symbolic link; move it away, bela keeps a link to the newest run there", latest)
	}
	fresh := filepath.Join(root, ".latest-"+filepath.Base(target))
	if err := os.Symlink(target, fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, latest); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return nil
}

// fileName makes a name that stays in its directory: letters, digits, dot,
// underscore and dash; anything else becomes a dash. It is never empty, hidden
// or longer than 120 bytes.
func fileName(name string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, name)
	if len(clean) > 120 {
		clean = clean[:120]
	}
	if clean == "" || clean[0] == '.' {
		clean = "_" + clean
	}
	return clean
}
