package nodes

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/pkg/sftp"
)

// listingLimit bounds what one listing of a directory may take, in bytes as they
// come over: some 100,000 names. How many there are is the node's word.
const listingLimit = 16 << 20

// ReadDir lists a directory, sorted by name. Names have no slash; whatever else is
// in them is the node's word. One that does not end within 16 MiB is an error.
func (n *Node) ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error) {
	var list []fs.FileInfo
	err := n.withFiles(ctx, "list "+name, func(c *sftp.Client) (err error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer n.listings.add(listingLimit, func() {
			cancel(fmt.Errorf("its listing is longer than %d MiB", listingLimit>>20))
		})()
		list, err = c.ReadDirContext(ctx, name)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		return err
	})
	return list, err
}

// listings are the directory listings that are under way on a connection. What
// comes over counts for each of them, whatever it belongs to.
type listings struct {
	mu  sync.Mutex
	all map[*listing]bool
}

// listing is one, with what it may still take and what is done when that is over.
type listing struct {
	left int64
	over func()
}

// add begins a listing and returns how it ends.
func (l *listings) add(limit int64, over func()) (end func()) {
	one := &listing{limit, over}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*listing]bool)
	}
	l.all[one] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, one)
	}
}

func (l *listings) took(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := range l.all {
		if one.left -= int64(n); one.left < 0 {
			one.over()
		}
	}
}

// meteredReader tells the listings what was read.
type meteredReader struct {
	io.Reader
	listings *listings
}

// Read implements io.Reader.
func (m meteredReader) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.listings.took(n)
	return n, err
}
