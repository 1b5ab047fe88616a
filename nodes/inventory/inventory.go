// Package inventory reads the files in which people keep their machines: bela's
// own HCL, Ansible's inventories in INI and YAML, an ssh_config, and the manifest
// RSpec of a GENI testbed. All become the same groups of machines. What a file
// says that bela has no use for becomes a note, never silence.
//
// The package opens no connection and knows no experiment: which of the groups
// are wanted is for its caller to say.
package inventory

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bela/nodes"
)

// The bounds of an inventory.
const (
	maxFile   = 1 << 20
	maxHosts  = 10_000
	maxGroups = 1000
	// maxMembers bounds how often hosts are in groups, all together.
	maxMembers = 100_000
)

// Inventory is what a file says about machines.
type Inventory struct {
	File   string
	Format Format
	// Groups are in the order of the file. A machine may be in several.
	Groups []Group
	// SSH is the ssh block of an HCL inventory; nil where there is none.
	SSH *SSH
	// Notes say what bela does not use, in the order of the lines.
	Notes []Note
}

// Group is the machines of one name.
type Group struct {
	Name     string
	Machines []Machine
	// Spares and User are what a node block of HCL may have beside its hosts.
	Spares []nodes.Host
	User   string
}

// Machine is one machine, and what the file says of the way to it. What it does
// not say is left empty.
type Machine struct {
	// Name is the file's own name for it.
	Name string
	// Line is where it stands.
	Line int
	Host nodes.Host
	// Logins are all that the file offers, where there are several; Host is the first.
	Logins []nodes.Host
	// KeyFiles and Jump are as in nodes.Options.
	KeyFiles, Jump []string
	KnownHosts     string
	// Config is the ssh_config in which Host is an alias. KeyFiles and Jump are
	// then what that file says, with its own tokens.
	Config string
	// Problem says why bela cannot use the machine; empty where it can.
	Problem string
}

// Note is something in the file that bela does not use.
type Note struct {
	Line int // 0 where it is about the whole file
	Text string
}

// SSH is an ssh block: how machines are reached where they do not say it themselves.
type SSH struct {
	Port      int
	User      string
	Directory string
	Options   nodes.Options
}

// Group gives the group of that name.
func (inv *Inventory) Group(name string) (Group, bool) {
	for _, g := range inv.Groups {
		if g.Name == name {
			return g, true
		}
	}
	return Group{}, false
}

// For gives the machines for a node group of an experiment: the group of its
// name, else that of its role, else that of its role in the plural ("workers").
func (inv *Inventory) For(name, role string) (Group, bool) {
	for _, n := range []string{name, role, role + "s"} {
		if g, ok := inv.Group(n); ok && len(g.Machines) > 0 {
			return g, true
		}
	}
	return inv.Group(name)
}

// Login gives the login to use: the machine's own, or where there are several
// that of a user, if there is one.
func (m Machine) Login(user string) nodes.Host {
	for _, l := range m.Logins {
		if l.User == user {
			return l
		}
	}
	return m.Host
}

// At writes a place in the file as file:line.
func (inv *Inventory) At(line int) string {
	if line == 0 {
		return inv.File
	}
	return fmt.Sprintf("%s:%d", inv.File, line)
}

// Problems joins what keeps machines of a group from being used, with file:line.
func (inv *Inventory) Problems(g Group) error {
	var errs []error
	for _, m := range g.Machines {
		if m.Problem != "" {
			errs = append(errs, fmt.Errorf("inventory: %s: %s: %s", inv.At(m.Line), m.Name, m.Problem))
		}
	}
	return errors.Join(errs...)
}

// Read reads an inventory. name is a path, with a format before it where the
// file's own look does not tell: "ini:machines". Its errors name all mistakes,
// each with file:line.
func Read(name string) (*Inventory, error) {
	format, path := forced(name)
	text, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	inv, err := Parse(text, path, format)
	if err != nil {
		return nil, err
	}
	if inv.Format == AnsibleINI || inv.Format == AnsibleYAML {
		inv.Notes = append(inv.Notes, besides(path)...)
	}
	return inv, nil
}

