package influx

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// These tests hold the clock: waits between attempts, deadlines and the bound of
// the queue, without waiting for them. The server is a function; what a real one
// answers is in server_test.go.

// script answers the n-th request, from 0.
type script func(n int, req *http.Request) (*http.Response, error)

// scripted is a server behind a round tripper, and what it was sent.
type scripted struct {
	answer script

	mu    sync.Mutex
	at    []time.Time
	lines []string // taken: answered with success
	calls int
}

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	n := s.calls
	s.calls++
	s.at = append(s.at, time.Now())
	s.mu.Unlock()
	body, err := unzip(req.Body)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(strings.NewReader(body)) // for the script to read, unzipped
	resp, err := s.answer(n, req)
	if err == nil && resp.StatusCode/100 == 2 {
		s.mu.Lock()
		s.lines = append(s.lines, strings.Split(strings.TrimSuffix(body, "\n"), "\n")...)
		s.mu.Unlock()
	}
	return resp, err
}

func (s *scripted) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

func (s *scripted) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.at...)
}

func unzip(r io.Reader) (string, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(zip)
	return string(b), err
}

func reply(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

var refusedConnection = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// held runs a test with a writer to a scripted server under a held clock.
func held(t *testing.T, cfg Config, answer script, test func(t *testing.T, w *Writer, s *scripted)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.URL, cfg.Bucket = "http://db:8086", "bela"
		s := &scripted{answer: answer}
		w, err := newWriter(cfg, s)
		if err != nil {
			t.Fatal(err)
		}
		test(t, w, s)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		w.Close(ended)
	})
}

func taking(int, *http.Request) (*http.Response, error) { return reply(204, ""), nil }

func numbered(from, count int) []byte {
	var b []byte
	for i := range count {
		b = fmt.Appendf(b, "m f=1i %d\n", from+i)
	}
	return b
}

// A dashboard must not lag behind the run by more than a second.
func TestBatchGoesAfterASecond(t *testing.T) {
	held(t, Config{}, taking, func(t *testing.T, w *Writer, s *scripted) {
		give(t, w, numbered(0, 3))
		synctest.Wait()
		if n := len(s.taken()); n != 0 {
			t.Errorf("%d lines went at once, want them gathered", n)
		}
		time.Sleep(batchAge)
		synctest.Wait()
		if n := len(s.taken()); n != 3 {
			t.Errorf("%d lines after a second, want 3", n)
		}
	})
}

// InfluxDB takes batches of 5,000 lines best, whatever the run hands over.
func TestBatchesAreBounded(t *testing.T) {
	held(t, Config{}, taking, func(t *testing.T, w *Writer, s *scripted) {
		give(t, w, numbered(0, 2*batchLines+1))
		synctest.Wait()
		if calls, n := len(s.times()), len(s.taken()); calls != 2 || n != 2*batchLines {
			t.Errorf("%d lines in %d requests before the second is over, want %d in 2", n, calls, 2*batchLines)
		}
		wantStats(t, closeIn(t, w, time.Second), 2*batchLines+1, 0, 0)
	})
}

// A server that is away for a while must be tried again, ever more slowly, and
// not all at once.
func TestBackoff(t *testing.T) {
	failures := map[string]func() (*http.Response, error){
		"no connection": func() (*http.Response, error) { return nil, refusedConnection },
		"500":           func() (*http.Response, error) { return reply(500, ""), nil },
		"503":           func() (*http.Response, error) { return reply(503, "starting"), nil },
		"429":           func() (*http.Response, error) { return reply(429, ""), nil },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			said := newTroubles()
			answer := func(n int, _ *http.Request) (*http.Response, error) {
				if n < 9 {
					return fail()
				}
				return reply(204, ""), nil
			}
			held(t, Config{Trouble: said.record}, answer, func(t *testing.T, w *Writer, s *scripted) {
				give(t, w, numbered(0, 1))
				time.Sleep(time.Minute)
				synctest.Wait()
				at := s.times()
				if len(at) != 10 {
					t.Fatalf("%d attempts, want 10", len(at))
				}
				wait := firstBackoff
				for i := 1; i < len(at); i++ {
					if got := at[i].Sub(at[i-1]); got < wait/2 || got > wait {
						t.Errorf("wait %d was %v, want between %v and %v", i, got, wait/2, wait)
					}
					wait = min(2*wait, longestBackoff)
				}
				wantStats(t, w.Stats(), 1, 0, 0)
				if s := said.all(); len(s) != 2 || s[0] == nil || s[1] != nil {
					t.Errorf("it said %v, want the trouble once and the recovery once", s)
				}
			})
		})
	}
}

