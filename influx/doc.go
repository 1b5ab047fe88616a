// Package influx makes InfluxDB's copy of a run: it turns the event stream into
// line protocol, and sends line protocol to a server in batches.
//
// The copy is never the truth. Every point lies in the run directory's
// metrics.lp.gz, and what is sent is read from there: a server that is slow or
// away costs the run nothing, and gets the points later. The package knows nothing of nodes, of the experiment
// file and of how a run is carried out. docs/influxdb.md is the schema.
package influx
