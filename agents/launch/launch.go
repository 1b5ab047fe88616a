// Package launch starts an agent so that it outlives the session that asked for
// it, and waits until it listens. It is the agent's own work and not a script's: a
// shell would start a program for every look, on all nodes at once. It knows the
// files that a controller relies on, and nothing of what the agent does.
package launch

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is the agent's first argument that leads here.
const Command = "launch"

// Exit statuses that stand for something.
const (
	ExitEnded  = 21 // it ended at once
	ExitSilent = 22 // it does not answer
)

// ExitError is a launch that came to nothing, with the end of what the agent wrote.
type ExitError struct {
	Status int
	Log    string
}

func (e *ExitError) Error() string {
	if e.Status == ExitEnded {
		return "it ended at once: " + e.Log
	}
	return "it does not answer: " + e.Log
}

// Options say what to start.
type Options struct {
	Self    string   // the agent's executable
	Args    []string // of its serve command
	Dir     string   // bela's directory, where the agent's files are
	Timeout time.Duration
}

// The longest and the shortest time between two looks. An agent needs some 20 ms.
const (
	firstLook   = 2 * time.Millisecond
	longestLook = 20 * time.Millisecond
)

// tailBytes is how much of the agent's log an error shows.
const tailBytes = 2000

// Start starts the agent and returns when it listens. One that does not is killed.
func Start(o Options) error {
	for _, name := range []string{"run/agent.sock", "run/agent.pid"} {
		if err := os.Remove(o.at(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	log, err := os.OpenFile(o.at("run/agent.log"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the agent has it by now
	agent := exec.Command(o.Self, o.Args...)
	agent.Stdout, agent.Stderr = log, log
	agent.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := agent.Start(); err != nil {
		return &ExitError{ExitEnded, err.Error()}
	}
	ended := make(chan struct{})
	go func() {
		_ = agent.Wait()
		close(ended)
	}()
	limit := time.After(o.Timeout)
	for wait := firstLook; !o.listens(); wait = min(2*wait, longestLook) {
		select {
		case <-time.After(wait):
		case <-ended:
			return &ExitError{ExitEnded, tail(log)}
		case <-limit:
			_ = agent.Process.Kill()
			return &ExitError{ExitSilent, tail(log)}
		}
	}
	return nil
}

func (o Options) at(name string) string { return o.Dir + "/" + name }

// listens says whether the agent's socket and its process number are there.
func (o Options) listens() bool {
	socket, err := os.Lstat(o.at("run/agent.sock"))
	if err != nil || socket.Mode()&os.ModeSocket == 0 {
		return false
	}
	pid, err := os.Lstat(o.at("run/agent.pid"))
	return err == nil && pid.Size() > 0
}

func tail(log *os.File) string {
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Sprintf("its log cannot be read: %v", err)
	}
	text, err := io.ReadAll(io.NewSectionReader(log, max(0, size-tailBytes), tailBytes))
	if err != nil {
		return fmt.Sprintf("its log cannot be read: %v", err)
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(text), "?"))
}

// ErrUsage says that the arguments are not those of this command.
var ErrUsage = errors.New("usage: launch -dir DIR -timeout DURATION -- ARGUMENTS OF serve")

// Main starts the agent and says "started" on out once it listens. It returns the
// agent's directory, where its caller joins it.
func Main(args []string, out io.Writer, self string) (dir string, err error) {
	flags := flag.NewFlagSet(Command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&dir, "dir", "", "bela's directory on this node")
	timeout := flags.Duration("timeout", 0, "how long to wait for it")
	if err := flags.Parse(args); err != nil || dir == "" || *timeout <= 0 {
		return "", ErrUsage
	}
	if err := Start(Options{Self: self, Args: append([]string{"serve"}, flags.Args()...), Dir: dir, Timeout: *timeout}); err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(out, "started")
	return dir, err
}
