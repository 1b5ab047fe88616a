package experiment

import (
	"fmt"
	"slices"
	"strings"
)

// place puts a cell's components on nodes and into starting order. The specs
// are those of all component blocks, in the order of the file.
func (l *loader) place(specs []*componentSpec) []Component {
	before := len(l.m.list)
	var active []*componentSpec
	components := map[string]*Component{}
	inGroup := map[string]int{} // components of the group so far
	for _, spec := range specs {
		start := inGroup[spec.Group]
		inGroup[spec.Group]++
		if !spec.active {
			continue
		}
		active = append(active, spec)
		c := spec.Component
		c.Instances = l.instances(spec, start)
		components[c.Name] = &c
	}
	if len(active) == 0 {
		l.m.error(specs[0].header, "no component is left in this cell: all are taken out by their when")
		return nil
	}
	for _, spec := range active {
		components[spec.Name].Links = l.links(spec, active)
	}
	warn := l.codecs(active, components)
	ordered := l.startingOrder(active, components)
	l.ports(active, components)
	if len(l.m.list) > before {
		return nil
	}
	out := make([]Component, len(ordered))
	for i, name := range ordered {
		out[i] = *components[name]
	}
	l.placeholders(active, out)
	if len(l.m.list) > before {
		return nil
	}
	warn()
	return out
}

// instances spreads a component over its group's nodes, one after the other, or
// packs it on one.
// The n-th component of a group begins at its n-th node, so that components of
// one instance do not all meet on the first, and so that the number of
// instances of one does not move another.
func (l *loader) instances(spec *componentSpec, start int) []Instance {
	g := l.groups[spec.Group]
	list := make([]Instance, spec.count)
	for i := range list {
		at := start + i
		if spec.Place == PlacePack {
			at = start
		}
		list[i] = Instance{Index: i + 1, Node: g.NodeName(at % max(g.Count, 1))}
	}
	return list
}

// links fills in what a component talks to.
func (l *loader) links(spec *componentSpec, active []*componentSpec) map[string]string {
	links := map[string]string{}
	byName := map[string]*componentSpec{}
	for _, a := range active {
		byName[a.Name] = a
	}
	for _, need := range sortedKeys(spec.Links) {
		target := spec.Links[need]
		at := spec.linkAt[need]
		switch t := byName[target]; {
		case t == nil:
			l.m.error(at, fmt.Sprintf("component %q links to %q, which is not in this cell by its own when", spec.Name, target))
		case spec.Kind != KindProcess && t.Kind != KindProcess && string(t.Kind) != "platform."+need:
			l.m.error(at, fmt.Sprintf("component %q needs a %s, and component %q is %s", spec.Name, need, target, t.Kind),
				candidates(need, active))
		case t.Kind == KindProcess && t.Port == 0 && spec.Kind != KindProcess:
			l.m.error(at, fmt.Sprintf("component %q links to component %q, which has no port", spec.Name, target), "give it the argument port")
		default:
			links[need] = target
		}
	}
	for _, need := range spec.Kind.needs() {
		if _, given := spec.Links[need]; !given {
			l.fillLink(spec, need, active, links)
		}
	}
	if len(links) == 0 {
		return nil
	}
	return links
}

// codecs has each hub read what the gateways before it write: a hub that says
// nothing of it takes theirs. One that says something else could not read a
// message: what is returned warns of it.
func (l *loader) codecs(active []*componentSpec, components map[string]*Component) (warn func()) {
	var warnings []func()
	for _, hub := range active {
		if hub.Kind != KindHub {
			continue
		}
		var before *componentSpec
		for _, g := range active {
			if g.Kind != KindGateway || components[g.Name].Links["stan"] != components[hub.Name].Links["stan"] {
				continue
			}
			if before != nil && before.Codec != g.Codec {
				text := fmt.Sprintf("component %q writes %s and component %q writes %s, and component %q can read one of them",
					before.Name, before.Codec, g.Name, g.Codec, hub.Name)
				warnings = append(warnings, func() { l.m.warn(g.header, text, "give both the same codec") })
			}
			before = g
		}
		switch {
		case before == nil || before.Codec == hub.Codec:
		case hub.codecFixed:
			text := fmt.Sprintf("component %q reads %s, and component %q writes %s: it will drop every message", hub.Name, hub.Codec, before.Name, before.Codec)
			warnings = append(warnings, func() { l.m.warn(hub.codecAt, text, "leave codec out here: a hub reads what the gateways write") })
		default:
			components[hub.Name].Codec = before.Codec
		}
	}
	return func() {
		for _, say := range warnings {
			say()
		}
	}
}

// fillLink takes the only component that fits.
func (l *loader) fillLink(spec *componentSpec, need string, active []*componentSpec, links map[string]string) {
	var fit []string
	for _, a := range active {
		if string(a.Kind) == "platform."+need {
			fit = append(fit, a.Name)
		}
	}
	switch len(fit) {
	case 1:
		links[need] = fit[0]
	case 0:
		l.m.error(spec.header, fmt.Sprintf("component %q is %s and needs a %s, and there is none", spec.Name, spec.Kind, need),
			fmt.Sprintf("add a component with uses = platform.%s, or links = { %s = component.… } to a process with a port", need, need))
	default:
		l.m.error(spec.header, fmt.Sprintf("component %q is %s and needs a %s, and there are %d", spec.Name, spec.Kind, need, len(fit)),
			fmt.Sprintf("write links = { %s = component.%s }", need, fit[0]), candidates(need, active))
	}
}

