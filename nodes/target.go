package nodes

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// DefaultDirectory is bela's directory on a node, under the login's home.
const DefaultDirectory = ".bela"

// Target says which machine to reach and how. Only Name and Host are needed.
type Target struct {
	// Name is the node's name in the experiment ("worker-1"); it is in every error.
	Name string
	// Group and Role are carried for the caller; nodes does not look at them.
	Group, Role string

	// Host is a name, an address or an alias of ~/.ssh/config.
	Host string
	// Port is the SSH port; 0 is what ~/.ssh/config says, else 22.
	Port int
	// User logs in; empty is what ~/.ssh/config says, else the invoking user.
	User string
	// Address is where other nodes reach this one; empty is the address that
	// the connection went to.
	Address string
	// Directory is bela's directory on the node, absolute or under the
	// login's home; empty is DefaultDirectory.
	Directory string

	// SSH says how to connect.
	SSH Options
}

// Options say how to connect. The zero value is OpenSSH's habit: the agent and
// the usual key files, ~/.ssh/config, and ~/.ssh/known_hosts checked strictly.
type Options struct {
	// KeyFiles are private key files, offered first and in order; "~/" is the
	// home directory. Empty is what ~/.ssh/config says, else OpenSSH's names.
	KeyFiles []string
	// Signers are keys in memory. Where given, they alone are offered.
	Signers []ssh.Signer
	// Agent is the SSH agent's socket; empty is $SSH_AUTH_SOCK, "none" is no agent.
	Agent string

	// HostKeys is the policy; empty is HostKeysStrict.
	HostKeys HostKeyPolicy
	// KnownHosts is the known_hosts file; empty is ~/.ssh/known_hosts (or what
	// ~/.ssh/config says) and /etc/ssh/ssh_known_hosts.
	KnownHosts string
	// Fingerprints ("SHA256:…") are the host keys taken under HostKeysPinned,
	// for the node and for each jump host.
	Fingerprints []string

	// Jump are the hosts to go through, in order, each [user@]host[:port]; empty
	// is what ~/.ssh/config says. A jump host's own ProxyJump is not followed.
	Jump []string

	// ConnectTimeout bounds one attempt: TCP, key exchange and login through
	// all jumps. 0 is 10 s.
	ConnectTimeout time.Duration
	// Keepalive is the time between two checks of a quiet link; 0 is
	// DefaultKeepalive. The link counts as lost when nothing at all came over it
	// for three of them.
	Keepalive time.Duration
	// Retries is how often an attempt that failed for a transient reason is
	// repeated; 0 is 2, negative is never.
	Retries int

	// Config is the ssh_config file; empty is ~/.ssh/config and
	// /etc/ssh/ssh_config, "none" is no file at all.
	Config string

	// Log takes notes of retries and of host keys newly accepted; nil is silence.
	Log *slog.Logger
}

// HostKeyPolicy says which host keys are trusted.
type HostKeyPolicy string

// The policies. Strict is the default; the others are opt-in.
const (
	// HostKeysStrict takes only keys in the known_hosts file.
	HostKeysStrict HostKeyPolicy = "strict"
	// HostKeysAcceptNew adds the key of a host that is not in the known_hosts
	// file to it; a changed key is still refused.
	HostKeysAcceptNew HostKeyPolicy = "accept-new"
	// HostKeysPinned takes only keys with one of Options.Fingerprints.
	HostKeysPinned HostKeyPolicy = "pinned"
)

// DefaultKeepalive is the time between two checks of a quiet link. A node that
// is gone is noticed after four of them.
const DefaultKeepalive = 2 * time.Second

const (
	defaultConnectTimeout = 10 * time.Second
	keepaliveMissed       = 3
	// aliveRequest asks a server for a sign of life: OpenSSH's own client asks so.
	aliveRequest = "keepalive@openssh.com"
	// answerWait is how long a login keeps its turn at a server that does not answer it.
	answerWait     = 2 * time.Second
	defaultRetries = 2
)

func (o Options) connectTimeout() time.Duration {
	if o.ConnectTimeout > 0 {
		return o.ConnectTimeout
	}
	return defaultConnectTimeout
}

func (o Options) keepalive() time.Duration {
	if o.Keepalive > 0 {
		return o.Keepalive
	}
	return DefaultKeepalive
}

func (o Options) retries() int {
	switch {
	case o.Retries > 0:
		return o.Retries
	case o.Retries < 0:
		return 0
	}
	return defaultRetries
}

func (o Options) log() *slog.Logger {
	if o.Log != nil {
		return o.Log
	}
	return slog.New(slog.DiscardHandler)
}

// Host is one machine as a user writes it: [user@]host[:port].
type Host struct {
	User string
	Host string
	Port int // 0 where not given
}

// ParseHost reads [user@]host[:port]. An IPv6 address with a port is in
// brackets; one without may be.
func ParseHost(s string) (Host, error) {
	var h Host
	rest := s
	if user, after, ok := cutLast(rest, "@"); ok {
		if user == "" {
			return Host{}, fmt.Errorf("host %q: empty user before @", s)
		}
		h.User, rest = user, after
	}
	h.Host = strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")
	if net.ParseIP(h.Host) == nil && strings.Contains(rest, ":") {
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			return Host{}, fmt.Errorf("host %q: want [user@]host[:port]", s)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Host{}, fmt.Errorf("host %q: port %q is not a number from 1 to 65535", s, port)
		}
		h.Host, h.Port = host, int(n)
	}
	if err := checkHostName(h.Host); err != nil {
		return Host{}, fmt.Errorf("host %q: %w", s, err)
	}
	if strings.ContainsFunc(h.User, unprintable) {
		return Host{}, fmt.Errorf("host %q: the user has a space or control character", s)
	}
	return h, nil
}

// String is the form that ParseHost reads.
func (h Host) String() string {
	s := h.Host
	if h.Port != 0 {
		s = net.JoinHostPort(h.Host, strconv.Itoa(h.Port))
	}
	if h.User != "" {
		s = h.User + "@" + s
	}
	return s
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// checkHostName keeps out what would be taken for something else in a
// known_hosts line, a command line or a log line.
func checkHostName(host string) error {
	switch {
	case host == "":
		return fmt.Errorf("the host is empty")
	case len(host) > 255:
		return fmt.Errorf("the host has %d characters, at most 255 are taken", len(host))
	case host[0] == '-':
		return fmt.Errorf("a host cannot begin with -")
	case net.ParseIP(host) != nil:
		return nil
	case strings.ContainsFunc(host, unprintable), strings.ContainsAny(host, `[]:,*?!|@#"'/\`):
		// A zoned IPv6 address (fe80::1%eth0) is the one name with colons.
		if ip, zone, ok := strings.Cut(host, "%"); ok && net.ParseIP(ip) != nil && checkHostName(zone) == nil {
			return nil
		}
		return fmt.Errorf("the host has a character that no name or address has")
	}
	return nil
}

func unprintable(r rune) bool { return r <= ' ' || r == 0x7f || r == '\uFFFD' }
