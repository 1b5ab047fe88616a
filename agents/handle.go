package agents

import (
	"context"
	"encoding/json"
	"net"
	"os"

	"bela/agents/fault"
	"bela/agents/protocol"
)

func pid() int { return os.Getpid() }

// handle carries out one request; hello and ping are answered by the session.
func (a *agent) handle(ctx context.Context, f protocol.Frame) (any, error) {
	switch f.Type {
	case protocol.TypeClock:
		return with(f, func(c protocol.Clock) (any, error) {
			a.Clock.Set(c)
			return nil, nil
		})
	case protocol.TypeReset:
		a.clear("reset")
		a.expired.Store(false)
		return nil, fault.UndoAll(ctx, a.Dir) // what could not be healed must not be part of the next cell
	case protocol.TypeStartComponent:
		return with(f, func(spec protocol.ComponentSpec) (any, error) {
			spec.Bind = listenAddress(spec.Bind, net.InterfaceAddrs)
			started, err := a.components.Start(ctx, spec)
			if err != nil {
				return nil, err
			}
			return started, nil
		})
	case protocol.TypeStopComponent:
		return with(f, func(stop protocol.ComponentStop) (any, error) {
			if stop.Name == "" {
				return nil, a.components.StopAll(ctx)
			}
			return nil, a.components.Stop(ctx, stop.Name, stop.Instance)
		})
	case protocol.TypeComponentBooks:
		return with(f, func(of protocol.ComponentName) (any, error) { return a.components.Books(ctx, of.Name, of.Instance) })
	case protocol.TypeFaultCheck:
		return with(f, func(spec protocol.FaultSpec) (any, error) { return nil, a.faults.Check(ctx, spec) })
	case protocol.TypeFaultBegin:
		return with(f, func(spec protocol.FaultSpec) (any, error) { return a.faults.Begin(ctx, spec) })
	case protocol.TypeFaultEnd:
		return with(f, func(spec protocol.FaultSpec) (any, error) { return a.faults.End(ctx, spec.ID) })
	case protocol.TypePrepareDevices:
		return with(f, func(spec protocol.DevicesSpec) (any, error) { return nil, a.load.prepareDevices(spec) })
	case protocol.TypePrepareCustomers:
		return with(f, func(spec protocol.CustomersSpec) (any, error) { return nil, a.load.prepareCustomers(spec) })
	case protocol.TypeConnect:
		return with(f, func(c protocol.Connect) (any, error) { return nil, a.load.connect(ctx, c) })
	case protocol.TypeProbe:
		return with(f, func(p protocol.Probe) (any, error) { return nil, a.load.probe(ctx, p) })
	case protocol.TypeStart:
		return with(f, func(s protocol.Start) (any, error) { return nil, a.load.start(s) })
	case protocol.TypeStatus:
		return a.load.status(), nil
	case protocol.TypeStop:
		a.load.stop()
		return nil, nil
	case protocol.TypeCollect:
		return with(f, func(c protocol.Collect) (any, error) { return a.load.collect(c) })
	case protocol.TypeCalibrate:
		return with(f, func(c protocol.Calibrate) (any, error) { return a.calibrate(ctx, c) })
	case protocol.TypeSync:
		return protocol.Synced{LastEvent: a.events.last()}, nil
	case protocol.TypePeerAnswer:
		return with(f, func(p protocol.PeerAnswer) (any, error) { return a.peers.answer(p) })
	case protocol.TypePeerWatch:
		return with(f, func(p protocol.PeerWatch) (any, error) { return a.peers.watch(ctx, p) })
	case protocol.TypePeerCollect:
		return with(f, func(p protocol.PeerCollect) (any, error) { return a.peers.collect(ctx, p) })
	case protocol.TypeShutdown:
		a.clear("shutdown") // the session ends the agent once the answer is out
		return nil, nil
	}
	return nil, &protocol.Error{Code: "bad_request", Text: "unknown request " + string(f.Type)}
}

// with decodes a request's body and hands it on.
func with[T any](f protocol.Frame, do func(T) (any, error)) (any, error) {
	var req T
	if err := json.Unmarshal(f.Body, &req); err != nil {
		return nil, &protocol.Error{Code: "bad_request", Text: string(f.Type) + ": " + err.Error()}
	}
	return do(req)
}
