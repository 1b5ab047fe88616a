package protocol

import "time"

// Requests about faults.
const (
	// TypeFaultCheck asks whether this node can do a fault, and does nothing.
	TypeFaultCheck Type = "fault.check"
	// TypeFaultBegin begins a fault and is answered once it is in force.
	TypeFaultBegin Type = "fault.begin"
	// TypeFaultEnd heals a fault, or learns how one ended whose time was up. It
	// may be asked again, and of a fault that never began.
	TypeFaultEnd Type = "fault.end"
)

// FaultSpec is a fault on one node; exactly one of the pointers is set.
type FaultSpec struct {
	// ID is unique among the node's faults of a cell: letters, digits and -.
	ID string `json:"id"`
	// For is when the node heals the fault by itself; 0 for processes that stay
	// dead, or are started again by the controller.
	For time.Duration `json:"for,omitempty"`

	Process  *ProcessFault  `json:"process,omitempty"`
	Network  *NetworkFault  `json:"network,omitempty"`
	Pressure *PressureFault `json:"pressure,omitempty"`
	Disk     *DiskFault     `json:"disk,omitempty"`
}

// ProcessFault is about instances of this node's components.
type ProcessFault struct {
	// Do is kill, pause or stop.
	Do        string          `json:"do"`
	Instances []ComponentName `json:"instances"`
}

// What a ProcessFault does.
const (
	ProcessKill  = "kill"
	ProcessPause = "pause"
	ProcessStop  = "stop"
)

// NetworkFault is about what passes between this node and others.
type NetworkFault struct {
	// Local is this node's address, Peers are the others'. IP addresses.
	Local string   `json:"local"`
	Peers []string `json:"peers"`
	// Keep are TCP ports that the fault leaves alone, beside 22: those of SSH.
	Keep []int `json:"keep,omitempty"`
	// Cut drops everything; without it, the rest says how slow it gets.
	Cut    bool          `json:"cut,omitempty"`
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"`
	Loss   float64       `json:"loss,omitempty"` // share of the packets
	Rate   int64         `json:"rate_bit_s,omitempty"`
}

// PressureFault uses up a node's CPU and memory.
type PressureFault struct {
	CPU    int   `json:"cpu_mcpu,omitempty"`
	Memory int64 `json:"memory_bytes,omitempty"`
}

// DiskFault fills the disk that bela's directory is on.
type DiskFault struct {
	Leave int64 `json:"leave_bytes"` // bytes that stay free
}

// FaultBegun answers TypeFaultBegin.
type FaultBegun struct {
	At int64 `json:"at_ns"` // testbed time at which it was in force
	// Measured says what was measured before and by applying it, in words.
	Measured string `json:"measured,omitempty"`
}

// FaultEnded answers TypeFaultEnd.
type FaultEnded struct {
	At int64 `json:"at_ns"` // testbed time at which it was healed; 0 for one that never began
	// Measured says what was measured while it lasted, in words.
	Measured string `json:"measured,omitempty"`
}
