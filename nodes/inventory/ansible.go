package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bela/nodes"
)

// ansible is an Ansible inventory as its two readers leave it: groups that hold
// hosts and other groups, and variables on all of them.
type ansible struct {
	mistakes
	groups map[string]*ansibleGroup
	order  []string
	hosts  map[string]*ansibleHost
	names  []string
	unused unused
}

type ansibleGroup struct {
	name     string
	line     int
	hosts    []string
	children []string
	vars     map[string]setting
}

type ansibleHost struct {
	name string
	line int
	vars map[string]setting
}

// setting is a variable's value and where it stands.
type setting struct {
	text string
	line int
	// opaque is a value that is no text: encrypted, a list or a mapping.
	opaque bool
}

func newAnsible(file string) *ansible {
	a := &ansible{mistakes: mistakes{file: file}, groups: make(map[string]*ansibleGroup), hosts: make(map[string]*ansibleHost)}
	a.group("all", 1)
	a.group("ungrouped", 1)
	return a
}

// group gives the group of a name, and makes it at its first mention.
func (a *ansible) group(name string, line int) *ansibleGroup {
	g := a.groups[name]
	if g == nil {
		g = &ansibleGroup{name: name, line: line, vars: make(map[string]setting)}
		a.groups[name] = g
		a.order = append(a.order, name)
	}
	return g
}

// addHosts puts hosts into a group and returns them, new or known.
func (a *ansible) addHosts(g *ansibleGroup, pattern string, line int) []*ansibleHost {
	names, port, err := hostNames(pattern, maxHosts)
	if err != nil {
		a.add(line, "%v", err)
		return nil
	}
	var list []*ansibleHost
	for _, name := range names {
		h := a.hosts[name]
		if h == nil {
			if len(a.hosts) == maxHosts {
				a.add(line, "there are more than %d hosts", maxHosts)
				return list
			}
			h = &ansibleHost{name: name, line: line, vars: make(map[string]setting)}
			a.hosts[name] = h
			a.names = append(a.names, name)
		}
		if port != 0 {
			h.vars["ansible_port"] = setting{text: strconv.Itoa(port), line: line}
		}
		g.hosts = append(g.hosts, name)
		list = append(list, h)
	}
	return list
}

// inventory resolves groups and variables.
func (a *ansible) inventory() (*Inventory, error) {
	if len(a.groups) > maxGroups {
		a.add(1, "there are %d groups; at most %d are taken", len(a.groups), maxGroups)
	}
	if len(a.errs) > 0 {
		return nil, a.err()
	}
	depth, err := a.depths()
	if err != nil {
		return nil, err
	}
	members, parents := a.members()
	if members == nil {
		return nil, a.err()
	}
	machines := make(map[string]Machine, len(a.hosts))
	for _, name := range a.names {
		machines[name] = a.machine(a.hosts[name], a.variables(a.hosts[name], parents[name], depth))
	}
	inv := &Inventory{}
	for _, name := range a.order {
		g := Group{Name: name}
		for _, h := range members[name] {
			g.Machines = append(g.Machines, machines[h])
		}
		if len(g.Machines) > 0 {
			inv.Groups = append(inv.Groups, g)
		}
	}
	if len(inv.Groups) == 0 {
		return nil, fmt.Errorf("inventory: %s: no host is in it", a.file)
	}
	inv.Notes = a.unused.list()
	return inv, nil
}

// depths says how far below all each group is, by the longest way, and finds
// groups that hold themselves.
func (a *ansible) depths() (map[string]int, error) {
	parents := make(map[string][]string)
	for _, name := range a.order {
		for _, c := range a.groups[name].children {
			parents[c] = append(parents[c], name)
		}
	}
	depth := map[string]int{"all": 0}
	const visiting = -1
	var visit func(string) int
	visit = func(name string) int {
		if d, ok := depth[name]; ok {
			if d == visiting {
				a.add(a.groups[name].line, "the group %q is its own child", clip(name))
				depth[name] = 0
			}
			return depth[name]
		}
		depth[name] = visiting
		most := 0
		for _, p := range parents[name] {
			most = max(most, visit(p))
		}
		depth[name] = most + 1
		return depth[name]
	}
	for _, name := range a.order {
		visit(name)
	}
	return depth, a.err()
}

// members gives the hosts of each group, those of its children included, and
// the groups of each host. Both are nil where there are too many.
func (a *ansible) members() (members map[string][]string, groups map[string][]string) {
	members, groups = make(map[string][]string), make(map[string][]string)
	grouped := make(map[string]bool)
	total := 0
	for _, name := range a.order {
		if name == "all" || name == "ungrouped" {
			continue
		}
		seen, in := make(map[string]bool), make(map[string]bool)
		var walk func(string)
		walk = func(g string) {
			if seen[g] {
				return
			}
			seen[g] = true
			for _, h := range a.groups[g].hosts {
				if total++; !in[h] && total <= maxMembers {
					in[h], grouped[h] = true, true
					members[name] = append(members[name], h)
					groups[h] = append(groups[h], name)
				}
			}
			for _, c := range a.groups[g].children {
				walk(c)
			}
		}
		if walk(name); total > maxMembers {
			a.add(a.groups[name].line, "groups have more than %d hosts, all together", maxMembers)
			return nil, nil
		}
	}
	for _, h := range a.names {
		members["all"] = append(members["all"], h)
		if !grouped[h] {
			members["ungrouped"] = append(members["ungrouped"], h)
			groups[h] = append(groups[h], "ungrouped")
		}
		groups[h] = append(groups[h], "all")
	}
	return members, groups
}

