package influx

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bela/event"
	"bela/measure"
)

// The measurements. docs/influxdb.md says what is in each.
const (
	measurementNode          = "bela_node"
	measurementComponent     = "bela_component"
	measurementLoad          = "bela_load"
	measurementCell          = "bela_cell"
	measurementCellComponent = "bela_cell_component"
	measurementCellDrops     = "bela_cell_drops"
)

// dimensionPrefix goes before a matrix dimension's name in its tag, so that a
// dimension called "node" cannot be taken for the node.
const dimensionPrefix = "dim_"

// maxDropTags bounds the component and reason pairs of one cell: the reasons are
// words of the components, and each pair is a series.
const maxDropTags = 64

// Encoder makes line protocol of a run's events. It also reads the events that
// say which cells and nodes there are, so feed it every event, in order. It is
// not safe for concurrent use.
type Encoder struct {
	experiment, run string // escaped tags
	roles           map[string]string
	cells           map[int]cellTags // by position
	outside         cellTags         // between cells
}

// cellTags are the escaped tags that tell one cell, in the alphabetical order in
// which InfluxDB wants a point's tags; other tags go in between.
type cellTags struct {
	head string // attempt, cell
	dims string // dim_…, experiment
	tail string // repetition
}

// NewEncoder returns an encoder for one run: the experiment's name, and the run
// directory's.
func NewEncoder(experiment, run string) *Encoder {
	e := &Encoder{
		experiment: string(appendTag(nil, "experiment", experiment)),
		run:        string(appendTag(nil, "run", run)),
		roles:      make(map[string]string),
		cells:      make(map[int]cellTags),
	}
	e.outside = cellTags{dims: e.experiment}
	return e
}

// Append appends the event's points to dst, each a line that ends in '\n', and
// returns the extended buffer. An event without numbers appends nothing. The
// per-second events allocate nothing beyond dst.
//
// A point's time is its event's, or the second's where the event was late, to the
// microsecond, with the last three digits of the event's number as nanoseconds: two
// events of the same instant stay two points, and encoding a run again gives the
// same points again.
func (e *Encoder) Append(dst []byte, ev event.Event) []byte {
	l := line{buf: dst}
	switch d := ev.Data.(type) {
	case event.RunStarted:
		e.learn(d)
	case event.CellStarted:
		e.cells[d.Cell.Position] = e.cellTags(d.Cell)
		e.cellStarted(&l, ev, &d.Cell)
	case event.PhaseStarted:
		e.phaseStarted(&l, ev, &d)
	case event.NodeSample:
		ev.Time = cmp.Or(d.At, ev.Time)
		e.nodeSample(&l, ev, &d)
	case event.Load:
		ev.Time = cmp.Or(d.At, ev.Time)
		e.load(&l, ev, &d)
	case event.FaultStarted:
		e.fault(&l, ev, &d.Fault, "started", d.Text)
	case event.FaultHealed:
		e.fault(&l, ev, &d.Fault, "healed", d.Does+" "+d.Target)
	case event.CellFinished:
		e.cells[d.Cell.Position] = e.cellTags(d.Cell)
		e.cellFinished(&l, ev, &d)
	}
	return l.buf
}

func (e *Encoder) learn(d event.RunStarted) {
	for _, n := range d.Nodes {
		e.roles[n.Name] = n.Role
	}
	for _, c := range d.Cells {
		e.cells[c.Position] = e.cellTags(c)
	}
}

func (e *Encoder) cellTags(c event.CellRef) cellTags {
	dims := slices.SortedFunc(slices.Values(c.Dimensions), func(a, b measure.Dimension) int {
		return strings.Compare(a.Name, b.Name)
	})
	var b []byte
	for _, d := range dims {
		b = appendTag(b, dimensionPrefix+d.Name, dimensionText(d.Value))
	}
	attempt := max(c.Attempt, 1) // the cells of RunStarted have not been attempted yet
	return cellTags{
		head: ",attempt=" + strconv.Itoa(attempt) + ",cell=" + strconv.Itoa(c.Number),
		dims: string(b) + e.experiment,
		tail: ",repetition=" + strconv.Itoa(c.Repetition),
	}
}

func dimensionText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

func (e *Encoder) at(position int) cellTags {
	if c, ok := e.cells[position]; ok && position != 0 {
		return c
	}
	return e.outside
}

