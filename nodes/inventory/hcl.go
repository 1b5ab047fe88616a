package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"

	"bela/nodes"
)

// The blocks as gohcl reads them. Values stay expressions, to cite their place.
type inventoryFile struct {
	Nodes []nodeBlock `hcl:"node,block"`
	SSH   *sshBlock   `hcl:"ssh,block"`
}

type nodeBlock struct {
	Name   string         `hcl:"name,label"`
	Hosts  hcl.Expression `hcl:"hosts"`
	Spares hcl.Expression `hcl:"spares,optional"`
	User   string         `hcl:"user,optional"`
}

type sshBlock struct {
	Port           hcl.Expression `hcl:"port,optional"`
	User           string         `hcl:"user,optional"`
	KeyFiles       []string       `hcl:"key_files,optional"`
	KnownHosts     string         `hcl:"known_hosts,optional"`
	HostKeys       hcl.Expression `hcl:"host_keys,optional"`
	Fingerprints   []string       `hcl:"fingerprints,optional"`
	Jump           hcl.Expression `hcl:"jump,optional"`
	ConnectTimeout hcl.Expression `hcl:"connect_timeout,optional"`
	Keepalive      hcl.Expression `hcl:"keepalive,optional"`
	Retries        hcl.Expression `hcl:"retries,optional"`
	Directory      string         `hcl:"directory,optional"`
}

// parseHCL reads bela's own inventory:
//
//	node "worker" {
//	  hosts = ["10.2.0.11", "bela@10.2.0.12:2222"]
//	  user  = "bela"
//	}
//	ssh {
//	  key_files = ["~/.ssh/lab"]
//	}
func parseHCL(text []byte, name string) (*Inventory, error) {
	if err := checkTokens(text, name); err != nil {
		return nil, err
	}
	r := &inventoryReader{}
	file, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	r.diags = append(r.diags, diags...)
	var blocks inventoryFile
	if !diags.HasErrors() {
		r.diags = append(r.diags, gohcl.DecodeBody(file.Body, nil, &blocks)...)
	}
	if r.diags.HasErrors() {
		return nil, r.err()
	}
	inv := &Inventory{}
	for _, b := range blocks.Nodes {
		if _, twice := inv.Group(b.Name); twice {
			r.add(b.Hosts, "there are two node blocks %q", b.Name)
		}
		if v, diags := b.Hosts.Value(nil); !diags.HasErrors() && v.IsNull() {
			r.add(b.Hosts, "node %q: hosts is missing", b.Name)
		}
		g := Group{Name: b.Name, User: b.User, Spares: r.hosts(b.Spares)}
		for _, h := range r.hosts(b.Hosts) {
			g.Machines = append(g.Machines, Machine{Name: h.Host, Line: b.Hosts.Range().Start.Line, Host: h})
		}
		inv.Groups = append(inv.Groups, g)
	}
	if b := blocks.SSH; b != nil {
		inv.SSH = r.ssh(b)
	}
	if r.diags.HasErrors() {
		return nil, r.err()
	}
	return inv, nil
}

// checkTokens lets plain values through and nothing else: an inventory has no
// expressions, and their parser recurses with the source and expands numbers.
func checkTokens(text []byte, name string) error {
	const maxDepth, maxDigits = 32, 20
	tokens, diags := hclsyntax.LexConfig(text, name, hcl.InitialPos)
	if diags.HasErrors() {
		return (&inventoryReader{diags: diags}).err()
	}
	depth := 0
	for _, t := range tokens {
		wrong := ""
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack:
			if depth++; depth > maxDepth {
				wrong = fmt.Sprintf("brackets nest deeper than %d", maxDepth)
			}
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack:
			depth = max(0, depth-1)
		case hclsyntax.TokenNumberLit:
			if len(t.Bytes) > maxDigits || bytes.ContainsAny(t.Bytes, "eE") {
				wrong = "a number of this form has no place here"
			}
		case hclsyntax.TokenIdent, hclsyntax.TokenEqual, hclsyntax.TokenComma, hclsyntax.TokenMinus, hclsyntax.TokenNewline, hclsyntax.TokenComment,
			hclsyntax.TokenOQuote, hclsyntax.TokenQuotedLit, hclsyntax.TokenCQuote, hclsyntax.TokenEOF:
		default:
			wrong = fmt.Sprintf("%q: an inventory has plain values only: strings, numbers and lists", clip(string(t.Bytes)))
		}
		if wrong != "" {
			return fmt.Errorf("inventory: %s:%d: %s", name, t.Range.Start.Line, wrong)
		}
	}
	return nil
}

