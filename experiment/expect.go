package experiment

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Metrics are the names that an expectation may refer to: the numeric columns
// of cells.csv.
func Metrics() []string {
	return []string{
		"measured_s", "published", "acked", "delivered", "dropped", "duplicated", "reordered", "late", "unknown",
		"drops_per_5min", "offered_msg_s", "achieved_msg_s", "delivered_msg_s",
		"latency_mean_ms", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_p999_ms", "latency_max_ms",
		"clock_error_ms", "lateness_p99_ms",
		"broker_in_Bps", "broker_out_Bps", "gateway_in_Bps", "gateway_out_Bps", "hub_in_Bps",
		"fault_dropped", "recovery_s", "unrecovered", "payload_B",
	}
}

// ComponentMetrics are the names that may follow component.<name> in an
// expectation: the numeric columns of components.csv.
func ComponentMetrics() []string {
	return []string{
		"cpu_mcpu_mean", "cpu_mcpu_p95", "cpu_mcpu_max", "memory_mib_mean", "memory_mib_max",
		"net_in_Bps", "net_out_Bps", "restarts",
		"cpu_throttled_s", "oom_kills", "memory_mib_peak",
		"in_msg_s", "out_msg_s", "in_message_B", "out_message_B", "share", "share_max_over_mean", "share_cv",
	}
}

// ComponentMetric is the key of a component's metric in what Expect takes. For
// a component of several instances the value is that of the instance with the
// most, except net_*, *_msg_s, restarts, cpu_throttled_s and oom_kills, which are
// sums; it is absent where one instance has none.
func ComponentMetric(component, metric string) string {
	return "component." + component + "." + metric
}

// reservedDimensions are names that are columns of the results already.
func reservedDimensions() []string {
	return append(Metrics(), "cell", "repetition", "number", "position", "verdict", "reason", "started_at",
		"component", "instance", "node", "t_s", "pair", "exclude")
}

// Status is what became of an expectation in a cell.
type Status string

// The statuses. Unknown means that a metric it needs was not measured; it is
// never counted as held.
const (
	Held    Status = "held"
	Failed  Status = "failed"
	Unknown Status = "unknown"
)

// Outcome is one expectation in one cell.
type Outcome struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Held is Status == Held.
	Held bool `json:"held"`
	// Text is the condition as written.
	Text string `json:"text"`
	// Message says which values decided, or what was not measured.
	Message string `json:"message,omitempty"`
}

// expectation is an `expect` block.
type expectation struct {
	name    string
	that    hclsyntax.Expression
	message hclsyntax.Expression // may be nil
	text    string
	// against is where the other cell of a pair differs; nil where the
	// expectation is of single cells.
	against []DimensionValue
}

// expectScope is what expectations may refer to, with nothing in it but what
// is the same in every cell.
func (l *loader) expectScope() *scope {
	if l.static == nil {
		return nil
	}
	s := l.static.with(map[string][]string{
		"cell":      append(l.matrix.names(), "number", "repetition"),
		"component": l.componentLabels(),
	}, nil)
	s.plain = Metrics()
	s.metrics = ComponentMetrics()
	for name, loc := range l.locals {
		if len(loc.dimensions) > 0 {
			s.elsewhere["local."+name] = fmt.Sprintf("local.%s depends on the cell and cannot be used in an expectation: write cell.… itself", name)
		}
	}
	return s
}

// expectBlocks checks the expectations: their names exist, and they come to
// true or false.
func (l *loader) expectBlocks(blocks []*hclsyntax.Block) {
	s := l.expectScope()
	unknown := unmeasured(s, l.matrix.names(), l.componentLabels())
	seen := map[string]hcl.Range{}
	for _, b := range blocks {
		if len(b.Labels) != 1 || strings.TrimSpace(b.Labels[0]) == "" || len(b.Labels[0]) > 200 || printable(b.Labels[0]) != b.Labels[0] {
			l.m.error(b.DefRange(), "an expect block has one label, what is expected", `for example: expect "no drops" { that = dropped == 0 }`)
			continue
		}
		if first, ok := seen[b.Labels[0]]; ok {
			l.m.error(b.LabelRanges[0], fmt.Sprintf("there are two expect blocks called %q", clip(b.Labels[0])), "the first is at "+place(first))
			continue
		}
		seen[b.Labels[0]] = b.LabelRanges[0]
		if e, ok := l.expectBlock(b, unknown); ok {
			l.expects = append(l.expects, e)
			l.plan.Expectations = append(l.plan.Expectations, e.name)
		}
	}
}

