package netns

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// filler is the file that takes the room.
const filler = "/root/.testbed-filler"

// Fill leaves that many bytes free in the node's home, a little less than more.
func (n *Node) Fill(free int64) error {
	if err := n.Empty(); err != nil {
		return err
	}
	f, err := os.OpenFile(n.Path(filler), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return n.fail("fill its disk", err)
	}
	var room syscall.Statfs_t
	if err = syscall.Fstatfs(int(f.Fd()), &room); err == nil {
		if size := int64(room.Bavail)*room.Bsize - free; size > 0 {
			err = syscall.Fallocate(int(f.Fd()), 0, 0, size)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return n.fail("fill its disk", err)
	}
	return nil
}

// Empty undoes Fill.
func (n *Node) Empty() error {
	if err := os.Remove(n.Path(filler)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n.fail("empty its disk", err)
	}
	return nil
}
