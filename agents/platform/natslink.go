package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bela/agents/protocol"
)

const (
	// jsDomain is the JetStream domain of stan.
	jsDomain = "stan"
	// streamName is the stream that holds the devices' messages.
	streamName = "BELA"
	// consumerName is the durable consumer that all instances of hub share.
	consumerName = "hub"
	natsRetry    = 100 * time.Millisecond
)

// dialNATS connects to one of the instances of nats: each instance of a gateway
// or hub starts with another, so that they share the load.
func dialNATS(ctx context.Context, spec protocol.ComponentSpec, log *slog.Logger, c *natsDialer) (*nats.Conn, error) {
	addrs := spec.Links["nats"]
	var urls string
	for i := range addrs {
		if i > 0 {
			urls += ","
		}
		urls += "nats://" + addrs[(spec.Instance-1+i)%len(addrs)]
	}
	options := []nats.Option{
		nats.Name(clientID(spec)),
		nats.UserInfo(spec.User, spec.Password),
		nats.SetCustomDialer(c),
		nats.DontRandomize(),
		nats.Timeout(5 * time.Second),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(natsRetry), nats.ReconnectJitter(natsRetry, natsRetry),
		// Nothing is put aside while there is no connection: the hop's own queue
		// is where messages wait, and where they are counted.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to nats lost", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("nats", "error", err) }),
	}
	for {
		nc, err := nats.Connect(urls, options...)
		if err == nil {
			return nc, nil
		}
		if errors.Is(err, nats.ErrAuthorization) {
			return nil, fmt.Errorf("connect to nats %s: %w", urls, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to nats %s: %w", urls, err)
		case <-time.After(natsRetry):
		}
	}
}

// awaitStream waits until stan answers through nats and has the stream.
func awaitStream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		s, err := js.Stream(try, streamName)
		cancel()
		if err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("stream %s of stan, through nats: %w", streamName, err)
		case <-time.After(natsRetry):
		}
	}
}

// natsDialer counts the bytes of the connections that it makes.
type natsDialer struct{ read, written *atomic.Int64 }

// Dial connects, as nats.CustomDialer asks.
func (d *natsDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: conn, read: d.read, written: d.written}, nil
}
