package experiment

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxCells is the most cells of a run: combinations before any exclude, times
// repetitions.
const maxCells = 100_000

// matrix is the `matrix` block: axes whose product are the cells.
type matrix struct {
	header hcl.Range
	axes   []axis
	// broken says that an axis is missing after a mistake, so that the cells
	// are not known.
	broken bool
	// excludes are the conditions under which a combination is left out.
	excludes []*hclsyntax.Attribute
}

// axis is one dimension, or several that a pair block moves together.
type axis struct {
	dimensions []dimension
	length     int
}

type dimension struct {
	name   string
	at     hcl.Range
	values []cty.Value
}

// names are the dimensions in the order of the file.
func (x *matrix) names() []string {
	var names []string
	for _, a := range x.axes {
		for _, d := range a.dimensions {
			names = append(names, d.name)
		}
	}
	return names
}

// combination is the value of each dimension, in the order of names.
type combination []cty.Value

var dimensionName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// matrixBlock reads the dimensions. Without a matrix there is one cell.
func (l *loader) matrixBlock(b *hclsyntax.Block, repetitions int) {
	l.matrix = &matrix{header: l.m.wholeFile(l.path)}
	if b == nil {
		return
	}
	l.matrix.header = b.DefRange()
	type part struct {
		at   int
		read func() axis
	}
	var parts []part
	seen := map[string]hcl.Range{}
	for _, attr := range inOrder(b.Body.Attributes) {
		parts = append(parts, part{attr.NameRange.Start.Byte, func() axis { return l.dimensionAxis(attr, seen) }})
	}
	for _, inner := range b.Body.Blocks {
		if len(inner.Labels) > 0 {
			l.m.error(inner.LabelRanges[0], fmt.Sprintf("a %s block has no name", clip(inner.Type)))
		}
		switch inner.Type {
		case "pair":
			parts = append(parts, part{inner.TypeRange.Start.Byte, func() axis { return l.pairAxis(inner, seen) }})
		case "exclude":
			l.excludeBlock(inner)
		default:
			legal := []string{"exclude", "pair"}
			l.m.error(inner.TypeRange, fmt.Sprintf("matrix has no block %q", clip(inner.Type)),
				didYouMean(inner.Type, legal, quoted), legalNames("legal here", legal))
		}
	}
	sort.SliceStable(parts, func(i, j int) bool { return parts[i].at < parts[j].at })
	for _, p := range parts {
		l.matrix.axes = append(l.matrix.axes, p.read())
	}
	l.countCells(repetitions)
}

// wholeFile is the range for what concerns no line.
func (m *mistakes) wholeFile(path string) hcl.Range { return hcl.Range{Filename: path} }

// countCells refuses a matrix of no cells or of too many, by arithmetic.
func (l *loader) countCells(repetitions int) {
	total := max(repetitions, 1)
	sizes := ""
	for _, a := range l.matrix.axes {
		if a.length == 0 {
			l.matrix.broken = true
			return
		}
		if len(sizes) < 100 {
			sizes += fmt.Sprintf("%s%d", map[bool]string{true: " × "}[sizes != ""], a.length)
		}
		total = min(total*a.length, 1<<40)
	}
	if total > maxCells {
		l.m.error(l.matrix.header, fmt.Sprintf("the matrix has more than %s cells: %s values, %d repetitions",
			grouped(maxCells), sizes, max(repetitions, 1)), "take values out, or pair dimensions that move together")
		l.matrix.broken = true
	}
}

// dimensionAxis reads `devices = [1, 100]`.
func (l *loader) dimensionAxis(attr *hclsyntax.Attribute, seen map[string]hcl.Range) axis {
	d, ok := l.dimension(attr, seen)
	if !ok {
		l.matrix.broken = true
	}
	return axis{dimensions: []dimension{d}, length: len(d.values)}
}

