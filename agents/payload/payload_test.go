package payload

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

var example = Envelope{
	Run: 0xbe1a, Cell: 3, Device: 17, Sequence: 4711,
	Intended: 1_605_312_000_000_000_000, Actual: 1_605_312_000_000_123_456,
}

func mustBuilder(t testing.TB, o Options) *Builder {
	t.Helper()
	b, err := NewBuilder(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Payloads must be the same in every version and on every machine for the same
// seed: a broker's work depends on them.
func TestGolden(t *testing.T) {
	var out bytes.Buffer
	for _, o := range []Options{
		{Seed: 1, Size: 62}, {Seed: 1, Size: 100}, {Seed: 1, Size: 256}, {Seed: 2, Size: 1024, Customers: 4},
		{Seed: 1, Size: 200, Customers: 4, Template: ` { "id": "d-{device}", "of": {customer}, "n": {seq}, "v": {value}, "ms": {time} } `},
		{Seed: 1, Size: 80, Template: "{}"},
	} {
		b := mustBuilder(t, o)
		for sequence := range uint32(2) {
			e := example
			e.Sequence += sequence
			fmt.Fprintf(&out, "%s\n", b.Append(nil, e))
		}
	}
	file := filepath.Join("testdata", "payloads.golden")
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

// Each payload must have the stated size to the byte, be JSON, and give its
// envelope back, at every size: throughput and latency hang on all three.
func TestSizeAndEnvelope(t *testing.T) {
	templates := []string{"", "{}", `{"id":"{device}","n":{seq}}`, `{"a":{"b":[{value},{time}]},"c":"{customer}"}`}
	envelopes := []Envelope{
		{}, example,
		{Run: math.MaxUint32, Cell: math.MaxUint32, Device: math.MaxUint32, Sequence: math.MaxUint32, Intended: math.MaxInt64, Actual: math.MinInt64, Probe: true},
	}
	for _, template := range templates {
		built := 0
		for size := MinSize; size < 900; size++ {
			b, err := NewBuilder(Options{Seed: int64(size), Size: size, Template: template, Customers: 3})
			if err != nil {
				continue // too small for the template; counted below
			}
			built++
			for _, e := range envelopes {
				data := b.Append([]byte("before"), e)[len("before"):]
				if len(data) != size || !json.Valid(data) {
					t.Fatalf("template %q, size %d: %d bytes: %s", template, size, len(data), data)
				}
				if got, err := Parse(data); err != nil || got != e {
					t.Fatalf("template %q, size %d: parsed %+v, %v; want %+v", template, size, got, err, e)
				}
			}
		}
		if built < 700 {
			t.Errorf("template %q: only %d sizes could be built", template, built)
		}
	}
}

// A gateway writes the payload anew; the envelope must survive what it may do.
func TestParseRewritten(t *testing.T) {
	built := mustBuilder(t, Options{Size: 300}).Append(nil, example)
	var fields map[string]any
	if err := json.Unmarshal(built, &fields); err != nil {
		t.Fatal(err)
	}
	sorted, _ := json.Marshal(fields)
	indented, _ := json.MarshalIndent(fields, "", "\t")
	text := fields["bela"].(string)
	rewritten := map[string][]byte{
		"wrapped":       append(append([]byte(`{"message":`), built...), '}'),
		"keys sorted":   sorted,
		"indented":      indented,
		"spaces":        []byte(`{ "a" : 1, "bela" : "` + text + `" }`),
		"msgpack":       append([]byte("\x82\xa1a\x01\xa4bela\xd9\x33"), text...),
		"decoys before": []byte(`{"bela":"` + strings.Repeat("A", textSize) + `","x":"bela","bela":"` + text + `"}`),
	}
	for name, data := range rewritten {
		if e, err := Parse(data); err != nil || e != example {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// A payload of somebody else, or a damaged one, must be refused with the reason;
// taken as a message it would falsify an account.
func TestParseForeign(t *testing.T) {
	good := mustBuilder(t, Options{Size: 200}).Append(nil, example)
	damaged := func(i int) []byte {
		d := bytes.Clone(good)
		if d[i]++; !strings.Contains(letters, string(d[i])) {
			d[i] = 'A' // another letter of the alphabet in any case
		}
		return d
	}
	other := appendEnvelope(nil, example)
	var raw [rawSize + 3]byte
	if _, err := strict.Decode(raw[:], other); err != nil {
		t.Fatal(err)
	}
	raw[0] = version + 1
	binary.BigEndian.PutUint32(raw[34:], crc32.Checksum(raw[:34], castagnoli))
	other = strict.AppendEncode([]byte(prefix), raw[:rawSize])
	tests := []struct {
		name string
		data []byte
		want Foreign
	}{
		{"empty", nil, NoEnvelope},
		{"text", []byte("21.5"), NoEnvelope},
		{"prefix only", []byte(prefix), NoEnvelope},
		{"cut", good[:len(prefix)+textSize-1], NoEnvelope},
		{"another key", []byte(strings.Replace(string(good), "bela", "belo", 1)), NoEnvelope},
		{"damaged sequence", damaged(len(prefix) + 20), Damaged},
		{"damaged letter", append([]byte(prefix+"!"), good[len(prefix)+1:]...), NoEnvelope},
		{"another version", append(other, `"}`...), Version},
		{"many decoys", append(bytes.Repeat([]byte("bela"), maxKeys), good...), NoEnvelope},
	}
	for _, test := range tests {
		_, err := Parse(test.data)
		var foreign Foreign
		if !errors.As(err, &foreign) || foreign != test.want {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	for i := range textSize {
		if e, err := Parse(damaged(len(prefix) + i)); err == nil {
			t.Errorf("letter %d changed, and still %+v", i, e)
		}
	}
}

// Two builders of one seed must agree, and a message must not depend on those
// before it: an unsent one would change all that follow.
func TestPayloadFollowsFromSeedAndEnvelope(t *testing.T) {
	o := Options{Seed: 5, Size: 700}
	a, b := mustBuilder(t, o), mustBuilder(t, o)
	for _, k := range []uint32{9, 3, 1000, 4} {
		e := example
		e.Sequence = k
		_ = b.Append(nil, Envelope{Sequence: k * 7})
		if x, y := a.Append(nil, e), b.Append(nil, e); !bytes.Equal(x, y) {
			t.Errorf("message %d differs:\n%s\n%s", k, x, y)
		}
	}
	o.Seed++
	if bytes.Equal(a.Append(nil, example), mustBuilder(t, o).Append(nil, example)) {
		t.Error("another seed gives the same payload")
	}
}

// Readings must look like a sensor's: near their level, wandering, not jumping.
func TestReadingsAreRealistic(t *testing.T) {
	b := mustBuilder(t, Options{Seed: 5, Size: 1024})
	for i, s := range sensors {
		distinct := map[int64]bool{}
		last := b.value(i, Envelope{Device: 3})
		for k := range uint32(500) {
			v := b.value(i, Envelope{Device: 3, Sequence: k})
			if d := v - s.base; d < -s.spread-s.swing-s.noise || d > s.spread+s.swing+s.noise {
				t.Fatalf("%s reads %d, far from %d", s.name, v, s.base)
			}
			if step := v - last; step > 2*s.noise+s.swing/16+1 || -step > 2*s.noise+s.swing/16+1 {
				t.Errorf("%s jumps by %d", s.name, step)
			}
			distinct[v], last = true, v
		}
		if len(distinct) < 5 {
			t.Errorf("%s has only %d values", s.name, len(distinct))
		}
	}
}

// A template's mistake must be told before a run, with what to change.
func TestTemplateErrors(t *testing.T) {
	tests := []struct {
		name, template string
		size           int
		want           string
	}{
		{"not an object", `[1]`, 200, "object"},
		{"text after it", `{"a":1} {"b":2}`, 200, "not a JSON object"},
		{"broken", `{"a":}`, 200, "not a JSON object"},
		{"typo", `{"a":"{devise}"}`, 200, "{devise}"},
		{"own field", `{"bela":1}`, 200, "bela"},
		{"own padding", `{"pad":1}`, 200, "pad"},
		{"too long", `{"a":"` + strings.Repeat("x", 100) + `"}`, 120, "169 bytes"},
		{"too small at all", ``, MinSize - 1, "want 62"},
		{"too large", ``, MaxSize + 1, "payload size"},
	}
	for _, test := range tests {
		_, err := NewBuilder(Options{Size: test.size, Template: test.template})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want it to say %q", test.name, err, test.want)
		}
	}
}

// A million messages a minute must not leave garbage behind.
func TestNoAllocations(t *testing.T) {
	for _, template := range []string{"", `{"id":"{device}","v":{value}}`} {
		b := mustBuilder(t, Options{Size: 512, Template: template})
		buffer := make([]byte, 0, 512)
		if n := testing.AllocsPerRun(100, func() { buffer = b.Append(buffer[:0], example) }); n != 0 {
			t.Errorf("building (template %q) allocates %v times", template, n)
		}
		foreign := []byte(`{"bela":"nothing"}`)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Parse(buffer); err != nil {
				t.Error(err)
			}
			_, _ = Parse(foreign)
		}); n != 0 {
			t.Errorf("parsing allocates %v times", n)
		}
	}
}

// Whatever arrives, Parse must not panic, and what it accepts must be what a
// builder would have written.
func FuzzParse(f *testing.F) {
	for _, size := range []int{MinSize, 100, 400} {
		b, err := NewBuilder(Options{Size: size})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.Append(nil, example))
	}
	for _, codec := range []string{"msgpack", "protobuf", "raw"} {
		b, err := NewBuilder(Options{Size: 100, Codec: codec})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.Append(nil, example))
	}
	f.Add([]byte(nil))
	f.Add([]byte("bela\x01"))
	f.Add([]byte(`{"bela":""}`))
	f.Add([]byte("belabelabela"))
	f.Add([]byte(prefix + strings.Repeat("A", textSize) + `"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse(data)
		if err != nil {
			var foreign Foreign
			if !errors.As(err, &foreign) || e != (Envelope{}) {
				t.Fatalf("%+v, %v", e, err)
			}
			return
		}
		var raw [rawSize]byte
		e.put(&raw)
		if text := appendEnvelope(nil, e); !bytes.Contains(data, text) && !bytes.Contains(data, append([]byte(key), raw[:]...)) {
			t.Fatalf("accepted %+v, whose text %s is not in the payload", e, text)
		}
	})
}

// A template comes from a user's file: whatever it is, it is refused or gives
// JSON of the stated size.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"{}", `{"a":{value}}`, `{"a":"{device}{seq}"}`, `{"{customer}":{time}}`, "{", "{{}}", `{"a":"}"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, template string) {
		for _, codec := range packedCodecs {
			b, err := NewBuilder(Options{Size: 512, Template: template, Codec: codec})
			if err != nil {
				continue
			}
			for _, e := range []Envelope{{}, example} {
				data := b.Append(nil, e)
				if got, err := Parse(data); len(data) != 512 || err != nil || got != e {
					t.Fatalf("template %q in %s: %x: %+v, %v", template, codec, data, got, err)
				}
			}
		}
		b, err := NewBuilder(Options{Size: 512, Template: template})
		if err != nil {
			return
		}
		for _, e := range []Envelope{{}, example} {
			data := b.Append(nil, e)
			if got, err := Parse(data); len(data) != 512 || !json.Valid(data) || err != nil || got != e {
				t.Fatalf("template %q: %s: %+v, %v", template, data, got, err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			builder := mustBuilder(b, Options{Size: size})
			buffer := make([]byte, 0, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				buffer = builder.Append(buffer[:0], example)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	data := mustBuilder(b, Options{Size: 1024}).Append(nil, example)
	moved := append(append([]byte(`{"message":`), data...), '}')
	all := map[string][]byte{"first": data, "within": moved, "foreign": bytes.Repeat([]byte("x"), 1024)}
	for _, codec := range []string{"msgpack", "protobuf", "raw"} {
		all[codec] = mustBuilder(b, Options{Size: 1024, Codec: codec}).Append(nil, example)
	}
	for name, payload := range all {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Parse(payload)
			}
		})
	}
}
