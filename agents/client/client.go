// Package client is an agent as the controller sees it: requests answered
// under a deadline, and a stream of events, over any pair of byte streams. A
// conversation goes on over a new connection when one is lost: nothing that was
// asked is lost or done twice, and every event comes once. It knows the
// protocol, and neither SSH nor what an experiment is.
package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"bela/agents/protocol"
	"bela/measure"
)

// Options say how a conversation is led.
type Options struct {
	Run   string
	After uint64 // the number of the last event that is known; 0 for all
	// New leaves out every event before the conversation; After does not count then.
	New bool
	// Now is the controller's clock in nanoseconds.
	Now func() int64
	// OnEvent takes events in order from one goroutine; it must return quickly.
	OnEvent func(protocol.Event)
	// OnGap, if given, is told how many events were lost before the next one.
	OnGap func(events uint64)
	// OnLink, if given, is told when a connection is lost and could not be made
	// anew at once, and when there is one again. It is called by one goroutine at
	// a time and must return quickly.
	OnLink func(Link)
	// Redial makes another connection; nil ends the conversation with its first
	// one. An error that is a *GoneError ends it too; others are tried again.
	Redial func(context.Context) (io.ReadWriteCloser, error)
	// Lease is how long the agent may be out of reach, from when it was last heard
	// of; 0 is as long as it takes.
	Lease time.Duration
	// Silence is how long nothing may be heard of the agent, which is asked for a
	// sign of life five times in it, before the connection counts as lost; 0 is
	// 10 s.
	Silence time.Duration
}

// Link is a change of the way to the agent.
type Link struct {
	Up bool
	// Away is how long the agent has not been heard of, Left how long it may
	// still be (where Options.Lease bounds it).
	Away, Left time.Duration
	Err        error // why it is lost
}

// GoneError says that an agent will not come back.
type GoneError struct{ Err error }

func (e *GoneError) Error() string { return e.Err.Error() }
func (e *GoneError) Unwrap() error { return e.Err }

// AwayError is a conversation that ended because the agent was out of reach for
// too long. Err is why the last attempt to reach it failed.
type AwayError struct {
	Away time.Duration
	Err  error
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("out of reach for %v: %v", e.Away.Round(100*time.Millisecond), e.Err)
}
func (e *AwayError) Unwrap() error { return e.Err }

// ErrSilent says that a connection stands and nothing comes over it.
var ErrSilent = errors.New("the agent does not answer")

// ErrReplaced says that another agent is there in the place of the one that was
// spoken with.
var ErrReplaced = errors.New("another agent is there in its place")

// ErrAway is what a Ping says while the link is lost.
var ErrAway = errors.New("the link to the agent is lost for the moment")

// BrokenError is the end of a conversation with an agent that says what no agent
// says, or what cannot be: it is broken or hostile, and nothing that it says is
// used any further.
type BrokenError struct{ Err error }

func (e *BrokenError) Error() string {
	return fmt.Sprintf("its agent is broken or hostile, and is not used any further: %v", e.Err)
}
func (e *BrokenError) Unwrap() error { return e.Err }

var errClosed = errors.New("closed by the controller")

// Client speaks with one agent. Its methods may be called concurrently.
type Client struct {
	options Options
	name    string // of the conversation
	events  allowance

	mu      sync.Mutex
	line    *line // nil while the link is lost
	up      chan struct{}
	next    uint64
	waiting map[uint64]*request
	last    uint64         // the last event's number
	away    time.Duration  // in all, without the absence that lasts
	since   time.Time      // when the agent was last heard of, while it is away
	large   map[uint64]int // bytes that answers may have which have not come, where that is more than MaxEvent
	err     error
	done    chan struct{}
	stop    context.CancelFunc // of rejoining
}

// request waits for its answer.
type request struct {
	frame  protocol.Frame
	most   int // bytes that its answer may have
	answer chan answer
}

