package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxVisits bounds how many values are looked at: an alias stands for all
	// of what it names, each time again.
	maxVisits = 200_000
	maxDepth  = 64
)

// parseAnsibleYAML reads Ansible's YAML: groups with hosts, vars and children.
func parseAnsibleYAML(text []byte, name string) (*Inventory, error) {
	r := &yamlReader{ansible: newAnsible(name)}
	var doc yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("inventory: %s: it is empty", name)
	} else if err != nil {
		return nil, yamlError(name, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("inventory: %s: it has several documents; an inventory is one", name)
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		for _, p := range r.pairs(doc.Content[0], "the inventory", 0) {
			if p.name == "_meta" {
				r.add(p.key.Line, "this is what `ansible-inventory --list` prints for programs; bela reads what it prints with --yaml")
				continue
			}
			r.readGroup(p.name, p.key.Line, p.value, 1)
		}
	}
	return r.inventory()
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// yamlError gives the parser's complaint a place.
func yamlError(name string, err error) error {
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " ")
	at := name
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		at += ":" + m[1]
	}
	return fmt.Errorf("inventory: %s: it is not YAML: %s", at, clipLong(text))
}

type yamlReader struct {
	*ansible
	visits int
}

type yamlPair struct {
	name       string
	key, value *yaml.Node
}

// target follows aliases, and counts.
func (r *yamlReader) target(n *yaml.Node, depth int) (*yaml.Node, bool) {
	for i := 0; n.Kind == yaml.AliasNode && n.Alias != nil && i < maxDepth; i++ {
		n = n.Alias
	}
	if r.visits++; r.visits == maxVisits || depth == maxDepth {
		r.add(n.Line, "it has more than %d values, or nests deeper than %d, with its aliases", maxVisits, maxDepth)
	}
	return n, r.visits < maxVisits && depth < maxDepth
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// pairs gives the entries of a mapping; those that a merge key (<<) brings stand
// first. A value of null is an empty mapping.
func (r *yamlReader) pairs(n *yaml.Node, what string, depth int) []yamlPair {
	n, ok := r.target(n, depth)
	if !ok || isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.add(n.Line, "%s is no mapping of names", what)
		return nil
	}
	var merged, own []yamlPair
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			merged = append(merged, r.merge(value, what, depth+1)...)
			continue
		}
		key, ok := r.target(key, depth)
		switch {
		case !ok:
			return nil
		case key.Kind != yaml.ScalarNode:
			r.add(key.Line, "%s has a name that is no text", what)
		case seen[key.Value]:
			r.add(key.Line, "%s has %q twice", what, clip(key.Value))
		default:
			seen[key.Value] = true
			own = append(own, yamlPair{key.Value, key, value})
		}
	}
	var list []yamlPair
	for _, p := range merged {
		if !seen[p.name] {
			list, seen[p.name] = append(list, p), true
		}
	}
	return append(list, own...)
}

// merge gives what a merge key brings: a mapping, or a list of them of which the
// first counts.
func (r *yamlReader) merge(n *yaml.Node, what string, depth int) []yamlPair {
	n, ok := r.target(n, depth)
	if !ok {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return r.pairs(n, what, depth)
	}
	var list []yamlPair
	for _, one := range n.Content {
		list = append(list, r.pairs(one, what, depth+1)...)
	}
	return list
}

func (r *yamlReader) readGroup(name string, line int, n *yaml.Node, depth int) {
	if name == "" || strings.ContainsAny(name, " \t\r\n") {
		r.add(line, "%q is no name of a group", clip(name))
		return
	}
	g := r.group(name, line)
	what := fmt.Sprintf("the group %q", clip(name))
	for _, p := range r.pairs(n, what, depth) {
		switch p.name {
		case "hosts":
			r.readHosts(g, p, what, depth+1)
		case "vars":
			for _, v := range r.pairs(p.value, "vars of "+what, depth+1) {
				g.vars[v.name] = r.setting(v, depth+2)
			}
		case "children":
			for _, c := range r.pairs(p.value, "children of "+what, depth+1) {
				r.readGroup(c.name, c.key.Line, c.value, depth+2)
				if c.name != "all" && !contains(g.children, c.name) {
					g.children = append(g.children, c.name)
				}
			}
		default:
			r.add(p.key.Line, "%s has %q; hosts, vars and children are known", what, clip(p.name))
		}
	}
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// readHosts takes a group's hosts: a mapping, or the one host as a text.
func (r *yamlReader) readHosts(g *ansibleGroup, p yamlPair, what string, depth int) {
	if n, ok := r.target(p.value, depth); ok && n.Kind == yaml.ScalarNode && !isNull(n) {
		r.addHosts(g, n.Value, n.Line)
		return
	}
	for _, h := range r.pairs(p.value, "hosts of "+what, depth) {
		hosts := r.addHosts(g, h.name, h.key.Line)
		vars := r.pairs(h.value, fmt.Sprintf("the host %q", clip(h.name)), depth+1)
		if r.visits += len(hosts) * len(vars); r.visits >= maxVisits {
			r.add(h.key.Line, "it has more than %d values, with its ranges", maxVisits)
			return
		}
		for _, v := range vars {
			s := r.setting(v, depth+2)
			for _, host := range hosts {
				host.vars[v.name] = s
			}
		}
	}
}

// setting reads a variable. A list of ssh arguments would be a mistake of its
// writer; lists and mappings are of use to others only.
func (r *yamlReader) setting(p yamlPair, depth int) setting {
	n, ok := r.target(p.value, depth)
	s := setting{line: p.key.Line}
	switch {
	case !ok || isNull(n):
	case n.Kind != yaml.ScalarNode || n.Tag == "!vault" || n.Tag == "!unsafe":
		s.opaque = true
	case n.Tag == "!!int":
		s.text = n.Value
		if v, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64); err == nil {
			s.text = strconv.FormatInt(v, 10)
		}
	default:
		s.text = n.Value
	}
	return s
}
