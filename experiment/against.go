package experiment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// against is the name under which an expectation finds the cell that it holds
// another against.
const against = "against"

// Measured is a cell with its metrics, as Expect takes them.
type Measured struct {
	Cell    Cell
	Metrics map[string]float64
}

// againstMembers are what may follow `against.`.
func againstMembers() []string { return append(Metrics(), "cell", "component") }

// readAgainst reads `against = { gateways = 1 }`: in which dimensions the other
// cell differs, and what it has there.
func (l *loader) readAgainst(r *reader, attr *hclsyntax.Attribute) ([]DimensionValue, bool) {
	before := len(l.m.list)
	v, secret, ok := l.m.eval(attr.Expr, l.static)
	if !ok {
		return nil, false
	}
	if secret || v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() || v.LengthInt() == 0 {
		r.wrong(against, "an object is wanted: the dimensions in which the other cell differs, with its values there",
			"for example: against = { gateways = 1 }")
		return nil, false
	}
	var values []DimensionValue
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		name := key.AsString()
		legal, known := l.valuesOf(name)
		if !known {
			r.wrong(against, fmt.Sprintf("the matrix has no dimension %q", clip(name)),
				didYouMean(name, l.matrix.names(), bare), legalNames("it has", l.matrix.names()))
			continue
		}
		if !slices.ContainsFunc(legal, func(have cty.Value) bool { return have.RawEquals(value) }) {
			var texts []string
			for _, have := range legal {
				texts = append(texts, toText(have))
			}
			r.wrong(against, fmt.Sprintf("the dimension %s has no value %s", name, clip(toText(value))), legalNames("it has", texts))
			continue
		}
		values = append(values, DimensionValue{name, plainValue(value)})
	}
	return values, len(l.m.list) == before
}

// valuesOf are the values of a dimension of the matrix.
func (l *loader) valuesOf(name string) ([]cty.Value, bool) {
	for _, axis := range l.matrix.axes {
		for _, d := range axis.dimensions {
			if d.name == name {
				return d.values, true
			}
		}
	}
	return nil, false
}

// againstScope is the scope of an expectation that holds a cell against another.
func againstScope(s *scope, own, other map[string]cty.Value) *scope {
	own[against] = cty.ObjectVal(other)
	return s.with(map[string][]string{against: againstMembers()}, own)
}

// isBase says whether other is the cell that x holds cell against: of the same
// repetition, with x's values in its dimensions where cell has others, and like
// cell in all else.
func (x expectation) isBase(cell, other Cell) bool {
	if cell.Repetition != other.Repetition {
		return false
	}
	value := func(c Cell, name string) any {
		i := slices.IndexFunc(c.Values, func(v DimensionValue) bool { return v.Name == name })
		if i < 0 {
			return nil
		}
		return c.Values[i].Value
	}
	differs := false
	for _, v := range cell.Values {
		want := v.Value
		if i := slices.IndexFunc(x.against, func(a DimensionValue) bool { return a.Name == v.Name }); i >= 0 {
			want = x.against[i].Value
			differs = differs || want != v.Value
		}
		if value(other, v.Name) != want {
			return false
		}
	}
	return differs
}

// againstMetric is the metric that a reference to the other cell names, with
// "against." before it; empty for its coordinates.
func againstMetric(t hcl.Traversal) string {
	switch name := secondStep(t); {
	case name == "component" && len(t) > 3:
		component, _ := stepName(t[2])
		metric, _ := stepName(t[3])
		return against + "." + ComponentMetric(component, metric)
	case slices.Contains(Metrics(), name):
		return against + "." + name
	}
	return ""
}

// withAgainst are the metrics of both cells, those of the base by their names
// after "against.".
func withAgainst(own, base map[string]float64) map[string]float64 {
	all := make(map[string]float64, len(own)+len(base))
	for name, v := range own {
		all[name] = v
	}
	for name, v := range base {
		all[against+"."+name] = v
	}
	return all
}

// compared are the outcomes of an expectation of pairs, of which cell is the
// one that was measured last.
func (e *Experiment) compared(m *mistakes, x expectation, cell Measured, others []Measured) []Outcome {
	var outcomes []Outcome
	judge := func(it, base Measured) {
		s := againstScope(e.scope, e.cellValues(it.Cell, it.Metrics), e.cellValues(base.Cell, base.Metrics))
		o := x.outcome(m, s, withAgainst(it.Metrics, base.Metrics))
		o.Message = strings.TrimPrefix(fmt.Sprintf("%s; cell %d against cell %d", o.Message, it.Cell.Number, base.Cell.Number), "; ")
		outcomes = append(outcomes, o)
	}
	for _, other := range others {
		switch {
		case x.isBase(cell.Cell, other.Cell):
			judge(cell, other)
		case x.isBase(other.Cell, cell.Cell):
			judge(other, cell)
		}
	}
	return outcomes
}
