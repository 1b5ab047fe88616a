package agents

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bela/agents/device"
	"bela/agents/protocol"
	"bela/agents/schedule"
	"bela/agents/transport"
	"bela/measure"
)

// Lengths of the trials of a calibration, and how long one is given to begin.
const (
	plannedTrial = 2 * time.Second
	searchTrial  = 500 * time.Millisecond
	trialLead    = 50 * time.Millisecond
)

// firstStep is a rate, in messages a second, that any machine holds; the search
// need not come closer to it in small steps.
const firstStep = 4000

// calibrate measures what this node's generator can do: the real path of a
// message from its schedule to the transport, which is one that takes all.
func (a *agent) calibrate(ctx context.Context, c protocol.Calibrate) (protocol.Calibrated, error) {
	var out protocol.Calibrated
	if fleet, crowd := a.load.parts(); fleet != nil || crowd != nil {
		return out, errPrepared
	}
	if c.Devices.Count < 1 || !(c.Rate > 0) || c.Limit <= 0 {
		return out, &protocol.Error{Code: "bad_request", Text: fmt.Sprintf("calibrate: %d devices at %v msg/s in %v: want more than 0 of each", c.Devices.Count, c.Rate, c.Limit)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Limit)
	defer cancel()
	t, err := a.trial(ctx, c.Devices, c.Rate, plannedTrial)
	if err != nil {
		return out, err
	}
	if p99, ok := t.lateness.Quantile(0.99); ok {
		ns := int64(p99)
		out.LatenessP99NS = &ns
	}
	// Somebody else's moment on the CPU must not decide: a rate is not held when
	// it was not held again.
	try := func(rate float64) (bool, error) {
		for range 2 {
			if t, err := a.trial(ctx, c.Devices, rate, searchTrial); err != nil || t.held() {
				return err == nil, err
			}
		}
		return false, nil
	}
	held := t.held()
	if !held {
		held, err = try(c.Rate)
	}
	if err == nil {
		most := float64(c.Devices.Count) * schedule.MaxRate
		out.Rate, err = highest(c.Rate, most, held, try)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // what was held by then was held
	}
	return out, err
}

// highest searches the highest rate that is held, from one of which is known
// whether it is: in steps of a factor of four up (from firstStep at least) or
// down, and then four times halfway between the last two, which leaves a fifth
// where they were a factor of four apart. Where an error ends the search it returns the highest
// that was held before.
func highest(start, most float64, held bool, try func(rate float64) (bool, error)) (float64, error) {
	low, high := 0.0, 0.0 // held, and not held
	for rate := min(start, most); ; {
		if held {
			low = rate
			if rate = min(max(4*rate, firstStep), most); rate <= low {
				return low, nil
			}
		} else {
			high = rate
			if rate /= 4; rate < start/1000 {
				return 0, nil
			}
		}
		if low > 0 && high > 0 {
			break
		}
		var err error
		if held, err = try(rate); err != nil {
			return low, err
		}
	}
	for range 4 {
		rate := (low + high) / 2
		held, err := try(rate)
		switch {
		case err != nil:
			return low, err
		case held:
			low = rate
		default:
			high = rate
		}
	}
	return low, nil
}

// trial is a short load on a transport that takes all.
type trial struct {
	intended, sent int64
	lateness       *measure.Histogram
}

// held reports whether the generator did what was planned, by the limits that
// the verdict has for a cell.
func (t trial) held() bool {
	if t.intended == 0 {
		return true // the rate is so low that none was due
	}
	limits := measure.DefaultThresholds()
	p99, ok := t.lateness.Quantile(0.99)
	return ok && p99 <= limits.LatenessDegradedMS*1e6 && float64(t.sent) >= limits.AchievedDegraded*float64(t.intended)
}

func (a *agent) trial(ctx context.Context, spec protocol.DevicesSpec, rate float64, length time.Duration) (t trial, err error) {
	spec.Brokers, spec.Ramp = []string{"nowhere"}, 0
	spec.Arrivals, spec.Rate = schedule.Constant, rate/float64(spec.Count)
	fleet, err := device.New(spec, a.Clock, a.Logger, nil, device.WithDialer(nowhere{}))
	if err != nil {
		return t, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, fleet.Close(ctx))
	}()
	if err := fleet.Connect(ctx); err != nil {
		return t, errors.Join(context.Cause(ctx), err)
	}
	if err := fleet.Start(protocol.Start{At: a.Clock.Now() + int64(trialLead), Measure: length}); err != nil {
		return t, err
	}
	select {
	case <-time.After(trialLead + length):
	case <-ctx.Done():
		return t, ctx.Err()
	}
	books := fleet.Collect()
	t.lateness = books.Lateness
	for _, account := range books.Accounts {
		t.intended += int64(account.Count)
	}
	for _, n := range books.PublishedPerSecond {
		t.sent += n
	}
	return t, nil
}

// nowhere is a transport that takes everything at once and sends it nowhere.
type nowhere struct{}

func (nowhere) Dial(_ context.Context, o transport.Options) (transport.Conn, error) {
	return &nowhereConn{acked: o.Acked, done: make(chan struct{})}, nil
}

type nowhereConn struct {
	acked func(uint64, error)
	done  chan struct{} // never closed: it does not break
}

func (c *nowhereConn) Publish(id uint64, _ string, qos byte, _ []byte) error {
	if qos > 0 && c.acked != nil {
		c.acked(id, nil)
	}
	return nil
}

func (*nowhereConn) Subscribe(context.Context, string, byte, func([]byte)) error { return nil }
func (c *nowhereConn) Done() <-chan struct{}                                     { return c.done }
func (*nowhereConn) Err() error                                                  { return nil }
func (*nowhereConn) Close(context.Context) error                                 { return nil }
