package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bela/campaign"
	"bela/event"
	"bela/measure"
	"bela/store"
)

// drillRow is what a drill cost.
type drillRow struct {
	loss          drillLoss
	noticed, back time.Duration // 0 where there is no such moment
	status        campaign.Status
	says          string
}

// drillLoss is what a run lacks that an undisturbed one has.
type drillLoss struct {
	Missing  int   // cells without a result
	Invalid  int   // cells whose result is invalid
	Attempts int   // attempts that were given up; the cells ran again
	Messages int64 // dropped, unknown, failed or unsent in the results that stand
	Seconds  int   // of load, or of a node's counters, that are not in the attempts that stand
}

func (l drillLoss) String() string {
	var parts []string
	add := func(n int64, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(int64(l.Attempts), "attempt at a cell, which ran again", "attempts at cells, which ran again")
	add(int64(l.Invalid), "cell (invalid)", "cells (invalid)")
	add(int64(l.Missing), "cell (missing)", "cells (missing)")
	add(l.Messages, "message", "messages")
	add(int64(l.Seconds), "second of series", "seconds of series")
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// lossOf reads what a run has lost.
func lossOf(t *testing.T, run *store.Reader) drillLoss {
	t.Helper()
	l := drillLoss{Missing: len(run.Plan.Cells) - len(run.Cells)}
	for _, c := range run.Cells {
		l.Attempts += c.Attempt - 1 - lateAttempts(c)
		if c.Verdict == measure.Invalid {
			l.Invalid++
			continue
		}
		if !c.Ledger.Closed {
			t.Errorf("cell %d: the books do not close: %+v", c.Number, c.Ledger)
		}
		l.Messages += c.Ledger.Dropped + c.Ledger.Unknown + c.Ledger.Failed + c.Ledger.Unsent
	}
	l.Seconds = missingSeconds(t, run)
	return l
}

// lateAttempts counts those that a busy machine alone spoiled, which is none of
// the drill's doing.
func lateAttempts(c measure.Cell) (late int) {
	for _, a := range c.Attempts {
		other := slices.ContainsFunc(a.Reasons, func(r measure.Reason) bool { return r.Verdict == measure.Invalid && r.Code != "generator_late" })
		if a.Attempt < c.Attempt && !other {
			late++
		}
	}
	return late
}

// missingSeconds counts the seconds that the last attempts at cells with a result
// that stands lack, in load and in the counters of each node.
func missingSeconds(t *testing.T, run *store.Reader) int {
	t.Helper()
	type series struct {
		position int
		what     string
	}
	seen := make(map[series]map[int]bool)
	err := run.Events(func(e event.Event) {
		mark := func(position int, what string, second int) {
			if position == 0 || second < 0 {
				return
			}
			key := series{position, what}
			if seen[key] == nil {
				seen[key] = make(map[int]bool)
			}
			seen[key][second] = true
		}
		switch d := e.Data.(type) {
		case event.CellStarted: // an attempt before is not the one that stands
			for key := range seen {
				if key.position == d.Cell.Position {
					delete(seen, key)
				}
			}
		case event.Load:
			mark(d.Position, "load", d.T)
		case event.NodeSample:
			mark(d.Position, d.Node, d.T)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	missing := 0
	for _, c := range run.Cells {
		if c.Verdict == measure.Invalid {
			continue
		}
		load := seen[series{c.Position, "load"}]
		last := 0
		for second := range load {
			last = max(last, second)
		}
		for key, seconds := range seen {
			if key.position != c.Position {
				continue
			}
			for second := 1; second < last; second++ { // the first and the last may be part ones
				if !seconds[second] {
					missing++
				}
			}
		}
	}
	return missing
}

// firstLine is the first line of an output that matches, from the match on.
func firstLine(out, want string) string {
	if want == "" {
		return ""
	}
	pattern := regexp.MustCompile(want)
	for line := range strings.Lines(out) {
		if at := pattern.FindStringIndex(line); at != nil {
			return strings.TrimSpace(line[at[0]:])
		}
	}
	return ""
}

// writeDrillTable puts the table into the page, between its marks.
func writeDrillTable(t *testing.T, path, commit string, cases []mishap, rows map[string]drillRow) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "Measured on %s, commit %s, with `make drills`: %s.\n\n", time.Now().UTC().Format("2006-01-02"), commit, machineHere(t))
	b.WriteString("| what happens | noticed after | whole again after | lost | status | what the user sees first |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, m := range cases {
		r, ran := rows[m.name]
		if !ran { // only some were asked for
			continue
		}
		status := strconv.Itoa(int(r.status))
		if r.status < 0 {
			status = "killed"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | `%s` |\n", m.name, told(r.noticed), told(r.back), r.loss, status, cell(r.says))
	}
	const begin, end = "<!-- drills -->\n", "<!-- /drills -->\n"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no marks for the table", path)
	}
	if err := os.WriteFile(path, []byte(head+begin+b.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func told(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// cell makes a line fit for a table's cell: what differs from run to run is left
// out, and what is long is cut.
func cell(line string) string {
	line = regexp.MustCompile(`\b198\.1[89]\.\d+\.\d+(:\d+)?`).ReplaceAllString(line, "ADDRESS")
	line = regexp.MustCompile(`\d{8}T\d{6}Z-\w+`).ReplaceAllString(line, "RUN")
	line = regexp.MustCompile(`/tmp/\S+?/(results|known_hosts|id)\b`).ReplaceAllString(line, "…/$1")
	line = strings.NewReplacer("|", "/", "`", "'").Replace(line)
	if r := []rune(line); len(r) > 180 {
		line = string(r[:180]) + " …"
	}
	return line
}

func commitHere() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// machineHere is the machine in words.
func machineHere(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d CPUs, %d GiB, Linux %s, namespaces as hosts, four drills at once", runtime.NumCPU(),
		memory.Totalram*uint64(memory.Unit)>>30, unix.ByteSliceToString(u.Release[:]))
}
