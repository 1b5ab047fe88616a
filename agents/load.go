package agents

import (
	"context"
	"errors"
	"sync"

	"bela/agents/customer"
	"bela/agents/device"
	"bela/agents/protocol"
)

// load is an agent's devices and customers of the cell in progress.
type load struct {
	agent *agent

	mu    sync.Mutex
	fleet *device.Fleet
	crowd *customer.Crowd
}

// parts returns what is prepared, either of them nil.
func (l *load) parts() (*device.Fleet, *customer.Crowd) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fleet, l.crowd
}

var (
	errPrepared    = &protocol.Error{Code: "bad_request", Text: "already prepared: reset first"}
	errNotPrepared = &protocol.Error{Code: "bad_request", Text: "no devices are prepared on this node"}
)

func (l *load) prepareDevices(spec protocol.DevicesSpec) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fleet != nil {
		return errPrepared
	}
	fleet, err := device.New(spec, l.agent.Clock, l.agent.Logger, l.agent.log)
	if err != nil {
		return err
	}
	l.fleet = fleet
	return nil
}

func (l *load) prepareCustomers(spec protocol.CustomersSpec) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.crowd != nil {
		return errPrepared
	}
	crowd, err := customer.New(spec, l.agent.Clock, l.agent.Logger, l.agent.log)
	if err != nil {
		return err
	}
	l.crowd = crowd
	return nil
}

// connect connects customers before devices, so that no message can pass
// before its customer listens.
func (l *load) connect(ctx context.Context, c protocol.Connect) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	fleet, crowd := l.parts()
	if crowd != nil {
		if err := crowd.Connect(ctx); err != nil {
			return err
		}
	}
	if fleet != nil {
		return fleet.Connect(ctx)
	}
	return nil
}

func (l *load) probe(ctx context.Context, p protocol.Probe) error {
	fleet, _ := l.parts()
	if fleet == nil {
		return errNotPrepared
	}
	return fleet.Probe(ctx, p.ID)
}

func (l *load) start(s protocol.Start) error {
	fleet, crowd := l.parts()
	if crowd != nil {
		if err := crowd.Start(s); err != nil {
			return err
		}
	}
	if fleet != nil {
		return fleet.Start(s)
	}
	return nil
}

func (l *load) stop() {
	fleet, crowd := l.parts()
	if fleet != nil {
		fleet.Stop()
	}
	if crowd != nil {
		crowd.Stop()
	}
}

func (l *load) status() protocol.LoadStatus {
	fleet, crowd := l.parts()
	var s protocol.LoadStatus
	if fleet != nil {
		s = fleet.Status()
	}
	if crowd != nil {
		c := crowd.Status()
		s.Connected += c.Connected
		s.Prepared += c.Prepared
		s.Missing = append(s.Missing, c.Missing...)
		s.Probes = c.Probes
		s.Delivered = c.Delivered
	}
	return s
}

// collect makes one page of the books: devices first, then customers.
func (l *load) collect(c protocol.Collect) (protocol.Collected, error) {
	fleet, crowd := l.parts()
	var page protocol.Collected
	from := c.From
	if fleet != nil && (from == nil || from.Part == protocol.PartDevices) {
		at := 0
		if from != nil {
			at = from.Major
		}
		r, next := fleet.CollectPage(at, protocol.PageSize)
		page.Devices = &r
		if next >= 0 {
			page.Next = &protocol.Cursor{Part: protocol.PartDevices, Major: next}
			return page, nil
		}
		if crowd != nil {
			page.Next = &protocol.Cursor{Part: protocol.PartReceipts}
		}
		return page, nil
	}
	if crowd == nil {
		if from != nil {
			return page, &protocol.Error{Code: "bad_request", Text: "collect: there are no books of " + string(from.Part) + " on this node"}
		}
		return page, nil
	}
	r, next := crowd.CollectPage(from, protocol.PageSize)
	page.Customers, page.Next = &r, next
	return page, nil
}

// samples fills the load's part of a sample.
func (l *load) samples(s *protocol.Sample) {
	fleet, crowd := l.parts()
	if fleet != nil {
		d := fleet.Sample()
		s.Devices = &d
	}
	if crowd != nil {
		c := crowd.Sample()
		s.Customers = &c
	}
}

// clear disconnects devices, then customers, and forgets both.
func (l *load) clear(ctx context.Context) error {
	l.mu.Lock()
	fleet, crowd := l.fleet, l.crowd
	l.fleet, l.crowd = nil, nil
	l.mu.Unlock()
	var errs []error
	if fleet != nil {
		errs = append(errs, fleet.Close(ctx))
	}
	if crowd != nil {
		errs = append(errs, crowd.Close(ctx))
	}
	return errors.Join(errs...)
}
