package measure

import (
	"cmp"
	"math/bits"
	"slices"
)

// HopBook is what one instance of a hop knows of single messages, warm-up
// included.
type HopBook struct {
	// Component is charged instead of Hop.Name where a hop is several components.
	Component string `json:"component,omitempty"`
	// Side tells a broker's two books apart: SideIn is of what comes from
	// devices, SideOut of what is for customers. Empty for other hops.
	Side    string       `json:"side,omitempty"`
	Devices []HopAccount `json:"devices"`
	// Discarded counts messages that the hop acknowledged, no longer has, and
	// cannot name: a store that has bounds.
	Discarded int64 `json:"discarded,omitempty"`
	// Incomplete says why the book lacks messages; empty when it lacks none.
	Incomplete string `json:"incomplete,omitempty"`
}

// The sides of a broker.
const (
	SideIn  = "in"
	SideOut = "out"
)

// HopAccount is what an instance did with one device's messages, by sequence number.
type HopAccount struct {
	Device int `json:"device"`
	// In is what it took, Out what it handed on: what the next one acknowledged,
	// where there are acknowledgements. A broker keeps no Out.
	In      Bitmap    `json:"in"`
	Out     Bitmap    `json:"out,omitempty"`
	Dropped []HopDrop `json:"dropped,omitempty"`
}

// HopDrop is messages that were dropped for one reason.
type HopDrop struct {
	Reason string `json:"reason"` // timeout, queue_full, disconnected, decode …
	// To is the client that the message was for; empty where there is only one way on.
	To       string `json:"to,omitempty"`
	Messages Bitmap `json:"messages"`
}

// Chain is the way of a message from a device to a customer.
type Chain struct {
	First string // names the way from a device to the first hop
	Hops  []Hop  // in the order that messages pass
}

// Hop is one station of a chain: all instances of a component, or one side of
// them.
type Hop struct {
	Component string
	// Name is charged with what the hop dropped or still holds, Next with what
	// it handed on and the next hop, or the customer, never got.
	Name, Next string
	// Direct hops keep no account of what they handed on: what they took and did
	// not drop counts as handed on.
	Direct bool
	// Books are the instances' in their order; nil for one whose book is missing.
	// No book at all means that the hop keeps none.
	Books []*HopBook
	// Serves says which instance has a customer, -1 for any, and as which
	// client; nil where the hop does not deal with customers.
	Serves func(customer int) (instance int, client string)
}

// Loss is lost deliveries charged to one place for one reason.
type Loss struct {
	Hop    string `json:"hop"`
	Reason string `json:"reason"`
	N      int64  `json:"n"`
}

// UnknownHop is charged where the books do not say which hop lost a message.
const UnknownHop = "unknown"

// The reasons for what no hop dropped knowingly.
const (
	ReasonLost = "lost" // handed on, and never taken by the next one
	// ReasonDiscarded: acknowledged by a hop that keeps what it has, up to its
	// bounds, and has it no more.
	ReasonDiscarded = "discarded"
	ReasonHeld      = "held"     // taken, and neither handed on nor dropped when the books were read
	ReasonNoBook    = "no_books" // followed by ": " and the component without books
	// KilledByFault says why a book is incomplete, and stands for ReasonNoBook
	// then: what a component knew is gone with it.
	KilledByFault = "killed by fault"
)

// ChargeLosses charges each delivery that CloseLedger counts as dropped to the
// place of the chain that lost it, and why. It takes the same books, and its sum
// is Ledger.Dropped exactly.
//
// The last hop that took a message is responsible: for what it dropped it names
// its reason; what it handed on was lost on the way behind it. Where the books
// of the hop behind it are not complete, nobody knows: UnknownHop.
//
// Losses come in the order of the chain, the largest of a place first.
func ChargeLosses(published []PublishAccount, received []ReceiptAccount, expected func(device int) []int, missing Missing, chain Chain) []Loss {
	receipts := make(map[[2]int]*ReceiptAccount, len(received))
	for i := range received {
		r := &received[i]
		if key := [2]int{r.Device, r.Customer}; receipts[key] == nil {
			receipts[key] = r
		}
	}
	c := newCharging(chain)
	unheard := numberSet(missing.Customers)
	seen := make(map[int]bool, len(published))
	for i := range published {
		p := &published[i]
		if seen[p.Device] {
			continue
		}
		seen[p.Device] = true
		c.turnTo(p.Device)
		customers := slices.Sorted(slices.Values(expected(p.Device)))
		for _, customer := range slices.Compact(customers) {
			if !unheard[customer] {
				c.chargeLost(p, receipts[[2]int{p.Device, customer}], customer)
			}
		}
	}
	return c.losses()
}

// charging is losses being charged.
type charging struct {
	chain    Chain
	accounts [][]map[int]*HopAccount // by hop, instance and device
	complete []bool                  // by hop
	device   [][]*HopAccount         // by hop and instance, of the device in turn
	counts   map[place]int64
}

// place is what is charged; at orders the places as the chain does.
type place struct {
	at          int
	hop, reason string
}

