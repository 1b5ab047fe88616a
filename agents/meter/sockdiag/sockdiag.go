// Package sockdiag asks the kernel for its TCP sockets and what each of them
// carried, and hears of those that close with their last counts. It exists so
// that the traffic of a process can be read without its help. It knows no process
// and no component: whose a socket is, its caller finds out.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a TCP socket of this network namespace.
type Socket struct {
	// Cookie tells the socket from all others since the machine was started.
	Cookie uint64
	// Inode is that of its file; 0 where no process has it: one that waits to be
	// accepted, or is closed already.
	Inode uint32
	// Group is the version 2 control group that made it; 0 where that is not told.
	Group         uint64
	Listening     bool
	Local, Remote netip.AddrPort
	// Received and Sent are bytes of the stream: without headers, and each byte
	// once however often it was sent. A connection's end may count as one byte.
	Received, Sent uint64
}

// From linux/inet_diag.h and linux/sock_diag.h.
const (
	byFamily      = 20 // SOCK_DIAG_BY_FAMILY
	requestSize   = 56 // struct inet_diag_req_v2
	messageSize   = 72 // struct inet_diag_msg
	wantInfo      = 1 << 1
	attrInfo      = 2           // INET_DIAG_INFO: struct tcp_info
	attrGroup     = 21          // INET_DIAG_CGROUP_ID
	destroyGroups = 1<<0 | 1<<2 // SKNLGRP_INET_TCP_DESTROY is group 1, the IPv6 one 3
	stateTimeWait = 6           // has no counts any more
	stateListen   = 10
	allStates     = 1<<13 - 1
)

// The kernel answers at once; this bounds a kernel that does not.
const answerTime = 2 * time.Second

// Conn asks for sockets. It is for one goroutine at a time.
type Conn struct {
	fd  int
	seq uint32
	buf []byte
}

// Open opens a connection to the kernel.
func Open() (*Conn, error) {
	fd, err := open(0)
	if err != nil {
		return nil, err
	}
	limit := unix.NsecToTimeval(answerTime.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &Conn{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func open(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, fmt.Errorf("the kernel tells nothing of sockets: %w", os.NewSyscallError("socket", err))
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("the kernel tells nothing of sockets: %w", os.NewSyscallError("bind", err))
	}
	return fd, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Sockets appends all TCP sockets to dst, but those that only wait for stray
// packets. The kernel goes through its table while connections come and go: one
// that does may be left out or, rarely, be there twice.
func (c *Conn) Sockets(dst []Socket) ([]Socket, error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var err error
		if dst, err = c.dump(dst, family); err != nil {
			return dst, fmt.Errorf("read the kernel's TCP sockets: %w", err)
		}
	}
	return dst, nil
}

func (c *Conn) dump(dst []Socket, family uint8) ([]Socket, error) {
	c.seq++
	request := make([]byte, unix.NLMSG_HDRLEN+requestSize)
	order := binary.NativeEndian
	order.PutUint32(request[0:], uint32(len(request)))
	order.PutUint16(request[4:], byFamily)
	order.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	order.PutUint32(request[8:], c.seq)
	body := request[unix.NLMSG_HDRLEN:]
	body[0], body[1], body[2] = family, unix.IPPROTO_TCP, wantInfo
	order.PutUint32(body[4:], allStates&^(1<<stateTimeWait))
	if err := unix.Sendto(c.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return dst, os.NewSyscallError("sendto", err)
	}
	for {
		n, err := receive(c.fd, c.buf)
		if err != nil {
			return dst, err
		}
		done := false
		err = each(c.buf[:n], func(kind uint16, seq uint32, payload []byte) error {
			switch {
			case seq != c.seq: // of a request that was given up
			case kind == unix.NLMSG_DONE:
				done = true
			case kind == unix.NLMSG_ERROR:
				return refusal(payload)
			case kind == byFamily:
				if s, ok := parse(payload); ok {
					dst = append(dst, s)
				}
			}
			return nil
		})
		if err != nil || done {
			return dst, err
		}
	}
}

func receive(fd int, buf []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n, os.NewSyscallError("recvfrom", err)
	}
}

var errMalformed = errors.New("the kernel's answer makes no sense")

// each walks through the netlink messages of a datagram.
func each(b []byte, f func(kind uint16, seq uint32, payload []byte) error) error {
	order := binary.NativeEndian
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(order.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return errMalformed
		}
		if err := f(order.Uint16(b[4:]), order.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:n]); err != nil {
			return err
		}
		b = b[min(len(b), aligned(n)):]
	}
	return nil
}

func aligned(n int) int { return (n + 3) &^ 3 }

func refusal(payload []byte) error {
	if len(payload) < 4 {
		return errMalformed
	}
	if code := -int32(binary.NativeEndian.Uint32(payload)); code > 0 {
		return unix.Errno(code)
	}
	return nil
}

// parse reads one struct inet_diag_msg and its attributes.
func parse(b []byte) (Socket, bool) {
	if len(b) < messageSize {
		return Socket{}, false
	}
	order := binary.NativeEndian
	id := b[4:52]
	s := Socket{
		Listening: b[1] == stateListen,
		Local:     address(b[0], id[4:20], id[0:2]), Remote: address(b[0], id[20:36], id[2:4]),
		Cookie: uint64(order.Uint32(id[40:])) | uint64(order.Uint32(id[44:]))<<32,
		Inode:  order.Uint32(b[68:]),
	}
	counted := s.Listening
	for rest := b[messageSize:]; len(rest) >= unix.SizeofRtAttr; {
		n, kind := int(order.Uint16(rest)), order.Uint16(rest[2:])
		if n < unix.SizeofRtAttr || n > len(rest) {
			break
		}
		switch value := rest[unix.SizeofRtAttr:n]; {
		case kind == attrInfo:
			s.Received, s.Sent, counted = counts(value)
		case kind == attrGroup && len(value) >= 8:
			s.Group = order.Uint64(value)
		}
		rest = rest[min(len(rest), aligned(n)):]
	}
	return s, counted
}

func address(family uint8, ip, port []byte) netip.AddrPort {
	n := binary.BigEndian.Uint16(port)
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[:4])), n)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip)).Unmap(), n)
}

// counts reads a struct tcp_info, which grew with the kernels. Before Linux 4.19
// it has no bytes sent: those acknowledged stand for them.
func counts(info []byte) (received, sent uint64, ok bool) {
	const (
		ackedAt    = unsafe.Offsetof(unix.TCPInfo{}.Bytes_acked)
		receivedAt = unsafe.Offsetof(unix.TCPInfo{}.Bytes_received)
		sentAt     = unsafe.Offsetof(unix.TCPInfo{}.Bytes_sent)
		retransAt  = unsafe.Offsetof(unix.TCPInfo{}.Bytes_retrans)
	)
	order := binary.NativeEndian
	if uintptr(len(info)) < receivedAt+8 {
		return 0, 0, false
	}
	received, sent = order.Uint64(info[receivedAt:]), order.Uint64(info[ackedAt:])
	if uintptr(len(info)) >= retransAt+8 {
		if all, again := order.Uint64(info[sentAt:]), order.Uint64(info[retransAt:]); all >= again {
			sent = all - again
		}
	}
	return received, sent, true
}