// Parse reads the text of an inventory; name is for its errors and, where format
// is empty, for recognising it.
func Parse(text []byte, name string, format Format) (*Inventory, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("inventory: %s is larger than %d bytes", name, maxFile)
	}
	if format == "" {
		var err error
		if format, err = recognise(text, name); err != nil {
			return nil, err
		}
	}
	read, ok := readers()[format]
	if !ok {
		return nil, fmt.Errorf("inventory: there is no format %q: %s are known", format, known())
	}
	inv, err := read(text, name)
	if err != nil {
		return nil, err
	}
	inv.File, inv.Format = name, format
	slices.SortStableFunc(inv.Notes, func(a, b Note) int { return a.Line - b.Line })
	return inv, nil
}

// readers gives each format's reader.
func readers() map[Format]func(text []byte, name string) (*Inventory, error) {
	return map[Format]func([]byte, string) (*Inventory, error){
		HCL: parseHCL, AnsibleINI: parseAnsibleINI, AnsibleYAML: parseAnsibleYAML, SSHConfig: parseSSHConfig, RSpec: parseRSpec,
	}
}

// besides tells of the directories that Ansible reads beside an inventory.
func besides(path string) []Note {
	var notes []Note
	for _, dir := range []string{"group_vars", "host_vars"} {
		at := filepath.Join(filepath.Dir(path), dir)
		if info, err := os.Stat(at); err == nil && info.IsDir() {
			notes = append(notes, Note{Text: fmt.Sprintf("%s is not read; `ansible-inventory -i %s --list --yaml` writes it all into one file", at, path)})
		}
	}
	return notes
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return text, nil
}

// mistakes gathers what is wrong with a file, one error a line.
type mistakes struct {
	file string
	errs []error
}

func (m *mistakes) add(line int, format string, args ...any) {
	const most = 20
	if len(m.errs) == most {
		m.errs = append(m.errs, fmt.Errorf("inventory: %s: further mistakes are not listed", m.file))
	}
	if len(m.errs) > most {
		return
	}
	m.errs = append(m.errs, fmt.Errorf("inventory: %s:%d: %s", m.file, line, fmt.Sprintf(format, args...)))
}

func (m *mistakes) err() error { return errors.Join(m.errs...) }

// unused gathers what bela has no use for, by name, so that a setting of a
// hundred machines is told once.
type unused struct {
	order []string
	notes map[string]*unusedNote
}

type unusedNote struct {
	line, times int
	why         string
}

func (u *unused) add(name string, line int, why string) {
	if u.notes == nil {
		u.notes = make(map[string]*unusedNote)
	}
	n := u.notes[name]
	if n == nil {
		const most = 500
		if len(u.order) == most {
			return
		}
		n = &unusedNote{line: line, why: why}
		u.notes[name] = n
		u.order = append(u.order, name)
	}
	n.times++
}

func (u *unused) list() []Note {
	var notes []Note
	for _, name := range u.order {
		n := u.notes[name]
		text := clip(name) + ": " + n.why
		if n.times > 1 {
			text += fmt.Sprintf(" (%d times)", n.times)
		}
		notes = append(notes, Note{n.line, text})
	}
	return notes
}

// clip keeps foreign text short and from steering a terminal.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 80 {
		s = string(r[:77]) + "..."
	}
	return s
}

// groupOf gives the group that a machine's name says: "worker-1", "worker01" and
// "worker" are of the group worker.
func groupOf(name string) string {
	name, _, _ = strings.Cut(name, ".")
	if g := strings.TrimRight(strings.TrimRight(name, "0123456789"), "-_/"); g != "" {
		return g
	}
	return name
}

// grouped puts machines into groups by a name each, in the order of their first.
func grouped(machines []Machine, group func(Machine) string) []Group {
	var groups []Group
	at := make(map[string]int)
	for _, m := range machines {
		name := group(m)
		i, ok := at[name]
		if !ok {
			i = len(groups)
			at[name] = i
			groups = append(groups, Group{Name: name})
		}
		groups[i].Machines = append(groups[i].Machines, m)
	}
	return groups
}

// checkHost finds what is no machine's name or address.
func checkHost(h nodes.Host) error {
	again, err := nodes.ParseHost(h.String())
	if err == nil && again != h {
		err = fmt.Errorf("%q is no login", clip(h.String()))
	}
	return err
}
