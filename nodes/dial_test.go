package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"bela/nodes"
	"bela/nodes/sshdtest"
)

// refused dials and expects an error of a kind whose text holds the words that
// a user needs to act on it.
func refused(t *testing.T, tg nodes.Target, kind nodes.Kind, words ...string) {
	t.Helper()
	n, err := nodes.Dial(deadline(t), tg)
	if err == nil {
		_ = n.Close()
		t.Fatalf("connected; want %s", kind)
	}
	if nodes.KindOf(err) != kind {
		t.Fatalf("kind %q, want %q: %v", nodes.KindOf(err), kind, err)
	}
	for _, w := range append(words, "node "+tg.Name+": ") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in: %v", w, err)
		}
	}
}

// strictly makes a target that is checked against a known_hosts file.
func strictly(tg nodes.Target, file string) nodes.Target {
	tg.SSH.HostKeys, tg.SSH.Fingerprints, tg.SSH.KnownHosts = nodes.HostKeysStrict, nil, file
	return tg
}

// hostKey gives a target's real host key.
func hostKey(t *testing.T, tg nodes.Target) ssh.PublicKey {
	t.Helper()
	var key ssh.PublicKey
	client, err := ssh.Dial("tcp", net.JoinHostPort(tg.Host, fmt.Sprint(tg.Port)), &ssh.ClientConfig{
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error { key = k; return nil },
		Timeout:         10 * time.Second,
	})
	if err == nil {
		_ = client.Close()
	}
	if key == nil {
		t.Fatalf("no host key: %v", err)
	}
	return key
}

func knownHosts(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func entry(tg nodes.Target, key ssh.PublicKey) string {
	return fmt.Sprintf("[%s]:%d %s", tg.Host, tg.Port, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
}

// Whoever sits between the controller and a node must not get the run: a host
// key is taken only as the policy says, and what to do about it is in the text.
func TestHostKeyPolicies(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		key := hostKey(t, tg)
		other := sshdtest.WriteKey(t, filepath.Join(t.TempDir(), "k"), sshdtest.NewKey(t)).PublicKey()
		fingerprint := ssh.FingerprintSHA256(key)
		known := knownHosts(t, entry(tg, key))
		t.Setenv("TMPDIR", t.TempDir()) // to see what is left there
		changed := knownHosts(t, "# mine", entry(tg, other))

		t.Run("known", func(t *testing.T) { dial(t, strictly(tg, known)) })
		t.Run("unknown", func(t *testing.T) {
			refused(t, strictly(tg, knownHosts(t)), nodes.HostKeyUnknown, fingerprint, "accept-new")
		})
		t.Run("no known_hosts file", func(t *testing.T) {
			refused(t, strictly(tg, filepath.Join(t.TempDir(), "none")), nodes.HostKeyUnknown, fingerprint, "does not exist")
		})
		t.Run("changed", func(t *testing.T) {
			refused(t, strictly(tg, changed), nodes.HostKeyChanged, fingerprint, ssh.FingerprintSHA256(other), changed+":2", "ssh-keygen -R")
		})
		t.Run("revoked", func(t *testing.T) {
			refused(t, strictly(tg, knownHosts(t, "@revoked * "+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))), nodes.HostKeyChanged, "revokes")
		})
		t.Run("a malformed line is skipped", func(t *testing.T) {
			file := knownHosts(t, "# fine", "host ssh-ed25519 not*base64", "host", "@odd * x y", entry(tg, key), strings.Repeat("x", 70_000))
			dial(t, strictly(tg, file))
			skipped := nodes.SkippedHostKeys([]nodes.Target{strictly(tg, file), strictly(tg, file)})
			if len(skipped) != 4 {
				t.Errorf("told of %q", skipped)
			}
			for i, line := range []string{":6: ", ":2: ", ":3: ", ":4: "} {
				if i < len(skipped) && !strings.HasPrefix(skipped[i], file+line) {
					t.Errorf("%q does not begin with %s", skipped[i], line)
				}
			}
			// The others count as before, and are named as they are.
			refused(t, strictly(tg, knownHosts(t, "rubbish", entry(tg, other))), nodes.HostKeyChanged, "known_hosts:2")
			refused(t, strictly(tg, knownHosts(t, "rubbish", "@revoked * "+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))), nodes.HostKeyChanged, "known_hosts:2 revokes")
			refused(t, strictly(tg, knownHosts(t, "rubbish")), nodes.HostKeyUnknown, "malformed lines were skipped", "known_hosts:1")
			left, err := filepath.Glob(filepath.Join(os.TempDir(), "bela-known-hosts-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v: %v", left, err)
			}
		})
		t.Run("what revokes is not skipped", func(t *testing.T) {
			file := knownHosts(t, entry(tg, key), "@revoked * ssh-ed25519 not*base64")
			refused(t, strictly(tg, file), nodes.BadConfig, file+":2", "does not skip it")
		})
		t.Run("no known_hosts file at all", func(t *testing.T) {
			refused(t, strictly(tg, knownHosts(t, strings.Repeat("no such thing\n", 200))), nodes.BadConfig, "is it a known_hosts file")
		})
		t.Run("pinned", func(t *testing.T) {
			pinned := strictly(tg, changed)
			pinned.SSH.HostKeys, pinned.SSH.Fingerprints = nodes.HostKeysPinned, []string{ssh.FingerprintSHA256(other), fingerprint}
			if n := dial(t, pinned); n.HostKey() != fingerprint {
				t.Errorf("the node tells the host key %q, want %q", n.HostKey(), fingerprint)
			}
			pinned.SSH.Fingerprints = pinned.SSH.Fingerprints[:1]
			refused(t, pinned, nodes.HostKeyChanged, fingerprint)
			pinned.SSH.Fingerprints = nil
			refused(t, pinned, nodes.BadConfig, "fingerprints")
			pinned.SSH.Fingerprints = []string{"MD5:00:11"}
			refused(t, pinned, nodes.BadConfig, "SHA256:")
		})
		t.Run("accept-new", func(t *testing.T) {
			accept := strictly(tg, filepath.Join(t.TempDir(), "new", "known_hosts"))
			accept.SSH.HostKeys = nodes.HostKeysAcceptNew
			dial(t, accept)
			dial(t, strictly(tg, accept.SSH.KnownHosts)) // it was written down
			accept.SSH.KnownHosts = changed
			refused(t, accept, nodes.HostKeyChanged)
			// A last line without its end must not swallow the new one.
			accept.SSH.KnownHosts = knownHosts(t, "example.org "+strings.TrimSpace(string(ssh.MarshalAuthorizedKey(other))))
			dial(t, accept)
			text, err := os.ReadFile(accept.SSH.KnownHosts)
			if err != nil || strings.Count(string(text), "\n") != 2 {
				t.Errorf("known_hosts is now %q: %v", text, err)
			}
		})
		t.Run("no such policy", func(t *testing.T) {
			odd := tg
			odd.SSH.HostKeys = "whatever"
			refused(t, odd, nodes.BadConfig, "whatever")
		})
	})
}

