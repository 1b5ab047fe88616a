package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"bela/nodes"
)

// feedLimit is how long a node feeds others at most.
const feedLimit = 5 * time.Minute

// feeder is a node that has a program, and whose agent gives it to others. It begins
// when the first one comes.
type feeder struct {
	node  *nodes.Node
	agent string // its path
	file  string // what it gives
	given int    // places taken; held by the swarm

	mu     sync.Mutex
	begun  bool
	conn   io.ReadWriteCloser
	port   int
	tokens []string
	err    error // it does not listen
}

func newFeeder(n *nodes.Node, agent, file string) *feeder {
	return &feeder{node: n, agent: agent, file: file}
}

// open gives a token for one fetch, and makes sure that the node listens.
func (f *feeder) open(ctx context.Context) (token string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun {
		f.begun = true
		f.err = f.begin(ctx)
	}
	if f.err != nil {
		return "", f.err
	}
	if len(f.tokens) == 0 {
		return "", errors.New("it feeds no more nodes")
	}
	token, f.tokens = f.tokens[0], f.tokens[1:]
	return token, nil
}

func (f *feeder) begin(ctx context.Context) error {
	if strings.ContainsAny(f.node.Address(), " \t") {
		return fmt.Errorf("%q is no address to reach it at", f.node.Address())
	}
	for range feedEach {
		f.tokens = append(f.tokens, rand.Text())
	}
	limit := defaultStartTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it does not listen within %v", limit))
	defer cancel()
	args := []string{f.agent, "feed", "-address", f.node.Address(), "-tokens", fmt.Sprint(feedEach), "-limit", feedLimit.String()}
	if f.file != f.agent {
		args = append(args, "-file", f.file)
	}
	conn, err := f.node.Stream(ctx, nodes.Command{Name: "feed other nodes", Args: args})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err = io.WriteString(conn, strings.Join(f.tokens, "\n")+"\n"); err == nil {
		_, err = fmt.Fscanf(io.LimitReader(conn, 64), "port %d\n", &f.port)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("it does not listen on %s: %w", f.node.Address(), err), conn.Close())
	}
	f.conn = conn
	return nil
}

func (f *feeder) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun = true
	if f.err == nil {
		f.err = errors.New("it feeds no more")
	}
	if f.conn != nil {
		_ = f.conn.Close()
		f.conn = nil
	}
}
