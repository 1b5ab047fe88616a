package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bela/agents/protocol"
)

// How a lost connection is made anew: the first wait, which doubles up to the
// longest, each with a jitter of half; how long an agent may take to answer
// hello; and how long a loss may last before it is told of.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 2 * time.Second
	helloLimit  = 5 * time.Second
	tellAfter   = time.Second
	enough      = 1 << 10 // bytes that are as good as a frame
)

// line is one connection.
type line struct {
	conn  io.ReadWriteCloser
	write sync.Mutex
	heard atomic.Int64 // nanoseconds since born at which the last frame, or much of one, came
	part  int          // bytes since then; only for the one goroutine that reads
	born  time.Time
	once  sync.Once
	over  chan struct{}
	cause atomic.Pointer[error] // why this end closed it
}

func newLine(conn io.ReadWriteCloser) *line {
	return &line{conn: conn, born: time.Now(), over: make(chan struct{})}
}

// Read counts every byte as a sign of life: a large answer over a slow link
// takes its time.
func (l *line) Read(p []byte) (int, error) {
	n, err := l.conn.Read(p)
	if l.part += n; l.part >= enough {
		l.whole()
	}
	return n, err
}

// whole notes that a frame has come. A connection over which there is always one
// more byte, and never a frame, is as good as silent.
func (l *line) whole() {
	l.part = 0
	l.heard.Store(int64(time.Since(l.born)))
}

func (l *line) lastHeard() time.Time { return l.born.Add(time.Duration(l.heard.Load())) }

func (l *line) send(f protocol.Frame) error {
	l.write.Lock()
	defer l.write.Unlock()
	return protocol.WriteFrame(l.conn, f)
}

// close ends the connection, and does not wait for one that is stuck.
func (l *line) close() {
	l.once.Do(func() {
		close(l.over)
		go func() { _ = l.conn.Close() }()
	})
}

// why prefers the reason for which this end closed the connection.
func (l *line) why(err error) error {
	if cause := l.cause.Load(); cause != nil {
		return *cause
	}
	return err
}

// watch asks for signs of life and closes a connection over which none come.
func (l *line) watch(silence time.Duration) {
	tick := time.NewTicker(silence / 5)
	defer tick.Stop()
	var asking atomic.Bool
	for {
		select {
		case <-l.over:
			return
		case <-tick.C:
		}
		if time.Since(l.lastHeard()) >= silence {
			err := fmt.Errorf("%w for %v", ErrSilent, silence)
			l.cause.Store(&err)
			l.close()
			return
		}
		if asking.CompareAndSwap(false, true) { // writing may be stuck
			go func() {
				defer asking.Store(false)
				_ = l.send(protocol.Frame{Type: protocol.TypePing}) // nobody waits for its answer
			}()
		}
	}
}

// run reads one connection after another until the conversation ends.
func (c *Client) run(ctx context.Context, l *line, instance string) {
	left := breaks{left: breakBurst, at: time.Now()}
	for {
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			l.watch(c.options.Silence)
		}()
		err := c.read(l)
		l.close()
		<-watched
		c.lost(l)
		if _, broken := errors.AsType[*BrokenError](err); broken || c.options.Redial == nil || ctx.Err() != nil {
			c.fail(err)
			return
		}
		if flaps := left.take(time.Now()); flaps != nil {
			c.fail(fmt.Errorf("%w: %w", flaps, err))
			return
		}
		if l, err = c.rejoin(ctx, l.lastHeard(), err, instance); err != nil {
			c.fail(err)
			return
		}
	}
}

// lost notes that there is no connection, and tells those who wait for a ping.
func (c *Client) lost(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = nil
	c.since = l.lastHeard()
	c.up = make(chan struct{})
	for _, r := range c.waiting {
		if r.frame.Type != protocol.TypePing {
			continue
		}
		select {
		case r.answer <- answer{err: ErrAway}:
		default:
		}
	}
}

// resume makes a connection the one in use and asks again what has no answer.
func (c *Client) resume(l *line) {
	c.mu.Lock()
	if !c.since.IsZero() {
		c.away += time.Since(c.since)
		c.since = time.Time{}
	}
	c.line = l
	close(c.up)
	var again []*request
	for _, r := range c.waiting {
		again = append(again, r)
	}
	c.mu.Unlock()
	slices.SortFunc(again, func(a, b *request) int { return cmp.Compare(a.frame.ID, b.frame.ID) })
	for _, r := range again {
		if l.send(r.frame) != nil {
			l.close() // which shows in reading
			return
		}
	}
}

