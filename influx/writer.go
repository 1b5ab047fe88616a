package influx

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// A batch is closed at whichever comes first. InfluxDB recommends 5,000
	// lines; a second is how old a dashboard may be.
	batchLines = 5000
	batchBytes = 1 << 20
	batchAge   = time.Second

	// inFlight is how many requests are under way at once.
	inFlight = 3

	// DefaultQueueBytes is how much line protocol waits in memory: enough to keep
	// all requests under way busy. What waits longer waits in its file.
	DefaultQueueBytes = 8 << 20
)

// Config says where the points go.
type Config struct {
	// URL is the server's, with a path where it lives below one:
	// "http://10.2.0.5:8086". Credentials do not belong into it.
	URL    string
	Org    string
	Bucket string // InfluxDB 1.8: "database" or "database/retention"
	Token  string // InfluxDB 1.8: "user:password"; empty where it asks for none
	// QueueBytes bounds the line protocol that waits; 0 is DefaultQueueBytes. Up
	// to three batches under way, of 1 MiB each, come on top.
	QueueBytes int
	// Trouble, where given, is told when points cannot be delivered, and with
	// nil when they are again. It is told of changes, not of each attempt, and
	// called by one goroutine at a time. It must not call Close.
	Trouble func(error)
}

// Stats count points.
type Stats struct {
	Delivered int64 // the server took them
	Failed    int64 // the server refused them for good
	Pending   int64 // waiting or under way; after Close: their fate is unknown or they were never sent
	Err       error // the last reason why points were refused or not sent; nil if none was
}

// Writer sends line protocol to InfluxDB in the background. Its methods may be
// called concurrently.
type Writer struct {
	target  target
	client  *http.Client
	limit   int
	trouble *reporter

	ctx     context.Context // of all requests; ends when Close gives up
	cancel  context.CancelFunc
	ready   chan struct{} // a batch may be waiting
	closing chan struct{} // closed by Close: hurry
	done    chan struct{} // closed when the last goroutine has left

	mu       sync.Mutex
	filling  batch
	queue    []batch
	queued   int           // bytes in queue and filling
	room     chan struct{} // closed and renewed when queued shrinks
	given    int64         // points taken by Send
	underWay []batch       // not settled; at most one a worker
	counts   Stats         // Delivered, Failed
	closed   bool
}

// batch is whole lines, and how many.
type batch struct {
	body  []byte
	lines int
	first int64 // the number of its first point, of those that were given, from 0
}

// NewWriter starts a writer. It opens no connection: Check does. Close it.
func NewWriter(cfg Config) (*Writer, error) { return newWriter(cfg, newTransport()) }

func newWriter(cfg Config, transport http.RoundTripper) (*Writer, error) {
	t, err := newTarget(cfg)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		target: t,
		client: &http.Client{
			Transport: transport,
			Timeout:   requestTimeout,
			// A redirected POST would lose its body or its token.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		limit:   cfg.QueueBytes,
		trouble: newReporter(cfg.Trouble),
		ready:   make(chan struct{}, inFlight),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		room:    make(chan struct{}),
	}
	if w.limit <= 0 {
		w.limit = DefaultQueueBytes
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.start()
	return w, nil
}

func (w *Writer) start() {
	var workers sync.WaitGroup
	for range inFlight {
		workers.Go(w.work)
	}
	workers.Go(w.flush)
	go func() {
		workers.Wait()
		close(w.done)
	}()
}

// flush closes the batch that is being filled once a second.
func (w *Writer) flush() {
	tick := time.NewTicker(batchAge)
	defer tick.Stop()
	for {
		select {
		case <-w.closing:
			return
		case <-tick.C:
			w.mu.Lock()
			w.seal()
			w.mu.Unlock()
		}
	}
}

// Send takes whole lines of line protocol, and copies them. Where the queue has
// no room for them it waits until it has, or ctx ends. After Close they count as
// failed.
func (w *Writer) Send(ctx context.Context, lines []byte) error {
	for {
		w.mu.Lock()
		if w.closed || w.queued == 0 || w.queued+len(lines) <= w.limit {
			w.add(lines)
			w.mu.Unlock()
			return nil
		}
		w.seal() // else it would wait for the batch's second
		room := w.room
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("%s: waited for room in the queue: %w", w.target, ctx.Err())
		}
	}
}

