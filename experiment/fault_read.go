package experiment

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Bounds of faults.
const (
	maxFaults     = 100
	leastFault    = 100 * time.Millisecond
	maxDelay      = time.Minute
	leastBitRate  = 8_000
	maxBitRate    = 100_000_000_000
	leastPressure = 1 << 20
	leastLeft     = 16 << 20
	maxLeft       = 16 << 40
)

// faultSpec is one fault block as it stands in one cell, before its targets are
// looked for.
type faultSpec struct {
	Fault
	header, atAt, targetAt, forAt hcl.Range
	active                        bool   // its `when` holds
	component                     string // kill, pause, restart; else group
	instance                      int    // 0 for all
	group                         string
	number                        int       // of the group's nodes, from 1; 0 for all
	between                       [2]string // groups
	whole                         bool      // read without mistakes
}

// faultNames checks the labels; the blocks themselves are read per cell.
func (l *loader) faultNames(blocks []*hclsyntax.Block) []*hclsyntax.Block {
	seen := map[string]hcl.Range{}
	var named []*hclsyntax.Block
	for i, b := range blocks {
		if i == maxFaults {
			l.m.error(b.DefRange(), fmt.Sprintf("there are more than %d fault blocks", maxFaults))
			break
		}
		if len(b.Labels) != 1 || strings.TrimSpace(b.Labels[0]) == "" || len(b.Labels[0]) > 64 || printable(b.Labels[0]) != b.Labels[0] {
			l.m.error(b.DefRange(), "a fault block has one label, its name in at most 64 bytes", `for example: fault "gateway dies" { … }`)
			continue
		}
		if first, ok := seen[b.Labels[0]]; ok {
			l.m.error(b.LabelRanges[0], fmt.Sprintf("there are two fault blocks called %q", b.Labels[0]), "the first is at "+place(first))
			continue
		}
		seen[b.Labels[0]] = b.LabelRanges[0]
		named = append(named, b)
	}
	return named
}

// faultBlock reads one fault as it is in one cell.
func (l *loader) faultBlock(b *hclsyntax.Block, s *scope) *faultSpec {
	before := len(l.m.list)
	r := l.m.reader(b, s)
	f := &faultSpec{header: b.DefRange(), active: true, Fault: Fault{Name: b.Labels[0], Phase: FaultInMeasure}}
	if when, ok := r.truth("when"); ok {
		f.active = when
	}
	if phase, ok := r.choice("phase", string(FaultInWarmup), string(FaultInMeasure), string(FaultInDrain)); ok {
		f.Phase = FaultPhase(phase)
	}
	r.require("at", `at = "20s", counted from the beginning of phase`)
	f.At, _ = r.length("at", 0, maxDuration)
	f.For, _ = r.length("for", leastFault, maxDuration)
	f.atAt, f.forAt, f.targetAt = r.at("at"), r.at("for"), f.header
	l.faultKind(r, f)
	if needsEnd := f.Kind != "" && f.Kind != FaultKill && f.Kind != FaultRestart; needsEnd {
		r.require("for", `for = "5s": what is not killed is healed again`)
	}
	r.finish()
	f.whole = len(l.m.list) == before
	return f
}

// faultKind reads the one block that says what the fault does.
func (l *loader) faultKind(r *reader, f *faultSpec) {
	var names []string
	for _, kind := range FaultKinds() {
		names = append(names, string(kind))
		n := r.nested(string(kind))
		if n == nil {
			continue
		}
		if f.Kind != "" {
			r.m.error(n.header, fmt.Sprintf("%s has both %s and %s", r.what, f.Kind, kind), "a fault does one thing: write a second fault block")
			continue
		}
		f.Kind, f.targetAt = kind, n.header
		switch kind {
		case FaultCut, FaultSlow:
			l.faultNetwork(n, f)
		case FaultPressure:
			l.faultPressure(n, f)
		case FaultDisk:
			l.faultNodes(n, f, "on")
			n.require("on", "on = node.worker")
			n.require("leave", `leave = "500MiB", which stays free`)
			f.Leave, _ = n.bytes("leave", leastLeft, maxLeft)
		default:
			l.faultProcesses(n, f)
		}
		n.finish()
	}
	if f.Kind == "" {
		r.m.error(r.header, r.what+" does nothing", "add one of the blocks "+strings.Join(names, ", "), "for example: kill { component = component.gateway }")
	}
}

// faultProcesses reads which components a fault hits.
func (l *loader) faultProcesses(n *reader, f *faultSpec) {
	f.component, _ = n.refer("component", componentType, "component", l.componentLabels())
	if instance, ok := n.whole("instance", 1, maxInstances); ok {
		f.instance = int(instance)
	}
	l.faultNodes(n, f, "node")
	switch {
	case n.has("component") && n.has("node"):
		n.m.error(n.at("node"), n.what+" has both component and node", "component takes a component's instances, node all that runs on a group's nodes: leave one out")
	case !n.has("component") && !n.has("node"):
		n.m.error(n.header, n.what+" needs the argument component or node", "for example: component = component.gateway")
	case n.has("instance") && !n.has("component"):
		n.wrong("instance", "it counts a component's instances, and there is no component", "with node, use number")
	}
}

