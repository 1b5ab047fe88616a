package doctor

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"bela/nodes"
)

// access judges whether bela can work on the node at all, and says whether
// there is more to judge.
func access(d *desk, e *exam) bool {
	if e.err != nil {
		for _, err := range parts(e.err) {
			what, fix := cause(err)
			d.add(Error, "login", what, "a run needs every node", fix)
		}
		return false
	}
	if h := e.holder; h != nil {
		d.add(Error, "in use", fmt.Sprintf("an agent holds the node since %s: %s (pid %d)", ago(h.Age), h.For, h.PID),
			"a run takes a node for itself; nothing was touched there", "wait for that run to end; if it is dead: bela clean FILE")
		return false
	}
	for _, err := range parts(e.unusable) {
		what, fix := cause(err)
		d.add(Error, checkOf(err), what, "no agent can work there", fix)
	}
	if kept(e.leftovers) {
		d.add(Note, "left-overs", "an agent is kept there: "+some(e.leftovers, 3), "the next run need not push it", "")
	} else if len(e.leftovers) > 0 {
		f := d.add(Warning, "left-overs", "left by an earlier run: "+some(e.leftovers, 3), leftoverWhy(e.leftovers), "bela clean FILE, or bela doctor -fix FILE")
		f.mend = &mend{leftovers: true}
	}
	return true
}

// kept says whether what is there is no more than an agent that a run left on
// purpose.
func kept(left []string) bool {
	for _, l := range left {
		if !strings.HasPrefix(l, "file ") || path.Base(l) != "bin" && path.Base(l) != "MANIFEST" {
			return false
		}
	}
	return len(left) > 0
}

func leftoverWhy(left []string) string {
	for _, l := range left {
		if strings.HasPrefix(l, "process ") {
			return "its processes take CPU and ports from the next run"
		}
	}
	return "it takes room on the disk; a run would take it over"
}

// some lists at most n things and counts the others.
func some(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}

// parts are the errors that were joined into one.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // what is wrapped further down stays together
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, parts(e)...)
	}
	return all
}

// cause splits a node's error into what is wrong and what to do.
func cause(err error) (what, fix string) {
	if e, ok := errors.AsType[*nodes.Error](err); ok {
		return fmt.Sprintf("%s: %v", e.Kind, e.Err), e.Next
	}
	return err.Error(), ""
}

// checkOf names the check that an error of provisioning belongs to.
func checkOf(err error) string {
	switch nodes.KindOf(err) {
	case nodes.NoSpace:
		return "disk"
	case nodes.NotLinux:
		return "system"
	}
	return "agent"
}
