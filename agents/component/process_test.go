package component

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bela/agents/protocol"
)

// told is what a process wrote, line by line, once it has said "end".
func (b *bench) told() []string {
	b.t.Helper()
	await(b.t, "the end of what the process says", func() bool { return strings.Contains(b.output(), "end\n") })
	return strings.Split(strings.TrimSpace(b.output()), "\n")
}

// shell is a spec of a shell script that then stays.
func (b *bench) shell(script string) protocol.ComponentSpec {
	spec := b.process()
	spec.Command = []string{"/bin/sh", "-c", script + "\necho end; exec sleep 3600"}
	spec.Process = &protocol.ProcessSpec{}
	return spec
}

// If this failed, a server would start with a configuration that is not the
// experiment's, or in a directory with what an earlier cell left.
func TestFilesAndDirectory(t *testing.T) {
	b := newBench(t, false)
	spec := b.shell(`pwd; cat ../etc/server.conf; stat -c %a ../etc/server.conf; ls -A; touch old`)
	spec.Process.Directory = "data"
	spec.Process.Files = []protocol.FileSpec{{Name: "etc/server.conf", Content: "dir=" + protocol.PlaceholderDirectory + "\n", Mode: 0o640}}
	dir := filepath.Join(b.Dir, "cells", spec.Cell, "p-1")
	want := []string{dir + "/data", "dir=" + dir, "640", "end"}
	for range 2 {
		b.start(spec)
		if got := b.told(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the process says %q, want %q", got, want)
		}
		if err := b.StopAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir + ".log"); err != nil {
			t.Fatal(err)
		}
	}
}

// State outside of the instance's directory would carry messages from one cell
// into the next, or stay on a lent machine.
func TestStateIsWiped(t *testing.T) {
	b := newBench(t, false)
	var recorded []string
	b.RecordState = func(path string) error {
		recorded = append(recorded, path)
		return nil
	}
	state := filepath.Join(os.TempDir(), "bela-state-test-"+strconv.Itoa(os.Getpid()))
	if !strings.HasPrefix(state, "/tmp/") {
		t.Skip("left out: the temporary directory is not below /tmp")
	}
	if err := os.MkdirAll(filepath.Join(state, "queue"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	spec := b.shell("ls -A " + state + " 2>/dev/null; mkdir -p " + state + "/new")
	spec.Process.State = []string{state}
	b.start(spec)
	if got := b.told(); len(got) != 1 {
		t.Errorf("the process found %q of an earlier cell", got)
	}
	if len(recorded) != 1 || recorded[0] != state {
		t.Errorf("recorded %q, want %q before it was used", recorded, state)
	}
	if err := b.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(state) {
		t.Error("the state is still there after the cell")
	}
}

// A path in an experiment must not remove what is not a component's state.
func TestWipeStaysInItsPlace(t *testing.T) {
	outside := t.TempDir()
	keep := filepath.Join(outside, "keep")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join("/var/tmp", "bela-link-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(link) })
	for _, path := range []string{"/etc/passwd", "/", "/tmp", "/tmp/", "/tmp/.", "/tmp/../etc/x", "tmp/x", "/var/lib", "/home/x", link + "/keep"} {
		if err := wipe(path); err == nil {
			t.Errorf("%s: wiped", path)
		}
	}
	if err := wipe(link); err != nil {
		t.Error(err)
	}
	if !exists(keep) {
		t.Error("what a link leads to was removed")
	}
}

// A server that refuses to run as root must run as another user, with its own
// directory, and nothing of it may stay.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("left out: only root can run a process as another user")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("left out: there is no user nobody here")
	}
	bothWays(t, func(t *testing.T, b *bench) {
		var recorded []string
		b.RecordState = func(path string) error {
			recorded = append(recorded, path)
			return nil
		}
		sum := b.artifactOf("#!/bin/sh\necho ran\n")
		spec := b.shell(`id -u; id -g; cat conf; touch mine && echo wrote; [ "$HOME" = "$PWD" ] && echo home; "$TOOL"; cat ` + b.Dir + `/x 2>/dev/null || echo kept out`)
		spec.Env = map[string]string{"TOOL": protocol.PlaceholderArtifact("tool")}
		spec.Process.User = "nobody"
		spec.Process.Files = []protocol.FileSpec{{Name: "conf", Content: "secret\n", Mode: 0o600}}
		spec.Process.Artifacts = []protocol.ArtifactSpec{{Name: "tool", SHA256: sum, Mode: 0o755}}
		spec.ReadyCommand = []string{"sh", "-c", "[ $(id -u) = " + nobody.Uid + " ]"}
		b.start(spec)
		want := []string{nobody.Uid, nobody.Gid, "secret", "wrote", "home", "ran", "kept out", "end"}
		if got := b.told(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the process says %q, want %q", got, want)
		}
		if err := b.StopAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(recorded) != 1 || exists(recorded[0]) {
			t.Errorf("left outside of bela's directory: %q", recorded)
		}
	})
}

func TestNoSuchUser(t *testing.T) {
	b := newBench(t, false)
	spec := b.shell("")
	spec.Process.User = "no-such-user"
	_, err := b.Start(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), `user "no-such-user"`) {
		t.Errorf("error %v", err)
	}
}

