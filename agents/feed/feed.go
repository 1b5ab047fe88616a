// Package feed lets a node hand the agent, or another of bela's programs that it
// has, to other nodes, so that it goes through a slow gateway once. It knows only
// one-time tokens: not who fetches, nor why, nor whether what arrives is right,
// which the fetching node checks by its hash.
package feed

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Command is the agent's first argument that leads here.
const Command = "feed"

// ErrUsage says that the arguments are not those of this command.
var ErrUsage = errors.New("usage: feed -address HOST -tokens N -limit DURATION [-file FILE]")

// Bounds of what comes from outside.
const (
	maxTokens = 16
	maxToken  = 64 // bytes
	maxGuests = 32 // connections at once, with those that only look
	lineLimit = 10 * time.Second
	stall     = 30 * time.Second // without a byte taken
)

// Words of a connection's first line, each with a token after it. Probe is
// answered with Here and uses nothing up; Get with the file, once a token.
const (
	Probe = "probe"
	Get   = "get"
	Here  = "here"
)

// Main serves a file, self unless the arguments say another, to others until every
// token has been used, the limit has passed or in has ended, whichever is first.
// From in it reads the tokens, a line each; on out it says "port N" once it listens.
func Main(ctx context.Context, args []string, in io.Reader, out io.Writer, self string) error {
	flags := flag.NewFlagSet(Command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	address := flags.String("address", "", "the address of this node to listen on")
	count := flags.Int("tokens", 0, "how many tokens come")
	file := flags.String("file", self, "what to serve")
	limit := flags.Duration("limit", 0, "how long to serve at most")
	if err := flags.Parse(args); err != nil || *address == "" || *count < 1 || *count > maxTokens || *limit <= 0 {
		return ErrUsage
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	lines := bufio.NewReaderSize(in, 4096)
	f := &feeder{file: *file, left: *count, end: cancel}
	for range *count {
		line, err := lines.ReadSlice('\n')
		token := strings.TrimSuffix(string(line), "\n")
		if err != nil || len(token) < 16 || len(token) > maxToken {
			return errors.New("feed: a token is missing, or is none")
		}
		f.tokens = append(f.tokens, token)
	}
	go func() { // the controller holds it open for as long as it wants the service
		_, _ = io.Copy(io.Discard, lines)
		cancel()
	}()
	ln, err := net.Listen("tcp", net.JoinHostPort(*address, "0"))
	if err != nil {
		return fmt.Errorf("feed: listen on this node's address: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	if _, err := fmt.Fprintf(out, "port %d\n", ln.Addr().(*net.TCPAddr).Port); err != nil {
		return errors.Join(err, ln.Close())
	}
	f.accept(ctx, ln)
	return nil
}

type feeder struct {
	file string
	end  func() // called when no token is left

	mu     sync.Mutex
	tokens []string // not used yet
	left   int      // not used yet, or being served
}

// accept serves until the listener closes, and then until the last guest has gone.
func (f *feeder) accept(ctx context.Context, ln net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	guests := make(chan struct{}, maxGuests)
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		select {
		case guests <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		all.Go(func() {
			defer func() { <-guests }()
			defer conn.Close() //nolint:errcheck // what matters has been written
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			f.serve(conn)
		})
	}
}

// serve answers one guest. What it does not understand it does not answer.
func (f *feeder) serve(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(lineLimit))
	line, err := bufio.NewReaderSize(io.LimitReader(conn, 2*maxToken), 2*maxToken).ReadString('\n')
	if err != nil {
		return
	}
	word, token, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	switch word {
	case Probe:
		if f.known(token, false) {
			_, _ = io.WriteString(conn, Here+"\n")
		}
	case Get:
		if f.known(token, true) {
			f.send(conn)
		}
	}
}

// known says whether a token is good, and uses it up.
func (f *feeder) known(token string, use bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, t := range f.tokens {
		if subtle.ConstantTimeCompare([]byte(t), []byte(token)) == 1 {
			if use {
				f.tokens = append(f.tokens[:i], f.tokens[i+1:]...)
			}
			return true
		}
	}
	return false
}

func (f *feeder) send(conn net.Conn) {
	defer func() {
		f.mu.Lock()
		f.left--
		last := f.left == 0
		f.mu.Unlock()
		if last {
			f.end()
		}
	}()
	file, err := os.Open(f.file)
	if err != nil {
		return // the guest sees that nothing comes
	}
	defer file.Close() //nolint:errcheck // only read
	const part = 1 << 20
	for {
		_ = conn.SetDeadline(time.Now().Add(stall))
		if _, err := io.CopyN(conn, file, part); err != nil {
			return
		}
	}
}
