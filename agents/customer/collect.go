package customer

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"bela/agents/protocol"
	"bela/measure"
)

// Collect hands over all books at once. It may be called again.
func (c *Crowd) Collect() protocol.CustomersResult {
	result, _ := c.CollectPage(nil, math.MaxInt)
	return result
}

// CollectPage hands over the books from a cursor on, nil for the first page, up
// to about limit bytes of JSON. next is where the rest begins; nil if there is
// none. What does not grow is in the first page. Every page may be collected
// again; what arrives meanwhile is in those that come later, if at all.
func (c *Crowd) CollectPage(from *protocol.Cursor, limit int) (page protocol.CustomersResult, next *protocol.Cursor) {
	p := &pageOf{crowd: c, left: limit}
	p.result.Accounts = []measure.ReceiptAccount{}
	first := protocol.Cursor{Part: protocol.PartReceipts}
	at := first
	if from != nil {
		at = *from
	}
	if at == first {
		p.head()
	}
	parts := []struct {
		part protocol.BookPart
		take func(protocol.Cursor) *protocol.Cursor
	}{
		{protocol.PartReceipts, p.receipts}, {protocol.PartLatency, p.latency}, {protocol.PartService, p.service},
	}
	for _, part := range parts {
		if part.part != at.Part {
			continue
		}
		if next := part.take(at); next != nil {
			return p.result, next
		}
		switch at = (protocol.Cursor{}); part.part {
		case protocol.PartReceipts:
			at.Part = protocol.PartLatency
		case protocol.PartLatency:
			at.Part = protocol.PartService
		}
	}
	return p.result, nil
}

// pageOf is a page in the making. It is full when nothing is left, but has at
// least one entry.
type pageOf struct {
	crowd  *Crowd
	left   int
	any    bool
	result protocol.CustomersResult
}

// fits says whether an entry has room, and takes it.
func (p *pageOf) fits(size int) bool {
	if p.any && size > p.left {
		return false
	}
	p.any, p.left = true, p.left-size
	return true
}

// head is what does not grow.
func (p *pageOf) head() {
	p.result.Reconnects = p.crowd.group.Reconnects()
	p.result.Errors = p.crowd.errors.List()
	for _, r := range p.crowd.receivers {
		r.mu.Lock()
		p.result.Foreign += r.foreign
		p.result.Stray += r.stray
		r.mu.Unlock()
	}
}

func (p *pageOf) receipts(from protocol.Cursor) *protocol.Cursor {
	for i := max(0, from.Major); i < len(p.crowd.receivers); i++ {
		r, least := p.crowd.receivers[i], 0
		if i == from.Major {
			least = from.Minor
		}
		for _, device := range r.devices(least) {
			a := r.account(device)
			if !p.fits(protocol.ReceiptAccountSize(a)) {
				return &protocol.Cursor{Part: protocol.PartReceipts, Major: i, Minor: int(device)}
			}
			p.result.Accounts = append(p.result.Accounts, a)
		}
	}
	return nil
}

// devices are those with measured messages, from one on, ascending.
func (r *receiver) devices(least int) []uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []uint32
	for device, a := range r.accounts {
		if a.measured && int(device) >= least {
			all = append(all, device)
		}
	}
	slices.Sort(all)
	return all
}

func (r *receiver) account(device uint32) measure.ReceiptAccount {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accounts[device].receipts(r.number, int(device))
}

func (p *pageOf) latency(from protocol.Cursor) *protocol.Cursor {
	return p.slices(from, &p.result.Latency, func(s *shard) map[slice]*measure.Histogram { return s.latency })
}

func (p *pageOf) service(from protocol.Cursor) *protocol.Cursor {
	return p.slices(from, &p.result.Service, func(s *shard) map[slice]*measure.Histogram { return s.service })
}

// slices merges the shards' histograms, one after another, so that no second
// copy of all of them is made.
func (p *pageOf) slices(from protocol.Cursor, to *[]measure.LatencySlice, of func(*shard) map[slice]*measure.Histogram) *protocol.Cursor {
	start := slice{int32(min(max(from.Major, math.MinInt32), math.MaxInt32)), from.Minor}
	keys := make(map[slice]bool)
	for i := range p.crowd.shards {
		s := &p.crowd.shards[i]
		s.mu.Lock()
		for k := range of(s) {
			if k.compare(start) >= 0 {
				keys[k] = true
			}
		}
		s.mu.Unlock()
	}
	for _, k := range slices.SortedFunc(maps.Keys(keys), slice.compare) {
		merged := measure.LatencySlice{Second: k.second, Source: k.source, Latency: new(measure.Histogram)}
		for i := range p.crowd.shards {
			s := &p.crowd.shards[i]
			s.mu.Lock()
			if h := of(s)[k]; h != nil {
				merged.Latency.Merge(h)
			}
			s.mu.Unlock()
		}
		if !p.fits(protocol.LatencySliceSize(merged)) {
			return &protocol.Cursor{Part: from.Part, Major: int(k.second), Minor: k.source}
		}
		*to = append(*to, merged)
	}
	return nil
}

// compare orders slices by second, then by source.
func (s slice) compare(o slice) int {
	return cmp.Or(cmp.Compare(s.second, o.second), cmp.Compare(s.source, o.source))
}
