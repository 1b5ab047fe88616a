package report

import (
	"fmt"
	"strings"

	"bela/store"
)

// lostNodes are the changes of a testbed while its run went on, in words.
func lostNodes(e store.Environment) string {
	var all []string
	for _, c := range e.Changes {
		text := fmt.Sprintf("%s %s from position %d on", clean(c.Node), clean(c.What), c.Position)
		if c.By != "" {
			text += " by " + clean(c.By)
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// notes are what happened in cells and does not speak against them.
func notes(run *store.Reader) section {
	s := section{Title: "Notes"}
	for _, c := range run.Cells {
		for _, n := range c.Notes {
			s.Items = append(s.Items, item{Text: fmt.Sprintf("cell %s: %s", label(run, c.Number, c.Repetition), clean(n))})
		}
	}
	return s
}