// Each way in which a node cannot be reached names what to look at, and only
// those that may pass are tried again.
func TestUnreachable(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		tg.SSH.Retries = -1
		t.Run("nothing listens", func(t *testing.T) {
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			closed := tg
			closed.Host, closed.Port = "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
			_ = ln.Close()
			refused(t, closed, nodes.PortClosed, "connection refused", "SSH server listens")
		})
		t.Run("no such name", func(t *testing.T) {
			nowhere := tg
			nowhere.Host = "no-such-host.invalid"
			refused(t, nowhere, nodes.NameUnknown, "no-such-host.invalid", "/etc/hosts")
		})
		t.Run("silence", func(t *testing.T) {
			ln, err := net.Listen("tcp4", "127.0.0.1:0") // takes connections, says nothing
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close() //nolint:errcheck // a test's
			silent := tg
			silent.Host, silent.Port = "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
			silent.SSH.ConnectTimeout = 200 * time.Millisecond
			refused(t, silent, nodes.Unreachable, "took the connection", "no answer within 200ms")
		})
		t.Run("another service", func(t *testing.T) {
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close() //nolint:errcheck // a test's
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte(strings.Repeat("HTTP/1.1 400 Bad Request\r\n\r\n", 3000)))
					_ = c.Close()
				}
			}()
			odd := tg
			odd.Host, odd.Port = "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
			refused(t, odd, nodes.NotSSH, "no other service")
		})
		t.Run("given up", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := nodes.Dial(ctx, tg); nodes.KindOf(err) != nodes.Canceled || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		for _, host := range []string{"", "-oProxyCommand=id", "a b", "a\nb", strings.Repeat("x", 300)} {
			odd := tg
			odd.Host = host
			refused(t, odd, nodes.BadConfig)
		}
	})
}

