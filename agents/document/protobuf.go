package document

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The field numbers of document.proto.
const (
	documentValue = 1

	valueName    = 1
	valueKnown   = 2
	valueWritten = 3
	valueText    = 4
	valueWord    = 5
	valueInteger = 6
	valueLarge   = 7
	valueSingle  = 8
	valueNumber  = 9
	valueTruth   = 10
	valueObject  = 11
	valueList    = 12
	valueLiteral = 13
	valueNull    = 14

	valuesValues = 1
)

// protobufWords are the enum Word of document.proto, by number. Read only.
var protobufWords = [...]string{
	"", "name", "value", "unit", "device", "customer", "sensors", "seq", "time", "pad",
	"temperature", "humidity", "pressure", "battery", "signal", "co2", "light", "vibration",
}

// wordNumber is a word's number in the enum, 0 for what is none.
func wordNumber(s []byte) byte {
	if len(s) < len("pad") || len(s) > len("temperature") {
		return 0
	}
	switch string(s) {
	case "name":
		return 1
	case "value":
		return 2
	case "unit":
		return 3
	case "device":
		return 4
	case "customer":
		return 5
	case "sensors":
		return 6
	case "seq":
		return 7
	case "time":
		return 8
	case "pad":
		return wordPad
	case "temperature":
		return 10
	case "humidity":
		return 11
	case "pressure":
		return 12
	case "battery":
		return 13
	case "signal":
		return 14
	case "co2":
		return 15
	case "light":
		return 16
	case "vibration":
		return 17
	}
	return 0
}

const wordPad = 9

// maxNesting bounds how deep a document nests in Protobuf, whose own readers
// stop at 100 messages: two a level of a document.
const maxNesting = 32

// protobufCodec reads and writes the Document of document.proto.
type protobufCodec struct{}

// tag is a field's key. All of document.proto's take one byte.
func tag(field, wire byte) byte { return field<<3 | wire }

const (
	wireVarint = byte(protowire.VarintType)
	wire64     = byte(protowire.Fixed64Type)
	wireBytes  = byte(protowire.BytesType)
	wire32     = byte(protowire.Fixed32Type)
)

// Append implements Codec.
func (protobufCodec) Append(out []byte, t *Tape) ([]byte, error) {
	w := protobufWriter{t: t}
	out, start := beginMessage(out, documentValue)
	out, err := w.value(out, 0)
	return endMessage(out, start), err
}

// beginMessage appends a message's key and room for a short length.
func beginMessage(out []byte, field byte) ([]byte, int) {
	out = append(out, tag(field, wireBytes), 0)
	return out, len(out)
}

