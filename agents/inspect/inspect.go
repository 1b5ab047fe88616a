// Package inspect looks at a node before a run: what it is and has, who else
// is at work on it, whether its ports are free, and whether other nodes can be
// reached from it. It exists so that a node that would spoil a campaign is found
// before the campaign. It serves one connection, leaves nothing behind when that
// ends, and judges nothing: what is too little is the controller's to say.
package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"sync"

	"bela/agents/clock"
	"bela/agents/protocol"
)

// Config is what a conversation needs.
type Config struct {
	Clock   *clock.Clock
	Version string // bela's
	PID     int
	// ListenAddress gives the address on which a component of this node would
	// listen in order to be reached at another.
	ListenAddress func(string) string
	// Proc and Sys are where those file systems are mounted.
	Proc, Sys string
}

// atOnce bounds the requests that are worked on at the same time.
const atOnce = 8

// Serve answers requests that come over in until it ends, and closes all
// listeners then.
func Serve(ctx context.Context, c Config, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &server{Config: c, out: out}
	var tasks sync.WaitGroup
	defer func() {
		cancel()
		s.closeListeners()
		tasks.Wait()
	}()
	turns := make(chan struct{}, atOnce)
	for {
		frame, err := protocol.ReadFrame(in)
		received := c.Clock.Local()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if frame.Type == protocol.TypePing {
			// Answered here: its time stamps are the clock.
			if err := s.reply(frame.ID, protocol.Pong{Received: received, Sent: c.Clock.Local()}, nil); err != nil {
				return err
			}
			continue
		}
		turns <- struct{}{}
		tasks.Go(func() {
			defer func() { <-turns }()
			answer, err := s.handle(ctx, frame)
			// A connection that takes no answer has ended, which the reader notices.
			_ = s.reply(frame.ID, answer, err)
		})
	}
}

// server is one conversation.
type server struct {
	Config
	write sync.Mutex
	out   io.Writer

	mu        sync.Mutex
	listeners []io.Closer
	answering sync.WaitGroup
}

func (s *server) handle(ctx context.Context, f protocol.Frame) (any, error) {
	switch f.Type {
	case protocol.TypeHello:
		return protocol.Welcome{Version: protocol.Version, Agent: s.Version, PID: s.PID, MaxProcs: runtime.GOMAXPROCS(0)}, nil
	case protocol.TypeInspect:
		return with(f, func(spec protocol.InspectSpec) (any, error) { return s.inspect(ctx, spec) })
	case protocol.TypeListen:
		return with(f, func(spec protocol.ListenSpec) (any, error) { return s.listen(ctx, spec) })
	case protocol.TypeDial:
		return with(f, func(spec protocol.DialSpec) (any, error) { return s.dial(ctx, spec) })
	case protocol.TypeSetSysctl:
		return with(f, func(spec protocol.SetSysctlSpec) (any, error) { return s.setSysctls(spec) })
	case protocol.TypeUndoSysctl:
		return with(f, func(spec protocol.UndoSysctlSpec) (any, error) { return s.undoSysctls(spec) })
	}
	return nil, badRequest("unknown request " + string(f.Type))
}

// with decodes a request's body and hands it on.
func with[T any](f protocol.Frame, do func(T) (any, error)) (any, error) {
	var spec T
	if err := json.Unmarshal(f.Body, &spec); err != nil {
		return nil, badRequest(string(f.Type) + ": " + err.Error())
	}
	return do(spec)
}

func badRequest(text string) error { return &protocol.Error{Code: "bad_request", Text: text} }

func (s *server) reply(id uint64, v any, failure error) error {
	f := protocol.Frame{ID: id, Type: protocol.TypeOK}
	if failure != nil {
		e, ok := errors.AsType[*protocol.Error](failure)
		if !ok {
			e = &protocol.Error{Code: "internal", Text: failure.Error()}
		}
		f.Type, v = protocol.TypeError, e
	}
	body, err := protocol.Body(v)
	if err != nil {
		return err
	}
	f.Body = body
	s.write.Lock()
	defer s.write.Unlock()
	return protocol.WriteFrame(s.out, f)
}
