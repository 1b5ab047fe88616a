package experiment

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Bounds and defaults of components.
const (
	maxInstances       = 100
	defaultCodec       = "json"
	defaultQueue       = 10_000
	maxQueue           = 10_000_000
	defaultTimeout     = 30 * time.Second
	defaultStopSignal  = "TERM"
	defaultStopTimeout = 10 * time.Second
)

// platformNames are the built-in kinds by their names in the file.
func platformNames() map[string]string {
	names := map[string]string{}
	for _, k := range []Kind{KindBroker, KindGateway, KindNATS, KindStan, KindHub} {
		names[strings.TrimPrefix(string(k), "platform.")] = string(k)
	}
	return names
}

// needs are what a kind links to, by name.
func (k Kind) needs() []string {
	switch k {
	case KindGateway:
		return []string{"broker", "nats", "stan"}
	case KindHub:
		return []string{"broker", "nats", "stan"}
	case KindStan:
		return []string{"nats"}
	}
	return nil
}

// defaultPort is where a kind listens unless the file says otherwise; 0 is
// nowhere.
func (k Kind) defaultPort() int {
	switch k {
	case KindBroker:
		return 1883
	case KindNATS:
		return 4222
	case KindStan:
		return 4223
	}
	return 0
}

// componentSpec is one component block as it stands in one cell, before its
// instances are placed.
type componentSpec struct {
	Component
	header    hcl.Range
	active    bool // its `when` holds
	count     int
	portFixed bool
	portAt    hcl.Range
	portsAt   hcl.Range
	linkAt    map[string]hcl.Range
	// codecFixed says that the file gives the codec.
	codecFixed bool
	codecAt    hcl.Range
	whole      bool // read without mistakes
}

// componentNames checks the labels; the blocks themselves are read per cell.
func (l *loader) componentNames(blocks []*hclsyntax.Block) []*hclsyntax.Block {
	if len(blocks) == 0 {
		l.m.error(hcl.Range{Filename: l.path}, "the file has no component block, so there is nothing to test",
			`add component "broker" { … } with at least uses and on`)
	}
	seen := map[string]hcl.Range{}
	var named []*hclsyntax.Block
	for _, b := range blocks {
		if _, ok := l.label(b, "the component's name", seen); ok {
			named = append(named, b)
		}
	}
	return named
}

// blockScope adds what blocks of a cell may refer to: kinds, node groups and
// components.
func (l *loader) blockScope(s *scope) *scope {
	components := map[string]string{}
	for _, b := range l.components {
		components[b.Labels[0]] = b.Labels[0]
	}
	groups := map[string]string{}
	for name := range l.groups {
		groups[name] = name
	}
	kinds := platformNames()
	return s.with(map[string][]string{
		"platform": sortedKeys(kinds), "node": sortedKeys(groups), "component": sortedKeys(components),
	}, map[string]cty.Value{
		"platform":  references(kindType, kinds),
		"node":      references(nodeType, groups),
		"component": references(componentType, components),
	})
}

// componentBlock reads one component as it is in one cell.
func (l *loader) componentBlock(b *hclsyntax.Block, s *scope) *componentSpec {
	before := len(l.m.list)
	r := l.m.reader(b, s)
	c := &componentSpec{header: b.DefRange(), active: true, count: 1, linkAt: map[string]hcl.Range{}}
	c.Name = b.Labels[0]
	if when, ok := r.truth("when"); ok {
		c.active = when
	}
	kind, kindKnown := l.componentKind(r)
	c.Kind = kind
	c.Group, _ = r.refer("on", nodeType, "node", sortedKeys(l.groups))
	r.require("on", "on = node.worker")
	l.placement(r, c)
	if n, ok := r.whole("instances", 1, maxInstances); ok {
		c.count = int(n)
		if nodes := l.groups[c.Group].Count; c.Place == PlaceOnePerNode && nodes > 0 && c.count > nodes {
			r.wrong("instances", fmt.Sprintf("there are %d, one on each node, and the group %s has %d nodes", c.count, c.Group, nodes),
				"leave it out to have one on every node")
		}
	}
	l.limits(r, &c.Limits)
	l.componentLinks(r, c)
	if !kindKnown || kind.defaultPort() > 0 || kind == KindProcess {
		if port, ok := r.whole("port", 1, 65535); ok {
			c.Port, c.portFixed, c.portAt = int(port), true, r.at("port")
		}
	}
	if !kindKnown || kind == KindGateway || kind == KindHub {
		l.bridgeSettings(r, c)
	}
	if !kindKnown || kind == KindProcess {
		l.namedPorts(r, c)
		early := r.s
		r.s = l.lateScope(b, early)
		l.processSettings(r, c)
		r.s = early
	}
	r.finish()
	c.whole = len(l.m.list) == before
	return c
}

// placement reads how instances lie on nodes.
func (l *loader) placement(r *reader, c *componentSpec) {
	if place, ok := r.choice("place", string(PlaceSpread), string(PlacePack), string(PlaceOnePerNode)); ok && Placement(place) != PlaceSpread {
		c.Place = Placement(place)
	}
	if c.Place == PlaceOnePerNode {
		c.count = max(l.groups[c.Group].Count, 1)
	}
}

