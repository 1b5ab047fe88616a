package experiment

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// reference is what platform.x, node.x and component.x stand for: a name that
// was checked to exist.
type reference struct{ name string }

var (
	kindType      = cty.Capsule("kind of component", reflect.TypeFor[reference]())
	nodeType      = cty.Capsule("node group", reflect.TypeFor[reference]())
	componentType = cty.Capsule("component", reflect.TypeFor[reference]())
)

// scope is what an expression may refer to.
type scope struct {
	ctx *hcl.EvalContext
	// members are the legal second steps of the names that have some: "var" →
	// the variables. Names without members are in plain.
	members map[string][]string
	plain   []string
	// metrics are the legal third steps of component.<name> in an expectation.
	metrics   []string
	functions []string // names, sorted
	// late says that components have parts: what is known of them only later.
	late bool
	// elsewhere explains names that exist, but not here.
	elsewhere map[string]string
}

// roots are the first steps that are legal, sorted.
func (s *scope) roots() []string {
	names := append(sortedKeys(s.members), s.plain...)
	slices.Sort(names)
	return names
}

// with is the scope with further names.
func (s *scope) with(members map[string][]string, values map[string]cty.Value) *scope {
	merged := maps.Clone(s.members)
	maps.Copy(merged, members)
	elsewhere := maps.Clone(s.elsewhere)
	for name := range members {
		delete(elsewhere, name)
	}
	child := s.ctx.NewChild()
	child.Variables = values
	return &scope{ctx: child, members: merged, plain: s.plain, metrics: s.metrics, functions: s.functions, elsewhere: elsewhere, late: s.late}
}

// what members of a root are called in messages.
var memberNames = map[string]string{
	"var": "variable", "local": "local value", "cell": "dimension of the matrix", "node": "node group",
	"component": "component", "platform": "built-in component", "self": "fact of an instance", against: "metric of the other cell",
}

// eval works out an expression. It reports what is wrong with it and returns
// false; it returns false silently where the value hangs on an earlier mistake.
// secret says that the value contains one.
func (m *mistakes) eval(expr hclsyntax.Expression, s *scope) (v cty.Value, secret, ok bool) {
	if !m.refersTo(expr, s) || !m.calls(expr, s) {
		return cty.DynamicVal, false, false
	}
	depth := &forDepth{}
	_ = hclsyntax.Walk(expr, depth)
	if depth.deepest > 2 {
		m.error(expr.Range(), "for expressions nest deeper than 2", "build the inner list in a locals block")
		return cty.DynamicVal, false, false
	}
	v, diags := expr.Value(s.ctx)
	m.addHCL(diags)
	if diags.HasErrors() {
		return cty.DynamicVal, false, false
	}
	if !bounded(v) {
		m.error(expr.Range(), fmt.Sprintf("the value has more than %d elements or %d bytes", maxElements, maxText))
		return cty.DynamicVal, false, false
	}
	secret = v.ContainsMarked()
	return v, secret, v.IsWhollyKnown()
}

// calls checks that all functions in an expression exist.
func (m *mistakes) calls(expr hclsyntax.Expression, s *scope) bool {
	ok := true
	_ = hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
		call, is := n.(*hclsyntax.FunctionCallExpr)
		if !is || slices.Contains(s.functions, call.Name) {
			return nil
		}
		ok = false
		m.error(call.NameRange, fmt.Sprintf("there is no function %q", clip(call.Name)),
			didYouMean(call.Name, s.functions, bare), legalNames("functions", s.functions))
		return nil
	})
	return ok
}

// bounded says whether a value is small enough to be carried around.
func bounded(v cty.Value) bool {
	elements, text := 0, 0
	fits := true
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		elements++
		v, _ = v.Unmark()
		if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
			text += len(v.AsString())
		}
		fits = elements <= maxElements && text <= maxText
		return fits, nil
	})
	return fits
}

// refersTo checks that all names in an expression exist.
func (m *mistakes) refersTo(expr hclsyntax.Expression, s *scope) bool {
	ok := true
	for _, t := range expr.Variables() {
		ok = m.traversal(t, s) && ok
	}
	return ok
}

