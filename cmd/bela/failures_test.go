package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"bela/campaign"
	"bela/nodes/sshdtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// failing is one way in which a node cannot be reached or used.
type failing struct {
	host, user string
	known      []string // lines of the known_hosts file
	key        string
	jump       string
	timeout    string
	reached    bool // the login works, so that `bela nodes` has nothing to complain of
}

// knownAs is a line of a known_hosts file.
func knownAs(s *sshdtest.Server, key ssh.PublicKey) string {
	return fmt.Sprintf("[%s]:%d %s", s.Host, s.Port, ssh.MarshalAuthorizedKey(key))
}

// well is a node that works, to be spoiled.
func well(s *sshdtest.Server) failing {
	return failing{host: s.Addr(), user: s.User, known: []string{knownAs(s, s.HostKey)}, key: s.KeyFile}
}

// listen opens a port that does as it is told with each connection.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return ln.Addr().String()
}

// deaf is an address that answers no packet, as that of a machine that is off: a
// port whose queue is full.
func deaf(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	c, err := net.Dial("tcp", address) // fills the queue
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return address
}

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	return ln.Addr().String()
}

// pretending is a node one of whose programs says something else.
func pretending(t *testing.T, program, text string) failing {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := well(sshdtest.Start(t, sshdtest.Options{Env: map[string]string{"PATH": dir + ":/usr/local/bin:/usr/bin:/bin"}}))
	f.reached = true
	return f
}

// failures are the ways, each with words of its own.
func failures() map[string]func(t *testing.T) failing {
	other := func(t *testing.T) ssh.Signer {
		return sshdtest.WriteKey(t, filepath.Join(t.TempDir(), "k"), sshdtest.NewKey(t))
	}
	behind := func(t *testing.T, gate *sshdtest.Server) failing {
		inner := sshdtest.Start(t, sshdtest.Options{})
		f := well(inner)
		gate.Authorize(t, inner.Signer.PublicKey())
		f.known = append(f.known, knownAs(gate, gate.HostKey))
		f.jump = gate.User + "@" + gate.Addr()
		return f
	}
	return map[string]func(t *testing.T) failing{
		"dead-node": func(t *testing.T) failing { return failing{host: deaf(t), timeout: "300ms"} },
		"hanging-node": func(t *testing.T) failing {
			return failing{host: listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), timeout: "300ms"}
		},
		"closed-port":  func(t *testing.T) failing { return failing{host: closedPort(t)} },
		"unknown-name": func(*testing.T) failing { return failing{host: "no-such-host.invalid"} },
		"connection-cut": func(t *testing.T) failing {
			return failing{host: listen(t, func(c net.Conn) { _ = c.Close() })}
		},
		"other-service": func(t *testing.T) failing {
			return failing{host: listen(t, func(c net.Conn) {
				_, _ = c.Write([]byte(strings.Repeat("HTTP/1.1 400 Bad Request\r\n\r\n", 3000)))
			})}
		},
		"refused-login": func(t *testing.T) failing {
			f := well(sshdtest.Start(t, sshdtest.Options{}))
			f.key = filepath.Join(t.TempDir(), "other")
			sshdtest.WriteKey(t, f.key, sshdtest.NewKey(t))
			return f
		},
		"wrong-user": func(t *testing.T) failing {
			f := well(sshdtest.Start(t, sshdtest.Options{}))
			f.user = "no-such-user"
			return f
		},
		"unknown-host-key": func(t *testing.T) failing {
			f := well(sshdtest.Start(t, sshdtest.Options{}))
			f.known = nil
			return f
		},
		"changed-host-key": func(t *testing.T) failing {
			s := sshdtest.Start(t, sshdtest.Options{})
			f := well(s)
			f.known = []string{knownAs(s, other(t).PublicKey())}
			return f
		},
		"malformed-known-hosts": func(t *testing.T) failing {
			f := well(sshdtest.Start(t, sshdtest.Options{}))
			f.known = []string{"rubbish\n"}
			return f
		},
		"jump-host-dead": func(t *testing.T) failing {
			f := well(sshdtest.Start(t, sshdtest.Options{}))
			f.jump = closedPort(t)
			return f
		},
		"jump-host-refuses-login": func(t *testing.T) failing {
			gate := sshdtest.Start(t, sshdtest.Options{})
			f := well(sshdtest.Start(t, sshdtest.Options{}))
			f.known = append(f.known, knownAs(gate, gate.HostKey))
			f.jump = gate.User + "@" + gate.Addr()
			return f
		},
		"jump-host-forwards-nothing": func(t *testing.T) failing {
			return behind(t, sshdtest.Start(t, sshdtest.Options{Config: []string{"AllowTcpForwarding no"}}))
		},
		"closed-port-behind-jump-host": func(t *testing.T) failing {
			f := behind(t, sshdtest.Start(t, sshdtest.Options{}))
			f.host = closedPort(t)
			return f
		},
		"full-disk": func(t *testing.T) failing {
			return pretending(t, "df", `echo "Filesystem 1024-blocks Used Available Capacity Mounted on"; echo "/dev/vda1 1000 1000 0 100% /"`)
		},
		"not-linux": func(t *testing.T) failing {
			f := pretending(t, "uname", "echo FreeBSD")
			f.reached = false
			return f
		},
		"no-permission": func(t *testing.T) failing {
			return pretending(t, "chmod", `echo "chmod: changing permissions: Operation not permitted" >&2; exit 1`)
		},
	}
}

