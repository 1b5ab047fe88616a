package experiment

import (
	"reflect"
	"strings"
	"testing"
)

// A campaign that goes on without a node must keep every device, every customer
// and every instance, each once, on nodes that are there, and no two instances
// on one port; the plan itself must stay as it is.
func TestWithout(t *testing.T) {
	t.Parallel()
	groups := []NodeGroup{{Name: "worker", Count: 3}, {Name: "iot", Count: 3}, {Name: "customer", Count: 1}}
	cell := Cell{
		Components: []Component{
			{Name: "broker", Group: "worker", Port: 1883, Instances: []Instance{{1, "worker-1", 1883, nil}, {2, "worker-2", 1883, nil}, {3, "worker-1", 1884, nil}}},
			{Name: "hub", Group: "worker", Instances: []Instance{{1, "worker-1", 0, nil}}},
			{Name: "other", Group: "worker", Port: 1884, Instances: []Instance{{1, "worker-3", 1884, nil}}},
		},
		Devices:   Devices{Group: "iot", Count: 10, Shares: []Share{{"iot-1", 0, 4}, {"iot-2", 4, 3}, {"iot-3", 7, 3}}},
		Customers: Customers{Group: "customer", Count: 2, Shares: []Share{{"customer-1", 0, 2}}},
	}
	before := spread([]string{"iot-1", "iot-2", "iot-3"}, 10)
	got, notes, err := cell.Without(groups, []string{"worker-1", "iot-2"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Instance{{1, "worker-3", 1883, nil}, {2, "worker-2", 1883, nil}, {3, "worker-2", 1884, nil}}
	if !reflect.DeepEqual(got.Components[0].Instances, want) {
		t.Errorf("brokers %+v, want %+v", got.Components[0].Instances, want)
	}
	if n := got.Components[1].Instances[0].Node; n == "worker-1" {
		t.Error("the hub is still on the lost node")
	}
	if want := []Share{{"iot-1", 0, 5}, {"iot-3", 5, 5}}; !reflect.DeepEqual(got.Devices.Shares, want) {
		t.Errorf("devices %+v, want %+v", got.Devices.Shares, want)
	}
	if !reflect.DeepEqual(got.Customers, cell.Customers) {
		t.Errorf("customers moved: %+v", got.Customers)
	}
	if len(notes) != 4 {
		t.Errorf("notes %q, want one for each of two brokers, the hub and the devices", notes)
	}
	if cell.Components[0].Instances[0].Node != "worker-1" || !reflect.DeepEqual(cell.Devices.Shares, before) {
		t.Error("the plan itself was changed")
	}
	if _, notes, err := cell.Without(groups, []string{"iot-9"}); err != nil || len(notes) > 0 {
		t.Errorf("without a node that it does not use: %q: %v", notes, err)
	}
	if _, _, err := cell.Without(groups, []string{"customer-1"}); err == nil || !strings.Contains(err.Error(), `"customer"`) {
		t.Errorf("without its only customer node: %v", err)
	}
}

// What a file says of lost nodes must be taken, and held against the spares that
// there are.
func TestOnNodeLost(t *testing.T) {
	t.Parallel()
	const rest = `
node "worker" {
  hosts = ["10.0.0.1"]
  %SPARES%
}
node "iot" { hosts = ["10.0.0.2"] }
node "customer" { hosts = ["10.0.0.3"] }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = 1
  via   = component.broker
}
customers {
  on    = node.customer
  count = 1
  via   = component.broker
}
`
	for _, row := range []struct{ policy, spares, fails string }{
		{`on_node_lost = "without"`, ``, ""},
		{`on_node_lost = "spare"`, `spares = ["10.0.0.9"]`, ""},
		{`on_node_lost = "spare"`, ``, "needs spares"},
		{`on_node_lost = "spares"`, ``, `did you mean "spare"`},
		{``, `spares = ["10.0.0.9"]`, ""},
	} {
		text := "experiment \"x\" {\n" + row.policy + "\n}\n" + strings.Replace(rest, "%SPARES%", row.spares, 1)
		e, err := Load("x.hcl", Inputs{ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
		switch {
		case row.fails == "" && err != nil:
			t.Errorf("%s %s: %v", row.policy, row.spares, err)
		case row.fails != "" && (err == nil || !strings.Contains(err.Error(), row.fails)):
			t.Errorf("%s %s: %v, want %q", row.policy, row.spares, err, row.fails)
		case err == nil && row.policy != "" && !strings.Contains(row.policy, string(e.Plan().OnNodeLost)):
			t.Errorf("%s is read as %q", row.policy, e.Plan().OnNodeLost)
		}
	}
}
