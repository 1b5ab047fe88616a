package experiment_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/experiment"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistakes loads a file that must be refused.
func mistakes(t *testing.T, path string, in experiment.Inputs) experiment.Diagnostics {
	t.Helper()
	_, err := experiment.Load(path, in)
	if err == nil {
		t.Fatalf("%s was taken", path)
	}
	var found experiment.Diagnostics
	if !errors.As(err, &found) {
		t.Fatalf("the error is a %T: %v", err, err)
	}
	return found
}

// What a user reads when the file is wrong: if a golden file changes, a mistake
// is no longer found, points elsewhere, or no longer says what would be right.
func TestFormat(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var got bytes.Buffer
			if err := mistakes(t, file, experiment.Inputs{}).Format(&got, 100, false); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".hcl") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}
