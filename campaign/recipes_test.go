package campaign_test

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bela/campaign"
)

// The recipes are what users begin with who have a platform of their own: each
// must run as it is shipped against the real server, account for every message,
// and leave nothing behind.
func TestRecipes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		recipe string
		// needs are the programs without which it would install packages.
		needs []string
		cells int
		// busy are components that must have used CPU.
		busy []string
	}{
		{"mosquitto", []string{"mosquitto"}, 2, []string{"mosquitto"}},
		{"rabbitmq", []string{"rabbitmq-server", "epmd"}, 2, []string{"rabbitmq"}},
		{"nats-mqtt", []string{"nats-server"}, 2, []string{"nats"}},
		{"nats", []string{"nats-server"}, 2, []string{"nats", "gateway", "hub"}},
		{"redis", []string{"redis-server", "mosquitto", "mosquitto_sub"}, 1, []string{"redis", "recorder"}},
	} {
		t.Run(tt.recipe, func(t *testing.T) {
			t.Parallel()
			for _, program := range tt.needs {
				requireProgram(t, program)
			}
			text, err := os.ReadFile(filepath.Join("..", "experiments", "recipes", tt.recipe+".hcl"))
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, string(text), nil, "measure=2s", "warmup=1s", "devices=10")
			summary, run, err := r.run(t, t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(run.Cells) != tt.cells || summary.Missing > 0 || summary.Status != campaign.Done && summary.Invalid == 0 {
				t.Errorf("%d cells, %+v; want %d and none missing", len(run.Cells), summary, tt.cells)
			}
			for _, c := range run.Cells {
				if l := c.Ledger; spoiled(c) || !l.Closed || l.Published != 20 || l.Delivered != 20 || l.Duplicated != 0 {
					t.Errorf("cell %d is %s: %+v %+v", c.Number, c.Verdict, l, c.Reasons)
				}
				for _, u := range c.Components {
					for _, name := range tt.busy {
						if u.Component == name && (u.CPUMean == nil || u.MemoryMax == nil || *u.MemoryMax <= 0) {
							t.Errorf("cell %d: the use of %s is missing: %+v", c.Number, name, u)
						}
					}
				}
			}
			if t.Failed() {
				logs(t, r)
			}
		})
	}
}

// standIn is in a release package's place: it checks what it is told as that
// server would read it, listens there, and is mosquitto.
const standIn = `#!/bin/sh
set -e
%s
mkdir data
echo "listener ${mqtt##*:} ${mqtt%%:*}
allow_anonymous true
log_dest stderr" >data/conf
perl -MIO::Socket::INET -e '
  $s = IO::Socket::INET->new(LocalAddr => $ARGV[0], Listen => 5, ReuseAddr => 1) or die;
  while ($c = $s->accept) { <$c>; print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"; close $c }' "$http" &
exec mosquitto -c data/conf
`

// The recipes for release packages, which nobody may ship with bela, must bring
// the package to the node, give it what they say, and leave nothing. That the
// servers themselves understand the settings is not what this shows.
func TestReleaseRecipes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ recipe, program, settings string }{
		{"emqx", "bin/emqx", `[ "$1" = foreground ] && [ -n "$EMQX_NODE__NAME" ] && [ -n "$EMQX_NODE__COOKIE" ]
mqtt=$EMQX_LISTENERS__TCP__DEFAULT__BIND http=$EMQX_DASHBOARD__LISTENERS__HTTP__BIND`},
		{"vernemq", "bin/vernemq", `[ "$*" = "console -noshell -noinput" ] && grep -q '^first = line' etc/vernemq.conf && epmd -names >/dev/null
mqtt=$(sed -n 's/^ *listener.tcp.default = //p' etc/vernemq.conf) http=$(sed -n 's/^ *listener.http.default = //p' etc/vernemq.conf)`},
	} {
		t.Run(tt.recipe, func(t *testing.T) {
			t.Parallel()
			for _, program := range []string{"mosquitto", "perl", "epmd"} {
				requireProgram(t, program)
			}
			text, err := os.ReadFile(filepath.Join("..", "experiments", "recipes", tt.recipe+".hcl"))
			if err != nil {
				t.Fatal(err)
			}
			release := tarball(t, map[string]string{tt.program: fmt.Sprintf(standIn, tt.settings), "etc/vernemq.conf": "first = line\n"})
			content, err := os.ReadFile(release)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(content)
			r := newRig(t, string(text), nil, "measure=2s", "warmup=1s", "devices=10", "release="+release, "sha256="+hex.EncodeToString(sum[:]))
			summary, run, err := r.run(t, t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(run.Cells) != 2 || summary.Missing > 0 || summary.Status != campaign.Done && summary.Invalid == 0 {
				t.Errorf("%d cells, %+v; want 2 and none missing", len(run.Cells), summary)
			}
			for _, c := range run.Cells {
				if l := c.Ledger; spoiled(c) || !l.Closed || l.Published != 20 || l.Delivered != 20 {
					t.Errorf("cell %d is %s: %+v %+v", c.Number, c.Verdict, l, c.Reasons)
				}
			}
			if t.Failed() {
				logs(t, r)
			}
		})
	}
}

// tarball packs files, all of them programs, as a .tar.gz.
func tarball(t *testing.T, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "release.tar.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// requireProgram leaves a test out where a program is missing. Debian puts
// servers where only root's PATH leads.
func requireProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return
		}
	}
	t.Skipf("left out: %s is not on this machine", name)
}

// logs shows the ends of the components' logs.
func logs(t *testing.T, r *rig) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.root, "cells", "*", "logs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s\n%s", strings.TrimPrefix(file, r.root), text[max(0, len(text)-1500):])
	}
}
