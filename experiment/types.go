package experiment

import (
	"fmt"
	"time"
)

// NodeGroup is one `node` block: machines of one role that an experiment uses.
type NodeGroup struct {
	// Name is the block's label; unique in the experiment ("worker").
	Name string `json:"name"`
	// Role is master, worker, iot or customer. It is the label where that is a
	// role, and must be given where it is not.
	Role Role `json:"role"`
	// Count is the number of nodes: len(Hosts) where hosts are given, else the
	// number of loopback lab nodes to make.
	Count int `json:"count"`
	// Hosts are the machines' names or addresses, optionally with "user@" and
	// ":port". Empty means that the embedded lab supplies them.
	Hosts []string `json:"hosts,omitempty"`
	// User logs in over SSH; empty means what ~/.ssh/config says, else the
	// invoking user.
	User string `json:"user,omitempty"`
	// Spares are further hosts of the same role, used when a node is lost.
	Spares []string `json:"spares,omitempty"`
}

// NodeName names the i-th node (from 0) of a group: "worker-1".
func (g NodeGroup) NodeName(i int) string { return nodeName(g.Name, i) }

// SpareName names the i-th spare (from 0) of a group while it stands in for
// nobody: "worker-spare-1".
func (g NodeGroup) SpareName(i int) string { return nodeName(g.Name+"-spare", i) }

// Role is what a node is for.
type Role string

// The roles of nodes.
const (
	Master   Role = "master"
	Worker   Role = "worker"
	IoT      Role = "iot"
	Customer Role = "customer"
)

// SSH holds the `ssh` block: how real machines are reached. The zero value is
// the default: what ~/.ssh/config and ~/.ssh/known_hosts say, strictly.
type SSH struct {
	Port           int           `json:"port,omitempty"`
	User           string        `json:"user,omitempty"`
	KeyFiles       []string      `json:"key_files,omitempty"`
	KnownHosts     string        `json:"known_hosts,omitempty"` // a file; empty is ~/.ssh/known_hosts
	HostKeys       HostKeyPolicy `json:"host_keys,omitempty"`
	Fingerprints   []string      `json:"fingerprints,omitempty"` // "SHA256:…", for HostKeysPinned
	Jump           []string      `json:"jump,omitempty"`         // user@host:port, in order
	ConnectTimeout time.Duration `json:"connect_timeout,omitempty"`
	Keepalive      time.Duration `json:"keepalive,omitempty"`
	Retries        int           `json:"retries,omitempty"` // of transient errors; 0 where not said
	// Lease is how long an agent goes on without hearing of its controller, and so
	// how long a link may be away; Keep how long it then keeps its results before
	// it removes itself. 0 is DefaultLease and DefaultKeep.
	Lease     time.Duration `json:"lease,omitempty"`
	Keep      time.Duration `json:"keep,omitempty"`
	Directory string        `json:"directory,omitempty"` // on the node, with "-" and its name added; empty is ".bela" in the home directory
}

// NoRetries is SSH.Retries where the file says retries = 0.
const NoRetries = -1

// HostKeyPolicy says which host keys are trusted.
type HostKeyPolicy string

// The host key policies. Strict is the default; the others are opt-in.
const (
	HostKeysStrict    HostKeyPolicy = "strict"
	HostKeysAcceptNew HostKeyPolicy = "accept-new"
	HostKeysPinned    HostKeyPolicy = "pinned"
)

// Phases are the lengths of a cell's phases.
type Phases struct {
	Warmup  time.Duration `json:"warmup"`
	Measure time.Duration `json:"measure"`
	// Drain is the longest wait for messages under way after measuring; it
	// ends earlier when the ledger closes.
	Drain time.Duration `json:"drain"`
	// Ready, Connect and Collect are the deadlines of the steps around them.
	Ready   time.Duration `json:"ready"`
	Connect time.Duration `json:"connect"`
	Collect time.Duration `json:"collect"`
}

// Kind is what a component is.
type Kind string

// The kinds of components: the built-in platform, and the user's own process.
const (
	KindBroker  Kind = "platform.broker"
	KindGateway Kind = "platform.gateway"
	KindNATS    Kind = "platform.nats"
	KindStan    Kind = "platform.stan"
	KindHub     Kind = "platform.hub"
	KindProcess Kind = "process"
)

