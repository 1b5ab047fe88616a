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

// Colour and width are the terminal's: a narrow one must not break lines, a
// plain one must get no escape codes, and a file must not bring its own.
func TestFormatForTerminals(t *testing.T) {
	src := "experiment \"e\" {\n  description = \"\x1b[31mred\u202e\" + " + strings.Repeat("long_", 40) + "\n}\n" + basicNodes + basicBroker + tenDevices + basicCustomers
	_, err := loadText(src, experiment.Inputs{})
	var found experiment.Diagnostics
	if !errors.As(err, &found) {
		t.Fatal(err)
	}
	format := func(width int, color bool) string {
		var b bytes.Buffer
		if err := found.Format(&b, width, color); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if text := format(80, false); strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("control characters from the file: %q", text)
	}
	if text := format(80, true); !strings.Contains(text, "\x1b[1;31merror:\x1b[0m") || strings.Contains(text, "\x1b[31mred") {
		t.Errorf("colours: %q", text)
	}
	for _, width := range []int{40, 80, 200} {
		for line := range strings.Lines(format(width, false)) {
			// A single word may be longer than the terminal is wide.
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > width && strings.ContainsAny(strings.TrimSpace(line), " ") && strings.Contains(line, "|") {
				t.Errorf("%d columns at width %d: %q", n, width, line)
			}
		}
	}
}

// The one-line summary goes into logs: it must say where and what, and that
// there is more.
func TestErrorInOneLine(t *testing.T) {
	err := mistakes(t, "testdata/five_mistakes.hcl", experiment.Inputs{})
	want := `testdata/five_mistakes.hcl:3:3: experiment "five" has no argument "sed"; did you mean "seed"? (and 4 more)`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

// A mistake made a thousand times must not scroll the first away.
func TestManyMistakes(t *testing.T) {
	src := "experiment \"e\" {\n"
	for i := range 5000 {
		src += "x" + strings.Repeat("y", i%50) + strings.Repeat("z", i/50) + " = 1\n"
	}
	_, err := loadText(src+"}\n", experiment.Inputs{})
	text := detailed(err)
	if n := strings.Count(text, ": error: "); n != 50 || !strings.HasSuffix(text, "… and 950 more\n") {
		t.Errorf("%d shown, ends with %q", n, text[len(text)-30:])
	}
}
