package platform

import (
	"slices"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// What document.proto says is what is on the wire. If this failed, nobody else
// could read the messages, and the codec would be no measure of Protobuf.
func TestProtobufIsAsDeclared(t *testing.T) {
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := compiler.Compile(t.Context(), "document.proto")
	if err != nil {
		t.Fatal(err)
	}
	words := files[0].Enums().ByName("Word").Values()
	for i, w := range protobufWords[1:] {
		if d := words.ByNumber(protoreflect.EnumNumber(i + 1)); d == nil || string(d.Name()) != w {
			t.Errorf("word %d is %q here and %v there", i+1, w, d)
		}
	}
	if words.Len() != len(protobufWords) {
		t.Errorf("%d words are declared, %d known", words.Len(), len(protobufWords))
	}
	message := func() *dynamicpb.Message {
		return dynamicpb.NewMessage(files[0].Messages().ByName("Document"))
	}
	for _, tt := range []struct{ name, doc, want string }{
		{"a reading", `{"name":"temperature","value":21.07,"on":true,"seq":7,"none":null}`,
			`{"value":{"object":{"values":[{"known":"name","word":"temperature"},{"known":"value","single":21.07},
			{"name":"on","truth":true},{"known":"seq","integer":"7"},{"name":"none","null":{}}]}}}`},
		{"numbers of every kind", `[-3,18446744073709551615,0.5,1234567.25,1e400]`,
			`{"value":{"list":{"values":[{"integer":"-3"},{"large":"18446744073709551615"},{"single":0.5},{"number":1234567.25},{"literal":"MWU0MDA="}]}}}`},
		{"nested and empty", `{"a":{"b":[[],{}]},"":""}`,
			`{"value":{"object":{"values":[{"name":"a","object":{"values":[{"name":"b","list":{"values":[{"list":{}},{"object":{}}]}}]}},{"name":"","text":""}]}}}`},
		{"a name without characters", `{"\ud800":false}`,
			`{"value":{"object":{"values":[{"written":"Ilx1ZDgwMCI=","truth":false}]}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := (&protobufCodec{}).encode([]byte(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			got, want := message(), message()
			if err := proto.Unmarshal(b, got); err != nil {
				t.Fatal(err)
			}
			if len(got.GetUnknown()) > 0 {
				t.Errorf("unknown fields: %x", got.GetUnknown())
			}
			if err := protojson.Unmarshal([]byte(tt.want), want); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			// And what others encode can be read.
			theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := (&protobufCodec{}).decode(theirs)
			if err != nil || !slices.Equal(tokens(t, doc), tokens(t, []byte(tt.doc))) {
				t.Errorf("theirs came back as %s, %v", doc, err)
			}
		})
	}
}

// If this failed, a foreign payload would pass for a message, or bring a hop down.
func TestProtobufRefuses(t *testing.T) {
	deep := strings.Repeat("[", maxNesting+2) + strings.Repeat("]", maxNesting+2)
	if _, err := (&protobufCodec{}).encode([]byte(deep)); err == nil {
		t.Error("a document that nests too deep")
	}
	for _, in := range []string{
		"", "x", "\x0a", "\x0a\x05", "\x0a\x00", // nothing, and less than was said
		"\x0a\x02\x30", "\x0a\x02\x30\x02tail", "\x0a\x04\x30\x02\x30\x02", // an integer cut off, with a tail, twice
		"\x0a\x04\x10\x01\x30\x02", "\x0a\x02\x28\x63", "\x0a\x02\x78\x01", // a name outside an object, an unknown word, an unknown field
		"\x0a\x03\x6a\x01{", "\x0a\x05\x45\x00\x00\x80\x7f", "\x0a\x03\x72\x01x", // no JSON, infinity, a null with something in it
	} {
		if b, err := (&protobufCodec{}).decode([]byte(in)); err == nil {
			t.Errorf("takes %q as %q", in, b)
		}
	}
}

// reading is a device's message without padding: numbers and their names.
const reading = `{"bela":"` + "AQAAAL4aAAAADAAAAAMAAAAHF-R3gUyYAAAX5HeBTJgAAAAAAAA" + `","device":"device-17","sensors":[` +
	`{"name":"temperature","value":21.07,"unit":"C"},{"name":"humidity","value":48.33,"unit":"%"},` +
	`{"name":"pressure","value":1013.25,"unit":"hPa"},{"name":"battery","value":3.65,"unit":"V"}]}`

// If this failed, a codec that is meant to move fewer bytes would not.
func TestReadingsShrink(t *testing.T) {
	sizes := map[string]int{}
	for _, name := range []string{CodecJSON, CodecMsgPack, CodecProtobuf, CodecRaw} {
		b, err := newCodec(name).encode([]byte(reading))
		if err != nil {
			t.Fatal(err)
		}
		sizes[name] = len(b)
	}
	t.Log(sizes)
	if sizes[CodecRaw] != len(reading) || sizes[CodecJSON] != len(reading) {
		t.Errorf("%v: json and raw keep the size of %d", sizes, len(reading))
	}
	if 100*sizes[CodecMsgPack] > 85*sizes[CodecJSON] || 100*sizes[CodecProtobuf] > 75*sizes[CodecJSON] {
		t.Errorf("%v: MessagePack saves less than 15 %%, or Protobuf less than 25 %%", sizes)
	}
}

func BenchmarkCodecs(b *testing.B) {
	for kind, doc := range map[string][]byte{
		"reading": []byte(reading),
		"1KiB":    []byte(reading[:len(reading)-1] + `,"pad":"` + strings.Repeat("x", 1024-len(reading)-9) + `"}`),
	} {
		for _, name := range []string{CodecJSON, CodecMsgPack, CodecProtobuf, CodecRaw} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				c := newCodec(name)
				b.SetBytes(int64(len(doc)))
				b.ReportAllocs()
				size := 0
				for b.Loop() {
					m, err := c.encode(doc)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := c.decode(m); err != nil {
						b.Fatal(err)
					}
					size = len(m)
				}
				b.ReportMetric(float64(size), "encoded-B")
			})
		}
	}
}
