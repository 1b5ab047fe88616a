package payload

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bela/agents/document"
)

var packedCodecs = []string{document.MsgPack, document.Protobuf}

// asJSON is a payload as a hub hands it on where customers get JSON.
func asJSON(t testing.TB, codec string, data []byte) string {
	t.Helper()
	in, err := document.ForName(codec)
	if err != nil {
		t.Fatal(err)
	}
	out, err := document.ForName(document.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var tape document.Tape
	if err := in.Decode(&tape, data); err != nil {
		t.Fatalf("%s: %x: %v", codec, data, err)
	}
	doc, err := out.Append(nil, &tape)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// Payloads must be the same in every version and on every machine for the same
// seed, whatever the codec.
func TestGoldenCodecs(t *testing.T) {
	var out bytes.Buffer
	for _, codec := range []string{document.MsgPack, document.Protobuf, document.Raw} {
		all := []Options{{Size: 100}, {Size: 400}}
		if codec != document.Raw {
			all = append(all, Options{Sensors: climate}, Options{Size: 200, Customers: 4, Template: `{"id":"d-{device}","of":{customer},"n":{seq},"v":{value}}`})
		}
		for _, o := range all {
			o.Codec, o.Seed = codec, 1
			fmt.Fprintf(&out, "%s %s\n", codec, hex.EncodeToString(mustBuilder(t, o).Append(nil, example)))
		}
	}
	file := filepath.Join("testdata", "codecs.golden")
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the payloads changed; have\n%swant\n%s", out.String(), want)
	}
}

var climate = []Sensor{
	{Path: []string{"climate", "co2"}, Kind: "walk", Unit: "ppm", Min: 400, Max: 2000, Step: 25},
	{Path: []string{"climate", "temperature"}, Kind: "gaussian", Mean: 21, StdDev: 0.5, Decimals: 2},
	{Path: []string{"count"}, Kind: "counter", Step: 1},
	{Path: []string{"door"}, Kind: "choice", Choices: []string{"open", "shut"}},
	{Path: []string{"on"}, Kind: "bool", Probability: 0.5},
}

// Each codec must say what JSON says: else two cells that differ in the codec
// would differ in what is measured, too.
func TestCodecsSayTheSame(t *testing.T) {
	for _, o := range []Options{
		{Sensors: climate}, {Size: 300, Template: `{"id":"d-{device}","v":[{value},{time}],"s":{"n":{seq}},"big":1{time}{time}}`, Customers: 3},
	} {
		in := mustBuilder(t, o).Append(nil, example)
		want := strings.TrimSuffix(asJSON(t, document.JSON, in), "}")
		want, _, _ = strings.Cut(want, `,"pad":`)
		for _, codec := range packedCodecs {
			o.Codec = codec
			got := asJSON(t, codec, mustBuilder(t, o).Append(nil, example))
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s, want %s", codec, got, want)
			}
		}
	}
}

// Every codec must hold the stated size to the byte, at every size, and give the
// envelope back.
func TestSizeAndEnvelopeInEveryCodec(t *testing.T) {
	envelopes := []Envelope{
		{}, example,
		{Run: math.MaxUint32, Cell: math.MaxUint32, Device: math.MaxUint32, Sequence: math.MaxUint32, Intended: math.MaxInt64, Actual: math.MinInt64, Probe: true},
	}
	for _, codec := range []string{document.MsgPack, document.Protobuf, document.Raw} {
		for _, o := range []Options{
			{}, {Template: "{}"}, {Template: `{"a":{"b":[{value},{time}]},"c":"{customer}{seq}"}`}, {Sensors: climate},
		} {
			if codec == document.Raw && (o.Template != "" || o.Sensors != nil) {
				continue
			}
			o.Codec, o.Customers = codec, 3
			built := 0
			for size := minRaw; size < 900; size++ {
				o.Size, o.Seed = size, int64(size)
				b, err := NewBuilder(o)
				if err != nil {
					if built > 0 {
						t.Fatalf("%s %+v: %v", codec, o, err)
					}
					continue
				}
				if built == 0 {
					t.Logf("%s, template %q, %d sensors: from %d bytes", codec, o.Template, len(o.Sensors), size)
				}
				built++
				for _, e := range envelopes {
					data := b.Append([]byte("before"), e)[len("before"):]
					if len(data) != size {
						t.Fatalf("%s %+v: %d bytes: %q", codec, o, len(data), data)
					}
					if got, err := Parse(data); err != nil || got != e {
						t.Fatalf("%s %+v: parsed %+v, %v; want %+v", codec, o, got, err, e)
					}
					if codec != document.Raw && !json.Valid([]byte(asJSON(t, codec, data))) {
						t.Fatalf("%s %+v: %x", codec, o, data)
					}
				}
			}
			if built < 500 {
				t.Errorf("%s, template %q, %d sensors: only %d sizes could be built", codec, o.Template, len(o.Sensors), built)
			}
		}
	}
}

