package measure

import "time"

// Dimension is one coordinate of a cell.
type Dimension struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // string, float64 or bool
}

// Cell is the result of one cell in one repetition: one row of cells.csv.
// A nil pointer is a number that was not taken; it is written as empty, never 0.
type Cell struct {
	Position   int         `json:"position"`
	Number     int         `json:"cell"`
	Repetition int         `json:"repetition"`
	Attempt    int         `json:"attempt"` // from 1
	Dimensions []Dimension `json:"dimensions"`
	Verdict    Verdict     `json:"verdict"`
	Reasons    []Reason    `json:"reasons,omitempty"`
	StartedAt  time.Time   `json:"started_at"`
	// MeasuredSeconds is the length of the measured window.
	MeasuredSeconds float64 `json:"measured_s"`

	Ledger Ledger `json:"ledger"`

	DropsPer5Min  *float64 `json:"drops_per_5min"`
	OfferedRate   *float64 `json:"offered_msg_s"`   // what the schedule intended
	AchievedRate  *float64 `json:"achieved_msg_s"`  // what was published
	DeliveredRate *float64 `json:"delivered_msg_s"` // first deliveries
	// Payload is the mean payload of a published message as the devices sent it,
	// in bytes.
	Payload *float64 `json:"payload_B,omitempty"`

	// Latency is from the intended send time, corrected for the clocks.
	Latency Quantiles `json:"latency"`
	// Service is from the actual send time.
	Service Quantiles `json:"service"`
	// ClockErrorMS is the largest uncertainty of a one-way latency in the cell.
	ClockErrorMS *float64 `json:"clock_error_ms"`
	// NegativeLatencies counts latencies below zero after correction.
	NegativeLatencies int64 `json:"negative_latencies"`
	// LatenessP99MS is the generator's own: actual minus intended send time.
	LatenessP99MS *float64 `json:"lateness_p99_ms"`

	// Throughput per hop in bytes a second, summed over instances, as the
	// components count them on their connections; nil where there is no such hop.
	BrokerIn   *float64 `json:"broker_in_Bps"`
	BrokerOut  *float64 `json:"broker_out_Bps"`
	GatewayIn  *float64 `json:"gateway_in_Bps"`
	GatewayOut *float64 `json:"gateway_out_Bps"`
	HubIn      *float64 `json:"hub_in_Bps"`

	// Losses charge each dropped delivery of the measured window to the hop that
	// lost it; their sum is Ledger.Dropped.
	Losses []Loss `json:"losses,omitempty"`

	// DropsByHop are the drops that components counted themselves, by
	// component name and reason.
	DropsByHop map[string]map[string]int64 `json:"drops_by_hop,omitempty"`

	// Faults are what was done to the testbed, and what each cost; FaultDropped are
	// the deliveries that all of them together cost, nil where that is not known.
	Faults       []Fault `json:"faults,omitempty"`
	FaultDropped *int64  `json:"fault_dropped,omitempty"`

	Components []Component `json:"components"`
	Outcomes   []Outcome   `json:"expectations,omitempty"`

	// Notes are what happened in the cell and does not speak against it.
	Notes []string `json:"notes,omitempty"`

	// Attempts are all attempts at the cell, in order, this one last; empty
	// where the first one stood.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// Attempt is how one attempt at a cell ended.
type Attempt struct {
	Attempt   int       `json:"attempt"` // from 1
	StartedAt time.Time `json:"started_at"`
	Verdict   Verdict   `json:"verdict"`
	Reasons   []Reason  `json:"reasons,omitempty"`
}

// Quantiles summarize a histogram, in milliseconds; nil where nothing was recorded.
type Quantiles struct {
	Count int64    `json:"count"`
	Mean  *float64 `json:"mean_ms"`
	P5    *float64 `json:"p5_ms"`
	P50   *float64 `json:"p50_ms"`
	P95   *float64 `json:"p95_ms"`
	P99   *float64 `json:"p99_ms"`
	P999  *float64 `json:"p999_ms"`
	Max   *float64 `json:"max_ms"`
}

// Component is the resource use of one instance in the measured window: one
// row of components.csv.
type Component struct {
	Component  string   `json:"component"`
	Instance   int      `json:"instance"`
	Node       string   `json:"node"`
	CPUMean    *float64 `json:"cpu_mcpu_mean"`
	CPUP95     *float64 `json:"cpu_mcpu_p95"`
	CPUMax     *float64 `json:"cpu_mcpu_max"`
	MemoryMean *float64 `json:"memory_mib_mean"`
	MemoryMax  *float64 `json:"memory_mib_max"`
	NetIn      *float64 `json:"net_in_Bps"`
	NetOut     *float64 `json:"net_out_Bps"`
	Restarts   int      `json:"restarts"`
	// CPUThrottled is how long the CPU limit kept threads from running, in seconds
	// and summed over CPUs. MemoryPeak is since the instance began; OOMKills counts
	// its processes that were killed for want of memory in the cell.
	CPUThrottled *float64 `json:"cpu_throttled_s"`
	OOMKills     *int64   `json:"oom_kills"`
	MemoryPeak   *float64 `json:"memory_mib_peak"`
	// NetSource is who counted NetIn and NetOut: "own", "sockets", "sys", "nats",
	// "rabbitmq" or "prometheus"; empty where nobody did.
	NetSource string `json:"net_source,omitempty"`
	// Messages taken in and handed on, a second; and the mean size of their
	// payloads in bytes. Nil where the instance does not count them.
	MessagesIn  *float64 `json:"in_msg_s"`
	MessagesOut *float64 `json:"out_msg_s"`
	MessageIn   *float64 `json:"in_message_B"`
	MessageOut  *float64 `json:"out_message_B"`
	// Share is the instance's part of the messages that its component took. The
	// others are the component's (see Balance), the same for all its instances.
	Share       *float64 `json:"share"`
	MaxOverMean *float64 `json:"share_max_over_mean"`
	ShareCV     *float64 `json:"share_cv"`
}

// Outcome is one expectation held against a cell.
type Outcome struct {
	Name    string `json:"name"`
	State   string `json:"state"` // held | failed | unknown
	Message string `json:"message,omitempty"`
}

// Verdict says whether a cell's numbers are fit to use.
type Verdict string

// The verdicts. A degraded cell's numbers hold with the stated reservation; an
// invalid cell's numbers must not be used.
const (
	Valid    Verdict = "valid"
	Degraded Verdict = "degraded"
	Invalid  Verdict = "invalid"
)

// Reason is why a cell is not simply valid.
type Reason struct {
	// Code is a stable word: generator_late, ledger_open, node_lost …
	Code    string  `json:"code"`
	Verdict Verdict `json:"verdict"` // what this reason alone makes of the cell
	Text    string  `json:"text"`    // with the value and the threshold
}

// Second is one second of a cell over the whole testbed: one row of series.csv.
type Second struct {
	// T is seconds since the start of load; Phase is warmup, measure or drain.
	T         int      `json:"t_s"`
	Phase     string   `json:"phase"`
	Published int64    `json:"published"`
	Delivered int64    `json:"delivered"`
	Dropped   *int64   `json:"dropped"` // known once the ledger is closed
	P5        *float64 `json:"latency_p5_ms"`
	P50       *float64 `json:"latency_p50_ms"`
	P99       *float64 `json:"latency_p99_ms"`
}
