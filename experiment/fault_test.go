package experiment_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"bela/experiment"
)

// What a fault hits, and when, is decided before the run; a slip would kill
// something else, or at another time.
func TestFaults(t *testing.T) {
	e := mustLoad(t, `experiment "test" {
  matrix { fault = ["none", "all"] }
  phases {
    warmup  = "1500ms"
    measure = "60s"
    drain   = "20s"
  }
}
`+basicNodes+basicPlatform+`devices {
  on    = node.iot
  count = 2
}
`+basicCustomers+`
fault "last" {
  when  = cell.fault == "all"
  phase = "drain"
  at    = "1s"
  for   = "2s"
  cut { between = [node.worker, node.worker] }
}
fault "first" {
  when = cell.fault == "all"
  at   = "10s"
  kill {
    component = component.gateway
    instance  = 2
  }
}
fault "node" {
  when  = cell.fault == "all"
  phase = "warmup"
  at    = "500ms"
  for   = "5s"
  pause {
    node   = node.worker
    number = 2
  }
}
fault "slow" {
  when = cell.fault == "all"
  at   = "20s"
  for  = "5s"
  slow {
    between = [node.iot, node.customer]
    delay   = "50ms"
    loss    = "1%"
    rate    = "10mbit"
  }
}
fault "busy" {
  when = cell.fault == "all"
  at   = "30s"
  for  = "5s"
  pressure {
    on     = node.worker
    cpu    = 0.8
    memory = "500MiB"
  }
}
`, experiment.Inputs{})
	cells := e.Plan().Cells
	if len(cells) != 2 || len(cells[0].Faults) != 0 {
		t.Fatalf("cells: %+v", cells)
	}
	var lines []string
	for _, f := range cells[1].Faults {
		end, ends := f.End(cells[1].Phases)
		lines = append(lines, fmt.Sprint(f.Begin(cells[1].Phases), " ", end, " ", ends, " ", f, " ", f.RootNodes()))
	}
	// Warm-up takes 2 s, for seconds of load are whole.
	want := []string{
		`500ms 5.5s true "node" at 500ms of warmup: pause nats-1, gateway-1, for 5s []`,
		`12s 0s false "first" at 10s of measure: kill gateway-2, not started again []`,
		`22s 27s true "slow" at 20s of measure: slow iot-1, iot-2 ↔ customer-1, customer-2: delay 50ms, loss 1 %, rate 10mbit, for 5s [customer-1 customer-2 iot-1 iot-2]`,
		`32s 37s true "busy" at 30s of measure: pressure worker-1, worker-2: cpu 800m, memory 500 MiB, for 5s []`,
		`1m3s 1m5s true "last" at 1s of drain: cut worker-1, worker-2 ↔ worker-1, worker-2, for 2s [worker-1 worker-2]`,
	}
	if !slices.Equal(lines, want) {
		for i := range max(len(lines), len(want)) {
			t.Errorf("%d", i)
			if i < len(lines) {
				t.Errorf("got  %s", lines[i])
			}
			if i < len(want) {
				t.Errorf("want %s", want[i])
			}
		}
	}
	if f := cells[1].Faults[2]; f.Loss != 0.01 || f.Rate != 10_000_000 || f.Delay != 50*time.Millisecond {
		t.Errorf("%+v", f)
	}
}

// Faults that follow each other may have the same target.
func TestFaultsInTurn(t *testing.T) {
	mustLoad(t, basic+`
fault "one" {
  at  = "1s"
  for = "2s"
  pause { component = component.gateway }
}
fault "two" {
  at  = "3s"
  for = "2s"
  pause { component = component.gateway }
}
fault "cut" {
  at  = "1s"
  for = "9s"
  cut { between = [node.iot, node.worker] }
}
fault "slow" {
  at  = "1s"
  for = "9s"
  slow {
    between = [node.iot, node.worker]
    delay   = "1ms"
  }
}
`, experiment.Inputs{})
}
