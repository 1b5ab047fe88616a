// Package sshdtest runs OpenSSH's real server for tests: on a loopback port,
// without privileges of its own, with keys and files in a temporary directory.
package sshdtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Server is a running sshd.
type Server struct {
	Host    string
	Port    int
	User    string
	HostKey ssh.PublicKey
	// KeyFile is a private key that logs in; Signer is the same in memory.
	KeyFile string
	Signer  ssh.Signer
	// Dir is where the server's files are.
	Dir string

	cmd   *exec.Cmd
	ended <-chan struct{} // closed when the server has ended
	log   *lockedBuffer
}

// Options change the server's configuration.
type Options struct {
	// Env is the environment of its commands, NAME to value.
	Env map[string]string
	// HostKey is the host's private key; nil is a new one.
	HostKey ed25519.PrivateKey
	// Config is further lines of sshd_config; the first of a keyword counts. One with
	// a Subsystem leaves SFTP out.
	Config []string
}

// Find gives the path of sshd. A machine without it skips the test; under CI,
// where it must be there, the test fails.
func Find(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("/usr/sbin/sshd")
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs OpenSSH's server: apt-get install openssh-server: %v", err)
	}
	t.Skipf("needs OpenSSH's server: apt-get install openssh-server: %v", err)
	return ""
}

// Start runs a server until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	path := Find(t)
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Host: "127.0.0.1", User: u.Username, Dir: t.TempDir()}
	hostKey := o.HostKey
	if hostKey == nil {
		hostKey = NewKey(t)
	}
	s.HostKey = WriteKey(t, filepath.Join(s.Dir, "host_key"), hostKey).PublicKey()
	s.KeyFile = filepath.Join(s.Dir, "id")
	s.Signer = WriteKey(t, s.KeyFile, NewKey(t))
	s.Authorize(t, s.Signer.PublicKey())
	if os.Getuid() == 0 { // where the server drops its privileges
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const tries = 5 // another process may take the port first
	for try := 1; ; try++ {
		err := s.run(t, path, o)
		if err == nil {
			break
		}
		if try == tries {
			t.Fatalf("sshd does not start: %v\n%s", err, s.log)
		}
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("sshd at port %d:\n%s", s.Port, s.log)
		}
	})
	return s
}

// Authorize lets a further key log in.
func (s *Server) Authorize(t testing.TB, key ssh.PublicKey) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.Dir, "authorized_keys"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // the write is checked
	if _, err := f.Write(ssh.MarshalAuthorizedKey(key)); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) run(t testing.TB, path string, o Options) error {
	ln, err := net.Listen("tcp4", s.Host+":0")
	if err != nil {
		return err
	}
	s.Port = ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	lines := append([]string{}, o.Config...)
	lines = append(lines,
		fmt.Sprintf("ListenAddress %s:%d", s.Host, s.Port),
		"HostKey "+filepath.Join(s.Dir, "host_key"),
		"AuthorizedKeysFile "+filepath.Join(s.Dir, "authorized_keys"),
		"PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin yes", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no", "LogLevel VERBOSE")
	if !slices.ContainsFunc(o.Config, func(line string) bool { return strings.HasPrefix(line, "Subsystem ") }) {
		lines = append(lines, "Subsystem sftp internal-sftp")
	}
	if !strings.Contains(strings.Join(o.Config, "\n"), "MaxStartups") { // of which the last counts
		lines = append(lines, "MaxStartups 100")
	}
	// The start-up files of the user who runs the tests are none of theirs: a
	// shell reads them for every command that comes over SSH.
	env := []string{fmt.Sprintf("HOME=%q", s.Dir)}
	for name, value := range o.Env {
		env = append(env, fmt.Sprintf("%s=%q", name, value))
	}
	lines = append(lines, "SetEnv "+strings.Join(env, " "))
	config := filepath.Join(s.Dir, "sshd_config")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	s.log = &lockedBuffer{}
	s.cmd = exec.Command(path, "-D", "-e", "-f", config)
	s.cmd.Stderr = s.log
	s.cmd.WaitDelay = 5 * time.Second // sessions hold the log open
	if err := s.launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.await(ctx); err != nil {
		s.Stop()
		return err
	}
	return nil
}

// launch starts the server so that it cannot outlive the tests, however they
// end: the kernel kills it with the thread that forked it, which is therefore
// kept until it has ended.
func (s *Server) launch() error {
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() {
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed
		}
	}()
	return <-started
}

// await waits until the server greets.
func (s *Server) await(ctx context.Context) error {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr())
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			greeting := make([]byte, 4)
			_, err = conn.Read(greeting)
			_ = conn.Close()
			if err == nil && string(greeting) == "SSH-" {
				return nil
			}
		}
		if !alive(s.cmd.Process.Pid) {
			return fmt.Errorf("it ended: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no greeting: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Log is what the server has written.
func (s *Server) Log() string { return s.log.String() }

// KnownHosts writes a known_hosts file with the server's key and gives its path.
func (s *Server) KnownHosts(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known_hosts")
	line := fmt.Sprintf("[%s]:%d %s", s.Host, s.Port, ssh.MarshalAuthorizedKey(s.HostKey))
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Pause freezes the server and all its connections, as a machine that hangs.
func (s *Server) Pause() { s.signalAll(syscall.SIGSTOP) }

// Stop ends the server and its connections. Commands that detached go on.
func (s *Server) Stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	s.signalAll(syscall.SIGKILL)
	<-s.ended
	s.cmd = nil
}

// signalAll reaches the server and its descendants, which are one a connection
// and what those run. The server goes first, so that it makes no more.
func (s *Server) signalAll(signal syscall.Signal) {
	root := s.cmd.Process.Pid
	_ = syscall.Kill(root, syscall.SIGSTOP)
	for _, pid := range descendants(root) {
		_ = syscall.Kill(pid, signal)
	}
	_ = syscall.Kill(root, signal)
}

// descendants gives the children of a process, and theirs.
func descendants(root int) []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, parent, ok := stat(pid); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	var found []int
	for next := []int{root}; len(next) > 0; next = next[1:] {
		found = append(found, children[next[0]]...)
		next = append(next, children[next[0]]...)
	}
	return found
}

// stat gives a process's state and parent.
func stat(pid int) (state string, parent int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, false
	}
	// The name, in parentheses, may have spaces.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return "", 0, false
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return string(fields[0]), parent, err == nil
}

func alive(pid int) bool {
	state, _, ok := stat(pid)
	return ok && state != "Z" && state != "X"
}

// NewKey makes a private key.
func NewKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// WriteKey writes a private key file, with a passphrase where one is given.
func WriteKey(t testing.TB, path string, key ed25519.PrivateKey, passphrase ...string) ssh.Signer {
	t.Helper()
	var block *pem.Block
	var err error
	if len(passphrase) > 0 {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase[0]))
	} else {
		block, err = ssh.MarshalPrivateKey(key, "test")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
