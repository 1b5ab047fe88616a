package campaign_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bela/event"
)

// What a node names its logs, and what they are, is its own word: nothing of it
// may be written outside the run directory, be read through a link, hold the
// campaign up, or fill the controller's disk.
func TestHostileLogs(t *testing.T) {
	t.Parallel()
	r := newRig(t, fmt.Sprintf(small, "[2]", ""), nil)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("planted-outside-4711"), 0o600); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(r.lab.Dir(), "worker-1")
	r.atMeasure(1, func() {
		cells, err := filepath.Glob(filepath.Join(home, ".bela*", "cells", "001"))
		if err != nil || len(cells) != 1 {
			t.Errorf("the node's directories of the cell: %v %v", cells, err)
			return
		}
		if err := plant(cells[0], outside); err != nil {
			t.Error(err)
		}
	})
	before := treeOf(t, filepath.Dir(filepath.Dir(r.root)))
	summary, run, err := r.run(t, t.Context())
	if err != nil || len(run.Cells) != 1 || summary.Missing != 0 {
		t.Fatalf("summary %+v: %v", summary, err)
	}
	for path := range treeOf(t, filepath.Dir(filepath.Dir(r.root))) {
		if !before[path] && !strings.HasPrefix(path, r.root+"/") && filepath.Dir(path) != filepath.Dir(r.root) {
			t.Errorf("written outside the run directory: %q", path)
		}
	}
	logs := filepath.Join(run.CellDir(1), "logs")
	entries, err := os.ReadDir(logs)
	if err != nil {
		t.Fatal(err)
	}
	evil, large := 0, false
	for _, e := range entries {
		if strings.ContainsFunc(e.Name(), func(c rune) bool { return c < ' ' || c > '~' || c == '/' }) || strings.HasPrefix(e.Name(), ".") {
			t.Errorf("the file name %q", e.Name())
		}
		text, err := os.ReadFile(filepath.Join(logs, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "planted-outside") {
			t.Errorf("%s was read through a link", e.Name())
		}
		if strings.Contains(string(text), "planted-log") {
			evil++
		}
		large = large || len(text) == 32<<20
	}
	// All of worker-1's but those after the 256th.
	if len(entries) > 256+20 || evil < 200 {
		t.Errorf("%d logs, %d of those that were planted", len(entries), evil)
	}
	if !large {
		t.Error("a log that is too large was not kept up to its limit")
	}
	for _, want := range []string{"more logs than 256 files", "it is larger than 33554432 bytes"} {
		found := false
		for _, e := range r.events.list() {
			m, ok := e.Data.(event.Message)
			found = found || ok && strings.Contains(m.Text, want)
		}
		if !found {
			t.Errorf("nobody is told %q", want)
		}
	}
}

// plant makes files in a cell's directory on a node as no component of bela's
// would.
func plant(dir, outside string) error {
	names := []string{"..%2f..%2fx.log", `..\..\x.log`, "a\nb.log", "\x1b]0;evil\x07.log", "\u202egol.log", "-rf.log", "..log.log", strings.Repeat("n", 200) + ".log"}
	for i := range 260 {
		names = append(names, fmt.Sprintf("many-%03d.log", i))
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("planted-log\x1b[2J"), 0o600); err != nil {
			return err
		}
	}
	large := filepath.Join(dir, "0-large.log")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(large, 33<<20); err != nil { // takes no room
		return err
	}
	if err := os.Symlink(outside, filepath.Join(dir, "0-link.log")); err != nil {
		return err
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "0-etc.log")); err != nil {
		return err
	}
	return syscall.Mkfifo(filepath.Join(dir, "0-pipe.log"), 0o600)
}

// treeOf are the paths below a directory.
func treeOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all[path] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
