package campaign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"bela/event"
	"bela/nodes"
)

// logLimit bounds what is taken of one log file, the others what is taken of all
// of a node's in a cell: how many there are, and how large, is the node's word.
const (
	logLimit      = 32 << 20
	logsLimit     = 512 << 20
	logFilesLimit = 256
)

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
	taken, left := 0, int64(logsLimit)
	for _, f := range files {
		// A link would lead anywhere that the login may read, and a pipe gives no end.
		if !f.Mode().IsRegular() || !strings.HasSuffix(f.Name(), ".log") {
			continue
		}
		if taken++; taken > logFilesLimit || f.Size() > left {
			c.emit(event.Message{Level: "warn", Node: m.name(), Position: c.cell.Position, Text: fmt.Sprintf(
				"more logs than %d files or %d MiB in all: the rest is left out", logFilesLimit, logsLimit>>20)})
			break
		}
		// The store makes the name safe: it is the node's word.
		local, err := c.Store.CreateLog(c.cell.Position, m.name()+"-"+f.Name())
		if err != nil {
			return &recordError{err}
		}
		size, err := fetch(ctx, n, path.Join(remote, f.Name()), local, min(logLimit, left))
		if errors.Is(err, nodes.ErrTooLarge) { // its beginning is there; the others are to come
			c.emit(event.Message{Level: "warn", Node: m.name(), Position: c.cell.Position, Text: err.Error() + ": the rest is left out"})
		} else if err != nil {
			return err
		}
		left -= size
	}
	return n.RemoveAll(ctx, remote)
}

// fetch copies one file from the node and closes out.
func fetch(ctx context.Context, n *nodes.Node, remote string, out *os.File, limit int64) (int64, error) {
	size, err := n.Download(ctx, remote, out, limit)
	if err == nil {
		if serr := out.Sync(); serr != nil { // before the journal calls the cell done
			err = &recordError{serr}
		}
	}
	if cerr := out.Close(); err == nil && cerr != nil {
		return size, &recordError{cerr}
	}
	if err != nil {
		return size, fmt.Errorf("node %s: log %s: %w", n.Name(), path.Base(remote), err)
	}
	return size, nil
}
