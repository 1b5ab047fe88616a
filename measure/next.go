package measure

// NextStep is what helps against a reason of this code, as an order to whoever
// runs the experiment, without a full stop. It is empty for a code that it does not
// know.
func NextStep(code string) string { return nextSteps[code] }

// nextSteps has every code of the rules, and those of a cell that could not be
// measured at all.
var nextSteps = map[string]string{
	"cell_failed":  "mend what the reason names and measure the cell again with bela resume",
	"fault_failed": "mend what the reason names (bela doctor says which faults a node can have) and measure the cell again with bela resume",

	"node_lost":         "see in events.jsonl when and how the node was lost and measure the cell again with bela resume; spares and on_node_lost say what the next loss does",
	"agent_lost":        "see the agent's log in the cell's directory and the node's free memory, and measure the cell again with bela resume",
	"events_lost":       "free some disk space on the node, or give it a better link; messages are counted all the same",
	"books_missing":     "see in events.jsonl what happened to the agents named and measure the cell again with bela resume",
	"phantom":           "see who else publishes to the experiment's topics on that broker",
	"ledger_open":       "measure the cell again with bela resume; if it happens again, it is a defect of bela: report it with the run directory",
	"nothing_delivered": "see the components' logs in the cell's directory, and whether devices and customers use the same topics",
	"component_exited":  "see the end of its log in the cell's directory, and oom_kills in components.csv for a memory limit that is too low",

	"load_not_achieved":  "see in components.csv which component is at its limit: then this is what the platform can take; else spread the devices over more nodes",
	"generator_late":     "spread the devices over more nodes that run nothing else, or lower count or rate; in the loopback lab wait until the machine has nothing else to do, or use real nodes (-inventory)",
	"generator_capacity": "spread the devices over more nodes, or lower count or rate",
	"not_steady":         "see latency_p50_ms in series.csv: if it grows to the end a queue does, so offer less; else lengthen warmup",
	"warmup_too_short":   "lengthen warmup to what the reason names",

	"clock_error":      "bring nodes with slow or uneven links nearer to the others, or read the latency as no better than its error",
	"clock_step":       "let one service keep the node's clock, without steps (bela doctor shows which does)",
	"negative_latency": "read the latency as no better than clock_error_ms, and see with bela doctor what keeps the nodes' clocks",

	"cpu_steal":           "measure on hosts with CPUs of your own, or at another hour; repetitions show how much it matters",
	"cpu_saturated":       "give the node named fewer instances or devices, or more CPUs; in the loopback lab use real nodes (-inventory)",
	"limits_not_enforced": "give the login the right to set limits: docs/operations.md, How limits are enforced",

	"packets_dropped":  "raise net.core.netdev_max_backlog on the nodes named, or spread the load over more nodes",
	"listen_overflow":  "raise the component's backlog and net.core.somaxconn on the nodes named, or lengthen ramp",
	"connections_lost": "see the broker's log in the cell's directory for why it closed them, and with bela doctor the limits of open files",

	"agent_cpu": "spread devices and customers over more nodes, or give the nodes named more CPUs",
	"agent_gc":  "spread devices and customers over more nodes, or give the nodes named more memory",
}
