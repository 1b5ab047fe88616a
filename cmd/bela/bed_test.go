package main

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bela/nodes/netns"
	"bela/nodes/netns/bedtest"
)

// The same experiment runs on hosts of their own, directly and through a
// gateway, and leaves the files that it leaves on the loopback lab, and the
// inventory, which the lab has none of: whoever tries a file on the lab first
// must not meet another bela on the machines.
func TestBedRun(t *testing.T) {
	needAgents(t)
	if err := netns.Available(); err != nil {
		bedtest.Up(t, netns.Options{}) // says so
	}
	t.Parallel()
	lab := make(chan []string, 2)
	t.Run("runs", func(t *testing.T) {
		t.Run("lab", func(t *testing.T) {
			t.Parallel()
			files := append(quickFiles(t), "inventory.hcl")
			slices.Sort(files)
			lab <- files
			lab <- files
		})
		for name, gateway := range map[string]bool{"direct": false, "gateway": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				bed := bedtest.Up(t, netns.Options{Gateway: gateway})
				if files, want := quickFiles(t, "-inventory", bed.Inventory()), <-lab; !slices.Equal(files, want) {
					t.Errorf("files on the testbed:\n%s\nand on the lab, with the inventory:\n%s", strings.Join(files, "\n"), strings.Join(want, "\n"))
				}
			})
		}
	})
}

// quickFiles runs the quick experiment and names what is in its run directory,
// sorted.
func quickFiles(t *testing.T, args ...string) []string {
	t.Helper()
	dir := t.TempDir()
	status, out := bela(t, dir, append([]string{"run", shipped(t, "quick.hcl"), "-var", "measure=3s"}, args...)...)
	assertStatus(t, dir, status, out)
	assertWhole(t, dir, 1)
	run, err := filepath.EvalSymlinks(filepath.Join(dir, "results", "latest"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	err = filepath.WalkDir(run, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(run, path)
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}
