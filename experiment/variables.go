package experiment

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// variable is a `variable` block with the value it has in this run.
type variable struct {
	name      string
	kind      variableType
	sensitive bool
	header    hcl.Range
	value     cty.Value // DynamicVal after a mistake
	text      string    // as -var would take it
	given     bool
	outside   bool // its value does not come from the file
}

// variableType is a variable's declared type.
type variableType string

// variableTypes are the legal types of variables.
var variableTypes = []string{"string", "number", "bool", "duration", "list(string)", "list(number)"}

var identifier = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// variableBlocks reads all declarations, then the values from the defaults,
// the variables file and the command line, later ones winning.
func (l *loader) variableBlocks(blocks []*hclsyntax.Block) {
	functions := functionScope(l.functions())
	seen := map[string]hcl.Range{}
	for _, b := range blocks {
		name, ok := l.label(b, "the variable's name", seen)
		if !ok {
			continue
		}
		l.variables[name] = l.declaration(b, name, functions)
	}
	l.recordedValues()
	l.variablesFile(functions)
	l.variableFlags()
	for _, name := range sortedKeys(l.variables) {
		v := l.variables[name]
		if !v.given {
			l.m.error(v.header, fmt.Sprintf("the variable %q has no value", name),
				fmt.Sprintf("give -var %s=…, or a default in this block", name))
		}
	}
}

// declaration reads one variable block.
func (l *loader) declaration(b *hclsyntax.Block, name string, functions *scope) *variable {
	v := &variable{name: name, kind: "string", header: b.DefRange(), value: cty.DynamicVal}
	r := l.m.reader(b, functions)
	r.args = append(r.args, "type", "default")
	v.kind = l.variableType(r)
	r.text("description", 1024)
	v.sensitive, _ = r.truth("sensitive")
	if attr, ok := b.Body.Attributes["default"]; ok {
		v.given = true
		if v.sensitive {
			l.m.secretLiterals(attr.Expr)
		}
		if value, secret, ok := l.m.eval(attr.Expr, functions); ok {
			v.sensitive = v.sensitive || secret
			l.assign(v, value, attr.Expr.Range(), "the default of "+name)
		}
	}
	r.finish()
	return v
}

// variableType reads `type = list(string)`, which is a word and not a value.
func (l *loader) variableType(r *reader) variableType {
	attr, ok := r.body.Attributes["type"]
	if !ok {
		return "string"
	}
	rng := attr.Expr.Range()
	src := l.m.sources[rng.Filename]
	written := ""
	if rng.End.Byte <= len(src) {
		written = strings.Join(strings.Fields(string(src[rng.Start.Byte:rng.End.Byte])), "")
	}
	word := strings.Trim(written, `"`)
	if slices.Contains(variableTypes, word) {
		return variableType(word)
	}
	r.wrong("type", fmt.Sprintf("%q is not a type", clip(word)), didYouMean(word, variableTypes, bare),
		legalNames("legal", variableTypes))
	return ""
}

// assign gives a variable a value after checking it against the type.
func (l *loader) assign(v *variable, value cty.Value, rng hcl.Range, who string) {
	v.given = true
	bareValue, _ := value.UnmarkDeep()
	shown := typeName(bareValue)
	if v.sensitive {
		shown = "something else"
	}
	fit, text, problem := v.kind.check(bareValue, shown)
	if problem != nil {
		if v.sensitive {
			problem = &badUnit{problem: fmt.Sprintf("a %s is wanted", v.kind), legal: problem.legal}
		}
		l.m.error(rng, who+": "+problem.problem, problem.help()...)
		v.value = cty.DynamicVal
		return
	}
	v.value, v.text = fit, text
	if v.sensitive {
		v.value = fit.Mark(sensitiveMark{})
	}
}

