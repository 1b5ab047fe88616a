package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"bela/nodes"
	"bela/provision/agentbin"
)

// When nodes behind one gateway feed each other.
const (
	// slowGateway is the rate, in bytes a second, below which a gateway is worth
	// sparing: a compressed agent takes a second through it then.
	slowGateway = 4 << 20
	// minSwarm is how many nodes must want a program for it to be worth it, and
	// gather is how long the first ones wait for the others.
	minSwarm = 3
	gather   = 2 * time.Second
	// feedEach is how many nodes one feeds: they go on feeding others, so that the
	// program spreads as a tree.
	feedEach = 3
	// maxUnreached is how many nodes must not reach another one, while none does,
	// for it to be tried no more.
	maxUnreached = 2
)

// swarm is the nodes behind one gateway that get the same program. The first gets it
// through the gateway. Where that is slow the others get it from those that have it.
type swarm struct {
	mu        sync.Mutex
	changed   chan struct{} // closed and made anew when one of those below changes
	members   int           // that came for the program
	leader    string        // the node that gets it through the gateway; empty for none
	known     bool          // the gateway's rate has been measured
	direct    bool          // the gateway is fast, or the nodes do not reach each other
	fetching  int
	reached   bool // a node got it from another
	unreached int
	feeders   []*feeder // the nodes that have it
}

// swarmOf is the swarm that a node belongs to; nil where it gets the program by itself.
func (d *Depot) swarmOf(v *visit, c *cargo) *swarm {
	gateway := v.node.Gateway()
	if gateway == "" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := string(c.program) + " " + c.bin.SHA256 + " " + gateway
	s := d.swarms[key]
	if s == nil {
		s = &swarm{changed: make(chan struct{})}
		d.swarms[key] = s
	}
	return s
}

// Close ends what nodes do for each other. No agent is affected.
func (d *Depot) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range d.swarms {
		s.mu.Lock()
		for _, f := range s.feeders {
			all.Go(f.close)
		}
		s.feeders, s.direct = nil, true
		s.mu.Unlock()
	}
	all.Wait()
}

// change changes the swarm and tells those who wait.
func (s *swarm) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// bring gets a program to a node: from another one behind the same slow gateway,
// or through it.
func (d *Depot) bring(ctx context.Context, v *visit, c *cargo, to string, w Watch) (way string, moved int64, err error) {
	s := d.swarmOf(v, c)
	if s == nil {
		return d.push(ctx, v, c, to, w, nil)
	}
	say := func(format string, args ...any) {
		if w.Feeding != nil {
			w.Feeding(fmt.Sprintf(format, args...))
		}
	}
	agent, err := AgentPath(ctx, v.node, v.facts, d.source) // which feeds
	if err != nil {
		return "", 0, err
	}
	lead, from, err := s.turn(ctx, v, c.program, say)
	if err != nil {
		return "", 0, err
	}
	if from != nil {
		say("from %s", from.node.Name())
		if err = d.fetch(ctx, v, c, to, from); err == nil {
			s.change(func() { s.fetching--; s.reached = true; s.feeders = append(s.feeders, newFeeder(v.node, agent, to)) })
			return wayFed, 0, nil
		}
		unfed, ok := errors.AsType[*unfedError](err)
		s.change(func() { s.fetching--; s.note(unfed, from) })
		if !ok {
			return "", 0, err
		}
		say("not from %s: %s; through the gateway instead", from.node.Name(), unfed.why)
	}
	way, moved, err = d.push(ctx, v, c, to, w, func(rate float64) {
		if lead {
			s.change(func() { s.known = true; s.direct = s.direct || rate >= d.slow })
		}
	})
	s.change(func() {
		if lead {
			s.leader = ""
		}
		if err == nil && !s.direct {
			s.feeders = append(s.feeders, newFeeder(v.node, agent, to))
		}
	})
	return way, moved, err
}

// note takes a feeder out that failed. A feeder that others reach stays, and one
// that gives something wrong gives nothing more.
func (s *swarm) note(unfed *unfedError, from *feeder) {
	if unfed == nil {
		return
	}
	if unfed.unreached {
		s.unreached++
		s.direct = s.direct || !s.reached && s.unreached >= maxUnreached
		return
	}
	for i, f := range s.feeders {
		if f == from {
			s.feeders = append(s.feeders[:i:i], s.feeders[i+1:]...)
			break
		}
	}
	go from.close()
}

// turn waits until it is clear how a node gets the program: from another one, or
// through the gateway, and then perhaps as the one that all others wait for.
func (s *swarm) turn(ctx context.Context, v *visit, p agentbin.Program, say func(string, ...any)) (lead bool, from *feeder, err error) {
	s.change(func() { s.members++ })
	var alone <-chan time.Time
	told := ""
	for {
		s.mu.Lock()
		changed, waitFor := s.changed, s.leader
		if s.direct {
			s.mu.Unlock()
			return false, nil, nil
		}
		fetches := slices.Contains(v.tools, "fetch")
		if from = s.pick(); from != nil && fetches {
			from.given++
			s.fetching++
			s.mu.Unlock()
			return false, from, nil
		}
		if s.leader == "" && s.fetching == 0 || !fetches && s.known {
			if lead = s.leader == ""; lead {
				s.leader = v.node.Name()
			}
			s.mu.Unlock()
			return lead, nil, nil
		}
		few := s.known && s.members < minSwarm
		s.mu.Unlock()
		if few && alone == nil {
			alone = time.After(gather)
		} else if !few {
			alone = nil
		}
		if waitFor != "" && waitFor != told {
			say("waits until %s has it", waitFor)
			told = waitFor
		}
		select {
		case <-changed:
		case <-alone:
			return false, nil, nil
		case <-ctx.Done():
			return false, nil, &nodes.Error{Node: v.node.Name(), Kind: nodes.Canceled, Err: fmt.Errorf("waiting for %s to reach %s: %w", p.Noun(), waitFor, context.Cause(ctx))}
		}
	}
}

// pick takes a place at the feeder that has given the fewest; nil where none has
// one. Held by s.mu.
func (s *swarm) pick() *feeder {
	var best *feeder
	for _, f := range s.feeders {
		if f.given < feedEach && (best == nil || f.given < best.given) {
			best = f
		}
	}
	return best
}

// unfedError says why a node did not get a program from another one; it can still
// get it through the gateway.
type unfedError struct {
	why       string
	unreached bool
}

func (e *unfedError) Error() string { return e.why }

// fetchLimit is how long a node may take to get a program from another one.
const fetchLimit = 2 * time.Minute

// fetch lets a node get a program from another one, and checks its hash there.
func (d *Depot) fetch(ctx context.Context, v *visit, c *cargo, to string, from *feeder) error {
	token, err := from.open(ctx)
	if err != nil {
		return &unfedError{why: err.Error()}
	}
	limit := fetchLimit + placeLimit
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("getting %s from %s took longer than %v", c.program.Noun(), from.node.Name(), limit))
	defer cancel()
	return v.during(ctx, func() error {
		if err := v.say(fmt.Sprintf("fetch %s %d %d %s", from.node.Address(), from.port, int(fetchLimit.Seconds()), c.bin.SHA256), to, Controller(), token); err != nil {
			return v.ended(err)
		}
		err := v.placed(c, to)
		if bad, ok := errors.AsType[*badCopyError](err); ok {
			return &unfedError{why: bad.why}
		}
		return err
	})
}
