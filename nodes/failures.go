package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// stage is how far a connection to one hop came.
type stage int

const (
	stageConnect  stage = iota // TCP
	stageGreeting              // the two greet and agree on keys
	stageHostKey               // the host key was shown, and not trusted
	stageLogin                 // it was trusted
)

// failed sorts an error by what the user has to do about it.
func (d *dialer) failed(ctx, attempt context.Context, i int, at stage, keys string, err error) error {
	h, where := d.hops[i], d.role(i)+d.hops[i].address()
	e := &Error{Node: d.target.Name, Err: fmt.Errorf("%s: %w", where, err)}
	var (
		hostKey *hostKeyError
		channel *ssh.OpenChannelError
		algo    *ssh.AlgorithmNegotiationError
	)
	switch {
	case ctx.Err() != nil:
		e.Kind, e.Err = Canceled, fmt.Errorf("connecting to %s: %w", where, context.Cause(ctx))
	case errors.As(err, &hostKey):
		e.Kind, e.Err, e.Next = hostKey.kind, errors.New(d.role(i)+hostKey.text), hostKey.next
	case attempt.Err() != nil || at == stageConnect && timedOut(err):
		d.silent(e, where, at)
	case errors.As(err, &channel):
		d.notForwarded(e, i, channel)
	case errors.As(err, &algo):
		e.Kind, e.Next = Unsupported, "the machine's SSH server is too old or too restricted; update it or its configuration"
	case at == stageConnect:
		notConnected(e, where, err)
	case isLinkError(err):
		e.Kind, e.Transient = ConnectionCut, true
		e.Err = fmt.Errorf("%s hung up before the login was done", where)
		e.Next = "its SSH server may have too many logins at once (MaxStartups), or keep this address out; its log says which"
	case at == stageLogin:
		e.Kind = AuthRefused
		e.Err = fmt.Errorf("%s refuses user %s: %s", where, h.user, keys)
		e.Next = fmt.Sprintf("add one of your public keys to ~%s/.ssh/authorized_keys there, or set user or key_files", h.user)
	default:
		e.Kind, e.Next = NotSSH, "check that an SSH server, and no other service, listens on that port"
	}
	if d.role(i) != "" {
		throughJump(e)
	}
	return e
}

// timedOut finds a deadline, which may be noticed a moment before the attempt's end is.
func timedOut(err error) bool {
	var dns *net.DNSError
	var network net.Error
	return !errors.As(err, &dns) && errors.As(err, &network) && network.Timeout()
}

// silent is the end of an attempt in which the peer did not answer.
func (d *dialer) silent(e *Error, where string, at stage) {
	e.Kind, e.Transient = Unreachable, true
	if at == stageConnect {
		e.Err = fmt.Errorf("%s: no answer within %s", where, d.target.SSH.connectTimeout())
		e.Next = "check that the machine is up, that the address is right, and that no firewall is in between"
		return
	}
	e.Err = fmt.Errorf("%s: it took the connection, and gave no answer within %s", where, d.target.SSH.connectTimeout())
	e.Next = "the machine may hang or be overloaded; look at its console, or raise connect_timeout"
}

// notConnected is a failed TCP connection.
func notConnected(e *Error, where string, err error) {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		e.Kind, e.Transient = NameUnknown, dns.IsTemporary || dns.IsTimeout
		e.Err = fmt.Errorf("%s: the name has no address: %w", where, err)
		e.Next = "check the name where the hosts are given, or add it to DNS, /etc/hosts or ~/.ssh/config"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind = PortClosed
		e.Next = "check that an SSH server listens on that port"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		e.Kind, e.Transient = ConnectionCut, true
		e.Next = "something in between hangs up; check the firewalls"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		e.Kind, e.Transient = Unreachable, errors.Is(err, syscall.EHOSTUNREACH)
		e.Next = "check that the machine is up, and this machine's routes"
	default:
		e.Kind, e.Transient = Unreachable, isLinkError(err)
		e.Next = "check that the machine is up and that no firewall is in between"
	}
}

// notForwarded is a jump host that was reached and opens no way on. What it says
// of the machine behind it is in words, which differ from server to server.
func (d *dialer) notForwarded(e *Error, i int, channel *ssh.OpenChannelError) {
	jump, said := d.hops[i-1].address(), strings.ToLower(channel.Message)
	e.Err = fmt.Errorf("%s%s: the jump host %s cannot reach it: %s", d.role(i), d.hops[i].address(), jump, oneLine(channel.Error()))
	e.Kind, e.Next = Unreachable, "check the address as seen from the jump host"
	switch {
	case channel.Reason == ssh.Prohibited || channel.Reason == ssh.UnknownChannelType:
		e.Kind = JumpRefused
		e.Err = fmt.Errorf("%s%s: the jump host %s forwards nothing: %s", d.role(i), d.hops[i].address(), jump, oneLine(channel.Error()))
		e.Next = "set AllowTcpForwarding yes in its sshd_config, or jump through another host"
	case strings.Contains(said, "refused"):
		e.Kind, e.Next = PortClosed, "check that an SSH server listens on that port, and the address as seen from the jump host"
	case strings.Contains(said, "not known"), strings.Contains(said, "unknown host"), strings.Contains(said, "name resolution"), strings.Contains(said, "no address"):
		e.Kind, e.Next = NameUnknown, "it is the jump host that looks the name up; give an address, or add the name there"
	default:
		e.Transient = channel.Reason == ssh.ConnectionFailed || channel.Reason == ssh.ResourceShortage
	}
}

// throughJump makes an error of a jump host out of one of a machine: the node
// itself may be quite well.
func throughJump(e *Error) {
	switch e.Kind {
	case Unreachable, NameUnknown, PortClosed, NotSSH, ConnectionCut:
		e.Kind = JumpUnreachable
	case AuthRefused:
		e.Kind = JumpRefused
	}
}
