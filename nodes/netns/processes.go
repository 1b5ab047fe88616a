package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one process of a node.
type Process struct {
	PID    int // as the machine counts
	Inside int // as the node counts
	Parent int // as the machine counts
	Args   []string
	State  string // as in /proc: R, S, T, Z, …
}

// Processes are the node's, its first one and those entered from outside too,
// by their number inside. Kernel threads are the machine's.
func (n *Node) Processes() ([]Process, error) {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid_for_children", n.holder.pid))
	if err != nil {
		return nil, n.fail("list its processes", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, n.fail("list its processes", err)
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if space, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns", "pid")); err != nil || space != own {
			continue
		}
		if p, ok := readProcess(pid); ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b Process) int { return a.Inside - b.Inside })
	return found, nil
}

func readProcess(pid int) (Process, bool) {
	p := Process{PID: pid}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, false
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "State:":
			p.State = fields[1]
		case "PPid:":
			p.Parent, _ = strconv.Atoi(fields[1])
		case "NSpid:":
			p.Inside, _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
	args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return p, false
	}
	for arg := range bytes.SplitSeq(bytes.TrimRight(args, "\x00"), []byte{0}) {
		p.Args = append(p.Args, string(arg))
	}
	return p, true
}

// ErrNoProcess says that no process on the node matches.
var ErrNoProcess = errors.New("no such process")

// Signal sends a signal to every process of the node whose command line holds
// the text, except the first one: SIGSTOP freezes, SIGKILL ends.
func (n *Node) Signal(text string, signal syscall.Signal) error {
	processes, err := n.Processes()
	if err != nil {
		return err
	}
	var errs []error
	hit := false
	for _, p := range processes {
		if p.Inside != 1 && strings.Contains(strings.Join(p.Args, " "), text) {
			hit = true
			if err := syscall.Kill(p.PID, signal); !errors.Is(err, syscall.ESRCH) { // it may have ended with another
				errs = append(errs, err)
			}
		}
	}
	if !hit {
		return n.fail("signal "+strconv.Quote(text), ErrNoProcess)
	}
	if err := errors.Join(errs...); err != nil {
		return n.fail("signal "+strconv.Quote(text), err)
	}
	return nil
}

// Crash ends every process on the node at once and takes its link away, as a
// machine that loses its power. What it wrote is lost: its disk is memory.
func (n *Node) Crash() {
	// The link goes first: the kernel would else say goodbye for dying processes,
	// refuse connections until it has taken the node's network away, and keep the
	// link until the last connection has timed out.
	ctx, cancel := context.WithTimeout(context.Background(), crashTime)
	defer cancel()
	_ = n.bed.sw.ip(ctx, "link del "+n.portName()+"\n") // it may be gone already
	n.holder.end()
}

// crashTime bounds taking a link away.
const crashTime = 10 * time.Second

// Boot starts a crashed node again, with its keys and its address.
func (n *Node) Boot(ctx context.Context) error {
	n.Crash()
	if err := n.hold(ctx); err != nil {
		return n.fail("boot", err)
	}
	// The kernel takes a dead node's link away in its own time.
	for {
		err := n.bed.sw.ip(ctx, n.port())
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "File exists") {
			return n.fail("boot", err)
		}
		if late := pause(ctx); late != nil {
			return n.fail("boot", errors.Join(err, late))
		}
	}
	return n.serve(ctx)
}
