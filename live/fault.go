package live

import (
	"slices"
	"time"

	"bela/event"
)

// Fault is something that is done to the testbed on purpose, now.
type Fault struct {
	Position int
	Name     string
	Text     string // in words, with its strength
	Since    time.Time
	For      time.Duration // 0 for one that is not made good
}

// maxFaults bounds those that are shown at a time.
const maxFaults = 32

func (s *State) applyFault(at time.Time, d event.FaultStarted) {
	f := Fault{Position: d.Position, Name: Clean(d.Name), Text: Clean(d.Text), Since: at, For: time.Duration(d.For * float64(time.Second))}
	s.Faults = slices.DeleteFunc(s.Faults, func(old Fault) bool { return old.Position == f.Position && old.Name == f.Name })
	if len(s.Faults) < maxFaults {
		s.Faults = append(s.Faults, f)
	}
}