// A server that says when to come again must be obeyed, within reason.
func TestRetryAfterIsHonoured(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   time.Duration
	}{
		{"7", 7 * time.Second},
		{"100000", longestRetryAfter},                       // more than a run may want to wait
		{"Sat, 01 Jan 2000 00:00:20 GMT", 19 * time.Second}, // the held clock begins in 2000; the batch goes after a second
	} {
		t.Run(tt.header, func(t *testing.T) {
			answer := func(n int, _ *http.Request) (*http.Response, error) {
				if n == 0 {
					return reply(429, "", "Retry-After", tt.header), nil
				}
				return reply(204, ""), nil
			}
			held(t, Config{}, answer, func(t *testing.T, w *Writer, s *scripted) {
				give(t, w, numbered(0, 1))
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				at := s.times()
				if len(at) != 2 || at[1].Sub(at[0]) != tt.want {
					t.Errorf("attempts at %v, want two with %v between", at, tt.want)
				}
			})
		})
	}
}

// What is wrong with whoever sends can be put right: the points must wait for
// it, without a flood of requests, and the user must read what is wrong.
func TestRefusalsOfTheSender(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   []string
	}{
		{"InfluxDB 1.8's form", 401, `{"error":"authorization failed"}`, []string{"401 Unauthorized: authorization failed", "check token"}},
		{"another form", 418, "<b>\n\x00no</b>", []string{"418", "<b> no</b>"}},
		{"no bucket", 404, `{"code":"not found","message":"bucket \"bela\" not found"}`, []string{"404", "check bucket"}},
		{"a redirect would lose the body", 307, "", []string{"307", "final address"}},
		{"the token, quoted back", 403, `{"message":"user:pass-word and pass-word may not"}`, []string{"(secret) and (secret) may not"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := newTroubles()
			var right atomic.Bool
			answer := func(int, *http.Request) (*http.Response, error) {
				if right.Load() {
					return reply(204, ""), nil
				}
				return reply(tt.status, tt.body), nil
			}
			held(t, Config{Token: "user:pass-word", Trouble: said.record}, answer, func(t *testing.T, w *Writer, s *scripted) {
				give(t, w, numbered(0, 3))
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if n := len(s.times()); n < 10 || n > 21 {
					t.Errorf("%d attempts in ten minutes, want some 20", n)
				}
				wantStats(t, w.Stats(), 0, 0, 3)
				wantSaid(t, said.all(), tt.want)
				right.Store(true)
				time.Sleep(time.Minute)
				synctest.Wait()
				wantStats(t, w.Stats(), 3, 0, 0)
			})
		})
	}
}

// wantSaid holds the one thing that a writer said to what must stand in it, and
// to what must not.
func wantSaid(t *testing.T, said []error, wants []string) {
	t.Helper()
	if len(said) != 1 {
		t.Fatalf("it said %v, want one thing", said)
	}
	text := said[0].Error()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("it said %q, want %q in it", text, want)
		}
	}
	if strings.Contains(text, "pass-word") || strings.ContainsAny(text, "\n\x00") || len(text) > maxMessage+maxOffender+300 {
		t.Errorf("it said %q", text)
	}
}

// The end of a run must not wait for somebody to put a token right.
func TestCloseDoesNotWaitForTheSender(t *testing.T) {
	answer := func(int, *http.Request) (*http.Response, error) { return reply(401, ""), nil }
	held(t, Config{}, answer, func(t *testing.T, w *Writer, s *scripted) {
		give(t, w, numbered(0, 3*batchLines+7))
		start := time.Now()
		stats := closeIn(t, w, time.Minute)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		wantStats(t, stats, 0, 0, 3*batchLines+7)
	})
}

