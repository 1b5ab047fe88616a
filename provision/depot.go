package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"bela/nodes"
	"bela/provision/agentbin"
)

// The limits of a Depot. Each node's time counts from its own turn.
const (
	maxChecks  = 64 // nodes looked at, or started on, at once
	maxUploads = 8  // programs on their way at once

	checkLimit = time.Minute
	// A node that takes nothing for a while lets others go first, and later on
	// is given up.
	uploadYield = 2 * time.Second
	uploadStall = 30 * time.Second
	// placeLimit is for the node to check and place what it has got.
	placeLimit = time.Minute
)

// progressEvery is the time between two notes of how far an upload is.
const progressEvery = 250 * time.Millisecond

// probeBlocks is what the rate of a link is measured with, in blocks.
const (
	blockSize   = 64 << 10
	probeBlocks = 4
)

// Depot brings agents, and the built-in platform, to many nodes, side by side and
// under limits, and holds each program in memory once.
type Depot struct {
	source  Source
	checks  chan struct{}
	uploads chan struct{}

	// measure gives the rate of the link to a node, in bytes a second.
	measure func(v *visit, text []byte) (float64, error)
	// slow is the rate of a gateway below which nodes feed each other.
	slow float64

	mu     sync.Mutex
	cargos map[string]*cargo // by program and SHA-256
	swarms map[string]*swarm // by gateway, program and SHA-256
}

// NewDepot makes a Depot of the programs that source gives. Close it when every node
// has been opened.
func NewDepot(source Source) *Depot {
	return &Depot{
		source: source, checks: make(chan struct{}, maxChecks), uploads: make(chan struct{}, maxUploads),
		measure: (*visit).probe, slow: slowGateway, cargos: map[string]*cargo{}, swarms: map[string]*swarm{},
	}
}

// Watch is told what happens to a node on its way; nil functions are not called.
type Watch struct {
	// Looked is called when the node has said what it is.
	Looked func(nodes.Facts)
	// Pushing says how much of a program has gone, of how much, in bytes as they
	// go over the link, a few times a second.
	Pushing func(done, all int64)
	// Feeding says from whom the node gets a program, where that is another node,
	// or why it does not.
	Feeding func(text string)
	// Note is told what went another way than planned, and why.
	Note func(text string)
}

// Brought is a program on a node.
type Brought struct {
	Path string // on the node
	// Moved is how much of it went to the node, in bytes as they went over the
	// link: 0 where it was there already, and less than its size where it was
	// compressed. Way says how: "", "plain", "gzip", "zstd", "sftp", or "fed" where
	// it came from another node, and Moved is 0 too.
	Moved int64
	Way   string
}

// Opened is a node whose agent runs.
type Opened struct {
	Facts nodes.Facts
	Agent Brought
	// Platform is empty where it was not asked for.
	Platform Brought
	// Begun says that something was put on the node, for Remove to take off again;
	// true also where Open failed later.
	Begun bool
	// Conn is the conversation with the agent, as Attach gives it.
	Conn io.ReadWriteCloser
}

// Open makes a node ready: it looks what is there, puts the agent on it where it
// is missing, and the built-in platform too where o says so, starts the agent and
// reaches it, all in one session where nothing fails. The agent is taken from the
// Depot, not from o. Where another agent runs there the error is InUse.
func (d *Depot) Open(ctx context.Context, n *nodes.Node, o StartOptions, w Watch) (Opened, error) {
	if o.Run == "" || o.Lease <= 0 || o.Keep < 0 {
		return Opened{}, &nodes.Error{Node: n.Name(), Kind: nodes.BadConfig, Err: errors.New("start the agent: run and lease are needed")}
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultStartTimeout
	}
	var opened Opened
	programs := []agentbin.Program{agentbin.Agent}
	if o.Platform {
		programs = append(programs, agentbin.Platform)
	}
	v, err := d.look(ctx, n, o.Env, programs)
	if err != nil {
		return opened, err
	}
	// The session is the agent's conversation in the end; before that it closes.
	defer func() {
		if opened.Conn == nil {
			_ = v.conn.Close()
		}
	}()
	opened.Facts = v.facts
	if w.Looked != nil {
		w.Looked(v.facts)
	}
	if err := v.fit(d.source); err != nil {
		return opened, err
	}
	opened.Begun = true
	if v, opened.Agent, err = d.supply(ctx, v, agentbin.Agent, w); err != nil {
		return opened, err
	}
	if o.Platform {
		if v, opened.Platform, err = d.supply(ctx, v, agentbin.Platform, w); err != nil {
			return opened, err
		}
	}
	o.Agent = opened.Agent.Path
	opened.Conn, err = d.start(ctx, v, o)
	return opened, err
}

