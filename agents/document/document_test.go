package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// If this failed, a customer would get another document than the device sent.
func TestRoundTrip(t *testing.T) {
	for _, tt := range []struct{ name, in, out string }{
		{"the order of fields stays, bela first", `{"bela":"x","z":1,"a":2}`, `{"bela":"x","z":1,"a":2}`},
		{"fields of the same name stay", `{"a":1,"a":2}`, `{"a":1,"a":2}`},
		{"white space goes", " { \"a\" : [ 1 , 2 ] } \n", `{"a":[1,2]}`},
		{"empty things", `{"a":{},"b":[],"c":"","d":[{}],"":0}`, `{"a":{},"b":[],"c":"","d":[{}],"":0}`},
		{"what looks like structure within strings", `{"a":"{[,:\"]}","b":"\\"}`, `{"a":"{[,:\"]}","b":"\\"}`},
		{"literals", `[true,false,null]`, `[true,false,null]`},
		{"integers to the last bit", `[0,-1,127,128,-32,-33,65536,9223372036854775807,-9223372036854775808,18446744073709551615]`,
			`[0,-1,127,128,-32,-33,65536,9223372036854775807,-9223372036854775808,18446744073709551615]`},
		{"an integer beyond 64 bits is kept as written", `[18446744073709551616]`, `[18446744073709551616]`},
		{"decimals print as the same value", `[21.5,0.1,1e3,-2.50]`, `[21.5,0.1,1000,-2.5]`},
		{"more digits than a float64 holds are kept as written", `[3.14159265358979323846]`, `[3.14159265358979323846]`},
		{"beyond a float64's range", `[1e400,1e-400]`, `[1e400,1e-400]`},
		{"zeros", `[0.0,-0,0e9,0.000000000000]`, `[0,-0,0,0]`},
		{"without an exponent where that is short", `[1234567.25,1e20,1e25,0.000001]`, `[1234567.25,100000000000000000000,1e+25,0.000001]`},
		{"escapes", `["\u00fc\n\/\u0001\ud83d\ude00"]`, `["ü\n/\u0001😀"]`},
		{"half of a surrogate pair has no character: kept as written", `["\ud800 x"]`, `["\ud800 x"]`},
		{"long strings", `["` + strings.Repeat("x", 70_000) + `","` + strings.Repeat("y", 300) + `"]`,
			`["` + strings.Repeat("x", 70_000) + `","` + strings.Repeat("y", 300) + `"]`},
		{"many fields", `[` + strings.Repeat("1,", 99_999) + `1]`, `[` + strings.Repeat("1,", 99_999) + `1]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{JSON, MsgPack, Protobuf} {
				b, err := convert(JSON, name, []byte(tt.in))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got, err := convert(name, JSON, b)
				if err != nil || string(got) != tt.out {
					t.Errorf("%s: %.200s, %v; want %.200s", name, got, err, tt.out)
				}
			}
		})
	}
}

// convert takes a message of one codec apart and puts it together in another.
func convert(from, to string, b []byte) ([]byte, error) {
	in, err := ForName(from)
	if err != nil {
		return nil, err
	}
	out, err := ForName(to)
	if err != nil {
		return nil, err
	}
	var t Tape
	if err := in.Decode(&t, b); err != nil {
		return nil, err
	}
	return out.Append(nil, &t)
}

// If this failed, MessagePack of bela's could not be read by anybody else, and
// would be no measure of MessagePack.
func TestMessagePackIsStandard(t *testing.T) {
	b, err := convert(JSON, MsgPack, []byte(`{"bela":"x","n":[1,-2.5,null,true],"s":"ü"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("\x83\xa4bela\xa1x\xa1n\x94\x01\xca\xc0\x20\x00\x00\xc0\xc3\xa1s\xa2\xc3\xbc")
	if !bytes.Equal(b, want) {
		t.Errorf("got  %x\nwant %x", b, want)
	}
	var m map[string]any
	if err := msgpack.Unmarshal(b, &m); err != nil || m["bela"] != "x" || m["s"] != "ü" {
		t.Errorf("%v %v", m, err)
	}
}

// If this failed, a foreign payload would pass for a message, or bring a hop down.
func TestCodecsRefuse(t *testing.T) {
	for _, in := range []string{
		"", "x", `{"a":}`, `{} {}`, "\xff", `{"a":1`, `{"a":1,}`, `[1,]`, `{,}`, `{"a"}`, `[1}`, `{1:2}`, "\"", "\"\n\"", `"\x"`, `"\u12g4"`, `"\u12`,
		"01", "-", "1.", ".5", "1e", "1e+", "+1", "tru", "nul", "falsx", `{"a":1]`, "]", strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
	} {
		if b, err := convert(JSON, JSON, []byte(in)); err == nil {
			t.Errorf("JSON takes %.20q as %.20q", in, b)
		}
	}
	for _, in := range []string{
		"", "\xc1", "\x81\x01\x01", "\x92\x01", "\xc0\xc0", "\xdf\xff\xff\xff\xff", "\xdb\xff\xff\xff\xffx",
		"\xc4\x01x", "\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "\xd4\x05x", "\xd4\x01\"", "\xd6\x02true", "\xd4\x02", "\xc7\x00\x01",
		"\x81\xd4\x011\x01", "\xcd\x01", "\xca\xff\xff\xff\xff", strings.Repeat("\x91", maxDepth+1) + "\xc0",
	} {
		if b, err := convert(MsgPack, JSON, []byte(in)); err == nil {
			t.Errorf("MessagePack takes %.20q as %.100q", in, b)
		}
	}
}

// meaning is a document's meaning: its tokens in order, numbers by value, strings
// by characters.
func meaning(t *testing.T, doc []byte) []any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var all []any
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in %q", err, doc)
		}
		if n, ok := tok.(json.Number); ok {
			tok = value(t, string(n))
		}
		all = append(all, tok)
	}
}

