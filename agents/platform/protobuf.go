package platform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
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

// protobufWords are the enum Word of document.proto, by number.
var protobufWords = [...]string{
	"", "name", "value", "unit", "device", "customer", "sensors", "seq", "time", "pad",
	"temperature", "humidity", "pressure", "battery", "signal", "co2", "light", "vibration",
}

// maxNesting bounds how deep a document nests in Protobuf, whose own readers
// stop at 100 messages: two a level of a document.
const maxNesting = 32

// protobufCodec turns JSON into the Document of document.proto and back. Fields
// keep their order, duplicates included, and values stay what they are. It is
// for one goroutine.
type protobufCodec struct {
	doc  []byte
	at   int
	text []byte // scratch for one string
}

// encode turns JSON into Protobuf. The result is the caller's.
func (c *protobufCodec) encode(doc []byte) ([]byte, error) {
	if !json.Valid(doc) {
		return nil, errNotJSON
	}
	c.doc, c.at = doc, 0
	return c.nested(make([]byte, 0, len(doc)+len(doc)/4+16), documentValue, func(out []byte) ([]byte, error) {
		return c.writeValue(out, 0)
	})
}

// nested appends a message. Its length, which stands before it, is known after it.
func (c *protobufCodec) nested(out []byte, field protowire.Number, write func([]byte) ([]byte, error)) ([]byte, error) {
	out = protowire.AppendTag(out, field, protowire.BytesType)
	start := len(out)
	out, err := write(out)
	n := len(out) - start
	var length [10]byte
	head := protowire.AppendVarint(length[:0], uint64(n))
	out = append(out, head...)
	copy(out[start+len(head):], out[start:start+n])
	copy(out[start:], head)
	return out, err
}

// space skips what stands between the values of a valid document.
func (c *protobufCodec) space() byte {
	for {
		switch b := c.doc[c.at]; b {
		case ' ', '\t', '\r', '\n', ',', ':':
			c.at++
		default:
			return b
		}
	}
}

// writeValue appends the fields of a Value.
func (c *protobufCodec) writeValue(out []byte, depth int) ([]byte, error) {
	if depth > maxNesting {
		return out, errTooDeep
	}
	switch b := c.space(); b {
	case '{':
		return c.nested(out, valueObject, func(out []byte) ([]byte, error) {
			return c.members('}', out, func(out []byte) ([]byte, error) {
				c.space()
				return c.writeValue(c.writeString(out, valueName, valueKnown, valueWritten), depth+1)
			})
		})
	case '[':
		return c.nested(out, valueList, func(out []byte) ([]byte, error) {
			return c.members(']', out, func(out []byte) ([]byte, error) { return c.writeValue(out, depth+1) })
		})
	case '"':
		return c.writeString(out, valueText, valueWord, valueLiteral), nil
	case 't', 'f':
		c.at += len("true")
		if b == 'f' {
			c.at++
		}
		return protowire.AppendVarint(protowire.AppendTag(out, valueTruth, protowire.VarintType), protowire.EncodeBool(b == 't')), nil
	case 'n':
		c.at += len("null")
		return protowire.AppendBytes(protowire.AppendTag(out, valueNull, protowire.BytesType), nil), nil
	}
	start := c.at
	for c.at < len(c.doc) && isNumber(c.doc[c.at]) {
		c.at++
	}
	return writeProtobufNumber(out, c.doc[start:c.at]), nil
}

// members appends what stands between brackets.
func (c *protobufCodec) members(end byte, out []byte, write func([]byte) ([]byte, error)) ([]byte, error) {
	var err error
	for c.at++; c.space() != end; {
		if out, err = c.nested(out, valuesValues, write); err != nil {
			return out, err
		}
	}
	c.at++
	return out, nil
}

