package campaign

import (
	"context"

	"bela/event"
	"bela/influx"
	"bela/store"
)

// record is the journal of a run: it writes each event into the run directory,
// and its points into metrics.lp.gz, from where they go to InfluxDB where there
// is one.
type record struct {
	run      *store.Run
	encoder  *influx.Encoder
	delivery *delivery // nil without InfluxDB
	buf      []byte
}

func newRecord(run *store.Run, experiment string) *record {
	return &record{run: run, encoder: influx.NewEncoder(experiment, run.Name())}
}

// Event implements Journal. It is called by one goroutine at a time.
func (r *record) Event(e event.Event) error {
	if err := r.run.Event(e); err != nil {
		return err
	}
	r.buf = r.encoder.Append(r.buf[:0], e)
	if len(r.buf) == 0 {
		return nil
	}
	return r.run.Metrics(r.buf)
}

// startSending begins to send InfluxDB, where there is one, what the run has
// measured before and what it will.
func (r *runner) startSending(ctx context.Context, rec *record) {
	if rec.delivery == nil {
		return
	}
	if err := rec.delivery.start(ctx); err != nil {
		r.sayInflux(err)
	}
}

// close sends what InfluxDB has not got yet, for a limited time, and says how
// that went.
func (r *record) close(ctx context.Context) influx.Stats {
	if r.delivery == nil {
		return influx.Stats{}
	}
	ctx, cancel := context.WithTimeout(ctx, influxFlush)
	defer cancel()
	err := r.run.Flush()
	stats := r.delivery.close(ctx)
	stats.Err = first(stats.Err, err)
	return stats
}
