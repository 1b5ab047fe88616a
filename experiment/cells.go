package experiment

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// What a cell takes beside its phases, for the expected time. Rough, and said
// to be: the truth is known only after the run.
const (
	// cellOverhead is starting and stopping components, the probe, collecting.
	cellOverhead = 6 * time.Second
	// typicalDrain is how long messages under way usually take; the phase's
	// length is a limit.
	typicalDrain = 2 * time.Second
)

// perCell reads a block once for each combination of those dimensions that it
// uses, and gives the same result for the others.
type perCell[T any] struct {
	dimensions []int // places of the dimensions that the block uses
	read       func(*scope) T
	known      map[string]entry[T]
	m          *mistakes
}

type entry[T any] struct {
	value T
	id    int
}

// newPerCell finds out which dimensions a block uses, itself or through locals.
func newPerCell[T any](l *loader, b *hclsyntax.Block, read func(*scope) T) *perCell[T] {
	used := map[string]bool{}
	if b != nil {
		l.usedDimensions(b.Body, used)
		if b.Type == "component" {
			l.lateDimensions(b, used)
		}
	}
	p := &perCell[T]{read: read, known: map[string]entry[T]{}, m: l.m}
	for i, name := range l.matrix.names() {
		if used[name] || used["*"] {
			p.dimensions = append(p.dimensions, i)
		}
	}
	return p
}

// get is the block in a cell, and a number that is the same for equal results.
func (p *perCell[T]) get(c combination, s func() *scope) (T, int) {
	var key strings.Builder
	for _, i := range p.dimensions {
		fmt.Fprintf(&key, "%T %v\x00", plainValue(c[i]), plainValue(c[i]))
	}
	e, ok := p.known[key.String()]
	if !ok {
		// What is the same in every cell is no mistake of one of them.
		cell := p.m.cell
		if len(p.dimensions) == 0 {
			p.m.cell = ""
		}
		e = entry[T]{p.read(s()), len(p.known)}
		p.m.cell = cell
		p.known[key.String()] = e
	}
	return e.value, e.id
}

// usedDimensions adds the dimensions that a body's expressions use.
func (l *loader) usedDimensions(body *hclsyntax.Body, used map[string]bool) {
	for _, attr := range body.Attributes {
		l.usedIn(attr.Expr, used)
	}
	for _, b := range body.Blocks {
		l.usedDimensions(b.Body, used)
	}
}

func (l *loader) usedIn(expr hclsyntax.Expression, used map[string]bool) {
	for _, t := range expr.Variables() {
		switch t.RootName() {
		case "cell":
			used[secondStep(t)] = true
		case "local":
			if loc, ok := l.locals[secondStep(t)]; ok {
				maps.Copy(used, loc.dimensions)
			} else {
				used["*"] = true
			}
		}
	}
}

// unusedDimensions warns of dimensions that change nothing: the cells would be
// repetitions under another name.
func (l *loader) unusedDimensions(body *hclsyntax.Body) {
	if l.m.failed() {
		return
	}
	used := map[string]bool{}
	for _, b := range body.Blocks {
		if b.Type != "locals" && b.Type != "expect" {
			l.usedDimensions(b.Body, used)
		}
	}
	// What excludes cells does not change those that are left.
	for _, a := range l.matrix.axes {
		for _, d := range a.dimensions {
			if !used[d.name] && !used["*"] && len(d.values) > 1 {
				l.m.warn(d.at, fmt.Sprintf("nothing uses cell.%s, so its cells differ in nothing but their number", d.name),
					"use it in a component, devices, customers, phases or fault block, or take it out")
			}
		}
	}
}

// readers are the blocks that may differ from cell to cell.
type readers struct {
	components []*perCell[*componentSpec]
	devices    *perCell[*devicesSpec]
	customers  *perCell[*customersSpec]
	phases     *perCell[*Phases]
	faults     []*perCell[*faultSpec]
	cells      map[string]Cell // by what the blocks gave
}

// vary says whether any block differs from cell to cell.
func (rs *readers) vary() bool {
	n := len(rs.devices.dimensions) + len(rs.customers.dimensions) + len(rs.phases.dimensions)
	for _, c := range rs.components {
		n += len(c.dimensions)
	}
	for _, f := range rs.faults {
		n += len(f.dimensions)
	}
	return n > 0
}

func (l *loader) readers() *readers {
	rs := &readers{cells: map[string]Cell{}}
	for _, b := range l.components {
		rs.components = append(rs.components, newPerCell(l, b, func(s *scope) *componentSpec {
			return l.componentBlock(b, s)
		}))
	}
	rs.devices = newPerCell(l, l.devices, func(s *scope) *devicesSpec {
		if l.devices == nil {
			return &devicesSpec{}
		}
		return l.devicesBlock(l.devices, s)
	})
	rs.customers = newPerCell(l, l.customers, func(s *scope) *customersSpec {
		if l.customers == nil {
			return &customersSpec{}
		}
		return l.customersBlock(l.customers, s)
	})
	rs.phases = newPerCell(l, l.phases, l.phasesBlock)
	rs.faults = l.faultReaders()
	return rs
}

