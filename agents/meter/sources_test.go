package meter

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bela/agents/protocol"
)

// serve answers with what pages has by then; a path that is not in it is not found.
func serve(t *testing.T, pages *sync.Map) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages.Load(r.URL.Path)
		if user, password, given := r.BasicAuth(); given && (user != "u" || password != "p") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, page.(string))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// shown writes a reading without its time; ? is not known.
func shown(t *protocol.Traffic) string {
	if t == nil {
		return "nothing"
	}
	n := func(v *int64) string {
		if v == nil {
			return "?"
		}
		return fmt.Sprint(*v)
	}
	return strings.Join([]string{n(t.BytesIn), n(t.BytesOut), n(t.MessagesIn), n(t.MessagesOut), n(t.Dropped)}, " ")
}

// If this failed, a number of a source would stand in another one's column, or a
// source that is broken would count as one that stands still.
func TestSources(t *testing.T) {
	const page = `# HELP bytes_total All bytes.
# TYPE bytes_total counter
bytes_total{direction="in",listener="mqtt"} 100
bytes_total{direction="in",listener="ws"} 23 1395066363000
bytes_total{direction="out",listener="mqtt"} 1.5e3
bytes_total_more 7
# TYPE size_bytes histogram
size_bytes_bucket{le="100"} 3
size_bytes_bucket{le="+Inf"} 4
size_bytes_sum 4096
size_bytes_count 4
broken NaN
`
	prometheus := func(pairs ...string) protocol.MeterSpec {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return protocol.MeterSpec{Source: "prometheus", Map: m}
	}
	for _, tt := range []struct {
		name  string
		spec  protocol.MeterSpec
		pages map[string]string
		want  string // as shown
		fails string
	}{
		{"nats", protocol.MeterSpec{Source: "nats"},
			map[string]string{"/varz": `{"in_msgs":3,"out_msgs":4,"in_bytes":30,"out_bytes":40,"slow_consumers":0}`}, "30 40 3 4 0", ""},
		{"an HTTP server that is no NATS", protocol.MeterSpec{Source: "nats"}, map[string]string{"/varz": `{}`}, "nothing", "monitoring port"},
		{"a page that is none", protocol.MeterSpec{Source: "nats"}, map[string]string{"/varz": `<html>`}, "nothing", "makes no sense"},
		{"nobody knows the path", protocol.MeterSpec{Source: "nats"}, nil, "nothing", "404"},
		{"a password that is wrong", protocol.MeterSpec{Source: "nats", User: "u", Password: "x"}, map[string]string{"/varz": `{}`}, "nothing", "401"},
		{"rabbitmq, with the right password", protocol.MeterSpec{Source: "rabbitmq", User: "u", Password: "p"}, map[string]string{
			"/api/overview":    `{"message_stats":{"publish":9,"deliver_get":8}}`,
			"/api/connections": `[{"name":"a","connected_at":1,"recv_oct":100,"send_oct":10},{"name":"b","connected_at":1,"recv_oct":5,"send_oct":6}]`,
		}, "105 16 9 8 ?", ""},
		{"rabbitmq before its first message", protocol.MeterSpec{Source: "rabbitmq"},
			map[string]string{"/api/overview": `{}`, "/api/connections": `[]`}, "0 0 ? ? ?", ""},
		{"prometheus: sums over the series that have the labels", prometheus("bytes_in", `bytes_total{direction="in"}`, "bytes_out", `bytes_total{direction="out"}`),
			map[string]string{"": page, "/": page}, "123 1500 ? ? ?", ""},
		{"prometheus: without labels all series; a histogram's sum is a count too", prometheus("bytes_in", "bytes_total", "messages_in", "size_bytes_count", "bytes_out", "size_bytes_sum"),
			map[string]string{"/": page}, "1623 4096 4 ? ?", ""},
		{"prometheus: what is not there is not known, the rest is", prometheus("bytes_in", "bytes_total", "dropped", "no_such"),
			map[string]string{"/": page}, "1623 ? ? ? ?", "no series of no_such"},
		{"prometheus: no number", prometheus("bytes_in", "broken"), map[string]string{"/": page}, "? ? ? ? ?", "no series of broken"},
		{"prometheus: a page that is none", prometheus("bytes_in", "bytes_total"), map[string]string{"/": "bytes_total{ 1 2 3"}, "nothing", "makes no sense"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var pages sync.Map
			for path, text := range tt.pages {
				pages.Store(path, text)
			}
			tt.spec.URL = serve(t, &pages)
			src, err := newSource(tt.spec, func() int64 { return 1 })
			if err != nil {
				t.Fatal(err)
			}
			defer src.close()
			got, err := src.read(t.Context())
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Fatalf("error %v, want %q", err, tt.fails)
			}
			if shown(got) != tt.want {
				t.Errorf("%s, want %s", shown(got), tt.want)
			}
		})
	}
}

