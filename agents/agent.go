package agents

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bela/agents/clock"
	"bela/agents/component"
	"bela/agents/fault"
	"bela/agents/inspect"
	"bela/agents/protocol"
)

// Config is what an agent is started with.
type Config struct {
	// Dir is bela's directory on the node; everything the agent makes is below.
	Dir string
	// Run is the run that this agent serves; it refuses controllers of another.
	Run string
	// Lease is how long the agent goes on without hearing from its controller:
	// then it stops load and components. Keep is how long it then holds its
	// results for collection before it removes itself.
	Lease, Keep time.Duration
	// Self is the path of the agent's executable, which built-in components run.
	Self    string
	Version string
	Clock   *clock.Clock
	Logger  *slog.Logger
}

// The files below Config.Dir that a controller relies on.
const (
	socketFile = "run/agent.sock"
	pidFile    = "run/agent.pid"
	lockFile   = "run/agent.lock"
)

// Bounds of the events that an agent holds for its controller: on disk, and of
// them the newest in memory. A sample is a few KiB a second, so that the disk's
// share holds those of more than an hour.
const (
	eventDir       = "run/events"
	eventDiskBytes = 32 << 20
	eventTailBytes = 1 << 20
)

// agent is the running state behind Serve.
type agent struct {
	Config
	events     *eventLog
	components *component.Supervisor
	faults     *fault.Keeper
	load       load
	controller controller
	instance   string // differs from that of every other agent
	// requests are carried out beyond the connections that brought them.
	requests sync.WaitGroup
	// expired says that the lease ran out since the last reset.
	expired atomic.Bool
	peers   peers
	// heard is the local time in nanoseconds at which a controller last spoke.
	heard atomic.Int64
	stop  context.CancelCauseFunc
}

var (
	errShutdown = errors.New("the controller asked for it")
	errLease    = errors.New("no controller was heard of for the lease and the keeping time")
)

// Serve runs an agent until ctx ends, its controller shuts it down, or its
// lease and keeping time run out; in the last case it also removes bela's
// directory from the node. Components and load have ended when it returns.
func Serve(ctx context.Context, cfg Config) error {
	// A socket's path is limited to about 100 bytes; a relative one always fits.
	if err := os.Chdir(cfg.Dir); err != nil {
		return fmt.Errorf("enter bela's directory: %w", err)
	}
	if err := os.MkdirAll("run", 0o700); err != nil {
		return err
	}
	unlock, err := lock(lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := listen()
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	events, err := newEventLog(cfg.Run, cfg.Clock.Now)
	if err != nil {
		return err
	}
	defer events.close()
	a := &agent{Config: cfg, events: events, stop: cancel, instance: rand.Text()}
	a.load.agent, a.peers.agent = a, a
	a.components = component.New(component.Options{
		Dir: cfg.Dir, Self: cfg.Self, Now: cfg.Clock.Now, Logger: cfg.Logger,
		Record:      func(path string) error { return record(cfg.Dir, "cgroup", path) },
		RecordUnit:  func(unit string) error { return record(cfg.Dir, "unit", unit) },
		RecordState: func(path string) error { return record(cfg.Dir, "state", path) },
		Holder:      inspect.Holder,
		OnEvent:     func(e protocol.ComponentEvent) { a.events.append(protocol.Event{Component: &e}) },
		OnWarn:      func(text string) { a.log("warn", text) },
	})
	a.faults = fault.New(fault.Options{
		Dir: cfg.Dir, Self: cfg.Self, Run: cfg.Run, Now: cfg.Clock.Now, Processes: a.components, Logger: cfg.Logger,
	})
	if err := fault.UndoAll(ctx, cfg.Dir); err != nil { // what an agent before this one left
		return fmt.Errorf("undo the faults that are left on this node: %w", err)
	}
	a.heard.Store(cfg.Clock.Local())

	var tasks sync.WaitGroup
	tasks.Go(func() { a.accept(ctx, listener) })
	tasks.Go(func() { a.sample(ctx) })
	tasks.Go(func() { a.watchLease(ctx) })
	cfg.Logger.Info("agent is up", "run", cfg.Run, "pid", os.Getpid(), "version", cfg.Version)

	<-ctx.Done()
	cause := context.Cause(ctx)
	cfg.Logger.Info("agent ends", "cause", cause)
	_ = listener.Close()
	a.clear("the agent ends")
	tasks.Wait()
	a.requests.Wait()
	_ = os.Remove(pidFile)
	if errors.Is(cause, errLease) {
		if err := fault.UndoAll(context.WithoutCancel(ctx), cfg.Dir); err != nil {
			return fmt.Errorf("bela's directory stays, for a fault is left: %w", err)
		}
		if err := undoPackages(context.WithoutCancel(ctx), cfg.Dir); err != nil {
			return fmt.Errorf("bela's directory stays, for packages are left: %w", err)
		}
		return removeAll(cfg.Dir)
	}
	return nil
}

// lock makes sure that only one agent works in a directory.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another agent runs in this directory (%s): end it with `bela clean`", path)
	}
	return func() { _ = f.Close() }, nil
}

