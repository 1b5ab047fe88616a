package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/event"
	"bela/measure"
)

const token = "a-token-that-nobody-guesses"

// stepper notes what it is asked for.
type stepper struct {
	mu    sync.Mutex
	asked []string
}

func (s *stepper) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, what)
}

func (s *stepper) list() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.asked, "; ")
}

func (s *stepper) SkipCell(position int, by string) error {
	if position != 2 {
		return errors.New("that cell is not running")
	}
	s.note(fmt.Sprintf("skip %d by %s", position, by))
	return nil
}

func (s *stepper) StopRun() error { s.note("stop"); return nil }

func serve(t testing.TB, opts Options) *Server {
	t.Helper()
	s, err := Listen(t.Context(), "127.0.0.1:0", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// teller sends events as a campaign does.
type teller struct {
	s   interface{ Handle(event.Event) }
	seq uint64
	now time.Time
}

func (e *teller) tell(all ...event.Data) {
	for _, d := range all {
		e.seq++
		e.s.Handle(event.Event{Seq: e.seq, Time: e.now, Data: d})
	}
}

const evil = "<img src=x onerror=alert(1)>\x1b[2J\u202e"

// begin tells a run of six cells, of which the first is done and the second runs.
func (e *teller) begin() {
	var cells []event.CellRef
	for i := range 6 {
		cells = append(cells, event.CellRef{Position: i + 1, Number: i + 1, Repetition: 1, Attempt: 1, Expected: time.Minute, Dimensions: []measure.Dimension{
			{Name: "devices", Value: []float64{1, 100, 500}[i%3]}, {Name: "qos", Value: float64(i / 3)},
		}})
	}
	started := event.RunStarted{Run: "20201114T100000Z-3f9a", Experiment: "qos " + evil, Directory: "results/x", Dimensions: []string{"devices", "qos"}, Cells: cells, Components: []string{"broker"}}
	for i := range 25 {
		started.Nodes = append(started.Nodes, event.NodeRef{Name: fmt.Sprintf("iot-%d", i+1), Role: "iot", Address: "10.2.0.1:22"})
	}
	e.tell(started)
	for _, n := range started.Nodes {
		e.tell(event.NodeState{Node: n.Name, State: event.NodeReady})
	}
	p99 := 12.5
	e.tell(event.CellStarted{Cell: cells[0]}, event.CellFinished{Cell: cells[0], Result: measure.Cell{Verdict: measure.Valid, Latency: measure.Quantiles{P99: &p99}}})
	e.tell(event.CellStarted{Cell: cells[1]}, event.PhaseStarted{Position: 2, Phase: event.PhaseMeasure, Limit: time.Minute, Fixed: true})
	for i := range 6 {
		e.tell(event.ComponentState{Position: 2, Component: "gateway", Instance: i + 1, Node: "iot-1", State: "ready"})
	}
	e.tell(event.NodeState{Node: "iot-7", State: event.NodeLinkLost, Detail: "nothing heard for 6 s " + evil},
		event.Message{Level: "warn", Node: "iot-7", Text: "cannot keep up " + evil},
		event.FaultStarted{Fault: event.Fault{Position: 2, Name: "far", Does: "slow"}, Text: "slow iot-3: delay 50ms", For: 20})
}

// second tells one second of load.
func (e *teller) second(t int) {
	p50, p99, late, clock := 2+float64(t%5), 20+float64(t%11)*4, 0.4+float64(t%3), 0.08
	bands := make([]int64, len(event.LatencyBounds())+1)
	for i := range 100 {
		bands[(2+i/30+t/20)%len(bands)]++
	}
	e.tell(event.Load{Position: 2, T: t, Phase: event.PhaseMeasure, Devices: 100, Customers: 4, Published: 100, Delivered: 99,
		PublishedTotal: int64(100 * (t + 1)), DeliveredTotal: int64(99 * (t + 1)), UnderWay: int64(t), P50: &p50, P99: &p99, Lateness: &late, Bands: bands})
	for i := range 25 {
		s := event.NodeSample{Position: 2, T: t, Node: fmt.Sprintf("iot-%d", i+1), CPUs: 4, CPU: float64(150 * (i + 1)), Memory: float64(300 + 20*i), MemoryTotal: 2048,
			NetIn: 120e3 * float64(i), NetOut: 90e3, TCPRetransmits: float64(i % 4), ClockError: &clock, Lateness: &late}
		if i == 0 {
			for k := range 6 {
				s.Components = append(s.Components, event.ComponentSample{Component: "gateway", Instance: k + 1, CPU: float64(40 * (k + 1)), Memory: 31, Counted: true, MessagesIn: 100, MessagesOut: 100})
			}
		}
		e.tell(s)
	}
}

// reply is what is left of an answer once it is read.
type reply struct {
	StatusCode int
	Header     http.Header
}

func get(t testing.TB, url string, change func(*http.Request)) (reply, string) {
	t.Helper()
	return ask(t, http.MethodGet, url, "", change)
}

func ask(t testing.TB, method, url, body string, change func(*http.Request)) (reply, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header}, string(text)
}

// A page that strangers' pages can read or frame, or that runs what a node wrote,
// hands the testbed to whoever is visited next.
func TestGuard(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	for _, c := range []struct {
		host string
		want int
		why  string
	}{
		{"", 200, "the address itself"},
		{"localhost:8080", 200, "through ssh -L"},
		{"[::1]:8080", 200, "the same over IPv6"},
		{"192.0.2.7", 200, "an address cannot be rebound"},
		{"evil.example", 421, "a stranger's name that points here"},
		{"localhost.evil.example:8080", 421, "a name that begins well"},
	} {
		answer, _ := get(t, s.URL(), func(r *http.Request) { r.Host = c.host })
		if answer.StatusCode != c.want {
			t.Errorf("host %q: status %d, want %d: %s", c.host, answer.StatusCode, c.want, c.why)
		}
		for name, want := range map[string]string{"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if got := answer.Header.Get(name); !strings.Contains(got, want) {
				t.Errorf("host %q: %s is %q", c.host, name, got)
			}
		}
	}
	for _, path := range []string{"style.css", "app.js", "icon.svg"} {
		if answer, _ := get(t, s.URL()+path, nil); answer.StatusCode != 200 {
			t.Errorf("%s: status %d", path, answer.StatusCode)
		}
	}
}

