package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"bela/experiment"
)

// printFaults shows what is done to the testbed, in which cells, and where that
// needs root. It prints nothing for a plan without faults.
func printFaults(w io.Writer, p *experiment.Plan) {
	var lines []string
	cells := map[string][]int{} // by line, in order
	all := map[int]bool{}
	for _, c := range p.Cells {
		if all[c.Number] {
			continue // a repetition
		}
		all[c.Number] = true
		for _, f := range c.Faults {
			line := f.String()
			if root := f.RootNodes(); len(root) > 0 {
				line += "; needs root on " + strings.Join(root, ", ")
			}
			if cells[line] == nil {
				lines = append(lines, line)
			}
			cells[line] = append(cells[line], c.Number)
		}
	}
	for _, line := range lines {
		where := ""
		if n := cells[line]; len(n) < len(all) {
			slices.Sort(n)
			where = " (in " + cellNumbers(n) + ")"
		}
		fmt.Fprintf(w, "fault: %s%s\n", line, where)
	}
}

// cellNumbers is "cells 1, 2, 3", of at most ten.
func cellNumbers(numbers []int) string {
	const most = 10
	var names []string
	for _, n := range numbers[:min(len(numbers), most)] {
		names = append(names, strconv.Itoa(n))
	}
	text := "cell " + strings.Join(names, ", ")
	if len(numbers) > 1 {
		text = "cells " + strings.Join(names, ", ")
	}
	if more := len(numbers) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
