package protocol

// GroupSample is what a control group says of an instance beyond its use, since
// the instance began; nil is not known, as without a group.
type GroupSample struct {
	// ThrottledNS is how long the CPU limit kept threads from running, summed over
	// CPUs; ThrottledPeriods counts the periods of 100 ms that it cut short.
	ThrottledNS      *int64 `json:"throttled_ns,omitempty"`
	ThrottledPeriods *int64 `json:"throttled_periods,omitempty"`
	// OOMKills counts processes that the kernel killed for want of memory.
	OOMKills *int64 `json:"oom_kills,omitempty"`
	// MemoryPeak is the most memory ever in use, in bytes, file pages included.
	MemoryPeak *int64 `json:"memory_peak_bytes,omitempty"`
}

// The sources of an instance's traffic.
const (
	TrafficOwn        = "own"     // a built-in component's counters
	TrafficSockets    = "sockets" // the kernel's counters of its TCP connections
	TrafficSys        = "sys"     // an MQTT broker's $SYS topics
	TrafficNATS       = "nats"    // a NATS server's monitoring port
	TrafficRabbitMQ   = "rabbitmq"
	TrafficPrometheus = "prometheus"
)

// MeterSpec says where an instance's traffic is read from.
type MeterSpec struct {
	// Source is one of the sources above, but TrafficOwn.
	Source string `json:"source"`
	// URL is where the source answers; sockets need none.
	URL      string `json:"url,omitempty"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	// InPorts and OutPorts bound which connections the sockets' bytes in and bytes
	// out are of: by the local port of a connection that the instance accepted, by
	// the remote one of a connection that it opened. Empty is all.
	InPorts  []int `json:"in_ports,omitempty"`
	OutPorts []int `json:"out_ports,omitempty"`
	// Map names what each number is read from: a metric of Prometheus with its
	// labels, or a $SYS topic; nil is the source's own.
	Map map[string]string `json:"map,omitempty"`
}

// The numbers that a MeterSpec's Map may name.
const (
	TrafficBytesIn     = "bytes_in"
	TrafficBytesOut    = "bytes_out"
	TrafficMessagesIn  = "messages_in"
	TrafficMessagesOut = "messages_out"
	TrafficDropped     = "dropped"
)

// Traffic is what an instance took in and gave out since it began, as its source
// counts it; nil is not known.
type Traffic struct {
	// At is when it was read, in testbed time: a source that answers late must not
	// bend a rate.
	At          int64  `json:"at_ns"`
	Source      string `json:"source"`
	BytesIn     *int64 `json:"bytes_in,omitempty"`
	BytesOut    *int64 `json:"bytes_out,omitempty"`
	MessagesIn  *int64 `json:"messages_in,omitempty"`
	MessagesOut *int64 `json:"messages_out,omitempty"`
	Dropped     *int64 `json:"dropped,omitempty"`
}
