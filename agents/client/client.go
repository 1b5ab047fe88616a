// Package client is an agent as the controller sees it: requests answered
// under a deadline, and a stream of events, over any pair of byte streams. It
// knows the protocol, and neither SSH nor what an experiment is.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"bela/agents/protocol"
	"bela/measure"
)

// Client speaks with one agent. Its methods may be called concurrently.
type Client struct {
	conn    io.ReadWriteCloser
	now     func() int64
	onEvent func(protocol.Event)

	write sync.Mutex

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan answer
	last    uint64 // the last event's number
	err     error
	done    chan struct{}
}

// answer is a response and when it arrived.
type answer struct {
	frame protocol.Frame
	at    int64
}

// Connect opens the conversation: it takes over conn, says hello and starts
// handing events to onEvent, in order, from a goroutine of its own; onEvent must
// return quickly. now is the controller's clock in nanoseconds.
func Connect(ctx context.Context, conn io.ReadWriteCloser, hello protocol.Hello, now func() int64, onEvent func(protocol.Event)) (*Client, protocol.Welcome, error) {
	c := &Client{
		conn: conn, now: now, onEvent: onEvent,
		waiting: make(map[uint64]chan answer),
		last:    hello.After,
		done:    make(chan struct{}),
	}
	go c.read()
	hello.Version = protocol.Version
	var welcome protocol.Welcome
	if err := c.Call(ctx, protocol.TypeHello, hello, &welcome); err != nil {
		c.Close()
		return nil, welcome, err
	}
	if welcome.Version != protocol.Version {
		c.Close()
		return nil, welcome, fmt.Errorf("the agent speaks protocol version %d and this controller %d: run `bela clean` with the bela that started it", welcome.Version, protocol.Version)
	}
	return c, welcome, nil
}

// Call sends a request and waits for its response; resp may be nil. An error
// response comes back as *protocol.Error.
func (c *Client) Call(ctx context.Context, typ protocol.Type, req, resp any) error {
	a, err := c.call(ctx, typ, req)
	if err != nil {
		return err
	}
	if resp == nil || len(a.frame.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(a.frame.Body, resp); err != nil {
		return fmt.Errorf("the agent's answer to %s: %w", typ, err)
	}
	return nil
}

// Ping takes one four-timestamp sample of the agent's clock.
func (c *Client) Ping(ctx context.Context) (measure.ProbeSample, error) {
	sent := c.now()
	a, err := c.call(ctx, protocol.TypePing, nil)
	if err != nil {
		return measure.ProbeSample{}, err
	}
	var pong protocol.Pong
	if err := json.Unmarshal(a.frame.Body, &pong); err != nil {
		return measure.ProbeSample{}, fmt.Errorf("the agent's answer to ping: %w", err)
	}
	return measure.ProbeSample{T1: sent, T2: pong.Received, T3: pong.Sent, T4: a.at}, nil
}

func (c *Client) call(ctx context.Context, typ protocol.Type, req any) (answer, error) {
	body, err := protocol.Body(req)
	if err != nil {
		return answer{}, fmt.Errorf("encode %s: %w", typ, err)
	}
	ch := make(chan answer, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return answer{}, c.err
	}
	c.next++
	id := c.next
	c.waiting[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()

	c.write.Lock()
	err = protocol.WriteFrame(c.conn, protocol.Frame{ID: id, Type: typ, Body: body})
	c.write.Unlock()
	if err != nil {
		return answer{}, fmt.Errorf("send %s to the agent: %w", typ, err)
	}
	select {
	case a := <-ch:
		if a.frame.Type == protocol.TypeError {
			e := new(protocol.Error)
			if err := json.Unmarshal(a.frame.Body, e); err != nil {
				return answer{}, fmt.Errorf("the agent's error to %s: %w", typ, err)
			}
			return answer{}, e
		}
		return a, nil
	case <-c.done:
		return answer{}, c.Err()
	case <-ctx.Done():
		return answer{}, fmt.Errorf("no answer to %s: %w", typ, context.Cause(ctx))
	}
}

// read dispatches frames until the stream ends.
func (c *Client) read() {
	var err error
	for {
		var f protocol.Frame
		if f, err = protocol.ReadFrame(c.conn); err != nil {
			break
		}
		at := c.now()
		if f.Type == protocol.TypeEvent {
			if err = c.event(f); err != nil {
				break
			}
			continue
		}
		c.mu.Lock()
		ch := c.waiting[f.ID]
		delete(c.waiting, f.ID)
		c.mu.Unlock()
		if ch != nil {
			ch <- answer{f, at}
		}
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the agent closed the connection")
	}
	c.fail(fmt.Errorf("link to the agent: %w", err))
}

func (c *Client) event(f protocol.Frame) error {
	var e protocol.Event
	if err := json.Unmarshal(f.Body, &e); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	c.mu.Lock()
	seen := e.Seq <= c.last
	if !seen {
		c.last = e.Seq
	}
	c.mu.Unlock()
	if !seen {
		c.onEvent(e)
	}
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
	c.mu.Unlock()
	_ = c.conn.Close()
}

// Done is closed when the conversation has ended; Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the conversation ended, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// LastEvent is the number of the last event handed out.
func (c *Client) LastEvent() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Close ends the conversation; the agent goes on.
func (c *Client) Close() {
	c.fail(errClosed)
}

var errClosed = errors.New("closed by the controller")

// CallTimeout is Call under a deadline of its own.
func (c *Client) CallTimeout(ctx context.Context, d time.Duration, typ protocol.Type, req, resp any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("deadline of %v: %w", d, context.DeadlineExceeded))
	defer cancel()
	return c.Call(ctx, typ, req, resp)
}
