package experiment

import (
	"fmt"
	"strings"
	"testing"
)

func loadSensors(text string) ([]Sensor, int, error) {
	const frame = `experiment "sensors" {
  phases { measure = "1s" }
}
node "worker" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
devices {
  on    = node.worker
  count = 1
  via   = component.broker
  payload {
    %s
  }
}
customers {
  on    = node.worker
  count = 1
  via   = component.broker
}
`
	exp, err := Load("sensors.hcl", Inputs{ReadFile: func(string) ([]byte, error) { return fmt.Appendf(nil, frame, text), nil }})
	if err != nil {
		return nil, 0, err
	}
	d := exp.Plan().Cells[0].Devices
	return d.Sensors, d.PayloadSize, nil
}

// If this failed, a device would read something else than its experiment says.
func TestSensors(t *testing.T) {
	got, size, err := loadSensors(`sensors = {
      temperature = { kind = "gaussian", mean = 21, stddev = 0.5, unit = "C" }
      position    = { lat = { kind = "walk", min = 1, max = 2, step = 0.1, decimals = 5 } }
      on          = { kind = "bool" }
    }`)
	if err != nil || len(got) != 3 || size != 0 {
		t.Fatalf("%+v, %d bytes, %v", got, size, err)
	}
	if s := got[0]; s.Path[0] != "on" || s.Kind != "bool" || s.Probability != 0.5 {
		t.Errorf("%+v", s)
	}
	if s := got[1]; strings.Join(s.Path, ".") != "position.lat" || s.Min != 1 || s.Max != 2 || s.Step != 0.1 || s.Decimals != 5 {
		t.Errorf("%+v", s)
	}
	if s := got[2]; s.Mean != 21 || s.StdDev != 0.5 || s.Unit != "C" || s.Decimals != 2 {
		t.Errorf("%+v", s)
	}
	for text, want := range map[string]string{
		`sensors = { a = { kind = "gausian" } }`:                                         `did you mean "gaussian"`,
		`sensors = { a = { kind = "gaussian", meen = 1 } }`:                              "did you mean mean",
		`sensors = { a = { kind = "gaussian", stddev = -1 } }`:                           "a.stddev: this is out of range",
		`sensors = { a = { kind = "walk" } }`:                                            "max above min",
		`sensors = { a = { kind = "choice" } }`:                                          "a choice needs choices",
		`sensors = { a = 7 }`:                                                            "an object is wanted",
		`sensors = {}`:                                                                   "it is empty",
		`sensors = { bela = { kind = "bool" } }`:                                         "bela's own",
		"sensors = { a = { kind = \"bool\" } }\n    template = \"{}\"":                   "not both",
		"sensors = { a = { kind = \"counter\", unit = \"items\" } }\n    size     = 128": "and size is 128",
	} {
		if _, _, err := loadSensors(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}
