package campaign_test

import (
	"fmt"
	"math"
	"testing"

	"bela/measure"
)

// published is the topology of the published study with an imbalance that is
// known: device d is at broker d mod 2, so of three devices two are at the first,
// and every hub hands every message to both brokers.
const published = `
experiment "published" {
  seed = 3
  phases {
    warmup  = "3s" # what waited while twelve processes began is through by then
    measure = "3s"
    drain   = "5s"
  }
}
node "worker"   { count = 3 }
node "iot"      { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses      = platform.broker
  on        = node.worker
  instances = 2
}
component "nats" {
  uses      = platform.nats
  on        = node.worker
  instances = 3
}
component "stan" {
  uses      = platform.stan
  on        = node.worker
  instances = 3
}
component "gateway" {
  uses      = platform.gateway
  on        = node.worker
  instances = 2
  codec     = "msgpack"
}
component "hub" {
  uses      = platform.hub
  on        = node.worker
  instances = 2
  codec     = "msgpack"
}
devices {
  on    = node.iot
  count = 3
  via   = component.broker
  qos   = 1
  rate  = "40/s"
  payload { size = 600 }
}
customers {
  on    = node.customer
  count = 2
  via   = component.broker
}
expect "MessagePack moves fewer bytes than JSON" {
  that = component.gateway.out_message_B < component.gateway.in_message_B
}
expect "gateways share evenly" {
  that = component.gateway.share_max_over_mean < 1.05
}
`

// If this failed, the topology of the published study could not be measured, or
// the tables would call an uneven load even.
func TestTruthPublishedTopology(t *testing.T) {
	truth(t, published, func(c measure.Cell) (wrong []string) {
		say := func(format string, values ...any) { wrong = append(wrong, fmt.Sprintf(format, values...)) }
		if !c.Ledger.Closed || c.Ledger.Dropped != 0 || c.Ledger.Duplicated != 0 || c.Ledger.Delivered != 360 {
			say("ledger %+v, want 360 delivered once each", c.Ledger)
		}
		for _, o := range c.Outcomes {
			if o.State != "held" {
				say("%s: %s %s", o.Name, o.State, o.Message)
			}
		}
		near := func(what string, got *float64, want float64) {
			if got == nil || math.Abs(*got-want) > 0.03*want {
				say("%s is %v, want %v", what, show(got), want)
			}
		}
		// Of 120 messages a second the brokers' devices send 80 and 40, and 120 come back.
		for i, want := range []float64{200.0 / 360, 160.0 / 360} {
			near("the broker's share", instance(t, c, "broker", i+1).Share, want)
		}
		near("the brokers' largest over mean", instance(t, c, "broker", 1).MaxOverMean, 200.0/180)
		near("the brokers' variation", instance(t, c, "broker", 1).ShareCV, 20.0/180)
		for i := 1; i <= 2; i++ {
			g := instance(t, c, "gateway", i)
			near("a gateway's share", g.Share, 0.5)
			near("a gateway's messages", g.MessagesIn, 60)
			near("a document", g.MessageIn, 600)
			near("what a hub takes", instance(t, c, "hub", i).MessageIn, *g.MessageOut)
			near("what a hub hands on", instance(t, c, "hub", i).MessageOut, 600)
		}
		for i := 1; i <= 3; i++ {
			near("what each stan stores", instance(t, c, "stan", i).MessagesIn, 120)
		}
		return wrong
	})
}

func show(v *float64) any {
	if v == nil {
		return "missing"
	}
	return *v
}

func instance(t *testing.T, c measure.Cell, component string, i int) measure.Component {
	t.Helper()
	for _, k := range c.Components {
		if k.Component == component && k.Instance == i {
			return k
		}
	}
	t.Fatalf("no %s-%d in the tables", component, i)
	return measure.Component{}
}
