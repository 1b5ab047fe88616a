// Package peer reads the clocks of two agents against each other: four
// timestamps an exchange, in single UDP datagrams between the nodes themselves.
// It exists because a one-way latency between two machines in one rack should
// not be as uncertain as the way to a controller far away. It knows nothing of
// what the timestamps are used for.
//
// A datagram is answered only if it carries the run's token, no answer is longer
// than its question, and only so many are answered a second: the port cannot be
// used against others.
package peer

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"bela/agents/protocol"
)

// A datagram: magic, kind, token, number of the exchange, then T2 and T3, which
// are zero in a question. Numbers are big-endian.
const (
	magic        = "belaclk1"
	atToken      = len(magic) + 1
	atNumber     = atToken + protocol.PeerTokenSize
	atReceived   = atNumber + 8
	atSent       = atReceived + 8
	datagramSize = atSent + 8

	question = 'q'
	answered = 'a'
)

// mostAnswers is how many probes are answered a second: bursts from a hundred
// nodes at once.
const mostAnswers = 5000

// Responder answers probes until it is closed.
type Responder struct {
	conn  *net.UDPConn
	token []byte
	local func() int64
	work  sync.WaitGroup

	second   int64 // of local, whose answers are counted
	answered int
}

// Answer listens on a free UDP port of an address. local is the node's own clock
// in nanoseconds.
func Answer(bind string, token []byte, local func() int64) (*Responder, error) {
	if len(token) != protocol.PeerTokenSize {
		return nil, &protocol.Error{Code: "bad_request", Text: fmt.Sprintf("clock probes: a token of %d bytes, want %d", len(token), protocol.PeerTokenSize)}
	}
	address, err := net.ResolveUDPAddr("udp", net.JoinHostPort(bind, "0"))
	if err != nil {
		return nil, fmt.Errorf("answer clock probes: %w", err)
	}
	conn, err := net.ListenUDP("udp", address)
	if err != nil {
		return nil, fmt.Errorf("answer clock probes: %w", err)
	}
	r := &Responder{conn: conn, token: token, local: local}
	r.work.Go(r.serve)
	return r, nil
}

// Port is where it listens.
func (r *Responder) Port() int { return r.conn.LocalAddr().(*net.UDPAddr).Port }

// Close ends it.
func (r *Responder) Close() {
	_ = r.conn.Close()
	r.work.Wait()
}

func (r *Responder) serve() {
	buf := make([]byte, datagramSize+1)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		received := r.local()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond) // such as an ICMP error of an earlier answer
			continue
		}
		if !valid(buf[:n], question, r.token) || !r.allowed(received) {
			continue
		}
		buf[len(magic)] = answered
		binary.BigEndian.PutUint64(buf[atReceived:], uint64(received))
		binary.BigEndian.PutUint64(buf[atSent:], uint64(r.local()))
		_, _ = r.conn.WriteToUDPAddrPort(buf[:datagramSize], from) // who asked asks again
	}
}

// allowed counts an answer. Every value of the clock but the same second's
// begins to count anew, so that a clock that jumps does not close the port.
func (r *Responder) allowed(now int64) bool {
	if s := now / 1e9; s != r.second {
		r.second, r.answered = s, 0
	}
	r.answered++
	return r.answered <= mostAnswers
}

// valid says whether a datagram is one of this run's.
func valid(b []byte, kind byte, token []byte) bool {
	return len(b) == datagramSize && string(b[:len(magic)]) == magic && b[len(magic)] == kind &&
		subtle.ConstantTimeCompare(b[atToken:atNumber], token) == 1
}
