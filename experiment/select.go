package experiment

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Select is the plan with only those cells for which an HCL expression over
// cell.<dimension>, cell.number and cell.repetition holds, as in
// "cell.devices <= 100 && cell.qos == 1". Positions and numbers stay what they
// are in the whole plan. The error is a Diagnostics; no cell left is one.
func (p *Plan) Select(expr string) (*Plan, error) {
	const name = "-only"
	m := newMistakes()
	condition := m.parseExpression([]byte(expr), name)
	if condition == nil {
		return nil, m.finish()
	}
	selected := *p
	selected.Cells, selected.Expected = nil, 0
	for _, cell := range p.Cells {
		keep, ok := p.holds(m, condition, cell)
		if !ok {
			return nil, m.finish()
		}
		if keep {
			selected.Cells = append(selected.Cells, cell)
			selected.Expected += cell.Expected
		}
	}
	if len(selected.Cells) == 0 {
		m.error(condition.Range(), fmt.Sprintf("none of %d cells fits", len(p.Cells)), p.coordinates()...)
		return nil, m.finish()
	}
	return &selected, nil
}

// holds works the condition out for one cell.
func (p *Plan) holds(m *mistakes, condition hclsyntax.Expression, cell Cell) (keep, ok bool) {
	s := functionScope(pureFunctions()).with(
		map[string][]string{"cell": append(slices.Clone(p.Dimensions), "number", "repetition")},
		map[string]cty.Value{"cell": cellObject(cell)})
	for name := range s.elsewhere {
		s.elsewhere[name] = "a selection of cells knows only cell.…"
	}
	v, _, ok := m.eval(condition, s)
	if !ok {
		return false, false
	}
	if v.IsNull() || v.Type() != cty.Bool {
		m.error(condition.Range(), "a condition is wanted, which is true or false", "for example: cell.number <= 2")
		return false, false
	}
	return v.True(), true
}

// coordinates are lines of help with the values of each dimension.
func (p *Plan) coordinates() []string {
	var help []string
	for i, name := range p.Dimensions {
		var values []string
		for _, c := range p.Cells {
			if text := toText(coordinate(c.Values[i].Value)); !slices.Contains(values, text) && len(values) <= 30 {
				values = append(values, text)
			}
		}
		help = append(help, legalNames("cell."+name+" takes", values))
	}
	last := 0
	for _, c := range p.Cells {
		last = max(last, c.Number)
	}
	return append(help, fmt.Sprintf("cell.number goes to %d", last))
}

// ParseOnly checks a selection's syntax alone, for a command line that has no
// plan yet. The error is a Diagnostics.
func ParseOnly(expr string) error {
	m := newMistakes()
	if m.parseExpression([]byte(expr), "-only") == nil || m.failed() {
		return m.finish()
	}
	return nil
}