func candidates(need string, active []*componentSpec) string {
	var fit []string
	for _, a := range active {
		if string(a.Kind) == "platform."+need || a.Kind == KindProcess && a.Port > 0 {
			fit = append(fit, "component."+a.Name)
		}
	}
	if len(fit) == 0 {
		return "there is no candidate"
	}
	return legalNames("candidates", fit)
}

// startingOrder puts each component after those it links to, and otherwise
// keeps the order of the file.
func (l *loader) startingOrder(active []*componentSpec, components map[string]*Component) []string {
	var ordered []string
	done := map[string]bool{}
	for len(ordered) < len(active) {
		progress := false
		for _, spec := range active {
			if done[spec.Name] || !linksDone(components[spec.Name], done) {
				continue
			}
			done[spec.Name], progress = true, true
			ordered = append(ordered, spec.Name)
			break
		}
		if !progress {
			l.circle(active, components, done)
			return nil
		}
	}
	return ordered
}

func linksDone(c *Component, done map[string]bool) bool {
	for _, target := range c.Links {
		if !done[target] {
			return false
		}
	}
	return true
}

// circle names the members of one circle of links among what is not done:
// following undone links from anywhere must come back to where it has been.
func (l *loader) circle(active []*componentSpec, components map[string]*Component, done map[string]bool) {
	var at *componentSpec
	byName := map[string]*componentSpec{}
	for _, spec := range active {
		byName[spec.Name] = spec
		if at == nil && !done[spec.Name] {
			at = spec
		}
	}
	var path []string
	name := at.Name
	for !slices.Contains(path, name) {
		path = append(path, name)
		links := components[name].Links
		for _, need := range sortedKeys(links) {
			if !done[links[need]] {
				name = links[need]
				break
			}
		}
	}
	members := append(slices.Clone(path[slices.Index(path, name):]), name)
	l.m.error(byName[name].header, "components link to each other in a circle, so none can start first: "+strings.Join(members, " → "))
}

// ports gives every instance that listens a port of its own on its node. Fixed
// ports come first and must not collide; default ones move up until all of a
// component's instances fit.
func (l *loader) ports(active []*componentSpec, components map[string]*Component) {
	taken := map[string]map[int]*componentSpec{} // node → port → owner
	for _, fixed := range []bool{true, false} {
		for _, spec := range active {
			c := components[spec.Name]
			if spec.portFixed != fixed || !fixed && spec.Kind.defaultPort() == 0 {
				continue
			}
			base := c.Port
			if !fixed {
				base = spec.Kind.defaultPort()
				for port := base; port <= 65535; port++ {
					if _, _, free := collision(c, port, taken); free {
						base = port
						break
					}
				}
			}
			l.claim(spec, c, base, taken)
		}
		if fixed {
			l.claimNamed(active, components, taken)
		}
	}
}

// claimNamed gives instances their named ports.
func (l *loader) claimNamed(active []*componentSpec, components map[string]*Component, taken map[string]map[int]*componentSpec) {
	for _, spec := range active {
		c := components[spec.Name]
		for _, name := range sortedKeys(c.Ports) {
			if c.Ports[name] == c.Port { // claimed as the main one
				for k := range c.Instances {
					c.Instances[k].Ports = set(c.Instances[k].Ports, name, c.Instances[k].Port)
				}
				continue
			}
			named := *c
			named.Instances = slices.Clone(c.Instances)
			at := *spec
			at.portAt = spec.portsAt
			l.claim(&at, &named, c.Ports[name], taken)
			for k, i := range named.Instances {
				c.Instances[k].Ports = set(c.Instances[k].Ports, name, i.Port)
			}
		}
	}
}

// placeholders checks that all of them will stand for something.
func (l *loader) placeholders(active []*componentSpec, components []Component) {
	cell := Cell{Components: components}
	facts := Surroundings{
		Address: func(string) string { return "127.0.0.1" },
		CPUs:    func(string) int { return 1 }, Memory: func(string) int64 { return 1 << 20 },
	}
	for _, c := range components {
		for _, i := range c.Instances {
			if _, err := c.Filled(cell, i, facts); err != nil {
				at := active[slices.IndexFunc(active, func(s *componentSpec) bool { return s.Name == c.Name })].header
				l.m.error(at, fmt.Sprintf("component %q: %v", c.Name, err))
				break
			}
		}
	}
}

// collision is the first port of a component's instances that is taken
// already.
func collision(c *Component, base int, taken map[string]map[int]*componentSpec) (node string, port int, free bool) {
	onNode := map[string]int{}
	for _, i := range c.Instances {
		port := base + onNode[i.Node]
		onNode[i.Node]++
		if taken[i.Node][port] != nil || port > 65535 {
			return i.Node, port, false
		}
	}
	return "", 0, true
}

// claim writes the ports down.
func (l *loader) claim(spec *componentSpec, c *Component, base int, taken map[string]map[int]*componentSpec) {
	if node, port, free := collision(c, base, taken); !free {
		other := taken[node][port]
		switch {
		case port > 65535:
			l.m.error(spec.portAt, fmt.Sprintf("component %q needs the ports from %d on for its instances on %s, and they end at 65535", spec.Name, base, node))
		case other != nil:
			l.m.error(spec.portAt, fmt.Sprintf("component %q and component %q both listen on port %d of %s", other.Name, spec.Name, port, node),
				fmt.Sprintf("the other port is given at %s: change one, or leave one out to have it chosen", place(other.portAt)))
		}
		return
	}
	c.Port = base
	onNode := map[string]int{}
	for k := range c.Instances {
		i := &c.Instances[k]
		i.Port = base + onNode[i.Node]
		onNode[i.Node]++
		if taken[i.Node] == nil {
			taken[i.Node] = map[int]*componentSpec{}
		}
		taken[i.Node][i.Port] = spec
	}
}
