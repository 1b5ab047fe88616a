package feed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	tokenOne = "AAAAAAAAAAAAAAAAAAAAAAAAAA"
	tokenTwo = "BBBBBBBBBBBBBBBBBBBBBBBBBB"
)

// started is a feeder of some text; end ends its input, ended is closed with it.
func started(t *testing.T, text string, limit time.Duration) (address string, end func(), ended <-chan error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in, give := io.Pipe()
	said, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Main(t.Context(), []string{"-address", "127.0.0.1", "-tokens", "2", "-limit", limit.String()}, in, out, file)
		_ = out.CloseWithError(err)
		done <- err
	}()
	go func() { _, _ = io.WriteString(give, tokenOne+"\n"+tokenTwo+"\n") }()
	var port int
	if _, err := fmt.Fscanf(bufio.NewReader(said), "port %d\n", &port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = give.Close() })
	return fmt.Sprintf("127.0.0.1:%d", port), func() { _ = give.Close() }, done
}

// said is what a feeder answers to a line.
func said(t *testing.T, address, line string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err.Error()
	}
	defer conn.Close() //nolint:errcheck // a test's
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, line)
	text, _ := io.ReadAll(conn)
	return string(text)
}

func awaitEnd(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

// A stranger gets nothing, a token is good once, and the last one ends the feeder:
// nothing goes on listening on a node.
func TestTokens(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("agent", 1<<19)
	address, _, ended := started(t, text, time.Minute)
	for line, want := range map[string]string{
		"get nobody-gave-me-this-one\n": "", "get \n": "", "give " + tokenOne + "\n": "", "\n": "", strings.Repeat("x", 10000) + "\n": "",
		"probe " + tokenOne + "\n": "here\n", "probe " + tokenTwo + "\n": "here\n", "probe x\n": "",
	} {
		if got := said(t, address, line); got != want {
			t.Errorf("%.40q is answered %.40q", line, got)
		}
	}
	if got := said(t, address, "get "+tokenOne+"\n"); got != text {
		t.Errorf("%d bytes, want %d", len(got), len(text))
	}
	if got := said(t, address, "get "+tokenOne+"\n"); got != "" {
		t.Errorf("a token gave %d bytes again", len(got))
	}
	if got := said(t, address, "get "+tokenTwo+"\n"); got != text {
		t.Errorf("%d bytes, want %d", len(got), len(text))
	}
	awaitEnd(t, ended)
}

// A feeder that nobody needs ends with its controller, and without one in time.
func TestEnds(t *testing.T) {
	t.Parallel()
	_, end, ended := started(t, "agent", time.Hour)
	end()
	awaitEnd(t, ended)
	_, _, ended = started(t, "agent", 50*time.Millisecond)
	awaitEnd(t, ended)
}

// What is not asked for properly does not begin to listen.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-address", "127.0.0.1"}, {"-address", "127.0.0.1", "-tokens", "17", "-limit", "1s"}, {"-address", "127.0.0.1", "-tokens", "1", "-limit", "0s"}} {
		if err := Main(context.Background(), args, strings.NewReader(""), io.Discard, "x"); !errors.Is(err, ErrUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, tokens := range []string{"", "short\n", tokenOne, strings.Repeat("x", 100) + "\n"} {
		if err := Main(context.Background(), []string{"-address", "127.0.0.1", "-tokens", "1", "-limit", "1s"}, strings.NewReader(tokens), io.Discard, "x"); err == nil {
			t.Errorf("began with the tokens %.20q", tokens)
		}
	}
}
