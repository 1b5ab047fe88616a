// Package influxtest runs a real InfluxDB 1.8 for tests, on loopback, and reads
// back what it holds, so that it can be compared with what was sent.
package influxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	protocol "github.com/influxdata/line-protocol"
)

// Server is a real InfluxDB 1.8 on loopback.
type Server struct {
	URL     string
	Token   string // user:password of its administrator; empty without authentication
	binary  string
	dir     string
	address string
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process has been waited for
	log     *os.File
}

// find names the server's binary, or leaves the test out.
func find(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	binary := os.Getenv("BELA_INFLUXD")
	if binary == "" {
		binary = filepath.Join(root, ".cache", "bin", "influxd")
	}
	binary, err := filepath.Abs(binary)
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		reason := fmt.Sprintf("left out: no InfluxDB server: %v (make test builds one; or set BELA_INFLUXD)", err)
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	return binary
}

// Start starts a server with the databases given, with authentication on
// and an administrator where auth is true, and stops it when the test ends.
func Start(t testing.TB, auth bool, databases ...string) *Server {
	t.Helper()
	return start(t, t.TempDir(), auth, databases...)
}

// StartIn is Start with all data below a directory that is there.
func StartIn(t testing.TB, dir string, databases ...string) *Server {
	t.Helper()
	return start(t, dir, false, databases...)
}

func start(t testing.TB, dir string, auth bool, databases ...string) *Server {
	t.Helper()
	s := &Server{binary: find(t), dir: dir}
	s.configure(t, auth)
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	if auth {
		s.query(t, `CREATE USER "bela" WITH PASSWORD 'right-Secret' WITH ALL PRIVILEGES`)
		s.Token = "bela:right-Secret"
	}
	for _, d := range databases {
		s.Create(t, d)
	}
	return s
}

// Create makes a database.
func (s *Server) Create(t testing.TB, database string) {
	t.Helper()
	s.query(t, fmt.Sprintf("CREATE DATABASE %q", database))
}

