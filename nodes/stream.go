package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// closeGrace is how long a streamed command has to end once its input has ended.
const closeGrace = 3 * time.Second

// Stream starts a long-lived command and gives its standard input and output.
// ctx bounds the starting alone, as in a dial; Close ends the command: its input
// ends, and it is killed if it has not ended 3 s later. A Read after the
// command's end gives io.EOF where it ended with status 0, else an *Error with
// the end of its standard error. Stdin and MaxOutput of the command are not used.
func (n *Node) Stream(ctx context.Context, c Command) (io.ReadWriteCloser, error) {
	what := c.name()
	mark := newMark()
	line, err := c.line(mark)
	if err != nil {
		return nil, n.fail(BadConfig, err, "", false)
	}
	session, release, err := n.session(ctx, what)
	if err != nil {
		return nil, err
	}
	s := &stream{node: n, session: session, what: what, mark: mark, stderr: &tailBuffer{limit: maxErrorText}, ended: make(chan struct{})}
	if err := s.start(ctx, line); err != nil {
		_ = session.Close()
		release()
		return nil, n.cause(ctx, LinkLost, what, err)
	}
	n.workers.Go(func() {
		defer release()
		defer close(s.ended)
		s.err = session.Wait()
		_ = session.Close()
	})
	return s, nil
}

// stream is a running command's standard input and output.
type stream struct {
	node    *Node
	session *ssh.Session
	what    string
	mark    string
	in      io.WriteCloser
	out     io.Reader
	stderr  *tailBuffer

	ended chan struct{}
	err   error // how it ended; set before ended is closed

	mu     sync.Mutex
	closed bool
	input  sync.Mutex // ssh's own end of an input takes no write beside it
}

func (s *stream) start(ctx context.Context, line string) (err error) {
	s.session.Stderr = s.stderr
	if s.in, err = s.session.StdinPipe(); err != nil {
		return err
	}
	if s.out, err = s.session.StdoutPipe(); err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() { started <- s.session.Start(line) }()
	select {
	case err = <-started:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Read reads the command's standard output.
func (s *stream) Read(p []byte) (int, error) {
	k, err := s.out.Read(p)
	if err == nil {
		return k, nil
	}
	if k > 0 {
		return k, nil // the end comes with the next call
	}
	return 0, s.end(err)
}

// Write writes to the command's standard input.
func (s *stream) Write(p []byte) (int, error) {
	k, err := s.write(p)
	if err != nil {
		if end := s.end(err); !errors.Is(end, io.EOF) {
			return k, end
		}
		return k, s.node.fail(CommandFailed, fmt.Errorf("%s: it has ended: %w", s.what, io.ErrClosedPipe), "", false)
	}
	return k, nil
}

func (s *stream) write(p []byte) (int, error) {
	s.input.Lock()
	defer s.input.Unlock()
	if s.isClosed() {
		return 0, io.ErrClosedPipe
	}
	return s.in.Write(p)
}

// end says why there is no more to read or write. A command may have closed
// its output without having ended.
func (s *stream) end(err error) error {
	limit := time.NewTimer(closeGrace)
	defer limit.Stop()
	select {
	case <-s.ended:
	case <-limit.C:
		return err
	}
	if s.isClosed() || s.err == nil {
		return io.EOF
	}
	return s.node.commandFailed(context.Background(), s.what, s.err, &Result{Stderr: s.stderr.bytes()})
}

func (s *stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close ends the command and waits until it has ended.
func (s *stream) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if !again {
		// Both may block on a link that is stuck; its end frees them.
		go func() {
			s.input.Lock()
			defer s.input.Unlock()
			_ = s.in.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, s.out) }() // a command that waits to write would not end
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-s.ended:
		return nil
	case <-s.node.done:
		return nil
	case <-grace.C:
	}
	s.node.kill(s.session, s.mark, s.ended)
	return nil
}