// Who may stop a campaign of days: those with the token, from this page, and
// nobody by guessing.
func TestStepsNeedTheToken(t *testing.T) {
	t.Parallel()
	owner := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	readOnly := serve(t, Options{Control: new(stepper)})
	if answer, text := ask(t, "POST", readOnly.URL()+"control/stop", "{}", owner); answer.StatusCode != 403 || !strings.Contains(text, "only shows") {
		t.Errorf("without a token on the server: status %d, %q", answer.StatusCode, text)
	}
	control := new(stepper)
	s := serve(t, Options{Control: control, Token: token})
	for _, c := range []struct {
		method, path, body string
		change             func(*http.Request)
		want               int
		why                string
	}{
		{"POST", "control/stop", "{}", nil, 403, "no token"},
		{"POST", "control/stop", "{}", func(r *http.Request) { r.Header.Set("Authorization", "Bearer wrong") }, 403, "a wrong one"},
		{"GET", "control/stop", "", owner, 404, "a link or an image that asks for it"},
		{"POST", "control/stop", "{}", func(r *http.Request) { owner(r); r.Header.Set("Origin", "http://evil.example") }, 403, "another site's page"},
		{"POST", "control/stop", "{}", func(r *http.Request) { owner(r); r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, "the same, as browsers say it now"},
		{"POST", "control/check", "{}", owner, 204, "the token is right"},
		{"POST", "control/skip", `{"position": 2}`, owner, 204, "the cell in progress"},
		{"POST", "control/skip", `{"position": 3}`, owner, 409, "another cell"},
		{"POST", "control/skip", `{"position": ` + strings.Repeat(" ", 5000) + `2}`, owner, 400, "more than a step needs"},
		{"POST", "control/skip", `[]`, owner, 400, "no JSON of that kind"},
		{"POST", "control/erase", "{}", owner, 404, "no such step"},
		{"POST", "control/stop", "{}", owner, 204, "the run"},
	} {
		if answer, text := ask(t, c.method, s.URL()+c.path, c.body, c.change); answer.StatusCode != c.want {
			t.Errorf("%s %s: status %d (%s), want %d: %s", c.method, c.path, answer.StatusCode, strings.TrimSpace(text), c.want, c.why)
		}
	}
	if got := control.list(); got != "skip 2 by the operator, on the web page from 127.0.0.1; stop" {
		t.Errorf("what was asked of the run: %s", got)
	}
	for range maxWrong {
		ask(t, "POST", s.URL()+"control/stop", "{}", func(r *http.Request) { r.Header.Set("Authorization", "Bearer guess") })
	}
	if answer, _ := ask(t, "POST", s.URL()+"control/check", "{}", owner); answer.StatusCode != 429 {
		t.Errorf("after %d guesses: status %d, want 429", maxWrong, answer.StatusCode)
	}
}

// Where a page would be served by mistake, bela says so instead.
func TestListenRefuses(t *testing.T) {
	t.Parallel()
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	for _, c := range []struct{ address, token, want string }{
		{":8080", "", "every network"},
		{"8080", "", "127.0.0.1:8080"},
		{busy.Addr().String(), "", "in use"},
		{"127.0.0.1:0", "short", "at least 16"},
	} {
		if s, err := Listen(t.Context(), c.address, Options{Token: c.token}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.address, err, c.want)
			if err == nil {
				_ = s.Close()
			}
		}
	}
}

// follower merges frames as the page does.
type follower struct {
	frames int
	set    map[string]json.RawMessage
	notes  []note
	last   []second
}

func (f *follower) take(t testing.TB, text []byte) {
	t.Helper()
	var got frame
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("a frame is no JSON: %v: %.200s", err, text)
	}
	if got.Full {
		*f = follower{frames: f.frames, set: map[string]json.RawMessage{}}
	}
	f.frames++
	for key, v := range got.Set {
		f.set[key] = v
		if string(v) == "null" && strings.Contains(key, " ") {
			delete(f.set, key)
		}
	}
	f.notes, f.last = append(f.notes, got.Notes...), append(f.last, got.Seconds...)
}

