package measure

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// planted is a testbed whose every message's fate is known beforehand.
type planted struct {
	published []PublishAccount
	received  []ReceiptAccount
	expected  map[int][]int
	missing   Missing
	want      Ledger
}

func (p *planted) close() (Ledger, []DeviceLedger) {
	return CloseLedger(p.published, p.received, func(d int) []int { return p.expected[d] }, p.missing)
}

// plant draws devices, customers and the fate of each message.
func plant(r *rand.Rand) *planted {
	p := &planted{expected: map[int][]int{}}
	customers := 1 + r.IntN(4)
	gone := -1
	if r.IntN(2) == 0 {
		gone = r.IntN(customers)
		p.missing.Customers = []int{gone}
	}
	fanOut := 1 + r.IntN(customers)
	for device := range r.IntN(8) {
		for i := range fanOut {
			p.expected[device] = append(p.expected[device], (device+i)%customers)
		}
		pub := PublishAccount{Device: device, First: uint32(r.IntN(100)), Count: uint32(r.IntN(200))}
		received := make([]ReceiptAccount, fanOut)
		for i := range received {
			received[i] = ReceiptAccount{Customer: p.expected[device][i], Device: device, First: pub.First, Duplicated: uint64(r.IntN(3)), Reordered: uint64(r.IntN(3))}
			if r.IntN(3) == 0 { // a customer that counts from another number
				received[i].First -= min(received[i].First, uint32(r.IntN(70)))
			}
		}
		for m := range pub.Count {
			p.want.Intended++
			switch r.IntN(10) {
			case 0:
				p.want.Unsent++
				continue
			case 1:
				p.want.Failed++
				pub.Failed.Set(m)
				continue
			case 2:
				p.want.InDoubt++
				pub.Unknown.Set(m)
			case 3: // QoS 0
			default:
				p.want.Acked++
				pub.Acked.Set(m)
			}
			pub.Sent.Set(m)
			p.want.Published++
			for i := range received {
				p.want.Expected++
				at := m + pub.First - received[i].First
				switch fate := r.IntN(10); {
				case received[i].Customer == gone:
					p.want.Unknown++
				case fate == 0:
					p.want.Late++
					received[i].Late.Set(at)
				case fate < 3:
					p.want.Dropped++
				default:
					p.want.Delivered++
					received[i].Delivered.Set(at)
				}
			}
		}
		p.published = append(p.published, pub)
		for _, a := range received {
			if a.Customer != gone {
				p.want.Duplicated += int64(a.Duplicated)
				p.want.Reordered += int64(a.Reordered)
				p.received = append(p.received, a)
			}
		}
	}
	p.want.Closed = true
	r.Shuffle(len(p.published), func(i, j int) { p.published[i], p.published[j] = p.published[j], p.published[i] })
	r.Shuffle(len(p.received), func(i, j int) { p.received[i], p.received[j] = p.received[j], p.received[i] })
	return p
}

// Drops are what the experiment is about: whatever the fates of the messages,
// the ledger must give back exactly those, and by device the same in sum.
func TestPlantedFatesAreReturned(t *testing.T) {
	for seed := range uint64(500) {
		p := plant(rand.New(rand.NewPCG(seed, 1)))
		got, devices := p.close()
		if got != p.want {
			t.Fatalf("seed %d:\n got %+v\nwant %+v", seed, got, p.want)
		}
		var sum entry
		for i, d := range devices {
			if !d.Closed || (i > 0 && devices[i-1].Device >= d.Device) {
				t.Fatalf("seed %d: device %d closed %v", seed, d.Device, d.Closed)
			}
			sum.add(&d.Ledger)
		}
		if all := sum.done(); all != got {
			t.Fatalf("seed %d: devices sum up to %+v, not %+v", seed, all, got)
		}
	}
}

func bitmap(members ...uint32) Bitmap {
	var b Bitmap
	for _, m := range members {
		b.Set(m)
	}
	return b
}

