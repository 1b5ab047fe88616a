package agents

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// undoPackagesScript is in bela's directory where packages were installed.
	undoPackagesScript = "undo-packages.sh"
	// undoPackagesLimit is how long removing them may take.
	undoPackagesLimit = 10 * time.Minute
)

// undoPackages removes the packages that a controller installed, where one did.
func undoPackages(ctx context.Context, dir string) error {
	path := filepath.Join(dir, undoPackagesScript)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, undoPackagesLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
