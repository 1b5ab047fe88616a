package nodes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxKeyFile bounds a private key file.
const maxKeyFile = 1 << 20

// keyring is the keys to offer to one hop.
type keyring struct {
	signers []ssh.Signer
	// notes say which keys could not be offered, and why.
	notes []string
	agent io.Closer
}

// Close ends the connection to the agent, which signs during the login only.
func (k *keyring) Close() {
	if k.agent != nil {
		_ = k.agent.Close()
	}
}

// loadKeys gathers the keys for a hop: those in memory alone, or key files
// and then the agent's. A file that the user named must be there and readable.
func loadKeys(c *userConfig, o Options, h hop) (*keyring, error) {
	if len(o.Signers) > 0 {
		return &keyring{signers: o.Signers}, nil
	}
	k := &keyring{}
	files, explicit := c.identityFiles(h)
	named := len(o.KeyFiles) > 0
	if named {
		files, explicit = nil, true
		for _, f := range o.KeyFiles {
			files = append(files, c.expandHome(f))
		}
	}
	fromAgent := k.agentKeys(c, o, h)
	var locked []ssh.PublicKey
	for _, file := range files {
		signer, err := readKey(file)
		if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
			if missing.PublicKey != nil {
				locked = append(locked, missing.PublicKey)
			}
			k.notes = append(k.notes, file+" has a passphrase (ssh-add it)")
			continue
		}
		switch {
		case err == nil:
			k.signers = append(k.signers, signer)
		case errors.Is(err, fs.ErrNotExist) && !named:
			if explicit {
				k.notes = append(k.notes, file+" does not exist")
			}
		case named:
			k.Close()
			return nil, fmt.Errorf("key file: %w", err)
		default:
			k.notes = append(k.notes, err.Error())
		}
	}
	onlyFiles := strings.EqualFold(c.get(h.alias, "IdentitiesOnly"), "yes")
	k.addAgentKeys(fromAgent, files, locked, onlyFiles)
	return k, nil
}

// agentKeys asks the agent, which may well not be there.
func (k *keyring) agentKeys(c *userConfig, o Options, h hop) []ssh.Signer {
	socket := o.Agent
	if socket == "" {
		socket = os.Getenv("SSH_AUTH_SOCK")
		if s := c.get(h.alias, "IdentityAgent"); s != "" && s != "SSH_AUTH_SOCK" {
			socket = c.expandHome(strings.Trim(s, `"`))
		}
	}
	if socket == "" || strings.EqualFold(socket, "none") {
		return nil
	}
	conn, err := net.DialTimeout("unix", socket, 2*time.Second)
	if err != nil {
		k.notes = append(k.notes, fmt.Sprintf("ssh agent at %s does not answer", socket))
		return nil
	}
	// An agent that asks its user waits for that person, but not for ever.
	_ = conn.SetDeadline(time.Now().Add(o.connectTimeout()))
	k.agent = conn
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		k.notes = append(k.notes, fmt.Sprintf("ssh agent at %s: %v", socket, err))
		return nil
	}
	return signers
}

// addAgentKeys offers the agent's keys for named files first: a server
// counts every offer, and OpenSSH's hangs up after six.
func (k *keyring) addAgentKeys(agentKeys []ssh.Signer, files []string, locked []ssh.PublicKey, onlyFiles bool) {
	public := locked
	for _, f := range files {
		if text, err := readBounded(f+".pub", maxKeyFile); err == nil {
			if key, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
				public = append(public, key)
			}
		}
	}
	var first, rest []ssh.Signer
	for _, s := range agentKeys {
		switch {
		case k.has(s.PublicKey()):
		case containsKey(public, s.PublicKey()):
			first = append(first, s)
		case !onlyFiles:
			rest = append(rest, s)
		}
	}
	k.signers = append(append(first, k.signers...), rest...)
}

func (k *keyring) has(key ssh.PublicKey) bool {
	for _, s := range k.signers {
		if bytes.Equal(s.PublicKey().Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

func containsKey(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	for _, k := range keys {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

// readKey reads a private key file.
func readKey(file string) (ssh.Signer, error) {
	text, err := readBounded(file, maxKeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return signer, nil
}

// describe says what was offered, for the error of a login that was refused.
func (k *keyring) describe() string {
	var parts []string
	for _, s := range k.signers {
		parts = append(parts, s.PublicKey().Type()+" "+ssh.FingerprintSHA256(s.PublicKey()))
	}
	text := "no key to offer"
	if len(parts) > 0 {
		text = "offered " + strings.Join(parts, ", ")
	}
	if len(k.notes) > 0 {
		text += " (" + strings.Join(k.notes, "; ") + ")"
	}
	return text
}