// What cannot be said in a codec must be refused before a run.
func TestCodecErrors(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Codec: "xml", Size: 100}, "xml"},
		{Options{Codec: document.Raw, Size: 100, Template: "{}"}, "neither template nor sensors"},
		{Options{Codec: document.Raw, Sensors: climate}, "neither template nor sensors"},
		{Options{Codec: document.Raw, Size: minRaw - 1}, "want 42"},
		{Options{Codec: document.MsgPack, Size: 63}, "want 64"},
		{Options{Codec: document.Protobuf, Size: 70}, "want 71"},
		{Options{Codec: document.Protobuf, Size: 100, Sensors: climate}, "they need up to"},
		{Options{Codec: document.Protobuf, Size: 500, Template: `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`}, "too deep"},
	} {
		if _, err := NewBuilder(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want it to say %q", tt.o, err, tt.want)
		}
	}
}

// A raw payload, too, must be found within what others wrap around it, and refused
// where it is damaged.
func TestParseRaw(t *testing.T) {
	data := mustBuilder(t, Options{Codec: document.Raw, Size: 100}).Append(nil, example)
	for name, wrapped := range map[string][]byte{
		"as sent": data, "cut behind the envelope": data[:minRaw], "wrapped": append([]byte("\x0a\x64\x12\x05topic\x1a\x64"), data...),
	} {
		if e, err := Parse(wrapped); err != nil || e != example {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	for i := range rawSize {
		damaged := bytes.Clone(data)
		damaged[len(key)+i] ^= 0x55
		var foreign Foreign
		if e, err := Parse(damaged); !errors.As(err, &foreign) {
			t.Errorf("byte %d changed, and still %+v, %v", i, e, err)
		}
	}
	if _, err := Parse(data[:minRaw-1]); !errors.Is(err, NoEnvelope) {
		t.Errorf("cut within the envelope: %v", err)
	}
}

// A million messages a minute must not leave garbage behind in any codec.
func TestNoAllocationsInEveryCodec(t *testing.T) {
	for _, codec := range []string{document.MsgPack, document.Protobuf, document.Raw} {
		all := []Options{{Size: 512}}
		if codec != document.Raw {
			all = append(all, Options{Size: 512, Template: `{"id":"{device}","v":{value}}`}, Options{Sensors: climate})
		}
		for _, o := range all {
			o.Codec = codec
			b := mustBuilder(t, o)
			buffer := make([]byte, 0, 1024)
			if n := testing.AllocsPerRun(100, func() { buffer = b.Append(buffer[:0], example) }); n != 0 {
				t.Errorf("building %+v allocates %v times", o, n)
			}
			if n := testing.AllocsPerRun(100, func() {
				if _, err := Parse(buffer); err != nil {
					t.Error(err)
				}
			}); n != 0 {
				t.Errorf("%s: parsing allocates %v times", codec, n)
			}
		}
	}
}

func BenchmarkAppendCodecs(b *testing.B) {
	var many []Sensor
	for i := range 80 {
		many = append(many, Sensor{Path: []string{fmt.Sprintf("room%02d", i/8), fmt.Sprintf("sensor%d", i%8)}, Kind: "gaussian", Unit: "C", Mean: 21, StdDev: 3, Decimals: 2})
	}
	for _, codec := range document.Names() {
		for name, o := range map[string]Options{"1KiB": {Size: 1024}, "80sensors": {Sensors: many}} {
			if codec == document.Raw && o.Sensors != nil {
				continue
			}
			b.Run(name+"/"+codec, func(b *testing.B) {
				o.Codec = codec
				builder := mustBuilder(b, o)
				var buffer []byte
				b.ReportAllocs()
				for b.Loop() {
					buffer = builder.Append(buffer[:0], example)
				}
				b.ReportMetric(float64(len(buffer)), "payload-B")
			})
		}
	}
}
