package measure

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// station is a place of the hand-made chain where a message can be lost.
type station struct {
	hop, reason string
	// lose writes the books of a message that is lost here: what the hops
	// before it did is written already.
	lose func(h *handmade, d int, seq uint32)
	// passed is how many hops handed it on before.
	passed int
}

// handmade is a chain broker → gateway (two instances) → stan → hub → broker with
// books by hand; nats, between them, has none.
type handmade struct {
	in, stan, hub, out HopBook
	gateways           [2]HopBook
}

func newHandmade(devices int) *handmade {
	h := &handmade{in: HopBook{Side: SideIn}, out: HopBook{Side: SideOut}}
	for d := range devices {
		for _, b := range []*HopBook{&h.in, &h.out, &h.stan, &h.hub, &h.gateways[0], &h.gateways[1]} {
			b.Devices = append(b.Devices, HopAccount{Device: d})
		}
	}
	return h
}

func (h *handmade) gateway(seq uint32) *HopBook { return &h.gateways[seq%2] }

// pass writes that the first n hops took the message and handed it on.
func (h *handmade) pass(d int, seq uint32, n int) {
	for i, b := range []*HopBook{&h.in, h.gateway(seq), &h.stan, &h.hub, &h.out}[:n] {
		b.Devices[d].In.Set(seq)
		if i >= 1 && i <= 3 {
			b.Devices[d].Out.Set(seq)
		}
	}
}

func drop(a *HopAccount, reason, to string, seq uint32) {
	for i := range a.Dropped {
		if a.Dropped[i].Reason == reason && a.Dropped[i].To == to {
			a.Dropped[i].Messages.Set(seq)
			return
		}
	}
	a.Dropped = append(a.Dropped, HopDrop{Reason: reason, To: to})
	a.Dropped[len(a.Dropped)-1].Messages.Set(seq)
}

func (h *handmade) chain() Chain {
	return Chain{First: "device→broker", Hops: []Hop{
		{Component: "broker", Name: "broker→gateway", Next: "broker→gateway", Direct: true, Books: []*HopBook{&h.in}},
		{Component: "gateway", Name: "gateway", Next: "stan", Books: []*HopBook{&h.gateways[0], &h.gateways[1]}},
		{Component: "stan", Name: "stan", Next: "nats", Books: []*HopBook{&h.stan}},
		{Component: "hub", Name: "hub", Next: "hub→broker", Books: []*HopBook{&h.hub}},
		{Component: "broker", Name: "broker→customer", Next: "broker→customer", Direct: true, Books: []*HopBook{&h.out},
			Serves: func(customer int) (int, string) { return 0, fmt.Sprintf("c%d", customer) }},
	}}
}

var stations = []station{
	{"device→broker", ReasonLost, func(*handmade, int, uint32) {}, 0},
	{"broker→gateway", "queue_full", func(h *handmade, d int, seq uint32) { drop(&h.in.Devices[d], "queue_full", "gateway-1", seq) }, 1},
	{"broker→gateway", ReasonLost, func(*handmade, int, uint32) {}, 1},
	{"gateway", "timeout", func(h *handmade, d int, seq uint32) {
		a := &h.gateway(seq).Devices[d]
		a.In.Set(seq)
		drop(a, "timeout", "", seq)
	}, 1},
	{"gateway", ReasonHeld, func(h *handmade, d int, seq uint32) { h.gateway(seq).Devices[d].In.Set(seq) }, 1},
	{"stan", ReasonLost, func(*handmade, int, uint32) {}, 2},
	{"stan", ReasonDiscarded, func(h *handmade, _ int, _ uint32) { h.stan.Discarded++ }, 2},
	{"stan", ReasonHeld, func(h *handmade, d int, seq uint32) { h.stan.Devices[d].In.Set(seq) }, 2},
	{"nats", ReasonLost, func(*handmade, int, uint32) {}, 3},
	{"hub", "decode", func(h *handmade, d int, seq uint32) {
		h.hub.Devices[d].In.Set(seq)
		drop(&h.hub.Devices[d], "decode", "", seq)
	}, 3},
	{"hub→broker", ReasonLost, func(*handmade, int, uint32) {}, 4},
	{"broker→customer", "disconnected", func(h *handmade, d int, seq uint32) {
		drop(&h.out.Devices[d], "disconnected", fmt.Sprintf("c%d", d%3), seq)
	}, 5},
	{"broker→customer", ReasonLost, func(h *handmade, d int, seq uint32) {
		drop(&h.out.Devices[d], "queue_full", "another customer", seq)
	}, 5},
}

