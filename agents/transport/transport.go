// Package transport is what devices and customers need of a message broker's
// protocol, behind one small interface, and the keeping up of many connections
// over it. It knows no envelope, no schedule and no account; each protocol is a
// package of its own below it.
package transport

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// Dialer opens connections of one protocol.
type Dialer interface {
	// Dial connects and authenticates. The connection outlives ctx, which bounds
	// only the dialing.
	Dial(ctx context.Context, o Options) (Conn, error)
}

// Options say how to open one connection.
type Options struct {
	Address  string // host:port
	ClientID string // unique among the broker's clients
	User     string
	Password string
	Bind     string // local IP address to connect from; empty is any
	// Keepalive is how often an idle connection is probed; 0 is 30 s.
	Keepalive time.Duration
	// WriteTimeout bounds each write to the socket; 0 is 5 s.
	WriteTimeout time.Duration
	// Acked reports the fate of each message that Publish took at QoS 1 or 2,
	// exactly once: nil when the broker acknowledged it, else why nobody will
	// ever know. It may be called before Publish returns and must not block. It
	// may be nil.
	Acked func(id uint64, err error)
}

// Conn is one connection. It never reconnects by itself: what was under way when
// it broke is reported, not hidden.
type Conn interface {
	// Publish hands a message over. At QoS 0, nil means that it was written to
	// the socket. At QoS 1 and 2, nil means that it is under way: Acked tells its
	// fate under id, and payload must stay as it is until then. An error means
	// that it was not sent, and Acked is not called. Publish blocks no longer
	// than the write timeout.
	Publish(id uint64, topic string, qos byte, payload []byte) error
	// Subscribe returns when the broker has granted the subscription at this
	// QoS. handle is called in the order of arrival, one message at a time, as
	// early after arrival as can be; it must be quick, and not keep the payload.
	Subscribe(ctx context.Context, filter string, qos byte, handle func(payload []byte)) error
	// Done is closed once the connection is lost or closed and Acked has been
	// told of all that was under way.
	Done() <-chan struct{}
	// Err is why the connection ended; nil while it has not.
	Err() error
	// Close says goodbye where it can and frees the connection in any case.
	Close(ctx context.Context) error
}

// What ends a connection or a message without the network's doing.
var (
	ErrClosed = errors.New("connection closed")
	ErrLost   = errors.New("connection lost")
)

// Cause is an error's innermost reason without addresses and ports, so that the
// same trouble of a thousand connections is one kind of trouble.
func Cause(err error) string {
	if err == nil {
		return ""
	}
	var operation *net.OpError
	if errors.As(err, &operation) {
		reason := operation.Err
		var call *os.SyscallError
		if errors.As(reason, &call) {
			reason = call.Err
		}
		var lookup *net.DNSError
		if errors.As(reason, &lookup) {
			return operation.Op + ": " + lookup.Err
		}
		return operation.Op + ": " + reason.Error()
	}
	return err.Error()
}
