package hostiletest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bela/agents/protocol"
	"bela/measure"
)

// Mode is a way to lie.
type Mode string

// The modes. Those of events and frames begin with the load, those of answers lie
// in them.
const (
	FloodWords     Mode = "flood-words"   // messages without end
	FloodSamples   Mode = "flood-samples" // samples without end
	FloodAnswers   Mode = "flood-answers" // answers that nobody waits for, without end
	OversizedFrame Mode = "oversized-frame"
	LyingLength    Mode = "lying-length"
	NoJSON         Mode = "no-json"
	Negative       Mode = "negative"
	Infinite       Mode = "infinite"
	FarFuture      Mode = "far-future"
	FarPast        Mode = "far-past"
	Component      Mode = "component"  // one that no cell has
	Components     Mode = "components" // thousands of them
	Reasons        Mode = "reasons"    // thousands of reasons for drops
	Numbers        Mode = "numbers"    // events numbered far ahead
	Words          Mode = "words"      // what steers a terminal, in every text
	FutureAnswer   Mode = "future-answer"
	TwiceAnswered  Mode = "twice-answered"
	BooksDevice    Mode = "books-device"
	BooksSequence  Mode = "books-sequence"
	BooksPages     Mode = "books-pages" // without end
	BooksLarge     Mode = "books-large" // as large as a frame may be
	BooksSecond    Mode = "books-second"
	BooksReceipts  Mode = "books-receipts" // messages beyond every schedule
	HopDevices     Mode = "hop-devices"
	HopLarge       Mode = "hop-large"
	HopReasons     Mode = "hop-reasons"
	Status         Mode = "status"
	Clock          Mode = "clock"
	ClockAtOnce    Mode = "clock-at-once" // before any load, as a spare would
	OtherRun       Mode = "other-run"
	OtherVersion   Mode = "other-version"
	Silent         Mode = "silent"
	Drip           Mode = "drip"
	Breaks         Mode = "breaks" // each connection, once it stands
	Logs           Mode = "logs"
)

// Steering acts on a terminal: a title, a cleared screen, colours, another
// direction of writing, a line that is written over.
const Steering = "planted\x1b]0;title\x07\x1b[2J\u009b31m\u202egpj\r\x00"

// begin is called when the load has begun.
func (l *liar) begin() {
	switch l.mode {
	case FloodWords:
		for {
			l.event(protocol.Event{Log: &protocol.LogEvent{Level: "info", Text: strings.Repeat("x", 200)}})
		}
	case FloodSamples:
		for at := time.Now().UnixNano(); ; at++ {
			l.event(protocol.Event{Sample: &protocol.Sample{At: at}})
		}
	case FloodAnswers:
		for {
			l.send(protocol.Frame{ID: 1, Type: protocol.TypeOK, Body: json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)})
		}
	case OversizedFrame:
		l.raw([]byte{0xff, 0xff, 0xff, 0xf0})
	case LyingLength:
		body := []byte(`{"type":"event","body":{"seq":1}}`)
		l.raw(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+7)), body...))
	case NoJSON:
		l.raw([]byte("\x00\x00\x00\x09\x1b[2Jnever"))
	case Infinite:
		l.send(protocol.Frame{Type: protocol.TypeEvent, Body: json.RawMessage(fmt.Sprintf(`{"seq":%d,"sample":{"host":{"load1":1e308}}}`, l.last+1))})
	case Numbers:
		l.last = math.MaxUint64 - 1
		l.event(protocol.Event{Log: &protocol.LogEvent{Level: "info", Text: "far ahead"}})
	case Words:
		l.event(protocol.Event{Log: &protocol.LogEvent{Level: "warn", Text: Steering + strings.Repeat("é", 1<<20)}})
		l.event(protocol.Event{Component: &protocol.ComponentEvent{Name: "broker", Instance: 1, State: "exited", Detail: Steering, Log: []string{Steering}}})
	case FutureAnswer:
		l.send(protocol.Frame{ID: 1 << 40, Type: protocol.TypeOK, Body: json.RawMessage(`{}`)})
	case Breaks:
		os.Exit(0)
	case Logs:
		go l.logs()
	}
}