// value is a number's exact value. One with a huge exponent stands for itself: it
// can only have been kept as written.
func value(t *testing.T, n string) string {
	t.Helper()
	mantissa, exponent, _ := strings.Cut(strings.ToLower(n), "e")
	if !strings.ContainsAny(mantissa, "123456789") {
		return "0"
	}
	if e, err := strconv.Atoi(exponent); exponent != "" && (err != nil || e > 2000 || e < -2000) {
		return n
	}
	r, ok := new(big.Rat).SetString(n)
	if !ok {
		t.Fatalf("number %q", n)
	}
	return r.String()
}

// FuzzRoundTrip holds the codecs to the standard library's reading.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{
		`{"bela":"AQE","seq":7,"v":[21.5,-3e2,0.1],"o":{"a":null}}`, `"\ud83d\ude00 \ud800"`, `[[],{},"",0,-0]`,
		`12345678901234567890123`, `1E-7`, `0.000001`, `100000000000000000000000`, "\"\xff\"", `[1.0,1e2]`, `0E00000`, `{"a\n":"\u00e4b\t"}`,
		"{\"\xfe\":1}", `[9007199254740993.0,123456.5e-30,1e39,-18446744073709551616,18446744073709551615]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var tape Tape
		err := jsonCodec{}.Decode(&tape, doc)
		if shallow := bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) < maxDepth; (err == nil) != json.Valid(doc) && shallow {
			t.Fatalf("%q is JSON to one and none to the other: %v", doc, err)
		}
		if err != nil {
			return
		}
		want := meaning(t, doc)
		for _, name := range []string{JSON, MsgPack, Protobuf} {
			checkRoundTrip(t, name, doc, want)
		}
	})
}

// checkRoundTrip takes a document through a codec and back, and then from that
// codec to itself, which must change nothing more.
func checkRoundTrip(t *testing.T, name string, doc []byte, want []any) {
	t.Helper()
	b, err := convert(JSON, name, doc)
	if errors.Is(err, errTooDeep) && name == Protobuf {
		return
	}
	if err != nil {
		t.Fatalf("%s refused %q: %v", name, doc, err)
	}
	got, err := convert(name, JSON, b)
	if err != nil {
		t.Fatalf("%s: %q came back as %v", name, doc, err)
	}
	if utf8.Valid(doc) != utf8.Valid(got) {
		t.Fatalf("%s: %q became %q", name, doc, got)
	}
	is := meaning(t, got)
	if len(want) != len(is) {
		t.Fatalf("%s: %q became %q", name, doc, got)
	}
	for i := range want {
		if want[i] != is[i] {
			t.Fatalf("%s: %v became %v in %q", name, want[i], is[i], got)
		}
	}
	again, err := convert(name, name, b)
	if err != nil {
		t.Fatalf("%s: %x from itself: %v", name, b, err)
	}
	if once, err := convert(name, name, again); err != nil || !bytes.Equal(again, once) {
		t.Fatalf("%s: %x settles on nothing: %x, %x, %v", name, b, again, once, err)
	}
}

// FuzzDecode feeds what a stranger may publish or put into the stream.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"\x81\xa1a\x01", "\xdd\xff\xff\xff\xff", "\xc7\x03\x01123", "\x92\xca\x00\x00\x00\x00\xd3\xff", "\xd7\x02\"\\ud800\"",
		"\x0a\x02\x30\x02", "\x0a\x02\x72\x00", "\x0a\x04\x5a\x02\x0a\x00", "\x0a\xff\xff\xff\xff\x0f", `{"a":[1,{}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{JSON, MsgPack, Protobuf} {
			codec, err := ForName(name)
			if err != nil {
				t.Fatal(err)
			}
			var tape Tape
			if codec.Decode(&tape, b) != nil {
				continue
			}
			if len(tape.tokens) > len(b)+2 {
				t.Fatalf("%s: %d bytes became %d tokens", name, len(b), len(tape.tokens))
			}
			for _, to := range []string{JSON, MsgPack, Protobuf} {
				out, err := convert(name, to, b)
				if err != nil && (to != Protobuf || !errors.Is(err, errTooDeep)) {
					t.Fatalf("%x of %s as %s: %v", b, name, to, err)
				}
				if err == nil && to == JSON && !json.Valid(out) {
					t.Fatalf("%x of %s became %q", b, name, out)
				}
			}
		}
	})
}

