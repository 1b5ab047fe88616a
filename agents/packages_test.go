package agents

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An agent that no controller comes back to must take away the packages that
// were installed, and must not remove the record of them where it cannot.
func TestUndoPackages(t *testing.T) {
	dir := t.TempDir()
	if err := undoPackages(t.Context(), dir); err != nil {
		t.Errorf("where nothing was installed: %v", err)
	}
	script := filepath.Join(dir, undoPackagesScript)
	for _, tt := range []struct{ text, want string }{
		{"touch \"$(dirname \"$0\")/undone\"", ""},
		{"echo bela-test-lib stays >&2; exit 27", "exit status 27: bela-test-lib stays"},
	} {
		if err := os.WriteFile(script, []byte(tt.text), 0o700); err != nil {
			t.Fatal(err)
		}
		err := undoPackages(t.Context(), dir)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "undone")); err != nil {
		t.Errorf("the script did not run: %v", err)
	}
	if err := removeAll(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(script); err == nil {
		t.Error("the script is left")
	}
}