// componentKind reads uses; a command instead makes a process.
func (l *loader) componentKind(r *reader) (Kind, bool) {
	names := platformNames()
	r.args = append(r.args, "command") // so that it is legal beside uses; read later
	uses, ok := r.refer("uses", kindType, "platform", sortedKeys(names))
	switch {
	case r.has("uses") && r.has("command"):
		r.m.error(r.at("command"), r.what+" has both uses and command", "a component is either built in or a process of your own: leave one out")
		return "", false
	case r.has("command"):
		return KindProcess, true
	case !r.has("uses"):
		r.m.error(r.header, r.what+" needs the argument uses or command",
			`uses = platform.broker takes a built-in component; command = ["/usr/sbin/mosquitto"] a process of your own`,
			legalNames("built in", prefixed("platform.", sortedKeys(names))))
		return "", false
	}
	return Kind(uses), ok
}

// limits reads the limits block.
func (l *loader) limits(r *reader, to *Limits) {
	n := r.nested("limits")
	if n == nil {
		return
	}
	to.CPU, _ = n.cpu("cpu")
	to.Memory, _ = n.bytes("memory", 1<<20, 16<<40)
	n.finish()
}

// componentLinks reads `links = { broker = component.broker }`.
func (l *loader) componentLinks(r *reader, c *componentSpec) {
	v, ok := r.value("links")
	if !ok {
		return
	}
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		r.wrong("links", "an object is wanted, and this is "+typeName(v), "for example: links = { broker = component.broker }")
		return
	}
	c.Links = map[string]string{}
	needs := c.Kind.needs()
	for it := v.ElementIterator(); it.Next(); {
		key, target := it.Element()
		need := key.AsString()
		switch {
		case target.IsNull():
			continue
		case target.Type() != componentType:
			r.wrong("links", fmt.Sprintf("%s is %s, and a component is wanted", clip(need), typeName(target)), "for example: links = { broker = component.broker }")
		case c.Kind != KindProcess && c.Kind != "" && !slices.Contains(needs, need):
			legal := legalNames("legal here", needs)
			if len(needs) == 0 {
				legal = "a component of this kind links to none"
			}
			r.wrong("links", fmt.Sprintf("%s needs no %q", c.Kind, clip(need)), didYouMean(need, needs, quoted), legal)
		case !identifier.MatchString(need):
			r.wrong("links", fmt.Sprintf("%q cannot be a link's name", clip(need)), "legal: a letter, then letters, digits, _ and -")
		default:
			c.Links[need] = target.EncapsulatedValue().(*reference).name
			c.linkAt[need] = r.at("links")
		}
	}
}

// bridgeSettings are those of gateway and hub, which stand between in and out.
func (l *loader) bridgeSettings(r *reader, c *componentSpec) {
	c.Codec, c.Queue, c.Timeout = defaultCodec, defaultQueue, defaultTimeout
	if codec, ok := r.choice("codec", "json", "msgpack", "protobuf", "raw"); ok {
		c.Codec, c.codecFixed, c.codecAt = codec, true, r.at("codec")
	}
	if queue, ok := r.whole("queue", 1, maxQueue); ok {
		c.Queue = int(queue)
	}
	if timeout, ok := r.length("timeout", 10*time.Millisecond, time.Hour); ok {
		c.Timeout = timeout
	}
}

var signals = []string{"TERM", "INT", "QUIT", "HUP", "KILL", "USR1", "USR2"}

// processSettings are those of the user's own process.
func (l *loader) processSettings(r *reader, c *componentSpec) {
	c.Command, _ = r.texts("command", 1000)
	if r.has("command") && c.Command != nil && len(c.Command) == 0 {
		r.wrong("command", "the list is empty", `for example: command = ["/usr/sbin/mosquitto", "-p", "1883"]`)
	}
	l.environment(r, c)
	if n := r.nested("ready"); n != nil {
		c.Ready = l.ready(n)
	}
	if n := r.nested("metrics"); n != nil {
		c.Metrics = l.meter(n)
	}
	c.StopSignal, c.StopTimeout = defaultStopSignal, defaultStopTimeout
	if s, ok := r.text("stop_signal", 16); ok {
		name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
		if !slices.Contains(signals, name) {
			r.wrong("stop_signal", fmt.Sprintf("%q is not legal", clip(s)), didYouMean(name, signals, quoted),
				legalNames("legal", quoteAll(signals)))
		}
		c.StopSignal = name
	}
	if d, ok := r.length("stop_timeout", 0, time.Hour); ok {
		c.StopTimeout = d
	}
	l.process(r, c)
}

var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// environment reads env, whose values may be secrets.
func (l *loader) environment(r *reader, c *componentSpec) {
	v, _, ok := r.raw("env")
	if !ok {
		return
	}
	v, marks := v.Unmark()
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		r.wrong("env", "an object is wanted", `for example: env = { LOG_LEVEL = "info" }`)
		return
	}
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		name, _ := key.Unmark()
		secret := len(marks) > 0 || value.ContainsMarked()
		value, _ = value.UnmarkDeep()
		if value.IsNull() {
			continue
		}
		text, isText := asText(value)
		if !isText && value.Type().IsPrimitiveType() {
			text, isText = toText(value), true
		}
		switch {
		case !environmentName.MatchString(name.AsString()):
			r.wrong("env", fmt.Sprintf("%q cannot be an environment variable", clip(name.AsString())), "legal: letters, digits and _")
		case !isText || len(text) > 65536 || strings.ContainsRune(text, 0):
			r.wrong("env", fmt.Sprintf("%s: a text of at most 65,536 bytes is wanted", name.AsString()))
		case secret:
			c.SecretEnv = set(c.SecretEnv, name.AsString(), Secret(text))
		default:
			c.Env = set(c.Env, name.AsString(), text)
		}
	}
}

func set[V any](m map[string]V, key string, value V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	return m
}
