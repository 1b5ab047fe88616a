package netns

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/crypto/ssh"

	"bela/nodes"
)

// Node is one host of a bed.
type Node struct {
	bed     *Bed
	name    string
	group   string // empty for the gateway
	index   int    // from 1; 0 is the gateway
	holder  *holder
	hostKey ssh.PublicKey
}

// Name is the node's name in the inventory's order: worker-1.
func (n *Node) Name() string { return n.name }

// Group is the node group's name; empty for the gateway.
func (n *Node) Group() string { return n.group }

// Address is where the other nodes reach this one.
func (n *Node) Address() netip.Addr {
	if n.group == "" {
		return n.bed.net.address(innerFirst)
	}
	return n.bed.net.address(innerNodes + n.index - 1)
}

// reached is the address that the controller connects to.
func (n *Node) reached() netip.Addr {
	if n.group == "" {
		return n.bed.net.address(outerGateway)
	}
	return n.Address()
}

// PID is the node's first process, as the machine counts; its /proc entry leads
// to the node's namespaces. It changes with Boot.
func (n *Node) PID() int { return n.holder.pid }

// Path is where a file of the node's is to be found on the machine. An absolute
// symbolic link on the way leads elsewhere: read those on the node.
func (n *Node) Path(file string) string {
	return filepath.Join("/proc", strconv.Itoa(n.holder.pid), "root", file)
}

// dir holds the node's files on the machine; ssh in it is its /etc/ssh.
func (n *Node) dir() string { return filepath.Join(n.bed.dir, "nodes", n.name) }

// Target says how to reach the node, with strict host keys and nothing of the
// user's own SSH configuration.
func (n *Node) Target() nodes.Target {
	t := nodes.Target{Name: n.name, Group: n.group, Role: n.group, Host: n.reached().String(), Port: 22, User: "root",
		SSH: nodes.Options{KeyFiles: []string{filepath.Join(n.bed.dir, "id")}, KnownHosts: filepath.Join(n.bed.dir, "known_hosts"),
			HostKeys: nodes.HostKeysStrict, Agent: "none", Config: "none"}}
	if g := n.bed.gateway; g != nil && g != n {
		t.SSH.Jump = []string{"root@" + g.reached().String()}
	}
	return t
}

// Command is a command on the node that needs no SSH: it works also while the
// node's links are cut. When ctx ends it is killed.
func (n *Node) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"-t", strconv.Itoa(n.holder.pid), "-m", "-u", "-i", "-n", "-p", "-C", "--", "/bin/sh", "-c", joinGroups, "sh"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// joinGroups takes a command into the node's control groups, as nsenter does not.
const joinGroups = `for g in /sys/fs/cgroup /sys/fs/cgroup/*; do
	if [ -d "$g/system" ]; then g=$g/system; fi
	[ ! -w "$g/cgroup.procs" ] || echo 0 >"$g/cgroup.procs" || exit
done
exec "$@"`

// Run runs a command on the node and returns what it printed.
func (n *Node) Run(ctx context.Context, args ...string) (string, error) {
	out, err := run(n.Command(ctx, args...))
	if err != nil {
		return out, n.fail(args[0], err)
	}
	return out, nil
}

func (n *Node) fail(what string, err error) error {
	return fmt.Errorf("testbed %s: node %s: %s: %w", n.bed.name, n.name, what, err)
}

// prepare makes the node's files: its keys, its server's settings, its mounts.
func (n *Node) prepare() error {
	etc := filepath.Join(n.dir(), "ssh")
	if err := os.MkdirAll(etc, 0o700); err != nil {
		return err
	}
	groups, err := groupMounts()
	if err != nil {
		return err
	}
	fstab := etc + " /etc/ssh none rw,bind 0 0\n" +
		"bed /proc proc nosuid,nodev,noexec 0 0\n" +
		n.bootID() + " /proc/sys/kernel/random/boot_id none ro,bind 0 0\n" +
		"bed /sys sysfs nosuid,nodev,noexec 0 0\n" + groups
	for _, m := range []struct{ at, options string }{
		{"/root", fmt.Sprintf("mode=700,size=%d", n.bed.options.HomeBytes)}, {"/home", "mode=755"}, {"/tmp", "mode=1777"}, {"/run", "mode=755"},
		{"/var/tmp", "mode=1777"}, {"/var/log", "mode=755"}, {"/dev/shm", "mode=1777"},
	} {
		fstab += fmt.Sprintf("bed %s tmpfs nosuid,nodev,%s 0 0\n", m.at, m.options)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(n.dir(), "fstab"), []byte(fstab), 0o600),
		os.WriteFile(filepath.Join(etc, "sshd_config"), []byte(sshdConfig), 0o600),
		n.newHostKey(), n.AcceptLogin())
}

// bootID is the file that the node has as its kernel's boot id: the machine's own
// does not change when a node boots.
func (n *Node) bootID() string { return filepath.Join(n.dir(), "boot_id") }

func (n *Node) newBootID() error {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	text := fmt.Sprintf("%x-%x-%x-%x-%x\n", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	if err := os.WriteFile(n.bootID(), []byte(text), 0o444); err != nil {
		return n.fail("give it a boot id", err)
	}
	return nil
}

// hold starts the node's first process.
func (n *Node) hold(ctx context.Context) error {
	if err := os.Remove(n.bootID()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n.fail("give it a boot id", err)
	}
	if err := n.newBootID(); err != nil {
		return err
	}
	groups, err := n.makeGroups()
	if err == nil {
		n.holder, err = n.bed.hold(ctx, n.name, n.dir(), groups)
	}
	return err
}

// serve brings the node's links up and starts its SSH server.
func (n *Node) serve(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(n.dir(), "ssh", "links"), []byte(n.links()), 0o600); err != nil {
		return err
	}
	if err := n.holder.goOn(); err != nil {
		return n.fail("make its links", err)
	}
	if err := n.holder.await(ctx, "linked"); err != nil {
		return n.fail("make its links", fmt.Errorf("%w: %s", err, tail(filepath.Join(n.bed.dir, n.name+".log"))))
	}
	return n.StartSSHD(ctx)
}
