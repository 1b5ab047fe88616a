package launch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is the agent that is launched; its second argument says how it
// behaves, its third where.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "serve" {
		os.Exit(serve(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

func serve(manner, dir string) int {
	switch manner {
	case "crash":
		fmt.Println(strings.Repeat("long ago\n", 1000) + "no luck today")
		return 3
	case "mute":
		fmt.Println("hm")
		time.Sleep(time.Hour)
	}
	signal.Ignore(syscall.SIGHUP)
	ln, err := net.Listen("unix", filepath.Join(dir, "run/agent.sock"))
	if err != nil || os.WriteFile(filepath.Join(dir, "run/agent.pid"), fmt.Appendln(nil, os.Getpid()), 0o600) != nil {
		return 1
	}
	_, _ = ln.Accept() // what the test says goodbye with
	return 0
}

func options(t *testing.T, manner string) Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "bela-launch-") // short: it has a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Options{Self: self, Args: []string{"serve", manner, dir}, Dir: dir, Timeout: time.Minute}
}

// An agent that is said to have started listens, in a session of its own, and
// what an earlier one left does not pass for it.
func TestStart(t *testing.T) {
	o := options(t, "serve")
	for _, name := range []string{"run/agent.pid", "run/agent.sock"} {
		if err := os.WriteFile(o.at(name), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Start(o); err != nil {
		t.Fatal(err)
	}
	var pid int
	text, err := os.ReadFile(o.at("run/agent.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(text), &pid); err != nil || pid < 2 {
		t.Fatalf("process %q: %v", text, err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	if _, after, _ := strings.Cut(string(stat), ") "); len(strings.Fields(after)) < 4 || strings.Fields(after)[3] != fmt.Sprint(pid) {
		t.Errorf("it is in another session: %s", stat)
	}
	conn, err := net.Dial("unix", o.at("run/agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// An agent that does not come up says why, and does not stay.
func TestStartThatFails(t *testing.T) {
	failed := func(o Options, status int, text string) {
		t.Helper()
		err := Start(o)
		e, ok := errors.AsType[*ExitError](err)
		if !ok || e.Status != status || !strings.HasSuffix(e.Log, text) || len(e.Log) > tailBytes {
			t.Errorf("want %d with %q: %v", status, text, err)
		}
	}
	failed(options(t, "crash"), ExitEnded, "no luck today")
	mute := options(t, "mute")
	mute.Timeout = 300 * time.Millisecond
	failed(mute, ExitSilent, "")
	none := options(t, "serve")
	none.Self += "-else"
	failed(none, ExitEnded, "no such file or directory")
	if _, err := Main([]string{"-dir", "x"}, os.Stdout, "x"); !errors.Is(err, ErrUsage) {
		t.Errorf("without a timeout: %v", err)
	}
}
