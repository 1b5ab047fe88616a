package platform_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	envelope "bela/agents/payload"
	"bela/agents/protocol"
	"bela/measure"
)

// kill ends an instance as a crash does.
func (b *bed) kill(name string, instance int) {
	b.t.Helper()
	for _, s := range b.sup.Sample() {
		if s.Name == name && s.Instance == instance {
			if p, err := os.FindProcess(s.PID); err != nil || p.Kill() != nil {
				b.t.Fatalf("cannot kill %s-%d", name, instance)
			}
			return
		}
	}
	b.t.Fatalf("%s-%d does not run", name, instance)
}

// leader is the instance of stan that leads the stream, and how many have it.
func (b *bed) leader(addresses []string) (instance, replicas int) {
	b.t.Helper()
	nc, err := nats.Connect("nats://"+strings.Join(addresses, ",nats://"), nats.UserInfo(user, password))
	if err != nil {
		b.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.NewWithDomain(nc, "stan")
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	s, err := js.Stream(ctx, "BELA")
	if err != nil {
		b.t.Fatal(err)
	}
	cluster := s.CachedInfo().Cluster
	if _, err := fmt.Sscanf(cluster.Leader[strings.LastIndexByte(cluster.Leader, '-')+1:], "%d", &instance); err != nil {
		b.t.Fatalf("the leader's name %q: %v", cluster.Leader, err)
	}
	return instance, len(cluster.Replicas) + 1
}

// arrivals are the messages that customers got, by sequence number.
type arrivals struct {
	mu  sync.Mutex
	got map[uint32]int
}

func (a *arrivals) take(_ mqtt.Client, m mqtt.Message) {
	e, err := envelope.Parse(m.Payload())
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got[e.Sequence]++
}

func (a *arrivals) count() (distinct, twice int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.got {
		distinct++
		twice += n - 1
	}
	return distinct, twice
}

// At QoS 1 a message that a device has an acknowledgement for must not be lost with
// an instance of stan or nats that is killed: the others have it, or the gateway
// still has. One that comes twice is what QoS 1 allows.
func TestKilledInstanceLosesNothing(t *testing.T) {
	for _, victim := range []string{"stan", "nats"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			b, specs := scaled(t, "json", 1)
			for i := range specs {
				specs[i].Books = &protocol.BooksSpec{Run: 7, Cell: 3}
				if specs[i].Kind == "gateway" {
					specs[i].Timeout = 2 * time.Minute // a busy machine elects slowly
				}
			}
			b.startSide(specs)
			var addresses []string
			for _, s := range specs {
				if s.Kind == "nats" {
					addresses = s.Peers
				}
			}
			led, replicas := b.leader(addresses)
			if replicas != 3 {
				t.Fatalf("%d instances have the stream, want all 3", replicas)
			}
			if victim == "nats" {
				led = 1 // of it a gateway, a hub and an instance of stan are clients
			}
			in := arrivals{got: make(map[uint32]int)}
			b.specs["broker"] = specs[0]
			done(t, b.client("customer", in.take).Subscribe("out/#", 1, nil))
			device := b.client("device", nil)
			const before, all = 200, 1500
			for seq := range all {
				if seq == before {
					b.kill(victim, led)
				}
				// An acknowledgement from the broker each, at about 200 a second.
				done(t, device.Publish("iot/1/1", 1, false, enveloped(t, 1, seq)))
				time.Sleep(4 * time.Millisecond)
			}
			// What was on its way to a hub comes again when JetStream's wait for its
			// acknowledgement is over: the hub's timeout and 30 s.
			limit := time.Now().Add(3 * patience)
			distinct, twice := in.count()
			for ; distinct < all && time.Now().Before(limit); distinct, twice = in.count() {
				time.Sleep(100 * time.Millisecond)
			}
			t.Logf("%s-%d killed: %d of %d delivered, %d of them again", victim, led, distinct, all, twice)
			in.mu.Lock()
			defer in.mu.Unlock()
			for seq := range uint32(all) {
				if in.got[seq] == 0 {
					t.Errorf("message %d is lost: %s", seq, b.fate(seq))
				}
			}
		})
	}
}

// fate is what the hops know of a message.
func (b *bed) fate(seq uint32) string {
	var text []string
	for _, s := range b.sup.Sample() {
		kind, i := s.Name, s.Instance
		if kind == "gateway" || kind == "hub" {
			for _, book := range b.books(kind, i) {
				text = append(text, fateIn(fmt.Sprintf("%s-%d", kind, i), book, seq)...)
			}
		}
	}
	return strings.Join(text, ", ")
}

func fateIn(name string, book measure.HopBook, seq uint32) (text []string) {
	for _, a := range book.Devices {
		if a.In.Has(seq) {
			text = append(text, name+" took it")
		}
		if a.Out.Has(seq) {
			text = append(text, name+" handed it on")
		}
		for _, d := range a.Dropped {
			if d.Messages.Has(seq) {
				text = append(text, name+" dropped it: "+d.Reason)
			}
		}
	}
	return text
}

// What the only instance of stan has acknowledged is on its disk: killed and started
// again, it has it still, and gateways keep what comes meanwhile.
func TestKilledStanKeepsItsMessages(t *testing.T) {
	t.Parallel()
	b := newBed(t, "json", 1)
	b.keepBooks()
	b.start("broker", "nats", "stan", "gateway")
	device := b.client("device", nil)
	const each = 300
	publish := func(from int) {
		t.Helper()
		for seq := from; seq < from+each; seq++ {
			done(t, device.Publish("iot/1/1", 1, false, enveloped(t, 1, seq)))
		}
	}
	publish(0)
	acknowledged := func() (n int64) {
		for _, book := range b.books("gateway", 1) {
			_, out, _ := tally(book)
			n += out
		}
		return n
	}
	await(t, "the stream's acknowledgements", func() bool { return acknowledged() == each })
	// No hub has asked for anything yet.
	if err := b.sup.Kill("stan", 1); err != nil {
		t.Fatal(err)
	}
	await(t, "stan to be gone", func() bool {
		return !slices.ContainsFunc(b.sup.Sample(), func(s protocol.ComponentSample) bool { return s.Name == "stan" })
	})
	publish(each)
	b.start("stan", "hub")
	in := arrivals{got: make(map[uint32]int)}
	done(t, b.client("customer", in.take).Subscribe("out/#", 1, nil))
	publish(2 * each)
	// What hub handed on before the customer was there had nobody to go to; the hub's
	// book tells.
	handed := func() (n int64) {
		for _, book := range b.books("hub", 1) {
			_, out, _ := tally(book)
			n += out
		}
		return n
	}
	for end := time.Now().Add(2 * patience); handed() < 3*each && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	// One that was started again counts what it stored itself, as all others do; the
	// gateway may have handed some on twice.
	await(t, "stan's counters", func() bool { return b.counters("stan", 1).MessagesIn >= 2*each })
	if n := b.counters("stan", 1).MessagesIn; n >= 3*each {
		t.Errorf("stan counts %d messages in, and has stored about %d since it was started again", n, 2*each)
	}
	if n := handed(); n != 3*each {
		_, _, dropped := tally(b.books("gateway", 1)[0])
		_, _, more := tally(b.books("hub", 1)[0])
		t.Errorf("%d of %d messages passed the hub; the gateway dropped %v, the hub %v; of the first %v, of those before the start %v, of the last %v",
			n, 3*each, dropped, more, b.fate(0), b.fate(each+1), b.fate(2*each+1))
	}
}
