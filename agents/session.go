package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"bela/agents/monitor"
	"bela/agents/protocol"
)

// requestLimit bounds a request that sets no deadline of its own.
const requestLimit = 10 * time.Minute

// concurrentRequests bounds what one controller may ask at once.
const concurrentRequests = 64

// session is one connection of a controller.
type session struct {
	*agent
	conn  net.Conn
	write sync.Mutex
	talk  *conversation // nil before hello
}

// serve answers requests until the connection ends. What must not be carried out
// twice goes on beyond.
func (s *session) serve(ctx context.Context) error {
	all := ctx
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	var tasks sync.WaitGroup
	defer func() {
		stop()
		cancel()
		_ = s.conn.Close()
		tasks.Wait()
	}()

	slots := make(chan struct{}, concurrentRequests)
	for {
		frame, err := protocol.ReadFrame(s.conn)
		received := s.Clock.Local()
		if err != nil {
			return err
		}
		switch {
		case frame.Type == protocol.TypeHello:
			hello, err := s.hello(frame)
			if err != nil {
				return err
			}
			tasks.Go(func() { s.stream(ctx, hello.After) })
		case s.talk == nil:
			return s.send(failure(frame.ID, &protocol.Error{Code: "bad_request", Text: "the first request must be hello"}))
		case frame.Type == protocol.TypePing:
			// Answered here, ahead of everything else: its time stamps are the clock.
			s.heard.Store(received)
			if err := s.send(response(frame.ID, protocol.Pong{Received: received, Sent: s.Clock.Local()})); err != nil {
				return err
			}
		default:
			s.heard.Store(received)
			slots <- struct{}{}
			begin := tasks.Go
			if !frame.Type.Repeatable() {
				begin = s.requests.Go
			}
			begin(func() {
				defer func() { <-slots }()
				s.take(all, ctx, frame)
			})
		}
	}
}

// take carries a request out, unless that has been done or is being done. all
// ends with the agent, ctx with the connection.
func (s *session) take(all, ctx context.Context, frame protocol.Frame) {
	if frame.Type.Repeatable() {
		if err := s.send(s.respond(ctx, frame)); err != nil {
			s.Logger.Warn("answer", "type", frame.Type, "err", err)
		}
		return
	}
	fresh, answer := s.talk.take(frame)
	switch {
	case fresh:
		s.carryOut(all, s.talk, frame)
	case answer != nil:
		if err := s.send(*answer); err != nil {
			s.Logger.Warn("answer again", "type", frame.Type, "err", err)
		}
	}
}

// hello begins a conversation, or goes on with it.
func (s *session) hello(frame protocol.Frame) (hello protocol.Hello, err error) {
	refuse := func(code, text string) (protocol.Hello, error) {
		return hello, errors.Join(&protocol.Error{Code: code, Text: text}, s.send(failure(frame.ID, &protocol.Error{Code: code, Text: text})))
	}
	switch err := json.Unmarshal(frame.Body, &hello); {
	case err != nil:
		return refuse("bad_request", "hello: "+err.Error())
	case s.talk != nil:
		return refuse("bad_request", "hello: said already")
	case hello.Run != s.Run:
		return refuse("busy", fmt.Sprintf("this node's agent serves run %s: wait for that run, or end it with `bela clean`", s.Run))
	case hello.Conversation == "" || len(hello.Conversation) > 100:
		return refuse("bad_request", "hello: the conversation has no usable name")
	}
	talk, err := s.join(hello.Conversation, s)
	if err != nil {
		return refuse("busy", err.Error())
	}
	s.talk = talk
	last := s.events.last()
	if hello.New {
		hello.After = last
	}
	s.heard.Store(s.Clock.Local())
	return hello, s.send(response(frame.ID, protocol.Welcome{
		Version: protocol.Version, Agent: s.Version, Run: s.Run, PID: pid(), Instance: s.instance,
		MaxProcs: runtime.GOMAXPROCS(0), Virtual: monitor.Virtual("/"),
		LastEvent: last, Expired: s.expired.Load(),
	}))
}

// stream sends events as they come, from the one after n. A controller that
// knows of more events than there are knows another agent's.
func (s *session) stream(ctx context.Context, n uint64) {
	if n > s.events.last() {
		n = 0
	}
	for {
		frames, last, changed := s.events.after(n)
		for _, f := range frames {
			if s.send(f) != nil {
				return
			}
		}
		n = last
		if len(frames) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// respond does what a request asks and gives the answer.
func (a *agent) respond(ctx context.Context, frame protocol.Frame) protocol.Frame {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	result, err := a.handle(ctx, frame)
	if err != nil {
		return failure(frame.ID, err)
	}
	return response(frame.ID, result)
}

// response is an answer that carries v.
func response(id uint64, v any) protocol.Frame {
	body, err := protocol.Body(v)
	if err != nil {
		return failure(id, err)
	}
	return protocol.Frame{ID: id, Type: protocol.TypeOK, Body: body}
}

// failure is an answer that says what went wrong.
func failure(id uint64, err error) protocol.Frame {
	var e *protocol.Error
	if !errors.As(err, &e) {
		e = &protocol.Error{Code: "internal", Text: err.Error()}
		if errors.Is(err, context.DeadlineExceeded) {
			e.Code = "deadline"
		}
	}
	body, _ := protocol.Body(e) // texts and names alone can always be encoded
	return protocol.Frame{ID: id, Type: protocol.TypeError, Body: body}
}

// send writes one frame. An answer that cannot be sent as one is replaced by one
// that says so: the controller waits for it.
func (s *session) send(f protocol.Frame) error {
	s.write.Lock()
	defer s.write.Unlock()
	// A controller that stops reading must not hold the agent for ever.
	if err := s.conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	err := protocol.WriteFrame(s.conn, f)
	if errors.Is(err, protocol.ErrFrame) && f.ID != 0 {
		return protocol.WriteFrame(s.conn, failure(f.ID, err))
	}
	return err
}