// Points that will never be taken must not be sent for ever, must cost no other
// point, and must be shown.
func TestRefusalsOfPoints(t *testing.T) {
	long := strings.Repeat("x", 10*maxMessage)
	const bad = "f=3i " // of the fourth line
	for _, tt := range []struct {
		name    string
		status  int
		body    string
		partial bool // the server takes the others
		want    []string
	}{
		{"InfluxDB 2 names the line", 400, `{"code":"invalid","message":"unable to parse"}`, false, []string{"400", "unable to parse", `the line is "m f=3i 1"`}},
		{"too large", 413, "", false, []string{"413 Request Entity Too Large", `the line is "m f=3i 1"`}},
		{"a message without end", 400, long, false, []string{strings.Repeat("x", maxMessage) + "…"}},
		{"a line that the batch does not have", 400, `{"message":"unable to parse","line":99}`, false, []string{"unable to parse"}},
		{"a partial write of InfluxDB 1.8", 400, `{"error":"partial write: field type conflict: input field \"f\" on measurement \"m\" is type integer, already exists as type float dropped=1"}`, true, []string{"partial write"}},
		{"a partial write of InfluxDB 2", 422, `{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=1"}`, true, []string{"partial write"}},
		{"a partial write of InfluxDB 3", 400, `{"error":"partial write of line protocol occurred","data":[{"original_line":"m f=3i 1","line_number":4,"error_message":"invalid column type"}]}`, true, []string{"partial write of line protocol occurred: invalid column type", `the line is "m f=3i 1"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := newTroubles()
			var taken atomic.Int64
			answer := func(_ int, req *http.Request) (*http.Response, error) {
				text, err := io.ReadAll(req.Body)
				if err != nil {
					return nil, err
				}
				body := string(text)
				lines := int64(strings.Count(body, "\n"))
				switch {
				case !strings.Contains(body, bad):
					taken.Add(lines)
					return reply(204, ""), nil
				case tt.partial:
					taken.Add(lines - 1)
				}
				return reply(tt.status, tt.body), nil
			}
			held(t, Config{Token: "user:pass-word", Trouble: said.record}, answer, func(t *testing.T, w *Writer, s *scripted) {
				for i := range 200 {
					give(t, w, fmt.Appendf(nil, "m f=%di 1\n", i))
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				wantStats(t, w.Stats(), 199, 1, 0)
				if n := taken.Load(); n != 199 {
					t.Errorf("the server took %d lines, want 199", n)
				}
				if n := len(s.times()); n > 2*9 {
					t.Errorf("%d requests, want a few halvings", n)
				}
				wantSaid(t, said.all()[:1], tt.want)
			})
		})
	}
}

// A server that refuses every point must not be sent each by itself, and every
// point must be counted.
func TestRefusalOfEverything(t *testing.T) {
	answer := func(int, *http.Request) (*http.Response, error) { return reply(400, "no"), nil }
	held(t, Config{}, answer, func(t *testing.T, w *Writer, s *scripted) {
		give(t, w, numbered(0, batchLines))
		time.Sleep(time.Minute)
		synctest.Wait()
		wantStats(t, w.Stats(), 0, batchLines, 0)
		if n := len(s.times()); n > mostHalvings+2 {
			t.Errorf("%d requests", n)
		}
	})
}

// A count that makes no sense must not make the books wrong.
func TestPartialWriteOfNonsense(t *testing.T) {
	answer := func(int, *http.Request) (*http.Response, error) {
		return reply(400, `{"message":"partial write: … dropped=999999999"}`), nil
	}
	held(t, Config{}, answer, func(t *testing.T, w *Writer, _ *scripted) {
		give(t, w, numbered(0, 3))
		wantStats(t, closeIn(t, w, time.Minute), 0, 3, 0)
	})
}

// The token goes into the header, and nowhere else.
func TestRequest(t *testing.T) {
	var got *http.Request
	answer := func(_ int, req *http.Request) (*http.Response, error) {
		got = req
		return reply(204, ""), nil
	}
	held(t, Config{Org: "my org", Token: "sesame"}, answer, func(t *testing.T, w *Writer, _ *scripted) {
		give(t, w, numbered(0, 1))
		closeIn(t, w, time.Second)
		if want := "http://db:8086/api/v2/write?bucket=bela&org=my+org&precision=ns"; got.URL.String() != want || got.Method != "POST" {
			t.Errorf("%s %s, want POST %s", got.Method, got.URL, want)
		}
		if a := got.Header.Get("Authorization"); a != "Token sesame" {
			t.Errorf("Authorization is %q", a)
		}
	})
}

// Whoever sends a finished run again waits for room instead of losing points.
func TestSendWaits(t *testing.T) {
	slow := func(int, *http.Request) (*http.Response, error) {
		time.Sleep(5 * time.Second)
		return reply(204, ""), nil
	}
	held(t, Config{QueueBytes: 1 << 18}, slow, func(t *testing.T, w *Writer, s *scripted) {
		total := 0
		for range 40 {
			if err := w.Send(t.Context(), numbered(total, 1000)); err != nil {
				t.Fatal(err)
			}
			total += 1000
		}
		wantStats(t, closeIn(t, w, time.Hour), int64(total), 0, 0)
		if len(s.taken()) != total {
			t.Errorf("the server has %d lines, want %d", len(s.taken()), total)
		}
	})
}

// A user who interrupts the sending must not hang.
func TestSendEndsWithItsContext(t *testing.T) {
	never := func(_ int, req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	held(t, Config{QueueBytes: 1 << 10}, never, func(t *testing.T, w *Writer, _ *scripted) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		for range 100 {
			if err = w.Send(ctx, numbered(0, 100)); err != nil {
				break
			}
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send returned %v, want that its time is over", err)
		}
	})
}

// The end of a run waits for InfluxDB for as long as it is told, and no longer;
// what was not sent is counted.
func TestCloseKeepsItsDeadline(t *testing.T) {
	for name, answer := range map[string]script{
		"a server that hangs": func(_ int, req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		},
		"a server that is away": func(int, *http.Request) (*http.Response, error) { return nil, refusedConnection },
		"a server that asks to wait": func(int, *http.Request) (*http.Response, error) {
			return reply(429, "", "Retry-After", "60"), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			held(t, Config{}, answer, func(t *testing.T, w *Writer, _ *scripted) {
				give(t, w, numbered(0, 3*batchLines+7))
				start := time.Now()
				stats := closeIn(t, w, 10*time.Second)
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("Close took %v, want 10 s", took)
				}
				wantStats(t, stats, 0, 0, 3*batchLines+7)
				if stats.Err == nil {
					t.Error("Close does not say why")
				}
				give(t, w, numbered(0, 2)) // nobody will send these
				wantStats(t, w.Close(t.Context()), 0, 2, 3*batchLines+7)
			})
		})
	}
}

// A run that ends while the server comes back must not wait out a long backoff.
func TestCloseHurries(t *testing.T) {
	var up atomic.Bool
	answer := func(int, *http.Request) (*http.Response, error) {
		if up.Load() {
			return reply(204, ""), nil
		}
		return reply(503, "", "Retry-After", "60"), nil
	}
	held(t, Config{}, answer, func(t *testing.T, w *Writer, _ *scripted) {
		give(t, w, numbered(0, 1))
		time.Sleep(2 * time.Second) // the first attempt has been told to wait a minute
		up.Store(true)
		start := time.Now()
		wantStats(t, closeIn(t, w, time.Minute), 1, 0, 0)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Close took %v, want it at once", took)
		}
	})
}

// A request that gets no answer must be given up and made again.
func TestRequestTimesOut(t *testing.T) {
	answer := func(n int, req *http.Request) (*http.Response, error) {
		if n == 0 {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		return reply(204, ""), nil
	}
	said := newTroubles()
	held(t, Config{Trouble: said.record}, answer, func(t *testing.T, w *Writer, s *scripted) {
		give(t, w, numbered(0, 1))
		time.Sleep(requestTimeout + 10*time.Second)
		synctest.Wait()
		wantStats(t, w.Stats(), 1, 0, 0)
		if s := said.all(); len(s) != 2 || !strings.Contains(s[0].Error(), "timed out") {
			t.Errorf("it said %v, want that it timed out, and the recovery", s)
		}
	})
}

// give hands lines to the writer, which must have room for them.
func give(t testing.TB, w *Writer, lines []byte) {
	t.Helper()
	if err := w.Send(t.Context(), lines); err != nil {
		t.Fatal(err)
	}
}

// A server that comes and goes every second must not fill the screen.
func TestFlappingIsQuiet(t *testing.T) {
	answer := func(n int, _ *http.Request) (*http.Response, error) {
		if n%2 == 0 {
			return reply(503, ""), nil
		}
		return reply(204, ""), nil
	}
	said := newTroubles()
	held(t, Config{Trouble: said.record}, answer, func(t *testing.T, w *Writer, _ *scripted) {
		for i := range 60 {
			give(t, w, numbered(i, 1))
			time.Sleep(time.Second)
		}
		if n := len(said.all()); n < 2 || n > 6 {
			t.Errorf("it spoke %d times in a minute, want it said and taken back once in 30 s", n)
		}
	})
}

// A settings mistake must be said in words, before anything runs, and without
// the secret that was put into the wrong place.
func TestConfigMistakes(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{URL: "", Bucket: "b"}, "not an http or https URL"}, // INFLUX_URL is not set
		{Config{URL: "db:8086", Bucket: "b"}, "not an http or https URL"},
		{Config{URL: "http://u:pass-word@db:8086", Bucket: "b"}, "holds credentials"},
		{Config{URL: "http://u:pass-word@db:80 86", Bucket: "b"}, "is not a URL"},
		{Config{URL: "http://db:8086?db=x", Bucket: "b"}, "holds a query"},
		{Config{URL: "http://db:8086"}, "bucket is missing"},
		{Config{URL: "http://db:8086", Bucket: "b", Token: "pass-word\n"}, "line break"},
	} {
		w, err := NewWriter(tt.cfg)
		if err == nil {
			w.Close(t.Context())
			t.Errorf("%+v: no error", tt.cfg)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "pass-word") {
			t.Errorf("%+v: %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

// A server that is not there must be said at once: a run should not begin with
// an hour of points that go nowhere.
func TestCheckUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w := mustWriter(t, Config{URL: url, Bucket: "b"})
	err = w.Check(t.Context())
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), url) {
		t.Errorf("the check says %v, want that %s refuses the connection", err, url)
	}
}

// A check must end by itself where packets vanish.
func TestCheckTimesOut(t *testing.T) {
	never := func(_ int, req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	synctest.Test(t, func(t *testing.T) {
		w, err := newWriter(Config{URL: "http://db:8086", Bucket: "b"}, roundTripper(never))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		err = w.Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), "timed out") || time.Since(start) != checkTimeout {
			t.Errorf("after %v: %v, want a timeout after %v", time.Since(start), err, checkTimeout)
		}
		w.Close(t.Context())
	})
}

type roundTripper script

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(0, req) }

// A server that is there and is not well must not pass for well.
func TestCheckHealth(t *testing.T) {
	for _, tt := range []struct {
		health, write int
		want          string
	}{
		{200, 204, ""},
		{404, 204, ""}, // speaks the protocol without /health
		{503, 204, "503"},
		{200, 401, "check token"},
	} {
		answer := func(_ int, req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/health" {
				return reply(tt.health, ""), nil
			}
			return reply(tt.write, ""), nil
		}
		w, err := newWriter(Config{URL: "http://db:8086", Bucket: "b"}, roundTripper(answer))
		if err != nil {
			t.Fatal(err)
		}
		err = w.Check(t.Context())
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("health %d, write %d: %v, want %q", tt.health, tt.write, err, tt.want)
		}
		w.Close(t.Context())
	}
}

// A server's answer is foreign text that ends up on a terminal.
func FuzzRefusal(f *testing.F) {
	f.Add(400, []byte(`{"code":"invalid","message":"unable to parse","line":2}`), "3")
	f.Add(400, []byte(`{"error":"partial write: field type conflict dropped=5"}`), "")
	f.Add(503, []byte("\x1b[2J sesame \xff"), "Sat, 01 Jan 2000 00:00:20 GMT")
	f.Add(429, []byte(`{"line":-1}`), "-1")
	f.Fuzz(func(t *testing.T, status int, body []byte, after string) {
		r := newRefusal(status, http.Header{"Retry-After": {after}}, body, "sesame")
		if strings.Contains(r.Error(), "sesame") || strings.ContainsAny(r.Error(), "\x1b\n\x00") || len(r.Error()) > maxMessage+100 {
			t.Errorf("message %q", r.Error())
		}
		if r.retryAfter < 0 || r.retryAfter > longestRetryAfter {
			t.Errorf("wait %v", r.retryAfter)
		}
		if n := r.failed(7); n < 0 || n > 7 {
			t.Errorf("%d of 7 lines failed", n)
		}
		if text, ok := r.offending(batch{body: bytes.Repeat([]byte("m f=1i 1\n"), 3), lines: 3}); ok && text != "m f=1i 1" {
			t.Errorf("offending line %q", text)
		}
	})
}
