package nodes

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeyChecker decides on the host keys of one hop.
type hostKeyChecker struct {
	hop    hop
	policy HostKeyPolicy
	pins   []string
	add    string   // the file that accept-new adds to
	read   []string // the files looked up
	// algorithms are those of the known keys, so that the server shows one of
	// them rather than another that is not known; nil is any.
	algorithms []string
	accepted   func(hop, ssh.PublicKey, string)
}

// hostKeyError is the verdict of a checker; it becomes an *Error with the node's name.
type hostKeyError struct {
	kind Kind
	text string
	next string
}

func (e *hostKeyError) Error() string { return e.text }

// newHostKeyChecker reads the known_hosts files that the policy needs.
func newHostKeyChecker(c *userConfig, o Options, h hop) (*hostKeyChecker, error) {
	k := &hostKeyChecker{hop: h, policy: o.HostKeys, pins: o.Fingerprints}
	k.accepted = func(h hop, key ssh.PublicKey, file string) {
		o.log().Warn("new host key accepted", "host", h.address(), "type", key.Type(),
			"fingerprint", ssh.FingerprintSHA256(key), "added_to", file)
	}
	switch k.policy {
	case HostKeysPinned:
		if len(k.pins) == 0 {
			return nil, errors.New("host keys are to be pinned, but no fingerprints are given")
		}
		for _, pin := range k.pins {
			if !strings.HasPrefix(pin, "SHA256:") {
				return nil, fmt.Errorf("fingerprint %q is not of the form SHA256:…, as ssh-keygen -lf prints it", pin)
			}
		}
		return k, nil
	case "", HostKeysStrict, HostKeysAcceptNew:
		k.add, k.read = c.knownHostsFiles(o.KnownHosts, h.alias)
		db, err := readKnownHosts(k.read)
		if err != nil {
			return nil, err
		}
		k.algorithms = db.HostKeyAlgorithms(h.keyAlias)
		return k, nil
	}
	return nil, fmt.Errorf("host key policy %q is none of strict, accept-new, pinned", k.policy)
}

// check is the ssh.HostKeyCallback.
func (k *hostKeyChecker) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	if k.policy == HostKeysPinned {
		if slices.Contains(k.pins, ssh.FingerprintSHA256(plainKey(key))) {
			return nil
		}
		return &hostKeyError{HostKeyChanged,
			fmt.Sprintf("%s shows %s, which is not among the pinned fingerprints", k.hop.address(), describe(key)),
			"if the machine was set up anew, check the fingerprint on it and correct fingerprints; else someone may be in between"}
	}
	db, err := readKnownHosts(k.read)
	if err != nil {
		return &hostKeyError{BadConfig, err.Error(), ""}
	}
	err = db.HostKeyCallback()(k.hop.keyAlias, noAddr(), key)
	switch {
	case err == nil:
		return nil
	case knownhosts.IsHostUnknown(err) && k.policy == HostKeysAcceptNew:
		return k.addKey(key)
	case knownhosts.IsHostUnknown(err):
		return k.unknown(db, key)
	case knownhosts.IsHostKeyChanged(err):
		return k.changed(db, err, key)
	}
	if revoked, ok := errors.AsType[*xknownhosts.RevokedError](err); ok {
		return &hostKeyError{HostKeyChanged,
			fmt.Sprintf("%s shows %s, which %s revokes", k.hop.address(), describe(key), db.place(revoked.Revoked)),
			"give the machine a new host key"}
	}
	return &hostKeyError{HostKeyUnknown, fmt.Sprintf("%s: %v", k.hop.address(), err), ""}
}

// noAddr stands for the connection's address, which is not looked up: the name
// decides, as the user wrote it, and through a jump host the address says nothing.
func noAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero} }

func (k *hostKeyChecker) unknown(db *hostKeyDB, key ssh.PublicKey) error {
	files := strings.Join(k.read, ", ")
	if files == "" {
		files = k.add + " (which does not exist)"
	}
	if len(db.skipped) > 0 {
		files += fmt.Sprintf(" (of which malformed lines were skipped: %s)", strings.Join(db.skipped, "; "))
	}
	return &hostKeyError{HostKeyUnknown,
		fmt.Sprintf("%s shows %s, and no key of it is in %s", k.hop.address(), describe(key), files),
		fmt.Sprintf("compare the fingerprint with the machine's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub on it), then "+
			"connect once with ssh -p %d %s to add it, or set host_keys = \"accept-new\", or host_keys = \"pinned\" with that fingerprint",
			k.hop.port, k.hop.host)}
}

func (k *hostKeyChecker) changed(db *hostKeyDB, err error, key ssh.PublicKey) error {
	var known []string
	if e, ok := errors.AsType[*xknownhosts.KeyError](err); ok {
		for _, w := range e.Want {
			known = append(known, fmt.Sprintf("%s %s at %s", w.Key.Type(), ssh.FingerprintSHA256(w.Key), db.place(w)))
		}
	}
	return &hostKeyError{HostKeyChanged,
		fmt.Sprintf("%s shows %s, known is %s", k.hop.address(), describe(key), strings.Join(known, ", ")),
		fmt.Sprintf("if the machine was set up anew, remove the old key with ssh-keygen -R '%s' -f %s; else someone may be in between",
			knownhosts.Normalize(k.hop.keyAlias), k.add)}
}

// addKey appends the key to the known_hosts file. The lock keeps two processes
// from accepting two different keys for one host.
func (k *hostKeyChecker) addKey(key ssh.PublicKey) error {
	fail := func(err error) error {
		return &hostKeyError{BadConfig, fmt.Sprintf("add the host key to %s: %v", k.add, err), "make the file writable or name another with known_hosts"}
	}
	if err := os.MkdirAll(filepath.Dir(k.add), 0o700); err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(k.add, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fail(err)
	}
	defer f.Close() //nolint:errcheck // the write itself is checked
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fail(err)
	}
	read := k.read
	if !slices.Contains(read, k.add) {
		read = append(slices.Clone(read), k.add)
	}
	db, err := readKnownHosts(read)
	if err != nil {
		return fail(err)
	}
	switch err := db.HostKeyCallback()(k.hop.keyAlias, noAddr(), key); {
	case err == nil:
		return nil // another login added it meanwhile
	case knownhosts.IsHostKeyChanged(err):
		return k.changed(db, err, key)
	}
	line := knownhosts.Line([]string{k.hop.keyAlias}, key) + "\n"
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	if _, err := f.WriteString(line); err != nil {
		return fail(err)
	}
	k.accepted(k.hop, key, k.add)
	return nil
}

func describe(key ssh.PublicKey) string {
	key = plainKey(key)
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// plainKey gives the key inside a certificate, whose fingerprint people compare.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

func joinHostPort(host string, port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}
