package nodes_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bela/nodes"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// An executable arrives whole, runnable and in one step, over what was there.
func TestUpload(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		dir := t.TempDir()
		name := filepath.Join(dir, "it's a file")
		for _, size := range []int{0, 1, 32 << 10, 3<<20 + 17} {
			want := randomBytes(size)
			sum, err := n.Upload(deadline(t), name, 0o750, int64(size), bytes.NewReader(want))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(name)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: the file differs: %v", size, err)
			}
			hash := sha256.Sum256(want)
			if sum != hex.EncodeToString(hash[:]) {
				t.Errorf("%d bytes: hash %s", size, sum)
			}
			if info, err := os.Stat(name); err != nil || info.Mode() != 0o750 {
				t.Errorf("mode %v: %v", info.Mode(), err)
			}
			var back bytes.Buffer
			if k, err := n.Download(deadline(t), name, &back, int64(size)); err != nil || k != int64(size) || !bytes.Equal(back.Bytes(), want) {
				t.Errorf("%d bytes: %d came back: %v", size, k, err)
			}
		}
		onlyIn(t, dir, "it's a file")
	})
}

// A transfer that fails leaves the old file as it was and no scraps: else a
// half agent could be started, or a disk fill up over many runs.
func TestUploadThatFails(t *testing.T) {
	boom := errors.New("the source broke")
	rows := []struct {
		name   string
		size   int64
		source func(cancel func()) io.Reader
		kind   nodes.Kind
		words  string
	}{
		{"source too short", 10, func(func()) io.Reader { return strings.NewReader("123") }, nodes.FileFailed, "3 bytes instead of 10"},
		{"source too long", 2, func(func()) io.Reader { return strings.NewReader("123") }, nodes.FileFailed, "more than 2"},
		{"source fails", 10, func(func()) io.Reader { return io.MultiReader(strings.NewReader("1"), broken{boom}) }, nodes.FileFailed, boom.Error()},
		{"given up", 1 << 30, func(cancel func()) io.Reader {
			return io.MultiReader(bytes.NewReader(randomBytes(1<<20)), onRead(cancel), endless{})
		}, nodes.Canceled, "context canceled"},
	}
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				dir := t.TempDir()
				name := filepath.Join(dir, "f")
				if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(deadline(t))
				defer cancel()
				_, err := n.Upload(ctx, name, 0o600, row.size, row.source(cancel))
				if nodes.KindOf(err) != row.kind || !strings.Contains(err.Error(), row.words) {
					t.Errorf("got %v", err)
				}
				if text, _ := os.ReadFile(name); string(text) != "old" {
					t.Errorf("the old file is now %q", text)
				}
				onlyIn(t, dir, "f")
			})
		}
		if _, err := n.Upload(deadline(t), "/no/such/dir/f", 0o600, 1, strings.NewReader("x")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

type onRead func()

func (f onRead) Read([]byte) (int, error) { f(); return 0, io.EOF }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A copy that was damaged on its way is found before it gets its name.
func TestUploadChecksTheHash(t *testing.T) {
	damage := fakePath(t, map[string]string{"sha256sum": `sed s/good/evil/ | /usr/bin/sha256sum "$@"`})
	onNode(t, damage, func(t *testing.T, n *nodes.Node) {
		dir := t.TempDir()
		_, err := n.Upload(deadline(t), filepath.Join(dir, "f"), 0o600, 4, strings.NewReader("good"))
		if nodes.KindOf(err) != nodes.FileFailed || !strings.Contains(err.Error(), "SHA-256") {
			t.Errorf("got %v", err)
		}
		onlyIn(t, dir)
	})
}

// A node without sha256sum is no reason to skip the check.
func TestUploadWithoutHashTool(t *testing.T) {
	onNode(t, fakePath(t, map[string]string{"sha256sum": "exit 127"}), func(t *testing.T, n *nodes.Node) {
		dir := t.TempDir()
		want := randomBytes(100_000)
		if _, err := n.Upload(deadline(t), filepath.Join(dir, "f"), 0o600, int64(len(want)), bytes.NewReader(want)); err != nil {
			t.Fatal(err)
		}
		onlyIn(t, dir, "f")
	})
}

// A full disk is told as what it is, both when it is seen before the transfer
// and when the disk fills up during it.
func TestUploadNoSpace(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("this machine mounts no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		_, err := n.Upload(deadline(t), filepath.Join(dir, "f"), 0o600, 4<<20, endless{})
		if nodes.KindOf(err) != nodes.NoSpace || !strings.Contains(err.Error(), "4194304 bytes") {
			t.Errorf("seen before: %v", err)
		}
		// The promised size fits; something else takes the room meanwhile.
		filler := filepath.Join(dir, "filler")
		fill := onRead(func() { _ = os.WriteFile(filler, make([]byte, 2<<20), 0o600) })
		source := io.MultiReader(bytes.NewReader(randomBytes(64<<10)), fill, io.LimitReader(endless{}, 900<<10-64<<10))
		_, err = n.Upload(deadline(t), filepath.Join(dir, "f"), 0o600, 900<<10, source)
		if nodes.KindOf(err) != nodes.NoSpace {
			t.Errorf("seen during: %v", err)
		}
		if err := os.Remove(filler); err != nil {
			t.Error(err)
		}
		onlyIn(t, dir)
	})
}

