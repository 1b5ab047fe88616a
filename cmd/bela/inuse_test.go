package main

import (
	"os"
	"os/user"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/campaign"
)

// Two people on one testbed: the second must be refused at once, with status 3,
// and told whose run holds the nodes and since when; the first must not notice.
func TestTestbedInUse(t *testing.T) {
	needAgents(t)
	t.Parallel()
	dir := t.TempDir()
	overSSH(t, dir)
	args := []string{"run", shipped(t, "quick.hcl"), "-inventory", "lab.hcl", "-var", "measure=60s"}
	first := belaCommand(t, dir, args...)
	out := &watched{want: "measure 1m", seen: make(chan struct{})}
	first.Stdout, first.Stderr = out, out
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-out.seen:
	case <-time.After(90 * time.Second):
		_ = first.Process.Kill()
		t.Fatalf("it never measured\n%s", out)
	}
	begun := time.Now()
	status, refused := bela(t, dir, append(args, "-results", t.TempDir())...)
	if status != int(campaign.Unreachable) {
		t.Errorf("the second run ended with status %d\n%s", status, refused)
	}
	if d := time.Since(begun); d > 30*time.Second {
		t.Errorf("it was refused after %v", d)
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`in use: start the agent: run \S+ by ` + regexp.QuoteMeta(u.Username+"@"+host) +
		` holds it since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(process \d+\); wait for the other run to end, or end it with bela clean`)
	if !words.MatchString(refused) {
		t.Errorf("it does not say who holds the nodes:\n%s", refused)
	}
	// Only up to here: when the run ends, connections to what it stops are lost.
	if shown := out.String(); strings.Contains(shown, "lost") {
		t.Errorf("the first run noticed the second:\n%s", shown)
	}
	if err := first.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if got := first.ProcessState.ExitCode(); got != int(campaign.Interrupted) {
		t.Errorf("the first run ended with status %d\n%s", got, out)
	}
}
