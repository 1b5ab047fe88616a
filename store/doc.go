// Package store is the run directory: the truth about a run, from which
// InfluxDB, CSV files and reports can be made again. A Run writes it, a Reader
// reads it back. It knows files and their durability, and what a cell's result
// and an event are; it does not know how either comes about, and no plan beyond
// its outline.
//
// What is in a run directory:
//
//	experiment.hcl variables.json plan.json environment.json   as the run began
//	invocation.json  how the run was called; inventory.hcl where there was one
//	journal.jsonl    transitions, synced one by one
//	events.jsonl     every event
//	metrics.lp.gz    line protocol, as InfluxDB gets it
//	cells/<nnn>/     summary.json, latency.hist, service.hist, lateness.hist,
//	                 ledger.json.gz, clocks.json.gz, series.csv, logs/
//	cells.csv components.csv series.csv   copies of what is in cells/
//	cells/<nnn>/attempt-<k>/      what an earlier attempt left
//	lock             held while a controller writes; says which
package store
