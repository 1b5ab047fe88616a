package inspect

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tcpListen is the state of a listening socket in /proc/net/tcp.
const tcpListen = "0A"

// maxSockets bounds how much of /proc/net/tcp is read; a line has 150 bytes.
const maxSockets = 32 << 20

// Holder says which process listens on a port of this machine, so that nothing
// else can at the host's address: "mosquitto (pid 12, user root)". It is empty
// where it cannot be seen.
func Holder(host string, port int) string {
	s := &server{}
	s.Proc = "/proc"
	return s.holder(host, port)
}

// holder says which process listens on a port, so that nothing else can at the
// host's address; empty where it cannot be seen, as one of another login cannot
// by any but root.
func (s *server) holder(host string, port int) string {
	inodes := make(map[string]bool)
	uid := ""
	for _, file := range []string{"net/tcp", "net/tcp6"} {
		uid = cmp.Or(listeners(filepath.Join(s.Proc, file), net.ParseIP(host), port, inodes), uid)
	}
	if len(inodes) == 0 {
		return ""
	}
	if pid := s.ownerOf(inodes); pid != "" {
		return fmt.Sprintf("%s (pid %s, user %s)", printable(s.read(pid+"/comm")), pid, userOf(filepath.Join(s.Proc, pid)))
	}
	return "a process of user " + uid
}

// listeners adds the sockets of a table that are in the way of one at the
// address, as links to them read, and gives the user of one of them.
func listeners(table string, ip net.IP, port int, inodes map[string]bool) (uid string) {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	portText := fmt.Sprintf("%04X", port)
	lines := bufio.NewScanner(io.LimitReader(f, maxSockets))
	for lines.Scan() {
		// sl local_address rem_address st queues timer retransmits uid timeout inode
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != tcpListen {
			continue
		}
		if at, p, _ := strings.Cut(fields[1], ":"); p == portText && inTheWay(at, ip) {
			inodes["socket:["+fields[9]+"]"] = true
			uid = printable(fields[7])
		}
	}
	return uid
}

// inTheWay says whether a listener at an address, in the table's hexadecimal,
// keeps another from one of IPv4. Of other addresses it is not asked exactly:
// every listener at the port counts.
func inTheWay(at string, ip net.IP) bool {
	v4 := ip.To4()
	if v4 == nil || v4.IsUnspecified() || strings.Trim(at, "0") == "" {
		return true
	}
	// The table has IPv4 addresses, also those within IPv6, in the machine's own order.
	return strings.HasSuffix(at, fmt.Sprintf("%08X", binary.NativeEndian.Uint32(v4)))
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
