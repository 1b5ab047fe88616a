package measure

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"golang.org/x/perf/benchmath"
)

// Better says which way a metric should go.
type Better string

// The directions of metrics. Neither is for numbers that only describe: bytes
// a second fall with a better codec and with a broken broker.
const (
	LowerIsBetter  Better = "lower"
	HigherIsBetter Better = "higher"
	Neither        Better = "neither"
)

// Metric is one number of a cell: a column of cells.csv, or a column of
// components.csv over the instances of one component: their sum, or what
// ComponentMetrics says.
type Metric struct {
	// Name is the column's, with the unit last.
	Name string `json:"metric"`
	// Component is empty for a number of the whole cell.
	Component string `json:"component,omitempty"`
	Better    Better `json:"better"`

	cell     func(Cell) *float64
	instance func(Component) *float64   // to be summed
	together func([]Component) *float64 // of what is no sum
}

// String is the metric's name with its component: "cpu_mcpu_mean broker".
func (m Metric) String() string {
	if m.Component == "" {
		return m.Name
	}
	return m.Name + " " + m.Component
}

// Of is the metric's value in a cell; nil where it was not taken. Where one
// instance of the component has no number, their sum is not known.
func (m Metric) Of(c Cell) *float64 {
	if m.cell != nil {
		return m.cell(c)
	}
	var instances []Component
	for _, k := range c.Components {
		if k.Component == m.Component {
			instances = append(instances, k)
		}
	}
	if m.together != nil {
		return m.together(instances)
	}
	return sumOf(instances, m.instance)
}

// sumOf is nil where one of the instances has no number, or there is none.
func sumOf(instances []Component, of func(Component) *float64) *float64 {
	var sum float64
	for _, k := range instances {
		v := of(k)
		if v == nil {
			return nil
		}
		sum += *v
	}
	if len(instances) == 0 {
		return nil
	}
	return &sum
}

// meanSize is the mean payload of a message over all instances: each instance's
// counts by its messages. An instance without messages has no size and takes
// nothing from the others'.
func meanSize(instances []Component, size, messages func(Component) *float64) *float64 {
	var bytes, all float64
	for _, k := range instances {
		n, s := messages(k), size(k)
		switch {
		case n == nil, s == nil && *n > 0:
			return nil
		case s != nil:
			bytes, all = bytes+*s**n, all+*n
		}
	}
	if all <= 0 {
		return nil
	}
	mean := bytes / all
	return &mean
}

// CellMetrics are the metrics of whole cells, in the order of cells.csv.
func CellMetrics() []Metric {
	of := func(name string, better Better, cell func(Cell) *float64) Metric {
		return Metric{Name: name, Better: better, cell: cell}
	}
	return []Metric{
		of("dropped", LowerIsBetter, func(c Cell) *float64 {
			if c.DropsPer5Min == nil { // the customers' books are not whole
				return nil
			}
			n := float64(c.Ledger.Dropped)
			return &n
		}),
		of("drops_per_5min", LowerIsBetter, func(c Cell) *float64 { return c.DropsPer5Min }),
		of("achieved_msg_s", HigherIsBetter, func(c Cell) *float64 { return c.AchievedRate }),
		of("delivered_msg_s", HigherIsBetter, func(c Cell) *float64 { return c.DeliveredRate }),
		of("latency_mean_ms", LowerIsBetter, func(c Cell) *float64 { return c.Latency.Mean }),
		of("latency_p50_ms", LowerIsBetter, func(c Cell) *float64 { return c.Latency.P50 }),
		of("latency_p95_ms", LowerIsBetter, func(c Cell) *float64 { return c.Latency.P95 }),
		of("latency_p99_ms", LowerIsBetter, func(c Cell) *float64 { return c.Latency.P99 }),
		of("latency_p999_ms", LowerIsBetter, func(c Cell) *float64 { return c.Latency.P999 }),
		of("latency_max_ms", LowerIsBetter, func(c Cell) *float64 { return c.Latency.Max }),
		of("clock_error_ms", LowerIsBetter, func(c Cell) *float64 { return c.ClockErrorMS }),
		of("lateness_p99_ms", LowerIsBetter, func(c Cell) *float64 { return c.LatenessP99MS }),
		of("broker_in_Bps", Neither, func(c Cell) *float64 { return c.BrokerIn }),
		of("broker_out_Bps", Neither, func(c Cell) *float64 { return c.BrokerOut }),
		of("gateway_in_Bps", Neither, func(c Cell) *float64 { return c.GatewayIn }),
		of("gateway_out_Bps", Neither, func(c Cell) *float64 { return c.GatewayOut }),
		of("hub_in_Bps", Neither, func(c Cell) *float64 { return c.HubIn }),
		of("payload_B", Neither, func(c Cell) *float64 { return c.Payload }),
	}
}

