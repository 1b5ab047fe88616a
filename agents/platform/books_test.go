package platform_test

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	envelope "bela/agents/payload"
	"bela/agents/protocol"
	"bela/measure"
)

// enveloped is a device's message as a cell's devices send it.
func enveloped(t *testing.T, device, sequence int) []byte {
	t.Helper()
	b, err := envelope.NewBuilder(envelope.Options{Size: 300})
	if err != nil {
		t.Fatal(err)
	}
	return b.Append(nil, envelope.Envelope{Run: 7, Cell: 3, Device: uint32(device), Sequence: uint32(sequence)})
}

// keepBooks has all hops keep books.
func (b *bed) keepBooks() {
	for kind, s := range b.specs {
		s.Books = &protocol.BooksSpec{Run: 7, Cell: 3}
		b.specs[kind] = s
	}
}

func (b *bed) books(name string, instance int) []measure.HopBook {
	b.t.Helper()
	answer, err := b.sup.Books(b.t.Context(), name, instance)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.Books
}

// tally counts a book's messages in, out, and dropped by reason and client.
func tally(book measure.HopBook) (in, out int64, dropped map[string]int64) {
	dropped = make(map[string]int64)
	for _, a := range book.Devices {
		in += a.In.Count()
		out += a.Out.Count()
		for _, d := range a.Dropped {
			dropped[d.Reason+" "+d.To] += d.Messages.Count()
		}
	}
	return in, out, dropped
}

// If this failed, messages that passed would be charged to a hop whose book does
// not hold them: every hop must know every message, in either encoding, and
// still when it is asked again.
func TestBooksHoldEveryMessage(t *testing.T) {
	for _, codec := range []string{"json", "msgpack"} {
		t.Run(codec, func(t *testing.T) {
			b := newBed(t, codec, 1)
			b.keepBooks()
			b.start("broker", "nats", "stan", "gateway", "hub")
			const devices, each, n = 3, 100, 300
			var in inbox
			done(t, b.client("customer", in.take).Subscribe("out/#", 1, nil))
			device := b.client("device", nil)
			for seq := range each {
				for d := range devices {
					done(t, device.Publish(fmt.Sprintf("iot/3/%d", d), 1, false, enveloped(t, d, seq)))
				}
			}
			await(t, "all messages at the customer", func() bool { return in.distinct() == n })
			for _, hop := range []string{"gateway", "stan", "hub"} {
				await(t, hop+"'s book to show all handed on", func() bool {
					_, out, _ := tally(b.books(hop, 1)[0])
					return out == n
				})
			}
			for _, hop := range []string{"broker", "gateway", "stan", "hub"} {
				for _, book := range b.books(hop, 1) {
					in, _, dropped := tally(book)
					if in != n || len(dropped) > 0 || book.Incomplete != "" {
						t.Errorf("%s %s: %d taken, dropped %v, %q; want %d taken", hop, book.Side, in, dropped, book.Incomplete, n)
					}
				}
			}
		})
	}
}

// If this failed, what a broker drops before a slow customer would be charged to
// nobody: its books must hold as many drops as it counts, each with its client.
func TestBrokerBooksWhatItDrops(t *testing.T) {
	b := newBed(t, "json", 0)
	b.keepBooks()
	s := b.specs["broker"]
	s.Queue = 1
	b.specs["broker"] = s
	b.start("broker")
	var in inbox
	done(t, b.client("customer", in.take).Subscribe("out/#", 0, nil))
	const devices, each = 4, 2000
	var burst sync.WaitGroup
	for d := range devices {
		c := b.client(fmt.Sprintf("hub-%d", d), nil)
		messages := make([][]byte, each)
		for seq := range messages {
			messages[seq] = enveloped(t, d, seq)
		}
		burst.Go(func() {
			for _, m := range messages {
				c.Publish(fmt.Sprintf("out/1/%d", d), 0, false, m).WaitTimeout(patience)
			}
		})
	}
	burst.Wait()
	var taken, dropped int64
	await(t, "all messages at the broker, and what it did not drop at the customer", func() bool {
		books := b.books("broker", 1)
		n, _, drops := tally(books[1])
		taken, dropped = n, drops["queue_full customer"]
		if n, _, _ := tally(books[0]); books[0].Side != measure.SideIn || n != 0 || len(drops) > 1 {
			t.Fatalf("%d messages on the side of the devices, drops %v", n, drops)
		}
		return taken == devices*each && int64(in.distinct()) == taken-dropped
	})
	if dropped == 0 {
		t.Fatal("nothing was dropped: the burst was too small to show anything")
	}
	await(t, "the broker to count as many drops as its book holds", func() bool {
		return b.counters("broker", 1).Dropped["queue_full"] == dropped
	})
}

