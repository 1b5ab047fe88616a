package component

import (
	"encoding/json"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// nursery is what ties the instances' lives to the agent's. It exists while any
// instance does.
//
// The kernel sends the parent-death signal when the thread that forked ends, not
// the process, and the Go runtime ends threads of its own accord. So one thread,
// locked to one goroutine, forks all instances. And since that signal reaches
// only the instances themselves, a guard, a process of its own, kills what is left
// of their groups when the agent is gone.
type nursery struct {
	work chan func()
	done chan struct{}
	log  *slog.Logger

	guard   *exec.Cmd
	guardIn io.WriteCloser
	mu      sync.Mutex // of guardIn
}

// guardWait is how long the guard may take to end when it has nothing to do.
const guardWait = 5 * time.Second

func newNursery(self string, log *slog.Logger) *nursery {
	n := &nursery{work: make(chan func()), done: make(chan struct{}), log: log}
	go n.run()
	n.guard = exec.Command(self, ShimCommand, "guard")
	n.guard.Env = []string{}
	n.guard.Dir = "/"
	// Its own session, so that no signal meant for the agent's group ends it.
	n.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := n.guard.StdinPipe()
	if err == nil {
		err = n.guard.Start()
	}
	if err != nil {
		log.Warn("no guard: children of components may outlive a killed agent", "error", err)
		n.guard = nil
		return n
	}
	n.guardIn = in
	return n
}

// run is the thread that forks. The goroutine unlocks it before it ends, so that
// the runtime keeps the thread.
func (n *nursery) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(n.done)
	for f := range n.work {
		f()
	}
}

// start forks an instance and puts it under guard.
func (n *nursery) start(in *instance) error {
	result := make(chan error)
	n.work <- func() { result <- in.cmd.Start() }
	if err := <-result; err != nil {
		return err
	}
	w := watched{PID: in.cmd.Process.Pid}
	if in.group != nil {
		w.Groups, w.Unit = in.group.dirs(), in.group.unit != nil
	}
	n.tell(guardLine{Watch: &w})
	return nil
}

// forget takes an instance out of guard.
func (n *nursery) forget(in *instance) { n.tell(guardLine{Forget: in.pid}) }

func (n *nursery) tell(l guardLine) {
	if n.guardIn == nil {
		return
	}
	b, err := json.Marshal(l)
	if err == nil {
		n.mu.Lock()
		_, err = n.guardIn.Write(append(b, '\n'))
		n.mu.Unlock()
	}
	if err != nil {
		n.log.Warn("the guard does not listen", "error", err)
	}
}

// close ends the thread and the guard. No instance is left.
func (n *nursery) close() {
	close(n.work)
	<-n.done
	if n.guard == nil {
		return
	}
	_ = n.guardIn.Close()
	timer := time.AfterFunc(guardWait, func() { _ = n.guard.Process.Kill() })
	defer timer.Stop()
	if err := n.guard.Wait(); err != nil {
		n.log.Warn("the guard ended", "error", err)
	}
}