// pairAxis reads a pair block: its dimensions move together.
func (l *loader) pairAxis(b *hclsyntax.Block, seen map[string]hcl.Range) axis {
	for _, inner := range b.Body.Blocks {
		l.m.error(inner.TypeRange, "a pair block holds no blocks", "write dimensions, each with a list of values")
	}
	var a axis
	whole := true
	for _, attr := range inOrder(b.Body.Attributes) {
		d, ok := l.dimension(attr, seen)
		whole = whole && ok
		a.dimensions = append(a.dimensions, d)
		if first := a.dimensions[0]; ok && len(first.values) > 0 && len(d.values) != len(first.values) {
			l.m.error(attr.Expr.Range(), fmt.Sprintf("pair: %s has %d values, and %s has %d", d.name, len(d.values), first.name, len(first.values)),
				"the first value of one goes with the first of the other, so the lists must be of the same length")
			whole = false
		}
		a.length = len(d.values)
	}
	if len(a.dimensions) < 2 {
		l.m.error(b.DefRange(), "a pair block needs at least two dimensions", "they move together, as in devices = [100, 500] with rate = [10, 2]")
		whole = false
	}
	if !whole {
		l.matrix.broken = true
	}
	return a
}

// dimension reads one name and its list of values.
func (l *loader) dimension(attr *hclsyntax.Attribute, seen map[string]hcl.Range) (dimension, bool) {
	d := dimension{name: attr.Name, at: attr.NameRange}
	ok := true
	switch {
	case !dimensionName.MatchString(attr.Name):
		l.m.error(attr.NameRange, fmt.Sprintf("%q cannot be a dimension's name: it becomes a column", clip(attr.Name)),
			"legal: a lower-case letter, then at most 31 lower-case letters, digits and _")
		ok = false
	case slices.Contains(reservedDimensions(), attr.Name):
		l.m.error(attr.NameRange, fmt.Sprintf("a dimension cannot be called %q: that is a column of its own in the results", attr.Name))
		ok = false
	}
	if first, twice := seen[attr.Name]; twice {
		l.m.error(attr.NameRange, fmt.Sprintf("the matrix has two dimensions called %q", clip(attr.Name)), "the first is at "+place(first))
		ok = false
	}
	seen[attr.Name] = attr.NameRange
	v, secret, evaluated := l.m.eval(attr.Expr, l.static)
	if !evaluated {
		return d, false
	}
	if secret {
		l.m.error(attr.Expr.Range(), "a dimension of the matrix cannot hold a sensitive value: it is a column of the results")
		return d, false
	}
	values, good := l.dimensionValues(d.name, attr.Expr.Range(), v)
	d.values = values
	return d, ok && good
}

// dimensionValues takes a list of texts, of numbers or of truths.
func (l *loader) dimensionValues(name string, rng hcl.Range, v cty.Value) ([]cty.Value, bool) {
	if v.IsNull() || !v.CanIterateElements() || v.Type().IsObjectType() || v.Type().IsMapType() {
		l.m.error(rng, fmt.Sprintf("matrix: %s is no list of values", name), "for example: "+name+" = [1, 100]")
		return nil, false
	}
	var values []cty.Value
	seen := map[string]bool{}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if e.IsNull() || !slices.Contains([]cty.Type{cty.String, cty.Number, cty.Bool}, e.Type()) {
			l.m.error(rng, fmt.Sprintf("matrix: value %d of %s is neither a text, a number, true nor false", len(values)+1, name))
			return nil, false
		}
		if n, ok := asNumber(e); ok && math.IsInf(n, 0) {
			l.m.error(rng, fmt.Sprintf("matrix: value %d of %s is not finite", len(values)+1, name))
			return nil, false
		}
		if len(values) > 0 && e.Type() != values[0].Type() {
			l.m.error(rng, fmt.Sprintf("matrix: the values of %s are of different types", name),
				"they make one column of the results: write all of them as texts, or all as numbers")
			return nil, false
		}
		if e.Type() == cty.String && !printableValue(e.AsString()) {
			l.m.error(rng, fmt.Sprintf("matrix: value %d of %s is longer than 128 bytes or not printable", len(values)+1, name))
			return nil, false
		}
		text := fmt.Sprint(plainValue(e))
		if seen[text] {
			l.m.error(rng, fmt.Sprintf("matrix: %s has the value %s twice", name, clip(text)),
				"repetitions = 2 in the experiment block runs every cell twice")
			return nil, false
		}
		seen[text] = true
		values = append(values, e)
	}
	if len(values) == 0 {
		l.m.error(rng, fmt.Sprintf("matrix: %s has no values, so there are no cells", name))
		return nil, false
	}
	return values, true
}

func printableValue(s string) bool { return len(s) <= 128 && printable(s) == s }