// A server that hangs up on the first connections, as OpenSSH does when too many
// log in at once, must not fail a run; one that refuses a key must fail at once.
func TestRetriesTransientErrorsOnly(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		p, busy := through(t, tg, 2)
		busy.SSH.Log = testLog(t)
		dial(t, busy)
		if p.count() != 3 {
			t.Errorf("%d connections, want 3", p.count())
		}
		p, busy = through(t, tg, 1)
		busy.SSH.Retries = -1
		refused(t, busy, nodes.ConnectionCut, "MaxStartups")
		if p.count() != 1 {
			t.Errorf("%d connections with retries off, want 1", p.count())
		}
		p, stranger := through(t, tg, 0)
		stranger.SSH.KeyFiles, stranger.SSH.Signers = nil, []ssh.Signer{sshdtest.WriteKey(t, filepath.Join(t.TempDir(), "k"), sshdtest.NewKey(t))}
		refused(t, stranger, nodes.AuthRefused)
		if p.count() != 1 {
			t.Errorf("%d connections with a key that is refused, want 1", p.count())
		}
		p, unknown := through(t, tg, 0)
		refused(t, strictly(unknown, knownHosts(t)), nodes.HostKeyUnknown)
		p2, changed := through(t, tg, 0)
		other := sshdtest.WriteKey(t, filepath.Join(t.TempDir(), "k"), sshdtest.NewKey(t)).PublicKey()
		refused(t, strictly(changed, knownHosts(t, entry(changed, other))), nodes.HostKeyChanged)
		if p.count() != 1 || p2.count() != 1 {
			t.Errorf("%d and %d connections with a host key that is not trusted, want 1 each", p.count(), p2.count())
		}
	})
}

// OpenSSH drops logins when too many are under way; a run that starts on many
// nodes behind one jump host meets that, and must get through.
func TestMaxStartupsIsWaitedOut(t *testing.T) {
	noLeaks(t)
	s := sshdtest.Start(t, sshdtest.Options{Config: []string{"MaxStartups 1:100:1"}})
	p, tg := through(t, target(t, s), 0)
	var held net.Conn
	eventually(t, "the one place for a login", func() bool { // those that looked at the server have to leave it
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			return false
		}
		greeting := make([]byte, 4)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(c, greeting); err != nil || string(greeting) != "SSH-" {
			_ = c.Close()
			return false
		}
		held = c
		return true
	})
	defer held.Close() //nolint:errcheck // a test's
	tg.SSH.Retries = 5
	tg.SSH.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		if !strings.Contains(string(b), string(nodes.ConnectionCut)) {
			t.Errorf("tried again for another reason: %s", b)
		}
		return len(b), held.Close() // the place is free
	}), nil))
	dial(t, tg)
	if p.count() < 2 {
		t.Errorf("%d connections: the server dropped none", p.count())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A key that is refused is the most common mistake of all: the text must say
// which keys were offered and as whom.
func TestRefusedKey(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		file := filepath.Join(t.TempDir(), "other")
		stranger := sshdtest.WriteKey(t, file, sshdtest.NewKey(t))
		tg.SSH.Signers, tg.SSH.KeyFiles = nil, []string{file}
		refused(t, tg, nodes.AuthRefused, ssh.FingerprintSHA256(stranger.PublicKey()), tg.User, "authorized_keys")

		locked := filepath.Join(t.TempDir(), "locked")
		sshdtest.WriteKey(t, locked, sshdtest.NewKey(t), "secret phrase")
		tg.SSH.KeyFiles = []string{locked}
		refused(t, tg, nodes.AuthRefused, "no key to offer", locked+" has a passphrase", "ssh-add")

		tg.SSH.KeyFiles = []string{filepath.Join(t.TempDir(), "missing")}
		refused(t, tg, nodes.BadConfig, "missing")

		broken := filepath.Join(t.TempDir(), "broken")
		if err := os.WriteFile(broken, []byte("no key"), 0o600); err != nil {
			t.Fatal(err)
		}
		tg.SSH.KeyFiles = []string{broken}
		refused(t, tg, nodes.BadConfig, broken)
	})
}

