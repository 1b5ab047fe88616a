package inspect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bela/agents/protocol"
)

// settable are the kernel parameters that may be set from here: they widen a
// limit for as long as the machine is up, and nothing else depends on them.
var settable = [...]string{
	"net.core.somaxconn",
	"net.ipv4.tcp_max_syn_backlog",
	"net.ipv4.ip_local_port_range",
	"net.netfilter.nf_conntrack_max",
}

// An undo file is a shell script that needs nothing but a shell, and that this
// package reads again:
//
//	# bela undo 1
//	# boot 7f0c…
//	# by user@host
//	echo '128' >/proc/sys/net/core/somaxconn # net.core.somaxconn, set to '4096' at 2026-01-02T15:04:05Z
//
// The newest change comes first, so that running it from the top puts back what
// was there before all of them.
const undoMagic = "# bela undo 1"

type undoFile struct {
	boot     string
	settings []protocol.SysctlSetting // the newest first
	lines    []string                 // the same as they stand in the file
}

// setSysctls writes down what is, and then sets what is asked for. What has
// the value already is left alone.
func (s *server) setSysctls(spec protocol.SetSysctlSpec) (protocol.SysctlOutcome, error) {
	var out protocol.SysctlOutcome
	if !filepath.IsAbs(spec.Undo) {
		return out, badRequest("inspect: the undo file must be absolute")
	}
	undo, err := readUndo(spec.Undo)
	if err != nil {
		return out, err
	}
	if undo == nil || undo.boot != s.bootID() {
		// What was set before a restart of the machine is gone with it.
		undo = &undoFile{boot: s.bootID()}
	}
	for _, set := range spec.Settings {
		if !slices.Contains(settable[:], set.Name) || !plain(set.New) {
			return out, badRequest(fmt.Sprintf("inspect: %s = %q is not for bela to set", set.Name, set.New))
		}
		set.Old = s.sysctl(set.Name)
		set.New = strings.Join(strings.Fields(set.New), " ")
		if set.Old == set.New {
			continue
		}
		if !plain(set.Old) {
			out.Kept = append(out.Kept, fmt.Sprintf("%s: this kernel does not have it, or shows %q", set.Name, printable(set.Old)))
			continue
		}
		if err := s.set(undo, spec, set); err != nil {
			out.Kept = append(out.Kept, fmt.Sprintf("%s stays %s: %v", set.Name, set.Old, err))
			continue
		}
		out.Settings = append(out.Settings, set)
	}
	return out, nil
}

// set records one parameter and sets it. A record of what could not be set is
// taken back.
func (s *server) set(undo *undoFile, spec protocol.SetSysctlSpec, set protocol.SysctlSetting) error {
	line := fmt.Sprintf("echo '%s' >/proc/sys/%s # %s, set to '%s' at %s",
		set.Old, strings.ReplaceAll(set.Name, ".", "/"), set.Name, set.New, time.Now().UTC().Format(time.RFC3339))
	before := undo.lines
	undo.lines = append([]string{line}, before...)
	if err := undo.write(spec.Undo, spec.By); err != nil {
		undo.lines = before
		return fmt.Errorf("what it was cannot be written down: %w", err)
	}
	err := s.writeSysctl(set.Name, set.New)
	if err == nil {
		if now := s.sysctl(set.Name); now != set.New {
			err = fmt.Errorf("the kernel took it as %s", printable(now))
			err = errors.Join(err, s.writeSysctl(set.Name, set.Old))
		}
	}
	if err != nil {
		undo.lines = before
		return errors.Join(err, undo.write(spec.Undo, spec.By))
	}
	return nil
}

// undoSysctls puts back what the file says and removes it. A parameter that
// somebody else has changed since is left alone.
func (s *server) undoSysctls(spec protocol.UndoSysctlSpec) (protocol.SysctlOutcome, error) {
	var out protocol.SysctlOutcome
	undo, err := readUndo(spec.Undo)
	if err != nil || undo == nil {
		return out, err
	}
	if undo.boot != s.bootID() {
		out.Kept = append(out.Kept, "the machine was started anew since, which put everything back")
		return out, os.Remove(spec.Undo)
	}
	for _, set := range undo.settings {
		now := s.sysctl(set.Name)
		switch {
		case now == set.Old:
			continue
		case now != set.New:
			out.Kept = append(out.Kept, fmt.Sprintf("%s is %s, which bela did not set; it was %s before", set.Name, printable(now), set.Old))
			continue
		}
		if err := s.writeSysctl(set.Name, set.Old); err != nil {
			return out, fmt.Errorf("put %s back to %s: %w", set.Name, set.Old, err)
		}
		out.Settings = append(out.Settings, protocol.SysctlSetting{Name: set.Name, Old: set.New, New: set.Old})
	}
	return out, os.Remove(spec.Undo)
}

// sysctl is a parameter's value with single spaces.
func (s *server) sysctl(name string) string {
	return strings.Join(strings.Fields(s.read(sysctlFile(name))), " ")
}

func (s *server) writeSysctl(name, value string) error {
	return os.WriteFile(filepath.Join(s.Proc, sysctlFile(name)), []byte(value+"\n"), 0)
}

func sysctlFile(name string) string { return "sys/" + strings.ReplaceAll(name, ".", "/") }

// plain says whether a value is numbers and spaces, as those of all parameters
// here are: nothing else gets into a shell script.
func plain(value string) bool {
	return value != "" && len(value) <= 64 && strings.Trim(value, "0123456789 ") == ""
}

// write replaces the file as a whole; one without changes is removed.
func (u *undoFile) write(path, by string) error {
	if len(u.lines) == 0 {
		return os.Remove(path)
	}
	text := undoMagic + "\n# boot " + u.boot + "\n# by " + printable(by) + "\n" + strings.Join(u.lines, "\n") + "\n"
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readUndo reads an undo file; nil where there is none.
func readUndo(path string) (*undoFile, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	text := readFile(path)
	if text == "" {
		return nil, fmt.Errorf("%s cannot be read", path)
	}
	return parseUndo(path, text)
}

func parseUndo(path, text string) (*undoFile, error) {
	u := new(undoFile)
	for n, line := range strings.Split(text, "\n") {
		if n == 0 && line != undoMagic {
			return nil, fmt.Errorf("%s is not bela's: move it away", path)
		}
		if boot, ok := strings.CutPrefix(line, "# boot "); ok {
			u.boot = strings.TrimSpace(boot)
		}
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		set, ok := parseUndoLine(line)
		if !ok {
			return nil, fmt.Errorf("%s:%d is not a line that bela wrote; look at it, and run it or remove it by hand", path, n+1)
		}
		u.settings, u.lines = append(u.settings, set), append(u.lines, line)
	}
	return u, nil
}

// parseUndoLine reads a line of an undo file; everything in it is checked, as
// the file lies where others may write.
func parseUndoLine(line string) (protocol.SysctlSetting, bool) {
	var set protocol.SysctlSetting
	rest, ok := strings.CutPrefix(line, "echo '")
	old, rest, ok2 := strings.Cut(rest, "' >/proc/sys/")
	file, rest, ok3 := strings.Cut(rest, " # ")
	name, rest, ok4 := strings.Cut(rest, ", set to '")
	value, _, ok5 := strings.Cut(rest, "' at ")
	set = protocol.SysctlSetting{Name: name, Old: old, New: value}
	return set, ok && ok2 && ok3 && ok4 && ok5 && sysctlFile(name) == "sys/"+file &&
		slices.Contains(settable[:], name) && plain(old) && plain(value)
}