func listen() (net.Listener, error) {
	_ = os.Remove(socketFile)
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", socketFile)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", socketFile, err)
	}
	return l, os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
}

func (a *agent) accept(ctx context.Context, l net.Listener) {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				a.Logger.Error("accept", "err", err)
				a.stop(fmt.Errorf("accept on %s: %w", socketFile, err))
			}
			return
		}
		sessions.Go(func() {
			s := &session{agent: a, conn: conn}
			if err := s.serve(ctx); err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
				a.Logger.Warn("session ended", "err", err)
			}
		})
	}
}

// watchLease ends what runs when the controller is silent for too long.
func (a *agent) watchLease(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, a.Lease/4))
	defer tick.Stop()
	expired := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		silent := time.Duration(a.Clock.Local() - a.heard.Load())
		switch {
		case silent >= a.Lease+a.Keep:
			a.stop(errLease)
			return
		case silent >= a.Lease && !expired:
			expired = true
			a.expired.Store(true)
			a.Logger.Warn("lease expired: load and components are stopped", "silent", silent)
			a.halt("the lease expired: the controller was silent for " + silent.Round(time.Second).String())
		case silent < a.Lease:
			expired = false
		}
	}
}

// halt ends faults, load and components and keeps the books for collection.
func (a *agent) halt(why string) {
	a.load.stop()
	a.peers.halt()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := a.faults.EndAll(ctx); err != nil {
		a.log("error", "heal faults: "+err.Error())
	}
	if err := a.components.StopAll(ctx); err != nil {
		a.log("error", "stop components: "+err.Error())
	}
	a.log("warn", "load and components stopped: "+why)
}

// clear ends everything of a cell, books included.
func (a *agent) clear(why string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a.peers.clear()
	if err := a.faults.EndAll(ctx); err != nil {
		a.Logger.Error("heal faults", "why", why, "err", err)
	}
	if err := a.load.clear(ctx); err != nil {
		a.Logger.Error("end load", "why", why, "err", err)
	}
	if err := a.components.StopAll(ctx); err != nil {
		a.Logger.Error("stop components", "why", why, "err", err)
	}
}

// log tells the operator something, through the controller.
func (a *agent) log(level, text string) {
	a.events.log(level, "", text)
}

// removeAll takes bela off a node that nobody came back to. It removes only
// what bela is known to make.
func removeAll(dir string) error {
	var errs []error
	for _, name := range []string{"run", undoPackagesScript, "cells", "bin", "artifacts", "MANIFEST"} {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	_ = os.Remove(dir) // only when nothing else is in it
	return errors.Join(errs...)
}

// Dial connects to the agent that works in dir on this machine.
func Dial(dir string) (net.Conn, error) {
	if err := os.Chdir(dir); err != nil {
		return nil, fmt.Errorf("enter bela's directory: %w", err)
	}
	conn, err := net.DialTimeout("unix", socketFile, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("no agent answers in %s: %w", dir, err)
	}
	return conn, nil
}