// endMessage puts the length before what stands from start on.
func endMessage(out []byte, start int) []byte {
	n := len(out) - start
	if n < 1<<7 {
		out[start-1] = byte(n)
		return out
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	out = append(out, make([]byte, more)...)
	copy(out[start+more:], out[start:start+n])
	protowire.AppendVarint(out[:start-1], uint64(n))
	return out
}

// protobufWriter goes along a tape.
type protobufWriter struct {
	t  *Tape
	at int // the next token
}

// value appends the fields of a Value: what it is.
func (w *protobufWriter) value(out []byte, depth int) ([]byte, error) {
	if depth > maxNesting {
		return out, errTooDeep
	}
	k := w.t.tokens[w.at]
	w.at++
	switch k.kind {
	case kindObject, kindArray:
		field := byte(valueObject)
		if k.kind == kindArray {
			field = valueList
		}
		out, start := beginMessage(out, field)
		out, err := w.members(out, depth)
		w.at++ // its end
		return endMessage(out, start), err
	case kindText, kindTextWritten:
		return w.text(out, k, valueText, valueWord, valueLiteral), nil
	case kindWritten:
		return protowire.AppendBytes(append(out, tag(valueLiteral, wireBytes)), w.t.bytes(k)), nil
	case kindInteger:
		return protowire.AppendVarint(append(out, tag(valueInteger, wireVarint)), protowire.EncodeZigZag(int64(k.bits))), nil
	case kindLarge:
		return protowire.AppendVarint(append(out, tag(valueLarge, wireVarint)), k.bits), nil
	case kindSingle:
		return protowire.AppendFixed32(append(out, tag(valueSingle, wire32)), math.Float32bits(float32(math.Float64frombits(k.bits)))), nil
	case kindDouble:
		return protowire.AppendFixed64(append(out, tag(valueNumber, wire64)), k.bits), nil
	case kindTrue:
		return append(out, tag(valueTruth, wireVarint), 1), nil
	case kindFalse:
		return append(out, tag(valueTruth, wireVarint), 0), nil
	}
	return append(out, tag(valueNull, wireBytes), 0), nil
}

// members appends the Values of an object or array, up to its end.
func (w *protobufWriter) members(out []byte, depth int) ([]byte, error) {
	for {
		k := w.t.tokens[w.at]
		if k.kind == kindObjectEnd || k.kind == kindArrayEnd {
			return out, nil
		}
		var start int
		out, start = beginMessage(out, valuesValues)
		if k.kind == kindName || k.kind == kindNameWritten {
			out = w.text(out, k, valueName, valueKnown, valueWritten)
			w.at++
		}
		var err error
		if out, err = w.value(out, depth+1); err != nil {
			return out, err
		}
		out = endMessage(out, start)
	}
}

// text appends a string: as a word's number, by its characters, or as JSON where
// it is not Unicode, which Protobuf refuses in a string.
func (w *protobufWriter) text(out []byte, k token, text, word, asWritten byte) []byte {
	s := w.t.bytes(k)
	if k.kind == kindTextWritten || k.kind == kindNameWritten {
		return protowire.AppendBytes(append(out, tag(asWritten, wireBytes)), s)
	}
	if n := wordNumber(s); n > 0 {
		return append(out, tag(word, wireVarint), n)
	}
	if !utf8.Valid(s) {
		out = append(out, tag(asWritten, wireBytes), 0)
		start := len(out)
		return endMessage(appendQuoted(out, s), start)
	}
	return protowire.AppendBytes(append(out, tag(text, wireBytes)), s)
}

var (
	errProtobufShape   = errors.New("payload is no Protobuf document: a field is missing, doubled, unknown or of another type")
	errProtobufLiteral = errors.New("payload is no Protobuf document: a literal is no JSON")
	errProtobufWord    = errors.New("payload is no Protobuf document: a word is not known")
	errProtobufCut     = fmt.Errorf("payload is no Protobuf document: %w", errCut)
	errProtobufNumber  = errors.New("payload is no Protobuf document: a number without a JSON form")
)

// Decode implements Codec.
func (protobufCodec) Decode(t *Tape, b []byte) error {
	if err := t.reset(b); err != nil {
		return err
	}
	value, next, err := field(b, 0, len(b))
	switch {
	case err != nil:
		return err
	case value.key != tag(documentValue, wireBytes):
		return errProtobufShape
	case next < len(b):
		return errTail
	}
	return t.readValue(b, value, false, 0)
}

// wireField is one field as it is on the wire: its key, which of document.proto's
// fields always fits a byte, and its bits, or where its bytes lie.
type wireField struct {
	key      byte // 0 for none
	bits     uint64
	from, to int
}

// field reads the field at i, and returns the index after it.
func field(b []byte, i, end int) (f wireField, next int, err error) {
	key, i := varint(b, i, end)
	if i < 0 {
		return f, i, errProtobufCut
	}
	if key > math.MaxUint8 || key>>3 == 0 {
		return f, i, errProtobufShape
	}
	f.key = byte(key)
	switch f.key & 7 {
	case wireVarint:
		f.bits, i = varint(b, i, end)
	case wire32:
		if i += 4; i <= end {
			f.bits = uint64(binary.LittleEndian.Uint32(b[i-4:]))
		}
	case wire64:
		if i += 8; i <= end {
			f.bits = binary.LittleEndian.Uint64(b[i-8:])
		}
	case wireBytes:
		var n uint64
		if n, i = varint(b, i, end); i < 0 || n > uint64(end-i) {
			return f, i, errProtobufCut
		}
		f.from, f.to = i, i+int(n)
		i = f.to
	default:
		return f, i, errProtobufShape
	}
	if i < 0 || i > end {
		return f, i, errProtobufCut
	}
	return f, i, nil
}

// varint reads the varint at i, and returns the index after it, negative where
// there is none.
func varint(b []byte, i, end int) (uint64, int) {
	if i < end && b[i] < 1<<7 {
		return uint64(b[i]), i + 1
	}
	v, n := protowire.ConsumeVarint(b[min(i, end):end])
	if n < 0 {
		return 0, -1
	}
	return v, i + n
}

// readValue reads a Value, and before it its name where it stands in an object.
func (t *Tape) readValue(b []byte, message wireField, inObject bool, depth int) error {
	if depth > maxNesting {
		return errTooDeep
	}
	var label, value wireField
	for i := message.from; i < message.to; {
		f, next, err := field(b, i, message.to)
		if err != nil {
			return err
		}
		which := &value
		if f.key < tag(valueText, 0) {
			which = &label
		}
		if which.key != 0 {
			return errProtobufShape
		}
		*which, i = f, next
	}
	switch {
	case inObject:
		if err := t.readLabel(b, label); err != nil {
			return err
		}
	case label.key != 0:
		return errProtobufShape
	}
	return t.readKind(b, value, depth)
}

// readLabel reads a field's name. Others may leave out one that is empty.
func (t *Tape) readLabel(b []byte, f wireField) error {
	switch f.key {
	case 0, tag(valueName, wireBytes):
		t.addBytes(kindName, f.from, f.to)
		return nil
	case tag(valueKnown, wireVarint):
		return t.addWord(kindName, f.bits)
	case tag(valueWritten, wireBytes):
		return t.readWritten(b, f, kindName, kindNameWritten)
	}
	return errProtobufShape
}

func (t *Tape) addWord(k kind, n uint64) error {
	if n == 0 || n >= uint64(len(protobufWords)) {
		return errProtobufWord
	}
	from := len(t.text)
	t.text = append(t.text, protobufWords[n]...)
	t.addText(k, from)
	return nil
}

// readWritten reads a JSON string as written.
func (t *Tape) readWritten(b []byte, f wireField, k, asWritten kind) error {
	if f.from == f.to || b[f.from] != '"' || t.jsonString(b[:f.to], f.from, k, asWritten) != f.to {
		return errProtobufLiteral
	}
	return nil
}

// readKind reads the value itself.
func (t *Tape) readKind(b []byte, f wireField, depth int) error {
	ok := true
	switch f.key {
	case tag(valueText, wireBytes):
		t.addBytes(kindText, f.from, f.to)
	case tag(valueWord, wireVarint):
		return t.addWord(kindText, f.bits)
	case tag(valueInteger, wireVarint):
		t.add(kindInteger, uint64(protowire.DecodeZigZag(f.bits)))
	case tag(valueLarge, wireVarint):
		t.addUnsigned(f.bits)
	case tag(valueSingle, wire32):
		ok = t.addBinary(kindSingle, float64(math.Float32frombits(uint32(f.bits))))
	case tag(valueNumber, wire64):
		ok = t.addBinary(kindDouble, math.Float64frombits(f.bits))
	case tag(valueTruth, wireVarint):
		k := kindFalse
		if protowire.DecodeBool(f.bits) {
			k = kindTrue
		}
		t.add(k, 0)
	case tag(valueObject, wireBytes):
		return t.readMembers(b, f, true, depth)
	case tag(valueList, wireBytes):
		return t.readMembers(b, f, false, depth)
	case tag(valueLiteral, wireBytes):
		return t.readLiteral(b, f)
	case tag(valueNull, wireBytes):
		if f.from != f.to {
			return errProtobufShape
		}
		t.add(kindNull, 0)
	default:
		return errProtobufShape
	}
	if !ok {
		return errProtobufNumber
	}
	return nil
}

// readLiteral reads a JSON literal as written.
func (t *Tape) readLiteral(b []byte, f wireField) error {
	if f.from < f.to && b[f.from] == '"' {
		return t.readWritten(b, f, kindText, kindTextWritten)
	}
	if t.jsonNumber(b[:f.to], f.from) != f.to {
		return errProtobufLiteral
	}
	return nil
}

func (t *Tape) readMembers(b []byte, f wireField, object bool, depth int) error {
	begin := len(t.tokens)
	if err := t.begin(object, 0); err != nil {
		return err
	}
	for i := f.from; i < f.to; {
		value, next, err := field(b, i, f.to)
		if err != nil {
			return err
		}
		if value.key != tag(valuesValues, wireBytes) {
			return errProtobufShape
		}
		if err := t.readValue(b, value, object, depth+1); err != nil {
			return err
		}
		t.tokens[begin].bits++
		i = next
	}
	t.end()
	return nil
}
