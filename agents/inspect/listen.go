package inspect

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"bela/agents/protocol"
)

// Bounds of what one controller may ask for.
const (
	maxAddresses = 4096
	maxToken     = 64
	minToken     = 16
	// maxAnswering bounds the connections that all listeners answer at once.
	maxAnswering = 512
)

// packet is how much travels each way on a connection that is tried: more than
// one packet of any usual size, so that a path that passes only small ones shows.
const packet = 16 << 10

// answerLimit bounds one connection to a listener.
const answerLimit = 10 * time.Second

// listen takes the addresses, one after another. Those that it could take stay
// taken until the conversation ends.
func (s *server) listen(ctx context.Context, spec protocol.ListenSpec) (protocol.Listening, error) {
	if len(spec.Addresses) > maxAddresses || len(spec.Token) > maxToken || len(spec.Token) < minToken {
		return protocol.Listening{}, badRequest("inspect: too many addresses, or no fit token")
	}
	var l protocol.Listening
	slots := make(chan struct{}, maxAnswering)
	for _, address := range spec.Addresses {
		one := protocol.Listener{Address: address}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return protocol.Listening{}, badRequest("inspect: " + err.Error())
		}
		var config net.ListenConfig
		ln, err := config.Listen(ctx, "tcp", net.JoinHostPort(s.ListenAddress(host), port))
		if err != nil {
			one.Error = err.Error()
			one.Code = whyNot(err)
			if n, err := strconv.Atoi(port); err == nil && one.Code == protocol.ListenTaken {
				one.Holder = s.holder(s.ListenAddress(host), n)
			}
			l.Listeners = append(l.Listeners, one)
			continue
		}
		s.mu.Lock()
		s.listeners = append(s.listeners, ln)
		s.mu.Unlock()
		s.answering.Go(func() { s.accept(ln, spec.Token, slots) })
		l.Listeners = append(l.Listeners, one)
	}
	return l, nil
}

func whyNot(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return protocol.ListenTaken
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return protocol.ListenForeign
	case errors.Is(err, syscall.EACCES):
		return protocol.ListenDenied
	}
	return protocol.ListenFailed
}

// accept answers connections until the listener is closed.
func (s *server) accept(ln net.Listener, token string, slots chan struct{}) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely
			time.Sleep(10 * time.Millisecond)
			continue
		}
		slots <- struct{}{}
		s.answering.Go(func() {
			defer func() { <-slots }()
			answer(conn, token)
		})
	}
}

// answer takes a full packet that begins with the token and sends one back. It
// lets the other side close first, so that no port here has to wait.
func answer(conn net.Conn, token string) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(answerLimit))
	in := make([]byte, packet)
	// Nothing is said to strangers.
	if _, err := io.ReadFull(conn, in[:len(token)]); err != nil || subtle.ConstantTimeCompare(in[:len(token)], []byte(token)) != 1 {
		return
	}
	if _, err := io.ReadFull(conn, in[len(token):]); err != nil {
		return
	}
	if _, err := conn.Write(filled(token)); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, packet))
}

// filled is a packet that begins with the token.
func filled(token string) []byte {
	p := make([]byte, packet)
	copy(p, token)
	return p
}

// closeListeners ends all listeners and waits for what they answer.
func (s *server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.listeners = nil
	s.answering.Wait()
}
