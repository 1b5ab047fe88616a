package platform

import (
	"log/slog"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"bela/agents/payload"
	"bela/agents/protocol"
)

// BenchmarkStanBook reads the book of 100,000 messages of 300 bytes out of the
// stream: what it costs when a cell is collected. On the path of a message it
// costs nothing.
func BenchmarkStanBook(b *testing.B) {
	const n = 100_000
	b.Chdir(b.TempDir())
	s, err := startStan(b.Context(), protocol.ComponentSpec{
		Name: "stan", Instance: 1, Bind: "127.0.0.1", Port: -1, Ingest: "iot/#", Books: &protocol.BooksSpec{Run: 7, Cell: 3},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.drain(b.Context())
	nc, err := s.dial()
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		b.Fatal(err)
	}
	builder, err := payload.NewBuilder(payload.Options{Size: 300})
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint32(n) {
		m := builder.Append(nil, payload.Envelope{Run: 7, Cell: 3, Device: i % 100, Sequence: i / 100})
		if _, err := js.PublishAsync("iot.1."+strconv.Itoa(int(i%100)), m); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	for b.Loop() {
		book, err := s.book()
		if err != nil || len(book.Devices) != 100 || book.Devices[0].In.Count() != n/100 {
			b.Fatalf("%d devices, %v", len(book.Devices), err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