// Books that contradict themselves or each other must never pass for numbers.
func TestLedgerOpens(t *testing.T) {
	pub := func(change func(*PublishAccount)) []PublishAccount {
		p := PublishAccount{Device: 7, First: 10, Count: 4, Sent: bitmap(0, 1, 2), Acked: bitmap(0, 1), Failed: bitmap(3)}
		if change != nil {
			change(&p)
		}
		return []PublishAccount{p}
	}
	receipt := ReceiptAccount{Customer: 2, Device: 7, First: 10, Delivered: bitmap(0, 1, 2)}
	tests := []struct {
		name      string
		published []PublishAccount
		received  []ReceiptAccount
		missing   Missing
		phantom   int64
		open      string // part of the reason; empty: closed
	}{
		{name: "consistent books close", published: pub(nil), received: []ReceiptAccount{receipt}},
		{name: "sent and failed at once would count a message twice", open: "both sent and failed",
			published: pub(func(p *PublishAccount) { p.Failed.Set(0) }), received: []ReceiptAccount{receipt}},
		{name: "an acknowledgement of what was not sent", open: "were not sent",
			published: pub(func(p *PublishAccount) { p.Acked.Set(3) })},
		{name: "more messages than the schedule intended", open: "message 5 of 4",
			published: pub(func(p *PublishAccount) { p.Sent.Set(4) })},
		{name: "two accounts of one device", open: "two accounts of what it published",
			published: append(pub(nil), pub(nil)...), received: []ReceiptAccount{receipt}},
		{name: "delivery of a message whose publishing failed", phantom: 1, open: "were not sent", published: pub(nil),
			received: []ReceiptAccount{{Customer: 2, Device: 7, First: 10, Delivered: bitmap(0, 3)}}},
		{name: "delivery of a sequence number below the window", phantom: 1, open: "were not sent", published: pub(nil),
			received: []ReceiptAccount{{Customer: 2, Device: 7, First: 9, Late: bitmap(0, 1)}}},
		{name: "delivery to a customer that should not get it", phantom: 3, open: "not for it", published: pub(nil),
			received: []ReceiptAccount{{Customer: 3, Device: 7, First: 10, Delivered: bitmap(0, 1, 2)}}},
		{name: "the same, with a customer number below", phantom: 3, open: "not for it", published: pub(nil),
			received: []ReceiptAccount{{Customer: 1, Device: 7, First: 10, Delivered: bitmap(0, 1, 2)}}},
		{name: "delivery of a device without books", phantom: 3, open: "has no books", received: []ReceiptAccount{receipt}},
		{name: "the device's node was lost: no phantom, but open", open: "books of device 7 are missing",
			received: []ReceiptAccount{receipt}, missing: Missing{Devices: []int{7}}},
		{name: "delivered and late at once", open: "both delivered and late", published: pub(nil),
			received: []ReceiptAccount{{Customer: 2, Device: 7, First: 10, Delivered: bitmap(0, 1), Late: bitmap(1)}}},
		{name: "two accounts of one customer and device", open: "two accounts of device", published: pub(nil),
			received: []ReceiptAccount{receipt, receipt}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := CloseLedger(tt.published, tt.received, func(int) []int { return []int{2} }, tt.missing)
			if got.Closed != (tt.open == "") || !strings.Contains(got.Open, tt.open) || got.Phantom != tt.phantom {
				t.Errorf("closed %v, phantom %d, open %q", got.Closed, got.Phantom, got.Open)
			}
		})
	}
}

// A customer whose books are missing in part: what it had reported counts, the
// rest is unknown and not dropped.
func TestPartOfACustomersBooks(t *testing.T) {
	got, _ := CloseLedger(
		[]PublishAccount{{Device: 0, Count: 3, Sent: bitmap(0, 1, 2)}},
		[]ReceiptAccount{{Customer: 0, Device: 0, Delivered: bitmap(1)}},
		func(int) []int { return []int{0} }, Missing{Customers: []int{0}})
	want := Ledger{Intended: 3, Published: 3, Expected: 3, Delivered: 1, Unknown: 2, Closed: true}
	if got != want {
		t.Errorf("got %+v", got)
	}
}

// The operator reads which books are missing: ranges, and never ten thousand numbers.
func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		list []int
		want string
	}{
		{[]int{3}, "device 3"},
		{[]int{2, 1, 0, 5, 5}, "devices 0-2, 5"},
		{[]int{0, 2, 4, 6, 8, 10, 12}, "devices 0, 2, 4, 6, 8, …"},
	} {
		if got := numbers("device", tt.list); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.list, got, tt.want)
		}
	}
}

// Bitmaps travel; a wrong bit is a wrong drop.
func TestBitmapRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		var b Bitmap
		n := 0
		for range r.IntN(50) {
			i := uint32(r.IntN(1000))
			if !b.Has(i) {
				n++
			}
			b.Set(i)
		}
		text, err := b.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Bitmap
		if err := back.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		if b.Count() != int64(n) || back.Count() != int64(n) || (n > 0 && !reflect.DeepEqual(back, b)) {
			t.Fatalf("%v came back as %v", b, back)
		}
	}
}

// Accounts come from agents over the network: no books may crash the ledger.
func FuzzBitmapDecode(f *testing.F) {
	f.Add("AQAAAAAAAAA=")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		var b Bitmap
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		CloseLedger([]PublishAccount{{Count: 5, Sent: b, Acked: b}}, []ReceiptAccount{{First: 1 << 31, Delivered: b}},
			func(int) []int { return []int{0} }, Missing{})
	})
}

// BenchmarkCloseLedger closes the largest cell that bela is meant for.
func BenchmarkCloseLedger(b *testing.B) {
	for _, fanOut := range []int{1, 4} {
		b.Run(fmt.Sprintf("10000x1000 fan-out %d", fanOut), func(b *testing.B) {
			var published []PublishAccount
			var received []ReceiptAccount
			all := make([]int, fanOut)
			var sent Bitmap
			for m := range uint32(1000) {
				sent.Set(m)
			}
			for d := range 10_000 {
				published = append(published, PublishAccount{Device: d, Count: 1000, Sent: sent, Acked: sent})
				for c := range fanOut {
					all[c] = c
					received = append(received, ReceiptAccount{Customer: c, Device: d, Delivered: sent})
				}
			}
			b.ReportAllocs()
			for range b.N {
				l, _ := CloseLedger(published, received, func(int) []int { return all }, Missing{})
				if !l.Closed || l.Delivered != int64(fanOut)*10_000_000 {
					b.Fatalf("%+v", l)
				}
			}
		})
	}
}
