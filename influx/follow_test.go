package influx

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// following is a follower at work.
type following struct {
	*grown
	follower *Follower
	ended    chan struct{}
	gone     chan error
	settled  atomic.Int64
}

// follow starts a follower of a file, behind from.
func follow(t testing.TB, w *Writer, g *grown, from Mark) *following {
	t.Helper()
	f, err := NewFollower(mustSpool(t, g.path), w, from)
	if err != nil {
		t.Fatal(err)
	}
	r := &following{grown: g, follower: f, ended: make(chan struct{}), gone: make(chan error, 1)}
	go func() { r.gone <- f.Run(t.Context(), r.ended, func(m Mark) { r.settled.Store(m.Points) }) }()
	return r
}

// end waits for the follower and the writer.
func (r *following) end(t testing.TB, w *Writer, d time.Duration) Stats {
	t.Helper()
	close(r.ended)
	select {
	case err := <-r.gone:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(d):
		t.Fatalf("the follower has not ended after %v", d)
	}
	return closeIn(t, w, d)
}

// A server that is away for hours must cost no point and no memory, and must get
// each point once.
func TestFollowerOutlastsTheServer(t *testing.T) {
	var up atomic.Bool
	answer := func(int, *http.Request) (*http.Response, error) {
		if up.Load() {
			return reply(204, ""), nil
		}
		return nil, refusedConnection
	}
	const limit = 1 << 19
	held(t, Config{QueueBytes: limit}, answer, func(t *testing.T, w *Writer, s *scripted) {
		f := follow(t, w, newGrown(t), Mark{})
		total := 0
		for range 120 { // two hours of a minute's points each, some 4 MB
			f.append(t, zipped(t, numbered(total, 2000)))
			total += 2000
			time.Sleep(time.Minute)
			synctest.Wait()
			w.mu.Lock()
			if w.queued > limit+chunkBytes {
				t.Errorf("%d bytes wait in memory, the limit is %d", w.queued, limit)
			}
			w.mu.Unlock()
		}
		if n := f.settled.Load(); n != 0 {
			t.Errorf("%d points are said to be settled of none", n)
		}
		up.Store(true)
		wantStats(t, f.end(t, w, time.Hour), int64(total), 0, 0)
		got := s.taken()
		slices.Sort(got)
		if len(got) != total || len(slices.Compact(got)) != total {
			t.Errorf("the server has %d lines, want %d, each once", len(got), total)
		}
		if n := f.follower.Settled(); n != f.follower.spool.Mark() || n.Points != int64(total) {
			t.Errorf("settled is %v, want the end of the file", n)
		}
	})
}

// What is written down as settled must never be ahead of what the server has:
// what lies between would be lost with a crash.
func TestSettledIsNeverAhead(t *testing.T) {
	var failing atomic.Int64
	answer := func(n int, req *http.Request) (*http.Response, error) {
		time.Sleep(time.Duration(100+n%7*300) * time.Millisecond) // batches overtake each other
		if failing.Add(1)%3 == 0 {
			return reply(503, ""), nil
		}
		return reply(204, ""), nil
	}
	held(t, Config{}, answer, func(t *testing.T, w *Writer, s *scripted) {
		f := follow(t, w, newGrown(t), Mark{})
		moved, seen := 0, 0
		var before int64
		has := make(map[string]bool)
		for i := range 100 {
			f.append(t, zipped(t, numbered(1000*i, 1000)))
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			settled := f.settled.Load()
			taken := s.taken()
			for ; seen < len(taken); seen++ {
				has[taken[seen]] = true
			}
			for n := before; n < settled; n++ {
				if !has[fmt.Sprintf("m f=1i %d", n)] {
					t.Fatalf("point %d is not there, and the first %d are said to be settled", n, settled)
				}
			}
			if settled > before {
				moved++
			}
			before = settled
		}
		if moved < 15 {
			t.Errorf("settled moved %d times", moved)
		}
		wantStats(t, f.end(t, w, time.Hour), 100*1000, 0, 0)
	})
}

// A controller that goes on must send what the one before had not settled, and
// nothing that it had.
func TestFollowerGoesOn(t *testing.T) {
	held(t, Config{}, taking, func(t *testing.T, w *Writer, s *scripted) {
		g := newGrown(t)
		g.append(t, zipped(t, numbered(0, 1000)))
		now(t, g.spool, 700)
		mark := g.spool.Mark()
		f := follow(t, w, g, mark)
		time.Sleep(time.Second)
		g.append(t, zipped(t, numbered(1000, 10)))
		wantStats(t, f.end(t, w, time.Minute), 310, 0, 0)
		// Batches may overtake each other.
		got, want := s.taken(), slices.Collect(strings.Lines(string(numbered(700, 310))))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.EqualFunc(got, want, func(line, ended string) bool { return line == strings.TrimSuffix(ended, "\n") }) {
			t.Errorf("the server got %d lines, not those from 700 to 1009 once each", len(got))
		}
		if rest, err := f.follower.Rest(); rest != 0 || err != nil {
			t.Errorf("%d points left (%v)", rest, err)
		}
	})
}

// At the end of a run without a server, every point must be counted as not sent.
func TestRestIsCounted(t *testing.T) {
	away := func(int, *http.Request) (*http.Response, error) { return nil, refusedConnection }
	held(t, Config{QueueBytes: 1 << 12}, away, func(t *testing.T, w *Writer, _ *scripted) {
		g := newGrown(t)
		all := numbered(0, 50_000)
		g.append(t, zipped(t, all))
		f, err := NewFollower(g.spool, w, Mark{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := f.Run(ctx, nil, func(Mark) { t.Error("something is said to be settled") }); err == nil {
			t.Error("it ended by itself")
		}
		w.Close(ctx)
		if rest, err := f.Rest(); err != nil || rest != int64(bytes.Count(all, []byte("\n"))) {
			t.Errorf("%d points left (%v), want 50000", rest, err)
		}
	})
}