// configure gives the server a port and a directory of its own, which it keeps
// when it is started again.
func (s *Server) configure(t testing.TB, auth bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.URL = "http://" + s.address
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = %[1]q
[data]
  dir = %[2]q
  wal-dir = %[3]q
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = %[4]q
  auth-enabled = %[5]t
  flux-enabled = true
  log-enabled = false
`, filepath.Join(s.dir, "meta"), filepath.Join(s.dir, "data"), filepath.Join(s.dir, "wal"), s.address, auth)
	if err := os.WriteFile(filepath.Join(s.dir, "influxd.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Start starts the server again, with the data that it has.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	var err error
	if s.log, err = os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(s.binary, "run", "-config", filepath.Join(s.dir, "influxd.conf"))
	s.cmd.Env = append(os.Environ(), "HOME="+s.dir)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	// The kernel kills the server with the thread that forked it, which is kept
	// until then: it cannot outlive the tests, however they end.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.exited = make(chan struct{})
	started := make(chan error)
	go func(cmd *exec.Cmd, exited chan struct{}) {
		runtime.LockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its output says why
		}
	}(s.cmd, s.exited)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	s.awaitReady(t)
}

// awaitReady asks the server until it is well, for at most three minutes: beside
// other work it took more than one.
func (s *Server) awaitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.exited:
			t.Fatalf("influxd ended before it was ready: %v\n%s", s.cmd.ProcessState, s.output())
		case <-ctx.Done():
			t.Fatalf("influxd is not ready after three minutes\n%s", s.output())
		case <-every.C:
		}
	}
}

func (s *Server) output() []byte {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log")) // best effort, for a message
	return b[max(0, len(b)-4096):]
}

// Stop ends the server and waits for it.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill() // it has had its time
		<-s.exited
	}
	s.cmd = nil
	_ = s.log.Close()
}

// query runs an InfluxQL statement.
func (s *Server) query(t testing.TB, q string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	form := url.Values{"q": {q}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/query", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if s.Token != "" {
		req.Header.Set("Authorization", "Token "+s.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || strings.Contains(body.String(), `"error"`) {
		t.Fatalf("%s: %s: %s", q, resp.Status, body.String())
	}
}

// Row is one row of an answer in InfluxQL: its series' tags, and its columns.
type Row struct {
	Tags   map[string]string
	Values map[string]any // nil where the column has none
}

// Rows asks a database in InfluxQL, as Grafana does.
func (s *Server) Rows(t testing.TB, database, q string) ([]Row, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/query?"+url.Values{"db": {database}, "epoch": {"ms"}, "q": {q}}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it is read to its end
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct {
				Tags    map[string]string
				Columns []string
				Values  [][]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for _, r := range answer.Results {
		answer.Error += r.Error
		for _, series := range r.Series {
			for _, values := range series.Values {
				row := Row{Tags: series.Tags, Values: map[string]any{}}
				for i, c := range series.Columns {
					row.Values[c] = values[i]
				}
				rows = append(rows, row)
			}
		}
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return rows, nil
}

// Value is what tells one number in a database: its series, field and time.
func Value(series, field string, nanoseconds int64) string {
	return fmt.Sprintf("%s %s @%d", series, field, nanoseconds)
}

// Values are the numbers of points, with their types.
func Values(points []Point) map[string]any {
	m := map[string]any{}
	for _, p := range points {
		for f, v := range p.Fields {
			m[Value(p.Series(), f, p.Time)] = v
		}
	}
	return m
}

// Stored reads all of a database with InfluxData's client.
func (s *Server) Stored(t testing.TB, database string) map[string]any {
	t.Helper()
	client := influxdb2.NewClientWithOptions(s.URL, s.Token, influxdb2.DefaultOptions().SetHTTPRequestTimeout(60)) // seconds, for a busy machine
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	rows, err := client.QueryAPI("any").Query(ctx, fmt.Sprintf(`from(bucket: %q) |> range(start: 1970-01-01T00:00:00Z, stop: 2200-01-01T00:00:00Z)`, database+"/autogen"))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	for rows.Next() {
		r := rows.Record()
		p := Point{Measurement: r.Measurement(), Tags: map[string]string{}}
		for k, v := range r.Values() {
			if k == "result" || k == "table" || strings.HasPrefix(k, "_") {
				continue
			}
			p.Tags[k] = fmt.Sprint(v)
			p.TagOrder = append(p.TagOrder, k)
		}
		key := Value(p.Series(), r.Field(), r.Time().UnixNano())
		if _, twice := m[key]; twice {
			t.Fatalf("InfluxDB answers twice with %s", key)
		}
		m[key] = r.Value()
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return m
}

// Same compares two sets of numbers, types and all.
func Same(t testing.TB, got, want map[string]any) {
	t.Helper()
	wrong := 0
	complain := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			t.Errorf(format, args...)
		}
	}
	for k, w := range want {
		g, ok := got[k]
		if !ok {
			complain("InfluxDB lacks %s = %v", k, w)
		} else if g != w {
			complain("%s is %v (%T), want %v (%T)", k, g, g, w, w)
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			complain("InfluxDB has %s = %v, which was not sent", k, g)
		}
	}
	if wrong > 5 {
		t.Errorf("… and %d more", wrong-5)
	}
	if len(want) == 0 {
		t.Error("nothing to compare")
	}
}

// Point is one line as an independent parser reads it.
type Point struct {
	Measurement string
	Tags        map[string]string
	TagOrder    []string
	Fields      map[string]any // int64, float64, string or bool
	Time        int64          // in nanoseconds since the Unix epoch
}

// Series is what InfluxDB tells points apart by, besides the time.
func (p Point) Series() string {
	keys := slices.Clone(p.TagOrder)
	slices.Sort(keys)
	s := p.Measurement
	for _, k := range keys {
		s += fmt.Sprintf(",%q=%q", k, p.Tags[k])
	}
	return s
}

// Parse reads lines with InfluxData's own parser.
func Parse(t testing.TB, lines []byte) []Point {
	t.Helper()
	metrics, err := protocol.NewParser(protocol.NewMetricHandler()).Parse(lines)
	if err != nil {
		t.Fatalf("InfluxData's parser refuses the encoder's lines: %v\n%s", err, lines)
	}
	points := make([]Point, len(metrics))
	for i, m := range metrics {
		p := Point{Measurement: m.Name(), Tags: map[string]string{}, Fields: map[string]any{}, Time: m.Time().UnixNano()}
		for _, tag := range m.TagList() {
			p.Tags[tag.Key] = tag.Value
			p.TagOrder = append(p.TagOrder, tag.Key)
		}
		for _, f := range m.FieldList() {
			p.Fields[f.Key] = f.Value
		}
		points[i] = p
	}
	return points
}
