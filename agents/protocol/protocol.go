// Package protocol holds the messages between the controller and an agent, and
// nothing else: their shapes, and the frames that carry them. Both sides import
// it; it imports neither.
//
// A connection is a pair of byte streams (the stdio of `bela-agent attach`
// over SSH). The controller sends requests; the agent answers each with one
// response of the same ID, and sends events of its own accord. Events are
// numbered from 1 without gaps, so that a controller that lost its link asks for
// those after the last one it saw.
package protocol

import (
	"encoding/json"
	"time"

	"bela/measure"
)

// Version is the protocol's version; both sides refuse another.
const Version = 2

// Type names a frame's meaning.
type Type string

// Requests, responses and the event.
const (
	TypeHello            Type = "hello"
	TypePing             Type = "ping"
	TypeClock            Type = "clock"
	TypeReset            Type = "reset"
	TypeStartComponent   Type = "component.start"
	TypeStopComponent    Type = "component.stop"
	TypeComponentBooks   Type = "component.books"
	TypePrepareDevices   Type = "devices.prepare"
	TypePrepareCustomers Type = "customers.prepare"
	TypeConnect          Type = "load.connect"
	TypeProbe            Type = "load.probe"
	TypeStart            Type = "load.start"
	TypeStatus           Type = "load.status"
	TypeStop             Type = "load.stop"
	TypeCollect          Type = "load.collect"
	TypeCalibrate        Type = "load.calibrate"
	TypeShutdown         Type = "shutdown"

	TypeOK    Type = "ok"
	TypeError Type = "error"
	TypeEvent Type = "event"
)

// Frame is one message on the wire: a big-endian uint32 length and that many
// bytes of JSON.
type Frame struct {
	// ID pairs a response with its request; 0 in events.
	ID   uint64          `json:"id,omitempty"`
	Type Type            `json:"type"`
	Body json.RawMessage `json:"body,omitempty"`
	// Done, in requests, says that the controller has the answers to all requests
	// up to this ID: the agent need not remember them any longer.
	Done uint64 `json:"done,omitempty"`
}

// Error is the body of an error response.
type Error struct {
	// Code is a stable word: bad_request, deadline, not_ready, component_failed,
	// connect_failed, busy, internal, fault_failed.
	Code string `json:"code"`
	Text string `json:"text"`
	// Missing names those that were waited for and did not come.
	Missing []string `json:"missing,omitempty"`
	// Log holds the last lines of output of a component that failed.
	Log []string `json:"log,omitempty"`
}

func (e *Error) Error() string { return e.Text }

// Hello opens a connection.
type Hello struct {
	Version int    `json:"version"`
	Run     string `json:"run"`
	// After is the number of the last event that the controller has; 0 for all.
	After uint64 `json:"after,omitempty"`
	// Conversation names what goes on over several connections: requests keep
	// their IDs in it. Another one takes the agent over.
	Conversation string `json:"conversation"`
	// New leaves out every event before this hello: for a controller that takes
	// over an agent and knows nothing of what came before.
	New bool `json:"new,omitempty"`
}

// Welcome answers Hello.
type Welcome struct {
	Version int    `json:"version"`
	Agent   string `json:"agent"` // bela's version
	Run     string `json:"run"`
	PID     int    `json:"pid"`
	// MaxProcs is how many threads of the agent may run Go code at once.
	MaxProcs int `json:"max_procs,omitempty"`
	// Virtual is the hypervisor or container that the node is, as far as it can
	// tell: "kvm", "docker"; empty on bare metal and where nothing tells.
	Virtual string `json:"virtual,omitempty"`
	// LastEvent is the number of the last event so far.
	LastEvent uint64 `json:"last_event"`
	// Instance differs from that of every other agent process.
	Instance string `json:"instance"`
	// Expired says that the lease ran out since the last reset, so that load and
	// components were stopped.
	Expired bool `json:"expired,omitempty"`
}

// Pong answers ping with the agent's own clock, uncorrected: nanoseconds since
// the Unix epoch, anchored once at its start and monotonic since.
type Pong struct {
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
}

// Clock tells an agent the testbed's time axis, which is the controller's
// clock: testbed = local + Offset + Drift×(local − At). It stays fixed within
// a cell.
type Clock struct {
	Offset int64   `json:"offset_ns"`
	Drift  float64 `json:"drift"` // seconds a second
	At     int64   `json:"at_ns"` // local time at which Offset holds
}