// Every 97th message is lost, at each place in turn. If this failed, a report
// would blame a hop for what another one lost: the counts must be exact for each
// device, warm-up before the window left out.
func TestChargeLossesIsExact(t *testing.T) {
	const devices, first, count = 4, 130, 10_000 // the window begins inside a word
	for at, s := range stations {
		t.Run(s.hop+" "+s.reason, func(t *testing.T) {
			h := newHandmade(devices)
			var published []PublishAccount
			var received []ReceiptAccount
			want := make([]int64, devices)
			for d := range devices {
				p := PublishAccount{Device: d, First: first, Count: count}
				r := ReceiptAccount{Device: d, Customer: d % 3, First: 128}
				for seq := uint32(0); seq < first+count; seq++ {
					if lost := (int(seq)+d+at)%97 == 0; lost {
						h.pass(d, seq, s.passed)
						s.lose(h, d, seq)
						if seq >= first {
							want[d]++
						}
					} else {
						h.pass(d, seq, 5)
						if seq >= first && seq%2 == 0 {
							r.Delivered.Set(seq - 128)
						} else if seq >= first {
							r.Late.Set(seq - 128)
						}
					}
					if seq >= first {
						p.Sent.Set(seq - first)
					}
				}
				published, received = append(published, p), append(received, r)
			}
			own := func(d int) []int { return []int{d % 3} }
			var all int64
			for d := range devices {
				got := ChargeLosses(published[d:d+1], received, own, Missing{}, h.chain())
				if w := []Loss{{s.hop, s.reason, want[d]}}; !reflect.DeepEqual(got, w) {
					t.Errorf("device %d: %v, want %v", d, got, w)
				}
				all += want[d]
			}
			ledger, _ := CloseLedger(published, received, own, Missing{})
			if got := ChargeLosses(published, received, own, Missing{}, h.chain()); len(got) != 1 || got[0].N != all || ledger.Dropped != all {
				t.Errorf("in sum %v, dropped %d, want %d", got, ledger.Dropped, all)
			}
		})
	}
}

