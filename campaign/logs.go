package campaign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"bela/nodes"
)

// logLimit bounds what is taken of one log file.
const logLimit = 32 << 20

// fetchLogs copies the logs of the cell's components from a node into the run
// directory and removes the cell's directory on the node.
func (c *cellRun) fetchLogs(ctx context.Context, m *member) error {
	return m.overSSH(ctx, func(n *nodes.Node) error { return c.fetchLogsOver(ctx, n, m) })
}

func (c *cellRun) fetchLogsOver(ctx context.Context, n *nodes.Node, m *member) error {
	dir, err := n.Directory(ctx)
	if err != nil {
		return err
	}
	remote := path.Join(dir, "cells", cellName(c.cell))
	files, err := n.ReadDir(ctx, remote)
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
		if err := fetch(ctx, n, path.Join(remote, f.Name()), local); err != nil {
			return err
		}
	}
	return n.RemoveAll(ctx, remote)
}

// fetch copies one file from the node and closes out.
func fetch(ctx context.Context, n *nodes.Node, remote string, out *os.File) error {
	_, err := n.Download(ctx, remote, out, logLimit)
	if err == nil {
		if serr := out.Sync(); serr != nil { // before the journal calls the cell done
			err = &recordError{serr}
		}
	}
	if cerr := out.Close(); err == nil && cerr != nil {
		return &recordError{cerr}
	}
	if err != nil {
		return fmt.Errorf("node %s: log %s: %w", n.Name(), path.Base(remote), err)
	}
	return nil
}