// ComponentSpec is all that an agent needs to run one instance.
type ComponentSpec struct {
	Cell     string `json:"cell"` // names the working directory: "003"
	Name     string `json:"name"`
	Instance int    `json:"instance"` // from 1
	// Kind is broker, gateway, nats, stan, hub or process.
	Kind string `json:"kind"`
	// Executable is the path of the built-in platform on this node; empty for a process.
	Executable string `json:"executable,omitempty"`
	// Bind and Port are where it listens; Port 0 where it does not.
	Bind string `json:"bind,omitempty"`
	Port int    `json:"port,omitempty"`
	// Links are the addresses (host:port) of the instances it talks to, by what
	// it needs them as: broker, nats, stan.
	Links map[string][]string `json:"links,omitempty"`
	// Peers are the addresses (host:port) of all instances of the component, its
	// own included, where it listens.
	Peers []string `json:"peers,omitempty"`
	// User and Password are the run's own credentials for the built-in
	// components' connections; they travel in files of mode 0600, never in argv.
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`

	// Codec is that of the messages between gateway and hub, PayloadCodec that of
	// the devices and customers; empty is json.
	Codec        string        `json:"codec,omitempty"`
	PayloadCodec string        `json:"payload_codec,omitempty"`
	Queue        int           `json:"queue,omitempty"`
	Timeout      time.Duration `json:"timeout,omitempty"`
	QoS          int           `json:"qos"`
	// Ingest is the topic filter that the gateway takes ("iot/#"); Deliver is
	// the topic prefix under which the hub hands out ("out").
	Ingest  string `json:"ingest,omitempty"`
	Deliver string `json:"deliver,omitempty"`

	Command []string          `json:"command,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	// Process is what else a process of the user's own needs; nil for nothing.
	Process *ProcessSpec `json:"process,omitempty"`

	ReadyTCP     string        `json:"ready_tcp,omitempty"`
	ReadyLog     string        `json:"ready_log,omitempty"`
	ReadyCommand []string      `json:"ready_command,omitempty"`
	ReadyTimeout time.Duration `json:"ready_timeout"`
	StopSignal   string        `json:"stop_signal,omitempty"`
	StopTimeout  time.Duration `json:"stop_timeout,omitempty"`

	LimitCPU    int   `json:"limit_cpu_mcpu,omitempty"`
	LimitMemory int64 `json:"limit_memory_bytes,omitempty"`

	// Meter says where the traffic of a user's process is read; nil for built-ins.
	Meter *MeterSpec `json:"meter,omitempty"`

	// Books has a built-in broker, gateway or hub keep books of the messages with
	// these numbers in their envelopes; nil for none.
	Books *BooksSpec `json:"books,omitempty"`
}

// BooksSpec says which messages a hop keeps books of.
type BooksSpec struct {
	Run  uint32 `json:"run"`
	Cell uint32 `json:"cell"`
}

// ComponentName asks for one instance.
type ComponentName struct {
	Name     string `json:"name"`
	Instance int    `json:"instance"` // from 1
}

// ComponentBooks answers TypeComponentBooks: what an instance knows of single
// messages since it was started, a broker in two books.
type ComponentBooks struct {
	Books []measure.HopBook `json:"books"`
}

// ComponentStarted answers TypeStartComponent once the instance is ready.
type ComponentStarted struct {
	PID int `json:"pid"`
	// LimitsEnforced is false where limits were asked for and the host cannot
	// enforce them; LimitsReason says why.
	LimitsEnforced bool   `json:"limits_enforced"`
	LimitsReason   string `json:"limits_reason,omitempty"`
	// LimitsBy is what enforces limits that were asked for: "cgroup v1", "cgroup
	// v2", "systemd unit NAME (cgroup v2)".
	LimitsBy string `json:"limits_by,omitempty"`
}

// ComponentStop asks for one instance to end; Name "" is all of this agent's,
// in reverse order of their start.
type ComponentStop struct {
	Name     string `json:"name"`
	Instance int    `json:"instance"`
}

