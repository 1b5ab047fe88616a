package experiment_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/experiment"
)

// A recipe that does not load would be the first thing that a user sees of bela
// with a platform of their own; one that the page does not name is never found.
func TestRecipesLoad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../experiments/recipes/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatal("no recipes", err)
	}
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		vars := []string{"measure=15s"}
		if name := filepath.Base(file); name == "emqx.hcl" || name == "vernemq.hcl" {
			vars = append(vars, "release=x.tar.gz", "sha256="+strings.Repeat("a", 64))
		}
		if _, err := experiment.Load(file, experiment.Inputs{Vars: vars}); err != nil {
			t.Errorf("%s: %s", file, detailed(err))
		}
		if !strings.Contains(string(page), "`"+filepath.Base(file)+"`") {
			t.Errorf("%s does not name %s", reference, filepath.Base(file))
		}
	}
}
