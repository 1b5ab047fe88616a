package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bela/agents/component/report"
	"bela/agents/meter"
	"bela/agents/protocol"
)

const (
	defaultStop = 5 * time.Second
	// killWait is how long a killed process may take to vanish.
	killWait = 10 * time.Second
	// lastWords is how long the output of an ended process is waited for: a
	// stray child may keep the pipe open.
	lastWords = time.Second
)

// The states of an instance's life. One that dies while it starts is told of by
// Start's error, one that dies later by an event.
const (
	starting = iota
	live
	dead
)

// counted is a built-in's last report of its counters, and when it came.
type counted struct {
	*protocol.Counters
	at time.Time
}

// instance is one running process.
type instance struct {
	key
	spec protocol.ComponentSpec
	sup  *Supervisor
	dir  string // the instance's own directory
	work string // working directory
	as   *login // nil is the agent's user
	// given is the spec before anything was filled in.
	given protocol.ComponentSpec
	seq   int
	log   *outputLog

	cmd          *exec.Cmd
	pid          int
	started      time.Time
	group        *group // nil where there is none
	limitsReason string // empty where all limits hold
	restarts     int

	readyOnce sync.Once
	ready     chan struct{} // closed by a built-in's report
	counters  atomic.Pointer[counted]
	booksMu   sync.Mutex        // one asks at a time
	booked    chan report.Books // a built-in's answers
	asked     atomic.Bool       // it was told to end
	faulted   atomic.Bool       // by a fault: it may be started again
	paused    atomic.Bool
	again     bool          // it takes up what an instance left that a fault ended
	revival   bool          // its policy started it again
	life      atomic.Int32  // starting, live or dead
	exited    chan struct{} // closed when all is cleared away
	status    string        // how it ended; read after exited

	meterMu sync.Mutex
	meter   *meter.Meter // of its source of metrics; nil for none

	usageMu sync.Mutex
	tree    tree
	peak    int64 // CPU time last told, ns
}

func newInstance(s *Supervisor, k key, spec protocol.ComponentSpec) *instance {
	return &instance{key: k, spec: spec, given: spec, sup: s, log: &outputLog{},
		ready: make(chan struct{}), exited: make(chan struct{}), booked: make(chan report.Books, 1)}
}

func (in *instance) builtIn() bool { return in.spec.Kind != KindProcess }

// start makes the working directory, the control group and the process. On error
// nothing is left but the log.
func (in *instance) start(n *nursery) (err error) {
	argv, err := in.prepare()
	if err != nil {
		in.log.close()
		return err
	}
	out, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = outW.Close() }()
	var reports, reportsW *os.File
	if in.builtIn() {
		if reports, reportsW, err = os.Pipe(); err != nil {
			_ = out.Close()
			return err
		}
		defer func() { _ = reportsW.Close() }()
	}
	in.confine()
	in.cmd = &exec.Cmd{
		Path: in.sup.Self,
		Args: shimArgs(in.sup.Self, in.group, in.as, argv),
		Dir:  in.work, Env: in.environment(),
		Stdout: outW, Stderr: outW,
		// Its own process group, so that a stop reaches its children; and it dies
		// with the thread that forks it (see nursery).
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if reportsW != nil {
		in.cmd.ExtraFiles = []*os.File{reportsW} // file descriptor 3
	}
	if err := n.start(in); err != nil {
		_ = out.Close()
		if reports != nil {
			_ = reports.Close()
		}
		in.release()
		in.log.close()
		return err
	}
	in.pid, in.started = in.cmd.Process.Pid, time.Now()
	var readers sync.WaitGroup
	readers.Go(func() { in.log.read(out) })
	if reports != nil {
		readers.Go(func() { in.listen(reports) })
	}
	go in.wait(&readers, out, reports)
	return nil
}

