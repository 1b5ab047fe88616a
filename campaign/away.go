package campaign

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/event"
)

// What a cell makes of links that are lost for a while.

// cellNow is the cell in progress; nil between cells.
func (r *runner) cellNow() *cellRun {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// onLink takes the change of a node's link.
func (r *runner) onLink(m *member, l client.Link) {
	c := r.cellNow()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.meter != nil {
		c.meter.link(m.name(), !l.Up)
	}
	if l.Up {
		c.notes = noted(c.notes, fmt.Sprintf("the link of node %s was away for %.1f s", m.name(), l.Away.Seconds()))
	}
}

// onGap takes the number of events that an agent could not hold until its link
// was back.
func (r *runner) onGap(m *member, events uint64) {
	msg := event.Message{
		Level: "warn", Node: m.name(), Text: fmt.Sprintf("%d of its events are lost: they were more than its spool holds", events),
	}
	if c := r.cellNow(); c != nil {
		msg.Position = c.cell.Position
		c.mu.Lock()
		if c.gaps == nil {
			c.gaps = make(map[string]uint64)
		}
		c.gaps[m.name()] += events
		c.mu.Unlock()
	}
	r.emit(msg)
}

// untimely takes a sample that cannot be of now: it counts as one that is lost.
func (r *runner) untimely(m *member, c *cellRun, s *protocol.Sample) {
	if c == nil {
		return
	}
	c.mu.Lock()
	if c.gaps == nil {
		c.gaps = make(map[string]uint64)
	}
	c.gaps[m.name()]++
	said := c.untimely[m.name()]
	if c.untimely == nil {
		c.untimely = make(map[string]bool)
	}
	c.untimely[m.name()] = true
	c.mu.Unlock()
	if !said {
		r.emit(event.Message{Level: "warn", Node: m.name(), Position: c.cell.Position, Text: fmt.Sprintf(
			"its samples are left out: they are of a time that is %v off", time.Duration(s.At-controllerClock()).Round(time.Second))})
	}
}

// lostEvents are the nodes of which events are lost, in words.
func (c *cellRun) lostEvents() []string {
	var all []string
	for _, node := range slices.Sorted(maps.Keys(c.gaps)) {
		all = append(all, fmt.Sprintf("%s (%d)", node, c.gaps[node]))
	}
	return all
}

// onDisk takes what an agent says of its node's disk.
func (r *runner) onDisk(m *member, e protocol.LogEvent) {
	switch e.Code {
	case protocol.DiskFull:
		r.emit(event.NodeState{Node: m.name(), State: event.NodeDiskFull, Detail: "free some space on the node: " + e.Text})
	case protocol.DiskFree:
		r.emit(event.NodeState{Node: m.name(), State: event.NodeDiskFree, Detail: e.Text})
	}
}
