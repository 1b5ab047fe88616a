package platform

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"bela/agents/component/report"
	"bela/agents/payload"
	"bela/agents/protocol"
	"bela/measure"
)

const (
	// maxSequence bounds a device's bitmaps to 128 KiB each, whatever an envelope
	// says.
	maxSequence = 1<<20 - 1
	// maxBooks bounds a process's books, in bytes of bitmaps: 10,000 devices
	// with 10,000 messages each, in and out, need 25 MB. In base64 it stays
	// below what a frame to the controller holds.
	maxBooks = 32 << 20
	// accountSize and dropSize stand for what an account and a reason take besides.
	accountSize = 256
	dropSize    = 128
	// maxClient bounds a client's name in a book.
	maxClient = 64
	// bookShards spread the devices over several locks.
	bookShards = 16
)

// desk keeps a process's books: one, or a broker's two.
type desk struct {
	spec  *protocol.BooksSpec // nil where no books are wanted
	limit int64               // bytes; 0 is maxBooks
	used  atomic.Int64
	lost  atomic.Int64 // entries that found no room
}

// mark is a message as the books know it. The zero mark is of a message that no
// book counts.
type mark struct {
	device, sequence uint32
	counted          bool
}

// mark reads a payload's envelope, in JSON or in MessagePack.
func (d *desk) mark(p []byte) mark {
	if d.spec == nil {
		return mark{}
	}
	e, err := payload.Parse(p)
	if err != nil || e.Probe || e.Run != d.spec.Run || e.Cell != d.spec.Cell {
		return mark{}
	}
	return mark{e.Device, e.Sequence, true}
}

// room takes bytes of the limit. It is false when there is none left.
func (d *desk) room(n int64) bool {
	limit := d.limit
	if limit == 0 {
		limit = maxBooks
	}
	if d.used.Add(n) <= limit {
		return true
	}
	d.used.Add(-n)
	return false
}

// book is what a hop took, handed on and dropped, message by message.
type book struct {
	desk   *desk
	side   string
	shards [bookShards]bookShard
}

type bookShard struct {
	mu       sync.Mutex
	accounts map[uint32]*bookAccount // by device
}

type bookAccount struct {
	in, out measure.Bitmap
	dropped map[dropKey]*measure.Bitmap // nil until there is one
}

type dropKey struct {
	reason reason
	to     string
}

func newBook(d *desk, side string) *book { return &book{desk: d, side: side} }

// take enters a message that came in.
func (b *book) take(m mark) {
	b.enter(m, func(a *bookAccount) *measure.Bitmap { return &a.in })
}

// handOn enters a message that the next hop has.
func (b *book) handOn(m mark) {
	b.enter(m, func(a *bookAccount) *measure.Bitmap { return &a.out })
}

// drop enters a message that was given up; to is the client that it was for.
func (b *book) drop(m mark, r reason, to string) {
	b.enter(m, func(a *bookAccount) *measure.Bitmap {
		key := dropKey{r, to[:min(len(to), maxClient)]}
		if set := a.dropped[key]; set != nil {
			return set
		}
		if !b.desk.room(dropSize) {
			return nil
		}
		if a.dropped == nil {
			a.dropped = make(map[dropKey]*measure.Bitmap)
		}
		key.to = string([]byte(key.to)) // not the whole of a long name
		a.dropped[key] = new(measure.Bitmap)
		return a.dropped[key]
	})
}

func (b *book) enter(m mark, which func(*bookAccount) *measure.Bitmap) {
	if !m.counted {
		return
	}
	s := &b.shards[m.device%bookShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[m.device]
	if a == nil {
		if !b.desk.room(accountSize) {
			b.desk.lost.Add(1)
			return
		}
		if s.accounts == nil {
			s.accounts = make(map[uint32]*bookAccount)
		}
		a = new(bookAccount)
		s.accounts[m.device] = a
	}
	set := which(a)
	if set == nil || m.sequence > maxSequence {
		b.desk.lost.Add(1)
		return
	}
	if more := int64(m.sequence/64) + 1 - int64(len(*set)); more > 0 && !b.desk.room(8*more) {
		b.desk.lost.Add(1)
		return
	}
	set.Set(m.sequence)
}

// export copies the book, by device.
func (b *book) export() measure.HopBook {
	out := measure.HopBook{Side: b.side, Devices: []measure.HopAccount{}}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for device, a := range s.accounts {
			h := measure.HopAccount{Device: int(device), In: slices.Clone(a.in), Out: slices.Clone(a.out)}
			for key, set := range a.dropped {
				h.Dropped = append(h.Dropped, measure.HopDrop{Reason: reasonNames[key.reason], To: key.to, Messages: slices.Clone(*set)})
			}
			slices.SortFunc(h.Dropped, func(x, y measure.HopDrop) int {
				return cmp.Or(cmp.Compare(x.Reason, y.Reason), cmp.Compare(x.To, y.To))
			})
			out.Devices = append(out.Devices, h)
		}
		s.mu.Unlock()
	}
	slices.SortFunc(out.Devices, func(x, y measure.HopAccount) int { return cmp.Compare(x.Device, y.Device) })
	if n := b.desk.lost.Load(); n > 0 {
		out.Incomplete = fmt.Sprintf("%d entries found no room: a book holds %d MiB and %d messages a device", n, maxBooks>>20, maxSequence+1)
	}
	return out
}

// writeBooks leaves the books in the working directory for the supervisor,
// whole or not at all.
func writeBooks(books []measure.HopBook) error {
	text, err := json.Marshal(books)
	if err != nil {
		return err
	}
	const unfinished = report.BooksFile + ".new"
	if err := os.WriteFile(unfinished, text, 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, report.BooksFile)
}
