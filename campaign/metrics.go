package campaign

import (
	"math"
	"slices"

	"bela/experiment"
	"bela/measure"
)

// Metrics are a cell's numbers by the names that expectations use: the columns
// of cells.csv, and those of components.csv by experiment.ComponentMetric. A
// number that was not taken is absent, and so is one that was taken of some
// devices, customers or instances only: nobody may call it small.
func Metrics(c measure.Cell) map[string]float64 {
	m := map[string]float64{"measured_s": c.MeasuredSeconds}
	put := func(name string, v *float64) {
		if v != nil && !math.IsNaN(*v) {
			m[name] = *v
		}
	}
	putLedger(c, put)
	for name, v := range map[string]*float64{
		"drops_per_5min": c.DropsPer5Min, "offered_msg_s": c.OfferedRate, "achieved_msg_s": c.AchievedRate,
		"delivered_msg_s": c.DeliveredRate,
		"latency_mean_ms": c.Latency.Mean, "latency_p50_ms": c.Latency.P50, "latency_p95_ms": c.Latency.P95,
		"latency_p99_ms": c.Latency.P99, "latency_p999_ms": c.Latency.P999, "latency_max_ms": c.Latency.Max,
		"clock_error_ms": c.ClockErrorMS, "lateness_p99_ms": c.LatenessP99MS,
		"broker_in_Bps": c.BrokerIn, "broker_out_Bps": c.BrokerOut, "gateway_in_Bps": c.GatewayIn,
		"gateway_out_Bps": c.GatewayOut, "hub_in_Bps": c.HubIn, "payload_B": c.Payload,
	} {
		put(name, v)
	}
	putFaults(c, put)
	for i, k := range c.Components {
		if slices.ContainsFunc(c.Components[:i], func(other measure.Component) bool { return other.Component == k.Component }) {
			continue
		}
		putComponent(c, k.Component, put)
	}
	return m
}

// putLedger adds the books' numbers, as far as the books are whole: the rates
// say so.
func putLedger(c measure.Cell, put func(string, *float64)) {
	l := c.Ledger
	count := func(name string, n int64) {
		v := float64(n)
		put(name, &v)
	}
	if c.OfferedRate == nil {
		return // not all devices'
	}
	count("published", l.Published)
	count("acked", l.Acked)
	count("unknown", l.Unknown)
	if c.DropsPer5Min == nil {
		return // not all customers'
	}
	count("delivered", l.Delivered)
	count("dropped", l.Dropped)
	count("duplicated", l.Duplicated)
	count("reordered", l.Reordered)
	count("late", l.Late)
}

// putComponent adds a component's numbers over its instances: sums, which need
// all of them, and the largest of one.
func putComponent(c measure.Cell, name string, put func(string, *float64)) {
	over := func(combine func([]*float64) *float64, metrics map[string]func(measure.Component) *float64) {
		for metric, of := range metrics {
			var values []*float64
			for _, k := range c.Components {
				if k.Component == name {
					values = append(values, of(k))
				}
			}
			put(experiment.ComponentMetric(name, metric), combine(values))
		}
	}
	over(total, map[string]func(measure.Component) *float64{
		"net_in_Bps":      func(k measure.Component) *float64 { return k.NetIn },
		"net_out_Bps":     func(k measure.Component) *float64 { return k.NetOut },
		"restarts":        func(k measure.Component) *float64 { n := float64(k.Restarts); return &n },
		"cpu_throttled_s": func(k measure.Component) *float64 { return k.CPUThrottled },
		"oom_kills":       func(k measure.Component) *float64 { return counted(k.OOMKills) },
		"in_msg_s":        func(k measure.Component) *float64 { return k.MessagesIn },
		"out_msg_s":       func(k measure.Component) *float64 { return k.MessagesOut },
	})
	over(largest, map[string]func(measure.Component) *float64{
		"cpu_mcpu_mean":   func(k measure.Component) *float64 { return k.CPUMean },
		"cpu_mcpu_p95":    func(k measure.Component) *float64 { return k.CPUP95 },
		"cpu_mcpu_max":    func(k measure.Component) *float64 { return k.CPUMax },
		"memory_mib_mean": func(k measure.Component) *float64 { return k.MemoryMean },
		"memory_mib_max":  func(k measure.Component) *float64 { return k.MemoryMax },
		"memory_mib_peak": func(k measure.Component) *float64 { return k.MemoryPeak },
		"share":           func(k measure.Component) *float64 { return k.Share },
		"share_max_over_mean": func(k measure.Component) *float64 {
			return k.MaxOverMean
		},
		"share_cv": func(k measure.Component) *float64 { return k.ShareCV },
	})
	// An instance that no message passed has no size of one.
	over(func(values []*float64) *float64 {
		return largest(slices.DeleteFunc(values, func(v *float64) bool { return v == nil }))
	}, map[string]func(measure.Component) *float64{
		"in_message_B":  func(k measure.Component) *float64 { return k.MessageIn },
		"out_message_B": func(k measure.Component) *float64 { return k.MessageOut },
	})
}

// total is nil where one of the values is missing, or all are.
func total(values []*float64) *float64 {
	var sum float64
	for _, v := range values {
		if v == nil {
			return nil
		}
		sum += *v
	}
	if len(values) == 0 {
		return nil
	}
	return &sum
}

// largest is nil where one of the values is missing, or all are.
func largest(values []*float64) *float64 {
	if len(values) == 0 || slices.Contains(values, nil) {
		return nil
	}
	most := *values[0]
	for _, v := range values {
		most = max(most, *v)
	}
	return &most
}
