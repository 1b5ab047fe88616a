package agents

import (
	"context"
	"slices"
	"sync"

	"bela/agents/protocol"
)

// remembered bounds the answers that are kept for a controller that does not
// say that it has them, and past how many controllers that were taken over from
// are known.
const (
	remembered = 10_000
	past       = 100
)

// controller is who an agent listens to: one conversation at a time, which may
// go on over many connections.
type controller struct {
	mu      sync.Mutex
	current *conversation
	ended   []string // conversations that another took over from
}

// conversation is what outlives a connection: where answers go now, and which
// requests were taken already, so that one that is asked again is carried out
// once.
type conversation struct {
	id string

	mu      sync.Mutex
	session *session
	taken   map[uint64]*request
}

// request is one that must not be carried out twice.
type request struct{ answer *protocol.Frame } // nil while it is under way

// join makes a session the one that a conversation goes on over. An older
// session ends, also that of another conversation.
func (a *agent) join(id string, s *session) (*conversation, error) {
	a.controller.mu.Lock()
	defer a.controller.mu.Unlock()
	if slices.Contains(a.controller.ended, id) {
		return nil, &protocol.Error{Code: "busy", Text: "another controller of run " + a.Run + " has taken this node's agent over"}
	}
	c := a.controller.current
	if c == nil || c.id != id {
		if c != nil {
			a.controller.ended = append(a.controller.ended, c.id)
			a.controller.ended = a.controller.ended[max(0, len(a.controller.ended)-past):]
			c.to(nil)
		}
		c = &conversation{id: id, taken: make(map[uint64]*request)}
		a.controller.current = c
	}
	c.to(s)
	return c, nil
}

// to moves the conversation to a session and ends the one before.
func (c *conversation) to(s *session) {
	c.mu.Lock()
	before := c.session
	c.session = s
	c.mu.Unlock()
	if before != nil && before != s {
		_ = before.conn.Close() // its answers go to the new one
	}
}

// take enters a request. It is false for one that was taken before; its answer
// is given then, or nil where it is under way and will be sent.
func (c *conversation) take(f protocol.Frame) (fresh bool, answer *protocol.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.taken {
		if id <= f.Done {
			delete(c.taken, id)
		}
	}
	if r := c.taken[f.ID]; r != nil {
		return false, r.answer
	}
	if len(c.taken) >= remembered {
		oldest := f.ID
		for id, r := range c.taken {
			if r.answer != nil {
				oldest = min(oldest, id)
			}
		}
		delete(c.taken, oldest)
	}
	c.taken[f.ID] = new(request)
	return true, nil
}

// answered remembers an answer and sends it where the conversation is now. An
// answer that does not arrive is asked for again.
func (c *conversation) answered(f protocol.Frame) error {
	c.mu.Lock()
	if r := c.taken[f.ID]; r != nil {
		r.answer = &f
	}
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.send(f)
}

// carryOut does what a request asks and answers it. It is not bound to the
// connection that brought the request.
func (a *agent) carryOut(ctx context.Context, c *conversation, frame protocol.Frame) {
	if frame.Type == protocol.TypeShutdown {
		defer a.stop(errShutdown)
	}
	if err := c.answered(a.respond(ctx, frame)); err != nil {
		a.Logger.Warn("answer", "type", frame.Type, "err", err)
	}
}
