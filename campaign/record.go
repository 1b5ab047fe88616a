package campaign

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bela/event"
	"bela/influx"
	"bela/store"
)

// record is the journal of a run: it writes each event into the run directory,
// and its points into metrics.lp.gz and, where there is one, to InfluxDB. Only
// the run directory can fail; InfluxDB can neither slow nor fail the run.
type record struct {
	run     *store.Run
	encoder *influx.Encoder
	writer  *influx.Writer // nil without InfluxDB
	buf     []byte
	// before is how much of metrics.lp.gz was there when the run went on, and
	// sent tells, once, how sending that to InfluxDB ended; nil in a new run.
	before int64
	sent   chan error
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
	if r.writer != nil {
		r.writer.Enqueue(r.buf)
	}
	return r.run.Metrics(r.buf)
}

// How long InfluxDB is asked whether it is there, and how long the end of a run
// waits for it to take the rest.
const (
	influxCheck = 10 * time.Second
	influxFlush = 10 * time.Second
)

// openInflux opens the way to InfluxDB where there is one, before the first
// event, and checks it in the background: the run does not wait to say at once
// that it is not there. The channel is closed when that has been said.
func (r *runner) openInflux(ctx context.Context, rec *record) <-chan struct{} {
	checked := make(chan struct{})
	if r.InfluxDB == nil {
		close(checked)
		return checked
	}
	trouble := func(err error) {
		if err == nil {
			r.emit(event.Message{Level: "info", Text: "InfluxDB takes points again"})
			return
		}
		r.emit(event.Message{Level: "warn", Text: "InfluxDB: " + err.Error(), Next: "the run goes on and metrics.lp.gz holds every point; `bela export` sends them later"})
	}
	cfg := *r.InfluxDB
	cfg.Trouble = trouble
	writer, err := influx.NewWriter(cfg)
	if err != nil {
		close(checked)
		trouble(err)
		return checked
	}
	rec.writer = writer
	go func() {
		defer close(checked)
		ctx, cancel := context.WithTimeoutCause(ctx, influxCheck, fmt.Errorf("no answer in %v", influxCheck))
		defer cancel()
		if err := writer.Check(ctx); err != nil && ctx.Err() == nil {
			trouble(err)
		}
	}()
	return checked
}

// close sends what InfluxDB has not got yet, for a limited time, and says how
// that went.
func (r *record) close(ctx context.Context) influx.Stats {
	if r.writer == nil {
		return influx.Stats{}
	}
	ctx, cancel := context.WithTimeout(ctx, influxFlush)
	defer cancel()
	var unsent error
	if r.sent != nil {
		select {
		case unsent = <-r.sent:
		case <-ctx.Done():
			unsent = errors.New("sending what was measured before took too long")
		}
	}
	stats := r.writer.Close(ctx)
	if unsent != nil {
		stats.Pending, stats.Err = max(stats.Pending, 1), first(stats.Err, unsent)
	}
	return stats
}