// plainValue is a cell's coordinate as Go sees it: string, float64 or bool.
func plainValue(v cty.Value) any {
	switch v.Type() {
	case cty.String:
		return v.AsString()
	case cty.Bool:
		return v.True()
	}
	n, _ := asNumber(v)
	return n
}

// excludeBlock reads `exclude { when = … }`.
func (l *loader) excludeBlock(b *hclsyntax.Block) {
	for _, inner := range b.Body.Blocks {
		l.m.error(inner.TypeRange, "an exclude block holds no blocks", "legal here: when")
	}
	when, ok := b.Body.Attributes["when"]
	if !ok {
		l.m.error(b.DefRange(), "exclude needs the argument when", "for example: when = cell.devices > 500 && cell.qos == 0")
	} else {
		l.matrix.excludes = append(l.matrix.excludes, when)
	}
	for _, attr := range inOrder(b.Body.Attributes) {
		if attr.Name != "when" {
			l.m.error(attr.NameRange, fmt.Sprintf("exclude has no argument %q", clip(attr.Name)), "legal here: when")
		}
	}
}

// combinations is the product of the axes in the order of the file, the last
// one changing fastest, without those that are excluded; nil where the matrix
// is broken.
func (l *loader) combinations() []combination {
	x := l.matrix
	if x.broken {
		l.checkExcludes()
		return nil
	}
	total := 1
	for _, a := range x.axes {
		total *= a.length
	}
	names := x.names()
	var kept []combination
	for n := range total {
		c := make(combination, 0, len(names))
		rest, stride := n, total
		for _, a := range x.axes {
			stride /= a.length
			i := rest / stride
			rest %= stride
			for _, d := range a.dimensions {
				c = append(c, d.values[i])
			}
		}
		if !l.excluded(names, c) {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 && !l.m.failed() {
		l.m.error(x.header, fmt.Sprintf("the matrix has no cells: its exclude blocks leave none of %d combinations", total))
	}
	return kept
}

// excluded says whether a condition leaves a combination out.
func (l *loader) excluded(names []string, c combination) bool {
	if len(l.matrix.excludes) == 0 {
		return false
	}
	s := l.cellScope(names, c)
	for _, when := range l.matrix.excludes {
		v, secret, ok := l.m.eval(when.Expr, s)
		switch {
		case !ok:
		case secret || v.IsNull() || v.Type() != cty.Bool:
			l.m.error(when.Expr.Range(), "exclude: when must be true or false for each cell", "for example: when = cell.devices > 500 && cell.qos == 0")
		case v.True():
			return true
		}
	}
	return false
}

// checkExcludes finds mistakes in the conditions where the cells are not known.
func (l *loader) checkExcludes() {
	s := l.unknownCell()
	for _, when := range l.matrix.excludes {
		_, _, _ = l.m.eval(when.Expr, s)
	}
}

// cellScope is the scope with var, local and the dimensions of one cell.
func (l *loader) cellScope(names []string, c combination) *scope {
	values := make(map[string]cty.Value, len(names))
	for i, name := range names {
		values[name] = c[i]
	}
	return l.inCell(names, cty.ObjectVal(values))
}

// inCell is the scope with a cell's dimensions and the locals that use them.
func (l *loader) inCell(names []string, cell cty.Value) *scope {
	s := l.static.with(map[string][]string{"cell": names}, map[string]cty.Value{"cell": cell})
	for _, name := range []string{"number", "repetition"} {
		s.elsewhere["cell."+name] = fmt.Sprintf("cell.%s is known only in expect blocks and in -only: a cell is the same in every repetition", name)
	}
	return l.cellLocals(s)
}

// unknownCell is the scope where no cell is known, after a mistake.
func (l *loader) unknownCell() *scope {
	names := l.matrix.names()
	return l.inCell(names, dynamicObject(names))
}

// describe is "cell 3 (devices = 500, qos = 1)".
func describe(number int, names []string, c combination) string {
	text := fmt.Sprintf("cell %d", number)
	for i, name := range names {
		sep := ", "
		if i == 0 {
			sep = " ("
		}
		text += fmt.Sprintf("%s%s = %s", sep, name, clip(fmt.Sprint(plainValue(c[i]))))
	}
	if len(names) > 0 {
		text += ")"
	}
	return text
}
