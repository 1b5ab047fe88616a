package experiment_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"bela/experiment"
)

// Blocks that make a whole experiment together; tests swap one of them.
const (
	basicExperiment = `experiment "test" {
  matrix {
    devices = [1, 100, 500, 1000]
  }
}
`
	basicNodes = `node "master" { count = 1 }
node "worker" { count = 2 }
node "iot" { count = 2 }
node "customer" { count = 2 }
`
	basicBroker = `component "broker" {
  uses = platform.broker
  on   = node.worker
}
`
	basicPlatform = basicBroker + `component "nats" {
  uses = platform.nats
  on   = node.worker
}
component "stan" {
  uses = platform.stan
  on   = node.worker
}
component "gateway" {
  uses      = platform.gateway
  on        = node.worker
  instances = 2
}
component "hub" {
  uses = platform.hub
  on   = node.worker
}
`
	basicDevices = `devices {
  on    = node.iot
  count = cell.devices
}
`
	basicCustomers = `customers {
  on    = node.customer
  count = 4
}
`
	basicLoad = basicDevices + basicCustomers
	basic     = basicExperiment + basicNodes + basicPlatform + basicLoad
)

// from serves files from memory; others do not exist.
func from(files map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		src, ok := files[path]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return []byte(src), nil
	}
}

// loadText reads an experiment from memory, as test.hcl.
func loadText(src string, in experiment.Inputs) (*experiment.Experiment, error) {
	if in.ReadFile == nil {
		in.ReadFile = from(map[string]string{"test.hcl": src})
	}
	return experiment.Load("test.hcl", in)
}

// mustLoad is loadText for a file that is right.
func mustLoad(t *testing.T, src string, in experiment.Inputs) *experiment.Experiment {
	t.Helper()
	e, err := loadText(src, in)
	if err != nil {
		t.Fatalf("%v\nin\n%s", detailed(err), src)
	}
	return e
}

// detailed is an error with all its diagnostics.
func detailed(err error) string {
	var found experiment.Diagnostics
	if !errors.As(err, &found) {
		return err.Error()
	}
	var b strings.Builder
	_ = found.Format(&b, 100, false)
	return b.String()
}

// refused checks that a file is refused with exactly one error that says want.
func refused(t *testing.T, src string, in experiment.Inputs, want ...string) {
	t.Helper()
	_, err := loadText(src, in)
	if err == nil {
		t.Fatalf("taken:\n%s", src)
	}
	text := detailed(err)
	if n := strings.Count(text, ": error: "); n != 1 {
		t.Errorf("%d errors where one is wanted:\n%s", n, text)
	}
	flat := strings.Join(strings.Fields(text), " ")
	for _, w := range want {
		if !strings.Contains(flat, w) {
			t.Errorf("does not say %q:\n%s", w, text)
		}
	}
}

// component finds a component in a cell.
func component(t *testing.T, c experiment.Cell, name string) experiment.Component {
	t.Helper()
	for _, x := range c.Components {
		if x.Name == name {
			return x
		}
	}
	t.Fatalf("cell %d has no component %q", c.Number, name)
	return experiment.Component{}
}
