package provision

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"bela/nodes"
	"bela/nodes/sshdtest"
	"bela/provision/agentbin"
)

// counted puts a counter of what goes to the node in front of a target.
func counted(t *testing.T, tg *nodes.Target, rate int) *atomic.Int64 {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	server := net.JoinHostPort(tg.Host, strconv.Itoa(tg.Port))
	tg.Port = ln.Addr().(*net.TCPAddr).Port
	var sent atomic.Int64
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp4", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(in, out)
				_ = in.Close()
			}()
			go func() {
				_, _ = io.Copy(countingWriter{out, &sent, rate}, in)
				_ = out.Close()
			}()
		}
	}()
	return &sent
}

// countingWriter counts, and where rate is above 0 lets so many bytes a second go.
type countingWriter struct {
	w    io.Writer
	n    *atomic.Int64
	rate int
}

func (c countingWriter) Write(p []byte) (int, error) {
	if c.rate > 0 {
		time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(c.rate))
	}
	k, err := c.w.Write(p)
	c.n.Add(int64(k))
	return k, err
}

// onServer is a target on OpenSSH's server, whose key is pinned, so that it can
// be reached through a proxy.
func onServer(t *testing.T, o sshdtest.Options) (nodes.Target, string) {
	s := sshdtest.Start(t, o)
	dir := filepath.Join(t.TempDir(), "made", "bela")
	return nodes.Target{Name: "worker-1", Host: s.Host, Port: s.Port, User: s.User, Directory: dir, SSH: nodes.Options{
		KeyFiles: []string{s.KeyFile}, Agent: "none", Config: "none", HostKeys: nodes.HostKeysPinned, Fingerprints: []string{ssh.FingerprintSHA256(s.HostKey)}}}, dir
}

func openOptions() StartOptions { return options("", "") }

// withPlatform are the options for a node that runs built-in components.
func withPlatform() StartOptions {
	o := openOptions()
	o.Platform = true
	return o
}

