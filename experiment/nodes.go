package experiment

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxNodes is the most nodes in one group.
const maxNodes = 1000

var roles = []string{string(Master), string(Worker), string(IoT), string(Customer)}

// nodeBlocks reads the node groups and puts the inventory's hosts in.
func (l *loader) nodeBlocks(blocks []*hclsyntax.Block) {
	seen := map[string]hcl.Range{}
	hostAt := map[string]string{}
	for _, b := range blocks {
		name, ok := l.label(b, "the group's name", seen)
		if !ok {
			continue
		}
		g := l.nodeBlock(b, name)
		l.groups[name] = g
		l.plan.Groups = append(l.plan.Groups, g)
		for _, h := range g.Hosts {
			if first, ok := hostAt[h]; ok && first != name {
				l.m.warn(b.DefRange(), fmt.Sprintf("the host %s is in the groups %s and %s", clip(h), first, name),
					"its nodes will share the machine, and so their load")
			}
			hostAt[h] = name
		}
	}
	l.inventory(seen)
	l.mixedTestbed(seen)
}

// inventory reports hosts for groups that the file does not have.
func (l *loader) inventory(seen map[string]hcl.Range) {
	rng := hcl.Range{Filename: "-inventory"}
	for _, name := range sortedKeys(l.in.Hosts) {
		if _, ok := seen[name]; !ok {
			legal := sortedKeys(seen)
			l.m.error(rng, fmt.Sprintf("the experiment file has no node group %q", clip(name)),
				didYouMean(name, legal, quoted), legalNames("the file has", legal))
		}
	}
}

// mixedTestbed warns where loopback nodes would have to reach real machines.
func (l *loader) mixedTestbed(seen map[string]hcl.Range) {
	realGroup := ""
	for _, g := range l.plan.Groups {
		if len(g.Hosts) > 0 {
			realGroup = g.Name
		}
	}
	for _, g := range l.plan.Groups {
		if realGroup != "" && len(g.Hosts) == 0 && g.Role != Master {
			l.m.warn(seen[g.Name], fmt.Sprintf("node %q is in the loopback lab, and node %q on real machines", g.Name, realGroup),
				"they cannot reach each other: give hosts to both, or to none")
		}
	}
}

// nodeBlock reads one group.
func (l *loader) nodeBlock(b *hclsyntax.Block, name string) NodeGroup {
	r := l.m.reader(b, l.static)
	g := NodeGroup{Name: name, Role: Role(name)}
	role, given := r.choice("role", roles...)
	switch {
	case given:
		g.Role = Role(role)
	case !slices.Contains(roles, name) && !r.has("role"):
		l.m.error(b.LabelRanges[0], fmt.Sprintf("node %q needs the argument role, since its name is none", name),
			didYouMean(name, roles, func(n string) string { return "the name " + quoted(n) }),
			legalNames("legal", quoteAll(roles)))
	}
	count, counted := r.whole("count", 1, maxNodes)
	g.Hosts, _ = r.texts("hosts", maxNodes)
	g.Spares, _ = r.texts("spares", maxNodes)
	g.User, _ = r.text("user", 64)
	if g.User != "" && !userName.MatchString(g.User) {
		r.wrong("user", fmt.Sprintf("%q is not a user's name", clip(g.User)), "legal: letters, digits, . _ and -")
	}
	r.finish()
	l.checkHosts(r.what, r.at("hosts"), g.Hosts, nil)
	l.checkHosts(r.what, r.at("spares"), g.Spares, g.Hosts)
	if r.has("hosts") && g.Hosts != nil && len(g.Hosts) == 0 {
		r.wrong("hosts", "the list is empty", "give at least one host, or count alone for the loopback lab")
	}
	others, replaced := l.in.hostsFor(name, g.Role)
	if len(g.Spares) > 0 && len(g.Hosts) == 0 && !replaced {
		r.wrong("spares", "spares stand in for hosts, and none are given")
	}
	if replaced {
		l.checkHosts(r.what, hcl.Range{Filename: "-inventory"}, others, nil)
		if len(others) == 0 || len(others) > maxNodes {
			l.m.error(hcl.Range{Filename: "-inventory"}, fmt.Sprintf("node %q has %d hosts; 1 to %d are legal", name, len(others), maxNodes))
		}
		g.Hosts, g.Spares, counted = slices.Clone(others), nil, false
		if l.in.SparesFor != nil {
			g.Spares = l.in.SparesFor(name, g.Role)
			l.checkHosts(r.what, hcl.Range{Filename: "-inventory"}, g.Spares, g.Hosts)
		}
	}
	g.Count = len(g.Hosts)
	if counted && len(g.Hosts) > 0 && int(count) != len(g.Hosts) {
		r.wrong("count", fmt.Sprintf("count is %d, and %d hosts are given", count, len(g.Hosts)), "leave count out where hosts are given")
	}
	if len(g.Hosts) == 0 {
		if !r.has("count") && !r.has("hosts") {
			r.m.error(r.header, fmt.Sprintf("%s needs the argument count or hosts", r.what),
				"count = 2 makes two nodes in the loopback lab; hosts = [\"10.2.0.11\"] takes real machines")
		}
		g.Count = max(int(count), 1)
	}
	return g
}