// ComponentMetrics are the metrics of one component, in the order of
// components.csv. Most are sums over its instances; the size of a message is the
// mean over all of their messages, and how evenly they share is of all of them
// anyway. A 95th percentile is not among them: those of several instances cannot
// be made into one.
func ComponentMetrics(component string) []Metric {
	of := func(name string, better Better, instance func(Component) *float64) Metric {
		return Metric{Name: name, Component: component, Better: better, instance: instance}
	}
	together := func(name string, over func([]Component) *float64) Metric {
		return Metric{Name: name, Component: component, Better: LowerIsBetter, together: over}
	}
	return []Metric{
		of("cpu_mcpu_mean", LowerIsBetter, func(k Component) *float64 { return k.CPUMean }),
		of("cpu_mcpu_max", LowerIsBetter, func(k Component) *float64 { return k.CPUMax }),
		of("memory_mib_mean", LowerIsBetter, func(k Component) *float64 { return k.MemoryMean }),
		of("memory_mib_max", LowerIsBetter, func(k Component) *float64 { return k.MemoryMax }),
		of("net_in_Bps", Neither, func(k Component) *float64 { return k.NetIn }),
		of("net_out_Bps", Neither, func(k Component) *float64 { return k.NetOut }),
		of("cpu_throttled_s", LowerIsBetter, func(k Component) *float64 { return k.CPUThrottled }),
		of("memory_mib_peak", LowerIsBetter, func(k Component) *float64 { return k.MemoryPeak }),
		together("in_message_B", func(all []Component) *float64 {
			return meanSize(all, func(k Component) *float64 { return k.MessageIn }, func(k Component) *float64 { return k.MessagesIn })
		}),
		together("out_message_B", func(all []Component) *float64 {
			return meanSize(all, func(k Component) *float64 { return k.MessageOut }, func(k Component) *float64 { return k.MessagesOut })
		}),
		together("share_max_over_mean", func(all []Component) *float64 {
			if len(all) == 0 {
				return nil
			}
			return all[0].MaxOverMean // the same for all
		}),
	}
}

// Combination is one combination of a matrix with all its repetitions.
type Combination struct {
	Number     int
	Dimensions []Dimension
	// Cells are the repetitions whose numbers may be used: valid and degraded.
	Cells []Cell
	// Degraded counts those of Cells; Invalid the repetitions left out.
	Degraded, Invalid int
}

// Combinations groups cells by their number, in the order of the numbers.
func Combinations(cells []Cell) []Combination {
	byNumber := map[int]*Combination{}
	var numbers []int
	for _, c := range cells {
		k := byNumber[c.Number]
		if k == nil {
			k = &Combination{Number: c.Number, Dimensions: c.Dimensions}
			byNumber[c.Number] = k
			numbers = append(numbers, c.Number)
		}
		switch c.Verdict {
		case Valid:
			k.Cells = append(k.Cells, c)
		case Degraded:
			k.Cells = append(k.Cells, c)
			k.Degraded++
		default:
			k.Invalid++
		}
	}
	slices.Sort(numbers)
	out := make([]Combination, len(numbers))
	for i, n := range numbers {
		out[i] = *byNumber[n]
	}
	return out
}

// Samples are the metric's values, one a repetition: the run is the sample, not
// the message. Repetitions without the number are left out.
func (c Combination) Samples(m Metric) []float64 {
	var out []float64
	for _, cell := range c.Cells {
		if v := m.Of(cell); v != nil && !math.IsNaN(*v) && !math.IsInf(*v, 0) {
			out = append(out, *v)
		}
	}
	return out
}

// Median is the median of samples with its confidence interval. It holds a
// median of the repetitions' numbers, never a percentile made of percentiles.
type Median struct {
	N     int     `json:"n"`
	Value float64 `json:"median"`
	// Low and High bound the interval: two of the samples, chosen by order
	// statistics, with no assumption on how they are distributed. Nil where
	// there are too few samples for one (below six at 95 %).
	Low  *float64 `json:"low"`
	High *float64 `json:"high"`
	// Confidence is what the interval really reaches, at least what was asked
	// for; 0 without an interval.
	Confidence float64 `json:"confidence,omitempty"`
}

// Confidence that intervals ask for.
const Confidence = 0.95

// MedianOf is the median of samples; nil without samples.
func MedianOf(samples []float64) *Median {
	if len(samples) == 0 {
		return nil
	}
	s := benchmath.AssumeNothing.Summary(sampleOf(samples, Alpha), Confidence)
	m := &Median{N: len(samples), Value: s.Center}
	if !math.IsInf(s.Lo, 0) && !math.IsInf(s.Hi, 0) {
		m.Low, m.High, m.Confidence = &s.Lo, &s.Hi, s.Confidence
	}
	return m
}

func sampleOf(samples []float64, alpha float64) *benchmath.Sample {
	// NewSample sorts what it is given.
	return benchmath.NewSample(slices.Clone(samples), &benchmath.Thresholds{CompareAlpha: alpha})
}

// text is a dimension's value as it is compared: a number is a number however
// it was written, so that a run matches one that was read from a table.
func (d Dimension) text() string {
	if v, ok := d.Value.(float64); ok {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(d.Value)
}