// unmeasured is the scope before anything was measured.
func unmeasured(s *scope, dimensions, components []string) *scope {
	return s.with(nil, unmeasuredValues(dimensions, components))
}

func unmeasuredValues(dimensions, components []string) map[string]cty.Value {
	values := map[string]cty.Value{"cell": dynamicObject(append(slices.Clone(dimensions), "number", "repetition"))}
	for _, name := range Metrics() {
		values[name] = cty.UnknownVal(cty.Number)
	}
	per := map[string]cty.Value{}
	for _, name := range components {
		metrics := map[string]cty.Value{}
		for _, metric := range ComponentMetrics() {
			metrics[metric] = cty.UnknownVal(cty.Number)
		}
		per[name] = cty.ObjectVal(metrics)
	}
	values["component"] = cty.ObjectVal(per)
	return values
}

func (l *loader) expectBlock(b *hclsyntax.Block, s *scope) (expectation, bool) {
	r := l.m.reader(b, s)
	r.args = append(r.args, "that", "message", against)
	e := expectation{name: b.Labels[0]}
	r.require("that", "that = dropped == 0")
	r.finish()
	that, ok := b.Body.Attributes["that"]
	if !ok {
		return e, false
	}
	before := len(l.m.list)
	if attr, ok := b.Body.Attributes[against]; ok {
		if e.against, ok = l.readAgainst(r, attr); !ok {
			return e, false
		}
		blank := func() map[string]cty.Value { return unmeasuredValues(l.matrix.names(), l.componentLabels()) }
		s = againstScope(s, blank(), blank())
	}
	v, secret := l.checkExpression(that.Expr, s)
	if t := v.Type(); len(l.m.list) == before && t != cty.Bool && t != cty.DynamicPseudoType {
		r.wrong("that", "a condition is wanted, which is true or false", "for example: that = dropped == 0")
	}
	if message, ok := b.Body.Attributes["message"]; ok {
		e.message = message.Expr
		_, hidden := l.checkExpression(message.Expr, s)
		secret = secret || hidden
	}
	if secret {
		r.wrong("that", "an expectation is shown, and cannot use a sensitive value")
	}
	l.fixedSteps(that.Expr)
	e.that = that.Expr
	rng := that.Expr.Range()
	if rng.End.Byte <= len(l.src) {
		e.text = strings.Join(strings.Fields(string(l.src[rng.Start.Byte:rng.End.Byte])), " ")
	}
	return e, len(l.m.list) == before
}

// fixedSteps refuses references that are put together at run time: what an
// expectation needs must be known beforehand.
func (l *loader) fixedSteps(expr hclsyntax.Expression) {
	for _, t := range expr.Variables() {
		steps := map[string]int{"cell": 2, "component": 3, against: 2}[t.RootName()]
		if t.RootName() == against && len(t) > 1 {
			second, _ := stepName(t[1])
			steps += map[string]int{"cell": 1, "component": 2}[second]
		}
		fixed := len(t) >= steps
		for i := 1; fixed && i < steps; i++ {
			_, fixed = stepName(t[i])
		}
		if !fixed {
			l.m.error(t.SourceRange(), fmt.Sprintf("an expectation must name the value of %s that it needs", t.RootName()),
				"write cell.<dimension> or component.<name>.<metric>")
		}
	}
}

// checkExpression evaluates without measurements, for mistakes and the type.
func (l *loader) checkExpression(expr hclsyntax.Expression, s *scope) (cty.Value, bool) {
	v, secret, _ := l.m.eval(expr, s)
	return v, secret
}

// Expect works out all expectations for one cell. Those that hold two cells
// against each other are worked out for the pairs that the cell makes with the
// others, which were measured before. metrics holds the columns of
// cells.csv by name and the components' by ComponentMetric; one that is absent
// or NaN was not measured, and what refers to it is Unknown. The error is a
// Diagnostics for a condition that cannot be worked out with these values,
// such as a division by zero; the other outcomes are returned all the same.
func (e *Experiment) Expect(cell Cell, metrics map[string]float64, others ...Measured) ([]Outcome, error) {
	m := newMistakes()
	s := e.measured(cell, metrics)
	outcomes := make([]Outcome, 0, len(e.expects))
	for _, x := range e.expects {
		if x.against != nil {
			outcomes = append(outcomes, e.compared(m, x, Measured{cell, metrics}, others)...)
			continue
		}
		outcomes = append(outcomes, x.outcome(m, s, metrics))
	}
	if m.failed() {
		return outcomes, m.finish()
	}
	return outcomes, nil
}

// measured is the scope with a cell's values.
func (e *Experiment) measured(cell Cell, metrics map[string]float64) *scope {
	return e.scope.with(nil, e.cellValues(cell, metrics))
}

