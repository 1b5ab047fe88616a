package experiment_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"bela/experiment"
)

const reference = "../docs/experiment-file.md"

// completed adds the blocks that an example on the page leaves out.
func completed(example string) string {
	if strings.HasPrefix(example, "matrix {") || strings.HasPrefix(example, "phases {") {
		example = "experiment \"example\" {\nmatrix {\ndevices = [1, 1000]\n}\n" + example + "}\n"
	}
	var b strings.Builder
	b.WriteString(example)
	lacks := func(opening string) bool { return !regexp.MustCompile(`(?m)^` + opening).MatchString(example) }
	if lacks("experiment ") {
		b.WriteString(basicExperiment)
	}
	for _, role := range []string{"master", "worker", "iot", "customer"} {
		if lacks(`node "` + role + `"`) {
			fmt.Fprintf(&b, "node %q { count = 1 }\n", role)
		}
	}
	if lacks("component ") {
		b.WriteString(basicPlatform)
	}
	if lacks(`devices \{`) {
		if regexp.MustCompile(`(?m)^\s*devices\s*=`).MatchString(b.String()) {
			b.WriteString(basicDevices)
		} else {
			b.WriteString(tenDevices)
		}
	}
	if lacks(`customers \{`) {
		b.WriteString(basicCustomers)
	}
	return b.String()
}

// A user copies from the reference; an example there that is refused would send
// them to the source instead.
func TestExamplesInTheReference(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(page, -1)
	if len(examples) < 10 {
		t.Fatalf("found only %d examples", len(examples))
	}
	for i, example := range examples {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			mustLoad(t, completed(string(example[1])), experiment.Inputs{})
		})
	}
	// The page says 9 cells, three times.
	for _, example := range examples {
		if strings.Contains(string(example[1]), `experiment "scaling"`) {
			if n := len(mustLoad(t, completed(string(example[1])), experiment.Inputs{}).Plan().Cells); n != 27 {
				t.Errorf("the matrix example has %d cells, and the page says 9 × 3", n)
			}
		}
	}
}

// A column that the reference does not name is one that nobody can expect
// anything of.
func TestMetricsInTheReference(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(experiment.Metrics(), experiment.ComponentMetrics()...) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("%s does not name %s", reference, name)
		}
	}
}

// The arguments that a block takes, from what it says when it is given a wrong
// one, must all be on the page.
func TestArgumentsInTheReference(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	process := "component \"p\" {\ncommand = [\"/bin/p\"]\non = node.worker\n"
	for name, src := range map[string]string{
		"experiment": strings.Replace(basic, "experiment \"test\" {", "experiment \"test\" {\nzzz = 1", 1),
		"repeat":     strings.Replace(basic, "experiment \"test\" {", "experiment \"test\" {\nrepeat {\nuntil = \"dropped\"\nat_most = 6\nzzz = 1\n}", 1),
		"phases":     strings.Replace(basic, "experiment \"test\" {", "experiment \"test\" {\nphases {\nzzz = 1\n}", 1),
		"node":       strings.Replace(basic, "{ count = 2 }", "{\ncount = 2\nzzz = 1\n}", 1),
		"gateway":    strings.Replace(basic, "instances = 2", "instances = 2\nzzz = 1", 1),
		"process":    basic + process + "zzz = 1\n}\n",
		"ready":      basic + process + "ready {\nzzz = 1\n}\n}\n",
		"metrics":    basic + process + "metrics {\nsource = \"sockets\"\nzzz = 1\n}\n}\n",
		"endpoint":   basic + process + "metrics {\nsource = \"prometheus\"\nurl = \"http://a/\"\nmap = { bytes_in = \"b\" }\nzzz = 1\n}\n}\n",
		"limits":     basic + process + "limits {\nzzz = 1\n}\n}\n",
		"devices":    strings.Replace(basic, "count = cell.devices", "count = cell.devices\nzzz = 1", 1),
		"payload":    strings.Replace(basic, "count = cell.devices", "count = cell.devices\npayload {\nzzz = 1\n}", 1),
		"fault":      basic + "fault \"f\" {\nat = \"1s\"\nkill { component = component.broker }\nzzz = 1\n}\n",
		"kill":       basic + "fault \"f\" {\nat = \"1s\"\nkill {\ncomponent = component.broker\nzzz = 1\n}\n}\n",
		"slow":       basic + "fault \"f\" {\nat = \"1s\"\nfor = \"1s\"\nslow {\nbetween = [node.iot, node.worker]\ndelay = \"1ms\"\nzzz = 1\n}\n}\n",
		"pressure":   basic + "fault \"f\" {\nat = \"1s\"\nfor = \"1s\"\npressure {\non = node.worker\ncpu = 1\nzzz = 1\n}\n}\n",
		"disk":       basic + "fault \"f\" {\nat = \"1s\"\nfor = \"1s\"\ndisk {\non = node.worker\nleave = \"1GiB\"\nzzz = 1\n}\n}\n",
		"customers":  strings.Replace(basic, "count = 4", "count = 4\nzzz = 1", 1),
		"ssh":        basic + "ssh {\nzzz = 1\n}\n",
		"influxdb":   basic + "influxdb {\nurl = \"\"\nzzz = 1\n}\n",
		"notify":     basic + "notify {\nurl = \"\"\nzzz = 1\n}\n",
		"variable":   basic + "variable \"v\" {\ndefault = \"\"\nzzz = 1\n}\n",
		"expect":     basic + "expect \"e\" {\nthat = dropped == 0\nzzz = 1\n}\n",
	} {
		_, err := loadText(src, experiment.Inputs{})
		if err == nil {
			t.Errorf("%s takes any argument", name)
			continue
		}
		_, legal, ok := strings.Cut(strings.Join(strings.Fields(detailed(err)), " "), "legal here: ")
		if !ok {
			t.Errorf("%s does not say what is legal: %s", name, detailed(err))
		}
		for argument := range strings.SplitSeq(legal, ", ") {
			if !strings.Contains(string(page), "`"+argument+"`") {
				t.Errorf("%s does not describe %s of %s", reference, argument, name)
			}
		}
	}
}
