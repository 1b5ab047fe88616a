package platform

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"

	"bela/agents/document"
	"bela/agents/payload"
	"bela/agents/protocol"
	"bela/measure"
)

var booked = &protocol.BooksSpec{Run: 7, Cell: 3}

func message(t testing.TB, e payload.Envelope) []byte {
	t.Helper()
	b, err := payload.NewBuilder(payload.Options{Size: 300})
	if err != nil {
		t.Fatal(err)
	}
	return b.Append(nil, e)
}

// encoded is a device's JSON as a gateway hands it on.
func encoded(t testing.TB, codec string, m []byte) []byte {
	t.Helper()
	gateway, err := newTranscoder(document.JSON, codec)
	if err != nil {
		t.Fatal(err)
	}
	b, err := gateway.convert(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// If this failed, a hop's book would count what is none of the cell's business,
// or miss what is, in any encoding.
func TestMarkKnowsItsOwn(t *testing.T) {
	own := payload.Envelope{Run: 7, Cell: 3, Device: 12, Sequence: 345}
	other := func(change func(*payload.Envelope)) []byte {
		e := own
		change(&e)
		return message(t, e)
	}
	var packed [2][]byte
	for i, codec := range []string{document.MsgPack, document.Protobuf} {
		packed[i] = encoded(t, codec, message(t, own))
	}
	for _, tt := range []struct {
		name    string
		payload []byte
		want    mark
	}{
		{"JSON, as devices send it", message(t, own), mark{12, 345, true}},
		{"MessagePack, as gateways hand it on", packed[0], mark{12, 345, true}},
		{"Protobuf, as gateways hand it on", packed[1], mark{12, 345, true}},
		{"another run's, on the same broker", other(func(e *payload.Envelope) { e.Run++ }), mark{}},
		{"an earlier attempt's, still in the stream", other(func(e *payload.Envelope) { e.Cell-- }), mark{}},
		{"a probe has a number of its own", other(func(e *payload.Envelope) { e.Probe = true }), mark{}},
		{"no envelope", []byte(`{"temperature":20}`), mark{}},
	} {
		if got := (&desk{spec: booked}).mark(tt.payload); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	if got := new(desk).mark(message(t, own)); got.counted {
		t.Error("a hop that was not asked keeps a book")
	}
}

// If this failed, what a hop did with a message would reach the controller as
// something else.
func TestBookExport(t *testing.T) {
	b := newBook(&desk{spec: booked}, measure.SideOut)
	m := func(device, sequence uint32) mark { return mark{device, sequence, true} }
	b.take(mark{device: 5, sequence: 5}) // not counted
	for _, seq := range []uint32{0, 3, 64} {
		b.take(m(17, seq))
	}
	b.take(m(1, 2))
	b.handOn(m(17, 3))
	b.drop(m(17, 0), dropTimeout, "")
	b.drop(m(17, 64), dropQueueFull, "c2")
	b.drop(m(17, 0), dropQueueFull, "c2")
	want := measure.HopBook{Side: measure.SideOut, Devices: []measure.HopAccount{
		{Device: 1, In: measure.Bitmap{1 << 2}},
		{Device: 17, In: measure.Bitmap{1 | 1<<3, 1}, Out: measure.Bitmap{1 << 3}, Dropped: []measure.HopDrop{
			{Reason: "queue_full", To: "c2", Messages: measure.Bitmap{1, 1}},
			{Reason: "timeout", Messages: measure.Bitmap{1}},
		}},
	}}
	text, err := json.Marshal(b.export())
	if err != nil {
		t.Fatal(err)
	}
	var got measure.HopBook
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(b.export(), want) || len(got.Devices) != 2 || !got.Devices[1].In.Has(64) {
		t.Errorf("got  %+v\nwant %+v", b.export(), want)
	}
}

// If this failed, an envelope with any number in it could take a node's memory,
// or a book with holes would pass for a whole one.
func TestBookIsBounded(t *testing.T) {
	d := &desk{spec: booked, limit: 64 << 10}
	b := newBook(d, "")
	b.take(mark{1, 0xffffffff, true})
	if got := b.export(); !strings.Contains(got.Incomplete, "1 entries") || len(got.Devices[0].In) != 0 {
		t.Errorf("a sequence number beyond all bounds: %+v", got)
	}
	for device := range uint32(10_000) {
		b.take(mark{device, 100, true})
		b.drop(mark{device, 100, true}, dropTimeout, strings.Repeat("x", 70_000))
	}
	size := 0
	for _, a := range b.export().Devices {
		size += 8 * len(a.In)
		for _, drop := range a.Dropped {
			size += 8*len(drop.Messages) + len(drop.To)
		}
	}
	if used := d.used.Load(); used > d.limit || int64(size) > used || b.export().Incomplete == "" {
		t.Errorf("%d bytes, %d on the account, limit %d: %q", size, used, d.limit, b.export().Incomplete)
	}
}

// Hops enter from several goroutines while the controller asks: a race would
// lose messages in the book that were not lost at all.
func TestBookTakesConcurrentEntries(t *testing.T) {
	b := newBook(&desk{spec: booked}, "")
	var all sync.WaitGroup
	for w := range uint32(4) {
		all.Go(func() {
			for seq := range uint32(2000) {
				b.take(mark{seq % 50, seq/50*4 + w, true})
			}
		})
	}
	all.Go(func() {
		for range 20 {
			b.export()
		}
	})
	all.Wait()
	var n int64
	for _, a := range b.export().Devices {
		n += a.In.Count()
	}
	if n != 8000 {
		t.Errorf("%d messages in the book, want 8000", n)
	}
}

// BenchmarkBook is what a message costs a gateway or hub in all: its envelope is
// read, and it is entered as taken and as handed on.
func BenchmarkBook(b *testing.B) {
	json := message(b, payload.Envelope{Run: 7, Cell: 3, Device: 12, Sequence: 345})
	for name, p := range map[string][]byte{
		"json": json, "msgpack": encoded(b, document.MsgPack, json), "protobuf": encoded(b, document.Protobuf, json),
	} {
		b.Run(name, func(b *testing.B) {
			d := &desk{spec: booked}
			book := newBook(d, "")
			var n uint32
			b.ReportAllocs()
			for b.Loop() {
				m := d.mark(p)
				m.device, m.sequence = n%1000, n/1000%100_000
				n++
				book.take(m)
				book.handOn(m)
			}
		})
	}
}
