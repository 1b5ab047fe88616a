package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
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

// stan is the NATS server that keeps messages.
type stan struct {
	server *server.Server
	log    *slog.Logger
	spec   *protocol.BooksSpec // nil where no book is wanted
	dial   func() (*nats.Conn, error)
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
	s, err := runNATS(ctx, o, log)
	if err != nil {
		return nil, err
	}
	st := &stan{server: s, log: log, spec: spec.Books}
	st.dial = st.dialSelf(spec)
	if err := st.prepare(ctx, spec, len(remotes)); err != nil {
		s.Shutdown()
		return nil, err
	}
	return st, nil
}

// leafRemotes connects stan to every instance of nats, so that it does not
// matter which of them a gateway uses.
func leafRemotes(spec protocol.ComponentSpec) ([]*server.RemoteLeafOpts, error) {
	var remotes []*server.RemoteLeafOpts
	for _, addr := range spec.Links["nats"] {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("link to nats %s: %w", addr, err)
		}
		u := &url.URL{Scheme: "nats-leaf", Host: net.JoinHostPort(host, strconv.Itoa(LeafPort(n)))}
		if spec.User != "" {
			u.User = url.UserPassword(spec.User, spec.Password)
		}
		remotes = append(remotes, &server.RemoteLeafOpts{URLs: []*url.URL{u}})
	}
	return remotes, nil
}

// prepare makes the stream and waits for the connections to nats.
func (s *stan) prepare(ctx context.Context, spec protocol.ComponentSpec, leafs int) error {
	nc, err := s.dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:     streamName,
		Subjects: []string{filterSubject(spec.Ingest)},
		Storage:  jetstream.FileStorage,
		MaxAge:   streamAge, MaxBytes: streamBytes,
		Discard: jetstream.DiscardOld,
	})
	if err != nil {
		return fmt.Errorf("make stream %s: %w", streamName, err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.server.NumLeafNodes() < leafs {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d connections to nats %v stand: %w", s.server.NumLeafNodes(), leafs, spec.Links["nats"],
				errors.Join(ctx.Err(), errors.New("it takes leaf nodes on its port plus 1000")))
		case <-tick.C:
		}
	}
	return nil
}

func (s *stan) address() string      { return s.server.Addr().String() }
func (s *stan) failed() <-chan error { return nil }

// counters are the messages stored and delivered to hubs, deliveries again
// included, and the server's totals of payload bytes.
func (s *stan) counters() protocol.Counters {
	c := natsTotals(s.server, s.log)
	c.MessagesIn, c.MessagesOut = 0, 0
	info, err := s.server.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		s.log.Warn("counters", "error", err)
		return c
	}
	for _, a := range info.AccountDetails {
		for _, stream := range a.Streams {
			c.MessagesIn += int64(stream.State.LastSeq)
			for _, consumer := range stream.Consumer {
				if consumer.Name == consumerName {
					c.MessagesOut += int64(consumer.Delivered.Consumer)
				}
			}
		}
	}
	return c
}

func (s *stan) drain(context.Context) {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}