// cells resolves every combination, and puts the cells into running order.
// Where the combinations are not known after a mistake, the blocks are read
// once without them, so that their own mistakes are found all the same.
func (l *loader) cells() {
	combinations := l.combinations()
	names := l.matrix.names()
	rs := l.readers()
	if combinations == nil {
		unknown := make(combination, len(names))
		for i := range unknown {
			unknown[i] = cty.Zero // stands for the key only; the scope has no values
		}
		s := l.blockScope(l.unknownCell())
		l.cell(rs, unknown, func() *scope { return s })
		return
	}
	var resolved []Cell
	for i, c := range combinations {
		if rs.vary() {
			l.m.cell = describe(i+1, names, c)
		}
		var s *scope
		cell := l.cell(rs, c, func() *scope {
			if s == nil {
				s = l.blockScope(l.cellScope(names, c))
			}
			return s
		})
		cell.Number = i + 1
		for k, name := range names {
			cell.Values = append(cell.Values, DimensionValue{name, plainValue(c[k])})
		}
		resolved = append(resolved, cell)
	}
	l.m.cell = ""
	if !l.m.failed() {
		l.plan.arrange(resolved)
	}
	for _, e := range l.plan.Cells {
		l.plan.Expected += e.Expected
	}
}

// cell reads all blocks for one combination and resolves them together.
func (l *loader) cell(rs *readers, c combination, s func() *scope) Cell {
	var key strings.Builder
	specs := make([]*componentSpec, len(rs.components))
	whole := len(specs) > 0
	for i, r := range rs.components {
		spec, id := r.get(c, s)
		specs[i] = spec
		whole = whole && spec.whole
		fmt.Fprint(&key, id, " ")
	}
	devices, id := rs.devices.get(c, s)
	fmt.Fprint(&key, id, " ")
	customers, id := rs.customers.get(c, s)
	fmt.Fprint(&key, id, " ")
	phases, id := rs.phases.get(c, s)
	fmt.Fprint(&key, id)
	faults := make([]*faultSpec, len(rs.faults))
	for i, r := range rs.faults {
		faults[i], id = r.get(c, s)
		fmt.Fprint(&key, " ", id)
	}
	if known, ok := rs.cells[key.String()]; ok {
		return known
	}
	cell := Cell{Phases: *phases, Devices: devices.Devices, Customers: customers.Customers}
	if whole {
		cell.Components = l.place(specs)
		l.load(&cell, specs, devices, customers)
		if cell.Components != nil {
			cell.Faults = l.placeFaults(&cell, faults)
		}
	}
	cell.Expected = cellOverhead + cell.Phases.Warmup + cell.Phases.Measure + min(cell.Phases.Drain, typicalDrain) + cell.Devices.Ramp
	rs.cells[key.String()] = cell
	return cell
}

// load fills in what devices and customers take from the components and from
// each other, and spreads them over their nodes. All components were read
// without mistakes.
func (l *loader) load(cell *Cell, specs []*componentSpec, d *devicesSpec, c *customersSpec) {
	if d.whole {
		l.payloadFits(d, cell)
		cell.Devices.Via = l.via(d.loadSpec, d.Via, specs)
		cell.Devices.Shares = l.shares(d.Group, d.Count)
		if d.Ramp >= cell.Phases.Connect {
			l.m.error(d.rampAt, fmt.Sprintf("connecting is spread over %s, and phases give it %s", show(d.Ramp), show(cell.Phases.Connect)),
				"shorten ramp, or raise connect in the phases block")
		}
		if each := d.Rate * (cell.Phases.Warmup + cell.Phases.Measure).Seconds(); each > maxMessages {
			l.m.error(d.header, fmt.Sprintf("each device would send %s messages in a cell", grouped(int64(each))),
				fmt.Sprintf("legal: %s; lower rate, or shorten warmup and measure", grouped(maxMessages)))
		}
	}
	if !c.whole {
		return
	}
	cell.Customers.Via = l.via(c.loadSpec, c.Via, specs)
	cell.Customers.Shares = l.shares(c.Group, c.Count)
	if !c.qosGiven {
		cell.Customers.QoS = d.QoS
	}
	if !c.topicGiven {
		cell.Customers.Topic = defaultCustomerTopic(specs, c.Receive)
	}
	if d.whole {
		l.topicsMeet(d, c, cell, specs)
	}
}

// defaultCustomerTopic follows from who hands out messages.
func defaultCustomerTopic(specs []*componentSpec, receive Receive) string {
	prefix := "iot"
	for _, s := range specs {
		if s.active && s.Kind == KindHub {
			prefix = "out"
		}
	}
	if receive == ReceiveAll {
		return prefix + "/#"
	}
	return prefix + "/{customer}/#"
}

