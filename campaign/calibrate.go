package campaign

import (
	"context"
	"fmt"
	"strings"
	"time"

	"bela/agents/protocol"
	"bela/event"
	"bela/experiment"
	"bela/measure"
	"bela/nodes"
	"bela/store"
)

// calibrateLimit is how long a node may calibrate its generator.
const calibrateLimit = 10 * time.Second

// calibrate measures, where the experiment asks for it, what the generator of
// each node with devices can do; all at once, as they work in a cell. A node
// that cannot be calibrated is told of, and the run goes on without.
func (r *runner) calibrate(ctx context.Context) {
	if !r.Plan.Calibrate {
		return
	}
	_ = nodes.Each(ctx, r.testbed.members, fanOut, func(ctx context.Context, m *member) error {
		r.calibrateOne(ctx, m)
		return nil
	})
}

// calibrateOne measures one node's generator, where that is asked for and it has
// devices.
func (r *runner) calibrateOne(ctx context.Context, m *member) {
	cell, share, ok := heaviest(r.Plan, m.name())
	if !r.Plan.Calibrate || !ok {
		return
	}
	if err := r.calibrateMember(ctx, m, cell.Devices, share); err != nil && ctx.Err() == nil {
		r.emit(event.Message{Level: "warn", Node: m.name(), Text: "its generator could not be calibrated: " + err.Error()})
	}
}

func (r *runner) calibrateMember(ctx context.Context, m *member, d experiment.Devices, share experiment.Share) error {
	planned := peak(d, share)
	order := protocol.Calibrate{Rate: planned, Limit: calibrateLimit, Devices: protocol.DevicesSpec{
		Node: share.Node, Count: share.Count, Customers: 1, QoS: d.QoS, Topic: d.Topic,
		Payload: d.PayloadSize, PayloadCodec: d.PayloadCodec, Template: d.PayloadTemplate, Sensors: sensors(d.Sensors), Seed: r.Plan.Seed, AckTimeout: ackTimeout,
	}}
	var done protocol.Calibrated
	if err := m.ask(ctx, calibrateLimit+askLimit, protocol.TypeCalibrate, order, &done); err != nil {
		return err
	}
	g := &store.Generator{PlannedRate: planned, Rate: done.Rate}
	text := fmt.Sprintf("its generator holds %.4g msg/s with a network that costs nothing; the most that is planned is %.4g msg/s", g.Rate, planned)
	if ns := done.LatenessP99NS; ns != nil {
		ms := float64(*ns) / 1e6
		g.LatenessP99MS = &ms
		text += fmt.Sprintf(", late by %.3g ms at p99", ms)
	}
	m.generator = g
	r.emit(event.Message{Level: "info", Node: m.name(), Text: text})
	return nil
}

// heaviest is the cell in which a node has the most messages to send.
func heaviest(p *experiment.Plan, node string) (cell experiment.Cell, share experiment.Share, ok bool) {
	most := 0.0
	for _, c := range p.Cells {
		for _, s := range c.Devices.Shares {
			if rate := peak(c.Devices, s); s.Node == node && rate > most {
				cell, share, ok, most = c, s, true, rate
			}
		}
	}
	return cell, share, ok
}

// peak is the rate of a share of the devices in messages a second; that of the
// bursts where they come in bursts.
func peak(d experiment.Devices, s experiment.Share) float64 {
	rate := d.Rate * float64(s.Count)
	if d.Arrivals == experiment.ArrivalsOnOff && d.On > 0 {
		rate *= float64(d.On+d.Off) / float64(d.On)
	}
	return rate
}

// generators are what the cell asks of the generators that were calibrated.
func (c *cellRun) generators() []measure.GeneratorLoad {
	var all []measure.GeneratorLoad
	for _, s := range c.cell.Devices.Shares {
		if g := c.testbed.find(s.Node).generator; g != nil {
			all = append(all, measure.GeneratorLoad{Node: s.Node, Planned: peak(c.cell.Devices, s), Capable: g.Rate})
		}
	}
	return all
}

// warnCapacity tells before the load that generators are planned to do more
// than they should.
func (c *cellRun) warnCapacity() {
	if over := measure.DefaultThresholds().Overplanned(c.generators()); len(over) > 0 {
		c.emit(event.Message{
			Level: "warn", Position: c.cell.Position, Text: "the load generators are near their limit: planned " + strings.Join(over, ", "),
			Next: "spread the devices over more nodes, or lower the rate",
		})
	}
}
