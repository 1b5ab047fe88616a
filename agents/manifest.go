package agents

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// record notes in the MANIFEST of bela's directory something outside of it that
// is about to be made, so that `bela clean` finds it when this agent is killed.
// Where no controller made a MANIFEST there is nothing to note in.
func record(dir, kind, path string) error {
	if strings.ContainsAny(path, "\t\n") {
		return fmt.Errorf("%q has a character that the MANIFEST cannot hold", path)
	}
	f, err := os.OpenFile(filepath.Join(dir, "MANIFEST"), os.O_APPEND|os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\t%s\t%s\tmade by the agent\n", time.Now().UTC().Format(time.RFC3339), kind, path)
	return errors.Join(err, f.Close())
}
