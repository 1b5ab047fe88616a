package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// page reads one of the repository's pages.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The README must not show a dashboard that bela does not draw.
func TestReadmePicture(t *testing.T) {
	if !strings.Contains(page(t, "README.md"), "```text\n"+page(t, "tui/testdata/readme-picture.txt")+"```") {
		t.Error("the picture in README.md is not tui/testdata/readme-picture.txt")
	}
}

// The README must list every command, and no other.
func TestReadmeCommands(t *testing.T) {
	text := page(t, "README.md")
	known := make(map[string]bool)
	for _, c := range commands() {
		known[c.name] = true
		if !strings.Contains(text, "bela "+c.name) {
			t.Errorf("README.md does not mention bela %s", c.name)
		}
	}
	for _, m := range regexp.MustCompile("`bela ([a-z]+)").FindAllStringSubmatch(text, -1) {
		if !known[m[1]] {
			t.Errorf("README.md mentions bela %s, which is not there", m[1])
		}
	}
}

// A link that leads nowhere costs a newcomer the first ten minutes.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#: ]+)(#[^)]*)?\)`)
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/metrics.md", "docs/influxdb.md", "docs/experiment-file.md", "docs/inventories.md", "docs/performance.md", "docs/operations.md", "docs/live.md"} {
		for _, m := range link.FindAllStringSubmatch(page(t, name), -1) {
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, m[1])
			}
		}
	}
}

// The inventory in the README must be one that bela reads.
func TestReadmeInventory(t *testing.T) {
	_, rest, ok := strings.Cut(page(t, "README.md"), "```hcl\n# lab.hcl\n")
	inventory, _, ended := strings.Cut(rest, "```")
	if !ok || !ended {
		t.Fatal("README.md has no lab.hcl")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "lab.hcl"), inventory)
	if status, out := bela(t, dir, "validate", shipped(t, "qos1.hcl"), "-inventory", "lab.hcl"); status != 0 {
		t.Errorf("status %d\n%s", status, out)
	}
}

// A user copies an inventory from the page; each must be read, and give machines to
// all four groups of a shipped experiment.
func TestInventoriesInTheDocs(t *testing.T) {
	examples := regexp.MustCompile("(?s)```(hcl|ini|yaml|sshconfig|xml)\n(.*?)```").FindAllStringSubmatch(page(t, "docs/inventories.md"), -1)
	if len(examples) != 5 {
		t.Fatalf("%d examples, want one of each format", len(examples))
	}
	for _, example := range examples {
		t.Run(example[1], func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "machines"), example[2]) // its name says nothing
			status, out := bela(t, dir, "plan", shipped(t, "quick.hcl"), "-inventory", "machines")
			for _, group := range []string{"master (", "worker (", "iot (", "customer ("} {
				if !strings.Contains(out, group) {
					t.Errorf("no machines for %s", group)
				}
			}
			if status != 0 || strings.Contains(out, "loopback lab") || t.Failed() {
				t.Errorf("status %d\n%s", status, out)
			}
		})
	}
}
