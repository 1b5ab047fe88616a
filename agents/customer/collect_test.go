package customer

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"bela/agents/protocol"
)

// pages collects the books as a controller does, through frames, and says how
// large the largest was.
func pages(t *testing.T, c *Crowd) (all protocol.CustomersResult, n, largest int) {
	t.Helper()
	var sum protocol.Collected
	for n < 1000 {
		result, next := c.CollectPage(sum.Next, protocol.PageSize)
		body, err := protocol.Body(protocol.Collected{Customers: &result, Next: next})
		if err != nil {
			t.Fatal(err)
		}
		if err := protocol.WriteFrame(io.Discard, protocol.Frame{ID: 1, Type: protocol.TypeOK, Body: body}); err != nil {
			t.Fatal(err)
		}
		n, largest = n+1, max(largest, len(body))
		var page protocol.Collected
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		sum.Add(page)
		if sum.Next == nil {
			return *sum.Customers, n, largest
		}
	}
	t.Fatal("the pages have no end")
	return
}

// The books of a large cell must come over in pieces that fit, each entry once:
// one that is missing is a loss that never was, and one frame for all is refused
// after an hour of load.
func TestLargeBooksComeInPages(t *testing.T) {
	const devices, messages, seconds, sources = 10_000, 1000, 3600, 20
	spec := testSpec()
	spec.Devices, spec.Count, spec.Customers = devices, 2, 2
	h := newHall(t, spec)
	for d := range uint32(devices) {
		a := &account{measured: true, highest: messages - 1}
		for k := range uint32(messages) {
			if k%97 != d%97 {
				a.seen.Set(k)
			}
		}
		a.late.Set(d % messages)
		h.receivers[d%2].accounts[d] = a
	}
	h.receivers[0].foreign, h.receivers[1].stray = 3, 4
	for i := range h.shards {
		s := &h.shards[i]
		for second := range int32(seconds) {
			for source := range sources {
				values := histogram(&s.latency, slice{second, source})
				for v := range int64(5) {
					values.Record(1e6 + int64(second)*1e3 + v*200e3)
				}
				if second%protocol.ServiceSeconds == 0 {
					histogram(&s.service, slice{second, source}).Record(int64(second))
				}
			}
		}
	}
	got, n, largest := pages(t, h.Crowd)
	want := h.Collect()
	whole, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes in %d pages, the largest of %d", len(whole), n, largest)
	if !bytes.Equal(whole, again) {
		t.Errorf("the pages hold other books than the whole: %d and %d bytes", len(again), len(whole))
	}
	if n < 3 || largest > protocol.PageSize+(1<<20) {
		t.Errorf("%d pages, the largest of %d bytes; a page is %d", n, largest, protocol.PageSize)
	}
	if len(got.Accounts) != devices || len(got.Latency) != seconds*sources || len(got.Service) != seconds*sources/protocol.ServiceSeconds || got.Foreign != 3 || got.Stray != 4 {
		t.Errorf("%d accounts, %d and %d slices, %d foreign, %d stray", len(got.Accounts), len(got.Latency), len(got.Service), got.Foreign, got.Stray)
	}
	// The bitmaps of ten million messages are a few megabytes.
	var bits int
	for _, a := range got.Accounts {
		bits += protocol.ReceiptAccountSize(a)
	}
	if bits > 8<<20 {
		t.Errorf("the accounts take %d bytes", bits)
	}
}

// What arrives while the books are fetched, because draining had to end before the
// backlog did, must be in none of their parts: else messages that count as dropped
// have latencies, and the series' drops are not the ledger's.
func TestBooksAreClosedBeforeTheyAreFetched(t *testing.T) {
	h := newHall(t, testSpec())
	h.at = h.clock.Now() - int64(2*time.Second) // in the middle of the load
	h.begin(t)
	h.deliver(0, 0, 100, 0)
	h.deliver(1, 1, 100, 0)
	h.Stop()
	var sum protocol.Collected
	for k := uint32(101); ; k++ {
		h.deliver(0, 0, k, 0)
		h.deliver(1, 1, k, 0)
		page, next := h.CollectPage(sum.Next, 1)
		sum.Add(protocol.Collected{Customers: &page, Next: next})
		if next == nil {
			break
		}
	}
	got := *sum.Customers
	var delivered, latencies, services int64
	for _, a := range got.Accounts {
		delivered += a.Delivered.Count() + a.Late.Count()
	}
	for _, s := range got.Latency {
		latencies += s.Latency.Count()
	}
	for _, s := range got.Service {
		services += s.Latency.Count()
	}
	if delivered != 2 || latencies != 2 || services != 2 {
		t.Errorf("%d delivered, %d latencies, %d service times; want the 2 that came before the books were closed", delivered, latencies, services)
	}
}

// A cursor comes from outside, and may be of books that are not there.
func TestForeignCursors(t *testing.T) {
	h := newHall(t, testSpec())
	for _, at := range []protocol.Cursor{
		{}, {Part: "devices"}, {Part: protocol.PartReceipts, Major: -1, Minor: -1}, {Part: protocol.PartReceipts, Major: 1 << 40, Minor: 1 << 40},
		{Part: protocol.PartLatency, Major: -1 << 40}, {Part: protocol.PartService, Major: 1 << 40, Minor: 1},
	} {
		if page, next := h.CollectPage(&at, 10); next != nil || len(page.Accounts)+len(page.Latency) > 0 {
			t.Errorf("%+v: %+v, %+v", at, page, next)
		}
	}
}