// Where a hop keeps no books, or not all, the loss must be owned as unknown, and
// never be put on the neighbours that do keep them.
func TestChargeLossesWithoutBooks(t *testing.T) {
	one := []PublishAccount{{Device: 0, Count: 1, Sent: Bitmap{1}}}
	for _, tt := range []struct {
		name   string
		passed int
		lose   func(h *handmade)
		damage func(c *Chain)
		want   Loss
	}{
		{"no hop is known at all", 0, nil, func(c *Chain) { c.Hops = nil }, Loss{UnknownHop, ReasonNoBook, 1}},
		{"the first broker is foreign, and nobody saw the message", 0, nil,
			func(c *Chain) { c.Hops[0].Books = nil }, Loss{UnknownHop, "no_books: broker", 1}},
		{"a gateway died with its book: it may have had the message", 1, nil,
			func(c *Chain) { c.Hops[1].Books[1] = nil }, Loss{UnknownHop, "no_books: gateway", 1}},
		{"the dead gateway must have handed it on, since the hub dropped it", 3,
			func(h *handmade) { h.hub.Devices[0].In.Set(0); drop(&h.hub.Devices[0], "timeout", "", 0) },
			func(c *Chain) { c.Hops[1].Books[0] = nil }, Loss{"hub", "timeout", 1}},
		{"a gateway dropped it, whatever the other one knew", 1,
			func(h *handmade) {
				h.gateways[0].Devices[0].In.Set(0)
				drop(&h.gateways[0].Devices[0], "queue_full", "", 0)
			}, func(c *Chain) { c.Hops[1].Books[1] = nil }, Loss{"gateway", "queue_full", 1}},
		{"the hub's book was full after it took the message", 3,
			func(h *handmade) { h.hub.Devices[0].In.Set(0); h.hub.Incomplete = "full" }, func(*Chain) {}, Loss{UnknownHop, "no_books: hub", 1}},
		{"one hub dropped it, another handed it on after it came again: lost behind it", 3,
			func(h *handmade) { h.hub.Devices[0].In.Set(0); drop(&h.hub.Devices[0], "timeout", "", 0) },
			func(c *Chain) {
				c.Hops[3].Books = append(c.Hops[3].Books, &HopBook{Devices: []HopAccount{{In: Bitmap{1}, Out: Bitmap{1}}}})
			}, Loss{"hub→broker", ReasonLost, 1}},
		{"stan was started again, and the gateway's acknowledgement is all that is known", 2, nil,
			func(c *Chain) { c.Hops[2].Books = []*HopBook{nil} }, Loss{UnknownHop, "no_books: stan", 1}},
		{"a gateway gave up waiting for what stan has, and has given to nobody", 2,
			func(h *handmade) {
				h.gateways[0].Devices[0].Out = nil
				drop(&h.gateways[0].Devices[0], "no_ack", "", 0)
				h.stan.Devices[0].In.Set(0)
			}, func(*Chain) {}, Loss{"stan", ReasonHeld, 1}},
		{"a gateway gave up waiting, and what stan discarded may be others", 1,
			func(h *handmade) {
				h.gateways[0].Devices[0].In.Set(0)
				drop(&h.gateways[0].Devices[0], "no_ack", "", 0)
				h.stan.Discarded = 5
			}, func(*Chain) {}, Loss{"gateway", "no_ack", 1}},
		{"a book of no device is a book", 1, nil,
			func(c *Chain) { c.Hops[1].Books = []*HopBook{{}} }, Loss{"broker→gateway", ReasonLost, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHandmade(1)
			h.pass(0, 0, tt.passed)
			if tt.lose != nil {
				tt.lose(h)
			}
			chain := h.chain()
			tt.damage(&chain)
			got := ChargeLosses(one, nil, func(int) []int { return []int{0} }, Missing{}, chain)
			if !reflect.DeepEqual(got, []Loss{tt.want}) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// With fan-out a message may reach some customers and not others: each lost
// delivery has a place of its own.
func TestChargeLossesByCustomer(t *testing.T) {
	h := newHandmade(1)
	h.pass(0, 0, 5)
	drop(&h.out.Devices[0], "queue_full", "c1", 0)
	published := []PublishAccount{{Count: 1, Sent: Bitmap{1}}}
	received := []ReceiptAccount{{Customer: 0, Delivered: Bitmap{1}}}
	got := ChargeLosses(published, received, func(int) []int { return []int{0, 1, 2, 3} }, Missing{Customers: []int{3}}, h.chain())
	want := []Loss{{"broker→customer", "queue_full", 1}, {"broker→customer", ReasonLost, 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whatever the books say, contradictions included, the charges must add up to
// the ledger's drops: a reader adds them up.
func TestChargesAddUp(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		bitmap := func() Bitmap {
			b := make(Bitmap, rng.IntN(4))
			for i := range b {
				b[i] = rng.Uint64() | rng.Uint64()
			}
			return b
		}
		var published []PublishAccount
		var received []ReceiptAccount
		h := newHandmade(0)
		for d := range 5 {
			published = append(published, PublishAccount{Device: d, First: rng.Uint32N(200), Count: 256, Sent: bitmap()})
			for c := range 4 {
				if rng.IntN(4) > 0 {
					received = append(received, ReceiptAccount{Device: d, Customer: c, First: rng.Uint32N(200), Delivered: bitmap(), Late: bitmap()})
				}
			}
			for _, b := range []*HopBook{&h.in, &h.gateways[0], &h.gateways[1], &h.stan, &h.hub, &h.out} {
				if rng.IntN(5) > 0 {
					b.Devices = append(b.Devices, HopAccount{Device: d, In: bitmap(), Out: bitmap(),
						Dropped: []HopDrop{{Reason: "timeout", Messages: bitmap()}, {Reason: "queue_full", To: "c1", Messages: bitmap()}}})
				}
			}
		}
		h.stan.Discarded = int64(rng.IntN(2))
		chain := h.chain()
		if rng.IntN(2) == 0 {
			chain.Hops[rng.IntN(5)].Books = nil
		}
		missing := Missing{Customers: []int{rng.IntN(8)}}
		expected := func(d int) []int { return []int{d % 4, (d + 1) % 4, d % 4} }
		ledger, _ := CloseLedger(published, received, expected, missing)
		var sum int64
		for _, l := range ChargeLosses(published, received, expected, missing, chain) {
			sum += l.N
		}
		if sum != ledger.Dropped {
			t.Fatalf("seed %d: the charges add up to %d, dropped %d", seed, sum, ledger.Dropped)
		}
	}
}

// BenchmarkChargeLosses charges a million lost deliveries, of 1000 devices.
func BenchmarkChargeLosses(b *testing.B) {
	h := newHandmade(1000)
	published := make([]PublishAccount, 1000)
	for d := range published {
		published[d] = PublishAccount{Device: d, Count: 1000}
		for seq := range uint32(1000) {
			published[d].Sent.Set(seq)
			h.pass(d, seq, int(seq%5))
		}
	}
	for b.Loop() {
		ChargeLosses(published, nil, func(int) []int { return []int{0} }, Missing{}, h.chain())
	}
}
