package doctor

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"bela/agents/client"
	"bela/agents/protocol"
	"bela/measure"
	"bela/nodes"
	"bela/provision"
	"bela/provision/agentbin"
)

// placeScript prints the directory that it made.
//
//go:embed place.sh
var placeScript string

// Deadlines of what is done to one node.
const (
	lookLimit   = 60 * time.Second // from the first packet to all facts
	reachLimit  = 60 * time.Second // to try all ways
	mendLimit   = 60 * time.Second
	leaveLimit  = 15 * time.Second
	dialTimeout = 3 * time.Second // of one way
)

// How a clock is read: before and after the node is watched.
const (
	pings     = 24
	pingLimit = 2 * time.Second // of 24, but 4 in any case
	pingLeast = 4
)

// visit is a node that is being looked at.
type visit struct {
	exam
	need  *need
	node  *nodes.Node
	dir   string // bela's there
	link  *client.Client
	conn  io.Closer // what link speaks over
	place string    // the directory of the doctor's agent; empty where there is none
}

func (v *visit) undoFile() string { return v.dir + ".undo" }

// look reaches the node, finds out whether an agent could work there, brings
// one and has it look around. What is wrong is in the exam.
func (v *visit) look(ctx context.Context, c *Config, token string) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookLimit, fmt.Errorf("looking at the node took longer than %v", lookLimit))
	defer cancel()
	if v.err = v.reach(ctx); v.err != nil || v.holder != nil {
		return
	}
	if v.unusable = v.usable(ctx, c.Programs); v.unusable != nil {
		return
	}
	v.err = v.examine(ctx, c, token)
}

// reach connects and asks for what needs no agent. It changes nothing there.
func (v *visit) reach(ctx context.Context) (err error) {
	if v.node, err = nodes.Dial(ctx, v.target); err != nil {
		return err
	}
	v.address = v.node.Address()
	if v.dir, err = v.node.Directory(ctx); err != nil {
		return err
	}
	facts, err := v.node.Facts(ctx)
	if err != nil {
		return err
	}
	v.facts = &facts
	if v.holder, err = provision.HolderOf(ctx, v.node); err != nil || v.holder != nil {
		return err
	}
	v.leftovers, err = provision.Leftovers(ctx, v.node)
	return err
}

// usable says why no agent can work there. How much room there must be is
// judged later, when all that needs some is known.
func (v *visit) usable(ctx context.Context, source provision.Source) error {
	programs := []agentbin.Program{agentbin.Agent}
	if v.need.platform {
		programs = append(programs, agentbin.Platform)
	}
	for _, p := range programs {
		if bin, err := source(p, v.facts.GOARCH, v.facts.GOARM); err == nil {
			v.programSize += bin.Size
		}
	}
	return provision.Check(ctx, v.node, *v.facts, source)
}

// examine brings an agent, and has it look around and take the ports.
func (v *visit) examine(ctx context.Context, c *Config, token string) error {
	if err := v.bring(ctx, c.Programs); err != nil {
		return err
	}
	first := v.ping(ctx)
	var seen protocol.Inspection
	spec := protocol.InspectSpec{Directory: v.dir, Undo: v.undoFile(), Window: c.window(), Limits: len(v.need.limited) > 0}
	if err := v.ask(ctx, protocol.TypeInspect, spec, &seen); err != nil {
		return err
	}
	v.inspection = &seen
	v.clock = readClock(first, v.ping(ctx))
	if err := v.tools(ctx); err != nil {
		return err
	}
	return v.listen(ctx, token)
}

// bring starts an agent on the node: the one that a run kept there, or one that
// is pushed and removes its own file before it does anything.
func (v *visit) bring(ctx context.Context, source provision.Source) error {
	bin, err := source(agentbin.Agent, v.facts.GOARCH, v.facts.GOARM)
	if err != nil {
		return &nodes.Error{Node: v.target.Name, Kind: nodes.Unsupported, Err: err}
	}
	args := []string{path.Join(v.dir, "bin", "bela-agent-"+bin.SHA256[:16]), "inspect"}
	if sum, err := v.node.SHA256(ctx, args[0]); err != nil || sum != bin.SHA256 {
		if err := v.push(ctx, bin); err != nil {
			return err
		}
		args = []string{path.Join(v.place, "bela-agent"), "inspect", "-remove"}
	}
	conn, err := v.node.Stream(ctx, nodes.Command{Name: "look around", Args: args})
	if err != nil {
		return err
	}
	link, _, err := client.Open(ctx, conn, client.Options{Run: "doctor", Now: controllerClock, OnEvent: func(protocol.Event) {}})
	if err != nil {
		return fmt.Errorf("node %s: look around: %w", v.target.Name, err)
	}
	v.link, v.conn = link, conn
	return nil
}

func (v *visit) push(ctx context.Context, bin agentbin.Binary) error {
	res, err := v.node.Run(ctx, nodes.Script("make a directory for the doctor", placeScript, v.dir))
	if err != nil {
		return err
	}
	v.place = strings.TrimSpace(string(res.Stdout))
	if !strings.HasPrefix(path.Base(v.place), ".bela-doctor-") {
		place := v.place
		v.place = ""
		return &nodes.Error{Node: v.target.Name, Kind: nodes.CommandFailed, Err: fmt.Errorf("make a directory for the doctor: it answered %q", place),
			Next: "let the login's shell print nothing when it runs a command"}
	}
	r, err := bin.Open()
	if err != nil {
		return &nodes.Error{Node: v.target.Name, Kind: nodes.BadConfig, Err: err}
	}
	defer r.Close() //nolint:errcheck // only read
	sum, err := v.node.Upload(ctx, path.Join(v.place, "bela-agent"), 0o700, bin.Size, r)
	if err == nil && sum != bin.SHA256 {
		err = &nodes.Error{Node: v.target.Name, Kind: nodes.BadConfig, Err: errors.New("the agent that this controller carries is damaged"), Next: "run make build"}
	}
	return err
}

