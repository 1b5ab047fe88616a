package campaign

import (
	"testing"
	"time"

	"bela/agents/protocol"
	"bela/experiment"
	"bela/measure"
)

// bounded is a cell with 4 devices on two nodes, and 2 customers on a third.
func bounded() experiment.Cell {
	return experiment.Cell{
		Phases: experiment.Phases{Warmup: time.Second, Measure: 3 * time.Second},
		Devices: experiment.Devices{Count: 4, Rate: 10, Shares: []experiment.Share{
			{Node: "iot-1", Count: 2}, {Node: "iot-2", First: 2, Count: 2},
		}},
		Customers: experiment.Customers{Count: 2, Shares: []experiment.Share{{Node: "customer-1", Count: 2}}},
	}
}

func sent(device int, first, count uint32) *protocol.DevicesResult {
	return &protocol.DevicesResult{Accounts: []measure.PublishAccount{{Device: device, First: first, Count: count}}}
}

func got(customer, device int) *protocol.CustomersResult {
	return &protocol.CustomersResult{Accounts: []measure.ReceiptAccount{{Customer: customer, Device: device}}}
}

func latency(second int32, source int) *protocol.CustomersResult {
	return &protocol.CustomersResult{Latency: []measure.LatencySlice{{Second: second, Source: source}}}
}

// Books that are larger than the plan allows must not be kept, however many pages
// they come in; those of the plan must be.
func TestBooksAreHeldAgainstThePlan(t *testing.T) {
	t.Parallel()
	next := func(major int) *protocol.Cursor { return &protocol.Cursor{Part: protocol.PartDevices, Major: major} }
	type pages []protocol.Collected
	for _, tc := range []struct {
		name, node string
		pages      pages
		taken      bool
	}{
		{"those of the plan", "iot-2", pages{{Devices: sent(2, 10, 30), Next: next(1)}, {Devices: sent(3, 10, 30)}}, true},
		{"another node's device", "iot-2", pages{{Devices: sent(1, 10, 30)}}, false},
		{"a device twice", "iot-1", pages{{Devices: sent(1, 10, 30), Next: next(1)}, {Devices: sent(1, 10, 30)}}, false},
		{"more messages than planned", "iot-1", pages{{Devices: sent(1, 10, 300)}}, false},
		{"messages far ahead", "iot-1", pages{{Devices: sent(1, 1<<31, 30)}}, false},
		{"an empty page before the end", "iot-1", pages{{Next: next(1)}}, false},
		{"a page that goes back", "iot-1", pages{{Devices: sent(0, 0, 1), Next: next(1)}, {Devices: sent(1, 0, 1), Next: next(1)}}, false},
		{"seconds beyond the load", "iot-1", pages{{Devices: &protocol.DevicesResult{PublishedPerSecond: make([]int64, 100)}}}, false},
		{"customers' of the plan", "customer-1", pages{{Customers: got(0, 3)}, {Customers: got(1, 1)}, {Customers: latency(4, 1)}}, true},
		{"customers' of a device that is none", "customer-1", pages{{Customers: got(0, 4)}}, false},
		{"customers' that are none", "customer-1", pages{{Customers: got(2, 0)}}, false},
		{"customers' twice", "customer-1", pages{{Customers: got(1, 1)}, {Customers: got(1, 1)}}, false},
		{"customers' on a node of devices", "iot-1", pages{{Customers: got(0, 0)}}, false},
		{"latencies after the load", "customer-1", pages{{Customers: latency(6, 0)}}, false},
		{"latencies before the load", "customer-1", pages{{Customers: latency(-1, 0)}}, false},
		{"latencies from nowhere", "customer-1", pages{{Customers: latency(0, 2)}}, false},
	} {
		check := newBookCheck(bounded(), tc.node)
		var err error
		for i := range tc.pages {
			if err == nil {
				err = check.page(&tc.pages[i])
			}
		}
		if (err == nil) != tc.taken {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// Messages with numbers that nobody gave must still open the ledger, and take no
// memory: one bit stands for all.
func TestNumbersBeyondTheSchedule(t *testing.T) {
	t.Parallel()
	x := extentOf(bounded())
	var m measure.Bitmap
	m.Set(3)
	m.Set(1 << 20)
	m.Set(1 << 24)
	folded := x.fold(m)
	if len(folded) != x.words()+1 || folded.Count() != 2 || !folded.Has(3) || !folded.Has(uint32(64*x.words())) {
		t.Errorf("%d words with %d messages", len(folded), folded.Count())
	}
	books := []measure.HopBook{{Devices: []measure.HopAccount{{Device: -1}, {Device: 3, In: m}, {Device: 4}}}}
	if err := x.hopBooks(books, 2); err != nil || len(books[0].Devices) != 1 || len(books[0].Devices[0].In) != x.words()+1 {
		t.Errorf("%+v: %v", books, err)
	}
	books[0].Devices = append(books[0].Devices, measure.HopAccount{Device: 3})
	if x.hopBooks(books, 2) == nil {
		t.Error("a device stands in a book twice")
	}
}

// A component that fails again and again must not fill a cell's notes.
func TestNotesHaveAnEnd(t *testing.T) {
	t.Parallel()
	var all []string
	for range 10 * maxNotes {
		all = noted(all, "x")
	}
	if len(all) != maxNotes+1 {
		t.Errorf("%d notes", len(all))
	}
}
