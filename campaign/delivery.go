package campaign

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bela/event"
	"bela/influx"
	"bela/store"
)

// How long InfluxDB is asked whether it is there, how long the end of a run
// waits for it to take the rest, and how often at most it is written down how
// much it has: what it took since is sent once more after a crash, and changes
// nothing there.
const (
	influxCheck  = 10 * time.Second
	influxFlush  = 10 * time.Second
	deliveryKept = 5 * time.Second
)

const deliveredFile = "delivered.json"

// delivered is how much of metrics.lp.gz a server has settled: taken, or refused
// for good.
type delivered struct {
	URL    string      `json:"url"`
	Org    string      `json:"org,omitempty"`
	Bucket string      `json:"bucket"`
	Upto   influx.Mark `json:"upto"`
}

// delivery sends a run's metrics.lp.gz to InfluxDB while the run writes it, and
// keeps in the run directory how far it has come. The run and the delivery share
// nothing but that file, so that no InfluxDB can slow the run.
type delivery struct {
	dir      string
	target   delivered // Upto is the latest that is known
	writer   *influx.Writer
	spool    *influx.Spool
	follower *influx.Follower
	written  time.Time // of deliveredFile
	cancel   context.CancelFunc
	ended    chan struct{} // closed when the run writes no more points
	gone     chan error    // how following the file ended
}

// newDelivery starts the writer; it sends nothing yet.
func newDelivery(dir string, cfg influx.Config) (*delivery, error) {
	writer, err := influx.NewWriter(cfg)
	if err != nil {
		return nil, err
	}
	return &delivery{
		dir: dir, target: delivered{URL: cfg.URL, Org: cfg.Org, Bucket: cfg.Bucket}, writer: writer,
		ended: make(chan struct{}), gone: make(chan error, 1),
	}, nil
}

// start sends what the file has, from where an earlier process had come, and
// what it gets. It waits for nothing.
func (d *delivery) start(ctx context.Context) error {
	spool, err := influx.OpenSpool(filepath.Join(d.dir, metricsFile))
	if err != nil {
		return err
	}
	d.spool = spool
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx)) // an interrupted run still hands over what it has
	go func() { d.gone <- d.follow(ctx) }()
	return nil
}

func (d *delivery) follow(ctx context.Context) error {
	f, err := influx.NewFollower(d.spool, d.writer, d.before())
	if err != nil {
		return err
	}
	d.follower = f
	return f.Run(ctx, d.ended, d.settled)
}

// before is how far an earlier process had come with the same server. What
// cannot be read is sent again.
func (d *delivery) before() influx.Mark {
	text, err := os.ReadFile(filepath.Join(d.dir, deliveredFile))
	if err != nil {
		return influx.Mark{}
	}
	var was delivered
	if json.Unmarshal(text, &was) != nil {
		return influx.Mark{}
	}
	upto := was.Upto
	was.Upto = influx.Mark{}
	if was != d.target {
		return influx.Mark{}
	}
	return upto
}

// settled keeps how far the server has come.
func (d *delivery) settled(upto influx.Mark) {
	d.target.Upto = upto
	if time.Since(d.written) < deliveryKept {
		return
	}
	d.written = time.Now()
	_ = d.write() // without it more is sent again after a crash
}

func (d *delivery) write() error {
	text, err := json.MarshalIndent(d.target, "", "  ")
	if err != nil {
		return err
	}
	return store.WriteFile(filepath.Join(d.dir, deliveredFile), append(text, '\n'))
}

// close sends the rest of a file that has come to its end, until ctx ends, and
// counts what became of all of it.
func (d *delivery) close(ctx context.Context) influx.Stats {
	var err error
	if d.spool != nil {
		close(d.ended)
		select {
		case err = <-d.gone:
		case <-ctx.Done():
			d.cancel()
			err = <-d.gone
		}
		d.cancel()
	}
	stats := d.writer.Close(ctx)
	if d.follower == nil {
		stats.Pending = max(stats.Pending, 1) // all that there is
		stats.Err = cmp.Or(stats.Err, err)
		return stats
	}
	rest, rerr := d.follower.Rest()
	d.target.Upto = d.follower.Settled()
	stats.Pending = max(stats.Pending, rest)
	stats.Err = cmp.Or(stats.Err, err, rerr, d.write())
	_ = d.spool.Close() // only read
	return stats
}

// openInflux opens the way to InfluxDB where there is one, before the first
// event, and checks it in the background: the run does not wait to say at once
// that it is not there. The channel is closed when that has been said.
func (r *runner) openInflux(ctx context.Context, rec *record) <-chan struct{} {
	checked := make(chan struct{})
	if r.InfluxDB == nil {
		close(checked)
		return checked
	}
	cfg := *r.InfluxDB
	cfg.Trouble = r.sayInflux
	d, err := newDelivery(r.Store.Dir(), cfg)
	if err != nil {
		close(checked)
		r.sayInflux(err)
		return checked
	}
	rec.delivery = d
	go func() {
		defer close(checked)
		ctx, cancel := context.WithTimeoutCause(ctx, influxCheck, fmt.Errorf("no answer in %v", influxCheck))
		defer cancel()
		if err := d.writer.Check(ctx); err != nil && ctx.Err() == nil {
			r.sayInflux(err)
		}
	}()
	return checked
}

// sayInflux tells that InfluxDB does not take points, or with nil that it does.
func (r *runner) sayInflux(err error) {
	if err == nil {
		r.emit(event.Message{Level: "info", Text: "InfluxDB takes points again"})
		return
	}
	r.emit(event.Message{Level: "warn", Text: "InfluxDB: " + err.Error(), Next: "the run goes on and metrics.lp.gz holds every point; what is not sent by the end, `bela export` sends later"})
}