// check fits a value to the type, and renders it as -var would take it.
func (t variableType) check(value cty.Value, shown string) (fit cty.Value, text string, bad *badUnit) {
	wanted := func(what string) (cty.Value, string, *badUnit) {
		return cty.NilVal, "", &badUnit{problem: what + " is wanted, and this is " + shown}
	}
	if value.IsNull() {
		return cty.NilVal, "", &badUnit{problem: "null is no value for a variable"}
	}
	switch t {
	case "number":
		if value.Type() != cty.Number {
			return wanted("a number")
		}
	case "bool":
		if value.Type() != cty.Bool {
			return wanted("true or false")
		}
	case "string":
		if value.Type() != cty.String {
			return wanted("a text")
		}
	case "duration":
		s, ok := asText(value)
		if !ok {
			if n, isNumber := asNumber(value); isNumber {
				s = showNumber(n)
			} else {
				return wanted("a duration")
			}
		}
		if _, bad := parseDuration(s); bad != nil {
			return cty.NilVal, "", bad
		}
		value = cty.StringVal(strings.TrimSpace(s))
	case "list(string)":
		list, ok := asTexts(value)
		if !ok {
			return wanted("a list of texts")
		}
		return textList(list), renderList(quoteHCL(list)), nil
	case "list(number)":
		return numberList(value, wanted)
	default:
		return cty.DynamicVal, "", nil // the type itself is wrong, and reported
	}
	return value, toText(value), nil
}

func textList(list []string) cty.Value {
	values := make([]cty.Value, len(list))
	for i, s := range list {
		values[i] = cty.StringVal(s)
	}
	return cty.TupleVal(values)
}

func numberList(value cty.Value, wanted func(string) (cty.Value, string, *badUnit)) (cty.Value, string, *badUnit) {
	if !value.CanIterateElements() || value.Type().IsObjectType() || value.Type().IsMapType() {
		return wanted("a list of numbers")
	}
	var values []cty.Value
	var shown []string
	for it := value.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if e.IsNull() || e.Type() != cty.Number {
			return wanted("a list of numbers")
		}
		values = append(values, e)
		shown = append(shown, toText(e))
	}
	return cty.TupleVal(values), renderList(shown), nil
}

func renderList(items []string) string { return "[" + strings.Join(items, ", ") + "]" }

// quoteHCL writes texts as HCL literals.
func quoteHCL(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quoteTemplate(s)
	}
	return out
}

// quoteTemplate writes one text as an HCL literal.
func quoteTemplate(s string) string {
	q := jsonString(s)
	q = strings.ReplaceAll(q, "${", "$${")
	return strings.ReplaceAll(q, "%{", "%%{")
}

// variablesFile reads the file of -var-file: NAME = VALUE lines in HCL.
func (l *loader) variablesFile(functions *scope) {
	if l.in.VarFile == "" {
		return
	}
	path := l.in.VarFile
	src, err := l.in.read(path)
	if err != nil {
		l.m.error(hcl.Range{Filename: path}, "the variables file cannot be read: "+withoutPath(err, path))
		return
	}
	if problem := textual(src); problem != "" {
		l.m.error(hcl.Range{Filename: path}, problem)
		return
	}
	body := l.m.parse(src, path)
	if body == nil {
		return
	}
	for _, b := range body.Blocks {
		l.m.error(b.DefRange(), "a variables file has no blocks", "write NAME = VALUE lines")
	}
	for _, attr := range inOrder(body.Attributes) {
		v, ok := l.variables[attr.Name]
		if !ok {
			l.undeclared(attr.NameRange, attr.Name)
			continue
		}
		if v.sensitive {
			l.m.secretLiterals(attr.Expr)
		}
		v.given, v.outside = true, true
		value, secret, ok := l.m.eval(attr.Expr, functions)
		if !ok {
			v.value = cty.DynamicVal
			continue
		}
		v.sensitive = v.sensitive || secret
		l.assign(v, value, attr.Expr.Range(), attr.Name)
	}
}

// variableFlags reads the NAME=VALUE texts of -var.
func (l *loader) variableFlags() {
	for _, flag := range l.in.Vars {
		name, text, ok := strings.Cut(flag, "=")
		if !ok || !identifier.MatchString(name) {
			l.m.error(hcl.Range{Filename: "-var"}, fmt.Sprintf("%q is not NAME=VALUE", clip(shownFlag(flag, ok))), "for example: -var measure=15s")
			continue
		}
		rng := hcl.Range{Filename: "-var " + name}
		v, ok := l.variables[name]
		if !ok {
			l.undeclared(rng, name)
			continue
		}
		v.given, v.outside = true, true
		if len(text) > maxText || textual([]byte(text)) != "" {
			l.m.error(rng, "the value is not text in UTF-8, or is too long")
			continue
		}
		value, problem := v.kind.parse(text)
		if problem != "" {
			if v.sensitive {
				problem = fmt.Sprintf("a %s is wanted", v.kind)
			}
			l.m.error(rng, problem)
			v.value = cty.DynamicVal
			continue
		}
		l.assign(v, value, rng, "the value")
	}
}

