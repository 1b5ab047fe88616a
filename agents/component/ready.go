package component

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bela/agents/protocol"
)

const (
	defaultReady = 30 * time.Second
	// settleTime is how long a process must run to count as ready that shows it
	// in no other way.
	settleTime = 500 * time.Millisecond
	pollTime   = 100 * time.Millisecond
	// commandTime bounds one run of a ready command.
	commandTime = 10 * time.Second
)

// check is one condition of readiness.
type check struct {
	what string // "a TCP connection to 127.0.0.1:1883"
	// wait returns nil when the condition holds, or why it did not when ctx ended.
	wait func(ctx context.Context) error
}

// awaitReady waits for all conditions.
func (in *instance) awaitReady(ctx context.Context) *protocol.Error {
	limit := in.spec.ReadyTimeout
	if limit <= 0 {
		limit = defaultReady
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNotReady)
	defer cancel()
	// An exit ends every wait.
	go func() {
		select {
		case <-in.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	for _, c := range in.checks() {
		err := c.wait(ctx)
		select {
		case <-in.exited:
			return in.tooEarly()
		default:
		}
		if err == nil {
			continue
		}
		code := "deadline"
		if errors.Is(context.Cause(ctx), context.Canceled) {
			code = "internal"
		}
		return &protocol.Error{Code: code, Missing: []string{in.String()},
			Text: fmt.Sprintf("component %s is not ready: waited %s for %s: %v",
				in.key, time.Since(in.started).Round(time.Millisecond), c.what, err)}
	}
	return nil
}

// tooEarly is the error of an instance that ended before it was ready.
func (in *instance) tooEarly() *protocol.Error {
	return &protocol.Error{Code: "component_failed",
		Text: fmt.Sprintf("component %s was not ready yet: it %s", in.key, in.status)}
}

var errNotReady = errors.New("its ready timeout is over")

// checks are the conditions that the spec gives.
func (in *instance) checks() []check {
	s := in.spec
	if in.builtIn() {
		return []check{{"its own report that it accepts work", func(ctx context.Context) error { return awaitClosed(ctx, in.ready) }}}
	}
	tcp := s.ReadyTCP
	web := in.process().ReadyHTTP
	if tcp == "" && web == "" && s.ReadyLog == "" && len(s.ReadyCommand) == 0 && s.Port > 0 {
		host := s.Bind
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		tcp = net.JoinHostPort(host, strconv.Itoa(s.Port))
	}
	var all []check
	if tcp != "" {
		all = append(all, check{"a TCP connection to " + tcp, func(ctx context.Context) error { return awaitTCP(ctx, tcp) }})
	}
	if web != "" {
		all = append(all, check{"an answer from " + web, in.awaitHTTP})
	}
	if s.ReadyLog != "" {
		found := in.log.watch(regexp.MustCompile(s.ReadyLog)) // checked by checkSpec
		all = append(all, check{fmt.Sprintf("a line of its output that matches %q", s.ReadyLog),
			func(ctx context.Context) error { return awaitClosed(ctx, found) }})
	}
	if len(s.ReadyCommand) > 0 {
		all = append(all, check{"its ready command to end well: " + s.ReadyCommand[0], in.awaitCommand})
	}
	if len(all) == 0 {
		all = append(all, check{"it to run for " + settleTime.String(), func(ctx context.Context) error { return sleep(ctx, settleTime) }})
	}
	return all
}

func awaitClosed(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func awaitTCP(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: time.Second}
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		if sleep(ctx, pollTime) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// awaitCommand runs the ready command until it exits with 0.
func (in *instance) awaitCommand(ctx context.Context) error {
	for {
		err := in.runReady(ctx)
		if err == nil {
			return nil
		}
		if sleep(ctx, pollTime) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (in *instance) runReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.spec.ReadyCommand[0], in.spec.ReadyCommand[1:]...)
	cmd.Dir, cmd.Env = in.work, in.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if in.as != nil {
		cmd.SysProcAttr.Credential = in.as.credential()
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = lastWords
	out := &tailBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		if text := out.lastLine(); text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return err
	}
	return nil
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ b []byte }

func (t *tailBuffer) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if over := len(t.b) - keptLine; over > 0 {
		t.b = bytes.Clone(t.b[over:])
	}
	return len(b), nil
}

func (t *tailBuffer) lastLine() string {
	text := strings.TrimSpace(string(t.b))
	return text[strings.LastIndexByte(text, '\n')+1:]
}
