package inspect

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"bela/agents/component"
	"bela/agents/protocol"
)

// maxWindow bounds how long a node is watched.
const maxWindow = 30 * time.Second

// inspect looks at the node once, and watches it over the window.
func (s *server) inspect(ctx context.Context, spec protocol.InspectSpec) (protocol.Inspection, error) {
	if !filepath.IsAbs(spec.Directory) || spec.Window <= 0 || spec.Window > maxWindow {
		return protocol.Inspection{}, badRequest("inspect: an absolute directory and a window of at most 30 s are needed")
	}
	fs, err := procfs.NewFS(s.Proc)
	if err != nil {
		return protocol.Inspection{}, err
	}
	before, err := s.snapshot(fs)
	if err != nil {
		return protocol.Inspection{}, err
	}
	in := protocol.Inspection{
		UID: os.Getuid(), Uptime: s.uptime(),
		Disk: disk(spec.Directory), Files: s.files(), Network: s.network(fs), Governors: s.governors(),
	}
	if spec.Undo != "" {
		if left, err := readUndo(spec.Undo); err == nil && left != nil && left.boot == s.bootID() {
			in.Undo = left.settings
		}
	}
	if spec.Limits {
		version, by, err := component.TryLimits(s.Proc, spec.Directory)
		in.Cgroup = &protocol.CgroupFacts{Version: version, By: by}
		if err != nil {
			in.Cgroup.Error = err.Error()
		}
	}
	timer := time.NewTimer(time.Until(before.at.Add(spec.Window)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return protocol.Inspection{}, context.Cause(ctx)
	}
	after, err := s.snapshot(fs)
	if err != nil {
		return protocol.Inspection{}, err
	}
	in.Clock = kernelClock(after.tasks)
	in.Tasks = s.tasks(after.tasks)
	in.Load = before.until(after, s.PID)
	in.Memory = s.memory(fs, before, after)
	in.Watched = s.packagers(fs, after.tasks)
	in.Agents = s.agents(fs, after)
	return in, nil
}

// kernelClock asks the kernel whether somebody keeps its clock. A daemon that
// cannot be seen (it may be the host's, of a container) is no daemon here.
func kernelClock(tasks map[int]task) protocol.KernelClock {
	var c protocol.KernelClock
	var x unix.Timex
	if state, err := unix.Adjtimex(&x); err == nil {
		c.Synchronized = state != unix.TIME_ERROR && x.Status&unix.STA_UNSYNC == 0
		c.MaxError = time.Duration(x.Maxerror) * time.Microsecond
		c.Frequency = float64(x.Freq) / 65536
	}
	for _, t := range tasks {
		if slices.Contains([]string{"chronyd", "ntpd", "systemd-timesyn", "openntpd", "ptp4l", "phc2sys", "timemaster"}, t.name) {
			c.Daemon = t.name
		}
	}
	return c
}

// disk looks at the nearest directory above one that need not exist.
func disk(dir string) protocol.Disk {
	at := filepath.Clean(dir)
	for at != "/" {
		if info, err := os.Stat(at); err == nil && info.IsDir() {
			break
		}
		at = filepath.Dir(at)
	}
	d := protocol.Disk{Path: at}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return d
	}
	d.Free = int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // 32 bits on 32-bit ARM
	d.Inodes = int64(st.Ffree)
	if st.Files == 0 { // btrfs and others have no fixed number
		d.Inodes = -1
	}
	d.InMemory = uint32(st.Type) == unix.TMPFS_MAGIC || uint32(st.Type) == unix.RAMFS_MAGIC
	return d
}

func (s *server) uptime() time.Duration {
	fields := strings.Fields(s.read("uptime"))
	if len(fields) == 0 {
		return 0
	}
	seconds, _ := strconv.ParseFloat(fields[0], 64)
	return time.Duration(seconds * float64(time.Second))
}

func (s *server) bootID() string { return s.read("sys/kernel/random/boot_id") }

func (s *server) files() protocol.FileLimits {
	var f protocol.FileLimits
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil {
		f.Hard = rlimit(r.Max)
	}
	if n := strings.Fields(s.read("sys/fs/file-nr")); len(n) == 3 {
		f.SystemOpen, f.System = number(n[0]), number(n[2])
	}
	return f
}

