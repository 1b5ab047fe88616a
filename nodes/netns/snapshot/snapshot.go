// Package snapshot says what a testbed's node is like: processes, ports, files,
// control groups, kernel settings, firewall, queues and links. It exists so that
// a test can demand that a node is as it was before bela came. It knows nothing
// of bela.
package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bela/nodes/netns"
)

// Snapshot is what a node is like: lines by what they are about.
type Snapshot map[string][]string

// look prints what must be asked on the node itself. What it leaves out changes
// by itself, or with the other nodes of the machine.
const look = `
echo "== sysctls"
cd /proc/sys && grep -rs . net kernel vm | grep -av -e '^kernel/random/' -e '^kernel/ns_last_pid:' -e '^kernel/pty/nr:' -e '^kernel/spl/' \
	-e '^net/netfilter/nf_conntrack_count:' -e '^net/nf_conntrack' -e '^kernel/keys/' -e '^kernel/perf_cpu' -e '^kernel/perf_event_max_sample_rate:'
echo "== firewall"
nft list ruleset 2>/dev/null
for f in iptables-legacy-save ip6tables-legacy-save; do
	if command -v $f >/dev/null 2>&1; then $f 2>/dev/null | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]//' | grep -v '^:[A-Z]* ACCEPT' | grep '^-' ; fi
done
echo "== queues"
tc qdisc show
tc filter show dev eth0
echo "== links"
ip -o link | sed 's/ state [A-Z]*//'
ip -o addr | awk '{ print $2, $3, $4 }'
ip route; ip -6 route | sed 's/ expires .*//'; ip rule
exit 0
`

// Take looks at a node from outside, without SSH.
func Take(ctx context.Context, n *netns.Node) (Snapshot, error) {
	s := make(Snapshot)
	out, err := n.Run(ctx, "/bin/sh", "-c", look)
	if err != nil {
		return nil, err
	}
	section := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, " \n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			section = name
		} else if line != "" {
			s[section] = append(s[section], line)
		}
	}
	processes, err := n.Processes()
	if err != nil {
		return nil, err
	}
	for _, p := range processes {
		s["processes"] = append(s["processes"], strings.Join(p.Args, " ")+" ("+p.State+")")
	}
	for _, read := range []func(*netns.Node) error{s.ports, s.files, s.groups} {
		if err := read(n); err != nil {
			return nil, fmt.Errorf("snapshot of node %s: %w", n.Name(), err)
		}
	}
	for _, lines := range s {
		slices.Sort(lines)
	}
	return s, nil
}

// ports are the listening TCP and the bound UDP sockets, and the unix sockets
// with a path that are listened on.
func (s Snapshot) ports(n *netns.Node) error {
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6", "unix"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", n.PID(), kind))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			switch {
			case kind == "unix" && len(f) == 8 && f[3] == "00010000":
				s["ports"] = append(s["ports"], kind+" "+f[7])
			case kind != "unix" && len(f) > 3 && f[3] == map[bool]string{true: "0A", false: "07"}[kind[0] == 't']:
				s["ports"] = append(s["ports"], kind+" "+f[1])
			}
		}
	}
	return nil
}

// own are the directories that a node can write to.
var own = []string{"/root", "/home", "/tmp", "/run", "/var/tmp", "/var/log", "/dev/shm", "/etc/ssh"}

// files are all that the node can write: kind and mode, owner, size and hash.
func (s Snapshot) files(n *netns.Node) error {
	for _, top := range own {
		root := n.Path(top)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone in between
			}
			if err != nil {
				return err
			}
			line, err := describe(path, d)
			name := top + strings.TrimPrefix(path, root)
			if line != "" && name != "/etc/ssh/sshd.log" {
				s["files"] = append(s["files"], name+" "+line)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func describe(path string, d fs.DirEntry) (string, error) {
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	line := info.Mode().String()
	switch {
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		defer f.Close() //nolint:errcheck // only read
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return "", err
		}
		line += fmt.Sprintf(" %d %x", info.Size(), sum.Sum(nil)[:8])
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		line += " -> " + to
	}
	return line, nil
}

// groups are the control groups' directories.
func (s Snapshot) groups(n *netns.Node) error {
	root := n.Path("/sys/fs/cgroup")
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			s["cgroups"] = append(s["cgroups"], strings.TrimPrefix(path, root))
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
}

// Compare lists what a node has that it had not before (+) and the reverse (-).
func Compare(before, after Snapshot) []string {
	var found []string
	for _, section := range []string{"processes", "ports", "files", "cgroups", "sysctls", "firewall", "queues", "links"} {
		for _, line := range missing(after[section], before[section]) {
			found = append(found, "- "+section+": "+line)
		}
		for _, line := range missing(before[section], after[section]) {
			found = append(found, "+ "+section+": "+line)
		}
	}
	return found
}

// missing gives the lines of b that a has not, or fewer times.
func missing(a, b []string) []string {
	have := make(map[string]int)
	for _, line := range a {
		have[line]++
	}
	var found []string
	for _, line := range b {
		if have[line]--; have[line] < 0 {
			found = append(found, line)
		}
	}
	return found
}

// Await looks at a node until it is as before, or ctx ends; then it gives what
// still differs. A connection's last process takes a moment to end.
func Await(ctx context.Context, n *netns.Node, before Snapshot) ([]string, error) {
	for {
		after, err := Take(context.WithoutCancel(ctx), n)
		if err != nil {
			return nil, err
		}
		found := Compare(before, after)
		if len(found) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return found, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}
