package experiment

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// maxDuration is the longest duration that an experiment file may give.
const maxDuration = 7 * 24 * time.Hour

// reader reads the arguments and blocks inside one block. It learns what is
// legal there from what it is asked for; finish reports the rest.
type reader struct {
	m      *mistakes
	s      *scope
	body   *hclsyntax.Body
	what   string    // for messages: component "gateway"
	header hcl.Range // where something that is missing is reported
	args   []string
	blocks []string
}

func (m *mistakes) reader(block *hclsyntax.Block, s *scope) *reader {
	what := block.Type
	for _, label := range block.Labels {
		what += " " + quoted(clip(label))
	}
	return &reader{m: m, s: s, body: block.Body, what: what, header: block.DefRange()}
}

// nested reads a block within this one; nil where it is not there.
func (r *reader) nested(kind string) *reader {
	blocks := r.nestedAll(kind)
	if len(blocks) == 0 {
		return nil
	}
	for _, extra := range blocks[1:] {
		r.m.error(extra.DefRange(), fmt.Sprintf("%s has a second %s block", r.what, kind),
			fmt.Sprintf("the first is at line %d", blocks[0].DefRange().Start.Line))
	}
	n := r.m.reader(blocks[0], r.s)
	n.what = r.what + ", " + kind
	return n
}

// nestedAll is all blocks of a kind within this one, without labels.
func (r *reader) nestedAll(kind string) []*hclsyntax.Block {
	r.blocks = append(r.blocks, kind)
	var found []*hclsyntax.Block
	for _, b := range r.body.Blocks {
		if b.Type != kind {
			continue
		}
		if len(b.Labels) > 0 {
			r.m.error(b.LabelRanges[0], fmt.Sprintf("a %s block has no name", kind))
		}
		found = append(found, b)
	}
	return found
}

// finish reports arguments and blocks that were never asked for.
func (r *reader) finish() {
	for name, attr := range r.body.Attributes {
		if slices.Contains(r.args, name) {
			continue
		}
		if slices.Contains(r.blocks, name) {
			r.m.error(attr.NameRange, fmt.Sprintf("%s: %s is a block", r.what, name),
				fmt.Sprintf("write %s { … } without the equals sign", name))
			continue
		}
		r.m.error(attr.NameRange, fmt.Sprintf("%s has no argument %q", r.what, clip(name)),
			didYouMean(name, append(slices.Clone(r.args), r.blocks...), quoted),
			legalNames("legal here", slices.Sorted(slices.Values(r.args))))
	}
	for _, b := range r.body.Blocks {
		if slices.Contains(r.blocks, b.Type) {
			continue
		}
		if slices.Contains(r.args, b.Type) {
			r.m.error(b.TypeRange, fmt.Sprintf("%s: %s is an argument, not a block", r.what, b.Type),
				fmt.Sprintf("write %s = …", b.Type))
			continue
		}
		known := append(slices.Clone(r.blocks), r.args...)
		r.m.error(b.TypeRange, fmt.Sprintf("%s has no block %q", r.what, clip(b.Type)),
			didYouMean(b.Type, known, quoted), legalNames("legal here", slices.Sorted(slices.Values(r.blocks))))
		r.m.noMatrix = r.m.noMatrix || nearest(b.Type, known) == "matrix"
	}
}

// has says whether an argument is written, whatever its value.
func (r *reader) has(name string) bool {
	_, ok := r.body.Attributes[name]
	return ok
}

// at is where an argument's value stands, or the block's header.
func (r *reader) at(name string) hcl.Range {
	if attr, ok := r.body.Attributes[name]; ok {
		return attr.Expr.Range()
	}
	return r.header
}

// require reports an argument that is not there.
func (r *reader) require(name, example string) {
	if !r.has(name) {
		r.m.error(r.header, fmt.Sprintf("%s needs the argument %s", r.what, name), "for example: "+example)
	}
}

// raw is an argument's value; false where there is none, where it is null, or
// where it is wrong, which is reported.
func (r *reader) raw(name string) (v cty.Value, secret, ok bool) {
	if !slices.Contains(r.args, name) {
		r.args = append(r.args, name)
	}
	attr, ok := r.body.Attributes[name]
	if !ok {
		return cty.NilVal, false, false
	}
	v, secret, ok = r.m.eval(attr.Expr, r.s)
	if !ok {
		return cty.NilVal, secret, false
	}
	bare, _ := v.Unmark()
	return v, secret, !bare.IsNull()
}

// value is raw for everything that may end up in the plan, in logs or on
// screens, and so must not be a secret.
func (r *reader) value(name string) (cty.Value, bool) {
	v, secret, ok := r.raw(name)
	if ok && secret {
		r.m.error(r.at(name), fmt.Sprintf("%s: %s is a sensitive value, and this argument is shown and written", r.what, name),
			"sensitive values may stand in token of influxdb, in notify, and in env of a component")
		return cty.NilVal, false
	}
	return v, ok
}