// Component is one `component` block as it stands in one cell, with its
// instances placed on nodes.
type Component struct {
	Name  string `json:"name"`
	Kind  Kind   `json:"kind"`
	Group string `json:"group"` // the node group it runs on
	// Port is the first instance's TCP port on each node; further instances on
	// the same node take the next ones. 0 for components that listen nowhere.
	Port      int        `json:"port,omitempty"`
	Instances []Instance `json:"instances"`
	// Place is how they lie on the nodes of the group; empty is PlaceSpread.
	Place  Placement `json:"place,omitempty"`
	Limits Limits    `json:"limits"`
	// Links name the components that this one talks to, by what it needs them
	// as: "broker", "nats", "stan". Filled in where only one component fits.
	Links map[string]string `json:"links,omitempty"`

	// Settings of the built-in kinds.
	Codec   string        `json:"codec,omitempty"`   // json | msgpack | protobuf | raw
	Queue   int           `json:"queue,omitempty"`   // messages held between in and out
	Timeout time.Duration `json:"timeout,omitempty"` // a message older than this is dropped, reason "timeout"

	// Settings of KindProcess.
	Command []string          `json:"command,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	// SecretEnv are the environment variables whose values are sensitive; JSON
	// shows only their names.
	SecretEnv   map[string]Secret `json:"secret_env,omitempty"`
	Ready       Ready             `json:"ready"`
	StopSignal  string            `json:"stop_signal,omitempty"` // "TERM" unless given
	StopTimeout time.Duration     `json:"stop_timeout,omitempty"`
	Process
	// Metrics says who counts what goes in and out; nil is MeterSockets.
	Metrics *Meter `json:"metrics,omitempty"`
}

// BuiltIn says whether the component is of the built-in platform.
func (c Component) BuiltIn() bool { return c.Kind != KindProcess }

// Instance is one running copy of a component.
type Instance struct {
	Index int    `json:"index"` // from 1
	Node  string `json:"node"`
	Port  int    `json:"port,omitempty"`
	// Ports are its named ports.
	Ports map[string]int `json:"ports,omitempty"`
}

// Limits are a component instance's resource limits; 0 is none.
type Limits struct {
	CPU    int   `json:"cpu_mcpu,omitempty"` // thousandths of a core
	Memory int64 `json:"memory_bytes,omitempty"`
}

// Ready says how a process shows that it is ready; the zero value is a TCP
// connection to its port, or just running where it has none.
type Ready struct {
	TCP string `json:"tcp,omitempty"` // host:port
	// HTTP is a URL that answers a GET with Status, and with a body that the
	// regular expression Body matches where there is one.
	HTTP    string   `json:"http,omitempty"`
	Status  int      `json:"status,omitempty"`
	Body    string   `json:"body,omitempty"`
	Log     string   `json:"log,omitempty"`     // a regular expression that a line of output matches
	Command []string `json:"command,omitempty"` // exits 0
}

// Devices is the `devices` block as it stands in one cell.
type Devices struct {
	Group string `json:"group"`
	Count int    `json:"count"`
	Via   string `json:"via"` // the component they publish to
	QoS   int    `json:"qos"`
	// Rate is messages a second and device.
	Rate float64 `json:"rate_msg_s"`
	// Arrivals is constant, poisson or onoff.
	Arrivals Arrivals      `json:"arrivals"`
	On       time.Duration `json:"on,omitempty"`  // onoff: length of a burst
	Off      time.Duration `json:"off,omitempty"` // onoff: length of the pause
	// Topic is a template: {device}, {customer}, {node}.
	Topic string `json:"topic"`
	// PayloadCodec is msgpack, protobuf or raw; empty is json.
	PayloadCodec string `json:"payload_codec,omitempty"`
	// PayloadSize is the encoded payload's length in bytes; 0 is as long as the
	// readings of Sensors are.
	PayloadSize int `json:"payload_size_bytes"`
	// PayloadTemplate, where given, is JSON with {device}, {seq}, {value} …;
	// empty is the built-in sensor reading.
	PayloadTemplate string `json:"payload_template,omitempty"`
	// Sensors are what each device reads; none is the built-in reading.
	Sensors []Sensor `json:"sensors,omitempty"`
	// Ramp is how long connecting all devices is spread over.
	Ramp time.Duration `json:"ramp"`
	// Late is how old a delivery may be and still count as delivered; 0 is no bound.
	Late time.Duration `json:"late,omitempty"`
	// Shares say which devices run on which node.
	Shares []Share `json:"shares"`
}

// Arrivals is how a device's messages are spread in time.
type Arrivals string

// The arrival processes.
const (
	ArrivalsConstant Arrivals = "constant"
	ArrivalsPoisson  Arrivals = "poisson"
	ArrivalsOnOff    Arrivals = "onoff"
)

// Customers is the `customers` block as it stands in one cell.
type Customers struct {
	Group string `json:"group"`
	Count int    `json:"count"`
	Via   string `json:"via"`
	QoS   int    `json:"qos"`
	// Topic is a template: {customer}.
	Topic string `json:"topic"`
	// Receive is own (each message is for the one customer that its device
	// belongs to) or all (each customer gets every message).
	Receive Receive `json:"receive"`
	Shares  []Share `json:"shares"`
}

// Receive says who should get a message.
type Receive string

// The ways customers receive.
const (
	ReceiveOwn Receive = "own"
	ReceiveAll Receive = "all"
)

// Share is a contiguous range of devices or customers on one node.
type Share struct {
	Node  string `json:"node"`
	First int    `json:"first"` // from 0
	Count int    `json:"count"`
}

// InfluxDB is the `influxdb` block.
type InfluxDB struct {
	URL    string `json:"url"`
	Org    string `json:"org,omitempty"`
	Bucket string `json:"bucket"`
	Token  Secret `json:"-"`
}

// Secret is a string that prints, logs and encodes as "(secret)".
type Secret string

// String hides the secret.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(secret)" }

// MarshalText hides the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Reveal returns the secret itself; call it only where it is sent.
func (s Secret) Reveal() string { return string(s) }

// DimensionValue is one coordinate of a cell.
type DimensionValue struct {
	Name string `json:"name"`
	// Value is a string, float64 or bool.
	Value any `json:"value"`
}

// Cell is one combination of the matrix in one repetition, with everything
// that depends on it resolved.
type Cell struct {
	// Position is the place in the running order, from 1; it also names the
	// cell's directory.
	Position int `json:"position"`
	// Number is the combination's number in the order as written, from 1, the
	// same in every repetition.
	Number     int              `json:"cell"`
	Repetition int              `json:"repetition"` // from 1
	Values     []DimensionValue `json:"values"`
	Phases     Phases           `json:"phases"`
	// Components are in starting order: each after those it links to.
	Components []Component `json:"components"`
	// Faults are in the order in which they begin.
	Faults    []Fault       `json:"faults,omitempty"`
	Devices   Devices       `json:"devices"`
	Customers Customers     `json:"customers"`
	Expected  time.Duration `json:"expected"` // how long the cell should take
}

// Plan is everything that a run will do, decided before it starts.
type Plan struct {
	Experiment  string `json:"experiment"`
	Description string `json:"description,omitempty"`
	Seed        int64  `json:"seed"`
	// Repetitions are the most there can be, where Repeat says when they are enough.
	Repetitions int   `json:"repetitions"`
	Order       Order `json:"order"`
	// Retry is how often an invalid cell is run again.
	Retry int `json:"retry,omitempty"`
	// OnNodeLost says what becomes of the run when a node is lost; empty is LossSpare.
	OnNodeLost NodeLoss `json:"on_node_lost,omitempty"`
	// Calibrate asks to measure, before the first cell, what each node's load
	// generator can do.
	Calibrate bool `json:"calibrate,omitempty"`
	// Repeat says when the repetitions are enough; nil where all of them run.
	Repeat     *Repeat     `json:"repeat,omitempty"`
	Dimensions []string    `json:"dimensions"`
	Groups     []NodeGroup `json:"groups"`
	SSH        SSH         `json:"ssh"`
	InfluxDB   *InfluxDB   `json:"influxdb,omitempty"`
	Notify     *Notify     `json:"notify,omitempty"`
	// Cells are in running order.
	Cells []Cell `json:"cells"`
	// Expected is the sum of the cells' expected times.
	Expected time.Duration `json:"expected"`
	// Expectations are the `expect` blocks' names, in order.
	Expectations []string `json:"expectations,omitempty"`
}

// Repeat is the `repeat` block: the whole matrix is repeated until every cell's
// number is known well enough.
type Repeat struct {
	// Until is the number: a column of cells.csv.
	Until string `json:"until"`
	// Within is how far the 95 % interval of the number's median over the
	// repetitions may reach from the median, on either side, as a share of it.
	Within  float64 `json:"within"`
	AtLeast int     `json:"at_least"` // repetitions
	AtMost  int     `json:"at_most"`
}

// String is the block in words.
func (r Repeat) String() string {
	return fmt.Sprintf("%d to %d, until the 95 %% interval of the median of %s is within ±%.3g %% in every cell",
		r.AtLeast, r.AtMost, r.Until, 100*r.Within)
}

// Order is the order in which cells run.
type Order string

// The orders of cells.
const (
	OrderAsWritten Order = "as_written"
	OrderShuffled  Order = "shuffled"
)
