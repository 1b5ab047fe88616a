package influx

import (
	"context"
	"time"
)

const (
	// followEvery is how often a file that grows is looked at.
	followEvery = 250 * time.Millisecond
	// chunkBytes is how much of it is handed to the writer at a time.
	chunkBytes = 64 << 10
)

// Follower sends a file of line protocol to InfluxDB while it is being written.
// The file is the queue: however long the server is away, nothing is given up
// and nothing grows in memory.
type Follower struct {
	spool  *Spool
	writer *Writer
	from   Mark
	// marks are the ends of the chunks that the writer has and that are not known
	// to be settled; as many as the writer's queue holds.
	marks   []Mark
	settled Mark
}

// NewFollower returns a follower that begins at the mark from, or at the file's
// beginning where the file is not the one that the mark was made of. It closes
// neither spool nor writer.
func NewFollower(spool *Spool, writer *Writer, from Mark) (*Follower, error) {
	same, err := spool.Skip(from)
	if err != nil {
		return nil, err
	}
	if !same {
		from = Mark{}
	}
	return &Follower{spool: spool, writer: writer, from: from, settled: from}, nil
}

// Run sends what the file has and what comes, until ended is closed and the
// writer has all that the file has then, or ctx ends. It calls settled, where
// that has moved, with the place up to which the server has taken or refused
// everything.
func (f *Follower) Run(ctx context.Context, ended <-chan struct{}, settled func(Mark)) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-ended:
			last = true
		default:
		}
		if err := f.hand(ctx, settled); err != nil || last {
			return err
		}
		f.tell(settled)
		select {
		case <-tick.C:
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hand gives the writer the lines that are there.
func (f *Follower) hand(ctx context.Context, settled func(Mark)) error {
	var chunk []byte
	send := func() error {
		if len(chunk) == 0 {
			return nil
		}
		if err := f.writer.Send(ctx, chunk); err != nil {
			return err
		}
		chunk = chunk[:0]
		f.marks = append(f.marks, f.spool.Mark())
		f.tell(settled)
		return nil
	}
	for line, err := range f.spool.Lines() {
		if err != nil {
			return err
		}
		chunk = append(chunk, line...)
		if len(chunk) >= chunkBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// Settled is the place up to which the server has taken or refused everything.
func (f *Follower) Settled() Mark {
	n := f.from.Points + f.writer.Settled()
	for len(f.marks) > 0 && f.marks[0].Points <= n {
		f.settled = f.marks[0]
		f.marks = f.marks[1:]
	}
	return f.settled
}

func (f *Follower) tell(settled func(Mark)) {
	before := f.settled
	if now := f.Settled(); now != before {
		settled(now)
	}
}

// Rest counts the points of the file that are not settled, those included that
// the writer never got. It is the last thing to ask of a follower.
func (f *Follower) Rest() (int64, error) {
	for _, err := range f.spool.Lines() {
		if err != nil {
			return 0, err
		}
	}
	return f.spool.Mark().Points - f.Settled().Points, nil
}
