package nodes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// maxConfigFile bounds the files of the user that are read into memory.
const maxConfigFile = 4 << 20

// userConfig is what ssh_config files say, in the order in which they count.
type userConfig struct {
	files []*ssh_config.Config
	home  string
	user  string
}

// loadUserConfig reads the ssh_config files that an option names.
func loadUserConfig(option string) (*userConfig, error) {
	c := &userConfig{}
	var err error
	if c.home, err = os.UserHomeDir(); err != nil {
		return nil, fmt.Errorf("no home directory: %w", err)
	}
	c.user = os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		c.user = u.Username
	}
	paths := []string{filepath.Join(c.home, ".ssh", "config"), "/etc/ssh/ssh_config"}
	switch option {
	case "":
	case "none":
		paths = nil
	default:
		paths = []string{c.expandHome(option)}
	}
	for _, path := range paths {
		text, err := readBounded(path, maxConfigFile)
		if errors.Is(err, fs.ErrNotExist) && option == "" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ssh_config: %w", err)
		}
		parsed, err := ssh_config.DecodeBytes(text)
		if err != nil {
			return nil, fmt.Errorf("ssh_config %s: %w", path, err)
		}
		c.files = append(c.files, parsed)
	}
	return c, nil
}

// get gives the first value of a keyword for an alias, "" where there is none.
func (c *userConfig) get(alias, keyword string) string {
	for _, f := range c.files {
		if v, err := f.Get(alias, keyword); err == nil && v != "" {
			return v
		}
	}
	return ""
}

// all gives every value of a keyword that may be repeated.
func (c *userConfig) all(alias, keyword string) []string {
	var values []string
	for _, f := range c.files {
		if v, err := f.GetAll(alias, keyword); err == nil {
			values = append(values, v...)
		}
	}
	return values
}

func (c *userConfig) expandHome(path string) string {
	if path == "~" {
		return c.home
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(c.home, rest)
	}
	return path
}

// hop is one SSH server on the way, with all that its login needs.
type hop struct {
	alias    string // as the user wrote it
	host     string
	port     int
	user     string
	keyAlias string // the name to look the host key up by
}

func (h hop) address() string { return joinHostPort(h.host, h.port) }

// hop resolves an alias; what is given wins over the files.
func (c *userConfig) hop(given Host) (hop, error) {
	h := hop{alias: given.Host, host: given.Host, port: given.Port, user: given.User}
	if name := c.get(given.Host, "HostName"); name != "" {
		h.host = strings.NewReplacer("%%", "%", "%h", given.Host).Replace(name)
		if err := checkHostName(h.host); err != nil {
			return hop{}, fmt.Errorf("ssh_config: HostName of %s: %w", given.Host, err)
		}
	}
	if h.port == 0 {
		h.port = 22
		if p := c.get(given.Host, "Port"); p != "" {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil || n == 0 {
				return hop{}, fmt.Errorf("ssh_config: Port %q of %s is not a port", p, given.Host)
			}
			h.port = int(n)
		}
	}
	if h.user == "" {
		h.user = c.get(given.Host, "User")
	}
	if h.user == "" {
		h.user = c.user
	}
	h.keyAlias = h.address()
	if a := c.get(given.Host, "HostKeyAlias"); a != "" {
		// OpenSSH looks an alias up without a port.
		h.keyAlias = joinHostPort(a, 22)
	}
	return h, nil
}

// jumps gives the hosts to go through, from the option or ProxyJump.
func (c *userConfig) jumps(option []string, alias string) ([]hop, error) {
	names := option
	if len(names) == 0 {
		if p := c.get(alias, "ProxyJump"); p != "" && !strings.EqualFold(p, "none") {
			names = strings.Split(p, ",")
		} else if cmd := c.get(alias, "ProxyCommand"); cmd != "" && !strings.EqualFold(cmd, "none") {
			return nil, errProxyCommand
		}
	}
	var hops []hop
	for _, name := range names {
		given, err := ParseHost(strings.TrimPrefix(strings.TrimSpace(name), "ssh://"))
		if err != nil {
			return nil, fmt.Errorf("jump: %w", err)
		}
		h, err := c.hop(given)
		if err != nil {
			return nil, err
		}
		hops = append(hops, h)
	}
	return hops, nil
}

var errProxyCommand = errors.New("ssh_config has a ProxyCommand for it, which bela does not run")

// identityFiles are the key files to offer; explicit says that the user named them.
func (c *userConfig) identityFiles(h hop) (files []string, explicit bool) {
	expand := strings.NewReplacer("%%", "%", "%d", c.home, "%h", h.host, "%n", h.alias,
		"%p", strconv.Itoa(h.port), "%r", h.user, "%u", c.user)
	for _, f := range c.all(h.alias, "IdentityFile") {
		if strings.EqualFold(f, "none") {
			continue
		}
		files = append(files, c.expandHome(expand.Replace(strings.Trim(f, `"`))))
	}
	if len(files) > 0 {
		return files, true
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		files = append(files, filepath.Join(c.home, ".ssh", name))
	}
	return files, false
}

// knownHostsFiles gives the files to look host keys up in; the first is the
// one that new keys are added to. Files that do not exist are left out of read.
func (c *userConfig) knownHostsFiles(option, alias string) (add string, read []string) {
	var paths []string
	if option != "" {
		paths = []string{c.expandHome(option)}
	} else {
		for _, f := range strings.Fields(c.get(alias, "UserKnownHostsFile")) {
			paths = append(paths, c.expandHome(strings.Trim(f, `"`)))
		}
		if len(paths) == 0 {
			paths = []string{filepath.Join(c.home, ".ssh", "known_hosts")}
		}
		paths = append(paths, "/etc/ssh/ssh_known_hosts")
	}
	for _, p := range paths {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			read = append(read, p)
		}
	}
	return paths[0], read
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text, nil
}