// answer is a response and when it arrived.
type answer struct {
	frame protocol.Frame
	at    int64
	err   error
}

// Open begins the conversation: it takes over conn, says hello and starts
// handing out events.
func Open(ctx context.Context, conn io.ReadWriteCloser, o Options) (*Client, protocol.Welcome, error) {
	if o.Silence <= 0 {
		o.Silence = 10 * time.Second
	}
	ctx2, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Client{
		events:  newAllowance(time.Now()),
		options: o, name: rand.Text(), waiting: make(map[uint64]*request), large: make(map[uint64]int),
		last: o.After, up: make(chan struct{}), done: make(chan struct{}), stop: stop,
	}
	l := newLine(conn)
	welcome, err := c.greet(ctx, l)
	if err != nil {
		stop()
		l.close()
		return nil, welcome, err
	}
	if o.New {
		c.last, c.options.New = welcome.LastEvent, false
	}
	if welcome.LastEvent < c.last {
		c.last = 0 // these are another agent's, which counts anew
	}
	c.resume(l)
	go c.run(ctx2, l, welcome.Instance)
	return c, welcome, nil
}

// greet says hello over a new connection and takes the answer, before anything
// else goes over it.
func (c *Client) greet(ctx context.Context, l *line) (welcome protocol.Welcome, err error) {
	stop := context.AfterFunc(ctx, l.close)
	defer func() {
		if !stop() && err != nil {
			err = fmt.Errorf("no answer to hello: %w", context.Cause(ctx))
		}
	}()
	c.mu.Lock()
	c.next++
	id, after := c.next, c.last
	c.mu.Unlock()
	body, err := protocol.Body(protocol.Hello{Version: protocol.Version, Run: c.options.Run, After: after, New: c.options.New, Conversation: c.name})
	if err != nil {
		return welcome, err
	}
	if err := l.send(protocol.Frame{ID: id, Type: protocol.TypeHello, Body: body}); err != nil {
		return welcome, fmt.Errorf("send hello to the agent: %w", err)
	}
	frame, err := protocol.ReadFrameWithin(l, func() int { return protocol.MaxEvent })
	if err != nil {
		return welcome, fmt.Errorf("link to the agent: %w", ended(err))
	}
	l.whole()
	if frame.Type == protocol.TypeError {
		return welcome, agentError(protocol.TypeHello, frame)
	}
	if err := json.Unmarshal(frame.Body, &welcome); err != nil || frame.ID != id || frame.Type != protocol.TypeOK {
		return welcome, fmt.Errorf("the agent's answer to hello is no welcome but %q: %w", frame.Type, errors.Join(err, io.ErrUnexpectedEOF))
	}
	if welcome.Version != protocol.Version {
		return welcome, &GoneError{fmt.Errorf("the agent speaks protocol version %d and this controller %d: run `bela clean` with the bela that started it", welcome.Version, protocol.Version)}
	}
	if welcome.Run != "" && welcome.Run != c.options.Run {
		return welcome, &GoneError{fmt.Errorf("the agent serves run %s and not %s", protocol.Clip(welcome.Run, 100), c.options.Run)}
	}
	if err := welcome.Check(); err != nil {
		return welcome, &BrokenError{fmt.Errorf("its welcome: %w", err)}
	}
	return welcome, nil
}

// Call sends a request and waits for its response, also over the time in which
// the link is lost; resp may be nil. An error response comes back as
// *protocol.Error.
func (c *Client) Call(ctx context.Context, typ protocol.Type, req, resp any) error {
	return c.CallLarge(ctx, protocol.MaxEvent, typ, req, resp)
}

// CallLarge is Call for a request whose answer may have so many bytes.
func (c *Client) CallLarge(ctx context.Context, most int, typ protocol.Type, req, resp any) error {
	a, err := c.call(ctx, most, typ, req)
	if err != nil {
		return err
	}
	if resp == nil || len(a.frame.Body) == 0 {
		return nil
	}
	return c.decode(typ, a.frame, resp)
}

