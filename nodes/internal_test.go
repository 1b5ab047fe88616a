package nodes

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// Waiting between attempts must give a machine that restarts its SSH server a
// chance, and not keep a user waiting for a mistake that stays.
func TestRetryBackoff(t *testing.T) {
	transient := func() error { return &Error{Node: "n", Kind: Unreachable, Err: errors.New("x"), Transient: true} }
	rows := []struct {
		name        string
		repeats     int
		f           func(call int) error
		calls       int
		least, most time.Duration // the sum of waits: each is 50 to 150 % of 0.5, 1, 2, 4, 5, 5 … s
	}{
		{"at once", 2, func(int) error { return nil }, 1, 0, 0},
		{"stays wrong", 2, func(int) error { return &Error{Err: errors.New("x")} }, 1, 0, 0},
		{"no *Error", 2, func(int) error { return errors.New("x") }, 1, 0, 0},
		{"third time", 2, func(call int) error {
			if call < 3 {
				return transient()
			}
			return nil
		}, 3, 750 * time.Millisecond, 2250 * time.Millisecond},
		{"never", 2, func(int) error { return transient() }, 3, 750 * time.Millisecond, 2250 * time.Millisecond},
		{"off", 0, func(int) error { return transient() }, 1, 0, 0},
		{"bounded", 6, func(int) error { return transient() }, 7, 8750 * time.Millisecond, 26250 * time.Millisecond},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, calls := time.Now(), 0
				err := retry(t.Context(), row.repeats, func(int, error, time.Duration) {}, func() error {
					calls++
					return row.f(calls)
				})
				if took := time.Since(begin); calls != row.calls || took < row.least || took > row.most {
					t.Errorf("%d calls in %s, want %d in %s to %s: %v", calls, took, row.calls, row.least, row.most, err)
				}
			})
		})
	}
}

// Ctrl-C must not wait for the next attempt.
func TestRetryEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begin := time.Now()
		err := retry(ctx, 100, func(int, error, time.Duration) {}, func() error { return &Error{Err: errors.New("x"), Transient: true} })
		if time.Since(begin) != 100*time.Millisecond || err == nil {
			t.Errorf("it took %s: %v", time.Since(begin), err)
		}
	})
}

// Each must keep to its limit, go on after a failure, and report in the order
// of the items, so that the same failures read the same every time.
func TestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		items := []int{1, 2, 3, 4, 5, 6, 7}
		begin := time.Now()
		err := Each(t.Context(), items, 3, func(_ context.Context, i int) error {
			time.Sleep(time.Second)
			if i%2 == 0 {
				time.Sleep(time.Duration(10-i) * time.Millisecond) // later items fail first
				return errors.New(strings.Repeat("x", i))
			}
			return nil
		})
		if err == nil || err.Error() != "xx\nxxxx\nxxxxxx" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin).Truncate(time.Second); took != 3*time.Second {
			t.Errorf("7 items of 1 s, 3 at once, took %s, want 3 s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var begun []int
		err = Each(ctx, items, 1, func(_ context.Context, i int) error {
			begun = append(begun, i)
			if i == 2 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || len(begun) != 2 {
			t.Errorf("%v begun after the end of the context: %v", begun, err)
		}
	})
}

// known_hosts and ssh_config are the user's, and other programs write to them:
// whatever is in them, bela must not crash, and must never take a key for known
// that is not written there.
func FuzzKnownHosts(f *testing.F) {
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	public := key.PublicKey()
	line := string(ssh.MarshalAuthorizedKey(public))
	for _, s := range []string{"", "# comment", "node " + line, "[node]:2222 " + line, "|1|x|y " + line, "@revoked * " + line, "@cert-authority * " + line,
		"* " + line, "!node,* " + line, "node ssh-ed448 AAAA", "node ssh-ed25519 AAAA", "\x00\xff", strings.Repeat("x", 70_000), "@revoked", "@", "node", "|1|", "[ " + line} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		h := hop{alias: "node", host: "node", port: 2222, keyAlias: "node:2222"}
		checker, err := newHostKeyChecker(&userConfig{}, Options{KnownHosts: file}, h)
		if err != nil {
			return
		}
		encoded := strings.Fields(line)[1]
		if err := checker.check("", nil, public); err == nil && !strings.Contains(string(text), encoded) {
			t.Errorf("a key that is not in the file is taken as known: %q", text)
		}
	})
}

