package nodes_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bela/nodes"
	"bela/nodes/sshdtest"
)

// Arguments, environment and directory reach the program byte for byte: else a
// file name with a space, or a quote in it, would run as something else.
func TestRunPassesWordsOn(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		words := []string{"plain", "two words", "", "it's", `back\slash`, `"$HOME" $(id) ` + "`id`", "new\nline", "*", "~", "a=b", "-n", "ü☃", "!x", "#", "\xff\xfe"}
		res, err := n.Run(deadline(t), nodes.Command{Args: append([]string{"printf", `%s\0`}, words...)})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(res.Stdout), strings.Join(words, "\x00")+"\x00"; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		dir := filepath.Join(t.TempDir(), "it's here")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		res, err = n.Run(deadline(t), nodes.Command{Args: []string{"sh", "-c", `echo "$PWD $A"`}, Dir: dir, Env: map[string]string{"A": "x y'z"}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(res.Stdout), dir+" x y'z\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// How a command ended decides what bela does next, so each way must be told apart.
func TestRunOutcomes(t *testing.T) {
	rows := []struct {
		name    string
		command nodes.Command
		status  int
		signal  string
		kind    nodes.Kind
		stdout  string
		stderr  string
	}{
		{name: "success", command: nodes.Script("x", "echo out; echo err >&2"), stdout: "out\n", stderr: "err\n"},
		{name: "status", command: nodes.Script("x", "echo why >&2; exit 7"), status: 7, kind: nodes.CommandFailed, stderr: "why\n"},
		{name: "signal", command: nodes.Script("x", "kill -TERM $$"), status: -1, signal: "TERM", kind: nodes.CommandFailed},
		{name: "no such program", command: nodes.Command{Args: []string{"/no/such"}}, status: 127, kind: nodes.CommandFailed},
		{name: "input", command: nodes.Command{Args: []string{"cat"}, Stdin: strings.NewReader("in")}, stdout: "in"},
		{name: "input not read", command: nodes.Command{Args: []string{"true"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}},
		{name: "output at its limit", command: nodes.Command{Args: []string{"printf", "12345"}, MaxOutput: 5}, stdout: "12345"},
		{name: "output over its limit", command: nodes.Command{Args: []string{"yes"}, MaxOutput: 1000}, status: -1, kind: nodes.CommandFailed},
		{name: "nothing to run", command: nodes.Command{}, status: -1, kind: nodes.BadConfig},
		{name: "zero byte", command: nodes.Command{Args: []string{"a\x00b"}}, status: -1, kind: nodes.BadConfig},
		{name: "bad name in the environment", command: nodes.Command{Args: []string{"true"}, Env: map[string]string{"A;id": "x"}}, status: -1, kind: nodes.BadConfig},
		{name: "too long", command: nodes.Command{Args: []string{"true", strings.Repeat("x", 200<<10)}}, status: -1, kind: nodes.BadConfig},
	}
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				if r, ok := row.command.Stdin.(*strings.Reader); ok {
					_, _ = r.Seek(0, io.SeekStart)
				}
				res, err := n.Run(deadline(t), row.command)
				if nodes.KindOf(err) != row.kind || res.Status != row.status {
					t.Fatalf("kind %q, status %d, want %q, %d: %v", nodes.KindOf(err), res.Status, row.kind, row.status, err)
				}
				var exit *nodes.ExitError
				if errors.As(err, &exit) && (exit.Status != row.status || exit.Signal != row.signal) {
					t.Errorf("exit %d %q, want %d %q", exit.Status, exit.Signal, row.status, row.signal)
				}
				if row.stdout != "" && string(res.Stdout) != row.stdout {
					t.Errorf("stdout %q, want %q", res.Stdout, row.stdout)
				}
				if row.stderr != "" && string(res.Stderr) != row.stderr {
					t.Errorf("stderr %q, want %q", res.Stderr, row.stderr)
				}
				if err != nil && !strings.HasPrefix(err.Error(), "node worker-1: ") {
					t.Errorf("the error does not name the node: %v", err)
				}
			})
		}
	})
}

// A command that is given up must not go on using the node's CPU: it would be
// part of the next measurement.
func TestRunEndsWithContext(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		pidFile := filepath.Join(t.TempDir(), "pid")
		ctx, cancel := context.WithCancelCause(deadline(t))
		cause := errors.New("the user gave up")
		go func() {
			for ctx.Err() == nil && readPID(pidFile) == 0 {
				time.Sleep(5 * time.Millisecond)
			}
			cancel(cause)
		}()
		_, err := n.Run(ctx, nodes.Script("wait", `echo $$ >"$1.new" && mv "$1.new" "$1" && exec sleep 1000`, pidFile))
		if nodes.KindOf(err) != nodes.Canceled || !errors.Is(err, cause) {
			t.Fatalf("got %v, want the cause", err)
		}
		pid := readPID(pidFile)
		eventually(t, "the command to end", func() bool { return !running(pid) })
		if _, err := n.Run(deadline(t), nodes.Command{Args: []string{"true"}}); err != nil {
			t.Errorf("the connection must go on: %v", err)
		}
	})
}