// add appends lines to the batch that is being filled, and closes it as often
// as it gets full. The caller holds w.mu.
func (w *Writer) add(lines []byte) {
	if w.closed {
		n := int64(countLines(lines))
		w.given += n
		w.counts.Failed += n
		return
	}
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n') + 1
		one := lines
		if end > 0 {
			one = lines[:end]
		}
		lines = lines[len(one):]
		if len(bytes.TrimSpace(one)) == 0 {
			continue
		}
		if w.filling.lines == 0 {
			w.filling.first = w.given
		}
		w.given++
		w.filling.body = append(w.filling.body, one...)
		w.queued += len(one)
		if end == 0 {
			w.filling.body = append(w.filling.body, '\n')
			w.queued++
		}
		w.filling.lines++
		if w.filling.lines >= batchLines || len(w.filling.body) >= batchBytes {
			w.seal()
		}
	}
}

func countLines(lines []byte) int {
	n := 0
	for line := range bytes.Lines(lines) {
		if len(bytes.TrimSpace(line)) > 0 {
			n++
		}
	}
	return n
}

// seal moves the batch that is being filled to the queue. The caller holds w.mu.
func (w *Writer) seal() {
	if w.filling.lines == 0 {
		return
	}
	w.queue = append(w.queue, w.filling)
	w.filling = batch{}
	select {
	case w.ready <- struct{}{}:
	default: // every worker has been woken already
	}
}

// pop takes the oldest batch. The caller holds w.mu and knows that there is one.
func (w *Writer) pop() batch {
	b := w.queue[0]
	w.queue[0] = batch{}
	w.queue = w.queue[1:]
	w.queued -= len(b.body)
	close(w.room)
	w.room = make(chan struct{})
	return b
}

// next waits for a batch; ok is false when there will be none.
func (w *Writer) next() (b batch, ok bool) {
	for {
		w.mu.Lock()
		if len(w.queue) > 0 && w.ctx.Err() == nil {
			b = w.pop()
			w.underWay = append(w.underWay, b)
			w.mu.Unlock()
			return b, true
		}
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return batch{}, false
		}
		select {
		case <-w.ready:
		case <-w.closing:
		}
	}
}

// settle books a batch that is no longer under way.
func (w *Writer) settle(b batch, failed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underWay = slices.DeleteFunc(w.underWay, func(u batch) bool { return u.first == b.first })
	w.counts.Delivered += int64(b.lines - failed)
	w.counts.Failed += int64(failed)
}

// Settled is how many points, of those given first, the server has all taken or
// refused for good.
func (w *Writer) Settled() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.given
	if w.filling.lines > 0 {
		n = w.filling.first
	}
	for _, batches := range [][]batch{w.queue, w.underWay} {
		for _, b := range batches {
			n = min(n, b.first)
		}
	}
	return n
}

// Stats says how it stands.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	s := w.counts
	s.Pending = w.given - s.Delivered - s.Failed
	w.mu.Unlock()
	s.Err = w.trouble.last()
	return s
}

// Close sends what waits, until ctx ends, and says what became of it. What is
// given after it counts as failed.
func (w *Writer) Close(ctx context.Context) Stats {
	w.mu.Lock()
	if !w.closed {
		w.seal()
		w.closed = true
		close(w.closing)
	}
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
		w.cancel()
		w.awaitWorkers()
	}
	w.cancel()
	w.client.CloseIdleConnections()
	return w.Stats()
}

// awaitWorkers waits until the cancelled workers have left. They leave at once,
// unless a Trouble callback hangs: that must not hold up the end of a run.
func (w *Writer) awaitWorkers() {
	limit := time.NewTimer(time.Second)
	defer limit.Stop()
	select {
	case <-w.done:
	case <-limit.C:
	}
}
