package experiment

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// sensitiveVariables refuses sensitive(var.NAME) of a variable that is not
// declared sensitive. The function hides a value where it is used, but a variable
// is also written into the run directory, as what it was in this run: only its
// own declaration hides it there.
func (l *loader) sensitiveVariables(body *hclsyntax.Body) {
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		call, ok := n.(*hclsyntax.FunctionCallExpr)
		if !ok || call.Name != "sensitive" {
			return nil
		}
		for _, arg := range call.Args {
			l.shownVariables(arg, arg.Range(), map[string]bool{})
		}
		return nil
	})
}

// shownVariables reports the variables in an expression that are not sensitive,
// also through local values; seen holds the names that were looked at.
func (l *loader) shownVariables(e hclsyntax.Expression, at hcl.Range, seen map[string]bool) {
	for _, t := range e.Variables() {
		name := second(t)
		if seen[t.RootName()+"."+name] {
			continue
		}
		seen[t.RootName()+"."+name] = true
		switch t.RootName() {
		case "var":
			if v := l.variables[name]; v != nil && !v.sensitive {
				l.m.error(at, fmt.Sprintf("sensitive(…) hides a value where it stands, and the variable %q in it is still written to variables.json", name),
					fmt.Sprintf("declare it: sensitive = true in variable %q at %s; sensitive(…) is then not needed", name, place(v.header)))
			}
		case "local":
			if loc := l.locals[name]; loc != nil {
				l.shownVariables(loc.attr.Expr, at, seen)
			}
		}
	}
}

// second is the name after the dot: "x" of var.x.
func second(t hcl.Traversal) string {
	if len(t) < 2 {
		return ""
	}
	switch step := t[1].(type) {
	case hcl.TraverseAttr:
		return step.Name
	case hcl.TraverseIndex:
		if step.Key.Type().FriendlyName() == "string" && step.Key.IsKnown() && !step.Key.IsNull() {
			return step.Key.AsString()
		}
	}
	return ""
}