// See FuzzKnownHosts.
func FuzzUserConfig(f *testing.F) {
	for _, s := range []string{"", "Host a\n Port 22", "Host *\n IdentityFile ~/%d/%h", "Match all\n User x", "Match host a exec \"id\"\n Port 1", "Host !", "Port",
		"Include /dev/null", "Host a\n ProxyJump b,c@d:1", "Host a\n Port 0", "HostName %h%%", "\"", "Host \"", "=\n=", "Host a\n HostName -x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(strings.ToLower(string(text)), "include") {
			t.Skip("an Include would read this machine's files")
		}
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := newDialer(Target{Name: "n", Host: "a", SSH: Options{Config: file}})
		if err != nil {
			if KindOf(err) != BadConfig && KindOf(err) != Unsupported {
				t.Errorf("kind %q: %v", KindOf(err), err)
			}
			return
		}
		for _, h := range d.hops {
			if h.host == "" || h.host[0] == '-' || h.port < 1 || h.port > 65535 {
				t.Errorf("a hop %+v", h)
			}
		}
	})
}

// Facts are what a foreign machine prints; they go into files and a terminal.
func FuzzParseFacts(f *testing.F) {
	f.Add([]byte("os=Linux\nmachine=x86_64\ncpus=8\nmemory_kib=1\nopen_files_soft=unlimited\nports=1 2\n"))
	f.Add([]byte("os=Linux\ncpus=unlimited\nmemory_kib=unlimited\n"))
	f.Add([]byte("os=\x1b[31mLinux\ncpus=-1\nmemory_kib=99999999999999999999\nports=1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		facts, err := parseFacts(text)
		if err != nil {
			return
		}
		if facts.CPUs < 0 || facts.Memory < 0 || facts.DiskFree < 0 {
			t.Errorf("below 0: %+v", facts)
		}
		for _, s := range []string{facts.OS, facts.Distribution, facts.Hostname, facts.CPUModel, facts.Kernel, facts.User} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
				t.Errorf("a control character in %q", s)
			}
		}
	})
}

// An alias in ~/.ssh/config must resolve as ssh does: what is given first, then
// the file, then the defaults.
func TestHopResolution(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	text := "Host web*\n HostName %h.example.org\n User www\n Port 2200\n HostKeyAlias farm\n IdentityFile ~/.ssh/%r\n UserKnownHostsFile ~/kh1 ~/kh2\nHost gated\n ProxyJump a,b@c:22\nHost direct\n ProxyJump none\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", "/home/u")
	c, err := loadUserConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.hop(Host{Host: "web1"})
	want := hop{alias: "web1", host: "web1.example.org", port: 2200, user: "www", keyAlias: "farm:22"}
	if err != nil || h != want {
		t.Errorf("got %+v, want %+v: %v", h, want, err)
	}
	if files, explicit := c.identityFiles(h); !explicit || !slices.Equal(files, []string{"/home/u/.ssh/www"}) {
		t.Errorf("identity files %v", files)
	}
	if add, _ := c.knownHostsFiles("", "web1"); add != "/home/u/kh1" {
		t.Errorf("new keys go to %s", add)
	}
	if h, err := c.hop(Host{User: "me", Host: "web1", Port: 1}); err != nil || h.user != "me" || h.port != 1 {
		t.Errorf("what was given is lost: %+v: %v", h, err)
	}
	hops, err := c.jumps(nil, "gated")
	if err != nil || len(hops) != 2 || hops[1].user != "b" || hops[1].host != "c" {
		t.Errorf("jumps %+v: %v", hops, err)
	}
	for _, name := range []string{"direct", "other"} {
		if hops, err := c.jumps(nil, name); err != nil || len(hops) != 0 {
			t.Errorf("%s goes through %+v: %v", name, hops, err)
		}
	}
	if hops, err := c.jumps([]string{"x"}, "gated"); err != nil || len(hops) != 1 || hops[0].host != "x" {
		t.Errorf("jumps %+v: %v", hops, err)
	}
}
