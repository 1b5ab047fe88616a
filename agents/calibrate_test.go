package agents

import (
	"errors"
	"testing"
	"time"

	"bela/agents/protocol"
)

// If the search were wrong, cells would be called too much for a generator that
// can do them, or not for one that cannot.
func TestHighest(t *testing.T) {
	for _, tt := range []struct {
		name        string
		start, most float64
		truth       float64 // the highest rate that is held
		least       float64 // what the search may at least find
	}{
		{"far above what is planned", 20, 1e9, 300_000, 0.8 * 300_000},
		{"just above what is planned", 100_000, 1e9, 110_000, 0.8 * 110_000},
		{"just below what is planned", 100_000, 1e9, 99_000, 0.6 * 99_000},
		{"a hundredth of what is planned", 100_000, 1e9, 1000, 0.8 * 1000},
		{"nothing is held", 100_000, 1e9, 0, 0},
		{"all is held: what the devices may send at most is the limit", 20, 1e6, 1e12, 1e6},
		{"already planned to the limit", 1e6, 1e6, 1e12, 1e6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tries := 0
			got, err := highest(tt.start, tt.most, tt.start <= tt.truth, func(rate float64) (bool, error) {
				tries++
				return rate <= tt.truth, nil
			})
			if err != nil || got > tt.truth || got < tt.least || tries > 14 {
				t.Errorf("%g after %d tries (%v), want %g to %g", got, tries, err, tt.least, tt.truth)
			}
		})
	}
	over := errors.New("time is over")
	if got, err := highest(20, 1e9, true, func(rate float64) (bool, error) {
		if rate > 10_000 {
			return false, over
		}
		return true, nil
	}); got != firstStep || !errors.Is(err, over) {
		t.Errorf("%g (%v) at the end of the time, want what was held by then", got, err)
	}
}

// If this failed, a generator's capability would be made up: it must be what the
// real generator does on this machine, within the time that was given, and
// nothing may be left of it when the cell's own devices come.
func TestCalibrate(t *testing.T) {
	for _, qos := range []int{0, 1} {
		c, welcome, err := serve(t, time.Minute, time.Minute).connect(t, "run-1", 0, func(protocol.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if welcome.MaxProcs < 1 {
			t.Errorf("the agent does not say how many threads it may run: %+v", welcome)
		}
		order := protocol.Calibrate{Rate: 100, Limit: 5 * time.Second, Devices: protocol.DevicesSpec{
			Node: "iot-1", Count: 10, Customers: 1, QoS: qos, Topic: "iot/{device}", Payload: 256, Seed: 1,
		}}
		begun := time.Now()
		var got protocol.Calibrated
		// Ten messages a second and device are little for any machine, but others
		// may hold this one's CPUs for a while.
		for range 3 {
			got = protocol.Calibrated{}
			if err := c.CallTimeout(t.Context(), 30*time.Second, protocol.TypeCalibrate, order, &got); err != nil {
				t.Fatal(err)
			}
			t.Logf("QoS %d: %v msg/s after %v", qos, got.Rate, time.Since(begun))
			if got.Rate >= 100 {
				break
			}
		}
		if got.Rate < 100 || got.LatenessP99NS == nil || *got.LatenessP99NS <= 0 {
			t.Errorf("QoS %d: %+v", qos, got)
		}
		spec := order.Devices
		spec.Brokers, spec.Rate, spec.Arrivals = []string{"127.0.0.1:1"}, 1, "constant"
		if err := c.CallTimeout(t.Context(), 10*time.Second, protocol.TypePrepareDevices, spec, nil); err != nil {
			t.Error(err)
		}
		if err := c.CallTimeout(t.Context(), 10*time.Second, protocol.TypeCalibrate, order, nil); err == nil {
			t.Error("calibrated beside a cell's own devices")
		}
	}
}
