package inventory

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"

	"bela/nodes"
)

var (
	keywordLine = regexp.MustCompile(`^([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*)$`)
	groupRemark = regexp.MustCompile(`^#\s*bela:\s*group\s+(\S+)\s*$`)
	libraryLine = regexp.MustCompile(`^\((\d+), \d+\): *`)
)

// sshKeyword says what bela does with a keyword of ssh_config; those that are
// missing here are not used.
var sshKeyword = map[string]string{
	"hostname": "", "port": "", "user": "", "identityfile": "", "identitiesonly": "", "identityagent": "", "proxyjump": "",
	"hostkeyalias": "", "userknownhostsfile": "", "tag": "", "ignoreunknown": "",
	"include":               "its settings count, but its hosts are no nodes",
	"match":                 "its settings count as far as bela can tell; in doubt give a Host block",
	"proxycommand":          "bela runs none; use ProxyJump",
	"stricthostkeychecking": hostKeysStay,
}

// parseSSHConfig reads an ssh_config. Each name of a Host line that is no pattern
// is a machine. Its group is said by a remark "# bela: group NAME" in its block,
// or by Tag, or by the name itself: worker-1 is of the group worker. How it is
// reached is left to package nodes, which reads the same file.
func parseSSHConfig(text []byte, name string) (*Inventory, error) {
	r := &sshReader{mistakes: mistakes{file: name}, group: make(map[string]string), seen: make(map[string]int)}
	line := 0
	for s := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		line++
		r.line(strings.TrimSpace(s), line)
	}
	if len(r.errs) > 0 {
		return nil, r.err()
	}
	if len(r.machines) == 0 {
		return nil, fmt.Errorf("inventory: %s: no Host line names a machine; patterns such as Host * do not", name)
	}
	if err := r.settings(text); err != nil {
		return nil, err
	}
	inv := &Inventory{Notes: r.unused.list()}
	inv.Groups = grouped(r.machines, func(m Machine) string {
		if g := r.group[m.Name]; g != "" {
			return g
		}
		return groupOf(m.Name)
	})
	if len(inv.Groups) > maxGroups {
		return nil, fmt.Errorf("inventory: %s: there are %d groups; at most %d are taken", name, len(inv.Groups), maxGroups)
	}
	return inv, nil
}

type sshReader struct {
	mistakes
	machines []Machine
	block    []string          // the machines of the block that is being read
	group    map[string]string // of a machine, where the file says it
	seen     map[string]int
	includes bool
	unused   unused
}

func (r *sshReader) line(s string, line int) {
	if m := groupRemark.FindStringSubmatch(s); m != nil {
		r.tag(m[1])
		return
	}
	if s == "" || s[0] == '#' {
		return
	}
	m := keywordLine.FindStringSubmatch(s)
	if m == nil {
		r.add(line, "%q is no line of an ssh_config: want a keyword and its value", clip(s))
		return
	}
	switch keyword := strings.ToLower(m[1]); keyword {
	case "host":
		r.host(m[2], line)
	case "tag":
		r.tag(strings.Trim(m[2], `"`))
	default:
		if keyword == "match" {
			r.block = nil
		}
		r.includes = r.includes || keyword == "include"
		if why, ok := sshKeyword[keyword]; !ok {
			r.unused.add(m[1], line, notUsed)
		} else if why != "" {
			r.unused.add(m[1], line, why)
		}
	}
}

// tag gives the machines of the block a group, unless they have one.
func (r *sshReader) tag(group string) {
	for _, name := range r.block {
		if r.group[name] == "" {
			r.group[name] = group
		}
	}
}

// host takes a Host line.
func (r *sshReader) host(names string, line int) {
	r.block = nil
	list, err := words(names, true)
	if err != nil || len(list) == 0 {
		r.add(line, "Host has no name: %q", clip(names))
		return
	}
	if strings.ContainsAny(names, `"'`) {
		r.add(line, "bela reads no quotes in a Host line; write the names without them")
		return
	}
	for _, name := range list {
		if strings.ContainsAny(name, "*?!") {
			continue
		}
		r.block = append(r.block, name)
		if _, twice := r.seen[name]; twice {
			continue // ssh takes the settings of both
		}
		r.seen[name] = line
		h := nodes.Host{Host: name}
		if err := checkHost(h); err != nil {
			r.add(line, "%v", err)
			continue
		}
		if len(r.machines) == maxHosts {
			r.add(line, "there are more than %d hosts", maxHosts)
			return
		}
		r.machines = append(r.machines, Machine{Name: name, Line: line, Host: h})
	}
}

// settings asks the file for what it says of each machine. Values are the
// file's own; nodes fills in its tokens.
func (r *sshReader) settings(text []byte) error {
	path := r.file
	if abs, err := filepath.Abs(r.file); err == nil {
		path = abs
	}
	for i := range r.machines {
		r.machines[i].Config = path
	}
	if r.includes || len(r.machines) > 1000 {
		return nil // other files come in: they are read when the machines are reached
	}
	config, err := ssh_config.DecodeBytes(text)
	if err != nil {
		said := err.Error()
		if m := libraryLine.FindStringSubmatch(said); m != nil {
			n, _ := strconv.Atoi(m[1])
			r.add(n, "%s", clipLong(clip(said[len(m[0]):])))
			return r.err()
		}
		return fmt.Errorf("inventory: %s: %s", r.file, clipLong(said))
	}
	for i := range r.machines {
		r.own(config, &r.machines[i])
	}
	return nil
}

func (r *sshReader) own(config *ssh_config.Config, m *Machine) {
	get := func(keyword string) string {
		v, err := config.Get(m.Name, keyword)
		if err != nil {
			return ""
		}
		return v
	}
	m.Host.User = get("User")
	if p := get("Port"); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			m.Problem = fmt.Sprintf("the port %q is not a number from 1 to 65535", clip(p))
		}
		m.Host.Port = int(n)
	}
	if j, err := jumps(get("ProxyJump")); err != nil {
		m.Problem = err.Error()
	} else {
		m.Jump = j
	}
	if files, err := config.GetAll(m.Name, "IdentityFile"); err == nil {
		m.KeyFiles = files
	}
	if c := get("ProxyCommand"); c != "" && !strings.EqualFold(c, "none") && m.Jump == nil {
		m.Problem = "it is reached by a ProxyCommand, and bela runs none; use ProxyJump"
	}
	if err := checkHost(m.Host); err != nil && m.Problem == "" {
		m.Problem = err.Error()
	}
}
