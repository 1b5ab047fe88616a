package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/agents/protocol"
	"bela/nodes"
	"bela/provision"
)

// fix mends what is safe to mend, one node after another, so that what two
// nodes of one machine change is changed in an order. What was mended is no
// finding any more.
func fix(ctx context.Context, c Config, r *Report, visits map[string]*visit) error {
	if c.UndoFile == "" {
		return errNoUndoFile
	}
	var errs []error
	mended := make(map[string]bool)
	for _, p := range r.Nodes {
		v := visits[p.Node]
		if v == nil || v.err != nil || v.holder != nil || v.link == nil {
			continue
		}
		ctx, cancel := context.WithTimeoutCause(ctx, mendLimit, fmt.Errorf("mending took longer than %v", mendLimit))
		errs = append(errs, v.removeLeftovers(ctx, r, mended), v.setSysctls(ctx, c, r, mended))
		cancel()
	}
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.mend != nil && mended[f.key()] })
	return errors.Join(errs...)
}

// key tells one remedy on one node from others.
func (f Finding) key() string {
	return fmt.Sprintf("%s\x00%v\x00%s", f.Node, f.mend.leftovers, f.mend.sysctl)
}

// remedies are the findings about the node that can be mended.
func (v *visit) remedies(r *Report) []Finding {
	var list []Finding
	for _, f := range r.Findings {
		if f.Node == v.target.Name && f.mend != nil {
			list = append(list, f)
		}
	}
	return list
}

func (r *Report) done(format string, a ...any) { r.Done = append(r.Done, fmt.Sprintf(format, a...)) }

// removeLeftovers removes what dead runs left. It looks once more for a run
// that has taken the node since.
func (v *visit) removeLeftovers(ctx context.Context, r *Report, mended map[string]bool) error {
	for _, f := range v.remedies(r) {
		if !f.mend.leftovers {
			continue
		}
		holder, err := provision.HolderOf(ctx, v.node)
		if err != nil || holder != nil {
			r.done("%s: left-overs stay: a run has taken the node meanwhile, or it cannot be asked", v.target.Name)
			return nil
		}
		if err := provision.Remove(ctx, v.node, provision.RemoveOptions{}); err != nil {
			what, _ := cause(err)
			r.done("%s: left-overs stay: %s", v.target.Name, what)
			return nil
		}
		mended[f.key()] = true
		r.done("%s: removed what an earlier run left: %s", v.target.Name, some(v.leftovers, 3))
	}
	return nil
}

// setSysctls sets kernel parameters where the login is root, having written
// down what they were: first on the controller, then on the node, then it sets.
func (v *visit) setSysctls(ctx context.Context, c Config, r *Report, mended map[string]bool) error {
	spec := protocol.SetSysctlSpec{Undo: v.undoFile(), By: c.By}
	keys := make(map[string][]string)
	for _, f := range v.remedies(r) {
		if f.mend.sysctl == "" {
			continue
		}
		keys[f.mend.sysctl] = append(keys[f.mend.sysctl], f.key())
		i := slices.IndexFunc(spec.Settings, func(s protocol.SysctlSetting) bool { return s.Name == f.mend.sysctl })
		if i < 0 {
			spec.Settings = append(spec.Settings, protocol.SysctlSetting{Name: f.mend.sysctl, New: f.mend.value})
		} else if larger(f.mend.value, spec.Settings[i].New) {
			spec.Settings[i].New = f.mend.value
		}
	}
	if len(spec.Settings) == 0 {
		return nil
	}
	switch {
	case v.onLab:
		r.done("%s: kernel parameters stay: the lab's nodes are this machine; set them by hand", v.target.Name)
		return nil
	case v.inspection == nil || v.inspection.UID != 0:
		r.done("%s: kernel parameters stay: only root may set them, and the login is %s", v.target.Name, who(&v.exam))
		return nil
	}
	// The controller's file must be there before anything is changed.
	if err := v.noteUndo(c, spec.Settings); err != nil {
		return err
	}
	r.UndoFile = c.UndoFile
	var out protocol.SysctlOutcome
	if err := v.ask(ctx, protocol.TypeSetSysctl, spec, &out); err != nil {
		r.done("%s: kernel parameters may have been set in part: %v; bela doctor -undo puts them back", v.target.Name, err)
		return nil
	}
	for _, s := range spec.Settings {
		if !slices.ContainsFunc(out.Kept, func(k string) bool { return strings.HasPrefix(k, s.Name) }) {
			for _, k := range keys[s.Name] {
				mended[k] = true
			}
		}
	}
	for _, s := range out.Settings {
		r.done("%s: %s set from '%s' to '%s'; undo: %s there", v.target.Name, s.Name, s.Old, s.New, v.undoFile())
	}
	for _, k := range out.Kept {
		r.done("%s: %s", v.target.Name, k)
	}
	return nil
}

// larger compares two values of one parameter by their last number's size, or
// by the first's for ranges that begin lower.
func larger(a, b string) bool {
	x, _ := strconv.Atoi(strings.Fields(a)[0])
	y, _ := strconv.Atoi(strings.Fields(b)[0])
	if strings.Contains(a, " ") {
		return x < y
	}
	return x > y
}

