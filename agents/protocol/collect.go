package protocol

import "bela/measure"

// PageSize is how large a page of books is, in bytes of JSON, but for its last
// entry. A cell of an hour has more books than a frame may hold, and neither side
// should have them in memory a second time as text.
const PageSize = 4 << 20

// Collect asks for one page of an agent's books of the cell.
type Collect struct {
	// From is where the page before ended; nil for the first.
	From *Cursor `json:"from,omitempty"`
}

// Cursor is a place in an agent's books, between two entries.
type Cursor struct {
	Part BookPart `json:"part"`
	// Major and Minor order a part's entries: those from here on are still to
	// come. They are index and nothing for devices, the customer's index and the
	// device for receipts, second and source for latencies.
	Major int `json:"major,omitempty"`
	Minor int `json:"minor,omitempty"`
}

// BookPart is a part of an agent's books.
type BookPart string

// The parts, in the order in which they are collected. Those that do not grow
// come with the first page of their side.
const (
	PartDevices  BookPart = "devices"
	PartReceipts BookPart = "receipts"
	PartLatency  BookPart = "latency"
	PartService  BookPart = "service"
)

// Add appends the next page to those before it.
func (c *Collected) Add(page Collected) {
	c.Next = page.Next
	switch d := page.Devices; {
	case d == nil:
	case c.Devices == nil:
		c.Devices = d
	default:
		c.Devices.Accounts = append(c.Devices.Accounts, d.Accounts...)
	}
	switch p := page.Customers; {
	case p == nil:
	case c.Customers == nil:
		c.Customers = p
	default:
		c.Customers.Accounts = append(c.Customers.Accounts, p.Accounts...)
		c.Customers.Latency = append(c.Customers.Latency, p.Latency...)
		c.Customers.Service = append(c.Customers.Service, p.Service...)
	}
}

// The size of an entry's JSON but for what grows, in bytes, at the most.
const entrySize = 256

// PublishAccountSize is about how many bytes of JSON an account takes.
func PublishAccountSize(a measure.PublishAccount) int {
	return entrySize + bitmapSize(a.Sent) + bitmapSize(a.Acked) + bitmapSize(a.Failed) + bitmapSize(a.Unknown)
}

// ReceiptAccountSize is about how many bytes of JSON an account takes.
func ReceiptAccountSize(a measure.ReceiptAccount) int {
	return entrySize + bitmapSize(a.Delivered) + bitmapSize(a.Late)
}

// LatencySliceSize is about how many bytes of JSON a slice takes: never fewer
// than it has.
func LatencySliceSize(s measure.LatencySlice) int {
	b, err := s.Latency.MarshalBinary()
	if err != nil {
		return entrySize
	}
	return entrySize + (len(b)+2)/3*4
}

// bitmapSize is that of base64.
func bitmapSize(b measure.Bitmap) int { return (8*len(b) + 2) / 3 * 4 }
