package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"bela/experiment"
	"bela/nodes"
	"bela/nodes/inventory"
)

// load reads the experiment, with the machines of the inventory if there is one.
func (ff *fileFlags) load(a *app, path string) (*experiment.Experiment, *inventory.Inventory, error) {
	return ff.read(a, func(in experiment.Inputs) (*experiment.Experiment, error) { return experiment.Load(path, in) })
}

// read is load with a way of its own to read the experiment.
func (ff *fileFlags) read(a *app, load func(experiment.Inputs) (*experiment.Experiment, error)) (*experiment.Experiment, *inventory.Inventory, error) {
	in := experiment.Inputs{Vars: ff.vars, VarFile: *ff.varFile, Env: a.env}
	var inv *inventory.Inventory
	var taken *takenGroups
	if *ff.inventory != "" {
		var err error
		if inv, err = inventory.Read(*ff.inventory); err != nil {
			return nil, nil, &statusError{statusUsage, err}
		}
		taken = &takenGroups{inv: inv, by: make(map[string]string)}
		in.HostsFor, in.SparesFor = taken.hosts, taken.spares
		if inv.Format == inventory.HCL { // whose groups are bela's, so that each must be meant
			in.Hosts = make(map[string][]string)
			for _, g := range inv.Groups {
				in.Hosts[g.Name] = hostsOf(g)
			}
		}
	}
	e, err := load(in)
	if taken != nil {
		if terr := errors.Join(taken.errs...); terr != nil {
			return nil, nil, &statusError{statusUsage, terr}
		}
	}
	if err != nil {
		return nil, nil, &statusError{statusUsage, err}
	}
	if ws := e.Warnings(); len(ws) > 0 {
		_ = ws.Format(a.err, a.width(a.err), a.color(a.err))
	}
	if inv != nil {
		if err := taken.missing(e.Plan()); err != nil {
			return nil, nil, err
		}
		sayNotes(a.err, inv)
	}
	return e, inv, nil
}

// hostsOf writes a group's machines as an experiment file does.
func hostsOf(g inventory.Group) []string {
	var hosts []string
	for _, m := range g.Machines {
		hosts = append(hosts, m.Host.String())
	}
	return hosts
}

// takenGroups hands an inventory's groups to an experiment's, and keeps two of
// those from getting the same machines by their role.
type takenGroups struct {
	inv  *inventory.Inventory
	by   map[string]string
	errs []error
}

func (t *takenGroups) hosts(group string, role experiment.Role) []string {
	g, ok := t.inv.For(group, string(role))
	if !ok {
		return nil
	}
	if other, twice := t.by[g.Name]; twice && other != group {
		t.errs = append(t.errs, fmt.Errorf("inventory: %s: the groups %q and %q of the experiment would both get the machines of %q: make a group %q, or %q, in the inventory",
			t.inv.File, other, group, g.Name, group, other))
		return nil
	}
	t.by[g.Name] = group
	if err := t.inv.Problems(g); err != nil {
		t.errs = append(t.errs, err)
	}
	return hostsOf(g)
}

// spares are those of the inventory's group whose machines the experiment's gets.
func (t *takenGroups) spares(group string, role experiment.Role) []string {
	g, ok := t.inv.For(group, string(role))
	if !ok {
		return nil
	}
	var hosts []string
	for _, h := range g.Spares {
		hosts = append(hosts, h.String())
	}
	return hosts
}

// missing finds groups that got no machines although others did.
func (t *takenGroups) missing(p *experiment.Plan) error {
	if onLab, err := onLab(p); err == nil && !onLab {
		return nil
	}
	var names []string
	for _, g := range t.inv.Groups {
		names = append(names, g.Name)
	}
	for _, g := range p.Groups {
		if len(g.Hosts) == 0 {
			return usageError("inventory: %s: it has no machines for the group %q, of the role %q; its groups are %s", t.inv.File, g.Name, g.Role, strings.Join(names, ", "))
		}
	}
	return nil
}

// sayNotes tells what an inventory says in vain, in a few lines.
func sayNotes(w io.Writer, inv *inventory.Inventory) {
	const most = 5
	for i, n := range inv.Notes {
		if i == most {
			fmt.Fprintf(w, "bela: inventory: %s: %d more things are not used; `bela nodes` with this inventory lists them\n", inv.File, len(inv.Notes)-most)
			return
		}
		fmt.Fprintf(w, "bela: inventory: %s: %s\n", inv.At(n.Line), n.Text)
	}
}