// prepare makes an empty working directory and the log, and returns the command.
func (in *instance) prepare() ([]string, error) {
	cell, err := in.sup.cellDir(in.spec.Cell)
	if err != nil {
		return nil, fmt.Errorf("directory of the cell: %w", err)
	}
	in.dir = filepath.Join(cell, in.String())
	if err := in.log.open(in.dir + ".log"); err != nil {
		return nil, err
	}
	if err := in.portsFree(); err != nil {
		return nil, err
	}
	// What an earlier attempt stored must not reach this one; what a fault left
	// behind must, as on a machine where a process is started again.
	if err := in.furnish(); err != nil {
		return nil, err
	}
	if !in.builtIn() {
		return in.userCommand()
	}
	config := filepath.Join(in.dir, "config.json")
	b, err := json.Marshal(in.spec)
	if err == nil {
		err = os.WriteFile(config, b, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return in.builtInCommand(config)
}

// builtInCommand runs the built-in platform, which the controller has pushed.
func (in *instance) builtInCommand(config string) ([]string, error) {
	path := in.spec.Executable
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, fmt.Errorf("the built-in platform is not on this node: %w: the controller brings it before the next start", err)
	case !info.Mode().IsRegular() || info.Mode()&0o100 == 0:
		return nil, fmt.Errorf("the built-in platform %s is no program: its mode is %s: remove it, and the controller brings it before the next start", path, info.Mode())
	}
	return []string{path, in.spec.Kind, "-config", config}, nil
}

// userCommand finds the executable of a user's command.
func (in *instance) userCommand() ([]string, error) {
	argv := append([]string(nil), in.spec.Command...)
	if !strings.ContainsRune(argv[0], '/') {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			return nil, fmt.Errorf("command %q is not on this node: %w", argv[0], err)
		}
		argv[0] = path
		return argv, nil
	}
	path := argv[0]
	if !filepath.IsAbs(path) {
		path = filepath.Join(in.work, path)
	}
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, fmt.Errorf("command %q is not on this node: %w", argv[0], err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return nil, fmt.Errorf("command %q is no program: its mode is %s", argv[0], info.Mode())
	}
	argv[0] = path
	return argv, nil
}

// environment is a small one, so that nodes do not differ by what their shells
// set; what the spec gives comes last and wins.
func (in *instance) environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "LANG", "TMPDIR", "BELA_LAB"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	if in.as != nil {
		env = append(env, "HOME="+in.dir, "USER="+in.process().User)
	}
	for name, v := range in.spec.Env {
		env = append(env, name+"="+v)
	}
	return env
}

// confine makes the instance's control group, and says which limits do not hold.
func (in *instance) confine() {
	l := limits{in.spec.LimitCPU, in.spec.LimitMemory}
	g, err := in.sup.groups.confine(in.String(), l)
	in.group = g
	if err != nil && l.any() {
		in.limitsReason = err.Error()
	}
	if g == nil {
		in.sup.Logger.Info("no control group: processes are counted one by one", "component", in.String(), "reason", err)
	}
}

// limitsBy says what enforces the instance's limits; empty where nothing does.
func (in *instance) limitsBy() string {
	if in.group == nil || in.limitsReason != "" || in.spec.LimitCPU == 0 && in.spec.LimitMemory == 0 {
		return ""
	}
	return in.group.by()
}

