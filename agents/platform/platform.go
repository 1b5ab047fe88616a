// Package platform is the built-in message-broker platform under test. Each
// kind runs as a process of its own:
//
//		devices → broker → gateway → nats ⇄ stan → nats → hub → broker → customers
//
//	  - broker is an MQTT 3.1.1 and 5 broker.
//	  - gateway takes the devices' messages off the broker as one of a shared
//	    subscription, takes them apart, encodes them anew and puts them into a JetStream
//	    stream, through nats.
//	  - nats is the NATS core. It keeps nothing.
//	  - stan keeps messages, as NATS Streaming did: a NATS server with JetStream
//	    and file storage. It is a leaf node of nats and keeps its streams in a
//	    JetStream domain of its own, so that every message passes nats on its
//	    way in and on its way out, and neither gateway nor hub needs its address.
//	  - hub takes the messages off the stream and hands them to the customers
//	    through the broker, in the codec that the devices used.
//
// The package exists so that an experiment has something to measure without
// anything being installed. It knows nothing of experiments, of nodes or of what
// the messages mean: a payload is a JSON document whose fields keep their order
// and their values.
//
// # Ports
//
// nats listens for clients on its port, and for leaf nodes on LeafPort of it.
// Where nats or stan has several instances, each listens for the others on
// ClusterPort of its port.
//
// # Several instances
//
// The brokers know nothing of each other: devices and customers are spread over
// them, every gateway takes from each of them, and every hub hands to each.
// Gateways share one subscription, hubs one consumer. The instances of nats are
// one cluster, and each instance of a gateway, hub or stan begins with another
// of them. Those of stan are one JetStream cluster: each of them, up to five,
// keeps every message.
//
// # Delivery
//
// At QoS 1 each hop gives a message up only when the next one has it: the gateway
// acknowledges to the broker when JetStream did, and the hub to JetStream when
// the broker did. At QoS 0 a lost connection loses what was under way. In both
// cases a message that a hop gives up on is counted there, with a reason, so that
// messages in = messages out + drops + those under way.
package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"bela/agents/component/report"
	"bela/agents/document"
	"bela/agents/protocol"
	"bela/measure"
)

// The kinds of components.
const (
	KindBroker  = "broker"
	KindGateway = "gateway"
	KindNATS    = "nats"
	KindStan    = "stan"
	KindHub     = "hub"
)

const (
	// maxConfig bounds the configuration file.
	maxConfig = 1 << 20
	// defaultTimeout is how old a message may become in a hop that was told
	// nothing else.
	defaultTimeout = 30 * time.Second
	// defaultQueue is the number of messages that a hop holds that was told
	// nothing else.
	defaultQueue = 8192
	// defaultStop is how long a component may take to end.
	defaultStop = 5 * time.Second
	// maxPayload bounds a message's payload in every hop.
	maxPayload = 1 << 20
	// startTimeout bounds the wait for those that a component talks to.
	startTimeout = time.Minute
)

// LeafPort is the port on which an instance of nats with the given client port
// takes leaf nodes: a thousand above, or below where there is no such port.
func LeafPort(port int) int {
	if port+1000 > 65535 {
		return port - 1000
	}
	return port + 1000
}

// instance is one running component.
type instance interface {
	// address is where it listens; empty for nowhere.
	address() string
	counters() protocol.Counters
	// books are what it knows of single messages; nil where it keeps none.
	books() []measure.HopBook
	// drain stops taking work, ends what is under way until ctx is done, and
	// closes everything.
	drain(ctx context.Context)
	// failed yields the error that ended it, if anything but drain does.
	failed() <-chan error
}

// Main runs one component until ctx is done, or SIGTERM or SIGINT comes, or
// the supervisor is gone. The configuration file holds a protocol.ComponentSpec
// as JSON. It reports readiness and counters to the pipe that file descriptor 3
// is (see package report), or to stdout where there is none. It returns nil after
// an end that was asked for.
func Main(ctx context.Context, kind, configFile string, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	spec, err := readSpec(kind, configFile)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(&redactor{w: stderr, secret: spec.Password},
		&slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: dropPackets}))

	out := stdout
	pipe, err := report.OpenPipe()
	switch {
	case err == nil:
		defer func() { _ = pipe.Close() }()
		out = pipe
	case !errors.Is(err, report.ErrNoPipe):
		return err
	}
	return run(ctx, spec, log, report.NewWriter(out))
}

func run(ctx context.Context, spec protocol.ComponentSpec, log *slog.Logger, reports *report.Writer) error {
	asked := make(chan os.Signal, 1) // for the books
	signal.Notify(asked, report.BooksSignal)
	defer signal.Stop(asked)
	c, err := start(ctx, spec, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it was ready
		}
		return fmt.Errorf("%s-%d: %w", spec.Name, spec.Instance, err)
	}
	send := func() error { n := c.counters(); return reports.Write(report.Line{Counters: &n}) }
	err = reports.Write(report.Line{Ready: &report.Ready{Address: c.address()}})
	tick := time.NewTicker(report.Interval)
	defer tick.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			drain(c, spec.StopTimeout)
			return send()
		case err = <-c.failed():
			err = fmt.Errorf("%s-%d: %w", spec.Name, spec.Instance, err)
		case <-tick.C:
			err = send()
		case <-asked:
			var answer report.Books
			if err := writeBooks(c.books()); err != nil {
				answer.Error = err.Error()
			}
			err = reports.Write(report.Line{Books: &answer})
		}
	}
	drain(c, spec.StopTimeout)
	return err
}

