package campaign_test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"bela/event"
	"bela/measure"
)

// lossy is a whole platform of which one hop can be made to lose messages. It takes
// the QoS, settings of the gateway and more blocks.
const lossy = `
experiment "lossy" {
  seed = 7
  phases {
    warmup  = "0s"
    measure = "3s"
    drain   = "2s"
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
  uses = platform.gateway
  on   = node.worker
  %[2]s
}
component "hub" {
  uses = platform.hub
  on   = node.worker
}
%[3]s
devices {
  on    = node.iot
  count = 40
  via   = component.broker
  qos   = %[1]d
  rate  = "20/s"
  payload { size = 300 }
}
customers {
  on    = node.customer
  count = 3
  via   = component.broker
}
`

// charged adds the losses up and demands that they are the ledger's drops.
func charged(t *testing.T, c measure.Cell) map[string]int64 {
	t.Helper()
	by := make(map[string]int64)
	var sum int64
	for _, l := range c.Losses {
		by[l.Hop+": "+l.Reason] += l.N
		sum += l.N
	}
	t.Logf("dropped %d of %d: charged %v; counted %v; %s %v", c.Ledger.Dropped, c.Ledger.Expected, by, c.DropsByHop, c.Verdict, c.Reasons)
	if !c.Ledger.Closed || sum != c.Ledger.Dropped {
		t.Errorf("the charges add up to %d, dropped %d; ledger %+v", sum, c.Ledger.Dropped, c.Ledger)
	}
	return by
}

// If this failed, a user would look for the bottleneck in the wrong hop. Ground
// truth is the hop that was made too small, and what it counts itself: that is
// of the whole cell, and here the cell is all window.
func TestLossesAreChargedToTheHop(t *testing.T) {
	for _, tt := range []struct {
		name              string
		qos               int
		gateway, more     string
		component, reason string
		probes            int64 // that may be among what the component counts
	}{
		{"a gateway that holds a single message, under 800 a second", 1, "queue = 1", "", "gateway", "queue_full", 0},
		{"a second hub that reads another encoding, and shares the stream", 0, "codec = \"json\"", `
component "spoiler" {
  uses  = platform.hub
  on    = node.worker
  codec = "msgpack"
}`, "spoiler", "decode", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, fmt.Sprintf(lossy, tt.qos, tt.gateway, tt.more), nil)
			_, run, err := r.run(t, t.Context())
			if err != nil || len(run.Cells) != 1 {
				t.Fatalf("%d cells, %v", len(run.Cells), err)
			}
			by := charged(t, run.Cells[0])
			n := by[tt.component+": "+tt.reason]
			if n == 0 || len(by) != 1 {
				t.Errorf("charged %v, want all to %s for %s", by, tt.component, tt.reason)
			}
			if own := run.Cells[0].DropsByHop[tt.component][tt.reason]; own < n || own > n+tt.probes {
				t.Errorf("%d are charged, %s counts %d itself", n, tt.component, own)
			}
		})
	}
}

// A hop that dies takes its book along. What was lost with it must be called
// unknown: the hops beside it are alive and did their part.
func TestLossesOfADeadHopAreUnknown(t *testing.T) {
	r := newRig(t, fmt.Sprintf(lossy, 0, "", ""), nil)
	var once sync.Once
	killed := 0
	r.events.on = func(e event.Event) {
		l, ok := e.Data.(event.Load)
		if !ok || l.PublishedTotal == 0 {
			return
		}
		once.Do(func() {
			for _, p := range processes(t, "BELA_LAB="+r.lab.ID()) {
				if pid, command, _ := strings.Cut(p, " "); strings.Contains(command, "gateway -config") {
					killed++
					if out, err := exec.Command("kill", "-KILL", pid).CombinedOutput(); err != nil {
						t.Errorf("kill the gateway: %v: %s", err, out)
					}
				}
			}
		})
	}
	_, run, err := r.run(t, t.Context())
	if err != nil || len(run.Cells) != 1 {
		t.Fatalf("%d cells, %v", len(run.Cells), err)
	}
	if killed != 1 {
		t.Fatalf("%d gateways were killed, want one", killed)
	}
	by := charged(t, run.Cells[0])
	if by["unknown: no_books: gateway"] == 0 || by["unknown: no_books: gateway"] != run.Cells[0].Ledger.Dropped {
		t.Errorf("charged %v, want all to the unknown for want of the gateway's books", by)
	}
}
