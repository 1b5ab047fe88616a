package nodes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Command is a command to run on a node, in the login's home directory unless
// Dir says otherwise. Arguments and environment are visible to the node's other
// users; what is secret goes through Stdin.
type Command struct {
	// Name says in errors what the command is; empty is its first words.
	Name string
	// Args are the program and its arguments, passed on as they are.
	Args []string
	// Env is added to the login's environment.
	Env map[string]string
	// Dir is the working directory.
	Dir string
	// Stdin is what the command reads; nil is nothing.
	Stdin io.Reader
	// MaxOutput bounds standard output, in bytes; 0 is 1 MiB. A command that
	// writes more is ended and fails. Of standard error the end is kept.
	MaxOutput int
}

// Script makes a Command of a POSIX shell script with its arguments, $1 and
// on; name says in errors what it does ("stop the agent").
func Script(name, script string, args ...string) Command {
	return Command{Name: name, Args: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}
}

func (c Command) name() string {
	if c.Name != "" {
		return c.Name
	}
	return firstWords(c.Args)
}

// Result is what a command that ended left.
type Result struct {
	Stdout []byte
	Stderr []byte // its end, at most 64 KiB
	Status int    // -1 where a signal or a lost link ended it
}

const (
	defaultMaxOutput = 1 << 20
	maxStderr        = 64 << 10
	maxErrorText     = 4 << 10
	maxCommandLine   = 128 << 10 // one argument of execve, which sh -c gets
)

// line is the command as the node's login shell takes it. Its processes carry
// mark in their environment.
func (c Command) line(mark string) (string, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return "", errors.New("a command without a program")
	}
	if c.Args[0][0] == '-' || strings.Contains(c.Args[0], "=") {
		return "", fmt.Errorf("%q as a program: env would take it for something else", c.Args[0])
	}
	var b strings.Builder
	if c.Dir != "" {
		fmt.Fprintf(&b, "cd %s && ", Quote(c.Dir))
	}
	b.WriteString("exec env " + markVariable + "=" + mark)
	names := make([]string, 0, len(c.Env))
	for name := range c.Env {
		if !isEnvName(name) {
			return "", fmt.Errorf("%q is no name of an environment variable", name)
		}
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		b.WriteString(" " + Quote(name+"="+c.Env[name]))
	}
	for _, arg := range c.Args {
		b.WriteString(" " + Quote(arg))
	}
	line := b.String()
	switch {
	case strings.ContainsRune(line, 0):
		return "", errors.New("a command with a zero byte")
	case len(line) >= maxCommandLine:
		return "", fmt.Errorf("a command line of %d bytes; a node takes less than %d", len(line), maxCommandLine)
	}
	return line, nil
}

// Quote makes s one word of a POSIX shell.
func Quote(s string) string {
	safe := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./:=,+", r)
	})
	// A word with = at the front of a line would be an assignment.
	if safe && !strings.Contains(s, "=") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func isEnvName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// Run runs a command to its end. A status other than 0 is a CommandFailed error
// with an *ExitError as its cause, and the Result is filled all the same. When
// ctx ends first the command is killed.
func (n *Node) Run(ctx context.Context, c Command) (Result, error) {
	what := c.name()
	mark := newMark()
	line, err := c.line(mark)
	if err != nil {
		return Result{Status: -1}, n.fail(BadConfig, err, "", false)
	}
	session, release, err := n.session(ctx, what)
	if err != nil {
		return Result{Status: -1}, err
	}
	defer release()
	defer session.Close() //nolint:errcheck // it is closed already when the command has ended

	limit := c.MaxOutput
	if limit <= 0 {
		limit = defaultMaxOutput
	}
	out := &boundedBuffer{limit: limit, over: make(chan struct{})}
	errs := &tailBuffer{limit: maxStderr}
	session.Stdout, session.Stderr = out, errs
	if err := n.feed(session, c.Stdin); err != nil {
		return Result{Status: -1}, n.cause(ctx, LinkLost, what, err)
	}
	var ran error // set before ended is closed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if ran = session.Start(line); ran == nil {
			ran = session.Wait()
		}
	}()
	select {
	case <-ended:
		err = ran
	case <-ctx.Done():
		n.kill(session, mark, ended)
		err = ctx.Err()
	case <-out.over:
		n.kill(session, mark, ended)
		err = n.fail(CommandFailed, fmt.Errorf("%s: more than %d bytes of output", what, limit), "", false)
	case <-n.done:
		err = n.err
	}
	result := Result{Stdout: out.bytes(), Stderr: errs.bytes(), Status: -1}
	if err == nil {
		result.Status = 0
		return result, nil
	}
	return result, n.commandFailed(ctx, what, err, &result)
}