// writeString appends a string: as a word's number, by its characters, or as
// written where it is not Unicode, which Protobuf refuses in a string.
func (c *protobufCodec) writeString(out []byte, text, word, written protowire.Number) []byte {
	lit := c.doc[c.at:stringEnd(c.doc, c.at)]
	c.at += len(lit)
	s, ok := lit[1:len(lit)-1], true
	if bytes.IndexByte(s, '\\') >= 0 {
		c.text, ok = unescape(s, c.text[:0])
		s = c.text
	}
	if !ok || !utf8.Valid(s) {
		return protowire.AppendBytes(protowire.AppendTag(out, written, protowire.BytesType), lit)
	}
	if n := wordNumber(s); n > 0 {
		return protowire.AppendVarint(protowire.AppendTag(out, word, protowire.VarintType), n)
	}
	return protowire.AppendBytes(protowire.AppendTag(out, text, protowire.BytesType), s)
}

// wordNumber is 0 for what is no word of the enum.
func wordNumber(s []byte) uint64 {
	if len(s) < len("pad") || len(s) > len("temperature") {
		return 0
	}
	for i, w := range protobufWords {
		if string(s) == w {
			return uint64(i)
		}
	}
	return 0
}

func writeProtobufNumber(out, lit []byte) []byte {
	switch n := numberOf(lit); n.kind {
	case numberInteger:
		return protowire.AppendVarint(protowire.AppendTag(out, valueInteger, protowire.VarintType), protowire.EncodeZigZag(n.integer))
	case numberLarge:
		return protowire.AppendVarint(protowire.AppendTag(out, valueLarge, protowire.VarintType), n.large)
	case numberSingle:
		return protowire.AppendFixed32(protowire.AppendTag(out, valueSingle, protowire.Fixed32Type), math.Float32bits(float32(n.float)))
	case numberDouble:
		return protowire.AppendFixed64(protowire.AppendTag(out, valueNumber, protowire.Fixed64Type), math.Float64bits(n.float))
	}
	return protowire.AppendBytes(protowire.AppendTag(out, valueLiteral, protowire.BytesType), lit)
}