// say sends words to the agent and wants them back.
func saidBack(t *testing.T, conn io.ReadWriteCloser, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("the agent answers %q: %v", got, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// A node is brought from nothing to an agent that answers, and again when there
// is nothing to do; then no byte of the agent goes over the link.
func TestOpen(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		depot := NewDepot(self)
		looked := 0
		opened, err := depot.Open(deadline(t), n, openOptions(), Watch{Looked: func(f nodes.Facts) { looked = f.CPUs }})
		if err != nil {
			t.Fatal(err)
		}
		bin, _ := self(agentbin.Agent, "", 0)
		if opened.Agent.Moved <= 0 || opened.Agent.Moved > bin.Size || opened.Agent.Way == "" || !opened.Begun || looked < 1 || opened.Facts.GOARCH == "" {
			t.Errorf("moved %d of %d, %q, begun %v, %d CPUs", opened.Agent.Moved, bin.Size, opened.Agent.Way, opened.Begun, looked)
		}
		saidBack(t, opened.Conn, "hello")
		_, err = depot.Open(deadline(t), n, openOptions(), Watch{})
		is(t, err, nodes.InUse, "bela clean")
		if err := Remove(deadline(t), n, RemoveOptions{Keep: []string{opened.Agent.Path}}); err != nil {
			t.Fatal(err)
		}
		again, err := depot.Open(deadline(t), n, openOptions(), Watch{})
		if err != nil || again.Agent.Moved != 0 || again.Agent.Way != "" || again.Agent.Path != opened.Agent.Path {
			t.Fatalf("moved %d by %q to %s: %v", again.Agent.Moved, again.Agent.Way, again.Agent.Path, err)
		}
		saidBack(t, again.Conn, "hello again")
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}

// A node gets the platform where it is asked for, later too, and one that is damaged
// is replaced, not trusted for its name; a node that was not asked for has none.
func TestBring(t *testing.T) {
	onNode(t, func(t *testing.T, tg nodes.Target, dir string) {
		n := dial(t, tg)
		depot := NewDepot(self)
		opened, err := depot.Open(deadline(t), n, openOptions(), Watch{})
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Conn.Close() //nolint:errcheck // it ends at any rate
		platforms := func() []string {
			found, err := filepath.Glob(filepath.Join(dir, "bin", "bela-platform-*"))
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if found := platforms(); len(found) > 0 || opened.Platform.Path != "" {
			t.Fatalf("the node has %v, which nobody asked for", found)
		}
		bring := func(what string, moves bool) string {
			t.Helper()
			b, err := depot.Bring(deadline(t), n, Watch{})
			if err != nil || b.Moved > 0 != moves || b.Way != "" != moves || len(platforms()) != 1 || platforms()[0] != b.Path {
				t.Fatalf("%s: moved %d by %q to %s, the node has %v: %v", what, b.Moved, b.Way, b.Path, platforms(), err)
			}
			bin, _ := self(agentbin.Platform, "", 0)
			if sum, err := n.SHA256(deadline(t), b.Path); err != nil || sum != bin.SHA256 {
				t.Fatalf("%s: SHA-256 %s: %v", what, sum, err)
			}
			return b.Path
		}
		file := bring("at first", true)
		bring("again", false)
		if err := os.Truncate(file, 1000); err != nil {
			t.Fatal(err)
		}
		bring("damaged", true)
		saidBack(t, opened.Conn, "the agent is not disturbed")
		if err := os.Truncate(file, 1000); err != nil {
			t.Fatal(err)
		}
		if err := Remove(deadline(t), n, RemoveOptions{Keep: []string{opened.Agent.Path, file}}); err != nil {
			t.Fatal(err)
		}
		again, err := depot.Open(deadline(t), n, withPlatform(), Watch{})
		if err != nil || again.Agent.Moved != 0 || again.Platform.Moved == 0 || again.Platform.Path != file {
			t.Fatalf("a damaged one that was kept: %+v: %v", again, err)
		}
		_ = again.Conn.Close()
		if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
			t.Error(err)
		}
		clean(t, n, dir)
	})
}

// A node with room for the agent and not for the platform says so before anything
// goes there.
func TestRoomForThePlatform(t *testing.T) {
	n := &nodes.Node{}
	bin, _ := self(agentbin.Agent, "", 0)
	f := nodes.Facts{OS: "Linux", GOARCH: "amd64", DiskFree: spaceForRun + bin.Size}
	if err := fit(n, f, self, agentbin.Agent); err != nil {
		t.Errorf("room for the agent: %v", err)
	}
	is(t, fit(n, f, self, agentbin.Agent, agentbin.Platform), nodes.NoSpace, "MiB left")
}

// measuredAs is a depot to which every link has the same rate, in bytes a second,
// however busy this machine is.
func measuredAs(rate float64) *Depot {
	d := NewDepot(self)
	probe := d.measure
	d.measure = func(v *visit, text []byte) (float64, error) {
		_, err := probe(v, text)
		return rate, err
	}
	return d
}

// backwards counts how often notes of progress begin anew: once for the second program.
func backwards(notes []int64) (count int) {
	for i := range notes {
		if i > 0 && notes[i] < notes[i-1] {
			count++
		}
	}
	return count
}

// What the depot says that it moved is what the network saw; on a slow link both
// programs go compressed; and where both are there, no byte of either goes again.
func TestOpenMovesNothingTwice(t *testing.T) {
	for _, row := range []struct {
		name     string
		measured float64
		rate     int // at most, of the network; slow enough for progress to be told
		way      string
	}{{"fast", 100 << 20, 0, wayPlain}, {"slow", 2 << 20, 1 << 20, wayGzip}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			tg, dir := onServer(t, sshdtest.Options{})
			sent := counted(t, &tg, row.rate)
			n := dial(t, tg)
			depot := measuredAs(row.measured)
			bin, _ := self(agentbin.Agent, "", 0)
			var notes []int64
			opened, err := depot.Open(deadline(t), n, withPlatform(), Watch{Pushing: func(done, all int64) { notes = append(notes, done) }})
			if err != nil {
				t.Fatal(err)
			}
			_ = opened.Conn.Close()
			over := sent.Load()
			moved := opened.Agent.Moved + opened.Platform.Moved
			if opened.Agent.Way != row.way || opened.Platform.Way != row.way || over < moved || over > moved+moved/20+512<<10 {
				t.Errorf("%s, %s: said to have moved %d of twice %d, the network saw %d", opened.Agent.Way, opened.Platform.Way, moved, bin.Size, over)
			}
			if row.way == wayGzip && (moved > bin.Size*4/3 || len(notes) == 0 || backwards(notes) > 1) {
				t.Errorf("%d of %d bytes, progress %v", opened.Agent.Moved, bin.Size, notes)
			}
			if err := Remove(deadline(t), n, RemoveOptions{Keep: []string{opened.Agent.Path, opened.Platform.Path}}); err != nil {
				t.Fatal(err)
			}
			sent.Store(0)
			again, err := depot.Open(deadline(t), n, withPlatform(), Watch{})
			if err != nil {
				t.Fatal(err)
			}
			_ = again.Conn.Close()
			if over := sent.Load(); again.Agent.Moved != 0 || again.Platform.Moved != 0 || again.Platform.Path != opened.Platform.Path || over > 64<<10 {
				t.Errorf("moved %d and %d again, the network saw %d", again.Agent.Moved, again.Platform.Moved, over)
			}
			if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
				t.Error(err)
			}
			clean(t, n, dir)
		})
	}
}