func newCharging(chain Chain) *charging {
	c := &charging{chain: chain, counts: make(map[place]int64)}
	for _, h := range chain.Hops {
		complete := len(h.Books) > 0
		accounts := make([]map[int]*HopAccount, len(h.Books))
		for i, b := range h.Books {
			if b == nil {
				complete = false
				continue
			}
			complete = complete && b.Incomplete == ""
			accounts[i] = make(map[int]*HopAccount, len(b.Devices))
			for d := range b.Devices {
				accounts[i][b.Devices[d].Device] = &b.Devices[d]
			}
		}
		c.accounts = append(c.accounts, accounts)
		c.complete = append(c.complete, complete)
		c.device = append(c.device, make([]*HopAccount, len(h.Books)))
	}
	return c
}

// turnTo looks a device's accounts up.
func (c *charging) turnTo(device int) {
	for h, instances := range c.accounts {
		for i, accounts := range instances {
			c.device[h][i] = accounts[device]
		}
	}
}

// chargeLost charges what a device sent and a customer did not get.
func (c *charging) chargeLost(p *PublishAccount, r *ReceiptAccount, customer int) {
	for i, sent := range p.Sent {
		lost := sent
		if r != nil && lost != 0 {
			at := int64(p.First) - int64(r.First) + 64*int64(i)
			lost &^= wordAt(r.Delivered, at) | wordAt(r.Late, at)
		}
		for ; lost != 0; lost &= lost - 1 {
			sequence := p.First + 64*uint32(i) + uint32(bits.TrailingZeros64(lost))
			c.counts[c.responsible(sequence, customer)]++
		}
	}
}

// wordAt is the 64 bits of b from a bit on, which may be outside of it.
func wordAt(b Bitmap, bit int64) uint64 {
	at := func(i int64) uint64 {
		if i < 0 {
			return 0
		}
		return word(b, int(i))
	}
	i, shift := bit>>6, uint(bit&63)
	return at(i)>>shift | at(i+1)<<(64-shift) // a shift by 64 is 0
}

// responsible finds the place that lost a message.
func (c *charging) responsible(sequence uint32, customer int) place {
	last := len(c.chain.Hops) - 1
	for ; last >= 0; last-- {
		if c.took(last, sequence, customer) {
			break
		}
	}
	if last >= 0 {
		h := &c.chain.Hops[last]
		holder, reason, handedOn := c.fate(last, sequence, customer)
		name := cmp.Or(holder, h.Name)
		switch {
		case reason != "":
			return place{2*last + 1, name, reason}
		case !handedOn && !c.complete[last]:
			return c.unknown(last)
		case !handedOn:
			return place{2*last + 1, name, ReasonHeld}
		}
	}
	switch next := last + 1; {
	case next < len(c.complete) && !c.complete[next]:
		return c.unknown(next)
	case len(c.chain.Hops) == 0:
		return place{0, UnknownHop, ReasonNoBook}
	case last < 0:
		return place{0, c.chain.First, ReasonLost}
	case next < len(c.chain.Hops) && c.discards(next):
		return place{2*next + 1, c.chain.Hops[next].Name, ReasonDiscarded}
	}
	return place{2*last + 2, c.chain.Hops[last].Next, ReasonLost}
}

// discards tells whether a hop discarded any message.
func (c *charging) discards(hop int) bool {
	return slices.ContainsFunc(c.chain.Hops[hop].Books, func(b *HopBook) bool { return b != nil && b.Discarded > 0 })
}

func (c *charging) unknown(hop int) place {
	h := &c.chain.Hops[hop]
	reason := ReasonNoBook
	if slices.ContainsFunc(h.Books, func(b *HopBook) bool { return b != nil && b.Incomplete == KilledByFault }) {
		reason = KilledByFault
	}
	return place{2*len(c.chain.Hops) + 1, UnknownHop, reason + ": " + h.Component}
}

// instances are those of a hop that can know of a customer's message, from one
// up to another, and the client that the customer is.
func (c *charging) instances(hop, customer int) (from, to int, client string) {
	all := len(c.device[hop])
	if c.chain.Hops[hop].Serves == nil {
		return 0, all, ""
	}
	i, client := c.chain.Hops[hop].Serves(customer)
	if i < 0 || i >= all {
		return 0, all, client
	}
	return i, i + 1, client
}

func (c *charging) took(hop int, sequence uint32, customer int) bool {
	from, to, _ := c.instances(hop, customer)
	for _, a := range c.device[hop][from:to] {
		if a != nil && a.In.Has(sequence) {
			return true
		}
	}
	return false
}

// fate is what a hop that took a message did with it: which component dropped it
// and why, or whether it was handed on. What one instance dropped another may
// have handed on, after it was delivered again.
func (c *charging) fate(hop int, sequence uint32, customer int) (component, reason string, handedOn bool) {
	h := &c.chain.Hops[hop]
	from, to, client := c.instances(hop, customer)
	for i := from; i < to; i++ {
		a := c.device[hop][i]
		if a == nil || !a.In.Has(sequence) {
			continue
		}
		if a.Out.Has(sequence) {
			return "", "", true
		}
		if reason != "" {
			continue
		}
		component = h.Books[i].Component
		for _, d := range a.Dropped {
			if d.Messages.Has(sequence) && (client == "" || d.To == "" || d.To == client) {
				reason = d.Reason
				break
			}
		}
	}
	return component, reason, reason == "" && h.Direct
}

// losses lists the charges.
func (c *charging) losses() []Loss {
	places := make([]place, 0, len(c.counts))
	for p := range c.counts {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(c.counts[b], c.counts[a]), cmp.Compare(a.reason, b.reason))
	})
	var all []Loss
	for _, p := range places {
		all = append(all, Loss{p.hop, p.reason, c.counts[p]})
	}
	return all
}
