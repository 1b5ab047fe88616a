package component

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ShimCommand is the agent's first argument when it is to call Shim.
const ShimCommand = "component"

// Shim is the agent's executable as a helper of its own supervisor; args are
// those after ShimCommand.
//
//	exec -parent PID [-group DIR]… [-bus ADDRESS -unit NAME] [-as UID,GID…] -- COMMAND…
//	        joins the control groups, or the systemd unit; becomes the user with these
//	        groups, the first its own; then becomes COMMAND
//	guard   kills what it was told to watch when stdin ends
//
// A process is in its groups before its first instruction that way. It does not
// return when it becomes the command.
func Shim(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "exec":
			return shimExec(args[1:])
		case "guard":
			return guard(os.Stdin)
		}
	}
	return errors.New("this command is for the agent alone")
}

// shimArgs is the argument list that makes Shim run argv in a group.
func shimArgs(self string, g *group, as *login, argv []string) []string {
	args := []string{self, ShimCommand, "exec", "-parent", strconv.Itoa(os.Getpid())}
	switch {
	case g == nil:
	case g.unit != nil:
		args = append(args, "-bus", g.unit.manager.address, "-unit", g.unit.name)
	default:
		for _, d := range g.dirs() {
			args = append(args, "-group", d)
		}
	}
	if as != nil {
		args = append(args, "-as", as.String())
	}
	return append(append(args, "--"), argv...)
}

func shimExec(args []string) error {
	// The parent-death signal belongs to a thread: set it on the one that becomes
	// the command.
	runtime.LockOSThread()
	parent, bus := 0, ""
	for len(args) >= 2 && args[0] != "--" {
		switch args[0] {
		case "-parent":
			n, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			parent = n
		case "-group":
			if err := joinGroup(args[1]); err != nil {
				return err
			}
		case "-bus":
			bus = args[1]
		case "-unit":
			if err := joinUnit(bus, args[1]); err != nil {
				return err
			}
		case "-as":
			if err := become(args[1]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown option %s", args[0])
		}
		args = args[2:]
	}
	if len(args) < 2 || args[0] != "--" {
		return errors.New("no command")
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent-death signal: %w", err)
	}
	if os.Getppid() != parent {
		return errors.New("the agent is gone")
	}
	argv := args[1:]
	if err := syscall.Exec(argv[0], argv, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	return nil
}

// String is the login as the shim's option: its user and its groups.
func (l *login) String() string {
	text := strconv.Itoa(l.uid)
	for _, g := range l.groups {
		text += "," + strconv.Itoa(g)
	}
	return text
}

// become makes this process a user's, with the user's groups.
func become(as string) error {
	var ids []int
	for text := range strings.SplitSeq(as, ",") {
		id, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if len(ids) < 2 {
		return errors.New("a user and a group are needed")
	}
	// All threads take part, so that none is left with the old rights.
	if err := errors.Join(syscall.Setgroups(ids[1:]), syscall.Setgid(ids[1]), syscall.Setuid(ids[0])); err != nil {
		return fmt.Errorf("become user %d: %w", ids[0], err)
	}
	return nil
}

// joinGroup moves this process, with all its threads, into a control group.
func joinGroup(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, procsFile), []byte("0"), 0); err != nil {
		return fmt.Errorf("join control group: %w", err)
	}
	return nil
}

// joinUnit has systemd move this process into a unit.
func joinUnit(bus, name string) error {
	busctl, err := findBusctl()
	if err != nil {
		return err
	}
	m := &manager{busctl: busctl, address: bus}
	return m.attach(name, os.Getpid())
}

// guardLine is what the agent tells the guard.
type guardLine struct {
	Watch  *watched `json:"watch,omitempty"`
	Forget int      `json:"forget,omitempty"` // PID
}

// watched is an instance under guard.
type watched struct {
	PID    int      `json:"pid"` // and process group
	Groups []string `json:"groups,omitempty"`
	// Unit says that the groups are a systemd unit's: systemd removes them.
	Unit bool `json:"unit,omitempty"`
}

// guard keeps what is under watch until its input ends, and kills what is left
// then: the agent is gone, in order or not.
func guard(in *os.File) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	watch := make(map[int]watched)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var l guardLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			continue // the agent died within a line
		}
		if l.Watch != nil {
			watch[l.Watch.PID] = *l.Watch
		}
		delete(watch, l.Forget)
	}
	var errs []error
	for _, w := range watch {
		// The agent takes an instance out of watch when nothing is left of it, so
		// the process group is still the instance's.
		_ = syscall.Kill(-w.PID, syscall.SIGKILL)
		if len(w.Groups) == 0 {
			continue
		}
		g := groupOf(w.Groups)
		errs = append(errs, g.kill(killWait))
		if !w.Unit {
			errs = append(errs, g.remove(killWait))
		}
	}
	return errors.Join(errs...)
}

// groupOf is the group that a list of directories stands for.
func groupOf(dirs []string) *group {
	g := &group{}
	for _, d := range dirs {
		g.paths = append(g.paths, strings.Clone(d))
	}
	return g
}
