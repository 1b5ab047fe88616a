package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// Dial connects to a node and logs in, repeating what failed for a transient
// reason. ctx bounds the whole of it, not the life of the node. Its errors are
// *Error.
func Dial(ctx context.Context, t Target) (*Node, error) { return NewPool().Dial(ctx, t) }

// dialer is a target with all that the controller's files say about it.
type dialer struct {
	target Target
	config *userConfig
	hops   []hop // jump hosts, then the node
	// hostKey is the fingerprint of the key that the last hop was trusted by.
	hostKey string
}

func newDialer(t Target) (*dialer, error) {
	fail := func(kind Kind, err error, next string) (*dialer, error) {
		return nil, &Error{Node: t.Name, Kind: kind, Err: err, Next: next}
	}
	if err := checkHostName(t.Host); err != nil {
		return fail(BadConfig, fmt.Errorf("host %q: %w", t.Host, err), "")
	}
	if t.Port < 0 || t.Port > 65535 {
		return fail(BadConfig, fmt.Errorf("port %d is not from 1 to 65535", t.Port), "")
	}
	c, err := loadUserConfig(t.SSH.Config)
	if err != nil {
		return fail(BadConfig, err, "")
	}
	last, err := c.hop(Host{User: t.User, Host: t.Host, Port: t.Port})
	if err != nil {
		return fail(BadConfig, err, "")
	}
	hops, err := c.jumps(t.SSH.Jump, t.Host)
	if errors.Is(err, errProxyCommand) {
		return fail(Unsupported, err, "use ProxyJump there, or jump in the ssh block")
	}
	if err != nil {
		return fail(BadConfig, err, "")
	}
	return &dialer{target: t, config: c, hops: append(hops, last)}, nil
}

// connect makes one attempt through all hops.
func (d *dialer) connect(ctx context.Context, p *Pool) (*Node, error) {
	last := len(d.hops) - 1
	via, err := p.seat(ctx, d, last)
	if err != nil {
		return nil, err
	}
	client, conn, err := d.reach(ctx, p, last, via)
	if err != nil {
		if via != nil {
			via.leave()
		}
		return nil, err
	}
	n := newNode(d.target, client, conn, via)
	n.hostKey = d.hostKey
	return n, nil
}

// reach connects to one hop through the one before it and logs in. What it
// waits for its turn does not count as time without an answer.
func (d *dialer) reach(ctx context.Context, p *Pool, i int, via *link) (*ssh.Client, *pulse, error) {
	h := d.hops[i]
	over, err := p.turn(ctx, d.route(i)+h.address())
	if err != nil {
		return nil, nil, d.failed(ctx, ctx, i, stageConnect, "", err)
	}
	turn := over
	defer func() { turn() }()
	attempt, cancel := context.WithTimeout(ctx, d.target.SSH.connectTimeout())
	defer cancel()
	var conn net.Conn
	if via == nil {
		conn, err = (&net.Dialer{}).DialContext(attempt, "tcp", h.address())
	} else {
		conn, err = via.client.DialContext(attempt, "tcp", h.address())
	}
	if err != nil {
		return nil, nil, d.failed(ctx, attempt, i, stageConnect, "", err)
	}
	heard := newPulse(conn)
	client, err := d.login(ctx, attempt, i, heard)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	turn = func() { go afterAnswer(client, over) }
	return client, heard, nil
}

// afterAnswer gives a login's turn back when the server has answered once more.
// OpenSSH counts a login among those under way (MaxStartups) until the process
// that serves it has told the one that listens, which it does after the client
// has learnt that it is in, and before it answers anything.
func afterAnswer(client *ssh.Client, over func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = client.SendRequest(aliveRequest, true, nil)
	}()
	select {
	case <-done:
	case <-time.After(answerWait): // a server that answers no such request
	}
	over()
}

// login does the key exchange and logs in to one hop.
func (d *dialer) login(ctx, attempt context.Context, i int, conn net.Conn) (*ssh.Client, error) {
	h, o := d.hops[i], d.target.SSH
	checker, err := newHostKeyChecker(d.config, o, h)
	if err != nil {
		return nil, &Error{Node: d.target.Name, Kind: BadConfig, Err: err}
	}
	keys, err := loadKeys(d.config, o, h)
	if err != nil {
		return nil, &Error{Node: d.target.Name, Kind: BadConfig, Err: err, Next: "correct key_files in the ssh block"}
	}
	defer keys.Close()
	at := stageGreeting
	config := &ssh.ClientConfig{
		User: h.user,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(keys.signers...)},
		HostKeyCallback: func(name string, remote net.Addr, key ssh.PublicKey) error {
			err := checker.check(name, remote, key)
			if at = stageHostKey; err == nil {
				at = stageLogin
				d.hostKey = ssh.FingerprintSHA256(key) // the last hop's stays
			}
			return err
		},
		HostKeyAlgorithms: checker.algorithms,
		ClientVersion:     "SSH-2.0-bela",
	}
	// Not every conn has deadlines (one through a jump host has none), so the
	// end of the attempt closes it.
	stop := context.AfterFunc(attempt, func() { _ = conn.Close() })
	c, chans, reqs, err := ssh.NewClientConn(conn, h.address(), config)
	if !stop() && err == nil {
		_ = c.Close()
		err = attempt.Err()
	}
	if err != nil {
		return nil, d.failed(ctx, attempt, i, at, keys.describe(), err)
	}
	return ssh.NewClient(c, chans, reqs), nil
}

// role tells a jump host from the node itself.
func (d *dialer) role(i int) string {
	if i < len(d.hops)-1 {
		return "jump host "
	}
	return ""
}

// isLinkError says whether an error comes from the network rather than the peer's answer.
func isLinkError(err error) bool {
	var network net.Error
	var errno syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) || errors.As(err, &errno)
}

// The wait before the first repetition, and the longest.
const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// retry calls f until it succeeds, fails for good or has been repeated often
// enough. The wait doubles and is spread by half, so that nodes that failed
// together do not come back together.
func retry(ctx context.Context, repeats int, note func(attempt int, cause error, wait time.Duration), f func() error) error {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		err := f()
		e, ok := errors.AsType[*Error](err)
		if err == nil || !ok || !e.Transient {
			return err
		}
		if attempt > repeats {
			if attempt > 1 {
				e.Err = fmt.Errorf("%w (tried %d times)", e.Err, attempt)
			}
			return err
		}
		wait := backoff/2 + rand.N(backoff)
		note(attempt+1, err, wait)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// firstWords shortens a command for an error.
func firstWords(args []string) string {
	s := oneLine(strings.Join(args, " "))
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return s
}
