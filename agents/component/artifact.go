package component

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bela/agents/protocol"
)

// artifactsDir is where pushed artifacts lie, by their SHA-256.
const artifactsDir = "artifacts"

// Bounds of what an archive may unpack to.
const (
	maxUnpacked = 8 << 30
	maxEntries  = 200_000
)

// artifact is where an artifact lies for a component: the pushed file, or the
// directory that it was unpacked into, once. The files of bela's directory can
// be read by the agent's user only, so below base there is a copy for others.
func (s *Supervisor) artifact(a protocol.ArtifactSpec, base string) (string, error) {
	pushed := filepath.Join(s.Dir, artifactsDir, a.SHA256)
	if _, err := os.Stat(pushed); err != nil {
		return "", fmt.Errorf("artifact %q was not pushed: %w", a.Name, err)
	}
	at := filepath.Join(base, a.SHA256)
	if a.Archive != "" {
		at += ".unpacked"
	}
	if at != pushed && !exists(at) {
		if err := place(pushed, at, a.Archive); err != nil {
			return "", fmt.Errorf("artifact %q: %w", a.Name, err)
		}
	}
	if a.Archive == "" {
		if err := os.Chmod(at, fs.FileMode(a.Mode)&fs.ModePerm); err != nil {
			return "", fmt.Errorf("artifact %q: %w", a.Name, err)
		}
	}
	return at, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// place makes a copy of a file, or what an archive holds, whole or not at all.
func place(from, to, archive string) error {
	temporary := to + ".part"
	if err := errors.Join(os.RemoveAll(temporary), os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
		return err
	}
	var err error
	if archive == "" {
		err = copyFile(from, temporary)
	} else {
		err = unpack(from, temporary, archive)
	}
	if err == nil {
		err = os.Rename(temporary, to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temporary))
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// unpacking is an archive on its way into a directory, which it cannot leave.
type unpacking struct {
	root    *os.Root
	entries int
	bytes   int64
}

// unpack unpacks an archive by the ending of its name. Entries that lead out of
// the directory are an error, and so is what is neither file, directory nor link.
func unpack(from, to, archive string) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	u := &unpacking{root: root}
	if archive == ".zip" {
		return u.zip(from)
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if archive == ".tar" {
		return u.tar(f)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("it is no gzip archive: %w", err)
	}
	return u.tar(z)
}

func (u *unpacking) tar(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is damaged: %w", err)
		}
		mode := h.FileInfo().Mode()
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeLink:
			err = u.link(h.Name, h.Linkname)
		default:
			err = u.entry(h.Name, mode, h.Linkname, t)
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacking) zip(path string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("it is no zip archive: %w", err)
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		content, err := f.Open()
		if err != nil {
			return fmt.Errorf("%q: %w", f.Name, err)
		}
		target := ""
		if f.Mode()&fs.ModeSymlink != 0 {
			b, rerr := io.ReadAll(io.LimitReader(content, 4096))
			target, err = string(b), rerr
		}
		if err == nil {
			err = u.entry(f.Name, f.Mode(), target, content)
		}
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

// name is an entry's path within the directory.
func (u *unpacking) name(entry string) (string, error) {
	if u.entries++; u.entries > maxEntries {
		return "", fmt.Errorf("it has more than %d entries", maxEntries)
	}
	name := filepath.Clean(entry)
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("entry %q leads out of the archive", entry)
	}
	return name, u.root.MkdirAll(filepath.Dir(name), 0o755)
}

func (u *unpacking) entry(entry string, mode fs.FileMode, target string, content io.Reader) error {
	name, err := u.name(entry)
	if err != nil {
		return err
	}
	switch {
	case mode.IsDir():
		// What is in it must be written, whatever the archive says.
		return u.root.MkdirAll(name, mode.Perm()|0o700)
	case mode&fs.ModeSymlink != 0:
		if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), target)) {
			return fmt.Errorf("link %q leads out of the archive, to %q", entry, target)
		}
		return u.root.Symlink(target, name)
	case !mode.IsRegular():
		return fmt.Errorf("entry %q is neither file, directory nor link", entry)
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode.Perm()|0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(content, maxUnpacked-u.bytes+1))
	if u.bytes += n; err == nil && u.bytes > maxUnpacked {
		err = fmt.Errorf("it unpacks to more than %d GiB", maxUnpacked>>30)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("entry %q: %w", entry, err)
	}
	return nil
}

func (u *unpacking) link(entry, target string) error {
	name, err := u.name(entry)
	if err != nil {
		return err
	}
	if !filepath.IsLocal(filepath.Clean(target)) {
		return fmt.Errorf("link %q leads out of the archive, to %q", entry, target)
	}
	return u.root.Link(filepath.Clean(target), name)
}

// filler puts what only this node knows into texts.
func (in *instance) filler(paths map[string]string) *strings.Replacer {
	pairs := []string{protocol.PlaceholderDirectory, in.dir}
	for name, path := range paths {
		pairs = append(pairs, protocol.PlaceholderArtifact(name), path)
	}
	return strings.NewReplacer(pairs...)
}
