package fault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bela/agents/protocol"
)

// process kills, stops or pauses instances. What is killed or stopped is over at
// once: whoever asked for it starts it again.
func (k *Keeper) process(ctx context.Context, spec protocol.FaultSpec) (*held, protocol.FaultBegun, error) {
	p := spec.Process
	var begun protocol.FaultBegun
	if p.Do == protocol.ProcessPause {
		return k.pause(spec)
	}
	end := func(i protocol.ComponentName) error { return k.Processes.Kill(i.Name, i.Instance) }
	switch p.Do {
	case protocol.ProcessKill:
	case protocol.ProcessStop:
		end = func(i protocol.ComponentName) error { return k.Processes.Halt(ctx, i.Name, i.Instance) }
	default:
		return nil, begun, fmt.Errorf("%q is nothing that is done to processes", p.Do)
	}
	begun.At = k.Now()
	errs := make([]error, len(p.Instances))
	var tasks sync.WaitGroup
	for n, i := range p.Instances {
		tasks.Go(func() { errs[n] = end(i) })
	}
	tasks.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, begun, err
	}
	h := newHeld()
	h.end = func() {}
	h.close(protocol.FaultEnded{}, nil)
	return h, begun, nil
}

// pause stops instances where they stand until the fault's time is up. Should
// the agent die, its components die with it, and none stays paused.
func (k *Keeper) pause(spec protocol.FaultSpec) (*held, protocol.FaultBegun, error) {
	begun := protocol.FaultBegun{At: k.Now()}
	for n, i := range spec.Process.Instances {
		if err := k.Processes.Pause(i.Name, i.Instance); err != nil {
			_ = k.resume(spec.Process.Instances[:n]) // the error that counts is there already
			return nil, begun, err
		}
	}
	h := newHeld()
	var once sync.Once
	h.end = func() {
		once.Do(func() {
			at := k.Now()
			h.close(protocol.FaultEnded{At: at}, k.resume(spec.Process.Instances))
		})
	}
	timer := time.AfterFunc(spec.For, h.end)
	go func() {
		<-h.done
		timer.Stop()
	}()
	return h, begun, nil
}

func (k *Keeper) resume(instances []protocol.ComponentName) error {
	var errs []error
	for _, i := range instances {
		errs = append(errs, k.Processes.Resume(i.Name, i.Instance))
	}
	return errors.Join(errs...)
}
