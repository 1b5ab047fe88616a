package mqtt

import (
	"bufio"
	"context"
	"fmt"
	"net"

	"bela/agents/transport"
)

// readBuffer holds a few small packets; Paho reads a packet's first bytes one at
// a time, which would be a system call each.
const readBuffer = 2048

// socket is a TCP connection with buffered reading.
type socket struct {
	net.Conn
	reader *bufio.Reader
}

func (s *socket) Read(p []byte) (int, error) { return s.reader.Read(p) }

// openSocket connects to the broker, from the local address that o asks for.
func openSocket(ctx context.Context, o transport.Options) (net.Conn, error) {
	var dialer net.Dialer
	if o.Bind != "" {
		ip := net.ParseIP(o.Bind)
		if ip == nil {
			return nil, fmt.Errorf("bind address %q is not an IP address", o.Bind)
		}
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	c, err := dialer.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	return &socket{Conn: c, reader: bufio.NewReaderSize(c, readBuffer)}, nil
}
