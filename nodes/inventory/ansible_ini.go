package inventory

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	section   = regexp.MustCompile(`^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?$`)
	childName = regexp.MustCompile(`^([^#\s]+)\s*(?:#.*)?$`)
)

// parseAnsibleINI reads Ansible's INI, which is not INI: host lines are words of
// a shell, and only sections of variables have name=value lines.
func parseAnsibleINI(text []byte, name string) (*Inventory, error) {
	r := &iniReader{ansible: newAnsible(name), declared: map[string]bool{"all": true, "ungrouped": true}, wanted: make(map[string]wantedGroup)}
	r.at = r.group("ungrouped", 1)
	line := 0
	for s := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		line++
		s = strings.TrimSpace(s)
		if s == "" || s[0] == '#' || s[0] == ';' {
			continue
		}
		r.line(s, line)
	}
	for _, name := range r.order {
		if w, ok := r.wanted[name]; ok && !r.declared[name] {
			r.add(w.line, "there is no group %q, which %s names; a section [%s] makes one", clip(name), w.by, clip(name))
		}
	}
	return r.inventory()
}

type iniReader struct {
	*ansible
	at       *ansibleGroup // the section's
	kind     string        // hosts, vars or children
	declared map[string]bool
	wanted   map[string]wantedGroup
}

// wantedGroup is where a group was named that must be a section too.
type wantedGroup struct {
	line int
	by   string
}

func (r *iniReader) line(s string, line int) {
	if m := section.FindStringSubmatch(s); m != nil {
		r.begin(m[1], m[2], line)
		return
	}
	if s[0] == '[' && strings.HasSuffix(s, "]") {
		r.add(line, "%s is no section: want [group], [group:children] or [group:vars], without spaces", clip(s))
		return
	}
	switch r.kind {
	case "vars":
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			r.add(line, "want name=value, not %s", quotedSafe(s))
			return
		}
		r.at.vars[strings.TrimSpace(name)] = setting{text: literal(strings.TrimSpace(value)), line: line}
	case "children":
		m := childName.FindStringSubmatch(s)
		if m == nil {
			r.add(line, "want the name of a group, not %q", clip(s))
			return
		}
		r.group(m[1], line)
		r.want(m[1], line, "["+r.at.name+":children]")
		r.at.children = append(r.at.children, m[1])
	default:
		r.host(s, line)
	}
}

// begin takes a section's heading.
func (r *iniReader) begin(name, kind string, line int) {
	switch kind {
	case "", "hosts", "children":
		r.declared[name] = true
	case "vars":
		r.want(name, line, "["+name+":vars]")
	default:
		r.add(line, "a section [%s:%s] says nothing: hosts, children and vars are known", clip(name), clip(kind))
	}
	r.at, r.kind = r.group(name, line), kind
}

func (r *iniReader) want(name string, line int, by string) {
	if _, ok := r.wanted[name]; !ok {
		r.wanted[name] = wantedGroup{line, clip(by)}
	}
}

// host takes a line with a host, or a range of them, and its variables.
func (r *iniReader) host(s string, line int) {
	list, err := words(s, true)
	if err != nil {
		r.add(line, "%v", err)
		return
	}
	if len(list) == 0 {
		return
	}
	vars := make(map[string]setting)
	for _, w := range list[1:] {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			r.add(line, "after the host there is %s, and not name=value; quote a value that has spaces", quotedSafe(w))
			return
		}
		vars[name] = setting{text: literal(value), line: line}
	}
	for _, h := range r.addHosts(r.at, list[0], line) {
		for name, v := range vars {
			h.vars[name] = v
		}
	}
}

// quotedSafe quotes what stands where it should not, unless it may be part of a secret.
func quotedSafe(s string) string {
	if strings.Contains(strings.ToLower(s), "pass") {
		return "something else"
	}
	return fmt.Sprintf("%q", clip(s))
}

// literal takes the quotes off a value, which is written as in Python.
func literal(s string) string {
	if len(s) < 2 || s[0] != '"' && s[0] != '\'' || s[len(s)-1] != s[0] {
		return s
	}
	inner := s[1 : len(s)-1]
	if s[0] == '\'' {
		if strings.ContainsAny(inner, `'\`) {
			return s
		}
		return inner
	}
	if v, err := strconv.Unquote(s); err == nil {
		return v
	}
	return s
}