// Bring puts the built-in platform on a node whose agent runs, where it is missing.
func (d *Depot) Bring(ctx context.Context, n *nodes.Node, w Watch) (Brought, error) {
	v, err := d.look(ctx, n, nil, []agentbin.Program{agentbin.Platform})
	if err != nil {
		return Brought{}, err
	}
	defer func() { _ = v.conn.Close() }()
	_, at, there, err := d.lookFor(ctx, v, agentbin.Platform)
	switch {
	case err != nil:
		return Brought{}, err
	case there:
		return Brought{Path: at}, nil
	}
	if err := errors.Join(fit(n, v.facts, d.source, v.programs...), v.problem); err != nil {
		return Brought{}, err
	}
	v, brought, err := d.supply(ctx, v, agentbin.Platform, w)
	return brought, err
}

// lookFor says whether a visited node has a program, whole, and where it belongs.
func (d *Depot) lookFor(ctx context.Context, v *visit, p agentbin.Program) (c *cargo, at string, there bool, err error) {
	if c, err = d.cargo(v, p); err != nil {
		return nil, "", false, err
	}
	at, err = pathOf(ctx, v.node, p, c.bin)
	return c, at, err == nil && v.has[at] == c.bin.SHA256, err
}

// supply sees to it that a visited node has a program, whole. The visit that goes on
// may be another one.
func (d *Depot) supply(ctx context.Context, v *visit, p agentbin.Program, w Watch) (*visit, Brought, error) {
	cargo, at, there, err := d.lookFor(ctx, v, p)
	b := Brought{Path: at}
	if err != nil || there {
		return v, b, err
	}
	b.Way, b.Moved, err = d.bring(ctx, v, cargo, b.Path, w)
	if again, ok := errors.AsType[*badCopyError](err); ok {
		if w.Note != nil {
			w.Note(again.Error() + "; copying it by SFTP")
		}
		if v, err = d.copyOver(ctx, v, cargo, b.Path); err == nil {
			b.Way, b.Moved = "sftp", cargo.bin.Size
		}
	}
	return v, b, err
}

// take waits for one of limited places.
func take(ctx context.Context, n *nodes.Node, places chan struct{}, what string) (func(), error) {
	select {
	case places <- struct{}{}:
		return sync.OnceFunc(func() { <-places }), nil
	case <-ctx.Done():
		return nil, &nodes.Error{Node: n.Name(), Kind: nodes.Canceled, Err: fmt.Errorf("waiting for a turn to %s: %w", what, context.Cause(ctx))}
	}
}

func (d *Depot) look(ctx context.Context, n *nodes.Node, env map[string]string, programs []agentbin.Program) (*visit, error) {
	done, err := take(ctx, n, d.checks, "look at the node")
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("%s: no answer within %v", visitName, checkLimit))
	defer cancel()
	return begin(ctx, n, env, programs...)
}

func (d *Depot) start(ctx context.Context, v *visit, o StartOptions) (io.ReadWriteCloser, error) {
	done, err := take(ctx, v.node, d.checks, "start the agent")
	if err != nil {
		return nil, err
	}
	defer done()
	return v.start(ctx, o)
}