// feed copies the input aside: ssh's own copy would keep Wait from returning
// while the reader has nothing to give.
func (n *Node) feed(session *ssh.Session, stdin io.Reader) error {
	if stdin == nil {
		return nil
	}
	pipe, err := session.StdinPipe()
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(pipe, stdin) // a command may end without reading all
		_ = pipe.Close()
	}()
	return nil
}

// markVariable tells the processes of one command from all others.
const markVariable = "BELA_COMMAND"

func newMark() string { return strings.ToLower(rand.Text()) }

// killGrace bounds the killing of a command; on a link that is stuck it is left
// to the link's end.
const killGrace = 3 * time.Second

// kill ends a command and waits until the node says so. OpenSSH passes no
// signals on for root, and closing a session leaves its processes alone, so a
// command of its own ends them by their mark.
func (n *Node) kill(session *ssh.Session, mark string, ended <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = session.Signal(ssh.SIGKILL)
		_ = n.killMarked(ctx, mark)
		_ = session.Close()
	}()
	for _, c := range []<-chan struct{}{done, ended} {
		select {
		case <-c:
		case <-ctx.Done():
			_ = session.Close()
			return
		case <-n.done:
			return
		}
	}
}

// killMarked takes a session beside those that commands use, one at a time:
// the ones to kill may hold all of them.
func (n *Node) killMarked(ctx context.Context, mark string) error {
	select {
	case n.killing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-n.killing }()
	session, err := n.openSession(ctx)
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // it has ended
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	// Twice, as a process may have been making another.
	return session.Run("exec /bin/sh -c " + Quote(`for again in 1 2; do
pids=$(grep -lzxF -e "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3)
[ -z "$pids" ] || kill -KILL $pids 2>/dev/null
done`) + " sh " + markVariable + "=" + mark)
}

// commandFailed makes an *Error of what ended a command, and notes the status.
func (n *Node) commandFailed(ctx context.Context, what string, err error, result *Result) error {
	exit, ok := errors.AsType[*ssh.ExitError](err)
	if !ok && !isMissingExit(err) {
		return n.cause(ctx, LinkLost, what, err)
	}
	if !ok && n.linkErr(err) != nil {
		return n.cause(ctx, LinkLost, what, err)
	}
	cause := &ExitError{Command: what, Status: -1, Stderr: tailText(result.Stderr)}
	if ok {
		cause.Signal = exit.Signal()
		if cause.Signal == "" {
			cause.Status = exit.ExitStatus()
		}
	}
	result.Status = cause.Status
	return n.fail(CommandFailed, cause, "", false)
}

func tailText(b []byte) string {
	if len(b) > maxErrorText {
		b = b[len(b)-maxErrorText:]
	}
	return strings.ToValidUTF8(string(b), "?")
}

// boundedBuffer keeps what is written up to a limit and then says so.
type boundedBuffer struct {
	limit int
	over  chan struct{}

	mu   sync.Mutex
	b    []byte
	full bool
}

func (w *boundedBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full || len(w.b)+len(p) > w.limit {
		if !w.full {
			w.full = true
			close(w.over)
		}
		return len(p), nil // go on reading, so that the command sees its signal
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

func (w *boundedBuffer) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]byte(nil), w.b...)
}

// tailBuffer keeps the end of what is written.
type tailBuffer struct {
	limit int

	mu sync.Mutex
	b  []byte
}

func (w *tailBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	if len(w.b) > 2*w.limit {
		w.b = append([]byte(nil), w.b[len(w.b)-w.limit:]...)
	}
	return len(p), nil
}

func (w *tailBuffer) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]byte(nil), w.b[max(0, len(w.b)-w.limit):]...)
}