// DevicesSpec is an agent's share of the devices.
type DevicesSpec struct {
	Run  uint32 `json:"run"`  // in every envelope
	Cell uint32 `json:"cell"` // in every envelope; unique in a run for each attempt
	Node string `json:"node"`
	// Source is this node's index among the device nodes.
	Source    int           `json:"source"`
	First     int           `json:"first"`
	Count     int           `json:"count"`
	Customers int           `json:"customers"` // device d belongs to customer d mod Customers
	Brokers   []string      `json:"brokers"`   // host:port; device d uses broker d mod len
	User      string        `json:"user,omitempty"`
	Password  string        `json:"password,omitempty"`
	Bind      string        `json:"bind,omitempty"` // local address to connect from
	QoS       int           `json:"qos"`
	Rate      float64       `json:"rate_msg_s"`
	Arrivals  string        `json:"arrivals"`
	On        time.Duration `json:"on,omitempty"`
	Off       time.Duration `json:"off,omitempty"`
	Topic     string        `json:"topic"`
	Payload   int           `json:"payload_size_bytes"`
	// PayloadCodec is json, msgpack, protobuf or raw; empty is json.
	PayloadCodec string        `json:"payload_codec,omitempty"`
	Template     string        `json:"payload_template,omitempty"`
	Sensors      []Sensor      `json:"sensors,omitempty"`
	Ramp         time.Duration `json:"ramp"`
	Seed         int64         `json:"seed"`
	// AckTimeout is how long an acknowledgement is waited for before the
	// message's fate is unknown.
	AckTimeout time.Duration `json:"ack_timeout"`
}

// CustomersSpec is an agent's share of the customers.
type CustomersSpec struct {
	Run   uint32 `json:"run"`
	Cell  uint32 `json:"cell"`
	Node  string `json:"node"`
	First int    `json:"first"`
	Count int    `json:"count"`
	// Devices and Customers are the numbers of them in the whole cell; without
	// the second, a customer cannot tell a message that is not its own.
	Devices   int `json:"devices"`
	Customers int `json:"customers"`
	// SourceOf gives the first device of each device node, ascending, so that a
	// device number yields its node's index.
	SourceOf []int         `json:"source_of"`
	Brokers  []string      `json:"brokers"`
	User     string        `json:"user,omitempty"`
	Password string        `json:"password,omitempty"`
	Bind     string        `json:"bind,omitempty"`
	QoS      int           `json:"qos"`
	Topic    string        `json:"topic"` // template: {customer}
	Receive  string        `json:"receive"`
	Late     time.Duration `json:"late,omitempty"`
}

// Connect asks for all prepared devices or customers to connect (and
// subscribe); it is answered when all are, or with an Error naming who is not.
type Connect struct {
	Timeout time.Duration `json:"timeout"`
}

// Probe asks the agent's first device to publish one message, outside the
// schedule, that customers report in LoadStatus.Probes.
type Probe struct {
	ID uint32 `json:"id"`
}

// Start fixes the schedule. Messages with an intended time before At+Warmup
// are warm-up; the measured window is [At+Warmup, At+Warmup+Measure).
type Start struct {
	At      int64         `json:"at_ns"` // testbed time
	Warmup  time.Duration `json:"warmup"`
	Measure time.Duration `json:"measure"`
}

// Calibrate asks what the node's generator can do when the network costs
// nothing. Nothing may be prepared meanwhile.
type Calibrate struct {
	// Devices give the number of devices, their QoS and their payloads.
	Devices DevicesSpec `json:"devices"`
	// Rate is the largest that is planned for all of them, in messages a second.
	Rate float64 `json:"rate_msg_s"`
	// Limit is how long it may take in all.
	Limit time.Duration `json:"limit"`
}

// Calibrated answers TypeCalibrate.
type Calibrated struct {
	// Rate is the largest that was held, in messages a second; 0 where none was.
	Rate float64 `json:"rate_msg_s"`
	// LatenessP99NS is of the messages at the planned rate; nil where none was sent.
	LatenessP99NS *int64 `json:"lateness_p99_ns,omitempty"`
}

// LoadStatus answers TypeStatus.
type LoadStatus struct {
	Connected int `json:"connected"`
	Prepared  int `json:"prepared"`
	// Missing names at most ten that are not connected.
	Missing []string `json:"missing,omitempty"`
	// Probes are the IDs of the probes received so far (customers).
	Probes []uint32 `json:"probes,omitempty"`
	// Published counts measured messages handed to the transport; Pending those
	// whose fate is open (devices).
	Published int64 `json:"published"`
	Pending   int64 `json:"pending"`
	// Delivered counts first deliveries of measured messages (customers).
	Delivered int64 `json:"delivered"`
}

