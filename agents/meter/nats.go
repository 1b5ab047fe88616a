package meter

import (
	"context"
	"errors"

	"bela/agents/protocol"
)

// nats asks a NATS server's monitoring port. Its bytes are those of the messages,
// their subjects and headers, without the protocol around them.
type nats struct{ *web }

func newNATS(spec protocol.MeterSpec) (source, error) {
	w, err := newWeb(spec)
	if err != nil {
		return nil, err
	}
	return nats{w}, nil
}

func (n nats) read(ctx context.Context) (*protocol.Traffic, error) {
	var v struct {
		BytesIn       *int64 `json:"in_bytes"`
		BytesOut      *int64 `json:"out_bytes"`
		MessagesIn    *int64 `json:"in_msgs"`
		MessagesOut   *int64 `json:"out_msgs"`
		SlowConsumers *int64 `json:"slow_consumers"`
	}
	if err := n.json(ctx, "/varz", &v); err != nil {
		return nil, err
	}
	if v.BytesIn == nil || v.BytesOut == nil {
		return nil, errors.New("/varz tells no in_bytes and out_bytes: is this the monitoring port of a NATS server?")
	}
	return &protocol.Traffic{BytesIn: v.BytesIn, BytesOut: v.BytesOut,
		MessagesIn: v.MessagesIn, MessagesOut: v.MessagesOut, Dropped: v.SlowConsumers}, nil
}