func (v *visit) ask(ctx context.Context, typ protocol.Type, req, resp any) error {
	if err := v.link.Call(ctx, typ, req, resp); err != nil {
		return fmt.Errorf("node %s: %w", v.target.Name, err)
	}
	return nil
}

// listen takes the ports of the node's components, so that one that is taken
// shows, and so that other nodes have somebody to connect to.
func (v *visit) listen(ctx context.Context, token string) error {
	v.listeners = make(map[int]protocol.Listener)
	if len(v.need.ports) == 0 {
		return nil
	}
	spec := protocol.ListenSpec{Token: token}
	for _, p := range v.need.ports {
		spec.Addresses = append(spec.Addresses, net.JoinHostPort(v.address, strconv.Itoa(p.number)))
	}
	var got protocol.Listening
	if err := v.ask(ctx, protocol.TypeListen, spec, &got); err != nil {
		return err
	}
	if len(got.Listeners) != len(spec.Addresses) {
		return fmt.Errorf("node %s: %d answers for %d ports", v.target.Name, len(got.Listeners), len(spec.Addresses))
	}
	for i, p := range v.need.ports {
		v.listeners[p.number] = got.Listeners[i]
	}
	return nil
}

// listens says whether the doctor's agent answers on a port of the node.
func (v *visit) listens(port int) bool {
	l, ok := v.listeners[port]
	return ok && l.Code == ""
}

// try connects from the node to those that it will have to reach.
func (v *visit) try(ctx context.Context, token string, list []way, all map[string]*visit) {
	if v.link == nil || v.err != nil {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reachLimit, fmt.Errorf("trying the ways to other nodes took longer than %v", reachLimit))
	defer cancel()
	spec := protocol.DialSpec{Token: token, Timeout: dialTimeout}
	if ip := net.ParseIP(v.address); ip != nil && ip.IsLoopback() {
		spec.Bind = v.address
	}
	for _, w := range list {
		if w.from != v.target.Name {
			continue
		}
		to := all[w.to]
		if to == nil || !to.listens(w.port) {
			v.untried++
			continue
		}
		address := net.JoinHostPort(to.address, strconv.Itoa(w.port))
		v.ways = append(v.ways, tried{way: w, spare: to.spare, address: address})
		spec.Addresses = append(spec.Addresses, address)
	}
	if len(spec.Addresses) == 0 {
		return
	}
	var got protocol.Dialled
	if v.err = v.ask(ctx, protocol.TypeDial, spec, &got); v.err != nil {
		return
	}
	if len(got.Ways) != len(v.ways) {
		v.err = fmt.Errorf("node %s: %d answers for %d ways", v.target.Name, len(got.Ways), len(v.ways))
		return
	}
	for i := range v.ways {
		v.ways[i].result = got.Ways[i]
	}
}

// leave ends the agent and the connection, and sees to it that nothing stays.
func (v *visit) leave(ctx context.Context) error {
	if v.node == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), leaveLimit, fmt.Errorf("leaving the node took longer than %v", leaveLimit))
	defer cancel()
	if v.link != nil {
		v.link.Close()
		_ = v.conn.Close() // waits until the agent has ended; the link's end ends it otherwise
		v.link = nil
	}
	var err error
	if v.place != "" && v.node.Err() == nil {
		_, err = v.node.Run(ctx, nodes.Script("remove the doctor's directory", `[ ! -d "$1" ] || rm -rf -- "$1"`, v.place))
	}
	return errors.Join(err, v.node.Close())
}

// epoch anchors the controller's clock, so that nothing that sets the machine's
// moves it.
var epoch = time.Now()

// controllerClock is the controller's time in nanoseconds since the Unix epoch.
func controllerClock() int64 { return epoch.UnixNano() + int64(time.Since(epoch)) }

// ping reads the node's clock some times. A clock that cannot be read is left
// out: the inspection tells why.
func (v *visit) ping(ctx context.Context) []measure.ProbeSample {
	var samples []measure.ProbeSample
	began := time.Now()
	for n := range pings {
		if n >= pingLeast && time.Since(began) > pingLimit {
			break
		}
		s, err := v.link.Ping(ctx)
		if err != nil {
			break
		}
		samples = append(samples, s)
	}
	return samples
}

// readClock works out the offset from all samples, and the drift from two
// batches some time apart.
func readClock(first, second []measure.ProbeSample) *clockReading {
	all, err := measure.FitClock(append(append([]measure.ProbeSample(nil), first...), second...))
	if err != nil {
		return nil
	}
	r := &clockReading{offset: -time.Duration(all.Offset), bound: time.Duration(all.Error), driftBound: math.Inf(1)}
	a, errA := measure.FitClock(first)
	b, errB := measure.FitClock(second)
	if apart := float64(b.Epoch - a.Epoch); errA == nil && errB == nil && apart > 0 {
		r.drift = float64(a.Offset-b.Offset) / apart * 1e6
		r.driftBound = float64(a.Error+b.Error) / apart * 1e6
	}
	return r
}
