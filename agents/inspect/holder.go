package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/procfs"
)

// tcpListen is the state of a listening socket in /proc/net/tcp.
const tcpListen = 0x0A

// holder says which process listens on a port; empty where it cannot be seen,
// as one of another login cannot by any but root.
func (s *server) holder(port int) string {
	fs, err := procfs.NewFS(s.Proc)
	if err != nil {
		return ""
	}
	inodes := make(map[string]bool)
	uid := ""
	add := func(sockets procfs.NetTCP) {
		for _, l := range sockets {
			if l.St == tcpListen && int(l.LocalPort) == port {
				inodes[fmt.Sprintf("socket:[%d]", l.Inode)] = true
				uid = strconv.FormatUint(l.UID, 10)
			}
		}
	}
	if sockets, err := fs.NetTCP(); err == nil {
		add(sockets)
	}
	if sockets, err := fs.NetTCP6(); err == nil {
		add(sockets)
	}
	if len(inodes) == 0 {
		return ""
	}
	if pid := s.ownerOf(inodes); pid != "" {
		return fmt.Sprintf("%s (pid %s, user %s)", printable(s.read(pid+"/comm")), pid, userOf(filepath.Join(s.Proc, pid)))
	}
	return "a process of user " + uid
}

// ownerOf is the first process that has one of the sockets open.
func (s *server) ownerOf(inodes map[string]bool) string {
	fds, _ := filepath.Glob(filepath.Join(s.Proc, "[0-9]*", "fd"))
	for _, dir := range fds {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && inodes[target] {
				return filepath.Base(filepath.Dir(dir))
			}
		}
	}
	return ""
}

// userOf names the owner of a process, by the node's own list of users.
func userOf(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return "?"
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "?"
	}
	uid := strconv.FormatUint(uint64(sys.Uid), 10)
	for line := range strings.Lines(readFile("/etc/passwd")) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == uid {
			return printable(f[0])
		}
	}
	return uid
}
