package sockdiag

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What waits to be taken is bounded: a closed socket is 120 bytes.
const maxClosed = 100_000

// closedBuffer is the kernel's room for messages, if it lets this process have
// it: some 10,000 connections that close at once.
const closedBuffer = 8 << 20

// Closed hears of sockets when the kernel gives them up. A connection that lived
// for less than the time between two looks is seen by this alone.
type Closed struct {
	file *os.File
	done chan struct{}

	mu      sync.Mutex
	sockets []Socket
	missed  bool
}

// WatchClosed begins to listen.
func WatchClosed() (*Closed, error) {
	fd, err := open(destroyGroups)
	if err != nil {
		return nil, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, closedBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, closedBuffer) // as much as is allowed
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	c := &Closed{file: os.NewFile(uintptr(fd), "sock_diag"), done: make(chan struct{})}
	go c.listen()
	return c, nil
}

// Close ends it.
func (c *Closed) Close() error {
	err := c.file.Close()
	<-c.done
	return err
}

// Take returns the sockets that closed since the last call, with their last
// counts, and whether there were more than could be kept.
func (c *Closed) Take() (sockets []Socket, missed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sockets, missed = c.sockets, c.missed
	c.sockets, c.missed = nil, false
	return sockets, missed
}

func (c *Closed) listen() {
	defer close(c.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := c.file.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, unix.ENOBUFS):
			c.miss()
			continue
		case err != nil:
			c.miss()
			time.Sleep(10 * time.Millisecond) // not in a tight circle
			continue
		}
		if each(buf[:n], c.add) != nil {
			c.miss()
		}
	}
}

func (c *Closed) miss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missed = true
}

func (c *Closed) add(kind uint16, _ uint32, payload []byte) error {
	if kind != byFamily {
		return nil
	}
	s, ok := parse(payload)
	if !ok || s.Listening {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sockets) >= maxClosed {
		c.missed = true
		return nil
	}
	c.sockets = append(c.sockets, s)
	return nil
}