// CallTimeout is Call under a deadline of its own, which stands still while the
// link is lost.
func (c *Client) CallTimeout(ctx context.Context, d time.Duration, typ protocol.Type, req, resp any) error {
	return c.CallLargeTimeout(ctx, d, protocol.MaxEvent, typ, req, resp)
}

// CallLargeTimeout is CallTimeout for a request whose answer may have so many
// bytes.
func (c *Client) CallLargeTimeout(ctx context.Context, d time.Duration, most int, typ protocol.Type, req, resp any) error {
	ctx, cancel := Limit(ctx, d, c.Away, fmt.Errorf("deadline of %v: %w", d, context.DeadlineExceeded))
	defer cancel()
	return c.CallLarge(ctx, most, typ, req, resp)
}

// Ping takes one four-timestamp sample of the agent's clock. It is ErrAway while
// the link is lost: an answer from before says nothing of the clock now.
func (c *Client) Ping(ctx context.Context) (measure.ProbeSample, error) {
	sent := c.options.Now()
	a, err := c.call(ctx, protocol.MaxEvent, protocol.TypePing, nil)
	if err != nil {
		return measure.ProbeSample{}, err
	}
	var pong protocol.Pong
	if err := c.decode(protocol.TypePing, a.frame, &pong); err != nil {
		return measure.ProbeSample{}, err
	}
	return measure.ProbeSample{T1: sent, T2: pong.Received, T3: pong.Sent, T4: a.at}, nil
}

func (c *Client) call(ctx context.Context, most int, typ protocol.Type, req any) (answer, error) {
	body, err := protocol.Body(req)
	if err != nil {
		return answer{}, fmt.Errorf("encode %s: %w", typ, err)
	}
	r := &request{most: most, frame: protocol.Frame{Type: typ, Body: body}, answer: make(chan answer, 1)}
	l, err := c.enter(r)
	if err != nil {
		return answer{}, err
	}
	defer c.leave(r)
	if l != nil {
		// An error of the connection shows in reading too, which makes another; one
		// of the request alone would stay.
		if err := l.send(r.frame); errors.Is(err, protocol.ErrFrame) {
			return answer{}, fmt.Errorf("send %s to the agent: %w", typ, err)
		} else if err != nil {
			l.close()
		}
	}
	select {
	case a := <-r.answer:
		switch {
		case a.err != nil:
			return answer{}, a.err
		case a.frame.Type == protocol.TypeError:
			return answer{}, agentError(typ, a.frame)
		}
		return a, nil
	case <-c.done:
		return answer{}, c.Err()
	case <-ctx.Done():
		return answer{}, fmt.Errorf("no answer to %s: %w", typ, context.Cause(ctx))
	}
}

// enter numbers a request and gives the connection to send it over; nil where it
// goes out when there is one again.
func (c *Client) enter(r *request) (*line, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if c.line == nil && r.frame.Type == protocol.TypePing {
		return nil, ErrAway
	}
	c.next++
	r.frame.ID, r.frame.Done = c.next, c.next-1
	for id := range c.waiting {
		r.frame.Done = min(r.frame.Done, id-1)
	}
	c.waiting[r.frame.ID] = r
	if r.most > protocol.MaxEvent {
		c.large[r.frame.ID] = r.most // also after nobody waits any more: it may come late
	}
	return c.line, nil
}

func (c *Client) leave(r *request) {
	c.mu.Lock()
	delete(c.waiting, r.frame.ID)
	c.mu.Unlock()
}

func agentError(typ protocol.Type, f protocol.Frame) error {
	e := new(protocol.Error)
	if err := json.Unmarshal(f.Body, e); err != nil {
		return fmt.Errorf("the agent's error to %s: %w", typ, err)
	}
	_ = e.Check() // only cuts its texts
	return e
}