// Collected answers TypeCollect: a page of an agent's books of the cell.
type Collected struct {
	Devices   *DevicesResult   `json:"devices,omitempty"`
	Customers *CustomersResult `json:"customers,omitempty"`
	// Next is what the next page is asked with; nil in the last.
	Next *Cursor `json:"next,omitempty"`
}

// DevicesResult is the books of an agent's devices over the measured window.
type DevicesResult struct {
	Accounts []measure.PublishAccount `json:"accounts"`
	// Lateness is actual minus intended send time; Ack is from the actual send
	// to the broker's acknowledgement.
	Lateness *measure.Histogram `json:"lateness"`
	Ack      *measure.Histogram `json:"ack"`
	// PublishedPerSecond counts by intended second since the start of load.
	PublishedPerSecond []int64 `json:"published_per_second"`
	// PayloadBytes are the payloads of the measured messages that were handed over.
	PayloadBytes int64   `json:"payload_bytes"`
	Reconnects   int64   `json:"reconnects"`
	Errors       []Count `json:"errors,omitempty"` // at most 100 kinds
}

// CustomersResult is the books of an agent's customers over the measured window.
type CustomersResult struct {
	Accounts []measure.ReceiptAccount `json:"accounts"`
	// Latency is by intended second and device node, warm-up included.
	Latency []measure.LatencySlice `json:"latency"`
	// Service is receipt minus actual send time of the measured messages, by
	// device node and ServiceSeconds; its Second is the first of them.
	Service []measure.LatencySlice `json:"service"`
	// Foreign counts payloads without a valid envelope; Stray those of another
	// run or cell, or of a device that is not this customer's.
	Foreign    int64   `json:"foreign"`
	Stray      int64   `json:"stray"`
	Reconnects int64   `json:"reconnects"`
	Errors     []Count `json:"errors,omitempty"`
}

// ServiceSeconds is how many seconds of load make one slice of service times.
// Clocks are corrected slice by slice: 50 ppm make a quarter of a millisecond
// from its middle to its ends, and the books stay small.
const ServiceSeconds = 10

// Count is how often something was seen.
type Count struct {
	What string `json:"what"`
	N    int64  `json:"n"`
}

// Event is the body of an event frame; exactly one of the pointers is set.
type Event struct {
	Seq       uint64          `json:"seq"`
	Sample    *Sample         `json:"sample,omitempty"`
	Component *ComponentEvent `json:"component,omitempty"`
	Log       *LogEvent       `json:"log,omitempty"`
}

// ComponentEvent is a change in an instance's life that was not asked for.
type ComponentEvent struct {
	At       int64    `json:"at_ns"`
	Name     string   `json:"name"`
	Instance int      `json:"instance"`
	State    string   `json:"state"` // exited | restarted
	Detail   string   `json:"detail"`
	Log      []string `json:"log,omitempty"` // its last lines
	// Again says of one that exited that its restart policy starts it again.
	Again bool `json:"again,omitempty"`
}

// LogEvent is something an operator should see.
type LogEvent struct {
	At    int64  `json:"at_ns"`
	Level string `json:"level"` // info | warn | error
	Text  string `json:"text"`
	Code  Code   `json:"code,omitempty"`
}

// Sample is one second on a node. Counters are cumulative since the agent's
// (or the instance's) start; the controller makes rates of them.
type Sample struct {
	At         int64             `json:"at_ns"` // testbed time
	Host       HostSample        `json:"host"`
	Agent      AgentSample       `json:"agent"`
	Components []ComponentSample `json:"components,omitempty"`
	Devices    *DevicesSample    `json:"devices,omitempty"`
	Customers  *CustomersSample  `json:"customers,omitempty"`
}