// wrong reports a value that cannot stand there.
func (r *reader) wrong(name, problem string, help ...string) {
	r.m.error(r.at(name), fmt.Sprintf("%s: %s: %s", r.what, name, problem), help...)
}

// text is a string argument of at most most bytes.
func (r *reader) text(name string, most int) (string, bool) {
	v, ok := r.value(name)
	if !ok {
		return "", false
	}
	s, ok := asText(v)
	if !ok {
		r.wrong(name, "a text is wanted, and this is "+typeName(v), `legal: text in quotes`)
		return "", false
	}
	if len(s) > most {
		r.wrong(name, fmt.Sprintf("the text has %d bytes; the most is %d", len(s), most))
		return "", false
	}
	if strings.ContainsRune(s, 0) {
		r.wrong(name, "the text contains a NUL character")
		return "", false
	}
	return s, true
}

func asText(v cty.Value) (string, bool) {
	if v.Type() != cty.String || v.IsNull() {
		return "", false
	}
	return v.AsString(), true
}

// choice is a string argument that is one of a few words.
func (r *reader) choice(name string, legal ...string) (string, bool) {
	s, ok := r.text(name, maxText)
	if !ok {
		return "", false
	}
	if !slices.Contains(legal, s) {
		r.wrong(name, fmt.Sprintf("%q is not legal", clip(s)), didYouMean(s, legal, quoted),
			legalNames("legal", quoteAll(legal)))
		return "", false
	}
	return s, true
}

func quoteAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quoted(n)
	}
	return out
}

// truth is a boolean argument.
func (r *reader) truth(name string) (bool, bool) {
	v, ok := r.value(name)
	if !ok {
		return false, false
	}
	if v.Type() != cty.Bool {
		r.wrong(name, "true or false is wanted, and this is "+typeName(v))
		return false, false
	}
	return v.True(), true
}

// whole is an integer argument between two bounds, both included.
func (r *reader) whole(name string, least, most int64) (int64, bool) {
	v, ok := r.value(name)
	if !ok {
		return 0, false
	}
	legal := fmt.Sprintf("legal: a whole number from %s to %s", grouped(least), grouped(most))
	n, ok := asNumber(v)
	if !ok {
		r.wrong(name, "a number is wanted, and this is "+typeName(v), legal)
		return 0, false
	}
	if n != math.Trunc(n) || n < float64(least) || n > float64(most) {
		r.wrong(name, showNumber(n)+" is out of range", legal)
		return 0, false
	}
	return int64(n), true
}

// asNumber takes a number; digits in quotes are not one, so that a forgotten
// unit is never read as something else.
func asNumber(v cty.Value) (float64, bool) {
	if v.Type() != cty.Number || v.IsNull() {
		return 0, false
	}
	n, _ := v.AsBigFloat().Float64()
	return n, true
}

// length is a duration argument between two bounds, both included.
func (r *reader) length(name string, least, most time.Duration) (time.Duration, bool) {
	v, ok := r.value(name)
	if !ok {
		return 0, false
	}
	s, ok := asText(v)
	if !ok {
		if n, isNumber := asNumber(v); isNumber {
			s = strconv.FormatFloat(n, 'f', -1, 64)
			if math.Abs(n) > 1e9 {
				s = showNumber(n)
			}
		} else {
			r.wrong(name, "a duration is wanted, and this is "+typeName(v), durationLegal)
			return 0, false
		}
	}
	d, bad := parseDuration(s)
	if bad != nil {
		r.wrong(name, bad.problem, bad.help()...)
		return 0, false
	}
	if d < least || d > most {
		r.wrong(name, fmt.Sprintf("%q is out of range", s), fmt.Sprintf("legal: %s to %s", show(least), show(most)))
		return 0, false
	}
	return d, true
}

// bytes is a size argument between two bounds, both included.
func (r *reader) bytes(name string, least, most int64) (int64, bool) {
	n, ok := r.quantity(name, sizeLegal, func(s string) (float64, *badUnit) {
		n, bad := parseSize(s)
		return float64(n), bad
	}, 1)
	if !ok {
		return 0, false
	}
	if n < float64(least) || n > float64(most) || n != math.Trunc(n) {
		r.wrong(name, r.source(name)+" is out of range",
			fmt.Sprintf("legal: %s to %s", showSize(least), showSize(most)))
		return 0, false
	}
	return int64(n), true
}

