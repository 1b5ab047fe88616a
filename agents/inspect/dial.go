package inspect

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bela/agents/protocol"
)

// dialsAtOnce bounds the connections tried at the same time.
const dialsAtOnce = 64

// maxDialTimeout bounds one of them.
const maxDialTimeout = 30 * time.Second

// dial tries every address, side by side.
func (s *server) dial(ctx context.Context, spec protocol.DialSpec) (protocol.Dialled, error) {
	if len(spec.Addresses) > maxAddresses || len(spec.Token) > maxToken || len(spec.Token) < minToken || spec.Timeout <= 0 || spec.Timeout > maxDialTimeout {
		return protocol.Dialled{}, badRequest("inspect: too many addresses, no fit token, or no timeout of at most 30 s")
	}
	ways := make([]protocol.Way, len(spec.Addresses))
	slots := make(chan struct{}, dialsAtOnce)
	var all sync.WaitGroup
	for i, address := range spec.Addresses {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ways[i] = try(ctx, spec, address)
		})
	}
	all.Wait()
	return protocol.Dialled{Ways: ways}, nil
}

// try connects, and sends and expects a full packet.
func try(ctx context.Context, spec protocol.DialSpec, address string) protocol.Way {
	way := protocol.Way{Address: address}
	fail := func(code string, err error) protocol.Way {
		way.Code, way.Error = code, printable(err.Error())
		return way
	}
	dialer := net.Dialer{Timeout: spec.Timeout, KeepAlive: -1}
	if ip := net.ParseIP(spec.Bind); ip != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	began := time.Now()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	way.Took = time.Since(began)
	if err != nil {
		return fail(whyUnreached(err), err)
	}
	defer func() { _ = conn.Close() }()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // no port has to wait for the sake of a try
	}
	_ = conn.SetDeadline(time.Now().Add(spec.Timeout))
	answer := make([]byte, packet)
	if _, err = conn.Write(filled(spec.Token)); err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	switch {
	case err == nil && strings.HasPrefix(string(answer), spec.Token):
		if tcp, ok := conn.(*net.TCPConn); ok {
			way.MTU = pathMTU(tcp)
		}
		return way
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fail(protocol.WayStuck, err)
	case err == nil:
		err = errors.New("an answer without the token")
	}
	return fail(protocol.WayOther, err)
}

func whyUnreached(err error) string {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return protocol.WayRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return protocol.WayNoRoute
	case ok && timeout.Timeout():
		return protocol.WaySilent
	}
	return protocol.WayFailed
}

// pathMTU is what the kernel takes for the path's largest packet.
func pathMTU(conn *net.TCPConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	mtu := 0
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU); err == nil {
			mtu = n
		}
	})
	return mtu
}