// cargo gives a program for the machine that is visited.
func (d *Depot) cargo(v *visit, p agentbin.Program) (*cargo, error) {
	bin, err := binaryFor(v.node, v.facts, d.source, p)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := string(p) + " " + bin.SHA256
	c := d.cargos[key]
	if c == nil {
		c = newCargo(p, bin)
		d.cargos[key] = c
	}
	return c, nil
}

// badCopyError is a copy that did not arrive as it left.
type badCopyError struct{ node, what, why string }

func (e *badCopyError) Error() string {
	return fmt.Sprintf("node %s: %s did not arrive whole: %s", e.node, e.what, e.why)
}

// push sends a program in the visit's session, in the way that its link's rate
// calls for, and says how and how many bytes. measured, where given, is told that
// rate.
func (d *Depot) push(ctx context.Context, v *visit, c *cargo, to string, w Watch, measured func(rate float64)) (way string, moved int64, err error) {
	done, err := take(ctx, v.node, d.uploads, "get "+c.program.Noun())
	if err != nil {
		return "", 0, err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	yield := newWatchdog(uploadYield, done)
	defer yield.stop()
	stall := newWatchdog(uploadStall, func() { cancel(fmt.Errorf("the upload of %s has not moved for %v", c.program.Noun(), uploadStall)) })
	defer stall.stop()
	err = v.during(ctx, func() error {
		// To load and to pack is the controller's own work: no link stalls meanwhile.
		ready := func(way string) (text []byte, err error) {
			stall.without(func() { text, err = c.as(ctx, way) })
			if err != nil && ctx.Err() == nil {
				err = &nodes.Error{Node: v.node.Name(), Kind: nodes.BadConfig, Err: err, Next: "run make build"}
			}
			return text, err
		}
		plain, err := ready(wayPlain)
		if err != nil {
			return err
		}
		if v.rate > 0 { // measured, for another program that came before this one
			v.rate = max(v.rate, v.node.LinkRate())
		} else if v.rate, err = d.measure(v, plain); err != nil {
			return err
		}
		if measured != nil {
			measured(v.rate)
		}
		way = choose(v.rate, c.bin.OpenPacked != nil, v.tools)
		text, err := ready(way)
		if err != nil {
			return err
		}
		moved = int64(len(text))
		last := time.Now()
		note := func(done int64) {
			yield.moved()
			stall.moved()
			if now := time.Now(); w.Pushing != nil && now.Sub(last) >= progressEvery {
				last = now
				w.Pushing(done, moved)
			}
		}
		if way == wayPlain {
			err = v.sendFile(ctx, c, text, to, note)
		} else {
			err = v.send(way, c, text, to, note)
		}
		if err != nil {
			return err
		}
		done() // all is on its way: what is left is the node's own work
		stall.stop()
		limit := time.AfterFunc(placeLimit, func() { cancel(fmt.Errorf("the node did not check %s within %v", c.program.Noun(), placeLimit)) })
		defer limit.Stop()
		return v.placed(c, to)
	})
	return way, moved, err
}

// probe measures the rate of the link in bytes a second, its latency included; a
// short file is not worth it. What the kernel saw of the connection comes first:
// where a hundred nodes have work to do, none answers at once, however fast its
// link is.
func (v *visit) probe(text []byte) (float64, error) {
	const size = probeBlocks * blockSize
	if len(text) < 4*size {
		return slowLink, nil
	}
	if rate := v.node.LinkRate(); rate >= slowLink {
		return rate, nil
	}
	begin := time.Now()
	if err := v.say("probe " + strconv.Itoa(probeBlocks)); err != nil {
		return 0, err
	}
	if _, err := v.conn.Write(text[:size]); err != nil {
		return 0, v.ended(err)
	}
	switch line, err := v.line(); {
	case err != nil:
		return 0, v.ended(err)
	case line != "probed":
		return 0, v.odd("its dd does not read full blocks")
	}
	return max(size/time.Since(begin).Seconds(), v.node.LinkRate()), nil
}

// offer says what is to come, and gives what the node adds to its go.
func (v *visit) offer(c *cargo, to, format string, args ...any) (string, error) {
	if err := v.say(fmt.Sprintf(format, args...), to, Controller()); err != nil {
		return "", v.ended(err)
	}
	line, err := v.line()
	if err != nil {
		return "", explain(v.node.Name(), "make bela's directory", err)
	}
	word, rest, _ := strings.Cut(line, " ")
	if word != "go" {
		return "", v.odd(fmt.Sprintf("it says %q instead of taking %s", oneLine(line), c.program.Noun()))
	}
	return rest, nil
}

// sendFile sends the bytes by SFTP into a file that the visit has made, and in the
// session itself where there is no SFTP. Of a session's input OpenSSH's server takes
// more at once than the node can swallow, which costs it more than all the rest.
func (v *visit) sendFile(ctx context.Context, c *cargo, text []byte, to string, moved func(int64)) error {
	temporary, err := v.offer(c, to, "receive %s", c.bin.SHA256)
	if err != nil {
		return err
	}
	err = v.node.Send(ctx, temporary, text, moved)
	switch {
	case errors.Is(err, nodes.ErrNoTransfer):
		if err := v.say("drop"); err != nil {
			return v.ended(err)
		}
		return v.send(wayPlain, c, text, to, moved)
	case nodes.KindOf(err) == nodes.LinkLost, ctx.Err() != nil:
		return err
	}
	return v.say("settle") // what is wrong with it shows there
}

// send sends the bytes in the session. An error of writing is not told where the
// node has said why it takes no more: placed reads that.
func (v *visit) send(way string, c *cargo, text []byte, to string, moved func(int64)) error {
	if _, err := v.offer(c, to, "put %s %d %d %s", way, len(text)/blockSize, len(text)%blockSize, c.bin.SHA256); err != nil {
		return err
	}
	for at := 0; at < len(text); {
		k, err := v.conn.Write(text[at:min(at+blockSize, len(text))])
		at += k
		if err != nil {
			if nodes.KindOf(err) == nodes.LinkLost {
				return err
			}
			return nil
		}
		moved(int64(at))
	}
	return nil
}

// placed reads what became of the bytes.
func (v *visit) placed(c *cargo, at string) error {
	line, err := v.line()
	if err != nil {
		return explain(v.node.Name(), "place "+c.program.Noun(), err)
	}
	switch word, rest, _ := strings.Cut(line, " "); word {
	case "placed":
		return nil
	case "full":
		return &nodes.Error{Node: v.node.Name(), Kind: nodes.NoSpace, Err: fmt.Errorf("%s has %d bytes, and the disk is full", at, c.bin.Size),
			Next: "free some space there, or set directory to another disk"}
	case "unreached":
		return &unfedError{why: "it is not reached from there", unreached: true}
	case "bad":
		return &badCopyError{v.node.Name(), c.program.Noun(), fmt.Sprintf("its SHA-256 is %s there instead of %s", oneLine(rest), c.bin.SHA256)}
	}
	return v.odd(fmt.Sprintf("it says %q after the upload", oneLine(line)))
}

// copyOver is the way for nodes whose own tools do not do: SFTP, and a new visit.
func (d *Depot) copyOver(ctx context.Context, v *visit, c *cargo, to string) (*visit, error) {
	_ = v.conn.Close()
	done, err := take(ctx, v.node, d.uploads, "get "+c.program.Noun())
	if err != nil {
		return v, err
	}
	defer done()
	if err := upload(ctx, v.node, c.program, c.bin, to); err != nil {
		return v, err
	}
	again, err := d.look(ctx, v.node, v.env, v.programs)
	if err != nil {
		return v, err
	}
	return again, nil
}