// Every message goes through here: nothing may be left for the garbage collector,
// and a large message before it must not be seen in the next.
func TestNoAllocations(t *testing.T) {
	var tape Tape
	out := make([]byte, 0, 4096)
	docs := map[string][]byte{}
	for _, name := range []string{JSON, MsgPack, Protobuf} {
		b, err := convert(JSON, name, []byte(reading))
		if err != nil {
			t.Fatal(err)
		}
		docs[name] = b
	}
	large := []byte(`{"x":["\u00e4",` + strings.Repeat("1,", 1000) + `2]}`)
	if err := (jsonCodec{}).Decode(&tape, large); err != nil {
		t.Fatal(err)
	}
	for from, doc := range docs {
		for to := range docs {
			in, _ := ForName(from)
			codec, _ := ForName(to)
			if n := testing.AllocsPerRun(50, func() {
				if err := in.Decode(&tape, doc); err != nil {
					t.Error(err)
				}
				var err error
				if out, err = codec.Append(out[:0], &tape); err != nil {
					t.Error(err)
				}
			}); n != 0 {
				t.Errorf("%s to %s allocates %v times a message", from, to, n)
			}
			if !bytes.Equal(out, docs[to]) {
				t.Errorf("%s to %s: %q, want %q", from, to, out, docs[to])
			}
		}
	}
}

// A device's payload has the size that was asked for to the byte, in every codec:
// throughput hangs on it. Others must be able to read it.
func TestPaddedSizes(t *testing.T) {
	letters := bytes.Repeat([]byte("abcdefgh"), 20_000)
	var tape Tape
	sizes := []int{}
	for size := range 900 {
		sizes = append(sizes, size)
	}
	for size := 1<<14 - 40; size < 1<<14+400; size++ {
		sizes = append(sizes, size)
	}
	for size := 1<<16 - 10; size < 1<<16+400; size++ {
		sizes = append(sizes, size)
	}
	for _, doc := range []string{`{"bela":"x"}`, reading, `{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1}`} {
		if err := (jsonCodec{}).Decode(&tape, []byte(doc)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{MsgPack, Protobuf} {
			built := 0
			for _, size := range sizes {
				b, err := AppendPadded([]byte("before"), name, &tape, size, letters)
				if err != nil {
					if built > 0 {
						t.Fatalf("%s: %d bytes: %v", name, size, err)
					}
					continue
				}
				built++
				b = b[len("before"):]
				if len(b) != size {
					t.Fatalf("%s: %d bytes, want %d", name, len(b), size)
				}
				got, err := convert(name, JSON, b)
				if err != nil {
					t.Fatalf("%s: %d bytes: %v", name, size, err)
				}
				want := doc[:len(doc)-1] + `,"pad":"`
				if head, tail, _ := strings.Cut(string(got), want); head != "" || !strings.HasPrefix(string(letters)+`"}`, tail[:max(len(tail)-2, 0)]) {
					t.Fatalf("%s: %d bytes hold %.300s", name, size, got)
				}
				if name == MsgPack && size < 900 {
					var m map[string]any
					if err := msgpack.Unmarshal(b, &m); err != nil {
						t.Fatalf("%d bytes: %v", size, err)
					}
				}
			}
			if built < len(sizes)-400 {
				t.Errorf("%s: only %d sizes could be built", name, built)
			}
		}
	}
}

// If this failed, a codec that is meant to move fewer bytes would not.
func TestReadingsShrink(t *testing.T) {
	sizes := map[string]int{}
	for _, name := range []string{JSON, MsgPack, Protobuf} {
		b, err := convert(JSON, name, []byte(reading))
		if err != nil {
			t.Fatal(err)
		}
		sizes[name] = len(b)
	}
	t.Log(sizes)
	if sizes[JSON] != len(reading) {
		t.Errorf("%v: compact JSON keeps the size of %d", sizes, len(reading))
	}
	if 100*sizes[MsgPack] > 85*sizes[JSON] || 100*sizes[Protobuf] > 75*sizes[JSON] {
		t.Errorf("%v: MessagePack saves less than 15 %%, or Protobuf less than 25 %%", sizes)
	}
}

// reading is a device's message without padding: numbers and their names.
const reading = `{"bela":"` + "AQAAAL4aAAAADAAAAAMAAAAHF-R3gUyYAAAX5HeBTJgAAAAAAAA" + `","device":"device-17","sensors":[` +
	`{"name":"temperature","value":21.07,"unit":"C"},{"name":"humidity","value":48.33,"unit":"%"},` +
	`{"name":"pressure","value":1013.25,"unit":"hPa"},{"name":"battery","value":3.65,"unit":"V"}]}`