// listen takes a built-in's reports.
func (in *instance) listen(r *os.File) {
	err := report.Read(r, func(l report.Line) {
		if l.Ready != nil {
			in.readyOnce.Do(func() { close(in.ready) })
		}
		if l.Counters != nil {
			in.counters.Store(&counted{l.Counters, time.Now()})
		}
		if l.Books != nil {
			select {
			case in.booked <- *l.Books:
			default: // nobody asked
			}
		}
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		in.sup.Logger.Warn("reports of a component ended", "component", in.String(), "error", err)
	}
}

// wait clears up after the process: whatever it left behind is killed.
func (in *instance) wait(readers *sync.WaitGroup, pipes ...*os.File) {
	err := in.cmd.Wait()
	asked := in.asked.Load()
	in.status = in.describe(err)
	in.killAll()
	for _, p := range pipes {
		if p != nil {
			_ = p.SetReadDeadline(time.Now().Add(lastWords))
		}
	}
	readers.Wait()
	for _, p := range pipes {
		if p != nil {
			_ = p.Close()
		}
	}
	in.log.close()
	in.release()
	told := in.life.Swap(dead) == starting || asked
	in.closeMeter()
	generation, again := in.sup.ended(in, told)
	close(in.exited)
	if again {
		defer in.sup.revive(in, generation)
	}
	if !told && in.sup.OnEvent != nil {
		in.sup.OnEvent(protocol.ComponentEvent{
			At: in.sup.Now(), Name: in.name, Instance: in.number, State: "exited",
			Detail: in.status, Log: in.log.last(), Again: again,
		})
	}
}

// describe says how the process ended: "killed by SIGKILL after 12.3s".
func (in *instance) describe(err error) string {
	after := time.Since(in.started).Round(100 * time.Millisecond)
	state := in.cmd.ProcessState
	if state == nil {
		return fmt.Sprintf("lost after %s: %v", after, err)
	}
	ws, ok := state.Sys().(syscall.WaitStatus)
	text := fmt.Sprintf("ended with exit status %d after %s", state.ExitCode(), after)
	if ok && ws.Signaled() {
		text = fmt.Sprintf("killed by %s after %s", unix.SignalName(ws.Signal()), after)
	}
	return text + in.outOfMemory()
}

// killAll kills what is left of the instance's group and process group. The
// process itself has been waited for, but its group lives as long as a member.
func (in *instance) killAll() {
	_ = syscall.Kill(-in.pid, syscall.SIGKILL)
	if in.group == nil {
		in.usageMu.Lock()
		defer in.usageMu.Unlock()
		in.tree.kill(in.pid)
		return
	}
	if err := in.group.kill(killWait); err != nil {
		in.sup.Logger.Error("processes are left", "component", in.String(), "error", err)
	}
}

// learn notes who descends from the process while that can still be told: its
// children lose their parent when it ends.
func (in *instance) learn() {
	if in.group == nil {
		in.usage(&processTable{})
	}
}

// release removes the control group.
func (in *instance) release() {
	if in.group == nil {
		return
	}
	if err := in.group.remove(killWait); err != nil {
		in.sup.Logger.Error("control group is left", "component", in.String(), "error", err)
	}
}

// stop asks the instance to end, waits until nothing is left of it, and kills it
// when its patience or ctx is over.
func (in *instance) stop(ctx context.Context) error {
	in.asked.Store(true)
	sig, err := stopSignal(in.spec.StopSignal)
	if err != nil {
		return err
	}
	patience := in.spec.StopTimeout
	if patience <= 0 {
		patience = defaultStop
	}
	in.learn()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	in.signal(sig)
	in.resume() // one that is paused would not hear it
	select {
	case <-in.exited:
		return nil
	case <-timer.C:
		in.sup.Logger.Warn("component does not stop: killing it", "component", in.String(), "after", patience)
	case <-ctx.Done():
	}
	return in.kill()
}

// kill ends the instance without asking.
func (in *instance) kill() error {
	in.asked.Store(true)
	in.learn()
	in.signal(syscall.SIGKILL)
	timer := time.NewTimer(killWait + lastWords)
	defer timer.Stop()
	select {
	case <-in.exited:
		return nil
	case <-timer.C:
		return fmt.Errorf("component %s: pid %d is still there %s after SIGKILL", in.key, in.pid, killWait)
	}
}

// signal sends to the whole process group.
func (in *instance) signal(sig syscall.Signal) {
	if err := syscall.Kill(-in.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		in.sup.Logger.Warn("signal", "component", in.String(), "signal", sig.String(), "error", err)
	}
}

// stopSignal reads a signal's name, with or without SIG; empty is TERM.
func stopSignal(name string) (syscall.Signal, error) {
	if name == "" {
		return syscall.SIGTERM, nil
	}
	up := strings.ToUpper(name)
	if !strings.HasPrefix(up, "SIG") {
		up = "SIG" + up
	}
	if n := unix.SignalNum(up); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("stop signal %q is unknown: use a name such as TERM or INT", name)
}

// usage reads the CPU time and memory of the instance so far.
func (in *instance) usage(table *processTable) protocol.ProcessSample {
	in.usageMu.Lock()
	defer in.usageMu.Unlock()
	var u protocol.ProcessSample
	cpu, memory := false, false
	if in.group != nil {
		u.CPUNS, cpu = in.group.cpu()
		u.Memory, memory = in.group.memory()
	}
	if !cpu || !memory {
		t := in.tree.usage(in.pid, table)
		if !cpu {
			u.CPUNS = t.CPUNS
		}
		if !memory {
			u.Memory = t.Memory
		}
	}
	in.peak = max(in.peak, u.CPUNS)
	u.CPUNS = in.peak
	return u
}
