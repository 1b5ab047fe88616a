package component

import (
	"context"
	"fmt"
	"time"

	"bela/agents/protocol"
)

// maxBackoff is the longest pause before a restart.
const maxBackoff = time.Minute

// revival is the restarting of an instance by its policy; it can be called off.
type revival struct{ cancel context.CancelFunc }

// mayRevive says whether the policy starts an instance again that has ended by
// itself. The caller holds mu.
func (s *Supervisor) mayRevive(in *instance) bool {
	policy := in.process().Restart
	if policy == nil || s.revived[in.key] >= policy.Max {
		return false
	}
	state := in.cmd.ProcessState
	return policy.Always || state == nil || !state.Success()
}

// revive starts an instance again, in the background. generation is that of its
// end: when all instances were stopped since, it stays ended.
func (s *Supervisor) revive(in *instance, generation int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != generation || s.running[in.key] != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &revival{cancel}
	s.revivals[in.key] = r
	s.reviving.Go(func() {
		defer cancel()
		s.bringBack(ctx, in.key, in.given)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.revivals[in.key] == r {
			delete(s.revivals, in.key)
		}
	})
}

// callOff ends the restarting of an instance.
func (s *Supervisor) callOff(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.revivals[k]; r != nil {
		r.cancel()
		delete(s.revivals, k)
	}
}

// callOffAll ends all restarting, and waits until no instance comes of it.
func (s *Supervisor) callOffAll() {
	s.mu.Lock()
	s.generation++
	for _, r := range s.revivals {
		r.cancel()
	}
	clear(s.revivals)
	s.mu.Unlock()
	s.reviving.Wait()
}

// bringBack tries to start an instance until it is ready or its policy gives up.
func (s *Supervisor) bringBack(ctx context.Context, k key, spec protocol.ComponentSpec) {
	policy := *spec.Process.Restart
	for {
		s.mu.Lock()
		s.revived[k]++
		count := s.revived[k]
		s.mu.Unlock()
		pause := policy.Backoff
		for range count - 1 {
			pause = min(2*pause, maxBackoff)
		}
		if sleep(ctx, pause) != nil {
			return
		}
		err := s.startAgain(ctx, k, spec)
		if ctx.Err() != nil {
			return
		}
		event := protocol.ComponentEvent{At: s.Now(), Name: k.name, Instance: k.number, State: "restarted", Detail: fmt.Sprintf("restart %d of at most %d", count, policy.Max)}
		if err != nil {
			event.State, event.Detail, event.Log = "exited", err.Text, err.Log
			event.Again = count < policy.Max
		}
		if s.OnEvent != nil {
			s.OnEvent(event)
		}
		if !event.Again {
			return
		}
	}
}

// startAgain is Start for an instance whose policy starts it again. It keeps
// its working directory, as on a machine where a process is started again.
func (s *Supervisor) startAgain(ctx context.Context, k key, spec protocol.ComponentSpec) *protocol.Error {
	in, err := s.launch(ctx, k, spec, true)
	if err != nil {
		return err
	}
	ready := in.awaitReady(ctx)
	if ready == nil && !in.life.CompareAndSwap(starting, live) {
		ready = in.tooEarly()
	}
	if ready != nil {
		if err := in.kill(); err != nil {
			s.Logger.Error("component that was not ready again", "error", err)
		}
		ready.Log = in.log.last()
		return ready
	}
	in.openMeter()
	return nil
}
