package experiment

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// What a process is told of its place is known only when the testbed is there:
// an instance's node has an address then. In the plan, such a fact is a
// placeholder, a text like {{self.port}}, which expressions can carry around as
// any text; Cell.Fill puts the facts in.

// lateText is a fact that is not known yet.
var lateText = regexp.MustCompile(`\{\{(?:self|component)\.[A-Za-z0-9_.-]+\}\}`)

func late(name string) cty.Value { return cty.StringVal("{{" + name + "}}") }

const (
	// PlaceholderDirectory is the instance's own directory. The agent fills it
	// in, for only it knows, and so it does with those of artifacts.
	PlaceholderDirectory = "{{self.directory}}"
	placeholderPassword  = "{{self.password}}"
	// placeholderArtifacts begins those of artifacts, by their names.
	placeholderArtifacts = "{{self.artifacts."
)

// PlaceholderArtifact is where an artifact lies on the node: the file, or the
// directory that it was unpacked into.
func PlaceholderArtifact(name string) string { return placeholderArtifacts + name + "}}" }

// lateScope is a process's scope with what is known only later: self, and the
// parts of components.
func (l *loader) lateScope(b *hclsyntax.Block, s *scope) *scope {
	list := func(texts []cty.Value) cty.Value {
		if len(texts) == 0 {
			return cty.ListValEmpty(cty.String)
		}
		return cty.ListVal(texts)
	}
	named := func(names []string, of func(string) cty.Value) cty.Value {
		parts := map[string]cty.Value{}
		for _, name := range names {
			parts[name] = of(name)
		}
		return cty.ObjectVal(parts)
	}
	self := map[string]cty.Value{
		"name":      cty.StringVal(b.Labels[0]),
		"ports":     named(l.portNames(b, s), func(name string) cty.Value { return late("self.ports." + name) }),
		"artifacts": named(artifactNames(b), func(name string) cty.Value { return cty.StringVal(PlaceholderArtifact(name)) }),
	}
	for _, fact := range []string{"instance", "node", "address", "port", "directory", "cpus", "memory_mib", "login", "password"} {
		self[fact] = late("self." + fact)
	}
	components := map[string]cty.Value{}
	for _, other := range l.components {
		name, count := other.Labels[0], l.countOf(other, s)
		each := func(fact string) []cty.Value {
			var all []cty.Value
			for i := range count {
				all = append(all, late(fmt.Sprintf("component.%s.%d.%s", name, i+1, fact)))
			}
			return all
		}
		components[name] = cty.ObjectVal(map[string]cty.Value{
			"address": late("component." + name + ".1.address"), "addresses": list(each("address")),
			"host": late("component." + name + ".1.host"), "hosts": list(each("host")),
			"port":      late("component." + name + ".1.port"),
			"endpoints": named(l.portNames(other, s), func(port string) cty.Value { return list(each("endpoints." + port)) }),
		})
	}
	child := s.with(map[string][]string{"self": sortedKeys(self), "component": sortedKeys(components)},
		map[string]cty.Value{"self": cty.ObjectVal(self), "component": cty.ObjectVal(components)})
	child.late = true
	return child
}

// lateAttributes are those of a component that others' placeholders hang on.
var lateAttributes = []string{"instances", "place", "on", "ports"}

// lateDimensions adds the dimensions that decide how many instances the
// components have that a block refers to.
func (l *loader) lateDimensions(b *hclsyntax.Block, used map[string]bool) {
	_ = walkExpressions(b.Body, func(expr hclsyntax.Expression) {
		for _, t := range expr.Variables() {
			if t.RootName() != "component" {
				continue
			}
			for _, other := range l.components {
				if other.Labels[0] != secondStep(t) {
					continue
				}
				for _, name := range lateAttributes {
					if attr := other.Body.Attributes[name]; attr != nil {
						l.usedIn(attr.Expr, used)
					}
				}
			}
		}
	})
}

func walkExpressions(body *hclsyntax.Body, do func(hclsyntax.Expression)) error {
	for _, attr := range body.Attributes {
		do(attr.Expr)
	}
	for _, b := range body.Blocks {
		if err := walkExpressions(b.Body, do); err != nil {
			return err
		}
	}
	return nil
}

// countOf is how many instances a component will have. What is wrong with its
// block is reported where the block itself is read.
func (l *loader) countOf(b *hclsyntax.Block, s *scope) int {
	quiet := newMistakes().reader(b, s)
	if p, ok := quiet.text("place", 32); ok && Placement(p) == PlaceOnePerNode && !quiet.has("instances") {
		group, _ := quiet.refer("on", nodeType, "node", sortedKeys(l.groups))
		return l.groups[group].Count
	}
	if n, ok := quiet.whole("instances", 1, maxInstances); ok {
		return int(n)
	}
	return 1
}

// portNames are the names of a component's ports.
func (l *loader) portNames(b *hclsyntax.Block, s *scope) []string {
	v, ok := newMistakes().reader(b, s).value("ports")
	if !ok || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return nil
	}
	var names []string
	for it := v.ElementIterator(); it.Next(); {
		key, _ := it.Element()
		names = append(names, key.AsString())
	}
	return names
}

