// Package fault does to a node what an experiment asks for: it kills and pauses
// components, cuts and slows the network, uses up CPU and memory, and fills the
// disk. It exists so that each of these ends again, whatever happens to who
// asked for it.
//
// What outlives a process (rules of the network, a file) and what would burden
// the agent (pressure) is in the hands of a holder, a process of its own for
// each fault. It writes down how to undo the fault before it begins, and heals
// it when its time is up, when it is told to, and when the agent is gone. What
// is written down is undone by the next agent, or by provisioning, where the
// holder was killed too.
//
// It knows no experiment, no schedule and no controller.
package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"bela/agents/protocol"
)

// Processes are this node's components.
type Processes interface {
	// Kill and Halt end an instance on behalf of a fault: it may be started again.
	Kill(name string, instance int) error
	Halt(ctx context.Context, name string, instance int) error
	// Pause stops an instance where it stands, Resume lets it go on.
	Pause(name string, instance int) error
	Resume(name string, instance int) error
}

// Options are what a Keeper needs to know.
type Options struct {
	// Dir is bela's directory on the node; records are below Dir/run.
	Dir string
	// Self is the path of the agent's executable. It must call Main when its
	// first argument is Command.
	Self string
	// Run names the run in the comment of each rule of the network.
	Run string
	// Now is the testbed's time in nanoseconds.
	Now       func() int64
	Processes Processes
	Logger    *slog.Logger
}

// Keeper has this node's faults in its hands. It is safe for several goroutines.
type Keeper struct {
	Options

	mu     sync.Mutex
	faults map[string]*held // by id; nil where one is being begun
}

// held is a fault that began.
type held struct {
	end func() // asks it to heal; may be called again

	once  sync.Once
	done  chan struct{} // closed when it is healed
	ended protocol.FaultEnded
	err   error // why it could not be healed, or was not healed as asked
}

func newHeld() *held { return &held{done: make(chan struct{})} }

func (h *held) close(ended protocol.FaultEnded, err error) {
	h.once.Do(func() {
		h.ended, h.err = ended, err
		close(h.done)
	})
}

// How long a fault may take to be in force, and to be healed.
const (
	beginLimit = 30 * time.Second
	endLimit   = 30 * time.Second
)

var safeID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// New returns a Keeper. It does nothing yet.
func New(o Options) *Keeper {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{Options: o, faults: make(map[string]*held)}
}

// Check says why this node cannot do a fault, as far as that can be known
// without doing it. Its error is a *protocol.Error.
func (k *Keeper) Check(ctx context.Context, spec protocol.FaultSpec) error {
	ctx, cancel := context.WithTimeout(ctx, beginLimit)
	defer cancel()
	err := checkSpec(spec)
	if err == nil && spec.Process == nil {
		err = doerOf(spec, k.place(spec.ID)).check(ctx)
	}
	return refused(spec, err)
}

// refused is the error of a fault that cannot be done.
func refused(spec protocol.FaultSpec, err error) error {
	if err == nil {
		return nil
	}
	return &protocol.Error{Code: "fault_failed", Text: fmt.Sprintf("fault %s: %v", spec.ID, err)}
}

// checkSpec refuses what could not even be tried.
func checkSpec(spec protocol.FaultSpec) error {
	kinds := 0
	for _, given := range []bool{spec.Process != nil, spec.Network != nil, spec.Pressure != nil, spec.Disk != nil} {
		if given {
			kinds++
		}
	}
	switch {
	case !safeID.MatchString(spec.ID):
		return fmt.Errorf("the id %q is no word of letters, digits and -", spec.ID)
	case kinds != 1:
		return fmt.Errorf("it says %d things to do; one is wanted", kinds)
	case spec.For < 0 || spec.For == 0 && (spec.Process == nil || spec.Process.Do == protocol.ProcessPause):
		return errors.New("it has no length")
	}
	return nil
}

// Begin begins a fault and returns once it is in force. Its error is a
// *protocol.Error, and then nothing is left of the fault.
func (k *Keeper) Begin(ctx context.Context, spec protocol.FaultSpec) (protocol.FaultBegun, error) {
	var none protocol.FaultBegun
	if err := checkSpec(spec); err != nil {
		return none, refused(spec, err)
	}
	k.mu.Lock()
	_, there := k.faults[spec.ID]
	if !there {
		k.faults[spec.ID] = nil
	}
	k.mu.Unlock()
	if there {
		return none, refused(spec, errors.New("it has begun already"))
	}
	ctx, cancel := context.WithTimeout(ctx, beginLimit)
	defer cancel()
	begin := k.hold
	if spec.Process != nil {
		begin = k.process
	}
	h, begun, err := begin(ctx, spec)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		delete(k.faults, spec.ID)
		return none, refused(spec, err)
	}
	k.faults[spec.ID] = h
	return begun, nil
}

// End heals a fault, or tells how one ended whose time was up. Of a fault that
// is not there it says nothing. Its error is a *protocol.Error.
func (k *Keeper) End(ctx context.Context, id string) (protocol.FaultEnded, error) {
	k.mu.Lock()
	h := k.faults[id]
	k.mu.Unlock()
	if h == nil {
		return protocol.FaultEnded{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	h.end()
	select {
	case <-h.done:
		return h.ended, refused(protocol.FaultSpec{ID: id}, h.err)
	case <-ctx.Done():
		return protocol.FaultEnded{}, &protocol.Error{Code: "deadline", Text: fmt.Sprintf("fault %s: not healed: %v", id, context.Cause(ctx))}
	}
}

// EndAll heals all faults and forgets them. It goes on after an error.
func (k *Keeper) EndAll(ctx context.Context) error {
	k.mu.Lock()
	var ids []string
	for id, h := range k.faults {
		if h != nil {
			h.end() // side by side
			ids = append(ids, id)
		}
	}
	k.mu.Unlock()
	var errs []error
	for _, id := range ids {
		_, err := k.End(ctx, id)
		errs = append(errs, err)
		k.mu.Lock()
		delete(k.faults, id)
		k.mu.Unlock()
	}
	return errors.Join(errs...)
}