// Ctrl-C in the middle of an upload ends it at once, and nothing of it stays.
func TestOpenCanceled(t *testing.T) {
	tg, dir := onServer(t, sshdtest.Options{})
	counted(t, &tg, 1<<20)
	n := dial(t, tg)
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	begin := time.Now()
	opened, err := NewDepot(self).Open(ctx, n, openOptions(), Watch{Pushing: func(int64, int64) {
		begin = time.Now()
		cancel()
	}})
	if nodes.KindOf(err) != nodes.Canceled || !opened.Begun {
		t.Errorf("begun %v: %v", opened.Begun, err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "bin"))
	if err != nil || len(entries) > 0 {
		t.Errorf("%v stays in bin: %v", entries, err)
	}
	if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
		t.Error(err)
	}
	clean(t, n, dir)
}

// A node whose gzip breaks what it unpacks gets the agent by SFTP, and it is said.
func TestOpenAfterBadCopy(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "gzip"), []byte("#!/bin/sh\n/usr/bin/gzip \"$@\" | head -c 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tg, dir := onServer(t, sshdtest.Options{Env: map[string]string{"PATH": bin + ":/usr/bin:/bin"}})
	counted(t, &tg, 8<<20)
	n := dial(t, tg)
	var note string
	opened, err := NewDepot(self).Open(deadline(t), n, openOptions(), Watch{Note: func(text string) { note = text }})
	if err != nil {
		t.Fatal(err)
	}
	saidBack(t, opened.Conn, "hello")
	if opened.Agent.Way != "sftp" || !strings.Contains(note, "SHA-256") || !strings.Contains(note, "SFTP") {
		t.Errorf("by %s: %q", opened.Agent.Way, note)
	}
	if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
		t.Error(err)
	}
	clean(t, n, dir)
}

// A node whose SSH server gives no SFTP gets the agent in the session itself, also
// over a fast link.
func TestOpenWithoutSFTP(t *testing.T) {
	t.Parallel()
	tg, dir := onServer(t, sshdtest.Options{Config: []string{"Subsystem none /bin/false"}})
	n := dial(t, tg)
	opened, err := measuredAs(100<<20).Open(deadline(t), n, openOptions(), Watch{})
	if err != nil {
		t.Fatal(err)
	}
	saidBack(t, opened.Conn, "hello")
	if opened.Agent.Way != wayPlain {
		t.Errorf("by %s", opened.Agent.Way)
	}
	if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
		t.Error(err)
	}
	clean(t, n, dir)
}

// An agent that the machine cannot run is told as that, and goes away again.
func TestOpenUnfit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(file, []byte("\x7fELF of another machine ("), 0o700); err != nil {
		t.Fatal(err)
	}
	tg, dir := onServer(t, sshdtest.Options{})
	n := dial(t, tg)
	depot := NewDepot(func(agentbin.Program, string, int) (agentbin.Binary, error) { return agentbin.FromFile(file) })
	opened, err := depot.Open(deadline(t), n, openOptions(), Watch{})
	is(t, err, nodes.Unsupported, "does not run there")
	if !opened.Begun || opened.Conn != nil {
		t.Errorf("begun %v", opened.Begun)
	}
	if err := Remove(deadline(t), n, RemoveOptions{}); err != nil {
		t.Error(err)
	}
	clean(t, n, dir)
}

