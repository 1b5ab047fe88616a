package main

import (
	"context"
	"strings"

	"bela/experiment"
	"bela/measure"
	"bela/report"
)

func runRecommend(_ context.Context, a *app, args []string) error {
	f := a.flags("recommend", "[RUN]")
	results := f.String("results", "results", "look for runs below this `DIR`")
	where := f.String("where", "", "only the cells with these `VALUES`, as in devices=1000,qos=1")
	from := f.String("request-from", string(measure.SizingMean), "what a request is: `mean` of the measured time, or p95 of its seconds")
	headroom := f.Float64("headroom", 30, "`PERCENT` that a limit lies above the peak")
	cpuStep := f.Float64("round-cpu", 10, "round CPU up to a multiple of so many `MCPU`")
	memoryStep := f.Float64("round-memory", 10, "round memory up to a multiple of so many `MIB`")
	vm := f.String("vm", "", "how much fits a machine of this `SIZE`, as in 4cpu,4GiB")
	format := f.String("format", "text", "text|json|hcl; hcl are limits blocks to paste")
	rest, err := f.parse(args, 0, 1)
	if err != nil {
		return err
	}
	s := measure.Sizing{Request: measure.SizingBasis(*from), Headroom: *headroom / 100, CPUStep: *cpuStep, MemoryStep: *memoryStep}
	switch {
	case s.Request != measure.SizingMean && s.Request != measure.SizingP95:
		return usageError("recommend -request-from %q: mean and p95 are known", *from)
	case *headroom < 0 || *headroom > 1000:
		return usageError("recommend -headroom %v: give a percentage from 0 to 1000", *headroom)
	case *cpuStep < 1 || *memoryStep < 1:
		return usageError("recommend: -round-cpu and -round-memory are 1 or more")
	}
	values, err := dimensionValues(*where)
	if err != nil {
		return err
	}
	machine, err := machineSize(*vm)
	if err != nil {
		return err
	}
	r, err := a.open(rest, *results)
	if err != nil {
		return err
	}
	rec, err := report.Recommend(r, s, values, machine)
	if err != nil {
		return &statusError{statusUsage, err}
	}
	switch *format {
	case "text":
		return report.RecommendText(a.out, rec, a.reportOptions())
	case "json":
		return report.RecommendJSON(a.out, rec)
	case "hcl":
		return report.RecommendHCL(a.out, rec)
	}
	return usageError("recommend -format %q: text, json and hcl are known", *format)
}

// dimensionValues reads devices=1000,qos=1.
func dimensionValues(text string) (map[string]string, error) {
	values := map[string]string{}
	if text == "" {
		return values, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" {
			return nil, usageError("recommend -where %q: write dimension=value, with commas between several", part)
		}
		values[name] = value
	}
	return values, nil
}

// machineSize reads 4cpu,4GiB; nil for nothing.
func machineSize(text string) (*measure.Machine, error) {
	if text == "" {
		return nil, nil
	}
	m := measure.Machine{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if cpu, ok := strings.CutSuffix(strings.ToLower(part), "cpu"); ok {
			n, err := experiment.ParseCPU(strings.TrimSuffix(cpu, "v"))
			if err != nil {
				return nil, usageError("recommend -vm %q: %v", part, err)
			}
			m.CPU = n
			continue
		}
		n, err := experiment.ParseSize(part)
		if err != nil {
			return nil, usageError("recommend -vm %q: %v", part, err)
		}
		m.Memory = float64(n) / (1 << 20)
	}
	if m.CPU <= 0 || m.Memory <= 0 {
		return nil, usageError("recommend -vm %q: give both, as in 4cpu,4GiB", text)
	}
	return &m, nil
}
