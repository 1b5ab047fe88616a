package campaign_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bela/campaign"
	"bela/measure"
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
			if len(run.Cells) != tt.cells || summary.Status != campaign.Done {
				t.Errorf("%d cells, %+v; want %d and done", len(run.Cells), summary, tt.cells)
			}
			for _, c := range run.Cells {
				if l := c.Ledger; c.Verdict == measure.Invalid || !l.Closed || l.Published != 20 || l.Delivered != 20 || l.Duplicated != 0 {
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
