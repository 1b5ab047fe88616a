package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// maxSessions is how many commands and file transfers run over one connection
// at once. OpenSSH allows ten (MaxSessions).
const maxSessions = 8

// Node is a machine with its connection. Its methods may be called from many
// goroutines. Close it.
type Node struct {
	target  Target
	client  *ssh.Client
	conn    *pulse // beneath the client
	via     *link  // the jump host's connection, with others on it; nil for none
	hostKey string // fingerprint of the host key that was trusted

	sessions chan struct{} // holds one token a session in use
	killing  chan struct{} // the same for the one session that ends commands
	workers  sync.WaitGroup

	done chan struct{}
	once sync.Once
	err  error // why the link ended; set before done is closed

	listings listings // of the SFTP client

	mu        sync.Mutex
	files     *sftp.Client
	fileEnd   func()
	directory string
}

var errClosed = errors.New("the connection was closed")

func newNode(t Target, client *ssh.Client, conn *pulse, via *link) *Node {
	n := &Node{
		target:   t,
		client:   client,
		conn:     conn,
		via:      via,
		sessions: make(chan struct{}, maxSessions),
		killing:  make(chan struct{}, 1),
		done:     make(chan struct{}),
	}
	n.workers.Go(func() {
		err := client.Wait()
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("the node closed the connection")
		}
		n.end(n.fail(LinkLost, err, "check the machine and the network in between", true))
	})
	n.workers.Go(n.keepalive)
	return n
}

// Name is the node's name in the experiment.
func (n *Node) Name() string { return n.target.Name }

// Target is what the node was dialled with.
func (n *Node) Target() Target { return n.target }

// Address is where other nodes reach this one.
func (n *Node) Address() string {
	if n.target.Address != "" {
		return n.target.Address
	}
	if tcp, ok := n.client.RemoteAddr().(*net.TCPAddr); ok && n.via == nil && !tcp.IP.IsUnspecified() {
		return tcp.IP.String()
	}
	// Through a jump host the address that was reached is not known here.
	return n.target.Host
}

// Gateway tells nodes behind one jump host from all others: it is the same for
// those that are reached the same way, and empty for one that is reached directly.
func (n *Node) Gateway() string {
	if n.via == nil {
		return ""
	}
	return n.via.route
}

// HostKey is the fingerprint ("SHA256:…") of the host key that the node showed
// and that was trusted.
func (n *Node) HostKey() string { return n.hostKey }

// Done is closed when the connection has ended, by Close or by itself.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err says why the connection ended; nil while it is up. After Close it is an
// error that says so, unless the link was lost before.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}

// Close ends the connection and every call that runs over it, and waits until
// its goroutines have ended. A command that still runs loses its input and
// output; end it by its context first where it might not notice. What was
// started detached goes on.
func (n *Node) Close() error {
	n.end(n.fail(LinkLost, errClosed, "", false))
	n.mu.Lock()
	n.dropFiles(n.files)
	n.mu.Unlock()
	n.workers.Wait()
	return nil
}

// end closes the connection once.
func (n *Node) end(err error) {
	n.once.Do(func() {
		n.err = err
		close(n.done)
		if n.via == nil {
			// The outer one first: closing the inner one writes to it, which
			// would wait on a link that is stuck.
			_ = n.conn.Close()
			_ = n.client.Close()
			return
		}
		go n.leaveJump()
	})
}

// stuckLink is how long closing a connection through a jump host may take.
const stuckLink = time.Second

// leaveJump closes the node's connection inside the jump host's, on which other
// nodes go on. Where that is stuck, it is so for all of them.
func (n *Node) leaveJump() {
	stuck := time.AfterFunc(stuckLink, func() { _ = n.via.conn.Close() })
	_ = n.client.Close()
	_ = n.client.Wait()
	stuck.Stop()
	n.via.leave()
}

// keepalive ends the connection when nothing comes back any more: TCP alone
// would take many minutes to notice a machine that is gone.
func (n *Node) keepalive() {
	interval := n.target.SSH.keepalive()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var asking atomic.Bool
	for {
		select {
		case <-n.done:
			return
		case <-ticker.C:
		}
		if silent := n.conn.silence(); silent >= keepaliveMissed*interval {
			n.end(n.fail(LinkLost, fmt.Errorf("no answer to keepalives for %s", silent.Round(100*time.Millisecond)),
				"check the machine and the network in between", true))
			return
		}
		if asking.CompareAndSwap(false, true) { // one that is under way tells as much
			n.workers.Go(func() {
				defer asking.Store(false)
				_, _, _ = n.client.SendRequest(aliveRequest, true, nil) // an error comes out of client.Wait as well
			})
		}
	}
}

// fail makes an error of this node.
func (n *Node) fail(kind Kind, err error, next string, transient bool) error {
	return &Error{Node: n.target.Name, Kind: kind, Err: err, Next: next, Transient: transient}
}

// cause prefers the reason behind an error: a lost link or an ended context
// shows up as all sorts of errors in what ran over it.
func (n *Node) cause(ctx context.Context, kind Kind, what string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if lost := n.linkErr(err); lost != nil {
		if e, ok := errors.AsType[*Error](lost); ok {
			again := *e
			again.Err = fmt.Errorf("%s: %w", what, e.Err)
			return &again
		}
	}
	if ctx.Err() != nil {
		return n.fail(Canceled, fmt.Errorf("%s: %w", what, context.Cause(ctx)), "", false)
	}
	return n.fail(kind, fmt.Errorf("%s: %w", what, err), "", false)
}