// say passes on an answer or an event, changed or not.
func (l *liar) say(asked protocol.Type, f protocol.Frame, begun bool) {
	switch l.mode {
	case Silent:
		if begun {
			return
		}
	case Drip:
		if begun {
			text, _ := json.Marshal(f)
			l.drip(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
			return
		}
	case Breaks:
		if begun && asked == protocol.TypeHello {
			l.send(f)
			os.Exit(0)
		}
	case OtherRun, OtherVersion:
		if asked == protocol.TypeHello {
			f.Body = change(f.Body, func(w *protocol.Welcome) {
				if w.Run = "20200101T000000Z-another"; l.mode == OtherVersion {
					w.Version = 99
				}
			})
		}
	case TwiceAnswered:
		l.send(f)
		if f.ID > 1 {
			l.send(protocol.Frame{ID: f.ID - 1, Type: protocol.TypeOK, Body: json.RawMessage(`{"published":-1}`)})
		}
	case Clock, ClockAtOnce:
		if (begun || l.mode == ClockAtOnce) && asked == protocol.TypePing && f.ID != 0 {
			f.Body = json.RawMessage(`{"received":9223372036854775807,"sent":-9223372036854775808}`)
		}
	case Words:
		if begun && asked == protocol.TypeStop {
			body, _ := json.Marshal(protocol.Error{Code: "internal", Text: Steering + strings.Repeat("x", 3<<20), Log: []string{Steering}})
			f.Type, f.Body = protocol.TypeError, body
		}
	}
	switch {
	case begun && f.Type == protocol.TypeEvent:
		f.Body = change(f.Body, l.sample)
	case asked == protocol.TypeCollect && l.mode == BooksPages:
		l.pages++
		f.Type, f.Body = protocol.TypeOK, json.RawMessage(fmt.Sprintf(
			`{"devices":{"accounts":[{"device":0,"count":5,"sent":"HwAAAAAAAAA="}]},"next":{"part":"devices","major":%d}}`, l.pages))
	case f.Type == protocol.TypeOK && asked == protocol.TypeCollect:
		l.books(&f)
	case f.Type == protocol.TypeOK && asked == protocol.TypeComponentBooks:
		f.Body = change(f.Body, l.hops)
		if l.mode == HopLarge {
			f.Body = json.RawMessage(`{"books":[{"devices":[{"device":0,"in":"` + strings.Repeat("A", (protocol.MaxFrame-1<<10)&^31) + `"}]}]}`)
		}
	case begun && f.Type == protocol.TypeOK && asked == protocol.TypeStatus && l.mode == Status:
		f.Body = change(f.Body, func(s *protocol.LoadStatus) { s.Published = 1 << 59 })
	}
	l.send(f)
}

// change changes a body of type T.
func change[T any](body json.RawMessage, do func(*T)) json.RawMessage {
	var v T
	if json.Unmarshal(body, &v) != nil {
		return body
	}
	do(&v)
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

// sample lies in an event of the agent's.
func (l *liar) sample(e *protocol.Event) {
	s := e.Sample
	if s == nil {
		return
	}
	one := protocol.ComponentSample{Name: "broker", Instance: 1, PID: 1}
	switch l.mode {
	case Negative:
		s.Host.MemoryUsed = -1
	case FarFuture:
		s.At += int64(50 * 365 * 24 * time.Hour)
	case FarPast:
		s.At = 1
	case Component:
		one.Name = "planted"
		s.Components = append(s.Components, one)
	case Components:
		for i := range 9000 {
			one.Name = fmt.Sprintf("planted,series=%d", i)
			s.Components = append(s.Components, one)
		}
	case Reasons:
		one.Counters = &protocol.Counters{Dropped: make(map[string]int64)}
		for i := range 9000 {
			one.Counters.Dropped[fmt.Sprintf("planted-%d", i)] = 1
		}
		s.Components = append(s.Components[:0], one)
	}
}

// books lies in a page of the agent's books.
func (l *liar) books(f *protocol.Frame) {
	f.Body = change(f.Body, func(b *protocol.Collected) {
		d, c := b.Devices, b.Customers
		switch {
		case l.mode == BooksDevice && d != nil:
			d.Accounts = append(d.Accounts, measure.PublishAccount{Device: 1 << 40, Count: 5})
		case l.mode == BooksSequence && d != nil && len(d.Accounts) > 0:
			d.Accounts[0].Count = math.MaxUint32
			d.Accounts[0].Sent.Set(1 << 28)
		case l.mode == BooksSecond && c != nil:
			full := new(measure.Histogram)
			for v := int64(1); v > 0; v += v/500 + 1 {
				full.Record(v)
				full.Record(-v)
			}
			for i := range 20 {
				c.Latency = append(c.Latency, measure.LatencySlice{Second: math.MaxInt32 - 20 + int32(i), Latency: full})
			}
		case l.mode == BooksReceipts && c != nil && len(c.Accounts) > 0:
			c.Accounts[0].Delivered.Set(1 << 27)
		}
	})
	if l.mode == BooksLarge {
		f.Body = json.RawMessage(`{"devices":{"accounts":[{"device":0,"count":4000000000,"sent":"` + strings.Repeat("A", (protocol.MaxFrame-1<<10)&^31) + `"}]}}`)
	}
}

// hops lies in the books of a hop.
func (l *liar) hops(b *protocol.ComponentBooks) {
	for i := range b.Books {
		switch l.mode {
		case HopDevices:
			for n := range 10_000 {
				b.Books[i].Devices = append(b.Books[i].Devices, measure.HopAccount{Device: 1_000_000 + n, In: measure.Bitmap{1}})
			}
			b.Books[i].Devices = append(b.Books[i].Devices, measure.HopAccount{Device: -1})
		case HopReasons:
			b.Books[i].Devices = append(b.Books[i].Devices, measure.HopAccount{Device: -1, Dropped: []measure.HopDrop{{Reason: Steering}}})
		}
	}
}

// logs plants logs among those of the cell's components, one of which has no end.
func (l *liar) logs() {
	found, _ := filepath.Glob("cells/*") // who joins works in bela's directory
	for _, dir := range found {
		for _, name := range []string{"..%2f..%2fplanted.log", `..\..\planted.log`, "a\nplanted.log", "\x1b]0;planted\x07.log", "\u202egol.log", "-rf.log"} {
			_ = os.WriteFile(filepath.Join(dir, name), []byte(Steering), 0o600)
		}
		_ = os.Symlink("/etc/passwd", filepath.Join(dir, "planted-link.log"))
		endless := filepath.Join(dir, "planted-endless.log")
		_ = os.WriteFile(endless, nil, 0o600)
		for size := int64(1 << 20); size < 1<<40; size += 1 << 20 { // takes no room
			if os.Truncate(endless, size) != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}
