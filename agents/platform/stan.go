package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bela/agents/protocol"
)

const (
	// The stream's bounds: what goes beyond is discarded, oldest first.
	streamAge   = 5 * time.Minute
	streamBytes = 256 << 20
	// storeDir is in the instance's working directory.
	storeDir = "data"
)

// stan is the NATS server that keeps messages. Several instances keep the same
// stream: one of them leads it, and acknowledges a message when most have it.
type stan struct {
	server *server.Server
	log    *slog.Logger
	spec   *protocol.BooksSpec // nil where no book is wanted
	dial   func() (*nats.Conn, error)

	seen   bool  // the stream, by this process
	before int64 // messages that the stream had then: an instance that was killed stored them
	stored int64 // since

	led       bool  // the hubs' consumer, when the counters were last read
	delivered int64 // by all instances, when the counters were last read
	own       int64 // of them by this one
}

func startStan(ctx context.Context, spec protocol.ComponentSpec, log *slog.Logger) (*stan, error) {
	dir, err := filepath.Abs(storeDir)
	if err != nil {
		return nil, err
	}
	remotes, err := leafRemotes(spec)
	if err != nil {
		return nil, err
	}
	o := natsOptions(spec)
	o.JetStream = true
	o.StoreDir = dir
	o.JetStreamDomain = jsDomain
	o.JetStreamMaxStore = 4 * streamBytes
	o.JetStreamMaxMemory = 64 << 20
	o.DisableJetStreamBanner = true
	o.LeafNode = server.LeafNodeOpts{Remotes: remotes, ReconnectInterval: natsRetry}
	if err := joinCluster(o, spec); err != nil {
		return nil, err
	}
	s, err := runNATS(ctx, o, log)
	if err != nil {
		return nil, err
	}
	st := &stan{server: s, log: log, spec: spec.Books}
	st.dial = st.dialSelf(spec)
	_ = st.counters() // what is on the disk is none of this process's
	if err := st.prepare(ctx, spec); err != nil {
		s.Shutdown()
		return nil, err
	}
	_ = st.counters() // the same of what other instances had, where it has to be fetched
	return st, nil
}

// leafRemotes connects stan to one of the instances of nats, and to the next one
// while that is away. They pass on to each other, so it does not matter which of
// them a gateway uses; a second way into their cluster would be a circle.
func leafRemotes(spec protocol.ComponentSpec) ([]*server.RemoteLeafOpts, error) {
	addrs := spec.Links["nats"]
	remote := &server.RemoteLeafOpts{NoRandomize: true}
	for i := range addrs {
		u, err := serverURL("nats-leaf", addrs[(spec.Instance-1+i)%len(addrs)], LeafPort, spec)
		if err != nil {
			return nil, fmt.Errorf("link to nats: %w", err)
		}
		remote.URLs = append(remote.URLs, u)
	}
	return []*server.RemoteLeafOpts{remote}, nil
}

// prepare waits for the connection to nats and for the stream, which the first
// instance makes.
func (s *stan) prepare(ctx context.Context, spec protocol.ComponentSpec) error {
	nc, err := s.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if spec.Instance == 1 {
		err = makeStream(ctx, js, spec)
	} else {
		_, err = awaitStream(ctx, js)
	}
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.server.NumLeafNodes() == 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no connection to nats %v stands: %w", spec.Links["nats"],
				errors.Join(ctx.Err(), errors.New("it takes leaf nodes on its port plus 1000")))
		case <-tick.C:
		}
	}
	return nil
}

func (s *stan) address() string      { return s.server.Addr().String() }
func (s *stan) failed() <-chan error { return nil }

// counters are the messages that this instance stored, and those that it
// delivered to hubs while it led their consumer, each once, and the server's totals
// of payload bytes. It is for one goroutine.
func (s *stan) counters() protocol.Counters {
	c := natsTotals(s.server, s.log)
	info, err := s.server.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		s.log.Warn("counters", "error", err)
		info = new(server.JSInfo) // what was last known stands
	}
	for _, a := range info.AccountDetails {
		for _, stream := range a.Streams {
			if stream.Name != streamName {
				continue
			}
			if last := int64(stream.State.LastSeq); s.seen {
				s.stored = max(s.stored, last-s.before)
			} else {
				s.seen, s.before = true, last
			}
			for _, consumer := range stream.Consumer {
				if consumer.Name == consumerName {
					led := consumer.Cluster == nil || consumer.Cluster.Leader == s.server.Name()
					// The consumer's own sequence counts tries too: thousands a second
					// while no hub can be reached.
					s.count(int64(consumer.Delivered.Stream), led)
				}
			}
		}
	}
	c.MessagesIn, c.MessagesOut = s.stored, s.own
	return c
}

// count takes the number of messages that all instances have delivered: what
// came on since the last time is this one's where it led then and now, or where
// it is the only one that ever did, and not another process before it.
func (s *stan) count(delivered int64, leads bool) {
	if leads && (s.led || s.delivered == 0 && s.before == 0) {
		s.own += max(delivered-s.delivered, 0)
	}
	s.led, s.delivered = leads, delivered
}

func (s *stan) drain(context.Context) {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}
