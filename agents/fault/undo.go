package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// remedy is how a fault is undone: what it may have made outside of its own
// process. Undoing what is not there is no error.
type remedy struct {
	Chains []chain `json:"chains,omitempty"` // of the packet filter
	// Devices are interfaces whose root queueing discipline is bela's.
	Devices []string `json:"devices,omitempty"`
	Files   []string `json:"files,omitempty"`
}

// recordDir is where the records of a node's faults are.
func recordDir(dir string) string { return filepath.Join(dir, "run", "faults") }

// maxRecord bounds what is read of a record.
const maxRecord = 1 << 20

// writeRecord writes a remedy down so that it survives a crash.
func writeRecord(path string, r remedy) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// undo carries a remedy out and then removes its record. It has a time of its
// own: healing must not be cut short by what ended the fault.
func undo(r remedy, record string) error {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if err := r.carryOut(ctx); err != nil {
		return err
	}
	if err := os.Remove(record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (r remedy) carryOut(ctx context.Context) error {
	var errs []error
	for _, c := range r.Chains {
		errs = append(errs, c.remove(ctx))
	}
	for _, d := range r.Devices {
		errs = append(errs, restoreDevice(ctx, d))
	}
	for _, f := range r.Files {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// undoRecord undoes what one record says; where there is none, nothing.
func undoRecord(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Size() > maxRecord {
		err = fmt.Errorf("%s has %d bytes and is no record of a fault", path, info.Size())
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its holder was faster
	}
	if err != nil {
		return err
	}
	var r remedy
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, f := range r.Files {
		if filepath.Dir(f) != filepath.Dir(path) {
			return fmt.Errorf("%s: it names the file %s, which no fault makes", path, f)
		}
	}
	if err := r.carryOut(ctx); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// UndoAll undoes what faults have left on this node, by their records in bela's
// directory. No holder may be at work in it. It goes on after an error.
func UndoAll(ctx context.Context, dir string) error {
	records, err := filepath.Glob(filepath.Join(recordDir(dir), "*.json"))
	if err != nil {
		return err
	}
	slices.Sort(records)
	var errs []error
	for _, r := range records {
		errs = append(errs, undoRecord(ctx, r))
	}
	return errors.Join(errs...)
}

// toolLimit is how long a program of the system may take.
const toolLimit = 15 * time.Second

// tool runs a program of the system; its error has what the program said.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	path, err := lookPath(name)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + searchPath(), "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	return said(cmd)
}

func said(cmd *exec.Cmd) (string, error) {
	var out, complaint head64
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		text := strings.Join(strings.Fields(string(complaint.b)), " ")
		if text == "" {
			text = err.Error()
		}
		return "", fmt.Errorf("%s %s: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), text)
	}
	return string(out.b), nil
}

// head64 keeps the first 64 KiB of an output: more is not expected of a tool.
type head64 struct{ b []byte }

func (t *head64) Write(b []byte) (int, error) {
	t.b = append(t.b, b[:min(len(b), 64<<10-len(t.b))]...)
	return len(b), nil
}

// lookPath finds a program also where only administrators look.
func lookPath(name string) (string, error) {
	for dir := range strings.SplitSeq(searchPath(), ":") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program %s is not on this node: install it (Debian: %s)", name, map[string]string{"iptables": "iptables", "ip6tables": "iptables", "tc": "iproute2", "ip": "iproute2"}[name])
}