// faultNodes reads a group of nodes, and which one of it.
func (l *loader) faultNodes(n *reader, f *faultSpec, name string) {
	f.group, _ = n.refer(name, nodeType, "node", sortedKeys(l.groups))
	number, ok := n.whole("number", 1, maxNodes)
	if !ok {
		return
	}
	f.number = int(number)
	g, known := l.groups[f.group]
	switch {
	case !n.has(name):
		n.wrong("number", "it counts the nodes of a group, and there is none", "add "+name+" = node.worker")
	case known && f.number > g.Count:
		n.wrong("number", fmt.Sprintf("node.%s has %d nodes, and this is number %d", f.group, g.Count, f.number))
	}
}

// faultNetwork reads between whom, and what happens to the packets.
func (l *loader) faultNetwork(n *reader, f *faultSpec) {
	n.require("between", "between = [node.iot, node.worker]")
	if v, ok := n.value("between"); ok {
		l.faultBetween(n, f, v)
	}
	if f.Kind == FaultCut {
		return
	}
	f.Delay, _ = n.length("delay", time.Microsecond, maxDelay)
	f.Jitter, _ = n.length("jitter", time.Microsecond, maxDelay)
	f.Loss, _ = n.share("loss")
	f.Rate, _ = n.bitRate("rate")
	switch {
	case !n.has("delay") && !n.has("loss") && !n.has("rate"):
		n.m.error(n.header, n.what+" needs at least one of the arguments delay, loss and rate", `for example: delay = "50ms"`)
	case f.Jitter > f.Delay:
		n.wrong("jitter", fmt.Sprintf("%s is more than the delay of %s", show(f.Jitter), show(f.Delay)), "a packet cannot arrive before it was sent")
	}
}

func (l *loader) faultBetween(n *reader, f *faultSpec, v cty.Value) {
	const legal = "legal: two node groups, as in [node.iot, node.worker]"
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() || v.LengthInt() != 2 {
		n.wrong("between", "a list of two node groups is wanted, and this is "+typeName(v), legal)
		return
	}
	for i := range f.between {
		e := v.Index(cty.NumberIntVal(int64(i)))
		if e.Type() != nodeType || e.IsNull() {
			hint := ""
			if s, ok := asText(e); ok {
				hint = didYouMean(strings.TrimPrefix(s, "node."), sortedKeys(l.groups), func(name string) string { return "node." + name + ", without quotes" })
			}
			n.wrong("between", fmt.Sprintf("entry %d is no node group", i+1), hint, legal)
			return
		}
		f.between[i] = e.EncapsulatedValue().(*reference).name
	}
}

// faultPressure reads what is used up, and where.
func (l *loader) faultPressure(n *reader, f *faultSpec) {
	l.faultNodes(n, f, "on")
	n.require("on", "on = node.worker")
	f.CPU, _ = n.cpu("cpu")
	f.Memory, _ = n.bytes("memory", leastPressure, maxLeft)
	if !n.has("cpu") && !n.has("memory") {
		n.m.error(n.header, n.what+" needs at least one of the arguments cpu and memory", `for example: cpu = "800m"`)
	}
}

const bitRateLegal = `legal: bits per second with a unit, one of kbit, mbit, gbit, as in "10mbit"`

var (
	bitRateForm  = regexp.MustCompile(`^\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-z/]*)\s*$`)
	bitRateUnits = map[string]float64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
)

// parseBitRate reads "10mbit" as 10,000,000 bits per second.
func parseBitRate(s string) (float64, *badUnit) {
	bad := &badUnit{problem: fmt.Sprintf("%q is not a rate of a network", clip(s)), legal: bitRateLegal}
	parts := bitRateForm.FindStringSubmatch(s)
	if parts == nil {
		return 0, bad
	}
	unit := strings.ToLower(parts[2])
	factor, ok := bitRateUnits[unit]
	if !ok {
		if unit != "" && strings.ContainsRune("kmg", rune(unit[0])) {
			bad.meant = parts[1] + unit[:1] + "bit"
		}
		return 0, bad
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		return 0, bad
	}
	return math.Round(n * factor), nil
}

// bitRate is a rate of a network in bits per second.
func (r *reader) bitRate(name string) (int64, bool) {
	n, ok := r.quantity(name, bitRateLegal, func(s string) (float64, *badUnit) { return parseBitRate(s) }, 1)
	if !ok {
		return 0, false
	}
	if n < leastBitRate || n > maxBitRate || n != math.Trunc(n) {
		r.wrong(name, r.source(name)+" is out of range", "legal: 8kbit to 100gbit")
		return 0, false
	}
	return int64(n), true
}

// showBitRate writes a rate with the largest unit that divides it.
func showBitRate(n int64) string {
	for _, unit := range []string{"gbit", "mbit", "kbit"} {
		if by := int64(bitRateUnits[unit]); n%by == 0 {
			return strconv.FormatInt(n/by, 10) + unit
		}
	}
	return strconv.FormatInt(n, 10) + "bit"
}

// faultReaders are the fault blocks that may differ from cell to cell.
func (l *loader) faultReaders() []*perCell[*faultSpec] {
	var all []*perCell[*faultSpec]
	for _, b := range l.faults {
		all = append(all, newPerCell(l, b, func(s *scope) *faultSpec { return l.faultBlock(b, s) }))
	}
	return slices.Clip(all)
}
