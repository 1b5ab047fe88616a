package inventory

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"bela/nodes"
)

const maxXMLDepth = 64

// parseRSpec reads the manifest RSpec of a GENI testbed, as jFed saves it: each
// node with a login is a machine, of the group that its client_id begins with.
func parseRSpec(text []byte, name string) (*Inventory, error) {
	r := &rspecReader{mistakes: mistakes{file: name}, decoder: xml.NewDecoder(bytes.NewReader(text))}
	if err := r.document(); err != nil {
		return nil, err
	}
	if len(r.machines) == 0 {
		return nil, fmt.Errorf("inventory: %s: the RSpec has no node", name)
	}
	inv := &Inventory{Notes: r.unused.list(), Groups: grouped(r.machines, func(m Machine) string { return groupOf(m.Name) })}
	if len(inv.Groups) > maxGroups {
		return nil, fmt.Errorf("inventory: %s: there are %d groups; at most %d are taken", name, len(inv.Groups), maxGroups)
	}
	return inv, nil
}

type rspecReader struct {
	mistakes
	decoder  *xml.Decoder
	path     []string // local names of the elements around
	node     *rspecNode
	machines []Machine
	ids      map[string]int
	unused   unused
}

// rspecNode is a node element being read.
type rspecNode struct {
	id      string
	line    int
	logins  []nodes.Host
	refused []string // the ways to log in that bela has none of
	proxies []rspecProxy
	host    string
}

// rspecProxy is jFed's: to reach one login, go through another.
type rspecProxy struct{ through, to nodes.Host }

func (r *rspecReader) document() error {
	for {
		line, _ := r.decoder.InputPos()
		token, err := r.decoder.Token()
		if errors.Is(err, io.EOF) {
			return r.err()
		}
		if err != nil {
			return r.notXML(err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return fmt.Errorf("inventory: %s:%d: a document type has no place in an RSpec", r.file, line)
		case xml.StartElement:
			if len(r.path) == maxXMLDepth {
				return fmt.Errorf("inventory: %s:%d: elements nest deeper than %d", r.file, line, maxXMLDepth)
			}
			if err := r.start(t, line); err != nil {
				return err
			}
			r.path = append(r.path, t.Name.Local)
		case xml.EndElement:
			r.path = r.path[:len(r.path)-1]
			if t.Name.Local == "node" && len(r.path) == 1 {
				r.finish()
			}
		}
	}
}

func (r *rspecReader) notXML(err error) error {
	if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
		return fmt.Errorf("inventory: %s:%d: it is not XML: %s", r.file, syntax.Line, clip(syntax.Msg))
	}
	return fmt.Errorf("inventory: %s: it is not XML: %s", r.file, clipLong(clip(err.Error())))
}

// attribute gives an attribute by its local name.
func attribute(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}

func (r *rspecReader) start(t xml.StartElement, line int) error {
	switch where := strings.Join(append(r.path, t.Name.Local), "/"); where {
	case "rspec":
		if kind := attribute(t, "type"); kind != "manifest" && kind != "" {
			return fmt.Errorf("inventory: %s:%d: it is a %s RSpec; only the manifest, which comes when the machines are there, says how to log in", r.file, line, clip(kind))
		}
	case "rspec/node":
		r.begin(t, line)
	case "rspec/node/services/login":
		r.login(t, line)
	case "rspec/node/services/proxy":
		r.proxy(t, line)
	case "rspec/node/services/execute", "rspec/node/services/install":
		r.unused.add(t.Name.Local, line, "a service of the testbed; "+notUsed)
	case "rspec/node/host":
		if r.node.host = attribute(t, "ipv4"); r.node.host == "" {
			r.node.host = attribute(t, "name")
		}
	case "rspec/node/interface/ip":
		r.unused.add("interface", line, "nodes reach each other at the address of the login, not at those of the links")
	case "rspec/link", "rspec/stitching":
		r.unused.add(t.Name.Local, line, notUsed)
	default:
		if len(r.path) == 0 {
			return fmt.Errorf("inventory: %s:%d: the document is <%s>, and not <rspec>", r.file, line, clip(t.Name.Local))
		}
	}
	return nil
}

