package influx

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"bela/event"
	"bela/influx/influxtest"
)

// benchSample is one second on a worker node.
func benchSample() event.Event {
	for _, ev := range fixtureRun(1, steady) {
		if s, ok := ev.Data.(event.NodeSample); ok && s.Position > 0 && len(s.Components) == 0 {
			return ev
		}
	}
	panic("the fixture has no such sample")
}

// BenchmarkEncoder encodes one node's second. Read it beside BenchmarkClientPoint,
// which makes the same line with InfluxData's client.
func BenchmarkEncoder(b *testing.B) {
	e := NewEncoder("qos 1", "r")
	for _, ev := range fixtureRun(1, steady) {
		e.Append(nil, ev)
	}
	ev := benchSample()
	buf := make([]byte, 0, 1<<12)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.Append(buf[:0], ev)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

// BenchmarkClientPoint makes BenchmarkEncoder's line with InfluxData's client.
func BenchmarkClientPoint(b *testing.B) {
	tags, fields, at := benchPoint(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = write.PointToLineProtocol(write.NewPoint("bela_node", tags, fields, at), time.Nanosecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

// benchPoint is BenchmarkEncoder's point, as InfluxData's client takes it.
func benchPoint(b *testing.B) (tags map[string]string, fields map[string]any, at time.Time) {
	b.Helper()
	e := NewEncoder("qos 1", "r")
	var line []byte
	for _, ev := range fixtureRun(1, steady) {
		e.Append(nil, ev)
	}
	line = e.Append(line, benchSample())
	p := influxtest.Parse(b, line)[0]
	return p.Tags, p.Fields, time.Unix(0, p.Time)
}

// taker is a server that takes every write and counts the lines.
func taker(b *testing.B) (url string, lines *atomic.Int64) {
	b.Helper()
	lines = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			zip, err := gzip.NewReader(body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			body = zip
		}
		buf := make([]byte, 64<<10)
		for {
			n, err := body.Read(buf)
			lines.Add(int64(bytes.Count(buf[:n], []byte{'\n'})))
			if err != nil {
				break
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(server.Close)
	return server.URL, lines
}

// BenchmarkDelivered encodes one node's seconds and sends them until the server
// has them all. Read it beside BenchmarkClientDelivered.
func BenchmarkDelivered(b *testing.B) {
	url, lines := taker(b)
	e := NewEncoder("qos 1", "r")
	for _, ev := range fixtureRun(1, steady) {
		e.Append(nil, ev)
	}
	ev := benchSample()
	w, err := NewWriter(Config{URL: url, Bucket: "b"})
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		buf = e.Append(buf, ev)
		if len(buf) >= chunkBytes {
			if err := w.Send(b.Context(), buf); err != nil {
				b.Fatal(err)
			}
			buf = buf[:0]
		}
	}
	if err := w.Send(b.Context(), buf); err != nil {
		b.Fatal(err)
	}
	wantStats(b, closeIn(b, w, time.Minute), int64(b.N), 0, 0)
	b.StopTimer()
	if n := lines.Load(); n != int64(b.N) {
		b.Errorf("the server has %d lines of %d", n, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

// BenchmarkClientDelivered is BenchmarkDelivered with InfluxData's client, with the
// same batches and gzip. Its WriteAPI gives points up when a request fails, and
// says so in a log only.
func BenchmarkClientDelivered(b *testing.B) {
	url, lines := taker(b)
	tags, fields, at := benchPoint(b)
	client := influxdb2.NewClientWithOptions(url, "", influxdb2.DefaultOptions().SetBatchSize(batchLines).SetUseGZip(true).SetPrecision(time.Nanosecond))
	api := client.WriteAPI("o", "b")
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		api.WritePoint(write.NewPoint("bela_node", tags, fields, at))
	}
	api.Flush()
	client.Close()
	b.StopTimer()
	if n := lines.Load(); n != int64(b.N) {
		b.Logf("the server has %d lines of %d", n, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "points/s")
}