// target says how to reach one host: what the host's own text says comes first,
// then its group's settings, then the inventory's, then the file's ssh block.
func target(plan *experiment.Plan, g experiment.NodeGroup, name string, i int, host string, inv *inventory.Inventory) (nodes.Target, error) {
	h, err := nodes.ParseHost(host)
	if err != nil {
		return nodes.Target{}, usageError("node group %q: %v", g.Name, err)
	}
	s := plan.SSH
	t := nodes.Target{
		Name: name, Group: g.Name, Role: string(g.Role), Host: h.Host,
		SSH: nodes.Options{
			KeyFiles: s.KeyFiles, KnownHosts: s.KnownHosts, HostKeys: nodes.HostKeyPolicy(s.HostKeys),
			Fingerprints: s.Fingerprints, Jump: s.Jump, ConnectTimeout: s.ConnectTimeout,
			Keepalive: s.Keepalive, Retries: s.Retries,
		},
	}
	var group inventory.Group
	var block inventory.SSH
	if inv != nil {
		if inv.SSH != nil {
			block = *inv.SSH
			t.SSH = block.Options
		}
		if group, _ = inv.For(g.Name, string(g.Role)); i < len(group.Machines) {
			m := group.Machines[i]
			h = m.Login(first(group.User, g.User, s.User))
			t.Host = h.Host
			reach(&t.SSH, m)
		}
	}
	t.Port = first(h.Port, block.Port, s.Port)
	t.User = first(h.User, group.User, g.User, block.User, s.User)
	// Nodes may share a machine and a login; each has a directory of its own,
	// and no parent that would have to stay.
	t.Directory = first(block.Directory, s.Directory, nodes.DefaultDirectory) + "-" + t.Name
	return t, nil
}

// reach puts in what an inventory says of the way to one machine.
func reach(o *nodes.Options, m inventory.Machine) {
	keys, jump := m.KeyFiles, m.Jump
	if m.Config != "" { // nodes takes them from there, and fills in their tokens
		o.Config = m.Config
		keys, jump = nil, nil
	}
	if len(m.KeyFiles) > 0 {
		o.KeyFiles = keys
	}
	if len(m.Jump) > 0 {
		o.Jump = jump
	}
	if m.KnownHosts != "" {
		o.KnownHosts = m.KnownHosts
	}
}

// printInventory shows what was understood of an inventory, and what was not.
func printInventory(w io.Writer, inv *inventory.Inventory, used map[string]bool) {
	fmt.Fprintf(w, "%s is %s\n", inv.File, inv.Format)
	var idle []string
	for _, g := range inv.Groups {
		if !used[g.Name] {
			idle = append(idle, fmt.Sprintf("%s (%d)", g.Name, len(g.Machines)))
		}
	}
	if len(idle) > 0 {
		fmt.Fprintf(w, "groups of it that are not taken: %s\n", strings.Join(idle, ", "))
	}
	for _, n := range inv.Notes {
		fmt.Fprintf(w, "not used: %s: %s\n", inv.At(n.Line), n.Text)
	}
}

// printRoutes shows how each node would be reached.
func printRoutes(w io.Writer, targets []nodes.Target, inv *inventory.Inventory) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "node\tgroup\trole\taddress\tport\tuser\tjump hosts\tkey files\tfrom")
	next := make(map[string]int)
	for _, target := range targets {
		from := "the experiment file"
		if inv != nil {
			g, _ := inv.For(target.Group, target.Role)
			if i := next[target.Group]; i < len(g.Machines) {
				from = fmt.Sprintf("%s (%s)", g.Machines[i].Name, inv.At(g.Machines[i].Line))
			}
			next[target.Group]++
		}
		r, err := nodes.RouteOf(target)
		if err != nil {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\t\t\t\t%s\n", target.Name, target.Group, target.Role, nodes.KindOf(err), from)
			continue
		}
		var jump []string
		for _, h := range r.Jump {
			jump = append(jump, h.String())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", target.Name, target.Group, target.Role, r.Host.Host, r.Host.Port, r.Host.User,
			first(strings.Join(jump, ", "), "-"), first(strings.Join(r.KeyFiles, ", "), "-"), from)
	}
	return t.Flush()
}

// planOf makes nodes of all machines of an inventory that comes without an
// experiment. Groups that other, smaller ones make up are left out.
func planOf(inv *inventory.Inventory) (*experiment.Plan, error) {
	p := &experiment.Plan{Experiment: inv.File}
	var errs []error
	for _, g := range inv.Groups {
		if len(g.Machines) == 0 || madeOfOthers(inv, g) {
			continue
		}
		errs = append(errs, inv.Problems(g))
		group := experiment.NodeGroup{Name: g.Name, Role: experiment.Role(strings.TrimSuffix(g.Name, "s")), Hosts: hostsOf(g), Count: len(g.Machines)}
		if !slices.Contains([]experiment.Role{experiment.Master, experiment.Worker, experiment.IoT, experiment.Customer}, group.Role) {
			group.Role = ""
		}
		p.Groups = append(p.Groups, group)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &statusError{statusUsage, err}
	}
	return p, nil
}

func madeOfOthers(inv *inventory.Inventory, g inventory.Group) bool {
	in := make(map[string]bool)
	for _, other := range inv.Groups {
		if len(other.Machines) < len(g.Machines) {
			for _, m := range other.Machines {
				in[m.Name] = true
			}
		}
	}
	return !slices.ContainsFunc(g.Machines, func(m inventory.Machine) bool { return !in[m.Name] })
}