var (
	userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$`)
)

// checkHosts reports what cannot be a host, or stands there twice.
func (l *loader) checkHosts(what string, rng hcl.Range, hosts, others []string) {
	seen := map[string]bool{}
	for _, h := range others {
		seen[h] = true
	}
	for _, h := range hosts {
		if !validHost(h) {
			l.m.error(rng, fmt.Sprintf("%s: %q is not a host", what, clip(h)),
				`legal: a name or an address, optionally with a user and a port, as in "10.2.0.11", "bela@vm-3:2222" or "[fd00::1]:22"`)
		} else if seen[h] {
			l.m.error(rng, fmt.Sprintf("%s: the host %s is given twice", what, clip(h)))
		}
		seen[h] = true
	}
}

// validHost takes [user@]name, [user@]address, each optionally with ":port", and
// [v6]:port.
func validHost(h string) bool {
	if user, rest, ok := strings.Cut(h, "@"); ok {
		if !userName.MatchString(user) {
			return false
		}
		h = rest
	}
	if net.ParseIP(h) != nil {
		return true
	}
	host, port := h, ""
	if i := strings.LastIndexByte(h, ':'); i >= 0 {
		host, port = h[:i], h[i+1:]
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return false
		}
		if inner, ok := strings.CutPrefix(host, "["); ok {
			return strings.HasSuffix(inner, "]") && net.ParseIP(strings.TrimSuffix(inner, "]")) != nil
		}
	}
	return len(host) <= 253 && hostName.MatchString(host)
}

// sshBlock reads how real machines are reached.
func (l *loader) sshBlock(b *hclsyntax.Block) {
	if b == nil {
		return
	}
	r := l.m.reader(b, l.static)
	s := &l.plan.SSH
	port, _ := r.whole("port", 1, 65535)
	s.Port = int(port)
	s.User, _ = r.text("user", 64)
	if s.User != "" && !userName.MatchString(s.User) {
		r.wrong("user", fmt.Sprintf("%q is not a user's name", clip(s.User)), "legal: letters, digits, . _ and -")
	}
	s.KeyFiles, _ = r.texts("key_files", 20)
	s.KnownHosts, _ = r.text("known_hosts", 4096)
	policy, _ := r.choice("host_keys", string(HostKeysStrict), string(HostKeysAcceptNew), string(HostKeysPinned))
	s.HostKeys = HostKeyPolicy(policy)
	s.Fingerprints, _ = r.texts("fingerprints", maxNodes)
	for _, f := range s.Fingerprints {
		if !fingerprint.MatchString(f) {
			r.wrong("fingerprints", fmt.Sprintf("%q is not a fingerprint", clip(f)), `legal: "SHA256:" and 43 characters, as ssh-keygen -lf prints it`)
		}
	}
	if policy == string(HostKeysPinned) && !r.has("fingerprints") {
		r.wrong("host_keys", `"pinned" needs the argument fingerprints`, `for example: fingerprints = ["SHA256:…"]`)
	}
	if r.has("fingerprints") && policy != string(HostKeysPinned) && (policy != "" || !r.has("host_keys")) {
		r.wrong("fingerprints", `fingerprints count only with host_keys = "pinned"`)
	}
	s.Jump, _ = r.texts("jump", 8)
	for _, j := range s.Jump {
		if !validHost(j) {
			r.wrong("jump", fmt.Sprintf("%q is not a jump host", clip(j)), `legal: host, user@host or user@host:port`)
		}
	}
	s.ConnectTimeout, _ = r.length("connect_timeout", 100*time.Millisecond, time.Hour)
	s.Keepalive, _ = r.length("keepalive", time.Second, time.Hour)
	retries, said := r.whole("retries", 0, 100)
	if s.Retries = int(retries); said && retries == 0 {
		s.Retries = NoRetries
	}
	s.leases(r)
	s.Directory, _ = r.text("directory", 1024)
	if bad := strings.ContainsAny(s.Directory, "\n\r'\"\\$`;&|<>*?"); bad || s.Directory == "/" {
		r.wrong("directory", fmt.Sprintf("%q cannot be bela's directory on a node", clip(s.Directory)), `legal: a plain path, as in ".bela" or "/var/tmp/bela"`)
	}
	r.finish()
}

var fingerprint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}=?$`)