// decode turns Protobuf into JSON. The result is the caller's.
func (c *protobufCodec) decode(b []byte) ([]byte, error) {
	out := make([]byte, 0, len(b)+len(b)/2+16)
	value, rest, err := consumeMessage(b, documentValue)
	if err == nil && len(rest) > 0 {
		err = errTail
	}
	if err == nil {
		out, err = readProtobuf(out, value, unlabelled, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("payload is no Protobuf document: %w", err)
	}
	return out, nil
}

var (
	errProtobufShape   = errors.New("a field is missing, doubled, unknown or of another type")
	errProtobufLiteral = errors.New("a literal is no JSON")
)

// Whether a value stands in an object, and so has a label.
const (
	labelled   = true
	unlabelled = false
)

// consumeMessage takes one message off the front.
func consumeMessage(b []byte, field protowire.Number) (message, rest []byte, err error) {
	f, rest, err := consumeField(b)
	if err == nil && (f.number != field || f.kind != protowire.BytesType) {
		err = errProtobufShape
	}
	return f.bytes, rest, err
}

// protobufField is one field as it is on the wire.
type protobufField struct {
	number protowire.Number
	kind   protowire.Type
	bits   uint64 // of what is no bytes
	bytes  []byte
}

func consumeField(b []byte) (f protobufField, rest []byte, err error) {
	number, kind, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	f, b = protobufField{number: number, kind: kind}, b[n:]
	switch kind {
	case protowire.VarintType:
		f.bits, n = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(b)
		f.bits = uint64(v)
	case protowire.Fixed64Type:
		f.bits, n = protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(b)
	default:
		return f, nil, errProtobufShape
	}
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	return f, b[n:], nil
}

// readProtobuf appends a Value, and before it its name where it stands in an object.
func readProtobuf(out, b []byte, inObject bool, depth int) ([]byte, error) {
	if depth > maxNesting {
		return out, errTooDeep
	}
	var label, kind protobufField
	for len(b) > 0 {
		f, rest, err := consumeField(b)
		if err != nil {
			return out, err
		}
		to := &kind
		if f.number <= valueWritten {
			to = &label
		}
		if to.number != 0 {
			return out, errProtobufShape
		}
		*to, b = f, rest
	}
	if inObject {
		var err error
		if out, err = readProtobufLabel(out, label); err != nil {
			return out, err
		}
		out = append(out, ':')
	} else if label.number != 0 {
		return out, errProtobufShape
	}
	return readProtobufKind(out, kind, depth)
}

// readProtobufLabel appends a field's name. Others may leave out one that is empty.
func readProtobufLabel(out []byte, f protobufField) ([]byte, error) {
	switch {
	case f.number == 0, f.number == valueName && f.kind == protowire.BytesType:
		return appendQuoted(out, f.bytes), nil
	case f.number == valueKnown && f.kind == protowire.VarintType:
		return appendWord(out, f.bits)
	case f.number == valueWritten && f.kind == protowire.BytesType:
		if !json.Valid(f.bytes) || f.bytes[0] != '"' {
			return out, errProtobufLiteral
		}
		return append(out, f.bytes...), nil
	}
	return out, errProtobufShape
}

func appendWord(out []byte, n uint64) ([]byte, error) {
	if n == 0 || n >= uint64(len(protobufWords)) {
		return out, fmt.Errorf("word %d is not known", n)
	}
	out = append(out, '"')
	out = append(out, protobufWords[n]...)
	return append(out, '"'), nil
}

// readProtobufKind appends the value itself.
func readProtobufKind(out []byte, f protobufField, depth int) ([]byte, error) {
	switch f.kind {
	case protowire.VarintType:
		switch f.number {
		case valueWord:
			return appendWord(out, f.bits)
		case valueInteger:
			return strconv.AppendInt(out, protowire.DecodeZigZag(f.bits), 10), nil
		case valueLarge:
			return strconv.AppendUint(out, f.bits, 10), nil
		case valueTruth:
			return strconv.AppendBool(out, protowire.DecodeBool(f.bits)), nil
		}
	case protowire.Fixed32Type:
		if f.number == valueSingle {
			return appendFloat(out, float64(math.Float32frombits(uint32(f.bits))), 32)
		}
	case protowire.Fixed64Type:
		if f.number == valueNumber {
			return appendFloat(out, math.Float64frombits(f.bits), 64)
		}
	case protowire.BytesType:
		return readProtobufBytes(out, f, depth)
	}
	return out, errProtobufShape
}

func readProtobufBytes(out []byte, f protobufField, depth int) ([]byte, error) {
	switch f.number {
	case valueText:
		return appendQuoted(out, f.bytes), nil
	case valueObject:
		return readProtobufMembers(append(out, '{'), f.bytes, labelled, '}', depth)
	case valueList:
		return readProtobufMembers(append(out, '['), f.bytes, unlabelled, ']', depth)
	case valueLiteral:
		if !json.Valid(f.bytes) {
			return out, errProtobufLiteral
		}
		return append(out, f.bytes...), nil
	case valueNull:
		if len(f.bytes) == 0 {
			return append(out, "null"...), nil
		}
	}
	return out, errProtobufShape
}

func readProtobufMembers(out, b []byte, inObject bool, end byte, depth int) ([]byte, error) {
	for first := true; len(b) > 0; first = false {
		value, rest, err := consumeMessage(b, valuesValues)
		if err != nil {
			return out, err
		}
		if !first {
			out = append(out, ',')
		}
		if out, err = readProtobuf(out, value, inObject, depth+1); err != nil {
			return out, err
		}
		b = rest
	}
	return append(out, end), nil
}

// appendFloat appends the shortest decimal that is the same float of so many bits.
func appendFloat(out []byte, v float64, bits int) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return out, errors.New("number without a JSON form")
	}
	return strconv.AppendFloat(out, v, 'g', -1, bits), nil
}