const failuresExperiment = `experiment "e" {}
node "worker" { hosts = [%[1]q] }
node "iot" { hosts = [%[1]q] }
node "customer" { hosts = [%[1]q] }
ssh {
  known_hosts     = "known_hosts"
  retries         = 1
%[2]s}
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.iot
  count = 1
}
customers {
  on    = node.customer
  count = 1
}
`

// experiment writes the files of a failing node and returns the experiment's text.
func (f failing) experiment(t *testing.T, dir string) string {
	t.Helper()
	write(t, filepath.Join(dir, "known_hosts"), strings.Join(f.known, ""))
	var more strings.Builder
	for name, value := range map[string]string{"user": f.user, "directory": filepath.Join(dir, "bela"), "connect_timeout": f.timeout} {
		if value != "" {
			fmt.Fprintf(&more, "  %s = %q\n", name, value)
		}
	}
	for name, value := range map[string]string{"key_files": f.key, "jump": f.jump} {
		if value != "" {
			fmt.Fprintf(&more, "  %s = [%q]\n", name, value)
		}
	}
	return fmt.Sprintf(failuresExperiment, f.host, more.String())
}

// normal takes out of an output what differs from machine to machine.
func normal(out, dir, user string) string {
	for _, r := range []struct{ find, put string }{
		{regexp.QuoteMeta(dir), "DIR"}, {regexp.QuoteMeta(os.TempDir()) + `/[\w/.-]+/`, "TMP/"}, {`SHA256:[A-Za-z0-9+/=]+`, "SHA256:…"},
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"}, {`127\.0\.0\.1\]:\d+`, "127.0.0.1]:PORT"}, {`127\.0\.0\.1  +\d+`, "127.0.0.1  PORT"}, {`-p \d+`, "-p PORT"},
		{`\b` + regexp.QuoteMeta(user) + `\b`, "USER"}, {`\d+ are needed`, "N are needed"}, {`\S+ cannot be written to`, "DIR cannot be written to"}, {`(?s)e\.hcl:\d+:\d+: warning:.*?their load\n\n?`, ""}, {`the name has no address: [^;]*;`, "the name has no address: …;"}, {`handshake failed: [^;]*?( \(tried|;)`, "handshake failed: …$1"}, {` {3,}`, "  "}, {` +\n`, "\n"},
	} {
		out = regexp.MustCompile(r.find).ReplaceAllString(out, r.put)
	}
	return out
}

// What a user reads when a node cannot be reached or used must tell them which of
// the many reasons it is, and what to do; and a script reads status 3. Each reason
// is planted on a real server, and its words stand in a golden file.
func TestFailures(t *testing.T) {
	needAgents(t)
	for name, plant := range failures() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := plant(t)
			write(t, filepath.Join(dir, "e.hcl"), f.experiment(t, dir))
			var got strings.Builder
			for _, command := range []string{"doctor", "nodes", "run"} {
				if command == "nodes" && f.reached {
					continue
				}
				cmd := belaCommand(t, dir, command, "e.hcl")
				cmd.Env = append(cmd.Env, "HOME="+dir, "SSH_AUTH_SOCK=")
				var out, said strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &said
				if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
					t.Fatal(err)
				}
				if status := cmd.ProcessState.ExitCode(); status != int(campaign.Unreachable) {
					t.Errorf("bela %s: status %d, want 3", command, status)
				}
				fmt.Fprintf(&got, "$ bela %s\n", command)
				if command != "run" { // whose progress is shown elsewhere
					got.WriteString(out.String())
				}
				got.WriteString(said.String())
			}
			login := f.user
			if login == "" {
				login = currentUser(t)
			}
			golden(t, filepath.Join("testdata", "failures", name+".golden"), normal(got.String(), dir, login))
		})
	}
}

func currentUser(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
