package component

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// bootedBySystemd is there where systemd is the host's first process.
	bootedBySystemd = "/run/systemd/system"
	// askManager is how long systemd may take to answer.
	askManager = 5 * time.Second
)

// manager is a systemd that makes units for this login: the system's for root,
// the user's own for all others. It is spoken to with busctl, which comes with
// systemd.
type manager struct {
	busctl string
	// address is the user's bus; empty is the system's.
	address string
}

// findManager finds the one for a user; runtime is the directory that has the
// users' buses.
func findManager(runtime string, uid int) (*manager, error) {
	busctl, err := findBusctl()
	if err != nil {
		return nil, err
	}
	m := &manager{busctl: busctl}
	if uid == 0 {
		return m, nil
	}
	bus := filepath.Join(runtime, strconv.Itoa(uid), "bus")
	if _, err := os.Stat(bus); err != nil {
		return nil, fmt.Errorf("this login has no systemd of its own: there is no %s (as root: apt-get install dbus-user-session libpam-systemd; loginctl enable-linger USER)", bus)
	}
	m.address = "unix:path=" + bus
	return m, nil
}

func findBusctl() (string, error) {
	for _, name := range []string{"busctl", "/usr/bin/busctl", "/bin/busctl"} { // PATH may be short, or a component's
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("systemd runs this host, but its busctl is missing")
}

// user says that it is a user's own.
func (m *manager) user() bool { return m.address != "" }

// call calls a method of the manager's. args are its signature and arguments as
// busctl takes them.
func (m *manager) call(method string, args ...string) error {
	const bus, path, face = "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
	ctx, cancel := context.WithTimeout(context.Background(), 2*askManager)
	defer cancel()
	argv := []string{"--system"}
	if m.user() {
		argv = []string{"--address=" + m.address}
	}
	argv = append(argv, "--timeout="+strconv.Itoa(int(askManager/time.Second)), "--quiet", "call", bus, path, face, method)
	cmd := exec.CommandContext(ctx, m.busctl, append(argv, args...)...)
	cmd.Env = []string{"LC_ALL=C"} // what a component is given must not lead to another bus
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if said := strings.TrimPrefix(string(bytes.Join(bytes.Fields(out), []byte(" "))), "Call failed: "); said != "" {
		return errors.New(said)
	}
	return fmt.Errorf("busctl: %w", err)
}