// stream follows the events until a name comes, or until the condition holds.
func (f *follower) stream(t testing.TB, s *Server, until func(name string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("content type %q", got)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 8<<20)
	name := ""
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = v
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if name == "" {
			f.take(t, data)
		}
		if until(name) {
			return
		}
		name = ""
	}
	t.Fatalf("the stream ended: %v", lines.Err())
}

// Whoever opens the page in the middle of a run must see all of it, and then what
// comes; at the end what is shown must be what the events said.
func TestLateJoinersGetAll(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	e := &teller{s: s, now: time.Now()}
	e.begin()
	for i := range 30 {
		e.second(i)
	}
	var f follower
	told := false
	f.stream(t, s, func(string) bool {
		if !told {
			if len(f.last) != 30 || len(f.set["node iot-25"]) == 0 || len(f.set["cell 6"]) == 0 || len(f.notes) == 0 {
				t.Errorf("the first frame has %d seconds, %d pieces, %d notes", len(f.last), len(f.set), len(f.notes))
			}
			told = true
			go func() {
				for i := 30; i < 60; i++ {
					e.second(i)
				}
				e.tell(event.CellSkipped{Cell: event.CellRef{Position: 2, Number: 2}, By: "the operator"})
				e.tell(event.RunFinished{Status: 4, Reason: "1 cell missing", Valid: 1, Missing: 5})
				_ = s.Close()
			}()
		}
		return strings.Contains(string(f.set["run"]), `"reason":"1 cell missing"`)
	})
	if len(f.last) != 60 || f.last[59].T != 59 || f.last[59].Published != 100 {
		t.Errorf("%d seconds, the last %+v", len(f.last), f.last[len(f.last)-1])
	}
	if !strings.Contains(string(f.set["cell 2"]), `"status":"skipped"`) || string(f.set["cell"]) != "null" {
		t.Errorf("cell 2 is %s, the current one %s", f.set["cell 2"], f.set["cell"])
	}
	all := fmt.Sprint(f.set, f.notes)
	if strings.Contains(all, "\x1b") || strings.Contains(all, "\u202e") {
		t.Error("a node's control characters reach the page")
	}
	if !strings.Contains(f.notes[len(f.notes)-1].Text, "run finished with status 4") {
		t.Errorf("the last note is %q", f.notes[len(f.notes)-1].Text)
	}
}

// A browser on a bad link must not hold up the run, nor be sent all that it
// missed: it gets the newest. One that never reads is cut off and makes room.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxClients: 1, WriteTimeout: 300 * time.Millisecond})
	e := &teller{s: s, now: time.Now()}
	e.begin()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	clients := func() int {
		s.hub.frames.Lock()
		defer s.hub.frames.Unlock()
		return s.hub.clients
	}
	await(t, "the reader", func() bool { return clients() == 1 })
	if answer, _ := get(t, s.URL()+"events", nil); answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("one more than may be: status %d", answer.StatusCode)
	}
	long := strings.Repeat("é", 290)
	var slowest time.Duration
	n := 0
	await(t, "the server to cut off who does not read", func() bool {
		for range 400 {
			n++
			begun := time.Now()
			e.tell(event.Message{Level: "warn", Text: fmt.Sprint(n, long)})
			slowest = max(slowest, time.Since(begun))
		}
		return clients() == 0
	})
	if slowest > 5*time.Second {
		t.Errorf("an event took %v: it waited for the reader", slowest)
	}
	await(t, "the next reader to get the newest message", func() bool {
		answer, text := get(t, s.URL()+"state", nil)
		return answer.StatusCode == 200 && strings.Contains(text, fmt.Sprint(n, "é"))
	})
	s.hub.frames.Lock()
	defer s.hub.frames.Unlock()
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if kept := len(s.hub.log) + len(s.hub.notes); kept > 4*maxNotes {
		t.Errorf("%d notes are kept", kept)
	}
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30s for %s", what)
		}
	}
}

// BenchmarkHandle is what the page costs the run an event, with a browser that
// follows.
func BenchmarkHandle(b *testing.B) {
	s := serve(b, Options{})
	e := &teller{s: s, now: time.Now()}
	e.begin()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"events", nil)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body := answer.Body
	go func() { _, _ = io.Copy(io.Discard, body) }()
	sample := event.NodeSample{Position: 2, Node: "iot-1", CPUs: 4, CPU: 100}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		sample.T = i
		e.tell(sample)
	}
}

// BenchmarkSecond is the CPU that a second of a 25-node testbed takes with a page
// that is watched: its events, and four versions with their frames.
func BenchmarkSecond(b *testing.B) {
	h := newHub(time.Now)
	e := &teller{s: handler(h.handle), now: time.Now()}
	e.begin()
	b.ReportAllocs()
	for t := 0; b.Loop(); t++ {
		e.second(t)
		for range 4 {
			h.update()
			h.since(h.version - 1)
		}
	}
}

type handler func(event.Event)

func (h handler) Handle(e event.Event) { h(e) }