// rlimit gives -1 for what is not limited.
func rlimit(n uint64) int64 {
	if n > 1<<62 {
		return -1
	}
	return int64(n)
}

func (s *server) tasks(all map[int]task) protocol.TaskLimits {
	t := protocol.TaskLimits{User: -1, Group: -1, System: min(s.number("sys/kernel/pid_max"), s.number("sys/kernel/threads-max"))}
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &r); err == nil {
		t.User = rlimit(r.Cur)
	}
	uid := os.Getuid()
	for _, x := range all {
		t.Now += int64(x.threads)
		if x.uid == uid {
			t.UserNow += int64(x.threads)
		}
	}
	if uid == 0 {
		t.User = -1 // the kernel does not hold root to it
	}
	if limit, now, ok := s.groupTasks(); ok {
		t.Group, t.GroupNow = limit, now
	}
	return t
}

// groupTasks reads the limit on tasks of this process's control group.
func (s *server) groupTasks() (limit, now int64, ok bool) {
	for line := range strings.Lines(s.read("self/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "" && parts[1] != "pids" {
			continue
		}
		at := filepath.Join(s.Sys, "fs/cgroup", parts[1], parts[2])
		text := readFile(filepath.Join(at, "pids.max"))
		if text == "" || text == "max" {
			continue
		}
		return number(text), number(readFile(filepath.Join(at, "pids.current"))), true
	}
	return 0, 0, false
}

func (s *server) network(fs procfs.FS) protocol.NetworkFacts {
	n := protocol.NetworkFacts{
		TimeWaitReuse: int(s.number("sys/net/ipv4/tcp_tw_reuse")),
		Somaxconn:     s.number("sys/net/core/somaxconn"),
		SynBacklog:    s.number("sys/net/ipv4/tcp_max_syn_backlog"),
		SynCookies:    int(s.number("sys/net/ipv4/tcp_syncookies")),
		ConntrackMax:  s.number("sys/net/netfilter/nf_conntrack_max"),
		Conntrack:     s.number("sys/net/netfilter/nf_conntrack_count"),
	}
	if r := strings.Fields(s.read("sys/net/ipv4/ip_local_port_range")); len(r) == 2 {
		n.LocalPorts = [2]int{int(number(r[0])), int(number(r[1]))}
	}
	if stat, err := fs.NetSockstat(); err == nil {
		for _, p := range stat.Protocols {
			if p.Protocol == "TCP" && p.TW != nil {
				n.TimeWait = int64(*p.TW)
			}
		}
	}
	return n
}

// governors are the CPU frequency governors in use, each once.
func (s *server) governors() []string {
	files, _ := filepath.Glob(filepath.Join(s.Sys, "devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
	var found []string
	for _, f := range files {
		if g := readFile(f); g != "" && !slices.Contains(found, g) {
			found = append(found, g)
		}
	}
	slices.Sort(found)
	return found
}

func (s *server) memory(fs procfs.FS, before, after snapshot) protocol.MemoryFacts {
	var m protocol.MemoryFacts
	if info, err := fs.Meminfo(); err == nil {
		m.Total, m.Available = bytesOf(info.MemTotalBytes), bytesOf(info.MemAvailableBytes)
		m.SwapUsed = bytesOf(info.SwapTotalBytes) - bytesOf(info.SwapFreeBytes)
	}
	m.SwapMoved = (after.swapPages - before.swapPages) * int64(os.Getpagesize())
	if p, err := fs.PSIStatsForResource("memory"); err == nil && p.Some != nil {
		m.Pressure = &p.Some.Avg10
	}
	return m
}

func bytesOf(n *uint64) int64 {
	if n == nil {
		return 0
	}
	return int64(*n)
}

// maxFact bounds a file that is read for a fact.
const maxFact = 64 << 10

func (s *server) read(file string) string { return readFile(filepath.Join(s.Proc, file)) }

func (s *server) number(file string) int64 { return number(s.read(file)) }
