package influx

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/event"
	"bela/influx/influxtest"
)

// These tests talk to a real InfluxDB. It takes some seconds to start, so that
// those that need nothing special share one, with a database each.
func TestServer(t *testing.T) {
	db := influxtest.Start(t, false)
	for name, test := range map[string]func(*testing.T, *influxtest.Server){
		"every point arrives": testEveryPointArrives,
		"evil names arrive":   testEvilNamesArrive,
		"server that hangs":   testServerThatHangs,
		"missing bucket":      testMissingBucket,
		"partial write":       testPartialWrite,
		"sending again":       testSendingAgain,
		"narrow link":         testNarrowLink,
	} {
		t.Run(name, func(t *testing.T) { test(t, db) })
	}
}

// troubles records what a writer says.
type troubles struct {
	mu   sync.Mutex
	said []error
	tell chan error
}

func newTroubles() *troubles { return &troubles{tell: make(chan error, 100)} }

func (s *troubles) record(err error) {
	s.mu.Lock()
	s.said = append(s.said, err)
	s.mu.Unlock()
	s.tell <- err
}

func (s *troubles) all() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]error(nil), s.said...)
}

// wait returns the next thing said.
func (s *troubles) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.tell:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the writer has said nothing for 30 s")
		return nil
	}
}

func mustWriter(t testing.TB, cfg Config) *Writer {
	t.Helper()
	w, err := NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.Close(ctx)
	})
	return w
}

func closeIn(t testing.TB, w *Writer, d time.Duration) Stats {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return w.Close(ctx)
}

func wantStats(t testing.TB, got Stats, delivered, failed, pending int64) {
	t.Helper()
	if got.Delivered != delivered || got.Failed != failed || got.Pending != pending {
		t.Errorf("delivered %d, failed %d, pending %d (%v); want %d, %d, %d",
			got.Delivered, got.Failed, got.Pending, got.Err, delivered, failed, pending)
	}
}

// What a user reads in Grafana must be what was measured: every point, every
// tag, every type, to the nanosecond.
func testEveryPointArrives(t *testing.T, db *influxtest.Server) {
	db.Create(t, "every")
	said := newTroubles()
	w := mustWriter(t, Config{URL: db.URL, Org: "any", Bucket: "every", Trouble: said.record})
	if err := w.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := NewEncoder("qos 1", "20261121T010203Z-k3f9")
	var all []byte
	for _, ev := range fixtureRun(40, steady) {
		lines := e.Append(nil, ev)
		all = append(all, lines...)
		give(t, w, lines)
	}
	stats := closeIn(t, w, time.Minute)
	wantStats(t, stats, int64(bytes.Count(all, []byte("\n"))), 0, 0)
	influxtest.Same(t, db.Stored(t, "every"), influxtest.Values(influxtest.Parse(t, all)))
	if s := said.all(); len(s) > 0 {
		t.Errorf("it said %v, want nothing", s)
	}
}

// A component's name must reach the database as it is, whatever it is.
func testEvilNamesArrive(t *testing.T, db *influxtest.Server) {
	db.Create(t, "evil")
	w := mustWriter(t, Config{URL: db.URL, Bucket: "evil/autogen"})
	var all []byte
	for i, name := range evil {
		if name == "#comment" || strings.TrimSpace(sanitized(name)) == "" {
			// Flux in 1.8 answers with CSV, in which these two look like an
			// annotation and like nothing; the parser's test covers them.
			continue
		}
		e := NewEncoder(name, name)
		all = e.Append(all, event.Event{Seq: uint64(i), Time: start, Data: event.NodeSample{Node: name}})
	}
	give(t, w, all)
	wantStats(t, closeIn(t, w, time.Minute), int64(bytes.Count(all, []byte("\n"))), 0, 0)
	influxtest.Same(t, db.Stored(t, "evil"), influxtest.Values(influxtest.Parse(t, all)))
}

// A database that is restarted during a run must not cost a point.
func TestServerComesBack(t *testing.T) {
	db := influxtest.Start(t, false, "bela")
	said := newTroubles()
	w := mustWriter(t, Config{URL: db.URL, Bucket: "bela", Trouble: said.record})
	events := fixtureRun(30, steady)
	e := NewEncoder("qos 1", "r")
	var all []byte
	send := func(events []event.Event) {
		for _, ev := range events {
			lines := e.Append(nil, ev)
			all = append(all, lines...)
			give(t, w, lines)
		}
	}
	third := len(events) / 3
	send(events[:third])
	db.Stop(t)
	send(events[third : 2*third])
	err := said.wait(t)
	if err == nil || !strings.Contains(err.Error(), "no answer") || !strings.Contains(err.Error(), db.URL) {
		t.Errorf("it said %v, want that %s does not answer", err, db.URL)
	}
	send(events[2*third:])
	db.Start(t)
	if err := said.wait(t); err != nil {
		t.Errorf("it said %v, want that it is well again", err)
	}
	wantStats(t, closeIn(t, w, time.Minute), int64(bytes.Count(all, []byte("\n"))), 0, 0)
	influxtest.Same(t, db.Stored(t, "bela"), influxtest.Values(influxtest.Parse(t, all)))
	if s := said.all(); len(s) != 2 {
		t.Errorf("it said %v, want the trouble once and the recovery once", s)
	}
}