// shownFlag is what of a -var may be shown: its value may be a secret.
func shownFlag(flag string, cut bool) string {
	if name, _, _ := strings.Cut(flag, "="); cut {
		return name + "=…"
	}
	return flag
}

func (l *loader) undeclared(rng hcl.Range, name string) {
	legal := sortedKeys(l.variables)
	help := legalNames("the file declares", legal)
	if len(legal) == 0 {
		help = "the file declares no variables"
	}
	l.m.error(rng, fmt.Sprintf("the experiment file has no variable %q", clip(name)), didYouMean(name, legal, quoted), help)
}

// parse reads the text of a -var flag.
func (t variableType) parse(text string) (value cty.Value, problem string) {
	switch t {
	case "number":
		n, ok := parseNumber(text)
		if !ok {
			return cty.NilVal, fmt.Sprintf("%q is not a number", clip(text))
		}
		return n, ""
	case "bool":
		switch text {
		case "true":
			return cty.True, ""
		case "false":
			return cty.False, ""
		}
		return cty.NilVal, fmt.Sprintf("%q is neither true nor false", clip(text))
	case "list(string)", "list(number)":
		return t.parseList(text)
	}
	return cty.StringVal(text), ""
}

// parseList reads [a, b] as HCL, and a,b as it stands.
func (t variableType) parseList(text string) (value cty.Value, problem string) {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		m := newMistakes()
		expr := m.parseExpression([]byte(text), "-var")
		if expr == nil {
			return cty.NilVal, m.list.Error()
		}
		v, _, ok := m.eval(expr, functionScope(nil))
		if !ok {
			return cty.NilVal, m.list.Error()
		}
		return v, ""
	}
	var items []cty.Value
	if strings.TrimSpace(text) != "" {
		for item := range strings.SplitSeq(text, ",") {
			item = strings.TrimSpace(item)
			if t == "list(string)" {
				items = append(items, cty.StringVal(item))
				continue
			}
			n, ok := parseNumber(item)
			if !ok {
				return cty.NilVal, fmt.Sprintf("%q is not a number", clip(item))
			}
			items = append(items, n)
		}
	}
	return cty.TupleVal(items), ""
}

// decimal is a number of reasonable size; the parser itself takes exponents
// whose decimal form would not fit into memory.
var decimal = regexp.MustCompile(`^[-+]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?$`)

func parseNumber(text string) (cty.Value, bool) {
	if !decimal.MatchString(text) {
		return cty.NilVal, false
	}
	n, err := cty.ParseNumberVal(strings.TrimPrefix(text, "+"))
	return n, err == nil
}

// secretLiterals remembers that an expression's source must not be shown: a
// secret that stands in the file itself.
func (m *mistakes) secretLiterals(expr hclsyntax.Expression) {
	_ = hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
		switch n := n.(type) {
		case *hclsyntax.TemplateExpr:
			if n.IsStringLiteral() {
				m.secrets = append(m.secrets, n.Range())
			}
		case *hclsyntax.LiteralValueExpr:
			m.secrets = append(m.secrets, n.Range())
		}
		return nil
	})
}

// variableValues is what var stands for.
func (l *loader) variableValues() cty.Value {
	values := map[string]cty.Value{}
	for name, v := range l.variables {
		values[name] = v.value
	}
	return cty.ObjectVal(values)
}

// inOrder is a body's arguments as written.
func inOrder(attrs hclsyntax.Attributes) []*hclsyntax.Attribute {
	list := make([]*hclsyntax.Attribute, 0, len(attrs))
	for _, a := range attrs {
		list = append(list, a)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].NameRange.Start.Byte < list[j].NameRange.Start.Byte })
	return list
}
