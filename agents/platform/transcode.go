package platform

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

const (
	// maxDepth bounds how deep a document nests.
	maxDepth = 1000
	// extNumber and extString mark a JSON literal, kept as it stands, that
	// MessagePack's own types would change: a number that no float64 holds, a
	// string that is not Unicode.
	extNumber = 1
	extString = 2
)

var (
	errTooDeep = errors.New("document nests too deep")
	errTail    = errors.New("bytes after the document")
)

// jsonCodec forwards a document as it is, once it has been parsed.
type jsonCodec struct{}

func (jsonCodec) encode(doc []byte) ([]byte, error) {
	if !json.Valid(doc) {
		return nil, errNotJSON
	}
	return doc, nil
}

func (c jsonCodec) decode(b []byte) ([]byte, error) { return c.encode(b) }

// rawCodec forwards bytes as they are and looks at nothing: what a platform costs
// that does not parse.
type rawCodec struct{}

func (rawCodec) encode(doc []byte) ([]byte, error) { return doc, nil }
func (rawCodec) decode(b []byte) ([]byte, error)   { return b, nil }

// msgPackCodec turns JSON into MessagePack and back. Fields keep their order,
// duplicates included, and values stay what they are. It is for one goroutine.
type msgPackCodec struct {
	out     bytes.Buffer
	enc     *msgpack.Encoder
	in      bytes.Reader
	dec     *msgpack.Decoder
	lengths []int  // of the objects and arrays, in the order of their beginnings
	text    []byte // scratch for one string
}

func newMsgPackCodec() *msgPackCodec {
	c := &msgPackCodec{}
	c.enc = msgpack.NewEncoder(&c.out)
	c.dec = msgpack.NewDecoder(&c.in)
	return c
}

// encode turns JSON into MessagePack. The result is the caller's.
func (c *msgPackCodec) encode(doc []byte) ([]byte, error) {
	if !json.Valid(doc) {
		return nil, errNotJSON
	}
	var err error
	if c.lengths, err = lengths(doc, c.lengths[:0]); err != nil {
		return nil, err
	}
	c.out.Reset()
	c.out.Grow(len(doc))
	if err := c.writeAll(doc); err != nil {
		return nil, err
	}
	return bytes.Clone(c.out.Bytes()), nil
}

// lengths counts the members of every object and array of a valid document, in
// the order in which they begin: MessagePack wants lengths first.
func lengths(doc []byte, to []int) ([]int, error) {
	var open []int // indexes into to
	empty := true  // nothing seen since the last opening
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case ' ', '\t', '\r', '\n', ':':
			continue
		case '{', '[':
			if len(open) >= maxDepth {
				return nil, errTooDeep
			}
			open = append(open, len(to))
			to = append(to, 0)
			empty = true
			continue
		case '}', ']':
			if !empty {
				to[open[len(open)-1]]++
			}
			open = open[:len(open)-1]
		case ',':
			to[open[len(open)-1]]++
		case '"':
			i = stringEnd(doc, i) - 1
		}
		empty = false
	}
	return to, nil
}

