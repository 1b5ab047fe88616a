// Package meter reads what goes in and out of a process under test: from the
// kernel's counters of its TCP sockets, without its help, or from what it
// publishes of itself. It exists so that a foreign broker is measured at every
// hop as the built-in one is. It knows no experiment and starts no process.
//
// Every source is asked once a second under a deadline, apart from all else, and
// what it answers is bounded. One that fails leaves no reading; it never invents
// one.
package meter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bela/agents/protocol"
)

const (
	// interval is how often a source is asked.
	interval = time.Second
	// askTime is how long a source may take to answer.
	askTime = 2 * time.Second
)

// Options are what a Meter needs to know.
type Options struct {
	// Now is the testbed's time in nanoseconds.
	Now func() int64
	// Warn gets a line when the source fails for the first time, and when it
	// answers again. It must not block.
	Warn func(text string)
}

// source is something that can be asked.
type source interface {
	// read asks once. The reading's At is the caller's where it is 0; nil without
	// an error is nothing new, one with an error is what there is all the same.
	read(ctx context.Context) (*protocol.Traffic, error)
	close()
}

// Meter asks one source until it is closed.
type Meter struct {
	Options
	spec   protocol.MeterSpec
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	latest *protocol.Traffic
}

// Open begins to ask the source that spec names, any but the sockets, see
// Sockets. An error is of the spec; a source that does not answer yet is asked
// again.
func Open(spec protocol.MeterSpec, o Options) (*Meter, error) {
	src, err := newSource(spec, o.Now)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Meter{Options: o, spec: spec, cancel: cancel, done: make(chan struct{})}
	go m.run(ctx, src)
	return m, nil
}

// Check says what is wrong with a spec.
func Check(spec protocol.MeterSpec) error {
	if spec.Source == protocol.TrafficSockets {
		return nil
	}
	src, err := newSource(spec, func() int64 { return 0 })
	if err == nil {
		src.close()
	}
	return err
}

func newSource(spec protocol.MeterSpec, now func() int64) (source, error) {
	switch spec.Source {
	case protocol.TrafficSys:
		return newSys(spec, now)
	case protocol.TrafficNATS:
		return newNATS(spec)
	case protocol.TrafficRabbitMQ:
		return newRabbitMQ(spec)
	case protocol.TrafficPrometheus:
		return newPrometheus(spec)
	}
	return nil, fmt.Errorf("metrics: the source %q is unknown", spec.Source)
}

// Take returns the newest reading, once; nil where there is no new one.
func (m *Meter) Take() *protocol.Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.latest
	m.latest = nil
	return t
}

// Close ends it.
func (m *Meter) Close() {
	m.cancel()
	<-m.done
}

func (m *Meter) run(ctx context.Context, src source) {
	defer close(m.done)
	defer src.close()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failed := false
	for {
		err := m.ask(ctx, src)
		if ctx.Err() != nil {
			return
		}
		failed = m.tell(err, failed)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell says when the source begins to fail and when it is well again, and returns
// whether it fails.
func (m *Meter) tell(err error, failed bool) bool {
	switch {
	case err != nil && !failed:
		m.Warn(fmt.Sprintf("metrics from %s: %v; what it does not tell stays empty in the results", m.where(), err))
	case err == nil && failed:
		m.Warn(fmt.Sprintf("metrics from %s: it answers", m.where()))
	}
	return err != nil
}

func (m *Meter) where() string { return m.spec.Source + " at " + m.spec.URL }

func (m *Meter) ask(ctx context.Context, src source) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	before := m.Now()
	t, err := src.read(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", askTime)
	}
	if t == nil {
		return err
	}
	if t.At == 0 {
		t.At = before + (m.Now()-before)/2 // the counters were read on the way
	}
	t.Source = m.spec.Source
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest = t
	return err
}
