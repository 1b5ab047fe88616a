package campaign

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"bela/agents/monitor"
	"bela/nodes"
	"bela/provision/agentbin"
	"bela/store"
)

// recordEnvironment writes what is known of the nodes once they are open.
func (r *runner) recordEnvironment(ctx context.Context) error {
	r.testbed.readClocks(ctx)
	return r.writeEnvironment()
}

// writeEnvironment writes what is known of the nodes now.
func (r *runner) writeEnvironment() error {
	var found []store.NodeEnvironment
	for _, m := range r.testbed.members {
		node := m.environment()
		if bin, err := r.Programs(agentbin.Agent, m.facts.GOARCH, m.facts.GOARM); err == nil {
			node.AgentSHA256 = bin.SHA256
		}
		if bin, err := r.Programs(agentbin.Platform, m.facts.GOARCH, m.facts.GOARM); err == nil && r.testbed.platform[m.name()] {
			node.PlatformSHA256 = bin.SHA256
		}
		found = append(found, node)
	}
	env := r.Environment
	env.Lab, env.Nodes = r.Lab, found
	if r.Earlier != nil {
		env = r.resumedOn(found)
	}
	env.Changes = slices.Concat(env.Changes[:r.changedBefore()], r.changes)
	if err := r.Store.WriteEnvironment(env); err != nil {
		return &recordError{err}
	}
	return nil
}

// readClocks reads every node's clock, so that the record says how far they
// were apart at the start. A node that does not answer has no reading; what is
// wrong with it shows when it is needed.
func (t *testbed) readClocks(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, errors.New("reading the clocks took longer than "+askLimit.String()))
	defer cancel()
	_ = nodes.Each(ctx, t.members, fanOut, func(ctx context.Context, m *member) error { return m.probe(ctx, probesAround) })
}

// environment is what is known of a node at the start.
func (m *member) environment() store.NodeEnvironment {
	m.mu.Lock()
	welcome := m.welcome
	m.mu.Unlock()
	f, t := m.facts, m.target
	e := store.NodeEnvironment{
		Name: m.name(), Role: t.Role, Group: t.Group, Address: m.ssh().Address(),
		SSH: nodes.Host{User: t.User, Host: t.Host, Port: t.Port}.String(), User: f.User,
		Host: store.Host{
			Hostname: f.Hostname, OS: f.Distribution, Kernel: f.Kernel, Arch: f.GOARCH,
			CPUModel: f.CPUModel, CPUs: f.CPUs, MemoryTotal: f.Memory, Virtual: welcome.Virtual, BootID: f.BootID,
			MaxProcs: welcome.MaxProcs, OpenFilesSoft: f.OpenFilesSoft, OpenFilesHard: f.OpenFilesHard, LocalPorts: f.LocalPorts,
		},
		Cgroup: f.Cgroup, AgentVersion: welcome.Agent, HostKey: m.ssh().HostKey(), Generator: m.generator,
	}
	if fit, err := m.clock.fit(); err == nil {
		e.ClockOffsetNS, e.ClockErrorNS = &fit.Offset, &fit.Error
	}
	return e
}

// Controller is what the machine that bela runs on is. What it does not tell is
// empty or 0.
func Controller() store.Host {
	h := store.Host{Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0), Virtual: monitor.Virtual("/")}
	h.Hostname, _ = os.Hostname()
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		h.OpenFilesSoft, h.OpenFilesHard = openFiles(files.Cur), openFiles(files.Max)
	}
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if info, err := fs.CPUInfo(); err == nil && len(info) > 0 {
			h.CPUModel = info[0].ModelName
		}
		if m, err := fs.Meminfo(); err == nil && m.MemTotalBytes != nil {
			h.MemoryTotal = int64(*m.MemTotalBytes)
		}
	}
	if p := strings.Fields(short("/proc/sys/net/ipv4/ip_local_port_range")); len(p) == 2 {
		h.LocalPorts[0], _ = strconv.Atoi(p[0])
		h.LocalPorts[1], _ = strconv.Atoi(p[1])
	}
	h.BootID = strings.TrimSpace(short("/proc/sys/kernel/random/boot_id"))
	h.OS = prettyName(short("/etc/os-release"))
	return h
}

// openFiles is a limit as Host tells it; the kernel's "unlimited" is -1.
func openFiles(limit uint64) int64 {
	if limit > 1<<62 {
		return -1
	}
	return int64(limit)
}

// prettyName takes the name of the distribution out of /etc/os-release.
func prettyName(release string) string {
	for line := range strings.Lines(release) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"'`)
		}
	}
	return ""
}

// short is the beginning of a file; nothing where there is none.
func short(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	text, _ := io.ReadAll(io.LimitReader(f, 16<<10))
	return string(text)
}