// variables gives what counts for a host: its own over its groups', a deeper
// group's over one above it, then the priority, then the name.
func (a *ansible) variables(h *ansibleHost, groups []string, depth map[string]int) map[string]setting {
	priority := func(name string) int {
		n, err := strconv.Atoi(a.groups[name].vars["ansible_group_priority"].text)
		if err != nil {
			return 1
		}
		return n
	}
	slices.SortFunc(groups, func(x, y string) int {
		return cmp.Or(depth[x]-depth[y], priority(x)-priority(y), strings.Compare(x, y))
	})
	vars := make(map[string]setting)
	for _, g := range groups {
		maps.Copy(vars, a.groups[g].vars)
	}
	maps.Copy(vars, h.vars)
	return vars
}

// machine reads the variables that say how a host is reached.
func (a *ansible) machine(h *ansibleHost, vars map[string]setting) Machine {
	m := Machine{Name: h.name, Line: h.line, Host: nodes.Host{Host: h.name}}
	problem := func(format string, args ...any) {
		if m.Problem == "" {
			m.Problem = clipLong(fmt.Sprintf(format, args...))
		}
	}
	get := func(names ...string) (value string) {
		for _, name := range names {
			v, ok := vars[name]
			delete(vars, name)
			switch {
			case !ok || value != "":
			case v.opaque:
				problem("%s at line %d is no plain text, or it is encrypted", name, v.line)
			case strings.Contains(v.text, "{{") || strings.Contains(v.text, "{%"):
				problem("%s at line %d is a template, and bela evaluates none; write the value, or let `ansible-inventory --list --yaml` write it", name, v.line)
			default:
				value = v.text
			}
		}
		return value
	}
	if v := get("ansible_host", "ansible_ssh_host"); v != "" {
		m.Host.Host = v
	}
	m.Host.User = get("ansible_user", "ansible_ssh_user")
	if v := get("ansible_port", "ansible_ssh_port"); v != "" {
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil || n == 0 {
			problem("the port %q is not a number from 1 to 65535", clip(v))
		}
		m.Host.Port = int(n)
	}
	if v := get("ansible_ssh_private_key_file", "ansible_private_key_file"); v != "" {
		m.KeyFiles = []string{v}
	}
	switch c := get("ansible_connection"); c {
	case "", "ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh", "ansible.netcommon.libssh":
	default:
		problem("its connection is %q, and bela reaches machines over SSH only", clip(c))
	}
	for _, name := range []string{"ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"} {
		line := vars[name].line
		if v := get(name); v != "" {
			if err := a.sshArgs(&m, v, line); err != nil {
				problem("%s at line %d: %v", name, line, err)
			}
		}
	}
	if err := checkHost(m.Host); err != nil {
		problem("%v", err)
	}
	a.rest(vars)
	return m
}

// sshArgs takes what arguments of ssh say. A variable of its own wins over them.
func (a *ansible) sshArgs(m *Machine, text string, line int) error {
	list, err := words(text, false)
	if err != nil {
		return err
	}
	args, err := parseSSHArgs(list, 0)
	if err != nil {
		return err
	}
	if args.dest != "" {
		return fmt.Errorf("what is %q for?", clip(args.dest))
	}
	if m.Jump == nil {
		m.Jump = args.jump
	}
	if m.Host.Port == 0 {
		m.Host.Port = args.port
	}
	if m.Host.User == "" {
		m.Host.User = args.user
	}
	if m.KnownHosts == "" {
		m.KnownHosts = args.knownHosts
	}
	m.KeyFiles = append(m.KeyFiles, args.keyFiles...)
	if args.config != "" {
		a.unused.add("-F "+args.config, line, "the ssh_config is not read; give it as the inventory, or put what matters into ~/.ssh/config")
	}
	for _, u := range args.unused {
		a.unused.add(u[0], line, u[1])
	}
	return nil
}

// rest notes the variables that say nothing to bela.
func (a *ansible) rest(vars map[string]setting) {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		why := "a variable of your own; " + notUsed
		switch {
		case name == "ansible_group_priority":
			continue
		case strings.Contains(name, "pass") && strings.HasPrefix(name, "ansible_"):
			why = "bela logs in with keys only; put a public key into the machine's authorized_keys"
		case strings.HasPrefix(name, "ansible_become"), strings.HasPrefix(name, "ansible_sudo"), strings.HasPrefix(name, "ansible_su_"):
			why = "bela works as the user who logs in, and needs no other"
		case strings.HasSuffix(name, "host_key_checking"):
			why = hostKeysStay
		case strings.HasPrefix(name, "ansible_"):
			why = notUsed
		}
		a.unused.add(name, vars[name].line, why)
	}
}

// clipLong keeps a problem on one line of the terminal's own.
func clipLong(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