// Surroundings are what is known of nodes once they are there.
type Surroundings struct {
	Address func(node string) string
	CPUs    func(node string) int
	Memory  func(node string) int64 // bytes
	// Login and Password are what devices and customers log in with.
	Login, Password string
}

// Fill puts into a text of an instance's component what its placeholders stand
// for. It leaves PlaceholderDirectory and those of artifacts. The error says
// which placeholder stands for nothing in this cell.
func (c Cell) Fill(text string, of Component, i Instance, facts Surroundings) (string, error) {
	var wrong error
	filled := lateText.ReplaceAllStringFunc(text, func(found string) string {
		if found == PlaceholderDirectory || strings.HasPrefix(found, placeholderArtifacts) {
			return found
		}
		name := strings.TrimSuffix(strings.TrimPrefix(found, "{{"), "}}")
		value, err := c.fact(name, of, i, facts)
		if err != nil && wrong == nil {
			wrong = fmt.Errorf("%s: %w", name, err)
		}
		return value
	})
	return filled, wrong
}

func (c Cell) fact(name string, of Component, i Instance, facts Surroundings) (string, error) {
	if fact, ok := strings.CutPrefix(name, "self."); ok {
		switch fact {
		case "instance":
			return strconv.Itoa(i.Index), nil
		case "name":
			return of.Name, nil
		case "node":
			return i.Node, nil
		case "address":
			return facts.Address(i.Node), nil
		case "login":
			return facts.Login, nil
		case "password":
			return facts.Password, nil
		case "cpus":
			return strconv.Itoa(facts.CPUs(i.Node)), nil
		case "memory_mib":
			return strconv.FormatInt(facts.Memory(i.Node)>>20, 10), nil
		}
		if fact == "host" || strings.HasPrefix(fact, "endpoints.") {
			return "", errors.New("there is no such fact")
		}
		return portFact(fact, i, facts)
	}
	parts := strings.SplitN(name, ".", 4) // component, its name, the instance's number, the fact
	if len(parts) < 4 {
		return "", errors.New("this is no part of a component")
	}
	at := slices.IndexFunc(c.Components, func(x Component) bool { return x.Name == parts[1] })
	if at < 0 {
		return "", fmt.Errorf("component %q is not in this cell, by its own when", parts[1])
	}
	other := c.Components[at]
	n, err := strconv.Atoi(parts[2])
	if err != nil || n < 1 || n > len(other.Instances) {
		return "", fmt.Errorf("component %q has %d instances", other.Name, len(other.Instances))
	}
	value, err := portFact(parts[3], other.Instances[n-1], facts)
	if err != nil {
		err = fmt.Errorf("component %q: %w", other.Name, err)
	}
	return value, err
}

// portFact is where an instance listens, or a part of it.
func portFact(fact string, i Instance, facts Surroundings) (string, error) {
	port := i.Port
	kind, name, isNamed := strings.Cut(fact, ".")
	if isNamed {
		port = i.Ports[name]
	}
	host := facts.Address(i.Node)
	switch {
	case fact == "host":
		return host, nil
	case port == 0:
		return "", errors.New("it has no such port")
	case fact == "port", isNamed && kind == "ports":
		return strconv.Itoa(port), nil
	case fact == "address", isNamed && kind == "endpoints":
		return net.JoinHostPort(host, strconv.Itoa(port)), nil
	}
	return "", errors.New("there is no such fact")
}

// Filled is the component as one of its instances gets it: all of its texts
// with the placeholders filled in by Fill.
func (of Component) Filled(cell Cell, i Instance, facts Surroundings) (Component, error) {
	var wrong error
	fill := func(text string) string {
		filled, err := cell.Fill(text, of, i, facts)
		if err != nil && wrong == nil {
			wrong = err
		}
		return filled
	}
	fillAll := func(texts []string) []string {
		filled := slices.Clone(texts)
		for k := range filled {
			filled[k] = fill(filled[k])
		}
		return filled
	}
	for _, text := range slices.Concat(of.Command, of.Ready.Command) {
		if strings.Contains(text, placeholderPassword) {
			return of, errors.New("self.password in a command could be read by every user of the node: put it into env or a file block")
		}
	}
	out := of
	out.Command, out.State, out.Ready.Command = fillAll(of.Command), fillAll(of.State), fillAll(of.Ready.Command)
	out.Directory = fill(of.Directory)
	out.Ready.TCP, out.Ready.HTTP, out.Ready.Log, out.Ready.Body = fill(of.Ready.TCP), fill(of.Ready.HTTP), fill(of.Ready.Log), fill(of.Ready.Body)
	out.Env, out.SecretEnv = maps.Clone(of.Env), maps.Clone(of.SecretEnv)
	for name, value := range out.Env {
		out.Env[name] = fill(value)
	}
	for name, value := range out.SecretEnv {
		out.SecretEnv[name] = Secret(fill(value.Reveal()))
	}
	out.Files = slices.Clone(of.Files)
	for k := range out.Files {
		out.Files[k].Content = fill(out.Files[k].Content)
	}
	return out, wrong
}
