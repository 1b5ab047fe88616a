// Package component runs the processes under test on a node: it starts them,
// waits until they are ready, holds them to their limits, reads what they use,
// and ends them. It exists so that nothing it started outlives the agent, and
// so that what an instance uses is accounted for in full, its children included.
//
// It knows no experiment and nothing of what a process does; built-in components
// are an executable too, whose place the spec names (see package platform).
package component

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"bela/agents/meter"
	"bela/agents/protocol"
)

// KindProcess is the kind of the user's own processes; all other kinds are
// built in.
const KindProcess = "process"

// Options are what a Supervisor needs to know.
type Options struct {
	// Dir is bela's directory on the node; instances live below Dir/cells.
	Dir string
	// Self is the path of the agent's executable. It must call Shim when its
	// first argument is ShimCommand.
	Self string
	// Now is the testbed's time in nanoseconds, for events.
	Now func() int64
	// OnEvent gets each change that was not asked for. It must not block.
	OnEvent func(protocol.ComponentEvent)
	// OnWarn gets what costs numbers, such as a source of metrics that does not
	// answer. It must not block; nil takes nothing.
	OnWarn func(text string)
	Logger *slog.Logger
	// Record notes a control group's directory before it is made; one that
	// cannot be noted is not made. nil notes nothing.
	Record func(path string) error
	// RecordUnit notes a systemd unit in the same way.
	RecordUnit func(unit string) error
	// RecordState notes a path outside of Dir that components write to, before
	// they do. nil notes nothing.
	RecordState func(path string) error
	// Holder names the process that listens on a port; nil names none.
	Holder func(host string, port int) string
}

// Supervisor runs instances of components. It is safe for several goroutines.
type Supervisor struct {
	Options
	groups  *groups
	traffic traffic

	mu       sync.Mutex
	seq      int
	running  map[key]*instance
	exits    map[key]int // unasked exits so far: a start after one is a restart
	restarts map[key]int
	faulted  map[key]bool // ended by a fault
	nursery  *nursery     // nil while nothing runs

	state      map[string]bool // paths outside of Dir, recorded
	revived    map[key]int     // restarts by policy so far
	revivals   map[key]*revival
	reviving   sync.WaitGroup
	generation int // counts the times that all were stopped
}

// key names an instance on this node.
type key struct {
	name   string
	number int
}

func (k key) String() string { return k.name + "-" + strconv.Itoa(k.number) }

// New returns a Supervisor. It starts nothing.
func New(o Options) *Supervisor {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if dir, err := filepath.Abs(o.Dir); err == nil {
		o.Dir = dir
	}
	groups := findGroups("/proc", o.Dir)
	groups.record = o.Record
	if groups.units = groups.findUnits("/proc"); groups.units != nil {
		groups.units.record = o.RecordUnit
	}
	return &Supervisor{
		Options: o, groups: groups,
		running: make(map[key]*instance), exits: make(map[key]int), restarts: make(map[key]int),
		faulted: make(map[key]bool),
		state:   make(map[string]bool), revived: make(map[key]int), revivals: make(map[key]*revival),
	}
}

// Names become parts of paths.
var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// Start starts an instance and returns when it is ready. Its error is a
// *protocol.Error: bad_request for a spec that cannot be run, component_failed
// with the instance's last lines when it ended, deadline when it was not ready
// within spec.ReadyTimeout (30 s unless given). Nothing is left of an instance
// that did not become ready, except for its log.
func (s *Supervisor) Start(ctx context.Context, spec protocol.ComponentSpec) (protocol.ComponentStarted, error) {
	k := key{spec.Name, spec.Instance}
	if err := checkSpec(spec); err != nil {
		return protocol.ComponentStarted{}, &protocol.Error{Code: "bad_request", Text: fmt.Sprintf("component %s: %v", k, err)}
	}
	s.callOff(k)
	in, refused := s.launch(ctx, k, spec, false)
	if refused != nil {
		return protocol.ComponentStarted{}, refused
	}
	ready := in.awaitReady(ctx)
	if ready == nil && !in.life.CompareAndSwap(starting, live) {
		ready = in.tooEarly()
	}
	if ready != nil {
		if err := in.kill(); err != nil {
			s.Logger.Error("component that was not ready", "error", err)
		}
		ready.Log = in.log.last()
		return protocol.ComponentStarted{}, ready
	}
	in.openMeter()
	return protocol.ComponentStarted{PID: in.pid, LimitsEnforced: in.limitsReason == "", LimitsBy: in.limitsBy(), LimitsReason: in.limitsReason}, nil
}

// checkSpec refuses what could not even be tried.
func checkSpec(spec protocol.ComponentSpec) error {
	switch {
	case !safeName.MatchString(spec.Name):
		return fmt.Errorf("name %q: use letters, digits, - and _", spec.Name)
	case !safeName.MatchString(spec.Cell):
		return fmt.Errorf("cell %q: use letters, digits, - and _", spec.Cell)
	case spec.Instance < 1:
		return fmt.Errorf("instance %d: they count from 1", spec.Instance)
	case spec.Kind == "":
		return errors.New("it has no kind")
	case spec.Kind != KindProcess && !filepath.IsAbs(spec.Executable):
		return fmt.Errorf("executable %q: where the built-in platform lies must be given in full", spec.Executable)
	case spec.Kind == KindProcess && (len(spec.Command) == 0 || spec.Command[0] == ""):
		return errors.New("it has no command")
	case spec.Kind != KindProcess && spec.Process != nil:
		return errors.New("only a process has files, artifacts, a user or restarts")
	case spec.LimitCPU < 0 || spec.LimitMemory < 0:
		return errors.New("a limit is negative")
	}
	if _, err := stopSignal(spec.StopSignal); err != nil {
		return err
	}
	if err := checkProcess(spec.Process); err != nil {
		return err
	}
	if spec.Meter != nil {
		if err := meter.Check(*spec.Meter); err != nil {
			return err
		}
	}
	if spec.ReadyLog != "" {
		if _, err := regexp.Compile(spec.ReadyLog); err != nil {
			return fmt.Errorf("ready: %w", err)
		}
	}
	return nil
}