// inventoryReader turns expressions into values and gathers the mistakes.
type inventoryReader struct{ diags hcl.Diagnostics }

func (r *inventoryReader) add(at hcl.Expression, format string, args ...any) {
	r.diags = append(r.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf(format, args...), Subject: at.Range().Ptr()})
}

// err joins the mistakes, one a line: file:line,column: what.
func (r *inventoryReader) err() error {
	var errs []error
	for _, d := range r.diags.Errs() {
		one, ok := errors.AsType[*hcl.Diagnostic](d)
		if !ok {
			errs = append(errs, fmt.Errorf("inventory: %w", d))
			continue
		}
		text := one.Summary
		if one.Detail != "" {
			text += ": " + one.Detail
		}
		if one.Subject == nil {
			errs = append(errs, fmt.Errorf("inventory: %s", text))
			continue
		}
		errs = append(errs, fmt.Errorf("inventory: %s:%d: %s", one.Subject.Filename, one.Subject.Start.Line, text))
	}
	return errors.Join(errs...)
}

// value evaluates an expression to a type; ok is false where it is absent or wrong.
func (r *inventoryReader) value(e hcl.Expression, to any) (ok bool) {
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		r.diags = append(r.diags, diags...)
		return false
	}
	if v.IsNull() {
		return false
	}
	if diags := gohcl.DecodeExpression(e, nil, to); diags.HasErrors() {
		r.diags = append(r.diags, diags...)
		return false
	}
	return true
}

func (r *inventoryReader) hosts(e hcl.Expression) []nodes.Host {
	var names []string
	if !r.value(e, &names) {
		return nil
	}
	if len(names) > maxHosts {
		r.add(e, "%d hosts; at most %d are taken", len(names), maxHosts)
		return nil
	}
	var hosts []nodes.Host
	for _, name := range names {
		h, err := nodes.ParseHost(name)
		if err != nil {
			r.add(e, "%v", err)
			continue
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func (r *inventoryReader) ssh(b *sshBlock) *SSH {
	s := &SSH{User: b.User, Directory: b.Directory, Options: nodes.Options{
		KeyFiles: b.KeyFiles, KnownHosts: b.KnownHosts, Fingerprints: b.Fingerprints,
		ConnectTimeout: r.duration(b.ConnectTimeout), Keepalive: r.duration(b.Keepalive),
	}}
	s.Port = r.whole(b.Port, 1, 65535)
	s.Options.Retries = r.whole(b.Retries, 0, 100)
	if v, diags := b.Retries.Value(nil); !diags.HasErrors() && v.Type() == cty.Number && v.Equals(cty.Zero).True() {
		s.Options.Retries = -1 // none, as 0 stands for the default
	}
	var policy string
	if r.value(b.HostKeys, &policy) {
		switch p := nodes.HostKeyPolicy(policy); p {
		case nodes.HostKeysStrict, nodes.HostKeysAcceptNew, nodes.HostKeysPinned:
			s.Options.HostKeys = p
		default:
			r.add(b.HostKeys, "host_keys is %q, want strict, accept-new or pinned", policy)
		}
	}
	for _, h := range r.hosts(b.Jump) {
		s.Options.Jump = append(s.Options.Jump, h.String())
	}
	return s
}

// duration reads "10s"; absent is 0.
func (r *inventoryReader) duration(e hcl.Expression) time.Duration {
	var text string
	if !r.value(e, &text) {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		r.add(e, "%q is not a length of time above 0, such as \"10s\"", text)
		return 0
	}
	return d
}

// whole reads a whole number within bounds; absent is 0.
func (r *inventoryReader) whole(e hcl.Expression, least, most int) int {
	var v cty.Value
	if !r.value(e, &v) {
		return 0
	}
	var n int
	if err := gocty.FromCtyValue(v, &n); err != nil || n < least || n > most {
		r.add(e, "want a whole number from %d to %d", least, most)
		return 0
	}
	return n
}