// decode reads an answer. One that no agent gives ends the conversation.
func (c *Client) decode(typ protocol.Type, f protocol.Frame, resp any) error {
	err := json.Unmarshal(f.Body, resp)
	if checked, ok := resp.(protocol.Checked); ok && err == nil {
		err = checked.Check()
	}
	if err != nil {
		return c.Refuse(fmt.Errorf("its answer to %s: %w", typ, err))
	}
	return nil
}

// Refuse ends the conversation because of what the agent said, and returns why:
// a BrokenError.
func (c *Client) Refuse(cause error) error {
	err := &BrokenError{cause}
	c.fail(err)
	return err
}

// read dispatches frames until the stream ends.
func (c *Client) read(l *line) error {
	for {
		f, err := protocol.ReadFrameWithin(l, c.limit)
		if errors.Is(err, protocol.ErrMalformed) {
			return &BrokenError{err}
		}
		if err != nil {
			return fmt.Errorf("link to the agent: %w", l.why(ended(err)))
		}
		at := c.options.Now()
		l.whole()
		if f.Type == protocol.TypeEvent {
			err = c.event(f)
		} else {
			err = c.answered(f, at)
		}
		if err != nil {
			return &BrokenError{err}
		}
	}
}

// limit bounds the next frame, in bytes.
func (c *Client) limit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := protocol.MaxEvent
	for _, n := range c.large {
		most = max(most, min(n, protocol.MaxFrame))
	}
	return most
}

// answered gives an answer to whoever waits for it. What nobody waits for counts
// as events do.
func (c *Client) answered(f protocol.Frame, at int64) error {
	c.mu.Lock()
	r, made, large := c.waiting[f.ID], c.next, c.large[f.ID]
	delete(c.large, f.ID)
	c.mu.Unlock()
	switch {
	case f.ID > made:
		return fmt.Errorf("it answers request %d, and %d were made", f.ID, made)
	case len(f.Body) > max(large, protocol.MaxEvent):
		return fmt.Errorf("it answers with %d bytes what has %d at most", len(f.Body), max(large, protocol.MaxEvent))
	}
	if r != nil {
		select {
		case r.answer <- answer{frame: f, at: at}:
			return nil
		default: // answered already
		}
	}
	return c.events.take(min(len(f.Body), strayCost), time.Now())
}

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the agent closed the connection")
	}
	return err
}

func (c *Client) event(f protocol.Frame) error {
	if len(f.Body) > protocol.MaxEvent {
		return fmt.Errorf("an event has %d bytes, and %d at most", len(f.Body), protocol.MaxEvent)
	}
	var e protocol.Event
	err := json.Unmarshal(f.Body, &e)
	if err == nil {
		err = e.Check()
	}
	if err != nil {
		return fmt.Errorf("an event: %w", err)
	}
	cost := len(f.Body) + eventCost
	if e.Sample == nil {
		cost += wordCost + (escaped-1)*len(f.Body)
	}
	if err := c.events.take(cost, time.Now()); err != nil {
		return err
	}
	last := c.LastEvent()
	if e.Seq <= last {
		return nil
	}
	gap := e.Seq - last - 1
	if gap > maxGap {
		return fmt.Errorf("an event: number %d comes after %d", e.Seq, last)
	}
	if gap > 0 && c.options.OnGap != nil {
		c.options.OnGap(gap)
	}
	c.options.OnEvent(e)
	c.mu.Lock()
	c.last = e.Seq
	c.mu.Unlock()
	return nil
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.done)
	l := c.line
	c.line = nil
	c.mu.Unlock()
	c.stop()
	if l != nil {
		l.close()
	}
}

// Done is closed when the conversation has ended; Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the conversation ended, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// LastEvent is the number of the last event handed out and taken.
func (c *Client) LastEvent() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Close ends the conversation; the agent goes on.
func (c *Client) Close() { c.fail(errClosed) }
