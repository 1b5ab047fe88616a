package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// local is one entry of a `locals` block.
type local struct {
	attr *hclsyntax.Attribute
	// dimensions are those of the cell that it depends on, itself or through
	// other locals; "*" is all of them.
	dimensions map[string]bool
	value      cty.Value // of one that is the same in every cell
}

// localBlocks gathers the entries, orders them so that each follows those it
// uses, and works out those that do not depend on the cell.
func (l *loader) localBlocks(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		if len(b.Labels) > 0 {
			l.m.error(b.LabelRanges[0], "a locals block has no name")
		}
		for _, inner := range b.Body.Blocks {
			l.m.error(inner.DefRange(), "a locals block holds no blocks", "write NAME = VALUE lines")
		}
		for _, attr := range inOrder(b.Body.Attributes) {
			if first, ok := l.locals[attr.Name]; ok {
				l.m.error(attr.NameRange, fmt.Sprintf("there are two local values called %q", clip(attr.Name)),
					"the first is at "+place(first.attr.NameRange))
				continue
			}
			l.locals[attr.Name] = &local{attr: attr, value: cty.DynamicVal, dimensions: map[string]bool{}}
		}
	}
	state := map[string]int{}
	for _, name := range sortedKeys(l.locals) {
		l.orderLocal(name, state, nil)
	}
}

// orderLocal is a depth-first walk; path holds the names on the way.
func (l *loader) orderLocal(name string, state map[string]int, path []string) {
	const walking, done = 1, 2
	loc := l.locals[name]
	switch state[name] {
	case done:
		return
	case walking:
		cycle := append(slices.Clone(path[slices.Index(path, name):]), name)
		l.m.error(loc.attr.NameRange, "local values depend on each other in a circle: "+strings.Join(cycle, " → "))
		return
	}
	if len(path) > maxNesting {
		l.m.error(loc.attr.NameRange, fmt.Sprintf("local values depend on each other over more than %d steps", maxNesting))
		return
	}
	state[name] = walking
	for _, t := range loc.attr.Expr.Variables() {
		switch t.RootName() {
		case "cell":
			loc.dimensions[secondStep(t)] = true
		case "local":
			used := secondStep(t)
			if _, ok := l.locals[used]; ok {
				l.orderLocal(used, state, append(path, name))
				maps.Copy(loc.dimensions, l.locals[used].dimensions)
			} else if used == "*" {
				loc.dimensions["*"] = true
			}
		}
	}
	state[name] = done
	l.localOrder = append(l.localOrder, name)
}

// secondStep is the name after the first dot, or "*" where it is not fixed.
func secondStep(t hcl.Traversal) string {
	if len(t) < 2 {
		return "*"
	}
	if name, ok := stepName(t[1]); ok {
		return name
	}
	return "*"
}

// staticLocals works out the locals that are the same in every cell and
// returns the scope with var and local.
func (l *loader) staticLocals() *scope {
	base := functionScope(l.functions()).with(
		map[string][]string{"var": sortedKeys(l.variables)},
		map[string]cty.Value{"var": l.variableValues()})
	var names []string
	values := map[string]cty.Value{}
	for _, name := range l.localOrder {
		if len(l.locals[name].dimensions) == 0 {
			names = append(names, name)
			values[name] = cty.DynamicVal
		} else {
			base.elsewhere["local."+name] = fmt.Sprintf(
				"local.%s depends on the cell and cannot be used here: this must be the same in every cell of the matrix", name)
		}
	}
	for _, name := range names {
		loc := l.locals[name]
		if v, _, ok := l.m.eval(loc.attr.Expr, localScope(base, names, values)); ok {
			loc.value = v
		}
		values[name] = loc.value
	}
	return localScope(base, names, values)
}

// localScope is a scope with the locals known so far; those that are not are
// DynamicVal.
func localScope(base *scope, names []string, values map[string]cty.Value) *scope {
	return base.with(map[string][]string{"local": slices.Sorted(slices.Values(names))},
		map[string]cty.Value{"local": cty.ObjectVal(maps.Clone(values))})
}

// cellLocals adds the locals that depend on the cell to a scope that has one.
func (l *loader) cellLocals(s *scope) *scope {
	values := map[string]cty.Value{}
	var dependent []string
	for _, name := range l.localOrder {
		values[name] = l.locals[name].value
		if len(l.locals[name].dimensions) > 0 {
			dependent = append(dependent, name)
		}
	}
	for _, name := range dependent {
		if v, _, ok := l.m.eval(l.locals[name].attr.Expr, localScope(s, l.localOrder, values)); ok {
			values[name] = v
		}
	}
	if len(dependent) == 0 {
		return s
	}
	return localScope(s, l.localOrder, values)
}
