package platform

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"bela/agents/document"
	"bela/agents/payload"
)

// readings are payloads as devices publish them: a small one, the same padded,
// one with 80 sensors, and a batch of 600 readings.
func readings(t testing.TB) map[string][]byte {
	t.Helper()
	var many []payload.Sensor
	for i := range 80 {
		many = append(many, payload.Sensor{
			Path: []string{fmt.Sprintf("room%02d", i/8), fmt.Sprintf("sensor%d", i%8)}, Kind: "gaussian", Unit: "C",
			Mean: 21, StdDev: 3, Decimals: 2,
		})
	}
	var batch strings.Builder
	for i := range 600 {
		fmt.Fprintf(&batch, `,{"sensor":%d,"value":%d.%02d,"limit":30.5,"unit":"C"}`, i, 20+i/100, i%100)
	}
	all := map[string][]byte{}
	for name, o := range map[string]payload.Options{
		"280B":      {Size: 280},
		"1KiB":      {Size: 1024},
		"80sensors": {Sensors: many},
		"batch":     {Size: 40960, Template: `{"readings":[` + batch.String()[1:] + `]}`},
	} {
		b, err := payload.NewBuilder(o)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b.Append(nil, payload.Envelope{Run: 7, Cell: 3, Device: 12, Sequence: 345})
	}
	return all
}

// A gateway and a hub hand over the document that the device sent, and say no to
// what is none; raw looks at nothing. If this failed, customers would get
// something else, or a stranger's bytes would end a hop.
func TestTranscoder(t *testing.T) {
	for name, in := range readings(t) {
		for _, codec := range document.Names() {
			gateway, err := newTranscoder(document.JSON, codec)
			if err != nil {
				t.Fatal(err)
			}
			hub, err := newTranscoder(codec, document.JSON)
			if err != nil {
				t.Fatal(err)
			}
			between, err := gateway.convert(in)
			if err != nil {
				t.Fatalf("%s as %s: %v", name, codec, err)
			}
			out, err := hub.convert(between)
			if err != nil {
				t.Fatalf("%s of %s: %v", name, codec, err)
			}
			was, _ := newTranscoder(document.JSON, document.JSON)
			want, err := was.convert(in)
			if codec == document.Raw {
				want = in
			}
			if err != nil || string(out) != string(want) {
				t.Errorf("%s through %s: %s, want %s", name, codec, out, want)
			}
			broken := strings.Replace(string(in), "{", "[", 1)
			if _, err := gateway.convert([]byte(broken)); (err == nil) != (codec == document.Raw) {
				t.Errorf("%s: broken JSON: %v", codec, err)
			}
		}
	}
}

// processCPU is the CPU time of this process, in nanoseconds.
func processCPU(t testing.TB) int64 {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return use.Utime.Nano() + use.Stime.Nano()
}

// What the two hops of a chain cost for each codec between them, where devices
// send and customers get JSON.
func BenchmarkCodecs(b *testing.B) {
	for kind, doc := range readings(b) {
		for _, name := range document.Names() {
			gateway, err := newTranscoder(document.JSON, name)
			if err != nil {
				b.Fatal(err)
			}
			hub, err := newTranscoder(name, document.JSON)
			if err != nil {
				b.Fatal(err)
			}
			between, err := gateway.convert(doc)
			if err != nil {
				b.Fatal(err)
			}
			for _, hop := range []struct {
				name string
				t    *transcoder
				in   []byte
			}{{"gateway", gateway, doc}, {"hub", hub, between}} {
				b.Run(fmt.Sprintf("%s/%s/%s", kind, name, hop.name), func(b *testing.B) {
					b.ReportAllocs()
					before := processCPU(b)
					for b.Loop() {
						if _, err := hop.t.convert(hop.in); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(processCPU(b)-before)/float64(b.N), "cpu-ns/op")
					b.ReportMetric(float64(len(doc)), "payload-B")
					b.ReportMetric(float64(len(between)), "between-B")
				})
			}
		}
	}
}