// rejoin makes another connection to the same agent, for as long as it may be
// away. heard is when it was last heard of.
func (c *Client) rejoin(ctx context.Context, heard time.Time, cause error, instance string) (*line, error) {
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if c.options.Lease > 0 {
		bounded, cancel = context.WithDeadline(ctx, heard.Add(c.options.Lease))
	}
	defer cancel()
	tell := c.teller(heard)
	err := cause
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		l, next := c.again(bounded, instance)
		if next == nil {
			tell.up()
			c.resume(l)
			return l, nil
		}
		if ctx.Err() == nil && bounded.Err() == nil {
			err = next // what the end of waiting broke off says nothing
		}
		if gone, ok := errors.AsType[*GoneError](next); ok {
			tell.stop()
			return nil, gone
		}
		if broken, ok := errors.AsType[*BrokenError](next); ok {
			tell.stop()
			return nil, broken
		}
		if ctx.Err() == nil { // a conversation that this end has closed has lost nothing
			tell.down(err)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
			continue
		case <-bounded.Done():
		}
		tell.stop()
		if ctx.Err() != nil {
			return nil, errClosed
		}
		return nil, &AwayError{time.Since(heard), err}
	}
}

// again makes one attempt.
func (c *Client) again(ctx context.Context, instance string) (*line, error) {
	conn, err := c.options.Redial(ctx)
	if err != nil {
		return nil, err
	}
	l := newLine(conn)
	ctx, cancel := context.WithTimeoutCause(ctx, helloLimit, fmt.Errorf("%w for %v", ErrSilent, helloLimit))
	defer cancel()
	welcome, err := c.greet(ctx, l)
	if err == nil && welcome.Instance != instance {
		err = &GoneError{ErrReplaced}
	}
	if err == nil && welcome.Expired {
		err = &GoneError{errors.New("it was without its controller for the lease and has stopped load and components")}
	}
	if refused, ok := errors.AsType[*protocol.Error](err); ok {
		err = &GoneError{refused}
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// teller tells of a lost link once it has lasted, and of its return.
type teller struct {
	c     *Client
	heard time.Time
	timer *time.Timer

	mu   sync.Mutex
	said bool
	over bool
	err  error
}

func (c *Client) teller(heard time.Time) *teller {
	t := &teller{c: c, heard: heard, err: errors.New("the connection broke")}
	t.timer = time.AfterFunc(tellAfter, func() { t.down(nil) })
	return t
}

// down tells that the link is lost, once.
func (t *teller) down(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.err = err
	}
	if t.said || t.over || t.c.options.OnLink == nil {
		return
	}
	t.said = true
	away := time.Since(t.heard)
	t.c.options.OnLink(Link{Away: away, Left: max(t.c.options.Lease-away, 0), Err: t.err})
}

// up tells that it is there again, also where its loss was too short to tell.
func (t *teller) up() {
	t.stop()
	if t.c.options.OnLink != nil {
		t.c.options.OnLink(Link{Up: true, Away: time.Since(t.heard)})
	}
}

func (t *teller) stop() {
	t.timer.Stop()
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
}

// Away is for how long, in all, the agent was out of reach, up to now.
func (c *Client) Away() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return c.away
	}
	return c.away + time.Since(c.since)
}

// Await waits until there is a connection. The error says why there will be none,
// or why ctx ended.
func (c *Client) Await(ctx context.Context) error {
	c.mu.Lock()
	up := c.up
	c.mu.Unlock()
	select {
	case <-up:
		return c.Err()
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Limit is a context that ends after d, with a cause; the time that away counts
// up meanwhile is not counted.
func Limit(ctx context.Context, d time.Duration, away func() time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	begun, before := time.Now(), away()
	go func() {
		for left := d; left > 0; left = d + away() - before - time.Since(begun) {
			timer := time.NewTimer(left)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
		cancel(cause)
	}()
	return ctx, func() { cancel(context.Canceled) }
}
