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

// session is one controller's connection.
type session struct {
	*agent
	conn  net.Conn
	write sync.Mutex
}

// serve answers requests until the connection ends.
func (s *session) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	var tasks sync.WaitGroup
	defer func() {
		stop()
		cancel()
		_ = s.conn.Close()
		tasks.Wait()
	}()

	greeted := false
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
			if !greeted {
				greeted = true
				tasks.Go(func() { s.stream(ctx, hello.After) })
			}
		case !greeted:
			return s.fail(frame.ID, &protocol.Error{Code: "bad_request", Text: "the first request must be hello"})
		case frame.Type == protocol.TypePing:
			// Answered here, ahead of everything else: its time stamps are the clock.
			s.heard.Store(received)
			if err := s.reply(frame.ID, protocol.Pong{Received: received, Sent: s.Clock.Local()}); err != nil {
				return err
			}
		default:
			s.heard.Store(received)
			slots <- struct{}{}
			tasks.Go(func() {
				defer func() { <-slots }()
				s.answer(ctx, frame)
			})
		}
	}
}

func (s *session) hello(frame protocol.Frame) (protocol.Hello, error) {
	var hello protocol.Hello
	if err := json.Unmarshal(frame.Body, &hello); err != nil {
		return hello, s.fail(frame.ID, &protocol.Error{Code: "bad_request", Text: "hello: " + err.Error()})
	}
	if hello.Run != s.Run {
		return hello, s.fail(frame.ID, &protocol.Error{
			Code: "busy", Text: fmt.Sprintf("this node's agent serves run %s: wait for that run, or end it with `bela clean`", s.Run)})
	}
	s.heard.Store(s.Clock.Local())
	return hello, s.reply(frame.ID, protocol.Welcome{
		Version: protocol.Version, Agent: s.Version, Run: s.Run, PID: pid(),
		MaxProcs: runtime.GOMAXPROCS(0), Virtual: monitor.Virtual("/"), FirstEvent: s.events.firstHeld()})
}

// stream sends events as they come, from the one after n.
func (s *session) stream(ctx context.Context, n uint64) {
	for {
		frames, last, changed := s.events.after(n)
		for _, f := range frames {
			if s.send(f) != nil {
				return
			}
		}
		n = last
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) answer(ctx context.Context, frame protocol.Frame) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	if frame.Type == protocol.TypeShutdown {
		defer s.stop(errShutdown)
	}
	result, err := s.handle(ctx, frame)
	if err == nil {
		err = s.reply(frame.ID, result)
	} else {
		err = s.fail(frame.ID, err)
	}
	if err != nil {
		s.Logger.Warn("answer", "type", frame.Type, "err", err)
	}
}

func (s *session) reply(id uint64, v any) error {
	body, err := protocol.Body(v)
	if err != nil {
		return err
	}
	return s.send(protocol.Frame{ID: id, Type: protocol.TypeOK, Body: body})
}

// fail answers with an error, and returns what went wrong in sending it.
func (s *session) fail(id uint64, err error) error {
	var e *protocol.Error
	if !errors.As(err, &e) {
		e = &protocol.Error{Code: "internal", Text: err.Error()}
		if errors.Is(err, context.DeadlineExceeded) {
			e.Code = "deadline"
		}
	}
	body, merr := protocol.Body(e)
	if merr != nil {
		return merr
	}
	return s.send(protocol.Frame{ID: id, Type: protocol.TypeError, Body: body})
}

func (s *session) send(f protocol.Frame) error {
	s.write.Lock()
	defer s.write.Unlock()
	// A controller that stops reading must not hold the agent for ever.
	if err := s.conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	return protocol.WriteFrame(s.conn, f)
}