// If this failed, the controller would wait in vain for the books of what cannot
// have any, or take those of a restarted instance for whole.
func TestBooksOfThoseWithoutAny(t *testing.T) {
	b := newBed(t, "json", 1)
	b.keepBooks()
	b.start("broker", "nats", "stan", "gateway")
	if books := b.books("nats", 1); len(books) != 0 {
		t.Errorf("nats keeps %d books", len(books))
	}
	_, err := b.sup.Books(t.Context(), "gateway", 2)
	if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != "not_ready" {
		t.Errorf("books of an instance that does not run: %v", err)
	}
	for _, s := range b.sup.Sample() {
		if s.Name == "gateway" {
			if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-b.events:
	case <-time.After(patience):
		t.Fatal("no event of the killed gateway")
	}
	b.start("gateway")
	if books := b.books("gateway", 1); len(books) != 1 || books[0].Incomplete == "" {
		t.Errorf("a gateway that was started again passes its book off as whole: %+v", books)
	}
	b.startSpec(protocol.ComponentSpec{Cell: "001", Name: "user", Instance: 1, Kind: "process", Command: []string{"sleep", "60"}})
	if _, err := b.sup.Books(t.Context(), "user", 1); err == nil {
		t.Error("a user's process got a signal that ends it by default")
	}
	if running := b.sup.Running(); len(running) != 5 {
		t.Errorf("running: %v", running)
	}
}

// What a gateway handed on and no hub took was lost in stan or in nats. If stan's
// book did not tell them apart, a user would tune the wrong one: it must hold
// what is still in the stream, what was given to a hub, and how much was
// discarded.
func TestStanBooksWhatItHoldsAndDiscards(t *testing.T) {
	b := newBed(t, "json", 1)
	b.keepBooks()
	b.start("broker", "nats", "stan", "gateway")
	device := b.client("device", nil)
	const n, given, discarded = 300, 120, 50
	for seq := range n {
		done(t, device.Publish("iot/1/1", 1, false, enveloped(t, 1, seq)))
	}
	book := func() (in, out int64, h measure.HopBook) {
		books := b.books("stan", 1)
		if len(books) != 1 || books[0].Incomplete != "" {
			t.Fatalf("books %+v", books)
		}
		in, out, _ = tally(books[0])
		return in, out, books[0]
	}
	await(t, "all messages in the stream", func() bool { in, _, _ := book(); return in == n })
	if in, out, h := book(); out != 0 || h.Discarded != 0 {
		t.Errorf("%d taken, %d handed on, %d discarded, without a hub", in, out, h.Discarded)
	}

	// Somebody else takes the hub's messages, as if nats had lost them.
	nc, err := nats.Connect("nats://"+b.specs["gateway"].Links["nats"][0], nats.UserInfo(user, password))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.NewWithDomain(nc, "stan")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateOrUpdateConsumer(t.Context(), "BELA", jetstream.ConsumerConfig{Durable: "hub", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(given)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for range batch.Messages() {
		got++
	}
	if in, out, _ := book(); in != n || out != int64(got) || got == 0 {
		t.Errorf("%d taken and %d handed on, want %d and %d", in, out, n, got)
	}
	stream, err := js.Stream(t.Context(), "BELA")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(discarded+1)); err != nil {
		t.Fatal(err)
	}
	in, out, h := book()
	if in != n-discarded || out != int64(got)-discarded || h.Discarded != discarded {
		t.Errorf("%d taken, %d handed on, %d discarded; want %d, %d, %d", in, out, h.Discarded, n-discarded, got-discarded, discarded)
	}
	if out := b.counters("stan", 1).MessagesOut; out > int64(got) {
		t.Errorf("%d messages out are counted, want %d: reading the book is no delivery", out, got)
	}
}
