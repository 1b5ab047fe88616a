package experiment_test

import (
	"path/filepath"
	"testing"

	"bela/experiment"
)

// Shipped experiments are the first thing a user runs; one that is refused
// would end the first look with an error.
func TestShippedExperimentsLoad(t *testing.T) {
	files, err := filepath.Glob("../experiments/*.hcl")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d shipped experiments (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			e, err := experiment.Load(file, experiment.Inputs{})
			if err != nil {
				t.Fatal(err)
			}
			if w := e.Warnings(); len(w) > 0 {
				t.Errorf("warnings: %v", w)
			}
			if cells := e.Plan().Cells; len(cells) == 0 {
				t.Error("the plan has no cells")
			}
		})
	}
}
