package fanout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is what one way took.
type sample struct{ wall, here, nodes float64 } // seconds

// measure measures the wall time that f gives, and the CPU time that it takes.
func (bed *benchBed) measure(b *testing.B, f func() time.Duration) sample {
	b.Helper()
	before := bed.cpu(b)
	wall := f()
	used := bed.cpu(b).since(before)
	return sample{wall.Seconds(), used.here, used.nodes}
}

// table holds the rounds of each way, in the order in which they came.
type table struct {
	names  []string
	rounds map[string][]sample
}

func (t *table) add(name string, s sample) {
	if t.rounds == nil {
		t.rounds = map[string][]sample{}
	}
	if t.rounds[name] == nil {
		t.names = append(t.names, name)
	}
	t.rounds[name] = append(t.rounds[name], s)
}

func (t *table) median(name string, of func(sample) float64) float64 {
	var values []float64
	for _, s := range t.rounds[name] {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func wall(s sample) float64   { return s.wall }
func allCPU(s sample) float64 { return s.here + s.nodes }

// report prints the table, and how many times longer Ansible took, and bela than an
// empty command.
func (t *table) report(b *testing.B) {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%-15s %8s %8s %10s %10s   (medians of %d)\n", "", "wall s", "CPU s", "controller", "nodes", len(t.rounds[t.names[0]]))
	for _, name := range t.names {
		fmt.Fprintf(&text, "%-15s %8.2f %8.2f %10.2f %10.2f\n", name, t.median(name, wall), t.median(name, allCPU),
			t.median(name, func(s sample) float64 { return s.here }), t.median(name, func(s sample) float64 { return s.nodes }))
	}
	b.ReportMetric(0, "ns/op") // it would be the time of a whole round
	for _, when := range []string{"first", "again"} {
		bela, ansible := "bela-"+when, "ansible-"+when
		b.ReportMetric(t.median(bela, wall), "s/"+when)
		b.ReportMetric(t.median(bela, allCPU), "cpu-s/"+when)
		if t.rounds[ansible] != nil {
			fmt.Fprintf(&text, "ansible / bela, %s: %.1f times the wall time, %.1f times the CPU time\n", when,
				t.median(ansible, wall)/t.median(bela, wall), t.median(ansible, allCPU)/t.median(bela, allCPU))
		}
	}
	fmt.Fprintf(&text, "bela, again: %.1f times the wall time of an empty command\n", t.median("bela-again", wall)/t.median("empty-command", wall))
	fmt.Fprintf(&text, "one node of them dead, the others: %.2f times the wall time of first\n", t.median("bela-one-dead", wall)/t.median("bela-first", wall))
	fmt.Print(text.String()) // a benchmark's log is cut short
}
