package platform

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bela/agents/protocol"
	"bela/measure"
)

// maxPending is how many bytes a NATS server holds for a connection that does
// not keep up before it cuts it: the server's own default.
const maxPending = 64 << 20

// natsCore is the NATS server without a store.
type natsCore struct {
	server *server.Server
	log    *slog.Logger
}

// natsOptions are what nats and stan have in common.
func natsOptions(spec protocol.ComponentSpec) *server.Options {
	return &server.Options{
		ServerName: clientID(spec),
		Host:       spec.Bind, Port: spec.Port,
		Username: spec.User, Password: spec.Password,
		MaxPayload: maxPayload + 64<<10,
		MaxPending: maxPending,
		NoSigs:     true,
	}
}

// runNATS starts a server and waits until it takes connections.
func runNATS(ctx context.Context, o *server.Options, log *slog.Logger) (*server.Server, error) {
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	s.SetLoggerV2(natsLog{log}, false, false, false)
	s.Start()
	wait := 30 * time.Second
	if at, ok := ctx.Deadline(); ok {
		wait = time.Until(at)
	}
	if !s.ReadyForConnections(wait) {
		s.Shutdown()
		return nil, fmt.Errorf("%s: does not listen on %s:%d: see the lines above", o.ServerName, o.Host, o.Port)
	}
	return s, nil
}

func startNATS(ctx context.Context, spec protocol.ComponentSpec, log *slog.Logger) (*natsCore, error) {
	o := natsOptions(spec)
	o.LeafNode = server.LeafNodeOpts{
		Host: spec.Bind, Port: LeafPort(spec.Port),
		Username: spec.User, Password: spec.Password,
	}
	if err := joinCluster(o, spec); err != nil {
		return nil, err
	}
	s, err := runNATS(ctx, o, log)
	if err != nil {
		return nil, err
	}
	return &natsCore{server: s, log: log}, nil
}

func (n *natsCore) address() string      { return n.server.Addr().String() }
func (n *natsCore) failed() <-chan error { return nil }

// books are none: what stan handed on and no hub took was lost here, and what
// stan never had the gateways know of, for they wait for its acknowledgement.
func (n *natsCore) books() []measure.HopBook { return nil }

// counters are the server's totals: every NATS message that passed, requests
// and acknowledgements included, and the bytes of their payloads.
func (n *natsCore) counters() protocol.Counters { return natsTotals(n.server, n.log) }

func natsTotals(s *server.Server, log *slog.Logger) protocol.Counters {
	v, err := s.Varz(nil)
	if err != nil {
		log.Warn("counters", "error", err)
		return protocol.Counters{}
	}
	c := protocol.Counters{MessagesIn: v.InMsgs, MessagesOut: v.OutMsgs, BytesIn: v.InBytes, BytesOut: v.OutBytes}
	if v.SlowConsumers > 0 {
		c.Dropped = map[string]int64{reasonNames[dropSlowConsumer]: v.SlowConsumers}
	}
	return c
}

func (n *natsCore) drain(context.Context) {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}
