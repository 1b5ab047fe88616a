package component

import (
	"context"
	"fmt"
	"syscall"

	"bela/agents/protocol"
)

// faultable is the running instance of a name.
func (s *Supervisor) faultable(name string, number int) (*instance, error) {
	k := key{name, number}
	s.mu.Lock()
	in := s.running[k]
	s.mu.Unlock()
	if in == nil || in.life.Load() != live {
		return nil, &protocol.Error{Code: "not_ready", Text: fmt.Sprintf("component %s does not run", k)}
	}
	return in, nil
}

// Kill ends an instance with SIGKILL, on behalf of a fault: no event tells of it,
// its working directory stays, and a start after it counts as a restart.
func (s *Supervisor) Kill(name string, number int) error {
	in, err := s.faultable(name, number)
	if err != nil {
		return err
	}
	in.faulted.Store(true)
	return in.kill()
}

// Halt is Kill by the instance's own stop signal, as Stop does it.
func (s *Supervisor) Halt(ctx context.Context, name string, number int) error {
	in, err := s.faultable(name, number)
	if err != nil {
		return err
	}
	in.faulted.Store(true)
	return in.stop(ctx)
}

// Pause stops all processes of an instance where they stand, until Resume. One
// that is paused can still be stopped and killed.
func (s *Supervisor) Pause(name string, number int) error {
	in, err := s.faultable(name, number)
	if err != nil {
		return err
	}
	in.paused.Store(true)
	in.signalAll(syscall.SIGSTOP)
	return nil
}

// Resume lets a paused instance go on; one that does not run any more is none.
func (s *Supervisor) Resume(name string, number int) error {
	s.mu.Lock()
	in := s.running[key{name, number}]
	s.mu.Unlock()
	if in != nil {
		in.resume()
	}
	return nil
}

func (in *instance) resume() {
	if in.paused.CompareAndSwap(true, false) {
		in.signalAll(syscall.SIGCONT)
	}
}

// signalAll sends to the process group, and to what left it and is still known
// to be the instance's.
func (in *instance) signalAll(sig syscall.Signal) {
	in.learn()
	in.signal(sig)
	for _, pid := range in.others() {
		_ = syscall.Kill(pid, sig) // it may have ended
	}
}

// others are the instance's processes besides the first.
func (in *instance) others() []int {
	if in.group != nil {
		return in.group.members()
	}
	in.usageMu.Lock()
	defer in.usageMu.Unlock()
	var pids []int
	for pid := range in.tree.known {
		if pid != in.pid {
			pids = append(pids, pid)
		}
	}
	return pids
}