// linkErr gives the reason why the link ended, where that is behind err. The
// end of a connection reaches its users a moment before it reaches Wait.
func (n *Node) linkErr(err error) error {
	if isLinkError(err) || errors.Is(err, sftp.ErrSSHFxConnectionLost) || isMissingExit(err) {
		grace := time.NewTimer(100 * time.Millisecond)
		defer grace.Stop()
		select {
		case <-n.done:
		case <-grace.C:
		}
	}
	return n.Err()
}

func isMissingExit(err error) bool {
	_, ok := errors.AsType[*ssh.ExitMissingError](err)
	return ok
}

// session opens a channel for one command, and waits for its turn. The caller
// calls the returned function when the session has ended.
func (n *Node) session(ctx context.Context, what string) (*ssh.Session, func(), error) {
	select {
	case n.sessions <- struct{}{}:
	case <-n.done:
		return nil, nil, n.cause(ctx, LinkLost, what, n.err)
	case <-ctx.Done():
		return nil, nil, n.fail(Canceled, fmt.Errorf("%s: waiting for one of %d sessions: %w", what, maxSessions, context.Cause(ctx)), "", false)
	}
	release := sync.OnceFunc(func() { <-n.sessions })
	type opened struct {
		session *ssh.Session
		err     error
	}
	ch := make(chan opened, 1)
	go func() {
		s, err := n.openSession(ctx)
		ch <- opened{s, err}
	}()
	select {
	case o := <-ch:
		if o.err != nil {
			release()
			return nil, nil, n.sessionFailed(ctx, what, o.err)
		}
		return o.session, release, nil
	case <-ctx.Done():
		// The answer is still to come; it ends with the link at the latest.
		go func() {
			if o := <-ch; o.session != nil {
				_ = o.session.Close()
			}
			release()
		}()
		return nil, nil, n.cause(ctx, LinkLost, what, ctx.Err())
	}
}

// sessionPatience is how long a server that has too many sessions is asked again.
const sessionPatience = 15 * time.Second

// openSession opens a channel. A server that has too many may only be about to
// notice the end of another, or allow fewer than usual: it is asked again for
// a while.
func (n *Node) openSession(ctx context.Context) (*ssh.Session, error) {
	for end := time.Now().Add(sessionPatience); ; {
		s, err := n.client.NewSession()
		refused, ok := errors.AsType[*ssh.OpenChannelError](err)
		if !ok || refused.Reason == ssh.Prohibited || refused.Reason == ssh.UnknownChannelType || time.Now().After(end) {
			return s, err
		}
		select {
		case <-time.After(20*time.Millisecond + rand.N(80*time.Millisecond)):
		case <-n.done:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (n *Node) sessionFailed(ctx context.Context, what string, err error) error {
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
		return n.fail(Unsupported, fmt.Errorf("%s: the SSH server opens no session: %s", what, oneLine(refused.Message)),
			"raise MaxSessions in its sshd_config (bela uses up to 8 at once)", false)
	}
	return n.cause(ctx, LinkLost, what, err)
}

// Directory is the absolute path of bela's directory on the node. It need not exist.
func (n *Node) Directory(ctx context.Context) (string, error) {
	n.mu.Lock()
	dir := n.directory
	n.mu.Unlock()
	if dir != "" {
		return dir, nil
	}
	var home string
	err := n.withFiles(ctx, "find the home directory", func(c *sftp.Client) (err error) {
		home, err = c.RealPath(".")
		return err
	})
	if err != nil {
		return "", err
	}
	return n.DirectoryAt(home)
}

// DirectoryAt is Directory for a login whose home directory is known, and saves
// asking for it.
func (n *Node) DirectoryAt(home string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.directory != "" {
		return n.directory, nil
	}
	if !path.IsAbs(home) {
		return "", n.fail(BadConfig, fmt.Errorf("the home directory is %q", oneLine(home)), "", false)
	}
	dir, err := directoryUnder(home, n.target.Directory)
	if err != nil {
		return "", n.fail(BadConfig, err, "correct directory in the ssh block", false)
	}
	n.directory = dir
	return dir, nil
}

// directoryUnder resolves bela's directory, and refuses one that cannot be
// bela's alone, since all in it is removed in the end.
func directoryUnder(home, directory string) (string, error) {
	if directory == "" {
		directory = DefaultDirectory
	}
	if rest, ok := strings.CutPrefix(directory, "~/"); ok {
		directory = rest
	}
	dir := path.Clean(directory)
	if !path.IsAbs(dir) {
		dir = path.Join(home, dir)
	}
	if strings.ContainsFunc(dir, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("directory %q has a control character", directory)
	}
	if dir == "/" || within(dir, home) || strings.Count(dir, "/") < 2 {
		return "", fmt.Errorf("directory %q is %s on the node, which is not bela's alone", directory, dir)
	}
	return dir, nil
}

// within says whether path is dir or beneath it; both are clean and absolute.
func within(dir, p string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
