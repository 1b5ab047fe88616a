package nodes

import (
	"net"
	"sync/atomic"
	"time"
)

// pulse is a connection that knows when something last came over it. Whatever
// comes is a sign of life: on a slow link the answer to a keepalive waits behind
// all that was sent before.
type pulse struct {
	net.Conn
	born  time.Time
	heard atomic.Int64 // nanoseconds since born
}

func newPulse(c net.Conn) *pulse { return &pulse{Conn: c, born: time.Now()} }

func (p *pulse) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.heard.Store(int64(time.Since(p.born)))
	}
	return n, err
}

// silence is for how long nothing has come.
func (p *pulse) silence() time.Duration {
	return time.Since(p.born) - time.Duration(p.heard.Load())
}
