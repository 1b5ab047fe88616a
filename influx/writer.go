package influx

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
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

	// DefaultQueueBytes is how much line protocol waits in memory: some hours of
	// a small testbed, some ten minutes of a hundred nodes.
	DefaultQueueBytes = 64 << 20
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
	Failed    int64 // the server refused them, or they were given up
	Pending   int64 // waiting or under way; after Close: their fate is unknown or they were never sent
	Err       error // the last reason why points were refused, given up or not sent; nil if none was
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

	mu      sync.Mutex
	filling batch
	queue   []batch
	queued  int           // bytes in queue and filling
	room    chan struct{} // closed and renewed when queued shrinks
	sending int64         // points under way
	counts  Stats         // Delivered, Failed
	lost    int64         // points given up for want of room, not yet reported
	closed  bool
}

// batch is whole lines, and how many.
type batch struct {
	body  []byte
	lines int
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

// flush closes the batch that is being filled once a second, and reports what
// became of the queue: Enqueue itself calls nobody.
func (w *Writer) flush() {
	tick := time.NewTicker(batchAge)
	defer tick.Stop()
	for {
		select {
		case <-w.closing:
			w.reportQueue()
			return
		case <-tick.C:
			w.mu.Lock()
			w.seal()
			w.mu.Unlock()
			w.reportQueue()
		}
	}
}

func (w *Writer) reportQueue() {
	w.mu.Lock()
	lost := w.lost
	w.lost = 0
	roomy := w.queued < w.limit/2
	w.mu.Unlock()
	switch {
	case lost > 0:
		w.trouble.report(queueTrouble, fmt.Errorf("%s: it takes points more slowly than the run makes them: "+
			"the oldest %d were given up (the run directory's metrics.lp.gz holds them; export sends them again)", w.target, lost))
	case roomy:
		w.trouble.roomAgain()
	}
}

// Enqueue takes whole lines of line protocol, and copies them. It never blocks:
// where the queue is full, the oldest points are given up and counted as failed.
func (w *Writer) Enqueue(lines []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(lines)
	for w.queued > w.limit && len(w.queue) > 0 {
		b := w.pop()
		w.counts.Failed += int64(b.lines)
		w.lost += int64(b.lines)
	}
}

// Send is Enqueue for those who may wait, to send a finished run again: it
// returns once the queue has room for the lines and has taken them.
func (w *Writer) Send(ctx context.Context, lines []byte) error {
	for {
		w.mu.Lock()
		if w.closed || w.queued == 0 || w.queued+len(lines) <= w.limit/2 {
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
		w.counts.Failed += int64(countLines(lines))
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
			w.sending += int64(b.lines)
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
func (w *Writer) settle(delivered, failed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sending -= int64(delivered + failed)
	w.counts.Delivered += int64(delivered)
	w.counts.Failed += int64(failed)
}

// Stats says how it stands.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	s := w.counts
	s.Pending = w.sending + int64(w.filling.lines)
	for _, b := range w.queue {
		s.Pending += int64(b.lines)
	}
	w.mu.Unlock()
	s.Err = w.trouble.last()
	return s
}

// Close sends what waits, until ctx ends, and says what became of it. What is
// enqueued after it counts as failed.
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