func (e *Experiment) cellValues(cell Cell, metrics map[string]float64) map[string]cty.Value {
	values := map[string]cty.Value{"cell": cellObject(cell)}
	number := func(key string) cty.Value {
		n, ok := metrics[key]
		if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			return cty.UnknownVal(cty.Number)
		}
		return cty.NumberFloatVal(n)
	}
	for _, name := range Metrics() {
		values[name] = number(name)
	}
	components := map[string]cty.Value{}
	for _, name := range e.scope.members["component"] {
		per := map[string]cty.Value{}
		for _, metric := range ComponentMetrics() {
			per[metric] = number(ComponentMetric(name, metric))
		}
		components[name] = cty.ObjectVal(per)
	}
	values["component"] = cty.ObjectVal(components)
	return values
}

// cellObject is what cell stands for outside of the file's own blocks.
func cellObject(cell Cell) cty.Value {
	values := map[string]cty.Value{
		"number":     cty.NumberIntVal(int64(cell.Number)),
		"repetition": cty.NumberIntVal(int64(cell.Repetition)),
	}
	for _, v := range cell.Values {
		values[v.Name] = coordinate(v.Value)
	}
	return cty.ObjectVal(values)
}

// coordinate turns a cell's value, possibly read back from JSON, into HCL's.
func coordinate(value any) cty.Value {
	switch value := value.(type) {
	case string:
		return cty.StringVal(value)
	case bool:
		return cty.BoolVal(value)
	case float64:
		return cty.NumberFloatVal(value)
	}
	return cty.DynamicVal
}

// outcome works out one expectation.
func (x expectation) outcome(m *mistakes, s *scope, metrics map[string]float64) Outcome {
	o := Outcome{Name: x.name, Text: x.text, Status: Unknown}
	if missing := x.missing(metrics); len(missing) > 0 {
		o.Message = "not measured: " + strings.Join(missing, ", ")
		return o
	}
	v, _, ok := m.eval(x.that, s)
	if !ok || v.IsNull() || v.Type() != cty.Bool {
		o.Message = "the condition does not come to true or false with these values"
		return o
	}
	o.Message = x.explain(s)
	if v.True() {
		o.Status, o.Held = Held, true
		return o
	}
	o.Status = Failed
	if x.message != nil {
		if text, _, ok := m.eval(x.message, s); ok {
			o.Message = toText(text)
		}
	}
	return o
}

// references are the metrics and dimensions that a condition names, sorted.
func (x expectation) references() (metrics, dimensions []string) {
	for _, t := range x.that.Variables() {
		switch root := t.RootName(); root {
		case "cell":
			dimensions = append(dimensions, secondStep(t))
		case "component":
			if len(t) > 2 {
				metric, _ := stepName(t[2])
				metrics = append(metrics, ComponentMetric(secondStep(t), metric))
			}
		case against:
			if name := againstMetric(t); name != "" {
				metrics = append(metrics, name)
			}
		case "var", "local":
		default:
			metrics = append(metrics, root)
		}
	}
	slices.Sort(metrics)
	slices.Sort(dimensions)
	return slices.Compact(metrics), slices.Compact(dimensions)
}

func (x expectation) missing(metrics map[string]float64) []string {
	var missing []string
	names, _ := x.references()
	for _, name := range names {
		if n, ok := metrics[name]; !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			missing = append(missing, name)
		}
	}
	return missing
}

// explain lists the values that decided.
func (x expectation) explain(s *scope) string {
	metrics, dimensions := x.references()
	var parts []string
	for _, name := range metrics {
		v := lookup(s, name)
		parts = append(parts, name+" = "+measuredText(v))
	}
	for _, name := range dimensions {
		if name != "*" {
			parts = append(parts, "cell."+name+" = "+toText(lookup(s, "cell."+name)))
		}
	}
	return strings.Join(parts, ", ")
}

// measuredText has six digits of a measured number that is not whole, and not the 17
// of its binary form.
func measuredText(v cty.Value) string {
	if v.Type() != cty.Number || !v.IsKnown() || v.IsNull() {
		return toText(v)
	}
	f, _ := v.AsBigFloat().Float64()
	if f != math.Trunc(f) {
		f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'g', 6, 64), 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// lookup follows a dotted name in a scope's own values.
func lookup(s *scope, name string) cty.Value {
	root, rest, more := strings.Cut(name, ".")
	v := s.ctx.Variables[root]
	for more {
		var step string
		step, rest, more = strings.Cut(rest, ".")
		v = v.GetAttr(step)
	}
	return v
}