// topicsMeet reports topics that can never match, where only built-in
// components stand between devices and customers. A gateway takes all under the
// first level of the devices' topic; a hub hands it out under the first level
// of the customers' topic, the other levels unchanged.
func (l *loader) topicsMeet(d *devicesSpec, c *customersSpec, cell *Cell, specs []*componentSpec) {
	handed := d.Topic
	bridged, hub := false, false
	for _, s := range specs {
		switch {
		case !s.active:
		case s.Kind == KindProcess:
			return
		case s.Kind == KindGateway:
			bridged = true
		case s.Kind == KindHub:
			hub = true
		}
	}
	at := d.topicAt
	if c.topicGiven {
		at = c.topicAt
	}
	if bridged && !bridgeable(d.Topic) {
		l.m.error(d.topicAt, fmt.Sprintf("the gateway cannot take the topic %q into NATS", d.Topic),
			"legal with a gateway: a first level that is a word, then levels of letters, digits, - and _")
		return
	}
	in, rest, _ := strings.Cut(d.Topic, "/")
	out, _, _ := strings.Cut(cell.Customers.Topic, "/")
	if hub {
		handed = out + "/" + rest
		if out == in || strings.ContainsAny(out, "{+#") {
			l.m.error(at, fmt.Sprintf("the hub would hand out under %q what the gateway takes from %q", out, in),
				"the first level of the customers' topic must be a word other than that of the devices' topic")
			return
		}
	}
	fill := strings.NewReplacer("{customer}", "c", "{device}", "d", "{node}", "n")
	if !matches(fill.Replace(cell.Customers.Topic), fill.Replace(handed)) {
		l.m.error(at, fmt.Sprintf("customers subscribe to %q, and what devices send arrives at %q, which never matches",
			cell.Customers.Topic, handed), "change topic in the devices or the customers block")
	}
}

// bridgeable says whether a topic template has a NATS subject.
func bridgeable(topic string) bool {
	levels := strings.Split(topic, "/")
	if len(levels) < 2 || strings.Contains(levels[0], "{") {
		return false
	}
	for _, level := range levels {
		if level == "" || strings.ContainsAny(level, ".*> \t\r\n\f") {
			return false
		}
	}
	return true
}

// matches says whether an MQTT topic filter takes a topic.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(t), level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}

// via is the component that a load talks to: the one given, else the only
// broker.
func (l *loader) via(spec loadSpec, given string, specs []*componentSpec) string {
	var brokers, active []string
	var running []*componentSpec
	for _, s := range specs {
		if !s.active {
			continue
		}
		active = append(active, s.Name)
		running = append(running, s)
		if s.Kind == KindBroker {
			brokers = append(brokers, s.Name)
		}
		if s.Name != given {
			continue
		}
		switch {
		case s.Kind == KindProcess && s.Port == 0:
			l.m.error(spec.viaAt, fmt.Sprintf("%s: via: component %q has no port to connect to", spec.what, given), "give it the argument port")
		case s.Kind != KindProcess && s.Kind != KindBroker:
			l.m.error(spec.viaAt, fmt.Sprintf("%s: via: component %q is %s, which takes no MQTT connections", spec.what, given, s.Kind),
				"legal: a platform.broker, or a process with a port")
		}
	}
	switch {
	case len(active) == 0: // reported where the components are placed
	case given == "" && len(brokers) == 1:
		return brokers[0]
	case given == "":
		l.m.error(spec.header, fmt.Sprintf("%s needs the argument via: there are %d components that are platform.broker", spec.what, len(brokers)),
			candidates("broker", running))
	case !slices.Contains(active, given):
		l.m.error(spec.viaAt, fmt.Sprintf("%s: via: component %q is not in this cell, by its own when", spec.what, given),
			legalNames("in this cell", prefixed("component.", active)))
	}
	return given
}

// shares splits devices or customers over the nodes of a group.
func (l *loader) shares(group string, count int) []Share {
	g, ok := l.groups[group]
	if !ok || g.Count == 0 {
		return nil
	}
	names := make([]string, g.Count)
	for i := range names {
		names[i] = g.NodeName(i)
	}
	return spread(names, count)
}

// arrange puts the cells of all repetitions into running order: all of the
// first repetition, then all of the second.
func (p *Plan) arrange(cells []Cell) {
	for repetition := 1; repetition <= p.Repetitions; repetition++ {
		order := slices.Clone(cells)
		if p.Order == OrderShuffled {
			// Each repetition has an order of its own, so that a drift of the
			// machines does not always fall on the same cells.
			random := rand.New(rand.NewPCG(uint64(p.Seed), uint64(repetition)))
			random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		for _, c := range order {
			c.Repetition = repetition
			c.Position = len(p.Cells) + 1
			p.Cells = append(p.Cells, c)
		}
	}
}