func (e *Encoder) nodeSample(l *line, ev event.Event, d *event.NodeSample) {
	cell := e.at(d.Position)
	l.open(measurementNode)
	l.escaped(cell.head)
	l.escaped(cell.dims)
	l.tag("node", d.Node)
	l.escaped(cell.tail)
	l.tag("role", e.roles[d.Node])
	l.escaped(e.run)
	l.integer("t_s", int64(d.T))
	l.integer("cpus", int64(d.CPUs))
	l.float("cpu_mcpu", d.CPU)
	l.float("steal_mcpu", d.Steal)
	l.float("memory_mib", d.Memory)
	l.float("memory_total_mib", d.MemoryTotal)
	l.float("net_in_Bps", d.NetIn)
	l.float("net_out_Bps", d.NetOut)
	l.float("load1", d.Load1)
	l.float("agent_cpu_mcpu", d.AgentCPU)
	l.float("agent_memory_mib", d.AgentMemory)
	l.integer("run_queue", int64(d.RunQueue))
	l.float("softnet_drops_s", d.SoftnetDrops)
	l.float("softnet_squeezed_s", d.SoftnetSqueezed)
	l.float("listen_overflows_s", d.ListenOverflows)
	l.float("listen_drops_s", d.ListenDrops)
	l.float("tcp_retransmits_s", d.TCPRetransmits)
	l.float("agent_gc_pause_ms", d.AgentGCPause)
	l.float("agent_gc_pause_max_ms", d.AgentGCPauseMax)
	l.integer("agent_goroutines", int64(d.AgentGoroutines))
	l.optional("agent_scheduling_p99_ms", d.AgentScheduling)
	l.integer("connections_lost", d.ConnectionsLost)
	l.close(ev)
	for i := range d.Components {
		e.componentSample(l, ev, d, &d.Components[i], cell)
	}
}

func (e *Encoder) componentSample(l *line, ev event.Event, d *event.NodeSample, c *event.ComponentSample, cell cellTags) {
	l.open(measurementComponent)
	l.escaped(cell.head)
	l.tag("component", c.Component)
	l.escaped(cell.dims)
	l.tagInt("instance", c.Instance)
	l.tag("node", d.Node)
	l.escaped(cell.tail)
	l.escaped(e.run)
	l.integer("t_s", int64(d.T))
	l.float("cpu_mcpu", c.CPU)
	l.float("memory_mib", c.Memory)
	l.integer("restarts", int64(c.Restarts))
	if c.Counted {
		l.float("messages_in_s", c.MessagesIn)
		l.float("messages_out_s", c.MessagesOut)
		l.float("bytes_in_Bps", c.BytesIn)
		l.float("bytes_out_Bps", c.BytesOut)
		l.float("dropped_s", c.Dropped)
	}
	l.optional("net_in_Bps", c.NetIn)
	l.optional("net_out_Bps", c.NetOut)
	l.optional("net_in_msg_s", c.NetMessagesIn)
	l.optional("net_out_msg_s", c.NetMessagesOut)
	l.optional("net_dropped_msg_s", c.NetDropped)
	l.optional("cpu_throttled_ms", c.Throttled)
	l.optionalInteger("oom_kills", c.OOMKills)
	l.optional("memory_mib_peak", c.MemoryPeak)
	l.close(ev)
}

func (e *Encoder) load(l *line, ev event.Event, d *event.Load) {
	cell := e.at(d.Position)
	l.open(measurementLoad)
	l.escaped(cell.head)
	l.escaped(cell.dims)
	l.tag("phase", string(d.Phase))
	l.escaped(cell.tail)
	l.escaped(e.run)
	l.integer("t_s", int64(d.T))
	l.integer("devices", int64(d.Devices))
	l.integer("customers", int64(d.Customers))
	l.float("published_msg_s", d.Published)
	l.float("delivered_msg_s", d.Delivered)
	l.integer("published_total", d.PublishedTotal)
	l.integer("delivered_total", d.DeliveredTotal)
	l.integer("under_way", d.UnderWay)
	l.optional("latency_p5_ms", d.P5)
	l.optional("latency_p50_ms", d.P50)
	l.optional("latency_p99_ms", d.P99)
	l.optional("lateness_p99_ms", d.Lateness)
	l.close(ev)
}

func (e *Encoder) cellFinished(l *line, ev event.Event, d *event.CellFinished) {
	cell := e.at(d.Cell.Position)
	e.cellSummary(l, ev, &d.Result, cell)
	for i := range d.Result.Components {
		e.cellComponent(l, ev, &d.Result.Components[i], cell)
	}
	e.cellDrops(l, ev, d.Result.DropsByHop, cell)
}

