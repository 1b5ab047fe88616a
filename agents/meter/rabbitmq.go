package meter

import (
	"context"

	"bela/agents/protocol"
)

// rabbitMQ asks RabbitMQ's management API: the bytes of its connections, and the
// messages that were published and delivered. A connection that is closed keeps
// what it had when it was last seen; the broker itself looks only every few
// seconds (collect_statistics_interval).
type rabbitMQ struct {
	*web
	open   map[rabbitKey]Bytes
	closed Bytes
}

func newRabbitMQ(spec protocol.MeterSpec) (source, error) {
	w, err := newWeb(spec)
	if err != nil {
		return nil, err
	}
	return &rabbitMQ{web: w, open: make(map[rabbitKey]Bytes)}, nil
}

// rabbitKey tells a connection from all others: both ends with their ports, and
// when it came to be.
type rabbitKey struct {
	Name string `json:"name"`
	Born int64  `json:"connected_at"`
}

type rabbitConnection struct {
	rabbitKey
	In  int64 `json:"recv_oct"`
	Out int64 `json:"send_oct"`
}

func (r *rabbitMQ) read(ctx context.Context) (*protocol.Traffic, error) {
	var overview struct {
		Messages struct {
			Published *int64 `json:"publish"`
			Delivered *int64 `json:"deliver_get"`
			Dropped   *int64 `json:"drop_unroutable"`
		} `json:"message_stats"`
	}
	if err := r.json(ctx, "/api/overview?columns=message_stats", &overview); err != nil {
		return nil, err
	}
	var all []rabbitConnection
	if err := r.json(ctx, "/api/connections?columns=name,connected_at,recv_oct,send_oct", &all); err != nil {
		return nil, err
	}
	sum := r.add(all)
	m := overview.Messages
	return &protocol.Traffic{BytesIn: &sum.In, BytesOut: &sum.Out,
		MessagesIn: m.Published, MessagesOut: m.Delivered, Dropped: m.Dropped}, nil
}

// add takes the connections that there are now, and returns what all that ever
// were had.
func (r *rabbitMQ) add(all []rabbitConnection) Bytes {
	now := make(map[rabbitKey]Bytes, len(all))
	for _, c := range all {
		now[c.rabbitKey] = Bytes{In: c.In, Out: c.Out}
	}
	for key, had := range r.open {
		if _, ok := now[key]; !ok {
			r.closed.In += had.In
			r.closed.Out += had.Out
		}
	}
	r.open = now
	sum := r.closed
	for _, c := range now {
		sum.In += c.In
		sum.Out += c.Out
	}
	return sum
}
