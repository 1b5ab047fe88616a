package campaign

import (
	"testing"

	"bela/measure"
)

// One instance of stan has every message. If this failed, a run with three of
// them would not know who lost a message because one was killed, though the two
// others know.
func TestOneCopyIsEnough(t *testing.T) {
	const three = `component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "nats" {
  uses = platform.nats
  on   = node.worker
}
component "stan" {
  uses      = platform.stan
  on        = node.worker
  instances = 3
}
component "gateway" {
  uses = platform.gateway
  on   = node.worker
}
component "hub" {
  uses      = platform.hub
  on        = node.worker
  instances = 2
}
`
	key := func(i int) instanceKey { return instanceKey{"stan", i} }
	for _, tt := range []struct {
		name    string
		missing []int // books that did not come
		killed  []int
		want    string // stan's books: + whole, ! lacking, - missing
	}{
		{"all came", nil, nil, "+"},
		{"only the first was asked", []int{2, 3}, nil, "+"},
		{"the first was killed, the second answers", []int{3}, []int{1}, "+"},
		{"the last alone answers", []int{1, 2}, nil, "+"},
		{"none answers", []int{1, 2, 3}, nil, "---"},
		{"all were killed", []int{1, 2, 3}, []int{1, 2, 3}, "!!!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := chained(t, three, "broker", "")
			for _, i := range tt.missing {
				delete(c.hops, key(i))
			}
			c.killed = make(map[instanceKey]bool)
			for _, i := range tt.killed {
				c.killed[key(i)] = true
			}
			got := ""
			for _, b := range c.chain().Hops[2].Books {
				switch {
				case b == nil:
					got += "-"
				case b.Incomplete == measure.KilledByFault:
					got += "!"
				default:
					got += "+"
				}
			}
			if got != tt.want {
				t.Errorf("stan's books are %q, want %q", got, tt.want)
			}
			groups := c.bookkeepers()
			if len(groups) != 5 { // broker, stan, gateway, hub-1, hub-2
				t.Fatalf("%d are asked for books, want 5", len(groups))
			}
		})
	}
}
