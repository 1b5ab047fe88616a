package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"bela/agents/protocol"
)

// agentCommand makes the test's own executable an agent that does one fault and
// then waits to be killed.
const agentCommand = "test-agent"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Command:
			if err := Main(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		case agentCommand:
			testAgent(os.Args[2], os.Args[3])
			return
		}
	}
	os.Exit(m.Run())
}

// testAgent begins the fault that text says, tells so, and waits.
func testAgent(dir, text string) {
	var spec protocol.FaultSpec
	err := json.Unmarshal([]byte(text), &spec)
	if err == nil {
		_, err = keeper(dir).Begin(context.Background(), spec)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("begun")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func keeper(dir string) *Keeper {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return New(Options{Dir: dir, Self: self, Run: "20261121T040000Z-test", Now: func() int64 { return time.Now().UnixNano() }})
}

// needRoot leaves a test out where it cannot be done.
func needRoot(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("left out: rules of the network need root")
	}
	for _, p := range programs {
		if _, err := lookPath(p); err != nil {
			t.Skipf("left out: %v", err)
		}
	}
}

// The ends of the links that the tests cut; nothing else uses them.
const (
	here, there, elsewhere = "127.77.40.1", "127.77.40.2", "127.77.40.3"
)

// listen takes connections at an address until the test ends.
func listen(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// connects says whether from reaches an address.
func connects(from, to string) bool {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 300 * time.Millisecond}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// await waits for a condition and fails the test where it does not come.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s in vain: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ours are the rules of the packet filter that a keeper's directory made.
func ours(t *testing.T, dir, id string) []string {
	t.Helper()
	list, err := tool(t.Context(), "iptables", "-w", "5", "-S")
	if err != nil {
		t.Fatal(err)
	}
	c := newCut(protocol.NetworkFault{}, keeper(dir).place(id))
	c.peers = []net.IP{net.ParseIP(there)}
	var rules []string
	for rule := range strings.Lines(list) {
		if strings.Contains(rule, c.chains()[0].Name) {
			rules = append(rules, strings.TrimSpace(rule))
		}
	}
	return rules
}

func cutSpec(id string, keep ...int) protocol.FaultSpec {
	return protocol.FaultSpec{ID: id, For: time.Minute, Network: &protocol.NetworkFault{Local: here, Peers: []string{there}, Cut: true, Keep: keep}}
}

// A cut that lets something through, or cuts what was not asked for, such as the
// controller's SSH, would measure another experiment, or end this one.
func TestCut(t *testing.T) {
	needRoot(t, "iptables")
	dir := t.TempDir()
	k := keeper(dir)
	to, kept, other := listen(t, there), listen(t, there), listen(t, elsewhere)
	_, port, _ := net.SplitHostPort(kept)
	var keep int
	if _, err := fmt.Sscan(port, &keep); err != nil {
		t.Fatal(err)
	}
	spec := cutSpec("f1-cut", keep)
	if err := k.Check(t.Context(), spec); err != nil {
		t.Fatalf("check: %v", err)
	}
	if !connects(here, to) {
		t.Fatal("the two ends do not reach each other before the cut")
	}
	begun, err := k.Begin(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.EndAll(context.Background()) })
	if !strings.Contains(begun.Measured, "round trip before: "+there) || strings.Contains(begun.Measured, "no answer") || begun.At == 0 {
		t.Errorf("begun: %+v", begun)
	}
	if connects(here, to) || connects(there, listen(t, here)) {
		t.Error("the cut lets connections through")
	}
	if !connects(here, kept) {
		t.Error("the cut hits a port that is to be kept")
	}
	if !connects(here, other) || !connects(elsewhere, to) || !connects("127.0.0.1", to) {
		t.Error("the cut hits others")
	}
	for _, rule := range ours(t, dir, spec.ID) {
		if !strings.HasPrefix(rule, "-N") && !strings.Contains(rule, "bela-20261121T040000Z-test") {
			t.Errorf("a rule does not say whose it is: %s", rule)
		}
	}
	if _, err := k.Begin(t.Context(), spec); err == nil {
		t.Error("the same fault began twice")
	}
	ended, err := k.End(t.Context(), spec.ID)
	if err != nil || ended.At <= begun.At || !strings.Contains(ended.Measured, "no answer") {
		t.Errorf("ended: %+v, %v", ended, err)
	}
	if !connects(here, to) {
		t.Error("the cut is not healed")
	}
	if rules := ours(t, dir, spec.ID); len(rules) > 0 {
		t.Errorf("rules are left: %q", rules)
	}
	if again, err := k.End(t.Context(), spec.ID); err != nil || again != ended {
		t.Errorf("healing again: %+v, %v", again, err)
	}
	if err := UndoAll(t.Context(), dir); err != nil {
		t.Errorf("undo with nothing to undo: %v", err)
	}
}

// A fault whose controller and agent forget it ends by itself.
func TestTimeIsUp(t *testing.T) {
	needRoot(t, "iptables")
	dir := t.TempDir()
	k, spec := keeper(dir), cutSpec("f1-cut")
	spec.For = 300 * time.Millisecond
	if _, err := k.Begin(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	await(t, "the cut heals by itself", func() bool { return len(ours(t, dir, spec.ID)) == 0 })
	if ended, err := k.End(t.Context(), spec.ID); err != nil || ended.At == 0 {
		t.Errorf("ended: %+v, %v", ended, err)
	}
}

// startAgent runs an agent in a process of its own until its fault is in force.
func startAgent(t *testing.T, dir string, spec protocol.FaultSpec) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, agentCommand, dir, string(text))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	said := make([]byte, 256)
	n, err := out.Read(said)
	if err != nil || string(said[:n]) != "begun\n" {
		t.Fatalf("the agent says %q (%v)", said[:n], err)
	}
	return cmd
}

