package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/event"
	"bela/measure"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func started() event.Event {
	return event.Event{Seq: 1, Time: at, Data: event.RunStarted{Experiment: "qos1", Run: "20260301T120000Z-abc", Directory: "results/qos1/r"}}
}

func cell(n int, v measure.Verdict) event.Event {
	return event.Event{Time: at, Data: event.CellFinished{
		Cell: event.CellRef{Position: n, Number: n, Repetition: 1, Attempt: 1, Dimensions: []measure.Dimension{{Name: "devices", Value: 500.0}}},
		Result: measure.Cell{Verdict: v, Reasons: []measure.Reason{
			{Code: "cpu_steal", Verdict: measure.Degraded, Text: "steal"},
			{Code: "node_lost", Verdict: measure.Invalid, Text: "node iot-1 was lost"},
		}},
	}}
}

func finished() event.Event {
	return event.Event{Time: at, Data: event.RunFinished{Status: 4, Reason: "1 cells invalid, 0 missing", Valid: 3, Invalid: 1}}
}

// hook is a real server that keeps what it was sent.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	tries  int
}

// newHook answers the n-th request, from 1, as told.
func newHook(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.tries++
		n := h.tries
		h.bodies, h.heads = append(h.bodies, string(b)), append(h.heads, r.Header)
		h.mu.Unlock()
		if answer != nil {
			answer(n, w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func fast(t *testing.T, cfg Config) *Notifier {
	t.Helper()
	if cfg.On == nil {
		cfg.On = []string{RunFinished, CellInvalid}
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.client.RetryWaitMin, n.client.RetryWaitMax = time.Millisecond, 5*time.Millisecond
	return n
}

func closing(t *testing.T, n *Notifier, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return n.Close(ctx)
}

// The person who is away learns of the invalid cell and of the end, and of
// nothing else; the receiver can tell that it comes from this run.
func TestTold(t *testing.T) {
	h := newHook(t, nil)
	n := fast(t, Config{URL: h.URL + "/hook?key=hunter2", Format: JSON, Token: "tok", SigningKey: "key", Version: "1.2"})
	for _, e := range []event.Event{started(), cell(1, measure.Valid), cell(2, measure.Invalid), cell(3, measure.Degraded), finished()} {
		n.Handle(e)
	}
	if err := closing(t, n, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if len(h.bodies) != 2 {
		t.Fatalf("%d messages, want 2: %q", len(h.bodies), h.bodies)
	}
	const want = `{"bela_notify":1,"kind":"cell_invalid","time":"2026-03-01T12:00:00Z","experiment":"qos1","run":"20260301T120000Z-abc",` +
		`"directory":"results/qos1/r","text":"bela: qos1, cell 2 (devices=500) is invalid: node iot-1 was lost; steal",` +
		`"cell":{"position":2,"cell":2,"repetition":1,"attempt":1,"dimensions":{"devices":500},"reasons":["node iot-1 was lost","steal"]}}`
	if h.bodies[0] != want {
		t.Errorf("got  %s\nwant %s", h.bodies[0], want)
	}
	var end Message
	if err := json.Unmarshal([]byte(h.bodies[1]), &end); err != nil || end.Finished == nil || end.Finished.Status != 4 || end.Kind != RunFinished {
		t.Errorf("the end: %v in %s", err, h.bodies[1])
	}
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write([]byte(want))
	if got, want := h.heads[0].Get(SignatureHeader), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
	if got := h.heads[0].Get("Authorization"); got != "Bearer tok" {
		t.Errorf("authorization %q", got)
	}
}

// Chat services take an object with nothing but text, and only what was asked for.
func TestTextAndOccasions(t *testing.T) {
	h := newHook(t, nil)
	n := fast(t, Config{URL: h.URL, Format: Text, On: []string{RunFinished}})
	for _, e := range []event.Event{started(), cell(2, measure.Invalid), finished()} {
		n.Handle(e)
	}
	if err := closing(t, n, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	want := `{"text":"bela: qos1 ended with status 4: 1 cells invalid, 0 missing (3 valid, 0 degraded, 1 invalid, 0 missing)"}`
	if len(h.bodies) != 1 || h.bodies[0] != want {
		t.Errorf("got %q, want %q", h.bodies, want)
	}
}

// What passes is tried again; what does not is told once, with the host and
// never the address, whose path or query may be a password.
func TestTrouble(t *testing.T) {
	gone := newHook(t, nil)
	gone.Close()
	tls := httptest.NewTLSServer(http.NotFoundHandler()) // with a certificate that nobody signed
	t.Cleanup(tls.Close)
	for _, test := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter, r *http.Request)
		url    string
		tries  int
		want   string // of the error; empty is none
	}{
		{"busy, then well", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, "", 3, ""},
		{"always broken", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "", mostRetries + 1, "it answered 502 Bad Gateway"},
		{"refused: asking again would not help", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "", 1, "it answered 403 Forbidden"},
		{"a redirect would carry the token away", func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, "", 1, "it answered 307 Temporary Redirect"},
		{"nobody there", nil, gone.URL, 0, "connection refused"},
		{"a certificate that is not trusted", nil, tls.URL, 0, "certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHook(t, test.answer)
			url := test.url
			if url == "" {
				url = h.URL
			}
			n := fast(t, Config{URL: url + "/hunter2?key=hunter3", Format: JSON})
			n.Handle(started())
			n.Handle(finished())
			err := closing(t, n, 20*time.Second)
			if h.tries != test.tries {
				t.Errorf("%d tries, want %d", h.tries, test.tries)
			}
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter")):
				t.Errorf("got %v, want %q and no address", err, test.want)
			}
		})
	}
}

// A receiver that hangs must not hold the run: Handle returns at once, however
// much there is, and Close when its time is up.
func TestNeverBlocks(t *testing.T) {
	release := make(chan struct{})
	h := newHook(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	n := fast(t, Config{URL: h.URL, Format: JSON})
	n.Handle(started())
	const messages = 3 * mostWaiting
	handled := make(chan struct{})
	go func() {
		defer close(handled)
		for i := range messages {
			n.Handle(cell(i, measure.Invalid))
		}
	}()
	select {
	case <-handled:
	case <-time.After(tryTimeout / 2):
		t.Fatal("Handle waited for the receiver")
	}
	err := closing(t, n, 50*time.Millisecond)
	if want := fmt.Sprintf("%d of its messages did not arrive", messages); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
