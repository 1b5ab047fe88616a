package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"bela/influx"
	"bela/influx/influxtest"
)

// points reads all points of the latest run below dir.
func points(t *testing.T, dir string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "results", "latest", "metrics.lp.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	var lines []byte
	for line, err := range influx.ReadLines(f) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	return lines
}

// assertStored demands that the database holds the points of the latest run
// below dir, and no other.
func assertStored(t *testing.T, dir string, db *influxtest.Server) {
	t.Helper()
	influxtest.Same(t, db.Stored(t, "bela"), influxtest.Values(influxtest.Parse(t, points(t, dir))))
}

// throttle is a slow way to a server: every request waits for it first.
func throttle(t *testing.T, to string, wait time.Duration) (address string, requests *atomic.Int64) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = new(atomic.Int64)
	forward := httputil.NewSingleHostReverseProxy(u)
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	slow := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		select {
		case <-time.After(wait):
			forward.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})}
	go func() { _ = slow.Serve(l) }() // it ends with Close
	t.Cleanup(func() { _ = slow.Close() })
	return "http://" + l.Addr().String(), requests
}

// withInflux writes an experiment of the test data that sends its points to a
// server.
func withInflux(t *testing.T, dir, name, url string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	write(t, file, string(text)+fmt.Sprintf("influxdb {\n  url    = %q\n  bucket = \"bela\"\n}\n", url))
	return file
}

// A database that is slow, is stopped while the run measures and started again
// must have every point, and must not hold up the run. BELA_DRILL=1 leaves it
// stopped for a minute.
func TestInfluxDBComesAndGoes(t *testing.T) {
	needAgents(t)
	t.Parallel()
	db := influxtest.Start(t, false, "bela")
	proxy, requests := throttle(t, db.URL, 700*time.Millisecond)
	dir := t.TempDir()
	measured, away := 10*time.Second, 3*time.Second // three cells: on a busy machine the server starts for half a minute
	if os.Getenv("BELA_DRILL") == "1" {
		measured, away = 45*time.Second, time.Minute
	}
	cmd := belaCommand(t, dir, "run", withInflux(t, dir, "drill.hcl", proxy), "-var", "measure="+measured.String(), "-view", "plain")
	out := &sequence{want: []string{"cell 1/3", "measure "}, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, 5*time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-out.seen:
	case err := <-ended:
		t.Fatalf("it ended before it measured: %v\n%s", err, out.buf.String())
	case <-time.After(2 * time.Minute):
		t.Fatal("it never measured")
	}
	db.Stop(t)
	before := requests.Load()
	time.Sleep(away) // that long it is away
	if requests.Load() == before {
		t.Error("nobody has asked for the server while it was away")
	}
	db.Start(t)
	select {
	case err := <-ended:
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Minute):
		t.Fatal("the run has not ended")
	}
	assertStatus(t, dir, cmd.ProcessState.ExitCode(), out.buf.String())
	if text := out.buf.Bytes(); !bytes.Contains(text, []byte("takes points again")) || bytes.Contains(text, []byte("are missing there")) {
		t.Errorf("the run does not say that the server is back, or says that points are missing\n%s", text)
	}
	assertStored(t, dir, db)
}

// A controller that is killed must cost InfluxDB no point: an export after it has
// all there is, going on completes it, and an export of it all changes nothing.
func TestKilledAndExported(t *testing.T) {
	needAgents(t)
	t.Parallel()
	db := influxtest.Start(t, false, "bela")
	dir := t.TempDir()
	d := &drill{t: t, dir: dir, file: withInflux(t, dir, "drill.hcl", db.URL)}
	d.killAt("cell 2/3", "measure 1s")
	export := func() {
		t.Helper()
		if status, out := bela(t, dir, "export", "latest", "-influx", db.URL); status != 0 {
			t.Fatalf("export: status %d\n%s", status, out)
		}
		assertStored(t, dir, db)
	}
	export()
	d.run(nil, 0)
	d.verify()
	assertStored(t, dir, db)
	export()
}

// A run with a wrong token must go on and say so; its points are sent when the
// token is known.
func TestInfluxDBRefusesTheToken(t *testing.T) {
	needAgents(t)
	t.Parallel()
	db := influxtest.Start(t, true, "bela")
	dir := t.TempDir()
	cmd := belaCommand(t, dir, "run", withInflux(t, dir, "drill.hcl", db.URL), "-view", "plain", "-only", "cell.devices == 2")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	assertStatus(t, dir, cmd.ProcessState.ExitCode(), string(out))
	if !bytes.Contains(out, []byte("check token")) || !bytes.Contains(out, []byte("are missing there")) {
		t.Errorf("the run does not say that its token is wrong and that points are missing\n%s", out)
	}
	delivered, err := os.ReadFile(filepath.Join(dir, "results", "latest", "delivered.json"))
	if err != nil || !bytes.Contains(delivered, []byte(`"points": 0`)) {
		t.Errorf("delivered.json says %s (%v), want nothing delivered", delivered, err)
	}
	if _, wrong := bela(t, dir, "export", "latest", "-influx", db.URL); !bytes.Contains([]byte(wrong), []byte("check token")) {
		t.Errorf("the export without a token says %s", wrong)
	}
	cmd = belaCommand(t, dir, "export", "latest", "-influx", db.URL)
	cmd.Env = append(cmd.Env, "INFLUX_TOKEN="+db.Token)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(errors.Join(err, errors.New(string(out))))
	}
	assertStored(t, dir, db)
}