// cpu is a share of CPU in thousandths of a core.
func (r *reader) cpu(name string) (int, bool) {
	n, ok := r.quantity(name, cpuLegal, parseCPU, 1000)
	if !ok {
		return 0, false
	}
	const most = 1024 * 1000
	n = math.Round(n*1000) / 1000 // 0.35 is not exactly 350 thousandths
	if n < 1 || n > most || n != math.Trunc(n) {
		r.wrong(name, r.source(name)+" is out of range", "legal: 1m to 1024 cores, in whole thousandths")
		return 0, false
	}
	return int(n), true
}

// rate is a number of messages per second, above 0.
func (r *reader) rate(name string, most float64) (float64, bool) {
	n, ok := r.quantity(name, rateLegal, parseRate, 1)
	if !ok {
		return 0, false
	}
	if !(n >= minRate && n <= most) {
		r.wrong(name, r.source(name)+" is out of range",
			fmt.Sprintf("legal: 1 message a day to %s messages a second", grouped(int64(most))))
		return 0, false
	}
	return n, true
}

// minRate is one message a day: less never shows in a cell.
const minRate = 1.0 / 86400

// quantity is a number, times factor, or a text with a unit.
func (r *reader) quantity(name, legal string, parse func(string) (float64, *badUnit), factor float64) (float64, bool) {
	v, ok := r.value(name)
	if !ok {
		return 0, false
	}
	if n, ok := asNumber(v); ok {
		return n * factor, true
	}
	s, ok := asText(v)
	if !ok {
		r.wrong(name, "a quantity is wanted, and this is "+typeName(v), legal)
		return 0, false
	}
	n, bad := parse(s)
	if bad != nil {
		r.wrong(name, bad.problem, bad.help()...)
		return 0, false
	}
	return n, true
}

// source is an argument's value for a message.
func (r *reader) source(name string) string {
	v, ok := r.value(name)
	if !ok {
		return "the value"
	}
	if s, ok := asText(v); ok {
		return quoted(clip(s))
	}
	if n, ok := asNumber(v); ok {
		return showNumber(n)
	}
	return typeName(v)
}

// texts is an argument that is a list of strings.
func (r *reader) texts(name string, most int) ([]string, bool) {
	v, ok := r.value(name)
	if !ok {
		return nil, false
	}
	list, ok := asTexts(v)
	if !ok {
		r.wrong(name, "a list of texts is wanted, and this is "+typeName(v), `legal: a list as in ["a", "b"]`)
		return nil, false
	}
	if len(list) > most {
		r.wrong(name, fmt.Sprintf("the list has %d entries; the most is %d", len(list), most))
		return nil, false
	}
	for i, s := range list {
		if s == "" || len(s) > 4096 || strings.ContainsRune(s, 0) {
			r.wrong(name, fmt.Sprintf("entry %d is empty, longer than 4,096 bytes or contains a NUL character", i+1))
			return nil, false
		}
	}
	return list, true
}

func asTexts(v cty.Value) ([]string, bool) {
	if !v.CanIterateElements() || v.Type().IsObjectType() || v.Type().IsMapType() {
		return nil, false
	}
	list := []string{}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		s, ok := asText(e)
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

// refer is an argument that names a node group, a component or a kind.
func (r *reader) refer(name string, t cty.Type, root string, legal []string) (string, bool) {
	v, ok := r.value(name)
	if !ok {
		return "", false
	}
	if v.Type() == t {
		return v.EncapsulatedValue().(*reference).name, true
	}
	hint := ""
	if s, ok := asText(v); ok {
		given := strings.TrimPrefix(s, root+".")
		hint = didYouMean(given, legal, func(n string) string { return root + "." + n + ", without quotes" })
	}
	r.wrong(name, fmt.Sprintf("%s %s is wanted, and this is %s", article(memberNames[root]), memberNames[root], typeName(v)),
		hint, legalNames("legal here", prefixed(root+".", legal)))
	return "", false
}

func article(noun string) string {
	if noun != "" && strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}

// typeName says what a value is.
func typeName(v cty.Value) string {
	t := v.Type()
	switch {
	case t == cty.String:
		return "the text " + quoted(clip(v.AsString()))
	case t == cty.Number:
		n, _ := asNumber(v)
		return "the number " + showNumber(n)
	case t == cty.Bool:
		return strconv.FormatBool(v.True())
	case t.IsCapsuleType():
		return "a " + t.FriendlyName()
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		return "a list"
	case t.IsObjectType(), t.IsMapType():
		return "an object"
	}
	return "something else"
}

func showNumber(n float64) string { return strconv.FormatFloat(n, 'g', 12, 64) }

// grouped writes 1000000 as 1,000,000.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// show writes a duration without zero parts: 5m, not 5m0s.
func show(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// showSize writes a number of bytes with the largest unit that divides it.
func showSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d %s", n, units[i])
}

// toText renders a value as -var would take it.
func toText(v cty.Value) string {
	if s, err := convert.Convert(v, cty.String); err == nil && !s.IsNull() && s.IsKnown() {
		return s.AsString()
	}
	return ""
}