// A database that hangs must not hold up the run, and must get everything once
// it moves again.
func testServerThatHangs(t *testing.T, db *influxtest.Server) {
	db.Create(t, "hangs")
	move := make(chan struct{})
	to, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(to)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	slow := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-move:
			forward.ServeHTTP(rw, r)
		case <-r.Context().Done():
		}
	})}
	go func() { _ = slow.Serve(l) }() // it ends with Close
	t.Cleanup(func() { _ = slow.Close() })

	w := mustWriter(t, Config{URL: "http://" + l.Addr().String(), Bucket: "hangs"})
	e := NewEncoder("qos 1", "r")
	var all []byte
	for _, ev := range fixtureRun(300, steady) { // more than a batch for each request under way
		lines := e.Append(nil, ev)
		all = append(all, lines...)
		give(t, w, lines) // would hang here, were it to wait for the server
	}
	points := int64(bytes.Count(all, []byte("\n")))
	wantStats(t, w.Stats(), 0, 0, points)
	close(move)
	wantStats(t, closeIn(t, w, time.Minute), points, 0, 0)
	influxtest.Same(t, db.Stored(t, "hangs"), influxtest.Values(influxtest.Parse(t, all)))
}

// A wrong token must be said before the run, not found out after it; and it must
// not show up in what is said.
func TestWrongToken(t *testing.T) {
	db := influxtest.Start(t, true, "bela")
	good := mustWriter(t, Config{URL: db.URL, Bucket: "bela", Token: db.Token})
	if err := good.Check(t.Context()); err != nil {
		t.Errorf("the right token: %v", err)
	}
	for _, token := range []string{"bela:wrong-Secret", "", "neither-user-nor-password"} {
		t.Run(token, func(t *testing.T) {
			said := newTroubles()
			w := mustWriter(t, Config{URL: db.URL, Bucket: "bela", Token: token, Trouble: said.record})
			err := w.Check(t.Context())
			if err == nil {
				t.Fatal("the check says nothing")
			}
			for range 3 {
				give(t, w, []byte("m,t=a f=1i 1\n"))
			}
			if err := said.wait(t); err == nil {
				t.Error("it does not say that it is refused")
			}
			stats := closeIn(t, w, 20*time.Second)
			wantStats(t, stats, 0, 0, 3)
			for _, err := range append(said.all(), err, stats.Err) {
				if !strings.Contains(err.Error(), "check token") || !strings.Contains(err.Error(), db.URL) {
					t.Errorf("%q does not say what to do or who refused", err)
				}
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, w.target), "Secret") {
					t.Errorf("%q shows the token", err)
				}
			}
			if len(said.all()) != 1 {
				t.Errorf("said %v, want it said once", said.all())
			}
		})
	}
}

// A bucket that is not there must be said before the run and must not be tried
// for ever.
func testMissingBucket(t *testing.T, db *influxtest.Server) {
	said := newTroubles()
	w := mustWriter(t, Config{URL: db.URL, Bucket: "nowhere", Trouble: said.record})
	err := w.Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "database not found") || !strings.Contains(err.Error(), "check bucket") {
		t.Errorf("the check says %v, want the server's 404 and what to check", err)
	}
	give(t, w, []byte("m f=1i 1\n"))
	wantStats(t, closeIn(t, w, 20*time.Second), 0, 0, 1)
}

// Where another program wrote the same field with another type, the server takes
// the rest of a batch: the count must say so.
func testPartialWrite(t *testing.T, db *influxtest.Server) {
	db.Create(t, "partial")
	w := mustWriter(t, Config{URL: db.URL, Bucket: "partial"})
	give(t, w, []byte("m,t=a f=1i 1\n"))
	wantStats(t, closeIn(t, w, 20*time.Second), 1, 0, 0)

	w = mustWriter(t, Config{URL: db.URL, Bucket: "partial"})
	give(t, w, []byte("m,t=a f=\"text\" 2\nm,t=b f=1i 2\nm,t=c f=2i 2\n"))
	stats := closeIn(t, w, 20*time.Second)
	wantStats(t, stats, 2, 1, 0)
	if stats.Err == nil || !strings.Contains(stats.Err.Error(), "field type conflict") {
		t.Errorf("the last error is %v, want the server's field type conflict", stats.Err)
	}
	influxtest.Same(t, db.Stored(t, "partial"), map[string]any{
		influxtest.Value(`m,"t"="a"`, "f", 1): int64(1), influxtest.Value(`m,"t"="b"`, "f", 2): int64(1), influxtest.Value(`m,"t"="c"`, "f", 2): int64(2),
	})
}

// A finished run that is sent again must be whole, even where it is larger than
// the queue, and must add nothing to what was there.
func testSendingAgain(t *testing.T, db *influxtest.Server) {
	db.Create(t, "again")
	all := encodeAll(fixtureRun(40, steady))
	for range 2 {
		w := mustWriter(t, Config{URL: db.URL, Bucket: "again", QueueBytes: len(all) / 10})
		for line, err := range ReadLines(bytes.NewReader(zipped(t, all))) {
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Send(t.Context(), line); err != nil {
				t.Fatal(err)
			}
		}
		wantStats(t, closeIn(t, w, time.Minute), int64(bytes.Count(all, []byte("\n"))), 0, 0)
		influxtest.Same(t, db.Stored(t, "again"), influxtest.Values(influxtest.Parse(t, all)))
	}
}
