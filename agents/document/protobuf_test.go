package document

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
		if n := wordNumber([]byte(w)); int(n) != i+1 {
			t.Errorf("%q is word %d, want %d", w, n, i+1)
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
			b, err := convert(JSON, Protobuf, []byte(tt.doc))
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
			doc, err := convert(Protobuf, JSON, theirs)
			if err != nil || !slices.Equal(meaning(t, doc), meaning(t, []byte(tt.doc))) {
				t.Errorf("theirs came back as %s, %v", doc, err)
			}
		})
	}
}

// A padded message, whose lengths may take a byte more than they need, must be read
// by others as well.
func TestOthersReadPaddedProtobuf(t *testing.T) {
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := compiler.Compile(t.Context(), "document.proto")
	if err != nil {
		t.Fatal(err)
	}
	var tape Tape
	if err := (jsonCodec{}).Decode(&tape, []byte(`{"bela":"x","n":1}`)); err != nil {
		t.Fatal(err)
	}
	letters := []byte(strings.Repeat("x", 20_000))
	for _, size := range []int{100, 129, 130, 131, 132, 133, 134, 135, 140, 300, 16386, 16387, 16388, 16389, 16390, 16391, 16392, 16400} {
		b, err := AppendPadded(nil, Protobuf, &tape, size, letters)
		if err != nil || len(b) != size {
			t.Fatalf("%d bytes, %v; want %d", len(b), err, size)
		}
		m := dynamicpb.NewMessage(files[0].Messages().ByName("Document"))
		if err := proto.Unmarshal(b, m); err != nil || len(m.GetUnknown()) > 0 {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// If this failed, a foreign payload would pass for a message, or bring a hop down.
func TestProtobufRefuses(t *testing.T) {
	deep := strings.Repeat("[", maxNesting+2) + strings.Repeat("]", maxNesting+2)
	if _, err := convert(JSON, Protobuf, []byte(deep)); err == nil {
		t.Error("a document that nests too deep")
	}
	for _, in := range []string{
		"", "x", "\x0a", "\x0a\x05", "\x0a\x00", // nothing, and less than was said
		"\x0a\x02\x30", "\x0a\x02\x30\x02tail", "\x0a\x04\x30\x02\x30\x02", // an integer cut off, with a tail, twice
		"\x0a\x04\x10\x01\x30\x02", "\x0a\x02\x28\x63", "\x0a\x02\x78\x01", // a name outside an object, an unknown word, an unknown field
		"\x0a\x03\x6a\x01{", "\x0a\x05\x45\x00\x00\x80\x7f", "\x0a\x03\x72\x01x", // no JSON, infinity, a null with something in it
	} {
		if b, err := convert(Protobuf, JSON, []byte(in)); err == nil {
			t.Errorf("takes %q as %q", in, b)
		}
	}
}
