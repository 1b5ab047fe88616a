// Package influx makes InfluxDB's copy of a run: it turns the event stream into
// line protocol, and sends line protocol to a server in batches.
//
// The copy is never the truth. Every point also lies in the run directory's
// metrics.lp.gz, so the writer may give points up, and says so, rather than slow
// a run down or fail it. The package knows nothing of nodes, of the experiment
// file and of how a run is carried out. docs/influxdb.md is the schema.
package influx
