package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Inputs are what an experiment file takes from outside. The zero value is an
// experiment on its own: no variables given, no environment, the disk.
type Inputs struct {
	// Vars are the NAME=VALUE texts of -var; later ones win.
	Vars []string
	// Recorded are values by name, in the form that -var takes, which replace the
	// defaults in the file: those that an earlier run had.
	Recorded map[string]string
	// VarFile is the file of -var-file, or empty; Vars win over it.
	VarFile string
	// Env looks up an environment variable for env(); nil is an empty one.
	Env func(name string) (string, bool)
	// ReadFile reads the experiment file, the variables file and what file()
	// names; nil is the disk.
	ReadFile func(path string) ([]byte, error)
	// Hosts are other machines for the node groups (-inventory): they replace
	// the group's hosts, spares and count.
	Hosts map[string][]string
	// HostsFor gives the same for a group that Hosts does not have, by its name
	// and role; nil, or an answer of nil, is none.
	HostsFor func(group string, role Role) []string
	// SparesFor gives the spares of a group whose machines come from outside; nil is
	// none.
	SparesFor func(group string, role Role) []string
}

// hostsFor gives the machines from outside of one group; ok is false where there are none.
func (in Inputs) hostsFor(group string, role Role) (hosts []string, ok bool) {
	if hosts, ok = in.Hosts[group]; ok || in.HostsFor == nil {
		return hosts, ok
	}
	hosts = in.HostsFor(group, role)
	return hosts, hosts != nil
}

// Experiment is an experiment file that was read and found to be right.
type Experiment struct {
	source    []byte
	variables map[string]string
	secrets   []string // where it has secrets from outside, in words
	blanked   []string // where they are nothing but asterisks
	warnings  Diagnostics
	plan      Plan
	expects   []expectation
	scope     *scope
}

// Source is the file as read; secrets that stand in it are masked with
// asterisks, byte for byte.
func (e *Experiment) Source() []byte { return slices.Clone(e.source) }

// Variables are the values as read, each in the form that -var takes;
// sensitive ones are "(secret)".
func (e *Experiment) Variables() map[string]string {
	values := make(map[string]string, len(e.variables))
	for k, v := range e.variables {
		values[k] = v
	}
	return values
}

// Warnings are what looks like a mistake and does not stop a run.
func (e *Experiment) Warnings() Diagnostics { return slices.Clone(e.warnings) }

// Plan is everything that a run will do. Cells share what is the same in them:
// do not write to their slices and maps.
func (e *Experiment) Plan() *Plan {
	p := e.plan
	p.Cells = slices.Clone(p.Cells)
	return &p
}

// loader holds what is known while a file is read.
type loader struct {
	path string
	in   Inputs
	m    *mistakes
	src  []byte

	variables  map[string]*variable
	locals     map[string]*local
	localOrder []string

	plan       Plan
	groups     map[string]NodeGroup
	matrix     *matrix
	components []*hclsyntax.Block
	faults     []*hclsyntax.Block
	devices    *hclsyntax.Block
	customers  *hclsyntax.Block
	phases     *hclsyntax.Block
	static     *scope
	expects    []expectation
}

// Load reads an experiment file and decides everything that a run will do. The
// error is a Diagnostics with every mistake that can be found without a
// network; it is nil where there are only warnings.
func Load(path string, in Inputs) (*Experiment, error) {
	l := &loader{
		path: path, in: in, m: newMistakes(),
		variables: map[string]*variable{}, locals: map[string]*local{},
		groups: map[string]NodeGroup{},
	}
	body := l.open()
	if body != nil {
		l.file(body)
	}
	found := l.m.finish()
	if found.HasErrors() {
		return nil, found
	}
	e := &Experiment{
		source: mask(l.src, path, l.m.secrets), variables: map[string]string{},
		warnings: found, plan: l.plan, expects: l.expects, scope: l.expectScope(),
	}
	for name, v := range l.variables {
		e.variables[name] = v.text
		if v.sensitive {
			e.variables[name] = Secret("").String()
		}
	}
	e.secrets, e.blanked = l.outsideSecrets(), l.blankedSecrets()
	return e, nil
}

// open reads and parses the file.
func (l *loader) open() *hclsyntax.Body {
	whole := hcl.Range{Filename: l.path}
	src, err := l.in.read(l.path)
	if err != nil {
		l.m.error(whole, "the experiment file cannot be read: "+withoutPath(err, l.path))
		return nil
	}
	if problem := textual(src); problem != "" {
		l.m.error(whole, problem)
		return nil
	}
	l.src = src
	return l.m.parse(src, l.path)
}

// withoutPath is an error's text without the path that the message names
// already.
func withoutPath(err error, path string) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), path+": "), path+" ")
}

// topBlocks are the kinds of blocks in a file.
var topBlocks = []string{
	"component", "customers", "devices", "expect", "experiment", "fault", "influxdb", "locals", "node", "notify", "ssh", "variable",
}

// mostBlocks bounds the blocks of one kind, and the entries of all locals.
const mostBlocks = 500