func (m *mistakes) traversal(t hcl.Traversal, s *scope) bool {
	root := t.RootName()
	if slices.Contains(s.plain, root) {
		return true
	}
	members, known := s.members[root]
	if !known {
		m.unknownRoot(t, s)
		return false
	}
	if len(t) < 2 {
		return true
	}
	name, ok := stepName(t[1])
	if !ok {
		return true
	}
	rng := hcl.RangeBetween(t[0].SourceRange(), t[1].SourceRange())
	if !slices.Contains(members, name) {
		if root == "cell" && m.noMatrix {
			return false
		}
		if why, ok := s.elsewhere[root+"."+name]; ok {
			m.error(rng, why)
			return false
		}
		what := memberNames[root]
		// What exists elsewhere may be what was meant, and then says why not.
		known := slices.Clone(members)
		for _, other := range sortedKeys(s.elsewhere) {
			if rest, ok := strings.CutPrefix(other, root+"."); ok {
				known = append(known, rest)
			}
		}
		help := legalNames("legal here", prefixed(root+".", members))
		if len(members) == 0 {
			help = fmt.Sprintf("the file has no %s that could stand here", what)
		}
		m.error(rng, fmt.Sprintf("there is no %s %q", what, clip(name)),
			didYouMean(name, known, func(n string) string { return root + "." + n }), help)
		return false
	}
	return m.thirdStep(t, s, root, name)
}

// thirdStep checks what follows component.<name> and the like.
func (m *mistakes) thirdStep(t hcl.Traversal, s *scope, root, name string) bool {
	if len(t) < 3 {
		return true
	}
	isReference := root == "node" || root == "platform" || root == "component"
	if !isReference || s.late && root == "component" {
		return true
	}
	step, ok := stepName(t[2])
	rng := hcl.RangeBetween(t[0].SourceRange(), t[2].SourceRange())
	if len(s.metrics) == 0 || root != "component" {
		m.error(rng, fmt.Sprintf("%s.%s names a %s and has no parts", root, name, memberNames[root]),
			fmt.Sprintf("write %s.%s", root, name))
		return false
	}
	if ok && !slices.Contains(s.metrics, step) {
		m.error(rng, fmt.Sprintf("components have no metric %q", clip(step)),
			didYouMean(step, s.metrics, func(n string) string { return root + "." + name + "." + n }),
			legalNames("legal here", s.metrics))
		return false
	}
	return true
}

// unknownRoot reports a first step that does not exist, or not here.
func (m *mistakes) unknownRoot(t hcl.Traversal, s *scope) {
	root := t.RootName()
	if why, ok := s.elsewhere[root]; ok {
		m.error(t.SourceRange(), why)
		return
	}
	legal := s.roots()
	var shown []string
	for _, name := range legal {
		if members, has := s.members[name]; has {
			if len(members) == 0 {
				continue
			}
			name += ".…"
		}
		shown = append(shown, name)
	}
	hint := s.whereIs(root)
	if hint == "" {
		hint = didYouMean(root, legal, func(n string) string {
			if _, has := s.members[n]; has {
				return n + ".…"
			}
			return n
		})
	}
	text := ""
	if hint == "" && len(t) == 1 && len(s.plain) == 0 {
		text = fmt.Sprintf("text is written in quotes: %q", root)
	}
	m.error(t.SourceRange(), fmt.Sprintf("there is nothing called %q", clip(root)), hint, text, legalNames("legal here", shown))
}

// whereIs finds a name that was written without what it belongs to: worker for
// node.worker.
func (s *scope) whereIs(name string) string {
	var found []string
	for _, root := range sortedKeys(s.members) {
		if slices.Contains(s.members[root], name) {
			found = append(found, root+"."+name)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(found, " or ") + "?"
}

// stepName is the name in ".name" or "[\"name\"]".
func stepName(step hcl.Traverser) (string, bool) {
	switch step := step.(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String && step.Key.IsKnown() && !step.Key.IsNull() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// references makes the object that platform, node or component stands for.
func references(t cty.Type, names map[string]string) cty.Value {
	if len(names) == 0 {
		return cty.EmptyObjectVal
	}
	values := map[string]cty.Value{}
	for label, name := range names {
		values[label] = cty.CapsuleVal(t, &reference{name})
	}
	return cty.ObjectVal(values)
}

// functionScope is what holds everywhere: functions, and no names.
func functionScope(functions map[string]function.Function) *scope {
	return &scope{
		ctx:       &hcl.EvalContext{Functions: functions, Variables: map[string]cty.Value{}},
		members:   map[string][]string{},
		functions: sortedKeys(functions),
		elsewhere: map[string]string{
			"var": "variables cannot be used here", "local": "local values cannot be used here",
			"cell":      "cell.… cannot be used here: this must be the same in every cell of the matrix",
			"node":      "node groups cannot be used here",
			"component": "components cannot be used here",
			"platform":  "built-in components cannot be used here",
			"self":      "self.… stands in what a process of your own is given: command, env, directory, state, file and ready",
			against:     "there is no other cell here: an expectation that holds a cell against another says which with against = { dimension = value }",
		},
	}
}