// noteUndo writes at the top of the controller's undo file how to put the
// node's parameters back. The values stand in the node's own script, which is
// named, since only the node knows them at the moment of the change.
func (v *visit) noteUndo(c Config, settings []protocol.SysctlSetting) error {
	old, err := os.ReadFile(c.UndoFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the undo file: %w", err)
	}
	earlier := strings.TrimPrefix(string(old), undoHeader)
	if len(old) > 0 && earlier == string(old) {
		return fmt.Errorf("the undo file %s is there and is not bela's: move it away, or give another with -undo-file", c.UndoFile)
	}
	var b strings.Builder
	b.WriteString(undoHeader)
	fmt.Fprintf(&b, "# %s, node %s, by %s:", time.Now().UTC().Format(time.RFC3339), v.target.Name, c.By)
	for _, s := range settings {
		fmt.Fprintf(&b, " %s", s.Name)
	}
	b.WriteString("\n" + v.undoCommand() + "\n")
	// A second change of the same node needs no second line: the node's script
	// holds both.
	for line := range strings.Lines(earlier) {
		if strings.TrimSpace(line) != v.undoCommand() {
			b.WriteString(line)
		}
	}
	if err := os.MkdirAll(filepath.Dir(c.UndoFile), 0o755); err != nil {
		return fmt.Errorf("the undo file: %w", err)
	}
	if err := os.WriteFile(c.UndoFile+".new", []byte(b.String()), 0o700); err != nil {
		return fmt.Errorf("the undo file: %w", err)
	}
	if err := os.Rename(c.UndoFile+".new", c.UndoFile); err != nil {
		return fmt.Errorf("the undo file: %w", err)
	}
	return nil
}

const undoHeader = "#!/bin/sh\n# What bela doctor -fix changed, and how to put it back; bela doctor -undo does the same.\n"

// undoCommand runs the node's own undo script over SSH, and removes it.
func (v *visit) undoCommand() string {
	t := v.target
	var b strings.Builder
	b.WriteString("ssh")
	if t.Port != 0 {
		fmt.Fprintf(&b, " -p %d", t.Port)
	}
	if len(t.SSH.Jump) > 0 {
		b.WriteString(" -J " + nodes.Quote(strings.Join(t.SSH.Jump, ",")))
	}
	for _, key := range t.SSH.KeyFiles {
		b.WriteString(" -i " + nodes.Quote(key))
	}
	if t.SSH.KnownHosts != "" {
		b.WriteString(" -o " + nodes.Quote("UserKnownHostsFile="+t.SSH.KnownHosts))
	}
	host := t.Host
	if t.User != "" {
		host = t.User + "@" + host
	}
	file := nodes.Quote(v.undoFile())
	return b.String() + " " + nodes.Quote(host) + " " + nodes.Quote("sh "+file+" && rm "+file)
}

// undo puts back on every node what an earlier fix changed, in the reverse
// order of the plan's nodes.
func undo(ctx context.Context, c Config, r *Report, visits []*visit) error {
	whole := true
	fail := func(v *visit, err error) {
		whole = false
		what, next := cause(err)
		r.Findings = append(r.Findings, Finding{Node: v.target.Name, Check: "undo", Severity: Error, What: what, Why: "what was changed there stays changed", Fix: next})
	}
	if err := each(ctx, visits, func(ctx context.Context, v *visit) {
		ctx, cancel := context.WithTimeoutCause(ctx, lookLimit, fmt.Errorf("reaching the node took longer than %v", lookLimit))
		defer cancel()
		v.err = v.reachForUndo(ctx, c)
	}); err != nil {
		return err
	}
	for _, v := range visits {
		r.Nodes = append(r.Nodes, v.patient())
	}
	for _, v := range slices.Backward(visits) {
		if v.err != nil {
			fail(v, v.err)
			continue
		}
		if v.link == nil {
			continue // nothing was changed there
		}
		ctx, cancel := context.WithTimeoutCause(ctx, mendLimit, fmt.Errorf("putting it back took longer than %v", mendLimit))
		var out protocol.SysctlOutcome
		if err := v.ask(ctx, protocol.TypeUndoSysctl, protocol.UndoSysctlSpec{Undo: v.undoFile()}, &out); err != nil {
			fail(v, err)
		}
		cancel()
		for _, s := range out.Settings {
			r.done("%s: %s put back from '%s' to '%s'", v.target.Name, s.Name, s.Old, s.New)
		}
		for _, k := range out.Kept {
			r.done("%s: %s", v.target.Name, k)
		}
	}
	if !whole || c.UndoFile == "" {
		return nil
	}
	if err := os.Remove(c.UndoFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the undo file: %w", err)
	}
	return nil
}

// reachForUndo brings an agent to a node that has something to undo.
func (v *visit) reachForUndo(ctx context.Context, c Config) error {
	if err := v.reach(ctx); err != nil {
		return err
	}
	if h := v.holder; h != nil {
		return &nodes.Error{Node: v.target.Name, Kind: nodes.InUse, Err: fmt.Errorf("%s holds it since %s, and would be disturbed", h.For, ago(h.Age)), Next: "wait for that run to end"}
	}
	if _, err := v.node.SHA256(ctx, v.undoFile()); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return v.bring(ctx, c.Programs)
}