// A frozen machine, or a cable pulled, must be noticed within the keepalive's
// time and end what waits on the link, instead of hanging a cell for ever.
func TestLinkDeathIsNoticed(t *testing.T) {
	watch := func(t *testing.T, tg nodes.Target, kill func(), words string) {
		tg.SSH.Keepalive = 100 * time.Millisecond
		n, err := nodes.Dial(deadline(t), tg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close() //nolint:errcheck // it is dead
		s, err := n.Stream(deadline(t), nodes.Command{Args: []string{"cat"}})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() {
			_, err := n.Run(deadline(t), nodes.Command{Args: []string{"cat"}, Stdin: waiting(t)})
			ran <- err
		}()
		if n.Err() != nil {
			t.Fatal(n.Err())
		}
		kill()
		ctx := deadline(t)
		select {
		case <-n.Done():
		case <-ctx.Done():
			t.Fatal("the dead link was not noticed")
		}
		if nodes.KindOf(n.Err()) != nodes.LinkLost || !strings.Contains(n.Err().Error(), words) {
			t.Errorf("got %v", n.Err())
		}
		if err := <-ran; nodes.KindOf(err) != nodes.LinkLost {
			t.Errorf("Run gives %v", err)
		}
		if _, err := s.Read(make([]byte, 1)); nodes.KindOf(err) != nodes.LinkLost {
			t.Errorf("Read gives %v", err)
		}
		if _, err := n.Run(ctx, nodes.Command{Args: []string{"true"}}); nodes.KindOf(err) != nodes.LinkLost {
			t.Errorf("a new Run gives %v", err)
		}
		if _, err := n.Upload(ctx, "x", 0o600, 0, strings.NewReader("")); nodes.KindOf(err) != nodes.LinkLost {
			t.Errorf("Upload gives %v", err)
		}
	}
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		t.Run("frozen", func(t *testing.T) {
			p, tg := through(t, tg, 0)
			watch(t, tg, p.freeze, "no answer to keepalives")
		})
		t.Run("cut", func(t *testing.T) {
			p, tg := through(t, tg, 0)
			watch(t, tg, p.cut, "link lost")
		})
	})
	t.Run("sshd stopped", func(t *testing.T) {
		s := sshdtest.Start(t, sshdtest.Options{})
		watch(t, target(t, s), s.Pause, "no answer to keepalives")
	})
}

// waiting is an input that does not end before the test does. A command that
// reads it ends when its connection is gone, on a real server too.
func waiting(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	return r
}

