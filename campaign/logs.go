package campaign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// logLimit bounds what is taken of one log file.
const logLimit = 32 << 20

// fetchLogs copies the logs of the cell's components from a node into the run
// directory and removes the cell's directory on the node.
func (c *cellRun) fetchLogs(ctx context.Context, m *member) error {
	dir, err := m.node.Directory(ctx)
	if err != nil {
		return err
	}
	remote := path.Join(dir, "cells", cellName(c.cell))
	files, err := m.node.ReadDir(ctx, remote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no component ran here
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.IsDir() || !strings.HasSuffix(f.Name(), ".log") {
			continue
		}
		// The store makes the name safe: it is the node's word.
		local, err := c.Store.CreateLog(c.cell.Position, m.name()+"-"+f.Name())
		if err != nil {
			return &recordError{err}
		}
		if err := m.fetch(ctx, path.Join(remote, f.Name()), local); err != nil {
			return err
		}
	}
	return m.node.RemoveAll(ctx, remote)
}

// fetch copies one file from the node and closes out.
func (m *member) fetch(ctx context.Context, remote string, out *os.File) error {
	_, err := m.node.Download(ctx, remote, out, logLimit)
	if cerr := out.Close(); err == nil && cerr != nil {
		return &recordError{cerr}
	}
	if err != nil {
		return fmt.Errorf("node %s: log %s: %w", m.name(), path.Base(remote), err)
	}
	return nil
}