// HostSample is the node as a whole.
type HostSample struct {
	CPUs        int     `json:"cpus"`
	CPUBusyNS   int64   `json:"cpu_busy_ns"` // all but idle and iowait, summed over CPUs
	StealNS     int64   `json:"steal_ns"`
	MemoryUsed  int64   `json:"memory_used_bytes"` // total minus available
	MemoryTotal int64   `json:"memory_total_bytes"`
	NetIn       int64   `json:"net_in_bytes"` // all interfaces but loopback, or loopback alone where there is no other
	NetOut      int64   `json:"net_out_bytes"`
	Load1       float64 `json:"load1"`
	// RunQueue is how many threads run or wait for a CPU right now, the
	// sampling one included.
	RunQueue int `json:"run_queue"`
	// The kernel's counters of what it could not take. SoftnetDrops are packets
	// that found their CPU's backlog full, on all of the machine; SoftnetSqueezed
	// is how often a CPU ran out of time with packets left. ListenOverflows are
	// connections that found an accept queue full, ListenDrops all that a
	// listener did not take, those included; TCPRetransmits are segments sent
	// again. The last three are of the agent's network namespace.
	SoftnetDrops    int64 `json:"softnet_drops"`
	SoftnetSqueezed int64 `json:"softnet_squeezed"`
	ListenOverflows int64 `json:"listen_overflows"`
	ListenDrops     int64 `json:"listen_drops"`
	TCPRetransmits  int64 `json:"tcp_retransmits"`
}

// AgentSample is the agent's own process: what it used, and what kept it from
// being on time.
type AgentSample struct {
	ProcessSample
	Goroutines int `json:"goroutines"`
	// GCPauseNS is how long garbage collection stopped the whole process,
	// cumulative; GCPauseMaxNS is the longest single pause since the last sample.
	GCPauseNS    int64 `json:"gc_pause_ns"`
	GCPauseMaxNS int64 `json:"gc_pause_max_ns"`
	// SchedulingP99NS is how long goroutines that could run waited for a thread
	// since the last sample, at p99; nil in the first sample.
	SchedulingP99NS *int64 `json:"scheduling_p99_ns,omitempty"`
}

// ProcessSample is a process tree, or a cgroup where there is one.
type ProcessSample struct {
	CPUNS  int64 `json:"cpu_ns"`
	Memory int64 `json:"memory_bytes"`
}

// ComponentSample is one instance.
type ComponentSample struct {
	Name     string `json:"name"`
	Instance int    `json:"instance"`
	PID      int    `json:"pid"`
	ProcessSample
	Restarts int `json:"restarts"`
	// Group is what its control group tells; nil where there is none.
	Group *GroupSample `json:"group,omitempty"`
	// Traffic is what goes in and out of a process of the user's own; nil where
	// its source has nothing new.
	Traffic *Traffic `json:"traffic,omitempty"`
	// Counters are what a built-in component counts itself; nil for others.
	// CountedAt is when they came from it, in testbed time.
	Counters  *Counters `json:"counters,omitempty"`
	CountedAt int64     `json:"counted_at_ns,omitempty"`
}

// Counters are a built-in component's own: messages and bytes in from its
// producers' side and out to its consumers' side, and drops by reason
// (timeout, queue_full, disconnected, decode …).
type Counters struct {
	MessagesIn  int64 `json:"messages_in"`
	MessagesOut int64 `json:"messages_out"`
	BytesIn     int64 `json:"bytes_in"`
	BytesOut    int64 `json:"bytes_out"`
	// PayloadIn and PayloadOut are the bytes of the messages' payloads alone; 0
	// where they are not counted.
	PayloadIn  int64            `json:"payload_in,omitempty"`
	PayloadOut int64            `json:"payload_out,omitempty"`
	Dropped    map[string]int64 `json:"dropped,omitempty"`
}

// DevicesSample is an agent's devices, cumulative over the cell, warm-up included.
type DevicesSample struct {
	Connected int   `json:"connected"`
	Intended  int64 `json:"intended"` // due by now
	Sent      int64 `json:"sent"`
	Acked     int64 `json:"acked"`
	Failed    int64 `json:"failed"`
	Unknown   int64 `json:"unknown"`
	// Lost counts connections that broke without having been closed; Reconnects
	// those of them that came back.
	Lost       int64 `json:"lost"`
	Reconnects int64 `json:"reconnects"`
	// Lateness is of the last second.
	Lateness *measure.Histogram `json:"lateness,omitempty"`
}

// CustomersSample is an agent's customers, cumulative over the cell, warm-up included.
type CustomersSample struct {
	Connected  int   `json:"connected"`
	Delivered  int64 `json:"delivered"` // first deliveries
	Duplicated int64 `json:"duplicated"`
	// Lost and Reconnects are as in DevicesSample.
	Lost       int64 `json:"lost"`
	Reconnects int64 `json:"reconnects"`
	// Latency is of the messages received in the last second.
	Latency *measure.Histogram `json:"latency,omitempty"`
}
