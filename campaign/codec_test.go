package campaign

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"bela/agents/device"
	"bela/agents/payload"
	"bela/agents/protocol"
	"bela/experiment"
)

const withPayload = `
experiment "payload" {
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
  payload {
    codec = %q
    size  = %d
    %s
  }
}
customers {
  on    = node.worker
  count = 1
}
`

// What a plan allows, a device must be able to build. If this failed, a file that
// validates would fail on the testbed.
func TestPlannedPayloadsCanBeBuilt(t *testing.T) {
	load := func(codec string, size int, text string) (protocol.DevicesSpec, error) {
		e, err := experiment.Load("test.hcl", experiment.Inputs{
			ReadFile: func(string) ([]byte, error) { return fmt.Appendf(nil, withPayload, codec, size, text), nil },
		})
		if err != nil {
			return protocol.DevicesSpec{}, err
		}
		w := wiring{cell: e.Plan().Cells[0], seed: 1, address: func(string) string { return "127.0.0.1" }}
		return w.devices()["worker-1"], nil
	}
	needed := regexp.MustCompile(`may have ([0-9,]+) bytes`)
	floats := strings.TrimSuffix(strings.Repeat("1e39,", 60), ",")
	for _, text := range []string{
		"",
		`template = "{\"id\": \"d-{device}\", \"v\": {value}, \"t\": [{time},{seq}], \"s\": \"{value}{customer}\"}"`,
		`template = "{}"`,
		`template = "{\"v\": [` + floats + `]}"`,
		`template = "{\"v\": [` + strings.ReplaceAll(floats, "1e39", "1") + `]}"`,
		`template = "{\"v\": [` + strings.ReplaceAll(floats, "1e39", "[]") + `]}"`,
		`template = "{\"v\": 1{time}{time}, \"w\": -{device}.{seq}}"`,
		`template = "{\"v\": \"\\ud800 \\n\\n\\u00e4\", \"\": {\"a\": {\"b\": {\"c\": null}}}}"`,
		`sensors = { a = { kind = "gaussian", mean = 1e9, stddev = 1e9, decimals = 9 } }`,
		`sensors = { a = { kind = "counter", min = 1e9, step = 1e9, decimals = 9 }, b = { c = { d = { kind = "bool" } } } }`,
		`sensors = { a = { kind = "choice", choices = ["", "\"\"\"\"\"\"\"\""], unit = "\"\"\"" }, b = { kind = "walk", min = -1e9, max = 1e9, step = 1, unit = "m" } }`,
	} {
		for _, codec := range []string{"json", "msgpack", "protobuf", "raw"} {
			if codec == "raw" && text != "" {
				if _, err := load(codec, 1000, text); err == nil || !strings.Contains(err.Error(), "no fields") {
					t.Errorf("raw with %s: %v", text, err)
				}
				continue
			}
			// The smallest size that is legal, as the file's mistake names it.
			spec, err := load(codec, 128, text)
			if err != nil {
				found := needed.FindStringSubmatch(err.Error())
				if found == nil {
					t.Fatalf("%s: %s: %v", codec, text, err)
				}
				size, _ := strconv.Atoi(strings.ReplaceAll(found[1], ",", ""))
				if spec, err = load(codec, size, text); err != nil {
					t.Fatalf("%s: %s: %v", codec, text, err)
				}
			}
			if _, err := device.New(spec, nil, nil, nil); err != nil {
				t.Errorf("%s, %d bytes, %s: %v", codec, spec.Payload, text, err)
			}
			var sensors []payload.Sensor
			for _, s := range spec.Sensors {
				sensors = append(sensors, payload.Sensor(s))
			}
			b, err := payload.NewBuilder(payload.Options{Codec: spec.PayloadCodec, Size: spec.Payload, Template: spec.Template, Sensors: sensors, Customers: spec.Customers})
			if err != nil {
				continue // told above
			}
			e := payload.Envelope{Device: 4294967295, Sequence: 4294967295, Intended: 1 << 62}
			if got := b.Append(nil, e); len(got) != spec.Payload {
				t.Errorf("%s, %s: %d bytes, want %d", codec, text, len(got), spec.Payload)
			}
		}
	}
}

// Devices whose payload the hops cannot take apart would have every message
// dropped, after minutes on a testbed.
func TestRawPayloadNeedsRawHops(t *testing.T) {
	const chain = `
experiment "raw" {
  phases { measure = "1s" }
  matrix { codec = ["json", "raw"] }
}
node "worker" { count = 1 }
component "broker" {
  uses = platform.broker
  on   = node.worker
}
component "nats" {
  uses = platform.nats
  on   = node.worker
}
component "stan" {
  uses = platform.stan
  on   = node.worker
}
component "gateway" {
  uses  = platform.gateway
  on    = node.worker
  codec = %s
}
component "hub" {
  uses = platform.hub
  on   = node.worker
}
devices {
  on    = node.worker
  count = 1
  via   = component.broker
  payload { codec = cell.codec }
}
customers {
  on    = node.worker
  count = 1
  via   = component.broker
}
`
	load := func(codec string) (*experiment.Experiment, error) {
		return experiment.Load("test.hcl", experiment.Inputs{
			ReadFile: func(string) ([]byte, error) { return fmt.Appendf(nil, chain, codec), nil },
		})
	}
	_, err := load(`"msgpack"`)
	if err == nil {
		t.Fatal("a raw payload goes through a gateway that takes it apart")
	}
	for _, want := range []string{"test.hcl:32:21", `component "gateway"`, "msgpack", `codec = "raw"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q in it", err, want)
		}
	}
	e, err := load("cell.codec")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range e.Plan().Cells {
		w := wiring{cell: c, seed: 1, address: func(string) string { return "127.0.0.1" }, facts: nil}
		for _, p := range w.components() {
			if want := c.Devices.PayloadCodec; (p.spec.Kind == "gateway" || p.spec.Kind == "hub") && p.spec.PayloadCodec != want {
				t.Errorf("%s is told that payloads are %q, and they are %q", p.spec.Name, p.spec.PayloadCodec, want)
			}
		}
	}
}