// drain ends c a little before its supervisor's patience does.
func drain(c instance, patience time.Duration) {
	if patience <= 0 {
		patience = defaultStop
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(patience/2, patience-time.Second))
	defer cancel()
	c.drain(ctx)
}

// start makes an instance of the spec's kind that accepts work.
func start(ctx context.Context, spec protocol.ComponentSpec, log *slog.Logger) (instance, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	switch spec.Kind {
	case KindBroker:
		return startBroker(spec, log)
	case KindGateway:
		return startGateway(ctx, spec, log)
	case KindNATS:
		return startNATS(ctx, spec, log)
	case KindStan:
		return startStan(ctx, spec, log)
	case KindHub:
		return startHub(ctx, spec, log)
	}
	return nil, fmt.Errorf("unknown kind %q: want broker, gateway, nats, stan or hub", spec.Kind)
}

// readSpec reads and checks a configuration file.
func readSpec(kind, file string) (protocol.ComponentSpec, error) {
	var spec protocol.ComponentSpec
	f, err := os.Open(file)
	if err != nil {
		return spec, fmt.Errorf("configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := json.NewDecoder(io.LimitReader(f, maxConfig)).Decode(&spec); err != nil {
		return spec, fmt.Errorf("configuration %s: %w", file, err)
	}
	if spec.Kind != kind {
		return spec, fmt.Errorf("configuration %s: it is for a %q, not a %q", file, spec.Kind, kind)
	}
	if err := check(&spec); err != nil {
		return spec, fmt.Errorf("configuration %s: %w", file, err)
	}
	return spec, nil
}

// check fills in what was left open and refuses what cannot work.
func check(spec *protocol.ComponentSpec) error {
	if spec.Queue <= 0 {
		spec.Queue = defaultQueue
	}
	if spec.Timeout <= 0 {
		spec.Timeout = defaultTimeout
	}
	if spec.Codec == "" {
		spec.Codec = document.JSON
	}
	if spec.PayloadCodec == "" {
		spec.PayloadCodec = document.JSON
	}
	if spec.Ingest == "" {
		spec.Ingest = "iot/#"
	}
	if spec.Deliver == "" {
		spec.Deliver = "out"
	}
	if spec.Instance == 0 {
		spec.Instance = 1
	}
	if spec.Name == "" {
		spec.Name = spec.Kind
	}
	needs := map[string][]string{
		KindGateway: {"broker", "nats"}, KindHub: {"broker", "nats"}, KindStan: {"nats"},
	}[spec.Kind]
	for _, l := range needs {
		if len(spec.Links[l]) == 0 {
			return fmt.Errorf("a %s needs a link to %s", spec.Kind, l)
		}
	}
	listens := spec.Kind == KindBroker || spec.Kind == KindNATS || spec.Kind == KindStan
	switch {
	case !slices.Contains(document.Names(), spec.Codec):
		return fmt.Errorf("codec %q: want json, msgpack, protobuf or raw", spec.Codec)
	case !slices.Contains(document.Names(), spec.PayloadCodec):
		return fmt.Errorf("payload codec %q: want json, msgpack, protobuf or raw", spec.PayloadCodec)
	case spec.PayloadCodec == document.Raw && spec.Codec != document.Raw && (spec.Kind == KindGateway || spec.Kind == KindHub):
		return fmt.Errorf("codec %s: raw payloads cannot be taken apart; want codec raw", spec.Codec)
	case spec.QoS != 0 && spec.QoS != 1:
		return fmt.Errorf("qos %d: want 0 or 1", spec.QoS)
	case listens && (spec.Port < 1 || spec.Port > 65535):
		return fmt.Errorf("port %d: a %s needs one from 1 to 65535", spec.Port, spec.Kind)
	case spec.Kind == KindStan && spec.Instance > max(1, len(spec.Peers)):
		return fmt.Errorf("it is instance %d of %d: a stan that knows not of the others cannot share their stream", spec.Instance, max(1, len(spec.Peers)))
	}
	for _, a := range spec.Peers {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("peer: %w", err)
		}
	}
	for _, addrs := range spec.Links {
		for _, a := range addrs {
			if _, _, err := net.SplitHostPort(a); err != nil {
				return fmt.Errorf("link: %w", err)
			}
		}
	}
	return checkFilter(spec.Ingest)
}

// listenAddress is where an instance listens.
func listenAddress(spec protocol.ComponentSpec) string {
	return net.JoinHostPort(spec.Bind, strconv.Itoa(spec.Port))
}

// clientID names an instance to those that it connects to.
func clientID(spec protocol.ComponentSpec) string {
	return spec.Name + "-" + strconv.Itoa(spec.Instance)
}