// holders are the processes that hold a fault of a directory.
func holders(t *testing.T, dir string) []int {
	t.Helper()
	procs, err := procfs.AllProcs()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range procs {
		words, _ := p.CmdLine()
		env, _ := p.Environ()
		if len(words) > 2 && words[1] == Command && words[2] == "hold" && strings.Contains(strings.Join(env, "\n"), "BELA_DIR="+dir) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// An agent that is killed leaves a cut network behind on a lent machine, unless
// somebody else heals it.
func TestAgentKilled(t *testing.T) {
	needRoot(t, "iptables")
	dir := t.TempDir()
	spec := cutSpec("f1-cut")
	agent := startAgent(t, dir, spec)
	if len(ours(t, dir, spec.ID)) == 0 {
		t.Fatal("there is no rule")
	}
	if err := agent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the rules go when the agent is killed", func() bool { return len(ours(t, dir, spec.ID)) == 0 })
	await(t, "the holder ends", func() bool { return len(holders(t, dir)) == 0 })
	if records, _ := filepath.Glob(filepath.Join(recordDir(dir), "*")); len(records) > 0 {
		t.Errorf("records are left: %q", records)
	}
}

// Where the holder is killed too, the record is what is left to heal by.
func TestHolderKilled(t *testing.T) {
	needRoot(t, "iptables")
	dir := t.TempDir()
	spec := cutSpec("f1-cut")
	agent := startAgent(t, dir, spec)
	pids := holders(t, dir)
	if len(pids) != 1 {
		t.Fatalf("holders: %v", pids)
	}
	for _, stop := range []int{agent.Process.Pid, pids[0]} { // neither may see the other go
		if err := syscall.Kill(stop, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range []int{pids[0], agent.Process.Pid} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the holder ends", func() bool { return len(holders(t, dir)) == 0 })
	if len(ours(t, dir, spec.ID)) == 0 {
		t.Fatal("the rules went by themselves: this test shows nothing")
	}
	for range 2 {
		if err := UndoAll(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	if rules := ours(t, dir, spec.ID); len(rules) > 0 {
		t.Errorf("rules are left: %q", rules)
	}
}

// A holder alone that is killed is a fault that did not last as asked.
func TestHolderAloneKilled(t *testing.T) {
	dir := t.TempDir()
	k := keeper(dir)
	spec := protocol.FaultSpec{ID: "f1", For: time.Minute, Pressure: &protocol.PressureFault{CPU: 10}}
	if _, err := k.Begin(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, pid := range holders(t, dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_, err := k.End(t.Context(), spec.ID)
	if err == nil || !strings.Contains(err.Error(), "before its time") {
		t.Errorf("a holder that was killed: %v", err)
	}
}

// Pressure that is not what was asked for makes a cell say something else.
func TestPressure(t *testing.T) {
	dir := t.TempDir()
	k := keeper(dir)
	const cpu, size = 300, 48 << 20
	spec := protocol.FaultSpec{ID: "f1", For: time.Minute, Pressure: &protocol.PressureFault{CPU: cpu, Memory: size}}
	if _, err := k.Begin(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.EndAll(context.Background()) })
	pids := holders(t, dir)
	if len(pids) != 1 {
		t.Fatalf("holders: %v", pids)
	}
	use := func() (float64, int) {
		p, err := procfs.NewProc(pids[0])
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return s.CPUTime(), s.ResidentMemory()
	}
	// A busy machine may keep it from its share for a while, not for ever.
	await(t, "the holder uses 300m, within a tenth", func() bool {
		before, _ := use()
		began := time.Now()
		time.Sleep(time.Second)
		after, _ := use()
		got := 1000 * (after - before) / time.Since(began).Seconds()
		return got > 0.9*cpu && got < 1.1*cpu
	})
	if _, memory := use(); memory < size || memory > size+64<<20 {
		t.Errorf("the holder holds %d MiB of %d", memory>>20, size>>20)
	}
	ended, err := k.End(t.Context(), spec.ID)
	if err != nil || !strings.Contains(ended.Measured, "m of 300m") || !strings.Contains(ended.Measured, "memory held: 48 MiB") {
		t.Errorf("ended: %+v, %v", ended, err)
	}
	if len(holders(t, dir)) > 0 {
		t.Error("the holder is still there")
	}
}

// Memory is refused, not taken until the kernel kills something.
func TestMemoryMargin(t *testing.T) {
	k := keeper(t.TempDir())
	available, _, err := memory()
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Begin(t.Context(), protocol.FaultSpec{ID: "f1", For: time.Second, Pressure: &protocol.PressureFault{Memory: available}})
	if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != "fault_failed" || !strings.Contains(e.Text, "must stay") {
		t.Errorf("all memory that there is: %v", err)
	}
}

// The disk is filled as far as asked, with one file, and is free again after.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	k := keeper(dir)
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	spec := protocol.FaultSpec{ID: "f1", For: time.Minute, Disk: &protocol.DiskFault{Leave: int64(s.Bavail)*s.Bsize - size}}
	begun, err := k.Begin(t.Context(), spec)
	if s.Type == unix.TMPFS_MAGIC {
		if err == nil || !strings.Contains(err.Error(), "in memory") {
			t.Errorf("a directory in memory: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.EndAll(context.Background()) })
	info, err := os.Stat(filepath.Join(recordDir(dir), "f1.fill"))
	if err != nil {
		t.Fatal(err)
	}
	// Others write to the disk meanwhile.
	if took := info.Sys().(*syscall.Stat_t).Blocks * 512; took < size/4 || took > 4*size {
		t.Errorf("the file takes %d MiB, and was to take about %d", took>>20, size>>20)
	}
	ended, err := k.End(t.Context(), spec.ID)
	if err != nil || !strings.Contains(begun.Measured, "free before") || !strings.Contains(ended.Measured, "free during") {
		t.Errorf("begun %+v, ended %+v, %v", begun, ended, err)
	}
	if left, _ := filepath.Glob(filepath.Join(recordDir(dir), "*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	spec.Disk.Leave = int64(s.Blocks) * s.Bsize
	if _, err := k.Begin(t.Context(), spec); err == nil {
		t.Error("more is left free than there is")
	}
}

// A network is slow as asked where the kernel can do that; elsewhere the user
// reads what is missing.
func TestSlow(t *testing.T) {
	needRoot(t, "tc", "ip")
	if os.Getenv("BELA_TEST_APART") == "" {
		apartTest(t) // the interface is the whole machine's
		return
	}
	k := keeper(t.TempDir())
	spec := protocol.FaultSpec{ID: "f1", For: time.Minute, Network: &protocol.NetworkFault{Local: here, Peers: []string{there}, Delay: 20 * time.Millisecond}}
	_, err := k.Begin(t.Context(), spec)
	if err != nil {
		if _, able := tool(t.Context(), "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"); able == nil || !strings.Contains(err.Error(), "netem") {
			t.Errorf("refused: %v; the kernel itself: %v", err, able)
		}
		return
	}
	d := networkReport{local: net.ParseIP(here), slow: time.Second}
	if trip, ok := d.roundTrip(t.Context(), net.ParseIP(there)); !ok || trip < 20*time.Millisecond {
		t.Errorf("the round trip takes %v, %v", trip, ok)
	}
	if _, err := k.End(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if kind, own, err := rootQdisc(t.Context(), "lo"); err != nil || own {
		t.Errorf("the interface is left with %s, %v", kind, err)
	}
}

// A network is as slow as asked, not more and not less, where only a rate is: on any
// kernel with netem or htb.
func TestSlowRate(t *testing.T) {
	needRoot(t, "tc", "ip")
	if os.Getenv("BELA_TEST_APART") == "" {
		apartTest(t) // the interface is the whole machine's
		return
	}
	const rate, size = 1_000_000, 375_000 // bits a second, and bytes: 3 s of it
	k := keeper(t.TempDir())
	spec := protocol.FaultSpec{ID: "f1", For: time.Minute, Network: &protocol.NetworkFault{Local: here, Peers: []string{there}, Rate: rate}}
	free := throughput(t, size)
	if _, err := k.Begin(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	slow := throughput(t, size)
	if _, err := k.End(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	t.Logf("%.2f Mbit/s, and %.2f Mbit/s without", slow/1e6, free/1e6)
	if slow < 0.5*rate || slow > 1.3*rate || free < 5*rate {
		t.Errorf("%.2f Mbit/s were measured, and %.2f Mbit/s without the fault; %.2f Mbit/s were asked for", slow/1e6, free/1e6, rate/1e6)
	}
	if kind, own, err := rootQdisc(t.Context(), "lo"); err != nil || own {
		t.Errorf("the interface is left with %s, %v", kind, err)
	}
}

// throughput sends bytes from here to there, and gives how fast they arrived, in
// bits a second.
func throughput(t *testing.T, size int64) float64 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(there, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only listens
	go func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(here)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // what it sent has arrived
		for sent := int64(0); sent < size; sent += 1000 {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				return
			}
		}
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // only read
	begun := time.Now()
	n, err := io.Copy(io.Discard, c)
	if err != nil || n != size {
		t.Fatalf("%d of %d bytes arrived: %v", n, size, err)
	}
	return float64(8*n) / time.Since(begun).Seconds()
}

// apartTest runs the calling test again in a network of its own.
func apartTest(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `ip link set lo up && exec "$0" -test.run "^`+t.Name()+`$" -test.v`, self)
	cmd.Env = append(os.Environ(), "BELA_TEST_APART=1", "PATH="+searchPath())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a network of its own: %v\n%s", err, out)
	}
}

// An interface that somebody else set up is not touched, for it could not be put
// back.
func TestOthersQdisc(t *testing.T) {
	needRoot(t, "tc", "ip")
	if os.Getenv("BELA_TEST_APART") == "" {
		apartTest(t)
		return
	}
	if _, err := tool(t.Context(), "tc", "qdisc", "add", "dev", "lo", "root", "handle", "7:", "pfifo"); err != nil {
		t.Fatal(err)
	}
	if kind, own, err := rootQdisc(t.Context(), "lo"); err != nil || !own || !strings.Contains(kind, "pfifo 7:") {
		t.Errorf("%s, %v, %v", kind, own, err)
	}
	if err := restoreDevice(t.Context(), "lo"); err != nil {
		t.Fatal(err)
	}
	if kind, own, _ := rootQdisc(t.Context(), "lo"); !own {
		t.Errorf("another's queueing discipline was taken away: %s is left", kind)
	}
	// One with bela's handle is taken away.
	if _, err := tool(t.Context(), "tc", "qdisc", "replace", "dev", "lo", "root", "handle", rootHandle, "pfifo"); err != nil {
		t.Fatal(err)
	}
	if err := restoreDevice(t.Context(), "lo"); err != nil {
		t.Fatal(err)
	}
	if kind, own, _ := rootQdisc(t.Context(), "lo"); own {
		t.Errorf("bela's queueing discipline is left: %s", kind)
	}
}

// What is asked for in a way that cannot be meant is refused before anything is done.
func TestRefusals(t *testing.T) {
	k := keeper(t.TempDir())
	for name, spec := range map[string]protocol.FaultSpec{
		"no id":      {For: time.Second, Disk: &protocol.DiskFault{Leave: 1}},
		"a path":     {ID: "../x", For: time.Second, Disk: &protocol.DiskFault{Leave: 1}},
		"nothing":    {ID: "f1", For: time.Second},
		"two things": {ID: "f1", For: time.Second, Disk: &protocol.DiskFault{Leave: 1}, Pressure: &protocol.PressureFault{CPU: 1}},
		"no length":  {ID: "f1", Pressure: &protocol.PressureFault{CPU: 1}},
		"too much":   {ID: "f1", For: time.Second, Pressure: &protocol.PressureFault{CPU: 1 << 30}},
		"itself":     {ID: "f1", For: time.Second, Network: &protocol.NetworkFault{Cut: true, Local: here, Peers: []string{here}}},
		"nobody":     {ID: "f1", For: time.Second, Network: &protocol.NetworkFault{Cut: true, Local: here}},
	} {
		if _, err := k.Begin(t.Context(), spec); err == nil {
			t.Errorf("%s: taken", name)
		}
		if err := k.Check(t.Context(), spec); err == nil {
			t.Errorf("%s: found possible", name)
		}
	}
	if ended, err := k.End(t.Context(), "never"); err != nil || ended.At != 0 {
		t.Errorf("a fault that never began: %+v, %v", ended, err)
	}
}

// A record is read back by whoever finds it: it must not make bela remove files
// that no fault made.
func TestRecordOfAnotherFile(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(keeper(dir).place("f1").record(), remedy{Files: []string{victim}}); err != nil {
		t.Fatal(err)
	}
	if err := UndoAll(t.Context(), dir); err == nil {
		t.Error("taken")
	}
	if _, err := os.Stat(victim); err != nil {
		t.Error(err)
	}
}
