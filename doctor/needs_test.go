package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bela/experiment"
	"bela/nodes"
)

// plan loads an experiment from text.
func plan(t *testing.T, text string) *experiment.Plan {
	t.Helper()
	file := filepath.Join(t.TempDir(), "experiment.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := experiment.Load(file, experiment.Inputs{})
	if err != nil {
		t.Fatal(err)
	}
	return e.Plan()
}

const chain = `
experiment "chain" {
  matrix { devices = [10, 1000] }
  phases { measure = "100s" }
}
node "worker" { count = 2 }
node "iot" { count = 2 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
  limits { memory = "200MiB" }
}
component "nats" {
  uses = platform.nats
  on   = node.worker
}
component "stan" {
  uses = platform.stan
  on   = node.worker
}
component "gateway" {
  uses      = platform.gateway
  on        = node.worker
  instances = 2
}
component "hub" {
  uses = platform.hub
  on   = node.worker
}
devices {
  on    = node.iot
  count = cell.devices
  via   = component.broker
  rate  = "2/s"
  ramp  = "10s"
}
customers {
  on    = node.customer
  count = 4
  via   = component.broker
}
`

// What a plan needs of a node is what the checks are held against: a slip here
// and the right check says the wrong thing.
func TestNeeds(t *testing.T) {
	all, ways := needs(plan(t, chain))
	iot, w1, w2 := all["iot-1"], all["worker-1"], all["worker-2"]
	for what, ok := range map[string]bool{
		"half of the devices on each node":                    iot.clients == 500 && iot.connections == 500,
		"the largest cell is named":                           iot.cell == 2,
		"10 devices and then 1000, half of each":              iot.again == 5+500,
		"100 devices a second arrive, and 4 customers":        w1.arrivals == 100 && w1.arrivesAt == "broker/1",
		"limits are on the broker's node alone":               slices.Equal(w1.limited, []string{"broker"}) && len(w2.limited) == 0,
		"200,000 messages are in the books of each component": w1.books == 4*200_000*bytesPerMessage && w2.books == 2*200_000*bytesPerMessage,
		// Broker, stan, the second gateway and the hub; nats and the first gateway; and the agents.
		"processes":        w1.processes == 5 && w2.processes == 3 && iot.processes == 1,
		"ports":            slices.Equal(w1.ports, []port{{1883, "broker/1"}, {4223, "stan/1"}}) && slices.Equal(w2.ports, []port{{4222, "nats/1"}}),
		"no ports on iot":  len(iot.ports) == 0,
		"memory of limits": w1.memory >= 200<<20+bytesPerProcess && w1.memory < 600<<20,
		// 500 devices with 48 KiB and 200 messages each, and the agent.
		"memory of clients": iot.memory == bytesPerProcess+500*(48<<10+200),
	} {
		if !ok {
			t.Errorf("%s: iot-1 %+v, worker-1 %+v, worker-2 %+v", what, *iot, *w1, *w2)
		}
	}
	var got []string
	for _, w := range ways {
		got = append(got, w.String())
	}
	want := []string{
		"customer-1 → worker-1:1883 (customers to broker/1)",
		"iot-1 → worker-1:1883 (devices to broker/1)",
		"iot-2 → worker-1:1883 (devices to broker/1)",
		"worker-1 → worker-1:1883 (gateway/2 to broker/1)",
		"worker-1 → worker-1:1883 (hub/1 to broker/1)",
		"worker-1 → worker-1:4223 (gateway/2 to stan/1)",
		"worker-1 → worker-1:4223 (hub/1 to stan/1)",
		"worker-1 → worker-2:4222 (gateway/2 to nats/1)",
		"worker-1 → worker-2:4222 (hub/1 to nats/1)",
		"worker-1 → worker-2:4222 (stan/1 to nats/1)",
		"worker-2 → worker-1:1883 (gateway/1 to broker/1)",
		"worker-2 → worker-1:4223 (gateway/1 to stan/1)",
		"worker-2 → worker-2:4222 (gateway/1 to nats/1)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("ways:\n%q\nwant\n%q", got, want)
	}
}

// Room that is not counted is a run that ends with a full disk; room that is counted
// where nothing goes turns small boards away.
func TestNeedsThePlatform(t *testing.T) {
	one := strings.ReplaceAll(chain, `node "worker" { count = 2 }`, `node "worker" { count = 8 }`)
	without := strings.ReplaceAll(one, `experiment "chain" {`, "experiment \"chain\" {\n  on_node_lost = \"without\"")
	for _, row := range []struct {
		name, text string
		want       map[string]bool
	}{
		{"where components run", one, map[string]bool{"worker-1": true, "worker-2": true, "worker-8": false, "iot-1": false, "customer-1": false}},
		{"where they may come to", without, map[string]bool{"worker-1": true, "worker-8": true, "iot-1": false, "customer-1": false}},
	} {
		all, _ := needs(plan(t, row.text))
		for node, want := range row.want {
			if all[node].platform != want {
				t.Errorf("%s: %s needs the platform: %v, want %v", row.name, node, all[node].platform, want)
			}
		}
	}
}

// A spare must be held against all that any node of its group does, and reach whom
// they reach; else it is called fit and cannot do their work.
func TestStandIns(t *testing.T) {
	t.Parallel()
	p := plan(t, chain)
	all, ways := needs(p)
	spare := nodes.Target{Name: "worker-spare-1", Group: "worker"}
	list := standIns(all, ways, p, []nodes.Target{spare})
	got := all[spare.Name]
	if got == nil {
		t.Fatal("it needs nothing")
	}
	for _, name := range []string{"worker-1", "worker-2"} {
		n := all[name]
		if got.connections < n.connections || got.files < n.files || got.memory < n.memory || got.again < n.again ||
			got.books < n.books || got.processes < n.processes || got.platform != n.platform {
			t.Errorf("%s needs %+v, and its spare %+v", name, n, got)
		}
		for _, p := range n.ports {
			if !slices.ContainsFunc(got.ports, func(o port) bool { return o.number == p.number }) {
				t.Errorf("the spare does not listen on %d", p.number)
			}
		}
	}
	for _, want := range []way{
		{"iot-1", spare.Name, 1883, "devices to broker/1"},
		{"customer-1", spare.Name, 1883, "customers to broker/1"},
	} {
		if !slices.Contains(list, want) {
			t.Errorf("nobody tries %v: %v", want, list)
		}
	}
	for _, w := range ways {
		if !slices.Contains(list, w) {
			t.Errorf("%v is tried no more", w)
		}
	}
}
