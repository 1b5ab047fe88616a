package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Bounds of one node, as an ordinary sshd has them.
const (
	maxConnections = 32
	maxSessions    = 10
	loginLimit     = 30 * time.Second
	// hangupGrace is how long a command has to end when its channel is closed.
	hangupGrace = time.Second
)

// server is the SSH server of one node.
type server struct {
	spec     Spec
	home     string
	listener net.Listener
	hostKey  ssh.Signer
	config   *ssh.ServerConfig
	log      *slog.Logger
	env      []string
}

// serve takes connections until the listener is closed or ctx ends, and
// returns when all of them have ended.
func (s *server) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	turns := make(chan struct{}, maxConnections)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Warn("lab: accept", "error", err)
			select { // out of file descriptors, most likely: let some go
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		select {
		case turns <- struct{}{}:
		default:
			s.log.Warn("lab: too many connections", "limit", maxConnections)
			_ = conn.Close()
			continue
		}
		all.Go(func() {
			defer func() { <-turns }()
			s.handle(ctx, conn)
		})
	}
}

// handle serves one connection to its end.
func (s *server) handle(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(loginLimit))
	server, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		s.log.Debug("lab: login", "error", err)
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	defer server.Close() //nolint:errcheck // the peer has gone already
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { ssh.DiscardRequests(requests) }) // answers keepalives
	turns := make(chan struct{}, maxSessions)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		select {
		case turns <- struct{}{}:
		default:
			_ = c.Reject(ssh.ResourceShortage, fmt.Sprintf("more than %d sessions", maxSessions))
			continue
		}
		all.Go(func() {
			defer func() { <-turns }()
			channel, requests, err := c.Accept()
			if err != nil {
				return
			}
			s.session(channel, requests)
		})
	}
}

// session serves one channel: a command, or file transfer.
func (s *server) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close() //nolint:errcheck // may be closed by the peer
	var started bool
	var running *process
	ended := make(chan struct{})
	for {
		select {
		case <-ended:
			_ = channel.Close()
			for r := range requests {
				_ = r.Reply(false, nil)
			}
			return
		case r, ok := <-requests:
			if !ok { // the peer closed the channel
				if running != nil {
					running.hangUp(ended)
				}
				if started {
					_ = channel.Close()
					<-ended
				}
				return
			}
			switch {
			case r.Type == "exec" && !started:
				var payload struct{ Command string }
				p, err := (*process)(nil), ssh.Unmarshal(r.Payload, &payload)
				if err == nil {
					p, err = s.start(payload.Command, channel)
				}
				_ = r.Reply(err == nil, nil)
				if err != nil {
					s.log.Warn("lab: start a command", "error", err)
					return
				}
				started, running = true, p
				go func() { defer close(ended); p.wait(channel) }()
			case r.Type == "subsystem" && !started:
				var payload struct{ Name string }
				ok := ssh.Unmarshal(r.Payload, &payload) == nil && payload.Name == "sftp"
				_ = r.Reply(ok, nil)
				if !ok {
					return
				}
				started = true
				go func() { defer close(ended); s.files(channel) }()
			case r.Type == "signal" && running != nil:
				running.signal(r.Payload)
				_ = r.Reply(true, nil)
			default:
				_ = r.Reply(false, nil) // no terminal, no shell, no environment
			}
		}
	}
}

// files serves SFTP from the node's home directory.
func (s *server) files(channel ssh.Channel) {
	server, err := sftp.NewServer(channel, sftp.WithServerWorkingDirectory(s.home))
	if err != nil {
		s.log.Warn("lab: file transfer", "error", err)
		return
	}
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		s.log.Debug("lab: file transfer", "error", err)
	}
	_ = server.Close() // closes files that the peer left open
}

// process is a running command with its process group.
type process struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	// over is set once the process was waited for: its number may belong to
	// another one from then on.
	over bool
}

// start runs a command as sshd would: by the shell, in the home directory, in a
// process group of its own.
func (s *server) start(command string, channel ssh.Channel) (*process, error) {
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Dir = s.home
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout = channel
	cmd.Stderr = channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends when the channel does
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	return &process{cmd: cmd}, nil
}

// wait waits for the command, and for all that holds its output, and sends how
// it ended.
func (p *process) wait(channel ssh.Channel) {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	_ = channel.CloseWrite()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal  string
			Core    bool
			Message string
			Lang    string
		}{Signal: signalName(status.Signal()), Core: status.CoreDump()}))
	default:
		code := p.cmd.ProcessState.ExitCode()
		if err != nil && code == 0 { // its output could not be passed on
			code = 255
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(code)}))
	}
}

// hangUp ends the process group after the peer closed the channel. What left
// the group (setsid) lives on, as on a real machine.
func (p *process) hangUp(ended <-chan struct{}) {
	p.kill(syscall.SIGTERM)
	grace := time.NewTimer(hangupGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		p.kill(syscall.SIGKILL)
	}
}

func (p *process) kill(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = syscall.Kill(-p.cmd.Process.Pid, signal) // gone is as good
	}
}

// signals are those that SSH names (RFC 4254, section 6.10).
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP, "ILL": syscall.SIGILL,
	"INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE, "QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV,
	"TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

func (p *process) signal(payload []byte) {
	var name struct{ Name string }
	if ssh.Unmarshal(payload, &name) != nil {
		return
	}
	if signal, ok := signals[name.Name]; ok {
		p.kill(signal)
	}
}

func signalName(signal syscall.Signal) string {
	for name, s := range signals {
		if s == signal {
			return name
		}
	}
	return signal.String()
}
