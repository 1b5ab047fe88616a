package campaign_test

import (
	"fmt"
	"testing"
)

// payloads is a chain through which devices send in each codec, and in which the
// hops speak another one where they can.
const payloads = `
experiment "payloads" {
  seed = 3
  matrix {
    codec = ["msgpack", "protobuf", "raw"]
  }
  phases {
    warmup  = "1s"
    measure = "1s"
    drain   = "5s"
  }
}
node "worker"   { count = 1 }
node "iot"      { count = 1 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
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
  uses  = platform.gateway
  on    = node.worker
  codec = cell.codec == "raw" ? "raw" : "json"
}
component "hub" {
  uses = platform.hub
  on   = node.worker
}
devices {
  on    = node.iot
  count = 4
  via   = component.broker
  qos   = 1
  rate  = "10/s"
  payload {
    codec = cell.codec
    size  = 700
  }
}
customers {
  on    = node.customer
  count = 2
  via   = component.broker
}
expect "a payload has the size that was asked for" {
  that = payload_B == 700
}
`

// If this failed, devices that speak something else than JSON could not be measured:
// hops would drop their messages, or customers would take them for strangers'.
func TestPayloadCodecs(t *testing.T) {
	t.Parallel()
	r := newRig(t, payloads, nil)
	_, run, err := r.run(t, t.Context())
	if err != nil || len(run.Cells) != 3 {
		t.Fatalf("%d cells, %v", len(run.Cells), err)
	}
	for _, c := range run.Cells {
		codec := fmt.Sprint(c.Dimensions[0].Value)
		if !c.Ledger.Closed || c.Ledger.Dropped != 0 || c.Ledger.Delivered != 40 {
			t.Errorf("%s: ledger %+v, want 40 delivered once each (%v)", codec, c.Ledger, c.Reasons)
		}
		for _, o := range c.Outcomes {
			if o.State != "held" {
				t.Errorf("%s: %s: %s %s", codec, o.Name, o.State, o.Message)
			}
		}
		in, out := instance(t, c, "gateway", 1), instance(t, c, "hub", 1)
		for what, size := range map[string]*float64{"gateway took": in.MessageIn, "hub handed on": out.MessageOut} {
			// The hub's may be a byte or two shorter: no length takes more than it needs.
			if size == nil || *size > 700.5 || *size < 697 {
				t.Errorf("%s: what the %s has %v bytes, want 700", codec, what, show(size))
			}
		}
		if between := in.MessageOut; codec != "raw" && (between == nil || *between < 720) {
			t.Errorf("%s: between the hops a message has %v bytes, and as JSON it is larger", codec, show(between))
		}
	}
}