// After Close everything that ran over the connection ends, and says so.
func TestClose(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		n := dial(t, tg)
		if _, err := n.ReadDir(deadline(t), "/"); err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() {
			_, err := n.Run(deadline(t), nodes.Command{Args: []string{"cat"}, Stdin: waiting(t)})
			ran <- err
		}()
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ran; nodes.KindOf(err) != nodes.LinkLost {
			t.Errorf("got %v", err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

// Machines behind a bastion are reached through it, each hop with its own host
// key check.
func TestJumpHosts(t *testing.T) {
	noLeaks(t)
	bastion, inner := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{})
	bastion.Authorize(t, inner.Signer.PublicKey())
	tg := target(t, inner)
	tg.SSH.Jump = []string{fmt.Sprintf("%s@%s", bastion.User, bastion.Addr())}
	first, err := os.ReadFile(bastion.KnownHosts(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(inner.KnownHosts(t))
	if err != nil {
		t.Fatal(err)
	}
	both := knownHosts(t, string(first)+string(second))
	tg.SSH.KnownHosts = both

	n := dial(t, tg)
	res, err := n.Run(deadline(t), nodes.Script("x", `echo "$SSH_CONNECTION"`))
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(res.Stdout)), fmt.Sprint(" ", inner.Port)) {
		t.Errorf("got %q: %v", res.Stdout, err)
	}
	if !strings.Contains(bastion.Log(), "Accepted publickey") {
		t.Error("the bastion was not used")
	}

	strict := tg
	strict.SSH.KnownHosts = knownHosts(t, string(second))
	refused(t, strict, nodes.HostKeyUnknown, "jump host", ssh.FingerprintSHA256(bastion.HostKey))
	strict.SSH.KnownHosts = knownHosts(t, string(first))
	refused(t, strict, nodes.HostKeyUnknown, ssh.FingerprintSHA256(inner.HostKey))

	wrong := tg
	wrong.Port, wrong.SSH.Retries = 1, -1
	refused(t, wrong, nodes.PortClosed, "the jump host "+bastion.Addr()+" cannot reach it")

	closed := sshdtest.Start(t, sshdtest.Options{Config: []string{"AllowTcpForwarding no"}})
	closed.Authorize(t, inner.Signer.PublicKey())
	wrong = tg
	wrong.SSH.Jump, wrong.SSH.HostKeys = []string{closed.User + "@" + closed.Addr()}, nodes.HostKeysPinned
	wrong.SSH.Fingerprints = []string{ssh.FingerprintSHA256(closed.HostKey), ssh.FingerprintSHA256(inner.HostKey)}
	refused(t, wrong, nodes.JumpRefused, "AllowTcpForwarding yes")
}

// Keys that only the agent has must work, also the key of a file that has a
// passphrase, and even when the agent has more keys than a server lets one try.
func TestAgent(t *testing.T) {
	noLeaks(t)
	s := sshdtest.Start(t, sshdtest.Options{})
	keyring := agent.NewKeyring()
	add := func(key any) {
		if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	socket := serveAgent(t, keyring)
	tg := target(t, s)
	tg.SSH.Agent, tg.SSH.KeyFiles = socket, nil
	// No home directory of the machine that runs the test has a say.
	t.Setenv("HOME", t.TempDir())

	refused(t, tg, nodes.AuthRefused, "no key to offer")
	mine := sshdtest.NewKey(t)
	for range 8 { // a server hangs up after six
		add(sshdtest.NewKey(t))
	}
	locked := filepath.Join(t.TempDir(), "locked")
	s.Authorize(t, sshdtest.WriteKey(t, locked, mine, "secret").PublicKey())
	add(mine)
	refused(t, tg, nodes.AuthRefused)
	tg.SSH.KeyFiles = []string{locked} // so that it is offered first
	dial(t, tg)

	tg.SSH.Agent = filepath.Join(t.TempDir(), "gone")
	refused(t, tg, nodes.AuthRefused, "does not answer")
}

func serveAgent(t *testing.T, keyring agent.Agent) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a socket's path has room for 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ln.Close()
		_ = os.RemoveAll(dir)
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(keyring, c)
				_ = c.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

// A user who has the machine in ~/.ssh/config gives its alias and nothing else.
func TestUserConfig(t *testing.T) {
	noLeaks(t)
	bastion, inner := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{})
	bastion.Authorize(t, inner.Signer.PublicKey())
	home := t.TempDir()
	t.Setenv("HOME", home)
	first, _ := os.ReadFile(bastion.KnownHosts(t))
	second, _ := os.ReadFile(inner.KnownHosts(t))
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".ssh", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("known_hosts", string(first)+string(second))
	write("config", fmt.Sprintf(`
Host box
  HostName 127.0.0.1
  Port %d
Host gate
  HostName 127.0.0.1
  Port %d
Host hidden
  HostName 127.0.0.1
  Port %d
  ProxyJump gate
Host odd
  ProxyCommand nc %%h %%p
Host *
  User %s
  IdentityFile %s
  IdentitiesOnly yes
`, inner.Port, bastion.Port, inner.Port, inner.User, inner.KeyFile))
	alias := func(name string) nodes.Target {
		return nodes.Target{Name: name, Host: name, SSH: nodes.Options{Agent: "none", Retries: -1}}
	}
	n := dial(t, alias("box"))
	if n.Address() != "127.0.0.1" {
		t.Errorf("address %q", n.Address())
	}
	dial(t, alias("hidden"))
	if !strings.Contains(bastion.Log(), "Accepted publickey") {
		t.Error("ProxyJump was not followed")
	}
	refused(t, alias("odd"), nodes.Unsupported, "ProxyCommand", "ProxyJump")
	wrong := alias("box")
	wrong.Port = 1 // what is given wins over the file
	refused(t, wrong, nodes.PortClosed, "127.0.0.1:1")
	write("config", "Host box\n  Port banana\n")
	refused(t, alias("box"), nodes.BadConfig, "Port", "banana")
}

// A run over many nodes must say of each failed node what is wrong, in the
// order of the nodes, and use those that are well.
func TestDialAll(t *testing.T) {
	each(t, nil, func(t *testing.T, tg nodes.Target) {
		var targets []nodes.Target
		for i := range 12 {
			one := tg
			one.Name = fmt.Sprintf("worker-%d", i+1)
			if i%5 == 1 {
				one.Host = "-bad"
			}
			targets = append(targets, one)
		}
		list, err := nodes.DialAll(deadline(t), targets, 3)
		defer nodes.CloseAll(list) //nolint:errcheck // each is checked elsewhere
		want := "node worker-2: "
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Count(err.Error(), "\n") != 2 {
			t.Errorf("got %v", err)
		}
		for i, n := range list {
			if (n == nil) != (i%5 == 1) {
				t.Errorf("node %d is %v", i+1, n)
			} else if n != nil && n.Name() != targets[i].Name {
				t.Errorf("node %d is %s", i+1, n.Name())
			}
		}
	})
}
