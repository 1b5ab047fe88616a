// Package lab makes nodes that need no machine: one loopback SSH and SFTP
// server a node, inside this process, whose commands are real child processes.
//
// It exists so that an experiment without hosts runs anywhere. It must not know
// what runs on its nodes, and it gives nothing away that a real machine would
// not: whoever uses its targets cannot tell them from others.
package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	mrand "math/rand/v2"

	"golang.org/x/crypto/ssh"

	"bela/nodes"
)

// MaxNodes is how many nodes one lab has room for: the addresses of a /24.
const MaxNodes = 254

// Spec is one node to make.
type Spec struct {
	Name  string // the node's name; it also names its directory
	Group string
	Role  string
	// Env is added to the environment of the node's processes, "NAME=value".
	Env []string
}

// Options say where the lab lives.
type Options struct {
	// Dir is where the lab makes its own directory; empty is the system's
	// directory for temporary files.
	Dir string
	// Log takes notes of what goes wrong inside; nil is silence.
	Log *slog.Logger
}

// Lab is a set of nodes on loopback addresses.
type Lab struct {
	id      string
	dir     string
	log     *slog.Logger
	signer  ssh.Signer // the one key that logs in
	user    string
	servers []*server
	sweeper *sweeper

	cancel context.CancelFunc
	work   sync.WaitGroup
	once   sync.Once
	err    error
}

// Start makes the nodes. When ctx ends they stop answering; Close is needed all
// the same, to end their processes and remove their directories.
func Start(ctx context.Context, specs []Spec, o Options) (*Lab, error) {
	if err := checkSpecs(specs); err != nil {
		return nil, err
	}
	l := &Lab{id: strings.ToLower(rand.Text()[:12]), log: o.Log}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if l.signer, err = newKey(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	u, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("lab: who runs this: %w", err)
	}
	l.user = u.Username
	if l.dir, err = makeDir(o.Dir); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if l.sweeper, err = startSweeper(l.id, l.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), os.RemoveAll(l.dir))
	}
	listeners, err := listen(ctx, len(specs))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.dir), l.sweeper.stop())
	}
	ctx, l.cancel = context.WithCancel(ctx)
	for i, spec := range specs {
		s, err := l.newServer(spec, listeners[i])
		if err != nil {
			for _, rest := range listeners[i:] {
				_ = rest.Close()
			}
			return nil, errors.Join(fmt.Errorf("lab: node %s: %w", spec.Name, err), l.Close())
		}
		l.servers = append(l.servers, s)
		l.work.Go(func() { s.serve(ctx) })
	}
	return l, nil
}

// makeDir makes the lab's directory, with links resolved: processes are told
// apart by their working directory, which the kernel gives that way.
func makeDir(under string) (string, error) {
	if under != "" {
		if err := os.MkdirAll(under, 0o700); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp(under, "bela-lab-")
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

func checkSpecs(specs []Spec) error {
	if len(specs) > MaxNodes {
		return fmt.Errorf("lab: %d nodes; one lab has room for %d: lower count in the node blocks or give hosts", len(specs), MaxNodes)
	}
	seen := map[string]bool{}
	for _, s := range specs {
		if s.Name == "" || s.Name == "." || s.Name == ".." || strings.ContainsAny(s.Name, "/\x00") {
			return fmt.Errorf("lab: %q is no name for a node", s.Name)
		}
		if seen[s.Name] {
			return fmt.Errorf("lab: two nodes are named %q", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// Ports that the SSH servers take. The second and third are for machines where
// something else holds the one before on all addresses.
var sshPorts = [...]int{20022, 20122, 20222}

// listen finds a free network 127.A.B.0/24 and takes the SSH port on its first
// n addresses. The bound ports keep other labs out of the network.
func listen(ctx context.Context, n int) ([]net.Listener, error) {
	const tries = 16
	var last error
	for _, port := range sshPorts {
		for range tries {
			// Leave out 127.0.0.0/16, where systems have services of their own.
			network := fmt.Sprintf("127.%d.%d.", 1+mrand.N(254), mrand.N(256))
			listeners, err := listenOn(ctx, network, port, n)
			if err == nil {
				return listeners, nil
			}
			if !errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("lab: %w (the loopback lab needs the addresses of 127.0.0.0/8, as Linux has them)", err)
			}
			last = err
		}
	}
	return nil, fmt.Errorf("lab: no free loopback network: %w (see who holds the port with ss -ltnp)", last)
}

func listenOn(ctx context.Context, network string, port, n int) (_ []net.Listener, err error) {
	var listeners []net.Listener
	for i := 1; i <= n; i++ {
		var config net.ListenConfig
		ln, err := config.Listen(ctx, "tcp4", fmt.Sprintf("%s%d:%d", network, i, port))
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return nil, err
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

func newKey() (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return ssh.NewSignerFromKey(private)
}

// ID is what the environment of every process of this lab has as BELA_LAB.
func (l *Lab) ID() string { return l.id }

// Dir holds the nodes' home directories, one a node, by name.
func (l *Lab) Dir() string { return l.dir }

// Targets says how to reach the nodes, in the order of the specs.
func (l *Lab) Targets() []nodes.Target {
	var targets []nodes.Target
	for _, s := range l.servers {
		address := s.listener.Addr().(*net.TCPAddr)
		targets = append(targets, nodes.Target{
			Name: s.spec.Name, Group: s.spec.Group, Role: s.spec.Role,
			Host: address.IP.String(), Port: address.Port, User: l.user, Address: address.IP.String(),
			SSH: nodes.Options{
				Signers:      []ssh.Signer{l.signer},
				HostKeys:     nodes.HostKeysPinned,
				Fingerprints: []string{ssh.FingerprintSHA256(s.hostKey.PublicKey())},
				Config:       "none", // the user's own proxies and aliases are not for these
				Log:          l.log,
			},
		})
	}
	return targets
}

// How long what is left of a lab has to end when asked, and after being killed.
const (
	termGrace = 5 * time.Second
	killGrace = 5 * time.Second
)

// Close ends the servers, every process that ran on the nodes, detached or
// not, and removes the lab's directory. It may be called more than once.
func (l *Lab) Close() error {
	l.once.Do(func() {
		l.cancel()
		for _, s := range l.servers {
			_ = s.listener.Close()
		}
		l.work.Wait()
		l.err = errors.Join(endProcesses(l.id, l.dir, l.log), removeDir(l.dir), l.sweeper.stop())
	})
	return l.err
}

func removeDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// newServer makes a node's home directory and host key.
func (l *Lab) newServer(spec Spec, ln net.Listener) (*server, error) {
	home := filepath.Join(l.dir, spec.Name)
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	hostKey, err := newKey()
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-bela_lab",
		MaxAuthTries:  6,
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) == string(l.signer.PublicKey().Marshal()) {
				return &ssh.Permissions{}, nil
			}
			return nil, errors.New("another key than the lab's own")
		},
	}
	config.AddHostKey(hostKey)
	return &server{
		spec: spec, home: home, listener: ln, hostKey: hostKey, config: config,
		log: l.log.With("node", spec.Name),
		env: l.environment(spec, home),
	}, nil
}

// environment is what a login on a machine would get, and nothing of the
// controller's own: that may hold tokens.
func (l *Lab) environment(spec Spec, home string) []string {
	env := []string{
		"HOME=" + home,
		"USER=" + l.user,
		"LOGNAME=" + l.user,
		"SHELL=/bin/sh",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"BELA_LAB=" + l.id,
	}
	return append(env, spec.Env...)
}

var _ io.Closer = (*Lab)(nil)
