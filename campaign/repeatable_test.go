package campaign

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"

	"bela/agents/payload"
	"bela/agents/schedule"
	"bela/experiment"
)

// varied is an experiment in which all that the seed decides occurs: a shuffled
// order, each arrival process, and several codecs.
const varied = `
experiment "varied" {
  seed        = %d
  order       = "shuffled"
  repetitions = 2
  matrix {
    arrivals = ["constant", "poisson", "onoff"]
    devices  = [3, 10]
  }
  phases {
    warmup  = "2s"
    measure = "20s"
  }
}
node "worker"   { count = 1 }
node "iot"      { count = 2 }
node "customer" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on       = node.iot
  count    = cell.devices
  rate     = "3/s"
  arrivals = cell.arrivals
  payload {
    size  = 400
    codec = { constant = "json", poisson = "msgpack", onoff = "protobuf" }[cell.arrivals]
  }
}
customers {
  on    = node.customer
  count = 2
}
`

func variedPlan(t *testing.T, seed int) *experiment.Plan {
	t.Helper()
	e, err := experiment.Load("test.hcl", experiment.Inputs{
		ReadFile: func(string) ([]byte, error) { return fmt.Appendf(nil, varied, seed), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e.Plan()
}

// traffic is what the devices' agents make of what the campaign tells them about
// a cell: every message's intended time, and the payloads of the first ones.
// Those carry fixed times, so that only the seed can make them differ.
func traffic(t *testing.T, plan *experiment.Plan, cell experiment.Cell) (schedules, payloads []byte) {
	t.Helper()
	w := wiring{cell: cell, seed: plan.Seed, run: 1, attempt: 1, address: func(node string) string { return "127.0.0.1" }}
	specs := w.devices()
	for _, share := range cell.Devices.Shares {
		s := specs[share.Node]
		builder, err := payload.NewBuilder(payload.Options{Seed: s.Seed, Codec: s.PayloadCodec, Size: s.Payload, Template: s.Template, Customers: s.Customers})
		if err != nil {
			t.Fatal(err)
		}
		for device := s.First; device < s.First+s.Count; device++ {
			times, err := schedule.New(schedule.Options{
				Seed: s.Seed, Arrivals: s.Arrivals, Rate: s.Rate, On: s.On, Off: s.Off,
				Length: cell.Phases.Warmup + cell.Phases.Measure,
			}, device)
			if err != nil {
				t.Fatal(err)
			}
			for {
				sequence, offset, ok := times.Next()
				if !ok {
					break
				}
				schedules = binary.BigEndian.AppendUint32(schedules, uint32(device))
				schedules = binary.BigEndian.AppendUint32(schedules, sequence)
				schedules = binary.BigEndian.AppendUint64(schedules, uint64(offset))
			}
			for sequence := range uint32(10) {
				payloads = builder.Append(payloads, payload.Envelope{
					Run: s.Run, Cell: s.Cell, Device: uint32(device), Sequence: sequence,
					Intended: int64(sequence) * 1e9, Actual: int64(sequence)*1e9 + 1,
				})
			}
		}
	}
	return schedules, payloads
}

// The same seed must give the same experiment, byte for byte: plan.json, when
// every message is due and what is in it. Else two runs of one file measure two
// things, and no difference between them means anything. Another seed must give
// another one, or repeating under several seeds would repeat nothing.
func TestSameSeedSameBytes(t *testing.T) {
	first, again, other := variedPlan(t, 7), variedPlan(t, 7), variedPlan(t, 8)
	file := func(p *experiment.Plan) []byte {
		text, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if !bytes.Equal(file(first), file(again)) {
		t.Error("the same seed gives two different files plan.json")
	}
	order := func(p *experiment.Plan) (numbers []int) {
		for _, c := range p.Cells {
			numbers = append(numbers, c.Number)
		}
		return numbers
	}
	if fmt.Sprint(order(first)) == fmt.Sprint(order(other)) {
		t.Errorf("two seeds give the order %v", order(first))
	}
	byNumber := make(map[int]experiment.Cell)
	for _, c := range other.Cells {
		byNumber[c.Number] = c
	}
	for i, cell := range first.Cells {
		schedules, payloads := traffic(t, first, cell)
		schedulesAgain, payloadsAgain := traffic(t, again, again.Cells[i])
		if len(schedules) == 0 || !bytes.Equal(schedules, schedulesAgain) || !bytes.Equal(payloads, payloadsAgain) {
			t.Errorf("position %d, cell %d: the same seed gives other messages, of %d and %d", i+1, cell.Number, len(schedules)/16, len(schedulesAgain)/16)
		}
		otherSchedules, otherPayloads := traffic(t, other, byNumber[cell.Number])
		if bytes.Equal(schedules, otherSchedules) {
			t.Errorf("cell %d: two seeds give the same intended times", cell.Number)
		}
		if bytes.Equal(payloads, otherPayloads) {
			t.Errorf("cell %d: two seeds give the same payloads", cell.Number)
		}
	}
}