// More commands at once than a server has sessions must wait for each other
// instead of failing: collecting from a node with many components does that.
func TestRunManyAtOnce(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				want := strconv.Itoa(i)
				res, err := n.Run(deadline(t), nodes.Script("x", `sleep 0.02; echo "$1"`, want))
				if got := strings.TrimSpace(string(res.Stdout)); err != nil || got != want {
					t.Errorf("%d: got %q: %v", i, got, err)
				}
			})
		}
		all.Wait()
	})
}

// A server that allows fewer sessions than usual is slower and no failure.
func TestRunWithFewSessions(t *testing.T) {
	noLeaks(t)
	n := dial(t, target(t, sshdtest.Start(t, sshdtest.Options{Config: []string{"MaxSessions 3"}})))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := n.Run(deadline(t), nodes.Command{Args: []string{"sleep", "0.05"}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// The agent is reached through a stream; what goes in must come out, in order
// and complete, both ways at once.
func TestStreamCarriesBytes(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		s, err := n.Stream(deadline(t), nodes.Command{Args: []string{"cat"}})
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("0123456789abcdef"), 256<<10/16*8) // 2 MiB
		var sent sync.WaitGroup
		sent.Go(func() {
			if _, err := s.Write(want); err != nil {
				t.Errorf("write: %v", err)
			}
		})
		got := make([]byte, len(want))
		if _, err := io.ReadFull(s, got); err != nil {
			t.Fatal(err)
		}
		sent.Wait()
		if !bytes.Equal(got, want) {
			t.Error("the bytes differ")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Read(got); !errors.Is(err, io.EOF) {
			t.Errorf("read after Close gives %v, want EOF", err)
		}
		if _, err := s.Write([]byte("x")); err == nil {
			t.Error("write after Close succeeds")
		}
	})
}

// A stream that ends by itself must say why, with what the command complained
// about: else a crashed agent is a bare EOF.
func TestStreamSaysWhyItEnded(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		s, err := n.Stream(deadline(t), nodes.Script("agent", "echo hello; echo panic: at the disco >&2; exit 2"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // ended
		text, err := io.ReadAll(s)
		if string(text) != "hello\n" {
			t.Errorf("read %q", text)
		}
		var exit *nodes.ExitError
		if !errors.As(err, &exit) || exit.Status != 2 || !strings.Contains(err.Error(), "panic: at the disco") {
			t.Errorf("got %v", err)
		}
		clean, err := n.Stream(deadline(t), nodes.Command{Args: []string{"true"}})
		if err != nil {
			t.Fatal(err)
		}
		defer clean.Close() //nolint:errcheck // ended
		if _, err := clean.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a clean end gives %v, want EOF", err)
		}
	})
}

// Close must end a command that does not listen, also one that floods its
// output, or its process would stay on the node.
func TestStreamCloseEndsTheCommand(t *testing.T) {
	onNode(t, nil, func(t *testing.T, n *nodes.Node) {
		for _, script := range []string{
			`trap "" TERM HUP; while :; do sleep 0.1; done </dev/null`,
			`yes & exec sleep 1000`,
		} {
			pidFile := filepath.Join(t.TempDir(), "pid")
			s, err := n.Stream(deadline(t), nodes.Script("stubborn", `echo $$ >"$1.new" && mv "$1.new" "$1"; `+script, pidFile))
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the command to run", func() bool { return readPID(pidFile) != 0 })
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			pid := readPID(pidFile)
			eventually(t, "the command to end", func() bool { return !running(pid) })
		}
	})
}

// What is started detached outlives the connection: that is how an agent
// carries on while the controller comes back.
func TestDetachedOutlivesTheConnection(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		pidFile := filepath.Join(t.TempDir(), "pid")
		n := dial(t, tg)
		_, err := n.Run(deadline(t), nodes.Script("detach", `setsid sh -c 'echo $$ >"$0.new" && mv "$0.new" "$0"; exec sleep 1000' "$1" </dev/null >/dev/null 2>&1 &`, pidFile))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the process to run", func() bool { return readPID(pidFile) != 0 })
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		again := dial(t, tg)
		pid := readPID(pidFile)
		if _, err := again.Run(deadline(t), nodes.Script("end it", `kill -0 "$1" && kill -KILL "$1"`, strconv.Itoa(pid))); err != nil {
			t.Errorf("it did not outlive the connection: %v", err)
		}
		eventually(t, "the process to end", func() bool { return !running(pid) })
	})
}

// Quote is the only thing between a file name and a shell.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "it's", "$(id)", "\\", "a=b", "-x", "\n", "''", "'\\''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := unquote(t, nodes.Quote(s)); got != s {
			t.Errorf("%q quoted is %q, which reads as %q", s, nodes.Quote(s), got)
		}
	})
}

// unquote reads one word as POSIX says: quotes keep all, a backslash the next.
func unquote(t *testing.T, word string) string {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c == '\'':
			end := strings.IndexByte(word[i+1:], '\'')
			if end < 0 {
				t.Fatalf("no closing quote in %q", word)
			}
			b.WriteString(word[i+1 : i+1+end])
			i += end + 1
		case c == '\\':
			i++
			b.WriteByte(word[i])
		case strings.IndexByte(" \t\n|&;<>()$`\"*?[]#~=%!{}", c) >= 0:
			t.Fatalf("%q is bare in %q", c, word)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func readPID(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// running says whether a process lives; one that is only not yet waited for does not.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(state, "Z")
}
