// Package event is the one stream of typed events that a run emits. The
// journal, the terminal views, InfluxDB and reports read it; none of them is
// known here.
package event

import (
	"time"

	"bela/measure"
)

// Version is the version of the JSON encoding of events.
const Version = 1

// Event is one thing that happened.
type Event struct {
	Seq  uint64 // from 1, without gaps in a run
	Time time.Time
	Data Data
}

// Data is one of the event types of this package.
type Data interface{ Kind() Kind }

// Kind names an event type in JSON.
type Kind string

// CellRef names a cell.
type CellRef struct {
	Position   int                 `json:"position"` // in the running order, from 1
	Number     int                 `json:"cell"`
	Repetition int                 `json:"repetition"`
	Attempt    int                 `json:"attempt"`
	Dimensions []measure.Dimension `json:"dimensions"`
	Expected   time.Duration       `json:"expected_ns"`
}

// NodeRef names a node.
type NodeRef struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Address string `json:"address"`
}

// RunStarted is the first event.
type RunStarted struct {
	Run        string        `json:"run"` // the run directory's name
	Experiment string        `json:"experiment"`
	Directory  string        `json:"directory"`
	Dimensions []string      `json:"dimensions"`
	Cells      []CellRef     `json:"cells"` // in running order
	Nodes      []NodeRef     `json:"nodes"`
	Components []string      `json:"components"`
	Lab        bool          `json:"lab"`
	Expected   time.Duration `json:"expected_ns"`
}