func (r *rspecReader) begin(t xml.StartElement, line int) {
	id := attribute(t, "client_id")
	if id == "" {
		r.add(line, "a node has no client_id")
		id = "?"
	}
	if r.ids == nil {
		r.ids = make(map[string]int)
	}
	if first, twice := r.ids[id]; twice && id != "?" {
		r.add(line, "the client_id %q is at line %d already", clip(id), first)
	}
	r.ids[id] = line
	r.node = &rspecNode{id: id, line: line}
}

// login takes a login service: a user at a host and port.
func (r *rspecReader) login(t xml.StartElement, line int) {
	if a := attribute(t, "authentication"); a != "" && a != "ssh-keys" {
		r.node.refused = append(r.node.refused, clip(a))
		r.unused.add("login by "+a, line, "bela logs in with keys only")
		return
	}
	h := nodes.Host{Host: attribute(t, "hostname"), User: attribute(t, "username")}
	if p := attribute(t, "port"); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			r.add(line, "login of %s: port %q is not a number from 1 to 65535", clip(r.node.id), clip(p))
			return
		}
		h.Port = int(n)
	}
	const most = 100
	if len(r.node.logins) < most {
		r.node.logins = append(r.node.logins, h)
	}
}

// proxy takes jFed's extension: proxy="user@gate:22" for="user@host:22".
func (r *rspecReader) proxy(t xml.StartElement, line int) {
	read := func(name string) (nodes.Host, bool) {
		h, err := nodes.ParseHost(strings.TrimPrefix(attribute(t, name), "ssh://"))
		if err != nil {
			r.add(line, "proxy of %s: %s: %v", clip(r.node.id), name, err)
		}
		return h, err == nil
	}
	through, ok1 := read("proxy")
	to, ok2 := read("for")
	const most = 100
	if ok1 && ok2 && len(r.node.proxies) < most {
		r.node.proxies = append(r.node.proxies, rspecProxy{through, to})
	}
}

// same compares two logins; a port that is not said is 22.
func same(a, b nodes.Host) bool {
	if a.Port == 0 {
		a.Port = 22
	}
	if b.Port == 0 {
		b.Port = 22
	}
	return a == b
}

// finish makes a machine of the node.
func (r *rspecReader) finish() {
	n := r.node
	r.node = nil
	if len(r.machines) == maxHosts {
		r.add(n.line, "there are more than %d nodes", maxHosts)
	}
	if len(r.machines) >= maxHosts {
		return
	}
	m := Machine{Name: n.id, Line: n.line}
	for _, l := range n.logins {
		if l.Host == "" {
			l.Host = n.host
		}
		if !n.isGate(l) {
			m.Logins = append(m.Logins, l)
		}
	}
	switch len(m.Logins) {
	case 0:
		m.Problem = "it has no login; wait until the testbed has it ready, and save its manifest then"
		if len(n.refused) > 0 {
			m.Problem = "its only login is by " + strings.Join(n.refused, ", ") + ", and bela logs in with keys only"
		}
		m.Host.Host = n.host
	case 1:
		m.Host, m.Logins = m.Logins[0], nil
	default:
		m.Host = m.Logins[0]
		r.unused.add("login", n.line, fmt.Sprintf("%s has %d, and that of %q is taken; name another with user in the node block", clip(n.id), len(m.Logins), clip(m.Host.User)))
	}
	m.Jump = n.jump(m)
	if m.Problem == "" {
		for _, l := range append([]nodes.Host{m.Host}, m.Logins...) {
			if err := checkHost(l); err != nil {
				m.Problem = err.Error()
			}
		}
	}
	r.machines = append(r.machines, m)
}

// isGate says whether a login is that of a proxy and not of the node itself.
func (n *rspecNode) isGate(l nodes.Host) bool {
	for _, p := range n.proxies {
		if same(p.through, l) && !same(p.to, l) {
			return true
		}
	}
	return false
}

// jump gives the way to the node. All users of a node have the same one.
func (n *rspecNode) jump(m Machine) []string {
	for _, p := range n.proxies {
		if same(p.to, m.Host) {
			return []string{p.through.String()}
		}
	}
	if len(n.proxies) > 0 {
		return []string{n.proxies[0].through.String()}
	}
	return nil
}
