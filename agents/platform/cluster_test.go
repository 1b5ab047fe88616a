package platform_test

import (
	"fmt"
	"net"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"bela/agents/platform"
	"bela/agents/protocol"
)

// scaled is the platform of the published study: hub 2, nats 3, stan 3, broker 2,
// gateway 2.
func scaled(t *testing.T, codec string, qos int) (*bed, []protocol.ComponentSpec) {
	t.Helper()
	b := newBed(t, codec, qos)
	instances := map[string]int{"broker": 2, "nats": 3, "stan": 3, "gateway": 2, "hub": 2}
	addresses := map[string][]string{}
	specs := map[string][]protocol.ComponentSpec{}
	for kind, n := range instances {
		for i := range n {
			s := b.specs[kind]
			s.Instance = i + 1
			if kind != "gateway" && kind != "hub" {
				s.Port = freeClusterPort(t)
				addresses[kind] = append(addresses[kind], local(s.Port))
			}
			specs[kind] = append(specs[kind], s)
		}
	}
	var all []protocol.ComponentSpec
	for _, kind := range []string{"broker", "nats", "stan", "gateway", "hub"} {
		for _, s := range specs[kind] {
			s.Peers = addresses[kind]
			if s.Links != nil {
				s.Links = map[string][]string{"broker": addresses["broker"], "nats": addresses["nats"]}
			}
			all = append(all, s)
		}
	}
	return b, all
}

// freeClusterPort finds a port whose leaf and cluster ports are free too.
func freeClusterPort(t *testing.T) int {
	t.Helper()
	for range 100 {
		p := freeLeafPort(t)
		if portFree(platform.ClusterPort(p)) {
			return p
		}
	}
	t.Fatal("no three free ports a thousand apart")
	return 0
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", local(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// startSide starts the instances of each component at once, as a run does.
func (b *bed) startSide(specs []protocol.ComponentSpec) {
	b.t.Helper()
	for len(specs) > 0 {
		var wg sync.WaitGroup
		n := 0
		for ; n < len(specs) && specs[n].Kind == specs[0].Kind; n++ {
			s := specs[n]
			wg.Go(func() {
				if _, err := b.sup.Start(b.t.Context(), s); err != nil {
					b.t.Errorf("start %s-%d: %v", s.Name, s.Instance, err)
				}
			})
		}
		wg.Wait()
		if b.t.Failed() {
			b.t.FailNow()
		}
		specs = specs[n:]
	}
}

// If this failed, the topology of the published study could not be run, or it
// would lose or double messages: devices at either broker reach customers at
// either broker, each message comes once, gateways take turns, and every
// instance of stan has every message.
// When one of the gateways or hubs ends, the others carry on.
func TestPublishedTopology(t *testing.T) {
	t.Parallel()
	b, specs := scaled(t, "msgpack", 1)
	b.startSide(specs)
	boxes := make([]inbox, 2)
	var devices []mqtt.Client
	for i := range 2 {
		b.specs["broker"] = specs[i]
		done(t, b.client(fmt.Sprintf("customer-%d", i), boxes[i].take).Subscribe(fmt.Sprintf("out/%d/#", i), 1, nil))
		devices = append(devices, b.client(fmt.Sprintf("device-%d", i), nil))
	}
	const each = 150
	// Device d is at broker d mod 2 and belongs to customer d/2, so that half of
	// the messages change brokers.
	for seq := range each {
		for d := range 4 {
			done(t, devices[d%2].Publish(fmt.Sprintf("iot/%d/%d", d/2, d), 1, false, payload(d, seq)))
		}
	}
	for i := range boxes {
		await(t, fmt.Sprintf("all messages at customer %d", i), func() bool { return boxes[i].distinct() == 2*each })
		boxes[i].mu.Lock()
		if len(boxes[i].all) != 2*each {
			t.Errorf("customer %d got %d messages, want %d: some came twice", i, len(boxes[i].all), 2*each)
		}
		boxes[i].mu.Unlock()
	}
	const n = 4 * each
	for i := 1; i <= 2; i++ {
		await(t, "the gateways' counters", func() bool { return b.counters("gateway", i).MessagesOut >= n/2 })
		if c := b.counters("gateway", i); c.MessagesIn != n/2 {
			t.Errorf("gateway-%d took %d of %d, want half", i, c.MessagesIn, n)
		}
	}
	total := func(name string) (all int64) {
		for i := 1; i <= 3; i++ {
			all += b.counters(name, i).MessagesOut
		}
		return all
	}
	await(t, "the hubs' counters", func() bool { return total("hub") == n })
	await(t, "stan's counters", func() bool { return total("stan") == n })
	for i := 1; i <= 3; i++ {
		await(t, fmt.Sprintf("every message at stan-%d", i), func() bool { return b.counters("stan", i).MessagesIn == n })
	}
	b.checkCarriesOn(specs, devices[1], &boxes[0])
}

// checkCarriesOn ends and starts one gateway and one hub, gracefully, while
// messages for a customer come in at the second broker. Of nats and stan an
// instance that ends may take messages along that nobody has acknowledged yet:
// gateways drop those, and count them.
func (b *bed) checkCarriesOn(specs []protocol.ComponentSpec, device mqtt.Client, in *inbox) {
	b.t.Helper()
	before := in.distinct()
	const batch = 60
	sent := 0
	publish := func() {
		b.t.Helper()
		for range batch {
			done(b.t, device.Publish("iot/0/9", 1, false, payload(9, sent)))
			sent++
		}
	}
	all := func() bool { return in.distinct() == before+sent }
	for _, s := range specs {
		if s.Kind != "gateway" && s.Kind != "hub" || s.Instance != 1 {
			continue
		}
		publish()
		if err := b.sup.Stop(b.t.Context(), s.Name, s.Instance); err != nil {
			b.t.Fatal(err)
		}
		publish()
		// What was on its way to a hub that ended comes again when JetStream's wait
		// for its acknowledgement is over: the hub's timeout and ackSlack.
		awaitWithin(b.t, 3*patience, fmt.Sprintf("all %d messages without %s-1", sent, s.Name), all)
		b.startSpec(s)
		publish()
	}
	await(b.t, fmt.Sprintf("all %d messages", sent), all)
}
