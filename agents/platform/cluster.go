package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bela/agents/protocol"
)

const (
	// maxReplicas is how many instances of stan keep a message at most: the most
	// that JetStream allows.
	maxReplicas = 5
	// electionWait bounds one try to make or find the stream. The instances of
	// stan elect a leader in 4 to 9 s.
	electionWait = 15 * time.Second
)

// ClusterPort is the port on which an instance of nats or stan with the given
// client port takes the connections of the component's other instances: two
// thousand above, or below where there is no such port.
func ClusterPort(port int) int {
	if port+2000 > 65535 {
		return port - 2000
	}
	return port + 2000
}

// joinCluster has a server join the component's other instances. A client that
// is told of one of them is not told of the others: which of them a gateway or a
// hub uses follows from its own number.
func joinCluster(o *server.Options, spec protocol.ComponentSpec) error {
	if len(spec.Peers) < 2 {
		return nil
	}
	o.Cluster = server.ClusterOpts{
		Name: spec.Name, Host: spec.Bind, Port: ClusterPort(spec.Port),
		Username: spec.User, Password: spec.Password, NoAdvertise: true,
	}
	own := listenAddress(spec)
	for _, addr := range spec.Peers {
		if addr == own {
			continue
		}
		u, err := serverURL("nats-route", addr, ClusterPort, spec)
		if err != nil {
			return fmt.Errorf("instance of %s: %w", spec.Name, err)
		}
		o.Routes = append(o.Routes, u)
	}
	return nil
}

// serverURL is where a server takes other servers, from where it takes clients.
func serverURL(scheme, addr string, port func(int) int, spec protocol.ComponentSpec) (*url.URL, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", addr, err)
	}
	u := &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(port(n)))}
	if spec.User != "" {
		u.User = url.UserPassword(spec.User, spec.Password)
	}
	return u, nil
}

// makeStream makes the stream, on as many instances of stan as can have it. It
// tries until they have found each other.
func makeStream(ctx context.Context, js jetstream.JetStream, spec protocol.ComponentSpec) error {
	config := jetstream.StreamConfig{
		Name:     streamName,
		Subjects: []string{filterSubject(spec.Ingest)},
		Storage:  jetstream.FileStorage,
		MaxAge:   streamAge, MaxBytes: streamBytes,
		Discard:  jetstream.DiscardOld,
		Replicas: min(max(len(spec.Peers), 1), maxReplicas),
	}
	err := retried(ctx, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateStream(ctx, config)
		return err
	})
	if err != nil {
		return fmt.Errorf("make stream %s on %d instances of %s: %w", streamName, config.Replicas, spec.Name, err)
	}
	return nil
}

// retried does what needs the instances of stan to agree until it is done, or
// until ctx is, with the reason of the last try.
func retried(ctx context.Context, do func(context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, electionWait)
		err := do(try)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(natsRetry):
		}
	}
}
