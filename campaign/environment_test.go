package campaign_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"bela/campaign"
	"bela/event"
	"bela/influx"
)

// plantedSecrets are what a user keeps from others: a sensitive variable, a
// component's environment made of it, and InfluxDB's token.
const (
	plantedPassword = "zq-planted-password-7f3a"
	plantedKey      = "zq-planted-key-91bc"
	plantedToken    = "zq-planted-token-22de"
)

// gossip is an InfluxDB that tells everybody the token it was given.
func gossip(t *testing.T) (url string, heard func() bool) {
	var mu sync.Mutex
	saw := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		saw = saw || strings.Contains(r.Header.Get("Authorization"), plantedToken)
		mu.Unlock()
		http.Error(w, `{"code":"unauthorized","message":"no such token: `+r.Header.Get("Authorization")+`"}`, http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return saw
	}
}

// A run must say under what it was made, so that somebody else can repeat it and
// tell whether two runs can be compared, and it must not give away what the user
// keeps secret: not in the run directory, not in an event, not in any process's
// command line.
func TestEnvironmentIsWholeAndKeepsSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t, strings.Replace(fmt.Sprintf(small, "[2]", `
variable "password" {
  type      = string
  sensitive = true
}
variable "key" {
  type      = string
  sensitive = true
}
component "sidecar" {
  on      = node.worker
  env     = { PASSWORD = "p-${var.password}", KEY = var.key }
  command = ["/bin/sh", "-c", "[ -n \"$PASSWORD\" ] && [ -n \"$KEY\" ] && echo sidecar has both; sleep 60"]
}`), "seed = 7", "seed = 7\n  calibrate = true", 1), nil, "password="+plantedPassword, "key="+plantedKey, "measure=2s")
	url, heard := gossip(t)
	r.config.InfluxDB = &influx.Config{URL: url, Org: "o", Bucket: "b", Token: plantedToken}
	r.config.Environment.Controller = campaign.Controller()
	var once sync.Once
	r.events.on = func(e event.Event) {
		if p, ok := e.Data.(event.PhaseStarted); ok && p.Phase == event.PhaseMeasure {
			once.Do(func() { noSecretIn(t, "a command line", commandLines(t)) })
		}
	}
	_, run, err := r.run(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	assertNoSecrets(t, r)
	if !heard() {
		t.Error("InfluxDB never got the token: the test shows nothing about it")
	}
	logs, err := filepath.Glob(filepath.Join(r.root, "cells", "*", "logs", "*sidecar*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log of the sidecar: %v", err)
	}
	if log, err := os.ReadFile(logs[0]); err != nil || !bytes.Contains(log, []byte("sidecar has both")) {
		t.Errorf("the component did not get its secrets: %q, %v", log, err)
	}

	assertSelfWatch(t, r)
	env := run.Environment
	c := env.Controller
	if c.Hostname == "" || c.OS == "" || c.Kernel == "" || c.Arch != runtime.GOARCH || c.CPUs < 1 || c.MemoryTotal <= 0 ||
		c.MaxProcs < 1 || c.OpenFilesHard == 0 || c.LocalPorts[1] <= c.LocalPorts[0] || c.BootID == "" {
		t.Errorf("the controller is not described: %+v", c)
	}
	if len(env.Nodes) != 5 || !env.Lab {
		t.Fatalf("%d nodes, lab %v, want 5 in a lab", len(env.Nodes), env.Lab)
	}
	for _, n := range env.Nodes {
		// The lab's nodes are this very machine.
		if n.Kernel != c.Kernel || n.OS != c.OS || n.Arch != c.Arch || n.MemoryTotal != c.MemoryTotal || n.Virtual != c.Virtual || n.BootID != c.BootID || n.CPUModel != c.CPUModel {
			t.Errorf("%s is another machine than the controller: %+v", n.Name, n)
		}
		if n.Role == "" || n.Group == "" || n.Address == "" || n.SSH == "" || n.User == "" || n.MaxProcs < 1 || n.OpenFilesHard == 0 || len(n.AgentSHA256) != 64 {
			t.Errorf("%s is not described: %+v", n.Name, n)
		}
		// One device of ten messages a second on each node with devices.
		if g := n.Generator; (g != nil) != (n.Role == "iot") || g != nil && (g.PlannedRate != 10 || g.Rate <= 0 || g.LatenessP99MS == nil) {
			t.Errorf("%s: generator %+v", n.Name, g)
		}
		if !strings.HasPrefix(n.HostKey, "SHA256:") {
			t.Errorf("%s: host key %q", n.Name, n.HostKey)
		}
		// One clock: its offset is within its error, and neither is a second.
		if n.ClockOffsetNS == nil || n.ClockErrorNS == nil || *n.ClockErrorNS <= 0 || *n.ClockErrorNS > 1e9 || max(*n.ClockOffsetNS, -*n.ClockOffsetNS) > *n.ClockErrorNS {
			t.Errorf("%s: clock off by %v, error %v", n.Name, n.ClockOffsetNS, n.ClockErrorNS)
		}
	}
}

// assertSelfWatch demands that the agents' own numbers arrive in the events.
func assertSelfWatch(t *testing.T, r *rig) {
	t.Helper()
	watched := make(map[string]bool)
	for _, e := range r.events.list() {
		if n, ok := e.Data.(event.NodeSample); ok && n.AgentGoroutines > 0 && n.AgentScheduling != nil && n.RunQueue > 0 {
			watched[n.Node] = true
		}
	}
	if len(watched) != 5 {
		t.Errorf("%d of 5 agents watch themselves", len(watched))
	}
}

// assertNoSecrets looks for what was planted in every event that a view saw and
// in every file of the run, packed ones unpacked.
func assertNoSecrets(t *testing.T, r *rig) {
	t.Helper()
	for _, e := range r.events.list() {
		noSecretIn(t, fmt.Sprintf("event %d", e.Seq), []byte(fmt.Sprintf("%+v", e.Data)))
	}
	files := 0
	err := filepath.WalkDir(r.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(text))
			if err != nil {
				return err
			}
			if text, err = io.ReadAll(z); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		noSecretIn(t, path, text)
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("looked into %d files: %v", files, err)
	}
}

func noSecretIn(t *testing.T, where string, text []byte) {
	t.Helper()
	for _, secret := range []string{plantedPassword, plantedKey, plantedToken} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s gives %q away", where, secret)
		}
	}
}

// commandLines are those of all processes that there are.
func commandLines(t *testing.T) []byte {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Errorf("no processes: %v", err)
	}
	var all []byte
	for _, f := range files {
		text, _ := os.ReadFile(f) // it may have ended
		all = append(append(all, text...), '\n')
	}
	return all
}
