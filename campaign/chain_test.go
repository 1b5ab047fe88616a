package campaign

import (
	"fmt"
	"strings"
	"testing"

	"bela/agents/protocol"
	"bela/experiment"
	"bela/measure"
)

// outline writes a chain down: each hop with the instances whose books it has.
func outline(c measure.Chain) string {
	s := c.First
	for _, h := range c.Hops {
		s += " | " + h.Component + ":"
		for _, b := range h.Books {
			s += map[bool]string{true: "+", false: "-"}[b != nil]
		}
		if h.Next != "" {
			s += " " + h.Next
		}
	}
	return s
}

// Experiments differ in what they put between devices and customers. If this
// failed, the losses of a platform of one's own would be put on the built-in
// parts beside it.
func TestChainOfForeignPlatforms(t *testing.T) {
	const broker = `component "broker" {
  uses = platform.broker
  on   = node.worker
}
`
	const mosquitto = `component "mosquitto" {
  on      = node.worker
  command = ["mosquitto"]
  port    = 1883
}
`
	const relay = `component "relay" {
  on      = node.worker
  command = ["relay"]
}
`
	stream := ""
	for _, kind := range []string{"nats", "stan", "gateway", "hub"} {
		stream += fmt.Sprintf("component %q {\n  uses = platform.%s\n  on   = node.worker\n}\n", kind, kind)
	}
	for _, tt := range []struct{ name, components, via, topic, want string }{
		{"the whole platform", broker + stream, "broker", "",
			"device→broker | broker:+ broker→gateway | gateway:+ stan | stan:+ nats | hub:+ hub→broker | broker:+ broker→customer"},
		{"a process beside it is no hop", broker + stream + relay, "broker", "",
			"device→broker | broker:+ broker→gateway | gateway:+ stan | stan:+ nats | hub:+ hub→broker | broker:+ broker→customer"},
		{"a broker alone, on one topic", broker, "broker", "topic = \"iot/#\"",
			"device→broker | broker:+ broker→customer"},
		{"a foreign broker alone keeps no books", mosquitto, "mosquitto", "topic = \"iot/#\"",
			"device→mosquitto | mosquitto:- mosquitto→customer"},
		{"a foreign relay between the two sides of a broker", broker + relay, "broker", "topic = \"out/#\"",
			"device→broker | broker:+ broker→relay | relay: | broker:+ broker→customer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := chained(t, tt.components, tt.via, tt.topic)
			if got := outline(c.chain()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// chained is a cell whose built-in components have handed in books.
func chained(t *testing.T, components, via, topic string) *cellRun {
	t.Helper()
	text := `experiment "chain" {
  phases { measure = "1s" }
}
node "worker" { count = 1 }
` + components + fmt.Sprintf(`devices {
  on    = node.worker
  count = 1
  via   = component.%[1]s
  rate  = "1/s"
}
customers {
  on    = node.worker
  count = 1
  via   = component.%[1]s
  %[2]s
}
`, via, topic)
	exp, err := experiment.Load("chain.hcl", experiment.Inputs{ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
	if err != nil {
		t.Fatal(err)
	}
	cell := exp.Plan().Cells[0]
	c := &cellRun{cell: cell, wiring: wiring{cell: cell, address: func(string) string { return "127.0.0.1" }},
		hops: make(map[instanceKey][]measure.HopBook)}
	for _, p := range c.wiring.components() {
		if p.spec.Books == nil {
			continue
		}
		books := []measure.HopBook{{}}
		if strings.HasPrefix(p.spec.Kind, "broker") {
			books = []measure.HopBook{{Side: measure.SideIn}, {Side: measure.SideOut}}
		}
		c.hops[instanceKey{p.spec.Name, p.spec.Instance}] = books
	}
	return c
}

// A customer's drops are found by the name that it has at the broker.
func TestCustomersAreClientsOfTheirBroker(t *testing.T) {
	c := &cellRun{wiring: wiring{run: 0xbe1a, attempt: 12}}
	instance, client := c.serves("broker", true)(3)
	if want := protocol.CustomerClient(3, 0xbe1a, 12); instance != -1 || client != want || want != "bela-c3-be1a-c" {
		t.Errorf("customer 3 is %q at instance %d, want %q at any", client, instance, want)
	}
}
