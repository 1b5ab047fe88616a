package platform

import (
	"bytes"
	"encoding/json"
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
		{"zeros", `[0.0,-0,0e9]`, `[0,-0,0]`},
		{"escapes", `["\u00fc\n\/\u0001\ud83d\ude00"]`, `["ü\n/\u0001😀"]`},
		{"half of a surrogate pair has no character: kept as written", `["\ud800 x"]`, `["\ud800 x"]`},
		{"long strings", `["` + strings.Repeat("x", 70_000) + `","` + strings.Repeat("y", 300) + `"]`,
			`["` + strings.Repeat("x", 70_000) + `","` + strings.Repeat("y", 300) + `"]`},
		{"many fields", `[` + strings.Repeat("1,", 99_999) + `1]`, `[` + strings.Repeat("1,", 99_999) + `1]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range []codec{newMsgPackCodec(), &protobufCodec{}} {
				b, err := c.encode([]byte(tt.in))
				if err != nil {
					t.Fatalf("%T: %v", c, err)
				}
				got, err := c.decode(b)
				if err != nil || string(got) != tt.out {
					t.Errorf("%T: %.200s, %v; want %.200s", c, got, err, tt.out)
				}
			}
		})
	}
}

// If this failed, MessagePack of bela's could not be read by anybody else, and
// would be no measure of MessagePack.
func TestMessagePackIsStandard(t *testing.T) {
	b, err := newMsgPackCodec().encode([]byte(`{"bela":"x","n":[1,-2.5,null,true],"s":"ü"}`))
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
	deep := strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)
	for _, c := range []codec{jsonCodec{}, newMsgPackCodec(), &protobufCodec{}} {
		for _, in := range []string{"", "x", `{"a":}`, `{} {}`, "\xff", `{"a":1`} {
			if b, err := c.encode([]byte(in)); err == nil {
				t.Errorf("%T takes %q as %q", c, in, b)
			}
		}
	}
	c := newMsgPackCodec()
	if _, err := c.encode([]byte(deep)); err == nil {
		t.Error("a document that nests too deep")
	}
	for _, in := range []string{
		"", "\xc1", "\x81\x01\x01", "\x92\x01", "\xc0\xc0", "\xdf\xff\xff\xff\xff", "\xdb\xff\xff\xff\xffx",
		"\xc4\x01x", "\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "\xd4\x05x", "\xd4\x01\"", "\xd6\x02true",
		strings.Repeat("\x91", maxDepth+1) + "\xc0",
	} {
		if b, err := c.decode([]byte(in)); err == nil {
			t.Errorf("takes %.20q as %.100q", in, b)
		}
	}
}

// tokens is a document's meaning: its tokens in order, numbers by value, strings
// by characters.
func tokens(t *testing.T, doc []byte) []any {
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
		`12345678901234567890123`, `1E-7`, `0.000001`, `100000000000000000000000`, "\"\xff\"", `[1.0,1e2]`, `0E00000`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		checkRoundTrip(t, newMsgPackCodec(), doc, maxDepth)
		checkRoundTrip(t, &protobufCodec{}, doc, maxNesting)
	})
}

func checkRoundTrip(t *testing.T, c codec, doc []byte, depth int) {
	t.Helper()
	b, err := c.encode(doc)
	if err != nil {
		if json.Valid(doc) && bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) < depth {
			t.Fatalf("%T refused %q: %v", c, doc, err)
		}
		return
	}
	got, err := c.decode(b)
	if err != nil {
		t.Fatalf("%T: %q came back as %v", c, doc, err)
	}
	if utf8.Valid(doc) != utf8.Valid(got) {
		t.Fatalf("%T: %q became %q", c, doc, got)
	}
	was, is := tokens(t, doc), tokens(t, got)
	if len(was) != len(is) {
		t.Fatalf("%T: %q became %q", c, doc, got)
	}
	for i := range was {
		if was[i] != is[i] {
			t.Fatalf("%T: %v became %v in %q", c, was[i], is[i], got)
		}
	}
}

// FuzzMessagePackDecode feeds what a stranger may put into the stream.
func FuzzMessagePackDecode(f *testing.F) {
	for _, s := range []string{"\x81\xa1a\x01", "\xdd\xff\xff\xff\xff", "\xc7\x03\x01123", "\x92\xca\x00\x00\x00\x00\xd3\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := newMsgPackCodec().decode(b)
		if err == nil && !json.Valid(doc) {
			t.Fatalf("%x became %q", b, doc)
		}
	})
}

// FuzzProtobufDecode feeds what a stranger may put into the stream.
func FuzzProtobufDecode(f *testing.F) {
	for _, s := range []string{"\x0a\x02\x30\x02", "\x0a\x02\x72\x00", "\x0a\x04\x5a\x02\x0a\x00", "\x0a\xff\xff\xff\xff\x0f"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := (&protobufCodec{}).decode(b)
		if err == nil && !json.Valid(doc) {
			t.Fatalf("%x became %q", b, doc)
		}
	})
}
