package tui

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"bela/live"
)

// maxPending is how many lines wait for a reader before lines are folded
// together. At 10 nodes and one sample a second it is over ten minutes.
const maxPending = 8192

// weight says what may happen to a line that waits behind a slow reader.
type weight int

const (
	kept   weight = iota // a change of state: never lost
	sample               // only the newest of a key stays
	chat                 // left out, and counted
)

// queue hands lines to a writer without ever making the producer wait.
type queue struct {
	w       io.Writer
	timeout time.Duration
	done    chan struct{} // closed when the writing goroutine has ended

	mu      sync.Mutex
	wake    sync.Cond
	pending []line
	bound   int   // the length of pending at which it is folded
	left    int   // lines of weight chat that were left out
	err     error // the first error of the writer
	closed  bool
}

type line struct {
	text   []byte // with its line feed
	weight weight
	key    string
}

func newQueue(w io.Writer, timeout time.Duration) *queue {
	q := &queue{w: w, timeout: timeout, done: make(chan struct{}), bound: maxPending}
	q.wake.L = &q.mu
	go q.run()
	return q
}

// put appends a line. The key tells samples apart: per node, or for the load.
func (q *queue) put(text []byte, w weight, key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.err != nil {
		return
	}
	q.pending = append(q.pending, line{text, w, key})
	if len(q.pending) >= q.bound {
		q.fold()
	}
	q.wake.Signal()
}

// fold leaves the changes of state and the newest sample of each key, in their
// order. The bound then doubles where little could go, so that folding costs
// the same per line however far the reader is behind.
func (q *queue) fold() {
	seen := map[string]bool{}
	var rest []line
	for i := len(q.pending) - 1; i >= 0; i-- {
		l := q.pending[i]
		switch {
		case l.weight == chat:
			q.left++
			continue
		case l.weight == sample && seen[l.key]:
			continue
		case l.weight == sample:
			seen[l.key] = true
		}
		rest = append(rest, l)
	}
	slices.Reverse(rest)
	q.pending, q.bound = rest, max(maxPending, 2*len(rest))
}

// leftOut returns how many lines were left out since the last call.
func (q *queue) leftOut() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.left
	q.left = 0
	return n
}

// run writes until the queue is closed and empty, or the writer fails.
func (q *queue) run() {
	defer close(q.done)
	var buf []byte
	for {
		q.mu.Lock()
		for len(q.pending) == 0 && !q.closed {
			q.wake.Wait()
		}
		if len(q.pending) == 0 {
			q.mu.Unlock()
			return
		}
		// Few at a time: what a slow reader has not taken can still be folded.
		n := min(len(q.pending), 64)
		buf = buf[:0]
		for _, l := range q.pending[:n] {
			buf = append(buf, l.text...)
		}
		q.pending = slices.Delete(q.pending, 0, n)
		q.mu.Unlock()

		if _, err := q.w.Write(buf); err != nil {
			q.mu.Lock()
			q.err, q.pending = err, nil
			q.mu.Unlock()
			return
		}
	}
}

// close waits until all is written, or the timeout.
func (q *queue) close() error {
	q.mu.Lock()
	q.closed = true
	q.wake.Signal()
	q.mu.Unlock()

	t := time.NewTimer(q.timeout)
	defer t.Stop()
	select {
	case <-q.done:
	case <-t.C:
		q.mu.Lock()
		defer q.mu.Unlock()
		return fmt.Errorf("the reader of the output took nothing for %s: %d lines were not written", live.Length(q.timeout), len(q.pending))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return fmt.Errorf("write the view: %w", q.err)
	}
	return nil
}
