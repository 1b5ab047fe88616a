package experiment_test

import (
	"fmt"
	"strings"
	"testing"

	"bela/experiment"
)

// A load that a node cannot carry must be found before the run, not as failed
// connections in the middle of it.
func TestCheck(t *testing.T) {
	roomy := experiment.Facts{OpenFiles: 1 << 20, EphemeralPorts: 28232, MemoryBytes: 64 << 30, CPUs: 8}
	with := func(change func(*experiment.Facts)) experiment.Facts {
		f := roomy
		change(&f)
		return f
	}
	everywhere := func(f experiment.Facts) func(string) (experiment.Facts, bool) {
		return func(string) (experiment.Facts, bool) { return f, true }
	}
	unknown := func(string) (experiment.Facts, bool) { return experiment.Facts{}, false }
	tests := []struct {
		name    string
		devices int // on two nodes
		brokers int
		facts   func(string) (experiment.Facts, bool)
		want    string
	}{
		{"fits", 50_000, 1, everywhere(roomy), ""},
		{"ports: 30,000 on each node", 60_000, 1, everywhere(roomy),
			"iot-1: cell 1 needs 30,000 local ports, and there are 28,232: | iot-2: cell 1 needs 30,000 local ports, and there are 28,232:"},
		{"two brokers are two destinations", 60_000, 2, everywhere(roomy), ""},
		{"ports of a machine not known yet", 60_000, 1, unknown,
			"iot-1: cell 1 needs 30,000 local ports, and there are 28,232 (assumed: its facts are not known yet): | iot-2: cell 1 needs 30,000 local ports, and there are 28,232 (assumed: its facts are not known yet):"},
		{"files and memory of a machine not known yet are not guessed", 50_000, 1, unknown, ""},
		// 4 customers on 2 nodes take 2 + 64 files; the broker holds 1004 + 64.
		{"files", 1000, 1, everywhere(with(func(f *experiment.Facts) { f.OpenFiles = 500 })),
			"iot-1: cell 1 needs 564 open files, and there are 500: | iot-2: cell 1 needs 564 open files, and there are 500: | worker-1: cell 1 needs 1,068 open files, and there are 500:"},
		// 500 × 48 KiB are 23.4 MiB.
		{"memory", 1000, 1, everywhere(with(func(f *experiment.Facts) { f.MemoryBytes = 20 << 20 })),
			"iot-1: cell 1 needs 24 MiB of memory, and there are 20: | iot-2: cell 1 needs 24 MiB of memory, and there are 20:"},
		// 1004 × 48 KiB are 47.1 MiB. Open files are each agent's own: 564 at most, and 1068 of the broker.
		{"the lab's nodes share one machine", 1000, 1, everywhere(with(func(f *experiment.Facts) {
			f.Shared, f.MemoryBytes, f.OpenFiles = true, 40<<20, 1068
		})), "the lab's machine: cell 1 needs 48 MiB of memory, and there are 40:"},
		{"the lab's nodes have ports of their own", 50_000, 1, everywhere(with(func(f *experiment.Facts) { f.Shared = true })), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := "experiment \"c\" {\nrepetitions = 2\n}\n" + basicNodes +
				strings.Replace(basicBroker, "}", fmt.Sprintf("instances = %d\n}", test.brokers), 1) +
				strings.Replace(tenDevices, "10", fmt.Sprint(test.devices), 1) + basicCustomers
			var got []string
			for _, f := range mustLoad(t, src, experiment.Inputs{}).Plan().Check(test.facts) {
				text := f.String()
				if f.Change == "" || !strings.HasSuffix(text, f.Change) {
					t.Errorf("does not say what to change: %s", text)
				}
				got = append(got, strings.TrimSuffix(text, " "+f.Change))
			}
			if joined := strings.Join(got, " | "); joined != test.want {
				t.Errorf("got  %s\nwant %s", joined, test.want)
			}
		})
	}
}

// The largest cell decides, and is named.
func TestCheckNamesTheCell(t *testing.T) {
	src := strings.Replace(basic, "1000]", "200000, 1000]", 1)
	found := mustLoad(t, src, experiment.Inputs{}).Plan().Check(func(string) (experiment.Facts, bool) { return experiment.Facts{}, false })
	if len(found) != 2 || found[0].Cell != 4 || found[0].Need != 100_000 {
		t.Errorf("%+v", found)
	}
}
