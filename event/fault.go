package event

// The kinds of what an experiment does to its testbed.
const (
	KindFaultStarted Kind = "fault_started"
	KindFaultHealed  Kind = "fault_healed"
)

// Kind implements Data.
func (FaultStarted) Kind() Kind { return KindFaultStarted }

// Kind implements Data.
func (FaultHealed) Kind() Kind { return KindFaultHealed }

// Fault is what both events about a fault say.
type Fault struct {
	Position int    `json:"position"`
	Name     string `json:"name"`
	// Does is the kind: kill, pause, restart, cut, slow, pressure or disk.
	Does   string   `json:"does"`
	Target string   `json:"target"` // in words: "gateway-1"
	Nodes  []string `json:"nodes"`
	// At is the testbed's time in nanoseconds since the Unix epoch, T the same in
	// seconds since the start of load.
	At int64   `json:"at_ns"`
	T  float64 `json:"t_s"`
	// Measured says, node by node, what was measured.
	Measured []string `json:"measured,omitempty"`
}

// FaultStarted says that a fault is in force.
type FaultStarted struct {
	Fault
	// Text is the fault in words, with its strength: "slow iot-1 ↔ worker-1: delay 50ms".
	Text string `json:"text"`
	// For is how long it is to last, in seconds; 0 for one that is not made good.
	For float64 `json:"for_s,omitempty"`
}

// FaultHealed says that it is not any more: what was killed is ready again.
type FaultHealed struct {
	Fault
	Lasted float64 `json:"lasted_s"`
}