// A disk that fills up during the upload is told as what it is.
func TestOpenFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("left out: mounting a small file system needs root")
	}
	tg, _ := onServer(t, sshdtest.Options{})
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("left out: this machine mounts no tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	tg.Directory = filepath.Join(disk, "made", "bela")
	n := dial(t, tg)
	// The check beforehand would find it out: as if another filled the disk.
	v, err := begin(deadline(t), n, nil)
	if err != nil {
		t.Fatal(err)
	}
	depot := NewDepot(self)
	c, err := depot.cargo(v, agentbin.Agent)
	if err != nil {
		t.Fatal(err)
	}
	agent := filepath.Join(tg.Directory, "bin", "bela-agent-0123456789abcdef")
	_, _, err = depot.push(deadline(t), v, c, agent, Watch{}, nil)
	is(t, err, nodes.NoSpace, "free some space", agent)
	_ = v.conn.Close()
	entries, err := os.ReadDir(filepath.Join(tg.Directory, "bin"))
	if err != nil || len(entries) > 0 {
		t.Errorf("%v stays in bin: %v", entries, err)
	}
	_, err = depot.Open(deadline(t), n, openOptions(), Watch{})
	is(t, err, nodes.NoSpace, "MiB left")
}

// How an agent travels follows from what was measured, not from a guess.
func TestChoose(t *testing.T) {
	rows := []struct {
		name   string
		rate   float64
		packed bool
		has    []string
		want   string
	}{
		{"a fast link carries it sooner than a node unpacks it", 100 << 20, true, []string{"gzip", "zstd"}, wayPlain},
		{"zstd is smaller and unpacks faster", 1 << 20, true, []string{"gzip", "zstd"}, wayZstd},
		{"gzip is everywhere", 1 << 20, true, []string{"gzip"}, wayGzip},
		{"an agent from a file is not packed", 1 << 20, false, []string{"gzip", "zstd"}, wayGzip},
		{"nothing there to unpack it", 1 << 20, true, nil, wayPlain},
	}
	for _, row := range rows {
		if got := choose(row.rate, row.packed, row.has); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

// A hundred uploads share one copy of the agent, and a wrong one is not sent.
func TestCargo(t *testing.T) {
	opens := 0
	bin := agentbin.Binary{SHA256: strings.Repeat("0", 64), Size: 3, Open: func() (io.ReadCloser, error) {
		opens++
		return io.NopCloser(strings.NewReader("abc")), nil
	}}
	c := newCargo(agentbin.Agent, bin)
	if _, err := c.load(); err == nil || !strings.Contains(err.Error(), "instead of") {
		t.Errorf("a damaged agent: %v", err)
	}
	bin.SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	c = newCargo(agentbin.Agent, bin)
	opens = 0
	one, err := c.load()
	two, _ := c.load()
	if err != nil || opens != 1 || &one[0] != &two[0] {
		t.Errorf("opened %d times: %v", opens, err)
	}
	if _, err := newCargo(agentbin.Agent, agentbin.Binary{Open: func() (io.ReadCloser, error) { return nil, errors.New("gone") }}).zip(); err == nil {
		t.Error("an agent that cannot be read was packed")
	}
}

// If this failed, a busy controller that takes its time to pack an agent would take
// that for a link that stands still, and give up the node; or, worse, a link that
// does stand still would not be noticed afterwards.
func TestPackingIsNoStall(t *testing.T) {
	fired := make(chan struct{})
	w := newWatchdog(50*time.Millisecond, func() { close(fired) })
	defer w.stop()
	w.without(func() { time.Sleep(150 * time.Millisecond) })
	select {
	case <-fired:
		t.Fatal("the watchdog fired while nothing was expected to move")
	default:
	}
	select {
	case <-fired:
	case <-time.After(30 * time.Second):
		t.Fatal("the watchdog never fired again")
	}
}

// If this failed, Ctrl-C would wait until an agent is packed that nobody needs any
// more; or what was begun would be begun again by the next who asks.
func TestNobodyWaitsForPackingLongerThanHeWants(t *testing.T) {
	begun, on := 0, make(chan struct{})
	c := &cargo{zip: sync.OnceValues(func() ([]byte, error) {
		begun++
		<-on
		return []byte("packed"), nil
	})}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := c.as(ctx, wayGzip); err == nil || err.Error() != "enough" {
		t.Fatalf("the error is %v, want why nobody waits any more", err)
	}
	close(on)
	text, err := c.as(t.Context(), wayGzip)
	if err != nil || string(text) != "packed" || begun != 1 {
		t.Fatalf("%q, %v, packed %d times; want what was begun, once", text, err, begun)
	}
}