// artifactOf is what a controller does: it puts a file into the directory of
// artifacts, by its SHA-256.
func (b *bench) artifactOf(content string) string {
	b.t.Helper()
	sum := sha256.Sum256([]byte(content))
	name := hex.EncodeToString(sum[:])
	dir := filepath.Join(b.Dir, artifactsDir)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700)); err != nil {
		b.t.Fatal(err)
	}
	return name
}

// entries are an archive's, in order: name, content or link target, and kind.
type entries []struct {
	name, content string
	kind          byte
}

func (es entries) tarball(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, e := range es {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.content))}
		if e.kind == tar.TypeSymlink || e.kind == tar.TypeLink {
			h.Linkname, h.Size, e.content = e.content, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A release package must be unpacked as it was packed, once.
func TestArchive(t *testing.T) {
	b := newBench(t, false)
	tgz := b.artifactOf(entries{
		{"broker/", "", tar.TypeDir}, {"broker/bin/run", "#!/bin/sh\necho runs from $1\n", tar.TypeReg},
		{"broker/start", "bin/run", tar.TypeSymlink}, {"broker/again", "broker/bin/run", tar.TypeLink},
	}.tarball(t))
	var zipped bytes.Buffer
	w := zip.NewWriter(&zipped)
	f, err := w.Create("conf/a.conf")
	if err == nil {
		_, err = f.Write([]byte("from a zip\n"))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	spec := b.shell(`"$B/broker/start" link; "$B/broker/again" hard; cat "$Z/conf/a.conf"`)
	spec.Env = map[string]string{"B": protocol.PlaceholderArtifact("broker"), "Z": protocol.PlaceholderArtifact("conf")}
	spec.Process.Artifacts = []protocol.ArtifactSpec{
		{Name: "broker", SHA256: tgz, Archive: ".tar.gz"},
		{Name: "conf", SHA256: b.artifactOf(zipped.String()), Archive: ".zip"},
	}
	b.start(spec)
	want := []string{"runs from link", "runs from hard", "from a zip", "end"}
	if got := b.told(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the process says %q, want %q", got, want)
	}
}

// An archive comes from anywhere: it must not write elsewhere on a lent machine.
func TestArchiveThatEscapes(t *testing.T) {
	b := newBench(t, false)
	for name, es := range map[string]entries{
		"a path upwards":             {{"../../evil", "x", tar.TypeReg}},
		"an absolute path":           {{"/tmp/evil", "x", tar.TypeReg}},
		"a link upwards":             {{"a", "../..", tar.TypeSymlink}},
		"an absolute link":           {{"a", "/etc", tar.TypeSymlink}},
		"a hard link outside":        {{"a", "../../secret", tar.TypeLink}},
		"a path through links of it": {{"d", ".", tar.TypeSymlink}, {"d/e", "..", tar.TypeSymlink}, {"d/e/evil", "x", tar.TypeReg}},
		"a device":                   {{"null", "", tar.TypeChar}},
	} {
		t.Run(name, func(t *testing.T) {
			a := protocol.ArtifactSpec{Name: "broker", SHA256: b.artifactOf(es.tarball(t)), Archive: ".tar.gz"}
			spec := b.shell("")
			spec.Process.Artifacts = []protocol.ArtifactSpec{a}
			_, err := b.Start(t.Context(), spec)
			if err == nil || !strings.Contains(err.Error(), `artifact "broker"`) {
				t.Errorf("error %v", err)
			}
			if found, _ := filepath.Glob(filepath.Join(b.Dir, artifactsDir, a.SHA256+".*")); len(found) > 0 {
				t.Errorf("left of it: %q", found)
			}
		})
	}
}

// Readiness by a request must wait for the right answer, and say which it got.
func TestReadyHTTP(t *testing.T) {
	for _, tt := range []struct {
		name, status, body string
		want               string // in the error; empty for none
	}{
		{"the answer", "204", "", ""},
		{"another status", "503", "", "its answer has status 503, and 204 is wanted"},
		{"another body", "204", "up", "its answer does not match"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, false)
			at := freeAddress(t)
			spec := b.process("serve", at, tt.status, "starting")
			spec.ReadyTimeout = time.Second
			spec.Process = &protocol.ProcessSpec{ReadyHTTP: "http://" + at + "/", ReadyStatus: 204, ReadyBody: tt.body}
			if tt.want == "" {
				spec.ReadyTimeout = patience
			}
			_, err := b.Start(t.Context(), spec)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// An instance whose policy allows it must come back with what it stored, be
// counted, and stay ended when its restarts are used up.
func TestRestartPolicy(t *testing.T) {
	b := newBench(t, false)
	// It ends twice with a failure, and would end a third time.
	spec := b.shell(`echo x >>ends; n=$(wc -l <ends); echo up; [ -e go$n ] || while [ ! -e go$n ]; do sleep 0.02; done; exit 7`)
	spec.ReadyLog = "^up$"
	spec.Process.Restart = &protocol.RestartSpec{Backoff: 10 * time.Millisecond, Max: 2}
	b.start(spec)
	dir := filepath.Join(b.Dir, "cells", spec.Cell, "p-1")
	for n := 1; n <= 3; n++ {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("go", n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		exit := b.awaitEvent()
		if exit.State != "exited" || !strings.Contains(exit.Detail, "exit status 7") || exit.Again != (n < 3) {
			t.Fatalf("end %d: %+v", n, exit)
		}
		if n == 3 {
			break
		}
		if back := b.awaitEvent(); back.State != "restarted" {
			t.Fatalf("after end %d: %+v", n, back)
		}
		if s := b.sample(); s.Restarts != n {
			t.Errorf("%d restarts counted, want %d", s.Restarts, n)
		}
	}
	if r := b.Running(); len(r) != 0 {
		t.Errorf("running %v after its last restart", r)
	}
}

// A limit below what a process needs to start must be told as that, not as a
// process that died for no reason.
func TestLimitBelowWhatItNeedsToStart(t *testing.T) {
	b := newBench(t, true)
	spec := b.shell("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo up")
	spec.ReadyLog, spec.LimitMemory = "^up$", 64<<20
	_, err := b.Start(t.Context(), spec)
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != "component_failed" || !strings.Contains(e.Text, "p-1 was not ready yet") ||
		!strings.Contains(e.Text, "memory limit of 64 MiB") {
		t.Errorf("error %v", err)
	}
}

// A policy that counts failures must leave alone a process that is done, and
// stopping a cell must not race with a restart.
func TestRestartsThatMustNotBe(t *testing.T) {
	b := newBench(t, false)
	spec := b.shell("echo up; sleep 0.2; exit 0")
	spec.ReadyLog = "^up$"
	spec.Process.Restart = &protocol.RestartSpec{Backoff: 10 * time.Millisecond, Max: 5}
	b.start(spec)
	if e := b.awaitEvent(); e.Again {
		t.Errorf("an end with status 0 is no failure: %+v", e)
	}
	spec.Process.Restart = &protocol.RestartSpec{Always: true, Backoff: time.Hour, Max: 5}
	b.start(spec)
	if e := b.awaitEvent(); !e.Again {
		t.Errorf("always takes any end: %+v", e)
	}
	if err := b.StopAll(t.Context()); err != nil { // waits for the restart that was called off
		t.Fatal(err)
	}
	if r := b.Running(); len(r) != 0 {
		t.Errorf("running %v after all were stopped", r)
	}
}
