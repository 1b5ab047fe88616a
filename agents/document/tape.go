// Package document takes a message apart and puts it together again. Every
// codec works on the same model, a Tape: decoding reads a message's bytes into
// it, encoding writes bytes from it. So what a codec costs is what its own form
// costs, and none of them sees more or less of a message than the others.
//
// The package knows nothing of envelopes, devices or hops.
package document

import (
	"errors"
	"fmt"
	"math"
)

// The codecs' names.
const (
	JSON     = "json"
	MsgPack  = "msgpack"
	Protobuf = "protobuf" // document.proto
	Raw      = "raw"      // bytes as they are: no document
)

// Names are the names of all codecs.
func Names() []string { return []string{JSON, MsgPack, Protobuf, Raw} }

// maxDepth bounds how deep a document nests.
const maxDepth = 1000

var (
	errTooDeep = errors.New("document nests too deep")
	errTail    = errors.New("bytes after the document")
	errCut     = errors.New("it ends too early")
	errTooLong = errors.New("it is longer than a document may be")
)

// Codec is one form of documents. It holds no state.
type Codec interface {
	// Decode reads the document that b is. The tape refers to b until it is
	// decoded into again.
	Decode(t *Tape, b []byte) error
	// Append appends the tape's document to dst.
	Append(dst []byte, t *Tape) ([]byte, error)
}

// ForName is the codec of that name. Raw has none: there is no document in it.
func ForName(name string) (Codec, error) {
	switch name {
	case JSON:
		return jsonCodec{}, nil
	case MsgPack:
		return msgPackCodec{}, nil
	case Protobuf:
		return protobufCodec{}, nil
	}
	return nil, fmt.Errorf("codec %q has no documents: want json, msgpack or protobuf", name)
}

// Tape is one document as a row of tokens: what begins, what ends, and the
// values between, in their order. Strings lie in the message that was decoded;
// only those with escapes are copied. A tape that is used again allocates
// nothing, and grows to what the largest message needed. It is for one goroutine.
type Tape struct {
	source []byte
	text   []byte // strings that stand in the source in another form
	tokens []token
	open   []frame // what the decoder stands in
}

// kind is what a token is.
type kind uint8

const (
	kindObject    kind = iota // and how many fields it has
	kindObjectEnd             //
	kindArray                 // and how many members it has
	kindArrayEnd
	kindName        // of a field: characters
	kindNameWritten // the same where it has no characters: a JSON string as written
	kindText
	kindTextWritten
	kindInteger // an int64
	kindLarge   // a uint64 beyond it
	kindSingle  // a float64 that a float32 prints the same decimal as
	kindDouble  // a float64
	kindWritten // a number that none of these holds: JSON as written
	kindTrue
	kindFalse
	kindNull
)

// token is one step of a document. bits are a number, a count, or where a
// string's bytes lie: their offset, and in the low half their length.
type token struct {
	bits   uint64
	kind   kind
	inText bool // they lie in Tape.text
}

// frame is an object or array that the decoder has not seen the end of.
type frame struct {
	token  int // where it begins on the tape
	left   int // names and values to come, where their number stands before them
	object bool
}

// reset begins another document.
func (t *Tape) reset(source []byte) error {
	if len(source) > math.MaxInt32 {
		return errTooLong
	}
	t.source, t.text, t.tokens, t.open = source, t.text[:0], t.tokens[:0], t.open[:0]
	return nil
}

func (t *Tape) add(k kind, bits uint64) { t.tokens = append(t.tokens, token{bits: bits, kind: k}) }

// addBytes adds a string that stands in the source.
func (t *Tape) addBytes(k kind, from, to int) { t.add(k, uint64(from)<<32|uint64(to-from)) }

// addText adds a string that was appended to t.text, from an offset on.
func (t *Tape) addText(k kind, from int) {
	t.tokens = append(t.tokens, token{uint64(from)<<32 | uint64(len(t.text)-from), k, true})
}

// bytes are a string's.
func (t *Tape) bytes(k token) []byte {
	from, n := k.bits>>32, k.bits&math.MaxUint32
	if k.inText {
		return t.text[from : from+n]
	}
	return t.source[from : from+n]
}

// begin adds the beginning of an object or array with so many members, which the
// decoder need not know yet.
func (t *Tape) begin(object bool, members int) error {
	if len(t.open) >= maxDepth {
		return errTooDeep
	}
	k, left := kindArray, members
	if object {
		k, left = kindObject, 2*members
	}
	t.open = append(t.open, frame{token: len(t.tokens), left: left, object: object})
	t.add(k, uint64(members))
	return nil
}

// end adds the end of what was begun last.
func (t *Tape) end() {
	k := kindArrayEnd
	if t.open[len(t.open)-1].object {
		k = kindObjectEnd
	}
	t.open = t.open[:len(t.open)-1]
	t.add(k, 0)
}
