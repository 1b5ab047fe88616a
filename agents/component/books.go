package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"bela/agents/component/report"
	"bela/agents/protocol"
	"bela/measure"
)

const (
	// booksWait is how long an instance may take to write its books.
	booksWait = 30 * time.Second
	// maxBooks bounds the file; what is read must fit into a frame.
	maxBooks = protocol.MaxFrame - 1<<20
)

// Books asks a running built-in instance for what it knows of single messages.
// Its error is a *protocol.Error: bad_request for an instance that keeps no
// books, not_ready for one that does not run, deadline for one that did not
// answer within 30 s, component_failed for books that cannot be had.
//
// An instance that was started again knows nothing of what was before, and its
// books say so.
func (s *Supervisor) Books(ctx context.Context, name string, number int) (protocol.ComponentBooks, error) {
	k := key{name, number}
	s.mu.Lock()
	in := s.running[k]
	s.mu.Unlock()
	var none protocol.ComponentBooks
	switch {
	case in == nil, in.life.Load() != live:
		return none, &protocol.Error{Code: "not_ready", Text: fmt.Sprintf("books of component %s: it does not run", k)}
	case !in.builtIn():
		return none, &protocol.Error{Code: "bad_request", Text: fmt.Sprintf("books of component %s: a process keeps none", k)}
	}
	books, err := in.books(ctx)
	if err != nil {
		code := "component_failed"
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			code = "deadline"
		}
		return none, &protocol.Error{Code: code, Text: fmt.Sprintf("books of component %s: %v", k, err)}
	}
	for i := range books {
		if in.restarts > 0 && books[i].Incomplete == "" {
			books[i].Incomplete = "it was started again during the cell"
		}
	}
	return protocol.ComponentBooks{Books: books}, nil
}

// books has the instance write its books and reads them.
func (in *instance) books(ctx context.Context) ([]measure.HopBook, error) {
	in.booksMu.Lock()
	defer in.booksMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, booksWait)
	defer cancel()
	select {
	case <-in.booked: // an answer that came too late for who asked
	default:
	}
	if err := in.cmd.Process.Signal(report.BooksSignal); err != nil {
		return nil, err
	}
	select {
	case answer := <-in.booked:
		if answer.Error != "" {
			return nil, errors.New(answer.Error)
		}
	case <-in.exited:
		return nil, errors.New("it ended before it answered")
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer within %v: %w", booksWait, ctx.Err())
	}
	return readBooks(filepath.Join(in.dir, report.BooksFile))
}

// readBooks reads the file that an instance wrote, and removes it.
func readBooks(path string) ([]measure.HopBook, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = f.Close() // only read
		_ = os.Remove(path)
	}()
	text, err := io.ReadAll(io.LimitReader(f, maxBooks+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxBooks {
		return nil, fmt.Errorf("they have more than %d MiB", maxBooks>>20)
	}
	var books []measure.HopBook
	if err := json.Unmarshal(text, &books); err != nil {
		return nil, err
	}
	return books, nil
}