// file reads the blocks in the order in which they depend on each other.
func (l *loader) file(body *hclsyntax.Body) {
	blocks, ok := l.sortBlocks(body)
	if !ok {
		return
	}
	l.variableBlocks(blocks["variable"])
	l.localBlocks(blocks["locals"])
	l.static = l.staticLocals()
	l.sensitiveVariables(body)
	l.nodeBlocks(blocks["node"])
	l.components = l.componentNames(blocks["component"])
	l.faults = l.faultNames(blocks["fault"])
	l.experimentBlock(l.single(blocks, "experiment", true))
	l.sshBlock(l.single(blocks, "ssh", false))
	l.influxBlock(l.single(blocks, "influxdb", false))
	l.notifyBlock(l.single(blocks, "notify", false))
	l.devices = l.single(blocks, "devices", true)
	l.customers = l.single(blocks, "customers", true)
	l.cells()
	l.expectBlocks(blocks["expect"])
	l.unusedDimensions(body)
}

// sortBlocks groups the blocks by kind, and reports those that have none.
func (l *loader) sortBlocks(body *hclsyntax.Body) (map[string][]*hclsyntax.Block, bool) {
	for _, attr := range inOrder(body.Attributes) {
		help := "arguments stand in blocks; a name for a value goes into a locals block"
		if slices.Contains(topBlocks, attr.Name) {
			help = fmt.Sprintf("write %s { … } without the equals sign", attr.Name)
		}
		l.m.error(attr.NameRange, fmt.Sprintf("the argument %q stands outside of any block", clip(attr.Name)), help)
	}
	blocks := map[string][]*hclsyntax.Block{}
	entries := 0
	for _, b := range body.Blocks {
		if !slices.Contains(topBlocks, b.Type) {
			l.m.error(b.TypeRange, fmt.Sprintf("there is no block %q", clip(b.Type)),
				didYouMean(b.Type, topBlocks, quoted), legalNames("legal here", topBlocks))
			if b.Type = nearest(b.Type, topBlocks); b.Type == "" {
				continue
			}
			// It is read as what was meant: else whatever refers to it would be wrong, too.
		}
		blocks[b.Type] = append(blocks[b.Type], b)
		if b.Type == "locals" {
			entries += len(b.Body.Attributes)
		}
		if len(blocks[b.Type]) > mostBlocks || entries > mostBlocks {
			l.m.error(b.TypeRange, fmt.Sprintf("the file has more than %d entries of the kind %s", mostBlocks, b.Type))
			return nil, false
		}
	}
	return blocks, true
}

// single is the one block of its kind.
func (l *loader) single(blocks map[string][]*hclsyntax.Block, kind string, required bool) *hclsyntax.Block {
	found := blocks[kind]
	if len(found) == 0 {
		if required {
			l.m.error(hcl.Range{Filename: l.path}, fmt.Sprintf("the file has no %s block", kind), blockExamples[kind])
		}
		return nil
	}
	for _, extra := range found[1:] {
		l.m.error(extra.DefRange(), fmt.Sprintf("the file has a second %s block", kind),
			"the first is at "+place(found[0].DefRange()))
	}
	if kind != "experiment" && len(found[0].Labels) > 0 {
		l.m.error(found[0].LabelRanges[0], fmt.Sprintf("a %s block has no name", kind))
	}
	return found[0]
}

var blockExamples = map[string]string{
	"experiment": `add experiment "name" { … }, which may be empty`,
	"devices":    `add devices { … } with at least on and count: who publishes`,
	"customers":  `add customers { … } with at least on and count: who receives`,
}

// label is a block's one label, which must be an identifier and new.
func (l *loader) label(b *hclsyntax.Block, what string, seen map[string]hcl.Range) (string, bool) {
	if len(b.Labels) != 1 {
		l.m.error(b.DefRange(), fmt.Sprintf("a %s block has one label, %s", b.Type, what),
			fmt.Sprintf("for example: %s \"name\" { … }", b.Type))
		return "", false
	}
	name, rng := b.Labels[0], b.LabelRanges[0]
	if !identifier.MatchString(name) {
		l.m.error(rng, fmt.Sprintf("%q cannot be %s", clip(name), what),
			"legal: a letter, then at most 63 letters, digits, _ and -")
		return "", false
	}
	if first, ok := seen[name]; ok {
		l.m.error(rng, fmt.Sprintf("there are two %s blocks called %q", b.Type, name), "the first is at "+place(first))
		return "", false
	}
	seen[name] = rng
	return name, true
}

// place is "file:line:column".
func place(rng hcl.Range) string {
	return fmt.Sprintf("%s:%d:%d", rng.Filename, rng.Start.Line, rng.Start.Column)
}

func jsonString(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// dynamicObject is an object whose attributes are all not known.
func dynamicObject(names []string) cty.Value {
	values := map[string]cty.Value{}
	for _, n := range names {
		values[n] = cty.DynamicVal
	}
	return cty.ObjectVal(values)
}