// A log that grew without bounds must not fill the controller.
func TestDownloadIsBounded(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		name := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(name, randomBytes(1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		k, err := n.Download(deadline(t), name, &b, 100_000)
		if nodes.KindOf(err) != nodes.FileFailed || k != 100_000 || b.Len() != 100_000 {
			t.Errorf("%d bytes: %v", k, err)
		}
		if _, err := n.Download(deadline(t), name+"x", &b, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		if _, err := n.SHA256(deadline(t), name+"x"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		// A file of /proc says that it is empty.
		if k, err := n.Download(deadline(t), "/proc/self/status", &b, 1<<20); err != nil || k == 0 {
			t.Errorf("%d bytes: %v", k, err)
		}
	})
}

// Removing reaches into bela's directory and nowhere else, whatever is asked
// for: these run on machines that people need.
func TestRemoveAllStaysInside(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		dir, err := n.Directory(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Mkdir(deadline(t), filepath.Join(dir, "cells", "1")); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode %v: %v", info.Mode(), err)
		}
		outside := t.TempDir()
		precious := filepath.Join(outside, "precious")
		if err := os.WriteFile(precious, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{dir, dir + "/", dir + "/.", "..", "../x", precious, "/", "", dir + "x", dir + "/cells/../..", "link/precious"} {
			if err := n.RemoveAll(deadline(t), name); err == nil {
				t.Errorf("%q was removed", name)
			}
		}
		for _, name := range []string{"cells", dir + "/cells", "link", "no/such"} {
			if err := n.RemoveAll(deadline(t), name); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := os.Stat(precious); err != nil {
			t.Errorf("the file behind the link is gone: %v", err)
		}
		onlyIn(t, dir)
		list, err := n.ReadDir(deadline(t), outside)
		if err != nil || len(list) != 1 || list[0].Name() != "precious" {
			t.Errorf("ReadDir gives %v: %v", list, err)
		}
	})
}

// A directory that is not bela's alone is refused before anything is done in it.
func TestDirectoryIsBelasAlone(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		for _, directory := range []string{"/", "/tmp", "~/", ".", "..", "../..", "/home/..", "a\nb"} {
			tg.Directory = directory
			if dir, err := dial(t, tg).Directory(deadline(t)); nodes.KindOf(err) != nodes.BadConfig {
				t.Errorf("%q is taken as %q: %v", directory, dir, err)
			}
		}
		for directory, suffix := range map[string]string{"": "/.bela", "x/y": "/x/y", "~/z": "/z", "/var/tmp/bela/": "/var/tmp/bela"} {
			tg.Directory = directory
			if dir, err := dial(t, tg).Directory(deadline(t)); err != nil || !strings.HasSuffix(dir, suffix) || !filepath.IsAbs(dir) {
				t.Errorf("%q is taken as %q: %v", directory, dir, err)
			}
		}
	})
}

func onlyIn(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, "|") != strings.Join(names, "|") {
		t.Errorf("%s has %q, want %q", dir, got, names)
	}
}
