package platform

import (
	"net"
	"sync/atomic"

	"bela/agents/protocol"
)

// reason is why a hop gave a message up.
type reason int

// The reasons, in the order of reasonNames.
const (
	dropDecode       reason = iota // the payload is not what the codec wants
	dropTopic                      // the topic has no counterpart on the other side
	dropQueueFull                  // the queue between in and out was full
	dropTimeout                    // older than the hop's timeout
	dropNoAck                      // handed on, and no acknowledgement came
	dropDisconnected               // the receiver went away first
	dropInflightFull               // too many unacknowledged messages for one receiver
	dropSlowConsumer               // a connection was cut because it did not keep up
	reasons
)

var reasonNames = [reasons]string{
	"decode", "topic", "queue_full", "timeout", "no_ack", "disconnected", "inflight_full", "slow_consumer",
}

// counts are one component's counters. The zero value is ready to use.
type counts struct {
	in, out           atomic.Int64 // messages
	bytesIn, bytesOut atomic.Int64
	// The payloads' bytes, where the component knows them.
	payloadIn, payloadOut atomic.Int64
	drops                 [reasons]atomic.Int64
}

func (c *counts) drop(r reason) { c.drops[r].Add(1) }

// snapshot reads the counters. In is read last, so that a snapshot never shows
// more messages out and dropped than in.
func (c *counts) snapshot() protocol.Counters {
	var s protocol.Counters
	for r := range c.drops {
		if n := c.drops[r].Load(); n > 0 {
			if s.Dropped == nil {
				s.Dropped = make(map[string]int64)
			}
			s.Dropped[reasonNames[r]] = n
		}
	}
	s.PayloadOut = c.payloadOut.Load()
	s.MessagesOut = c.out.Load()
	s.MessagesIn = c.in.Load()
	s.PayloadIn = c.payloadIn.Load()
	s.BytesOut = c.bytesOut.Load()
	s.BytesIn = c.bytesIn.Load()
	return s
}

// countedConn counts the bytes on the wire. Either counter may be nil.
type countedConn struct {
	net.Conn
	read, written *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.read != nil {
		c.read.Add(int64(n))
	}
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.written != nil {
		c.written.Add(int64(n))
	}
	return n, err
}
