package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bela/experiment"
	"bela/nodes"
)

// What faults need of a node: root, programs and the kernel's help for those of the
// network, as much CPU, memory and disk as they are to use up for the others.

// faultNeed is one fault that a cell does to a node.
type faultNeed struct {
	experiment.Fault
	network bool // it cuts or slows this node's network
}

// faultsOf adds the faults of a cell to the needs of the nodes that they hit.
func (c *cellNeeds) faultsOf(all []experiment.Fault) {
	for _, f := range all {
		for _, node := range f.RootNodes() {
			n := c.of(node)
			n.faults = append(n.faults, faultNeed{f, true})
		}
		for _, node := range f.Nodes {
			n := c.of(node)
			n.faults = append(n.faults, faultNeed{f, false})
		}
	}
}

// withFaults takes over those that a cell has and the need has not.
func (n *need) withFaults(more []faultNeed) {
	for _, f := range more {
		if !slices.ContainsFunc(n.faults, func(o faultNeed) bool { return o.Does() == f.Does() && o.Name == f.Name }) {
			n.faults = append(n.faults, f)
		}
	}
}

// toolbox is what a node has of what network faults need.
type toolbox struct {
	missing []string // programs, of iptables, ip and tc
	// noNetem is why the kernel does not slow a network; empty where it does, or
	// where that could not be tried.
	noNetem string
	// noHTB is why it does not do with a rate alone what netem does.
	noHTB string
}

// toolScript prints what is missing, and tries netem in an empty network of its own.
const toolScript = `PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for p in iptables ip tc; do command -v $p >/dev/null || echo "missing $p"; done
if [ "$(id -u)" = 0 ] && command -v tc >/dev/null && unshare -n true 2>/dev/null; then
	said=$(unshare -n tc qdisc add dev lo root netem delay 1ms 2>&1) || echo "netem $said" | head -n 1
	said=$(unshare -n tc qdisc add dev lo root htb 2>&1) || echo "htb $said" | head -n 1
fi
exit 0`

// tools looks for them where some fault needs them.
func (v *visit) tools(ctx context.Context) error {
	if !slices.ContainsFunc(v.need.faults, func(f faultNeed) bool { return f.network }) {
		return nil
	}
	res, err := v.node.Run(ctx, nodes.Script("look for what faults need", toolScript))
	if err != nil {
		return err
	}
	v.toolbox = readTools(string(res.Stdout))
	return nil
}

func readTools(text string) *toolbox {
	t := new(toolbox)
	for line := range strings.Lines(text) {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "missing":
			t.missing = append(t.missing, rest)
		case "netem":
			t.noNetem = strings.TrimSpace(rest)
			if t.noNetem == "" {
				t.noNetem = "tc refuses it"
			}
		case "htb":
			t.noHTB = "it has no htb either"
		}
	}
	return t
}

// faults judges whether each can be done.
func faults(d *desk, e *exam, n *need) {
	for _, f := range n.faults {
		switch f.Kind {
		case experiment.FaultCut, experiment.FaultSlow:
			networkFault(d, e, f)
		case experiment.FaultPressure:
			pressureFault(d, e, f)
		case experiment.FaultDisk:
			if e.inspection.Disk.InMemory {
				d.add(Error, "faults", fmt.Sprintf("%s: %s is in memory, not on a disk", named(f), e.inspection.Disk.Path),
					"the cell in which it comes would be invalid", "set directory in the ssh block, or TMPDIR for the lab")
			} else if free := e.inspection.Disk.Free; free <= f.Leave {
				d.add(Warning, "faults", fmt.Sprintf("%s: %s has %d MiB free already", named(f), e.inspection.Disk.Path, free>>20),
					"the fault would fill nothing", "free some space, or leave less")
			}
		}
	}
}

func named(f faultNeed) string { return fmt.Sprintf("the fault %q (%s)", f.Name, f.Does()) }

// networkFault judges a cut or a slow network: the cell would fail when it begins.
func networkFault(d *desk, e *exam, f faultNeed) {
	const why = "the cell in which it comes would be invalid"
	if e.inspection.UID != 0 {
		d.add(Error, "faults", fmt.Sprintf("%s needs root, and bela is %s there", named(f), who(e)), why, "set user = \"root\" in the node block, or use another fault")
		return
	}
	if e.toolbox == nil {
		return
	}
	programs, debian := []string{"iptables"}, "iptables"
	if f.Kind == experiment.FaultSlow {
		programs, debian = []string{"ip", "tc"}, "iproute2"
	}
	for _, p := range programs {
		if slices.Contains(e.toolbox.missing, p) {
			d.add(Error, "faults", fmt.Sprintf("%s needs the program %s, which is not there", named(f), p), why, "sudo apt install "+debian)
		}
	}
	rateAlone := f.Delay == 0 && f.Jitter == 0 && f.Loss == 0
	if f.Kind == experiment.FaultSlow && e.toolbox.noNetem != "" && (!rateAlone || e.toolbox.noHTB != "") {
		d.add(Error, "faults", fmt.Sprintf("%s needs netem, and the kernel has none: %s", named(f), e.toolbox.noNetem), why,
			"sudo modprobe sch_netem; without that module use cut, or another kernel")
	}
}

// pressureFault judges whether there is as much as is to be used up.
func pressureFault(d *desk, e *exam, f faultNeed) {
	const why = "the pressure would be less than the results say"
	if cores := e.inspection.Load.CPUs; cores > 0 && f.CPU > 1000*cores {
		d.add(Warning, "faults", fmt.Sprintf("%s: the node has %d CPUs", named(f), cores), why, fmt.Sprintf("at most cpu = \"%dm\"", 1000*cores))
	}
	if free := e.inspection.Memory.Available; f.Memory > free {
		d.add(Warning, "faults", fmt.Sprintf("%s: %d MiB are available", named(f), free>>20), "the kernel would kill processes, or swap", "use less memory")
	}
}
