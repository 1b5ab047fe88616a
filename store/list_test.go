package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// listedRun leaves a run that began so many minutes after noon.
func listedRun(t *testing.T, root, experiment, id string, minute int) string {
	t.Helper()
	at := time.Date(2026, 1, 2, 12, minute, 0, 0, time.UTC)
	run, err := Create(root, experiment, at, id, Inputs{
		Plan: map[string]any{"experiment": experiment}, Environment: Environment{StartedAt: at},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	return run.Dir()
}

// A history is an order in time: the runs' own, whatever their directories are
// called; and a directory that is no run must not hide the others.
func TestList(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	late, early := listedRun(t, root, "two words", "a", 30), listedRun(t, root, "two words", "b", 10)
	moved := filepath.Join(filepath.Dir(late), "0-copied")
	if err := os.Rename(listedRun(t, root, "two words", "c", 20), moved); err != nil {
		t.Fatal(err)
	}
	broken := listedRun(t, root, "two words", "d", 40)
	if err := os.Remove(filepath.Join(broken, "plan.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(late), "notes"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"two words", "two-words", filepath.Dir(late)} {
		dir, runs, err := List(name, root)
		if err != nil || dir != filepath.Dir(late) {
			t.Fatalf("%s: %s, %v", name, dir, err)
		}
		var good []string
		why := map[string]error{}
		for _, r := range runs {
			if r.Err != nil {
				why[r.Dir] = r.Err
				continue
			}
			good = append(good, r.Dir)
			if r.Experiment != "two words" {
				t.Errorf("%s is of %q", r.Dir, r.Experiment)
			}
		}
		if want := []string{early, moved, late}; !slices.Equal(good, want) {
			t.Errorf("%v, want %v", good, want)
		}
		if len(why) != 2 || !errors.Is(why[broken], ErrIncomplete) || !errors.Is(why[filepath.Join(dir, "notes")], ErrNotRun) {
			t.Errorf("left out: %v", why)
		}
	}
	for name, want := range map[string]string{
		"nowhere": "no such directory",
		late:      "is one run",
		filepath.Join(filepath.Dir(late), "notes"): "holds no run",
	} {
		if _, _, err := List(name, root); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