// launch starts the process and enters it among the running. revival says that
// its policy starts it again.
func (s *Supervisor) launch(ctx context.Context, k key, spec protocol.ComponentSpec, revival bool) (*instance, *protocol.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revival && ctx.Err() != nil {
		return nil, &protocol.Error{Code: "internal", Text: fmt.Sprintf("component %s: its restart was called off", k)}
	}
	if in := s.running[k]; in != nil {
		return nil, &protocol.Error{Code: "bad_request", Text: fmt.Sprintf("component %s runs already, with pid %d: stop it first", k, in.pid)}
	}
	if s.nursery == nil {
		s.nursery = newNursery(s.Self, s.Logger)
	}
	in := newInstance(s, k, spec)
	in.again, in.revival = s.faulted[k] || revival, revival
	s.traffic.expect(in)
	if err := in.start(s.nursery); err != nil {
		s.quiet()
		return nil, &protocol.Error{Code: "component_failed", Text: fmt.Sprintf("component %s: %v", k, err), Log: in.log.last()}
	}
	s.seq++
	in.seq = s.seq
	if s.exits[k] > 0 {
		s.exits[k]--
		s.restarts[k]++
	}
	delete(s.faulted, k)
	in.restarts = s.restarts[k]
	s.running[k] = in
	return in, nil
}

// ended takes an instance out of the running. An end that was asked for, or that
// Start tells of, makes the next start no restart.
func (s *Supervisor) ended(in *instance, told bool) (generation int, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again = !told && !in.faulted.Load() && s.mayRevive(in)
	if s.running[in.key] == in {
		delete(s.running, in.key)
	}
	switch {
	case in.faulted.Load():
		s.exits[in.key]++
		s.faulted[in.key] = true
	case told && in.revival && !in.asked.Load():
		s.exits[in.key]++ // its policy may start it once more
	case told:
		delete(s.exits, in.key)
		delete(s.restarts, in.key)
	default:
		s.exits[in.key]++
	}
	s.nursery.forget(in)
	s.quiet()
	return s.generation, again
}

// quiet lets go of the nursery when nothing runs. The caller holds mu.
func (s *Supervisor) quiet() {
	if len(s.running) == 0 && s.nursery != nil {
		s.nursery.close()
		s.nursery = nil
		s.traffic.close()
	}
}

// Stop ends an instance: its stop signal to its process group, and after its stop
// timeout, or when ctx is done, SIGKILL to all that is left of it. Stopping one
// that does not run is no error.
func (s *Supervisor) Stop(ctx context.Context, name string, instance int) error {
	s.callOff(key{name, instance})
	s.mu.Lock()
	in := s.running[key{name, instance}]
	s.mu.Unlock()
	if in == nil {
		return nil
	}
	return in.stop(ctx)
}

// StopAll ends all instances, the one started last first, and forgets those that
// ended before. It goes on after an error.
func (s *Supervisor) StopAll(ctx context.Context) error {
	var errs []error
	s.callOffAll()
	for _, in := range slices.Backward(s.list()) {
		errs = append(errs, in.stop(ctx))
	}
	s.mu.Lock()
	if len(s.running) == 0 {
		errs = append(errs, s.wipeState())
	}
	clear(s.revived)
	clear(s.exits)
	clear(s.restarts)
	clear(s.faulted)
	s.mu.Unlock()
	return errors.Join(errs...)
}

// list returns the running instances in the order of their start.
func (s *Supervisor) list() []*instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*instance, 0, len(s.running))
	for _, in := range s.running {
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b *instance) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// Running names the running instances ("gateway-1") in the order of their start.
func (s *Supervisor) Running() []string {
	var names []string
	for _, in := range s.list() {
		names = append(names, in.String())
	}
	return names
}

// Sample reads what each running instance has used so far. CPU time never
// decreases; memory is what could not be reclaimed at once.
func (s *Supervisor) Sample() []protocol.ComponentSample {
	var table processTable // read once, and only where an instance needs it
	var samples []protocol.ComponentSample
	running := s.list()
	for _, in := range running {
		one := protocol.ComponentSample{
			Name: in.name, Instance: in.number, PID: in.pid,
			ProcessSample: in.usage(&table),
			Restarts:      in.restarts,
			Group:         in.groupSample(),
			Traffic:       in.metered(),
		}
		if c := in.counters.Load(); c != nil {
			one.Counters, one.CountedAt = c.Counters, s.Now()-int64(time.Since(c.at))
		}
		samples = append(samples, one)
	}
	// After the use, which finds out what processes there are.
	for in, t := range s.traffic.look(s, running) {
		samples[slices.Index(running, in)].Traffic = t
	}
	return samples
}

// cellDir is where a cell's instances live.
func (s *Supervisor) cellDir(cell string) (string, error) {
	dir := filepath.Join(s.Dir, "cells", cell)
	return dir, os.MkdirAll(dir, 0o700)
}