func (e *Encoder) cellSummary(l *line, ev event.Event, r *measure.Cell, cell cellTags) {
	l.open(measurementCell)
	l.escaped(cell.head)
	l.escaped(cell.dims)
	l.escaped(cell.tail)
	l.escaped(e.run)
	l.tag("verdict", string(r.Verdict))
	l.integer("position", int64(r.Position))
	l.text("reason", reasonCodes(r.Reasons))
	if r.MeasuredSeconds > 0 {
		l.float("measured_s", r.MeasuredSeconds)
	}
	ledgerFields(l, &r.Ledger)
	l.optional("drops_per_5min", r.DropsPer5Min)
	l.optional("offered_msg_s", r.OfferedRate)
	l.optional("achieved_msg_s", r.AchievedRate)
	l.optional("delivered_msg_s", r.DeliveredRate)
	l.optional("payload_B", r.Payload)
	l.integer("latency_count", r.Latency.Count)
	l.optional("latency_mean_ms", r.Latency.Mean)
	l.optional("latency_p5_ms", r.Latency.P5)
	l.optional("latency_p50_ms", r.Latency.P50)
	l.optional("latency_p95_ms", r.Latency.P95)
	l.optional("latency_p99_ms", r.Latency.P99)
	l.optional("latency_p999_ms", r.Latency.P999)
	l.optional("latency_max_ms", r.Latency.Max)
	l.integer("service_count", r.Service.Count)
	l.optional("service_mean_ms", r.Service.Mean)
	l.optional("service_p5_ms", r.Service.P5)
	l.optional("service_p50_ms", r.Service.P50)
	l.optional("service_p95_ms", r.Service.P95)
	l.optional("service_p99_ms", r.Service.P99)
	l.optional("service_p999_ms", r.Service.P999)
	l.optional("service_max_ms", r.Service.Max)
	l.optional("clock_error_ms", r.ClockErrorMS)
	l.integer("negative_latencies", r.NegativeLatencies)
	l.optional("lateness_p99_ms", r.LatenessP99MS)
	l.optional("broker_in_Bps", r.BrokerIn)
	l.optional("broker_out_Bps", r.BrokerOut)
	l.optional("gateway_in_Bps", r.GatewayIn)
	l.optional("gateway_out_Bps", r.GatewayOut)
	l.optional("hub_in_Bps", r.HubIn)
	outcomeFields(l, r.Outcomes)
	l.close(ev)
}

func ledgerFields(l *line, b *measure.Ledger) {
	defer l.boolean("ledger_closed", b.Closed)
	if !b.Taken() {
		return // a cell that came to no load
	}
	l.integer("intended", b.Intended)
	l.integer("unsent", b.Unsent)
	l.integer("failed", b.Failed)
	l.integer("published", b.Published)
	l.integer("acked", b.Acked)
	l.integer("expected", b.Expected)
	l.integer("delivered", b.Delivered)
	l.integer("late", b.Late)
	l.integer("dropped", b.Dropped)
	l.integer("unknown", b.Unknown)
	l.integer("duplicated", b.Duplicated)
	l.integer("reordered", b.Reordered)
	l.integer("in_doubt", b.InDoubt)
	l.integer("phantom", b.Phantom)
}

func outcomeFields(l *line, outcomes []measure.Outcome) {
	var held, failed, unknown int64
	for _, o := range outcomes {
		switch o.State {
		case "held":
			held++
		case "failed":
			failed++
		default:
			unknown++
		}
	}
	l.integer("expectations_held", held)
	l.integer("expectations_failed", failed)
	l.integer("expectations_unknown", unknown)
}

// reasonCodes joins the codes of a cell's reasons: "generator_late ledger_open".
func reasonCodes(reasons []measure.Reason) string {
	var b []byte
	for i, r := range reasons {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, r.Code...)
	}
	return string(b)
}

func (e *Encoder) cellComponent(l *line, ev event.Event, c *measure.Component, cell cellTags) {
	l.open(measurementCellComponent)
	l.escaped(cell.head)
	l.tag("component", c.Component)
	l.escaped(cell.dims)
	l.tagInt("instance", c.Instance)
	l.tag("node", c.Node)
	l.escaped(cell.tail)
	l.escaped(e.run)
	l.optional("cpu_mcpu_mean", c.CPUMean)
	l.optional("cpu_mcpu_p95", c.CPUP95)
	l.optional("cpu_mcpu_max", c.CPUMax)
	l.optional("memory_mib_mean", c.MemoryMean)
	l.optional("memory_mib_max", c.MemoryMax)
	l.optional("net_in_Bps", c.NetIn)
	l.optional("net_out_Bps", c.NetOut)
	l.integer("restarts", int64(c.Restarts))
	l.optional("cpu_throttled_s", c.CPUThrottled)
	l.optionalInteger("oom_kills", c.OOMKills)
	l.optional("memory_mib_peak", c.MemoryPeak)
	l.optional("in_msg_s", c.MessagesIn)
	l.optional("out_msg_s", c.MessagesOut)
	l.optional("in_message_B", c.MessageIn)
	l.optional("out_message_B", c.MessageOut)
	l.optional("share", c.Share)
	l.optional("share_max_over_mean", c.MaxOverMean)
	l.optional("share_cv", c.ShareCV)
	if c.NetSource != "" {
		l.text("net_source", c.NetSource)
	}
	l.close(ev)
}

func (e *Encoder) cellDrops(l *line, ev event.Event, drops map[string]map[string]int64, cell cellTags) {
	left := maxDropTags
	for _, component := range slices.Sorted(maps.Keys(drops)) {
		for _, reason := range slices.Sorted(maps.Keys(drops[component])) {
			if left == 0 {
				return
			}
			left--
			l.open(measurementCellDrops)
			l.escaped(cell.head)
			l.tag("component", component)
			l.escaped(cell.dims)
			l.tag("reason", reason)
			l.escaped(cell.tail)
			l.escaped(e.run)
			l.integer("dropped", drops[component][reason])
			l.close(ev)
		}
	}
}
