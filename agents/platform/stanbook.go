package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bela/agents/protocol"
	"bela/measure"
)

// stanBooksWait bounds how long stan reads its own stream for its book. 256 MiB
// of messages take a few seconds.
const stanBooksWait = 20 * time.Second

// book is stan's, made of what JetStream keeps anyway, when it is asked for
// it, so that a message on its way costs nothing: what is in the stream it took,
// and what the hubs' consumer has been given, in the stream's order, it handed
// on. Messages that the stream's bounds have discarded it cannot name; their
// number is in the book.
func (s *stan) book() (measure.HopBook, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stanBooksWait)
	defer cancel()
	nc, err := s.dial()
	if err != nil {
		return measure.HopBook{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return measure.HopBook{}, err
	}
	stream, err := js.Stream(ctx, streamName)
	if err != nil {
		return measure.HopBook{}, err
	}
	state := stream.CachedInfo().State
	delivered, err := deliveredUpTo(ctx, stream)
	if err != nil {
		return measure.HopBook{}, err
	}
	d := &desk{spec: s.spec}
	b := newBook(d, "")
	if state.Msgs > 0 {
		if err := readStream(ctx, stream, state.LastSeq, func(m jetstream.Msg, sequence uint64) {
			mark := d.mark(m.Data())
			b.take(mark)
			if sequence <= delivered {
				b.handOn(mark)
			}
		}); err != nil {
			return measure.HopBook{}, err
		}
	}
	out := b.export()
	out.Discarded = int64(state.LastSeq - state.Msgs)
	return out, nil
}

// deliveredUpTo is the last of the stream's messages that was given to a hub; 0
// where there never was one.
func deliveredUpTo(ctx context.Context, stream jetstream.Stream) (uint64, error) {
	consumer, err := stream.Consumer(ctx, consumerName)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return consumer.CachedInfo().Delivered.Stream, nil
}

// readStream hands on every message up to one, in order.
func readStream(ctx context.Context, stream jetstream.Stream, last uint64, each func(jetstream.Msg, uint64)) error {
	reader, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := reader.Messages(jetstream.PullMaxMessages(4096))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for at := uint64(0); at < last; {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("message after %d of %d: %w", at, last, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		at = meta.Sequence.Stream
		each(m, at)
	}
	return nil
}

// books are one where it is wanted. What cannot be read makes it incomplete.
func (s *stan) books() []measure.HopBook {
	if s.spec == nil {
		return nil
	}
	b, err := s.book()
	if err != nil {
		return []measure.HopBook{{Devices: []measure.HopAccount{}, Incomplete: "the stream could not be read: " + err.Error()}}
	}
	return []measure.HopBook{b}
}

// dialSelf connects a server to itself.
func (s *stan) dialSelf(spec protocol.ComponentSpec) func() (*nats.Conn, error) {
	return func() (*nats.Conn, error) {
		nc, err := nats.Connect("", nats.InProcessServer(s.server), nats.UserInfo(spec.User, spec.Password))
		if err != nil {
			return nil, fmt.Errorf("connect to itself: %w", err)
		}
		return nc, nil
	}
}