// NodeState is a change of a node.
type NodeState struct {
	Node string `json:"node"`
	// State is one of the states of nodes (node.go).
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

// CellStarted begins a cell.
type CellStarted struct {
	Cell CellRef `json:"cell"`
}

// Phase is a step in a cell's life.
type Phase string

// The phases, in order.
const (
	PhaseClean   Phase = "clean"
	PhaseStart   Phase = "start"
	PhaseConnect Phase = "connect"
	PhaseProbe   Phase = "probe"
	PhaseWarmup  Phase = "warmup"
	PhaseMeasure Phase = "measure"
	PhaseDrain   Phase = "drain"
	PhaseCollect Phase = "collect"
	PhaseStop    Phase = "stop"
)

// Phases lists the phases in order.
func Phases() []Phase {
	return []Phase{PhaseClean, PhaseStart, PhaseConnect, PhaseProbe, PhaseWarmup, PhaseMeasure, PhaseDrain, PhaseCollect, PhaseStop}
}

// PhaseStarted begins a phase of a cell.
type PhaseStarted struct {
	Position int   `json:"position"`
	Phase    Phase `json:"phase"`
	// Limit is the phase's length where it is fixed (warmup, measure), else the
	// deadline by which it must end.
	Limit time.Duration `json:"limit_ns"`
	Fixed bool          `json:"fixed"`
}

// Waiting says for whom a phase waits; sent when that changes. An empty list
// says that the wait is over.
type Waiting struct {
	Position int      `json:"position"`
	Phase    Phase    `json:"phase"`
	For      []string `json:"for"`
}

// ComponentState is a change of a component's instance.
type ComponentState struct {
	Position  int    `json:"position"`
	Component string `json:"component"`
	Instance  int    `json:"instance"`
	Node      string `json:"node"`
	// State is starting, ready, stopped, exited (not asked to) or restarted.
	State  string   `json:"state"`
	Detail string   `json:"detail,omitempty"`
	Log    []string `json:"log,omitempty"`
}

// NodeSample is one second on one node, as rates. Position is 0 between cells.
type NodeSample struct {
	Position    int               `json:"position"`
	T           int               `json:"t_s"` // seconds since the start of load; -1 outside
	Node        string            `json:"node"`
	CPUs        int               `json:"cpus"`
	CPU         float64           `json:"cpu_mcpu"`
	Steal       float64           `json:"steal_mcpu"`
	Memory      float64           `json:"memory_mib"`
	MemoryTotal float64           `json:"memory_total_mib"`
	NetIn       float64           `json:"net_in_Bps"`
	NetOut      float64           `json:"net_out_Bps"`
	Load1       float64           `json:"load1"`
	AgentCPU    float64           `json:"agent_cpu_mcpu"`
	AgentMemory float64           `json:"agent_memory_mib"`
	Components  []ComponentSample `json:"components,omitempty"`
	// At is when the second ended, where the event is late; zero where it is not.
	At time.Time `json:"at,omitzero"`
	// RunQueue is how many threads ran or waited for a CPU at the end of the
	// second.
	RunQueue int `json:"run_queue"`
	// What the kernel could not take, a second: packets that found a CPU's
	// backlog full, CPUs that ran out of time with packets left, connections that
	// a full accept queue or anything else kept from a listener, and TCP segments
	// that were sent again.
	SoftnetDrops    float64 `json:"softnet_drops_s"`
	SoftnetSqueezed float64 `json:"softnet_squeezed_s"`
	ListenOverflows float64 `json:"listen_overflows_s"`
	ListenDrops     float64 `json:"listen_drops_s"`
	TCPRetransmits  float64 `json:"tcp_retransmits_s"`
	// The agent's own: garbage collection's pauses in this second, summed and the
	// longest; goroutines; how long those that could run waited for a thread, at
	// p99, nil where that was not taken; and its devices' and customers'
	// connections that broke.
	AgentGCPause    float64  `json:"agent_gc_pause_ms"`
	AgentGCPauseMax float64  `json:"agent_gc_pause_max_ms"`
	AgentGoroutines int      `json:"agent_goroutines"`
	AgentScheduling *float64 `json:"agent_scheduling_p99_ms,omitempty"`
	ConnectionsLost int64    `json:"connections_lost"`
	// Of this second, nil where there was none: how late the node's devices sent
	// at p99, and the latency of what its customers received at p99, by the clocks
	// as they are known so far.
	Lateness *float64 `json:"lateness_p99_ms,omitempty"`
	Latency  *float64 `json:"latency_p99_ms,omitempty"`
	// ClockError bounds how far the node's clock may be off from what is known of
	// it: half the smallest round trip of the last minute's probes.
	ClockError *float64 `json:"clock_error_ms,omitempty"`
}

// ComponentSample is one second of one instance, as rates.
type ComponentSample struct {
	Component string  `json:"component"`
	Instance  int     `json:"instance"`
	CPU       float64 `json:"cpu_mcpu"`
	Memory    float64 `json:"memory_mib"`
	Restarts  int     `json:"restarts"`
	// Counted says that the component counts for itself; the fields below are
	// meaningless without.
	Counted     bool    `json:"counted"`
	MessagesIn  float64 `json:"messages_in_s"`
	MessagesOut float64 `json:"messages_out_s"`
	BytesIn     float64 `json:"bytes_in_Bps"`
	BytesOut    float64 `json:"bytes_out_Bps"`
	Dropped     float64 `json:"dropped_s"`
	// Net is what went over its connections, and NetSource who counted: "own",
	// "sockets", "sys", "nats", "rabbitmq" or "prometheus". nil is not known, or not
	// known anew in this second.
	NetIn          *float64 `json:"net_in_Bps,omitempty"`
	NetOut         *float64 `json:"net_out_Bps,omitempty"`
	NetMessagesIn  *float64 `json:"net_in_msg_s,omitempty"`
	NetMessagesOut *float64 `json:"net_out_msg_s,omitempty"`
	NetDropped     *float64 `json:"net_dropped_msg_s,omitempty"`
	NetSource      string   `json:"net_source,omitempty"`
	// Throttled is how long in this second the CPU limit kept its threads from
	// running, in ms and summed over CPUs. OOMKills counts its processes that were
	// killed for want of memory, and MemoryPeak is the most it ever had, both since
	// it began. nil is not known.
	Throttled  *float64 `json:"cpu_throttled_ms,omitempty"`
	OOMKills   *int64   `json:"oom_kills,omitempty"`
	MemoryPeak *float64 `json:"memory_mib_peak,omitempty"`
}

// Load is one second of the whole testbed while load is on.
type Load struct {
	Position int   `json:"position"`
	T        int   `json:"t_s"`
	Phase    Phase `json:"phase"`
	// At is when the second ended, where the event is late; zero where it is not.
	At time.Time `json:"at,omitzero"`
	// Connected devices and customers.
	Devices   int `json:"devices"`
	Customers int `json:"customers"`
	// Published and Delivered are messages in this second; the totals count
	// from the start of load, warm-up included.
	Published      float64 `json:"published_msg_s"`
	Delivered      float64 `json:"delivered_msg_s"`
	PublishedTotal int64   `json:"published_total"`
	DeliveredTotal int64   `json:"delivered_total"`
	// UnderWay is published times fan-out minus delivered: what is on its way
	// or dropped; which of the two is known after the drain.
	UnderWay int64 `json:"under_way"`
	// Latency of the messages received in this second, from the intended time;
	// nil where none was.
	P5       *float64 `json:"latency_p5_ms"`
	P50      *float64 `json:"latency_p50_ms"`
	P99      *float64 `json:"latency_p99_ms"`
	Lateness *float64 `json:"lateness_p99_ms"`
	// Bands counts those messages by their latency, between LatencyBounds; none
	// where nothing was received.
	Bands []int64 `json:"latency_bands,omitempty"`
}

// CellFinished carries a cell's result, which is durable by then.
type CellFinished struct {
	Cell   CellRef      `json:"cell"`
	Result measure.Cell `json:"result"`
}

// Message is a line for the operator: something noteworthy or wrong.
type Message struct {
	Level    string `json:"level"` // info | warn | error
	Position int    `json:"position,omitempty"`
	Node     string `json:"node,omitempty"`
	Text     string `json:"text"`
	Next     string `json:"next,omitempty"` // what to do about it
}

// RunFinished is the last event.
type RunFinished struct {
	Status    int    `json:"status"` // the exit status
	Reason    string `json:"reason"`
	Valid     int    `json:"valid"`
	Degraded  int    `json:"degraded"`
	Invalid   int    `json:"invalid"`
	Missing   int    `json:"missing"`
	Directory string `json:"directory"`
}
