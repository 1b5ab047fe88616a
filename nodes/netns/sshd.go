package netns

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

const sshd = "/usr/sbin/sshd"

// sshdConfig leaves OpenSSH's own limits as a fresh machine has them
// (MaxSessions 10, MaxStartups 10:30:100): bela has to live with them.
const sshdConfig = `Port 22
AddressFamily inet
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PidFile /run/sshd.pid
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
Subsystem sftp internal-sftp
`

// StartSSHD starts the node's SSH server and waits until it listens.
func (n *Node) StartSSHD(ctx context.Context) error {
	if _, err := n.Run(ctx, sshd, "-f", "/etc/ssh/sshd_config", "-E", "/etc/ssh/sshd.log"); err != nil {
		return fmt.Errorf("%w: %s", err, tail(filepath.Join(n.dir(), "ssh", "sshd.log")))
	}
	for !n.holder.listens(22) {
		if err := pause(ctx); err != nil {
			return n.fail("wait for its SSH server", fmt.Errorf("%w: %s", err, tail(filepath.Join(n.dir(), "ssh", "sshd.log"))))
		}
	}
	return nil
}

// StopSSHD ends the node's SSH server; the connections that it has go on.
func (n *Node) StopSSHD(ctx context.Context) error {
	text, err := os.ReadFile(n.Path("/run/sshd.pid"))
	if err != nil {
		return n.fail("stop its SSH server", err)
	}
	inside, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return n.fail("stop its SSH server", err)
	}
	processes, err := n.Processes()
	if err != nil {
		return err
	}
	for _, p := range processes {
		if p.Inside == inside {
			err = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	for err == nil && n.holder.listens(22) {
		err = pause(ctx)
	}
	if err != nil {
		return n.fail("stop its SSH server", err)
	}
	return nil
}

// ChangeHostKey gives the node another host key, which known_hosts does not
// have; connections that are up go on.
func (n *Node) ChangeHostKey(ctx context.Context) error {
	if err := n.StopSSHD(ctx); err != nil {
		return err
	}
	if err := n.newHostKey(); err != nil {
		return err
	}
	return n.StartSSHD(ctx)
}

// ForgetHostKey takes the node's key out of the bed's known_hosts file.
func (n *Node) ForgetHostKey() error { return n.bed.writeKnownHosts(n) }

// KnowHostKey writes the known_hosts file with the keys that the nodes have now.
func (n *Node) KnowHostKey() error { return n.bed.writeKnownHosts() }

// RefuseLogin makes the node refuse every login from now on.
func (n *Node) RefuseLogin() error {
	if err := os.Remove(n.authorized()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// AcceptLogin undoes RefuseLogin.
func (n *Node) AcceptLogin() error {
	key, err := ssh.NewPublicKey(n.bed.key.Public())
	if err != nil {
		return err
	}
	return os.WriteFile(n.authorized(), ssh.MarshalAuthorizedKey(key), 0o600)
}

func (n *Node) authorized() string { return filepath.Join(n.dir(), "ssh", "authorized_keys") }

// SSHLog is what the node's SSH server has written so far.
func (n *Node) SSHLog() (string, error) {
	text, err := os.ReadFile(filepath.Join(n.dir(), "ssh", "sshd.log"))
	return string(text), err
}

func (n *Node) newHostKey() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	n.hostKey, err = writeKey(filepath.Join(n.dir(), "ssh", "host_key"), key)
	return err
}

// writeKey writes a private key file and returns the public key.
func writeKey(file string, key ed25519.PrivateKey) (ssh.PublicKey, error) {
	block, err := ssh.MarshalPrivateKey(key, "bela testbed")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(key.Public())
}

// writeKnownHosts writes the keys of all nodes but those given.
func (b *Bed) writeKnownHosts(but ...*Node) error {
	var text strings.Builder
	for _, n := range b.all() {
		if len(but) > 0 && but[0] == n {
			continue
		}
		fmt.Fprintf(&text, "%s %s", n.reached(), ssh.MarshalAuthorizedKey(n.hostKey))
	}
	return os.WriteFile(filepath.Join(b.dir, "known_hosts"), []byte(text.String()), 0o600)
}

// writeInventory writes the inventory and the known_hosts file that it names.
func (b *Bed) writeInventory() error {
	var text strings.Builder
	fmt.Fprintf(&text, "# The testbed %q: bela run FILE -inventory %s\n", b.name, b.Inventory())
	for _, g := range b.options.Groups {
		fmt.Fprintf(&text, "node %q {\n  hosts = [\n", g.Name)
		for _, n := range b.nodes {
			if n.group == g.Name {
				fmt.Fprintf(&text, "    %q, # %s\n", n.Address(), n.name)
			}
		}
		text.WriteString("  ]\n}\n")
	}
	fmt.Fprintf(&text, "ssh {\n  user        = \"root\"\n  key_files   = [%q]\n  known_hosts = %q\n  host_keys   = \"strict\"\n",
		filepath.Join(b.dir, "id"), filepath.Join(b.dir, "known_hosts"))
	if b.gateway != nil {
		fmt.Fprintf(&text, "  jump        = [\"root@%s\"]\n", b.gateway.reached())
	}
	text.WriteString("}\n")
	return errors.Join(b.writeKnownHosts(), os.WriteFile(b.Inventory(), []byte(text.String()), 0o600))
}