// If this failed, the bytes of connections that ended would leave RabbitMQ's sum,
// and its rate would be negative.
func TestRabbitMQKeepsWhatClosedConnectionsHad(t *testing.T) {
	src, err := newRabbitMQ(protocol.MeterSpec{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	r := src.(*rabbitMQ)
	a, b := rabbitKey{"a", 1}, rabbitKey{"b", 1}
	for i, tt := range []struct {
		now  []rabbitConnection
		want Bytes
	}{
		{[]rabbitConnection{{a, 10, 1}}, Bytes{10, 1}},
		{[]rabbitConnection{{a, 20, 2}, {b, 5, 5}}, Bytes{25, 7}},
		{[]rabbitConnection{{b, 6, 6}}, Bytes{26, 8}},
		{nil, Bytes{26, 8}},
		{[]rabbitConnection{{rabbitKey{"a", 2}, 1, 1}}, Bytes{27, 9}}, // the same ports once more
	} {
		if got := r.add(tt.now); got != tt.want {
			t.Errorf("look %d: %+v, want %+v", i+1, got, tt.want)
		}
	}
}

// If this failed, the end of a connection that has series of its own would make the
// sum fall, and all that the others ever carried would count as the next second's.
func TestPrometheusKeepsWhatEndedSeriesHad(t *testing.T) {
	src, err := newPrometheus(protocol.MeterSpec{URL: "http://127.0.0.1:1", Map: map[string]string{"bytes_in": `bytes_total{direction="in"}`}})
	if err != nil {
		t.Fatal(err)
	}
	p := src.(*prometheus)
	const other = "bytes_total{direction=\"out\"} 7\n"
	for i, tt := range []struct {
		page string
		want string
	}{
		{`bytes_total{client="a",direction="in"} 1000`, "1000"},
		{"bytes_total{client=\"a\",direction=\"in\"} 1000\nbytes_total{client=\"b\",direction=\"in\"} 50", "1050"},
		{`bytes_total{client="b",direction="in"} 60`, "1060"},                                                     // a is gone
		{"bytes_total{direction=\"in\",client=\"b\"} 60\nbytes_total{client=\"a\",direction=\"in\"} 5", "1065"},   // a came back, and counts from zero
		{"bytes_total{client=\"a\",direction=\"in\"} 5", "1065"},                                                  // b was left out once
		{"bytes_total{client=\"a\",direction=\"in\"} 9\nbytes_total{client=\"b\",direction=\"in\"} 61", "1070"},   // and goes on
		{"bytes_total{client=\"a\",direction=\"in\"} NaN\nbytes_total{client=\"b\",direction=\"in\"} 62", "1071"}, // no count
		{"", "1071"}, // nobody is connected
	} {
		got, err := p.page(strings.NewReader(tt.page + "\n" + other))
		if err != nil || shown(got) != tt.want+" ? ? ? ?" {
			t.Errorf("look %d: %s, %v; want %s", i+1, shown(got), err, tt.want)
		}
	}
	for i := range 3 * maxSeries / 1000 {
		now := make(map[string]float64)
		for j := range 1000 {
			now[fmt.Sprint(i, j)] = 1
		}
		p.tallies["bytes_in"].add(now)
	}
	if sum, _ := p.tallies["bytes_in"].add(nil); sum != 1071+3*maxSeries || len(p.tallies["bytes_in"].last) > maxSeries {
		t.Errorf("after many connections the sum is %v, of %d series", sum, len(p.tallies["bytes_in"].last))
	}
}

// If this failed, a page that is cut off would be taken for a whole one: its last
// number may have lost its end.
func TestAPageThatIsCutOffIsNone(t *testing.T) {
	var pages sync.Map
	const filling, half = "# a comment\n", "bytes_total 12"
	left := maxAnswer + 1 - len(half)
	page := strings.Repeat(filling, left/len(filling)) + strings.Repeat("\n", left%len(filling)) + half + "3456\n"
	pages.Store("/", page)
	src, err := newPrometheus(protocol.MeterSpec{URL: serve(t, &pages), Map: map[string]string{"bytes_in": "bytes_total"}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	if got, err := src.read(t.Context()); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("%s, %v", shown(got), err)
	}
}

// If this failed, a page without an end would fill the agent's memory, or a
// server that hangs would hold everything up.
func TestSourcesAreBounded(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, "other_metric{x=\"1\"} 1\nbytes_total 1\n"); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	src, err := newPrometheus(protocol.MeterSpec{URL: endless.URL, Map: map[string]string{"bytes_in": "bytes_total"}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	if _, err := src.read(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 20000 series") {
		t.Errorf("error %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	told := make(chan string, 10)
	m, err := Open(protocol.MeterSpec{Source: "nats", URL: "http://" + l.Addr().String()},
		Options{Now: func() int64 { return 1 }, Warn: func(text string) { told <- text }})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-told:
		if !strings.Contains(text, "no answer within 2s") || !strings.Contains(text, l.Addr().String()) {
			t.Error(text)
		}
	case <-time.After(patience):
		t.Fatal("nobody is told")
	}
	if got := m.Take(); got != nil {
		t.Errorf("a reading of nothing: %s", shown(got))
	}
	m.Close()
}

// If this failed, an operator would hear of a source each second, or not at all
// when it is back.
func TestFailuresAreToldOnce(t *testing.T) {
	var pages sync.Map
	var told []string
	m := &Meter{Options: Options{Now: func() int64 { return 7 }, Warn: func(text string) { told = append(told, text) }},
		spec: protocol.MeterSpec{Source: "nats", URL: serve(t, &pages)}}
	src, err := newSource(m.spec, m.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	if err := m.ask(t.Context(), src); err == nil {
		t.Fatal("no error")
	}
	pages.Store("/varz", `{"in_bytes":1,"out_bytes":2}`)
	if err := m.ask(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	got := m.Take()
	if shown(got) != "1 2 ? ? ?" || got.At != 7 || got.Source != "nats" {
		t.Errorf("%+v", got)
	}
	if again := m.Take(); again != nil {
		t.Errorf("a reading twice: %s", shown(again))
	}
	failed := false
	for _, err := range []error{nil, errors.New("x"), errors.New("x"), nil, nil, errors.New("y")} {
		failed = m.tell(err, failed)
	}
	if len(told) != 3 || !strings.Contains(told[1], "it answers") {
		t.Errorf("told: %q", told)
	}
}

func TestCheck(t *testing.T) {
	for _, spec := range []protocol.MeterSpec{
		{Source: "weather"}, {Source: "nats", URL: "127.0.0.1:8222"}, {Source: "sys", URL: "http://127.0.0.1:1883"},
		{Source: "sys", URL: "mqtt://127.0.0.1"}, {Source: "prometheus", URL: "http://127.0.0.1/"},
		{Source: "prometheus", URL: "http://127.0.0.1/", Map: map[string]string{"bytes_in": "a{b=\"c\""}},
		{Source: "prometheus", URL: "http://127.0.0.1/", Map: map[string]string{"bytes_in": "a 1\nb"}},
		{Source: "prometheus", URL: "http://127.0.0.1/", Map: map[string]string{"bytes_in": "# HELP x"}},
	} {
		if Check(spec) == nil {
			t.Errorf("%+v is taken", spec)
		}
	}
	if err := Check(protocol.MeterSpec{Source: "sockets"}); err != nil {
		t.Error(err)
	}
}

// FuzzPage feeds an endpoint's page.
func FuzzPage(f *testing.F) {
	f.Add("bytes_total 1\n")
	f.Add("bytes_total{a=\"b\"} 1e400\n")
	f.Fuzz(func(t *testing.T, page string) {
		src, err := newPrometheus(protocol.MeterSpec{URL: "http://127.0.0.1:1", Map: map[string]string{"bytes_in": "bytes_total"}})
		if err != nil {
			t.Fatal(err)
		}
		p := src.(*prometheus)
		if got, _ := p.page(strings.NewReader(page)); got != nil && got.BytesIn != nil && *got.BytesIn < 0 {
			t.Errorf("%d bytes", *got.BytesIn)
		}
	})
}