// stringEnd is the index after the string that begins at i of a valid document.
func stringEnd(doc []byte, i int) int {
	for i++; doc[i] != '"'; i++ {
		if doc[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// writeAll writes a valid document's values in their order. Objects and arrays
// need no closing, so there is no recursion.
func (c *msgPackCodec) writeAll(doc []byte) error {
	next := 0
	for i := 0; i < len(doc); {
		var err error
		switch b := doc[i]; b {
		case '{':
			err = c.enc.EncodeMapLen(c.lengths[next])
			next++
			i++
		case '[':
			err = c.enc.EncodeArrayLen(c.lengths[next])
			next++
			i++
		case '"':
			end := stringEnd(doc, i)
			err = c.writeString(doc[i:end])
			i = end
		case 't':
			err = c.enc.EncodeBool(true)
			i += len("true")
		case 'f':
			err = c.enc.EncodeBool(false)
			i += len("false")
		case 'n':
			err = c.enc.EncodeNil()
			i += len("null")
		default:
			if b != '-' && (b < '0' || b > '9') {
				i++ // white space, comma, colon, closing
				continue
			}
			end := i + 1
			for end < len(doc) && isNumber(doc[end]) {
				end++
			}
			err = c.writeNumber(doc[i:end])
			i = end
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isNumber(b byte) bool {
	return b >= '0' && b <= '9' || b == '.' || b == 'e' || b == 'E' || b == '+' || b == '-'
}

// writeNumber writes a number in the smallest type that holds its value.
func (c *msgPackCodec) writeNumber(lit []byte) error {
	switch n := numberOf(lit); n.kind {
	case numberInteger:
		return c.enc.EncodeInt(n.integer)
	case numberLarge:
		return c.enc.EncodeUint(n.large)
	case numberSingle:
		return c.enc.EncodeFloat32(float32(n.float))
	case numberDouble:
		return c.enc.EncodeFloat64(n.float)
	}
	return c.writeLiteral(extNumber, lit)
}

func (c *msgPackCodec) writeLiteral(ext int8, lit []byte) error {
	if err := c.enc.EncodeExtHeader(ext, len(lit)); err != nil {
		return err
	}
	c.out.Write(lit)
	return nil
}

// writeString writes a string's characters, or the literal where it has none for
// some escape: half of a surrogate pair.
func (c *msgPackCodec) writeString(lit []byte) error {
	text := lit[1 : len(lit)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		var ok bool
		if c.text, ok = unescape(text, c.text[:0]); !ok {
			return c.writeLiteral(extString, lit)
		}
		text = c.text
	}
	c.writeStringHeader(len(text))
	c.out.Write(text)
	return nil
}

// writeStringHeader writes MessagePack's header of a string of n bytes. The
// library has none that takes bytes without making a string of them.
func (c *msgPackCodec) writeStringHeader(n int) {
	var h [5]byte
	switch {
	case n < 32:
		c.out.WriteByte(msgpcode.FixedStrLow | byte(n))
	case n <= math.MaxUint8:
		c.out.Write([]byte{msgpcode.Str8, byte(n)})
	case n <= math.MaxUint16:
		h[0] = msgpcode.Str16
		binary.BigEndian.PutUint16(h[1:], uint16(n))
		c.out.Write(h[:3])
	default:
		h[0] = msgpcode.Str32
		binary.BigEndian.PutUint32(h[1:], uint32(n))
		c.out.Write(h[:])
	}
}

// unescape appends a valid JSON string's text to to. It is false where an
// escape is half of a surrogate pair.
func unescape(text, to []byte) ([]byte, bool) {
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			to = append(to, text[i])
			i++
			continue
		}
		if text[i+1] != 'u' {
			to = append(to, unescaped(text[i+1]))
			i += 2
			continue
		}
		r := hex4(text[i+2:])
		i += 6
		if utf16.IsSurrogate(r) {
			if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' {
				return to, false
			}
			if r = utf16.DecodeRune(r, hex4(text[i+2:])); r == utf8.RuneError {
				return to, false
			}
			i += 6
		}
		to = utf8.AppendRune(to, r)
	}
	return to, true
}

func unescaped(b byte) byte {
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return b // quote, backslash, slash
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) rune {
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}

// decode turns MessagePack into JSON. The result is the caller's.
func (c *msgPackCodec) decode(b []byte) ([]byte, error) {
	c.in.Reset(b)
	c.dec.ResetReader(&c.in)
	out, err := c.readValue(make([]byte, 0, len(b)+len(b)/4+16), 0)
	if err != nil {
		return nil, fmt.Errorf("payload is no MessagePack: %w", err)
	}
	if c.in.Len() > 0 {
		return nil, errTail
	}
	return out, nil
}

func (c *msgPackCodec) readValue(out []byte, depth int) ([]byte, error) {
	code, err := c.dec.PeekCode()
	if err != nil {
		return out, err
	}
	switch {
	case code == msgpcode.Nil:
		return append(out, "null"...), c.dec.DecodeNil()
	case code == msgpcode.False || code == msgpcode.True:
		v, err := c.dec.DecodeBool()
		return strconv.AppendBool(out, v), err
	case code == msgpcode.Float:
		v, err := c.dec.DecodeFloat32()
		if err != nil {
			return out, err
		}
		return appendFloat(out, float64(v), 32)
	case code == msgpcode.Double:
		v, err := c.dec.DecodeFloat64()
		if err != nil {
			return out, err
		}
		return appendFloat(out, v, 64)
	case code == msgpcode.Uint64:
		v, err := c.dec.DecodeUint64()
		return strconv.AppendUint(out, v, 10), err
	case msgpcode.IsFixedNum(code) || code >= msgpcode.Uint8 && code <= msgpcode.Int64:
		v, err := c.dec.DecodeInt64()
		return strconv.AppendInt(out, v, 10), err
	case msgpcode.IsString(code):
		return c.readString(out)
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		return c.readMap(out, depth)
	case msgpcode.IsFixedArray(code) || code == msgpcode.Array16 || code == msgpcode.Array32:
		return c.readArray(out, depth)
	case msgpcode.IsExt(code):
		return c.readLiteral(out)
	}
	return out, fmt.Errorf("type %#x has no JSON form", code)
}

func (c *msgPackCodec) readMap(out []byte, depth int) ([]byte, error) {
	n, err := c.dec.DecodeMapLen()
	if err != nil {
		return out, err
	}
	if depth >= maxDepth {
		return out, errTooDeep
	}
	out = append(out, '{')
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		start := len(out)
		if out, err = c.readValue(out, depth+1); err != nil {
			return out, err
		}
		if out[start] != '"' {
			return out, errors.New("a field's name is no string")
		}
		out = append(out, ':')
		if out, err = c.readValue(out, depth+1); err != nil {
			return out, err
		}
	}
	return append(out, '}'), nil
}

func (c *msgPackCodec) readArray(out []byte, depth int) ([]byte, error) {
	n, err := c.dec.DecodeArrayLen()
	if err != nil {
		return out, err
	}
	if depth >= maxDepth {
		return out, errTooDeep
	}
	out = append(out, '[')
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = c.readValue(out, depth+1); err != nil {
			return out, err
		}
	}
	return append(out, ']'), nil
}

// readBytes reads n bytes into the scratch space. They must be there.
func (c *msgPackCodec) readBytes(n int) ([]byte, error) {
	if n < 0 || n > c.in.Len() {
		return nil, errors.New("a length goes beyond the end")
	}
	if cap(c.text) < n {
		c.text = make([]byte, n)
	}
	b := c.text[:n]
	return b, c.dec.ReadFull(b)
}

func (c *msgPackCodec) readString(out []byte) ([]byte, error) {
	n, err := c.dec.DecodeBytesLen()
	if err != nil {
		return out, err
	}
	text, err := c.readBytes(n)
	if err != nil {
		return out, err
	}
	return appendQuoted(out, text), nil
}

// appendQuoted appends a JSON string. Only what JSON forbids is escaped.
func appendQuoted(out, text []byte) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	from := 0
	for i, b := range text {
		if b >= ' ' && b != '"' && b != '\\' {
			continue
		}
		out = append(out, text[from:i]...)
		from = i + 1
		switch b {
		case '"', '\\':
			out = append(out, '\\', b)
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			out = append(out, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
	}
	return append(append(out, text[from:]...), '"')
}

// readLiteral reads a JSON literal that was kept as it stands, and checks it.
func (c *msgPackCodec) readLiteral(out []byte) ([]byte, error) {
	id, n, err := c.dec.DecodeExtHeader()
	if err != nil {
		return out, err
	}
	lit, err := c.readBytes(n)
	if err != nil {
		return out, err
	}
	known := n > 0 && (id == extString && lit[0] == '"' && lit[n-1] == '"' ||
		id == extNumber && isNumber(lit[0]) && isNumber(lit[n-1]))
	if !known || !json.Valid(lit) {
		return out, fmt.Errorf("extension %d is no JSON literal", id)
	}
	return append(out, lit...), nil
}
