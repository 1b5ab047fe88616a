package document

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The first byte of a MessagePack value, and for the short forms the lowest of
// theirs.
const (
	packMap      = 0x80
	packArray    = 0x90
	packText     = 0xa0
	packNil      = 0xc0
	packFalse    = 0xc2
	packTrue     = 0xc3
	packExt8     = 0xc7
	packExt16    = 0xc8
	packExt32    = 0xc9
	packFloat32  = 0xca
	packFloat64  = 0xcb
	packUint8    = 0xcc
	packUint16   = 0xcd
	packUint32   = 0xce
	packUint64   = 0xcf
	packInt8     = 0xd0
	packInt16    = 0xd1
	packInt32    = 0xd2
	packInt64    = 0xd3
	packExtFix1  = 0xd4
	packExtFix16 = 0xd8
	packText8    = 0xd9
	packText16   = 0xda
	packText32   = 0xdb
	packArray16  = 0xdc
	packArray32  = 0xdd
	packMap16    = 0xde
	packMap32    = 0xdf
	packNegative = 0xe0
)

// Extensions for JSON literals, kept as they stand, that MessagePack's own types
// would change: a number that no float64 holds, a string that is not Unicode.
const (
	extNumber = 1
	extString = 2
)

// msgPackCodec reads and writes MessagePack. What has no JSON form is refused.
type msgPackCodec struct{}

var (
	errPackNumber  = errors.New("payload is no MessagePack: a number without a JSON form")
	errPackName    = errors.New("payload is no MessagePack: a field's name is no string")
	errPackCut     = fmt.Errorf("payload is no MessagePack: %w", errCut)
	errPackType    = errors.New("payload is no MessagePack: a type without a JSON form")
	errPackLiteral = errors.New("payload is no MessagePack: an extension that is no JSON literal")
)

// Decode implements Codec.
func (msgPackCodec) Decode(t *Tape, b []byte) error {
	if err := t.reset(b); err != nil {
		return err
	}
	for i := 0; ; {
		name := false
		for len(t.open) > 0 {
			f := &t.open[len(t.open)-1]
			if f.left > 0 {
				name = f.object && f.left%2 == 0
				f.left--
				break
			}
			t.end()
		}
		if len(t.open) == 0 && len(t.tokens) > 0 {
			if i < len(b) {
				return errTail
			}
			return nil
		}
		var err error
		if i, err = t.unpack(b, i, name); err != nil {
			return err
		}
	}
}

// unpack reads the value at i, or only the beginning of one that has members, and
// returns the index after it.
func (t *Tape) unpack(b []byte, i int, name bool) (int, error) {
	if i >= len(b) {
		return i, errPackCut
	}
	c := b[i]
	i++
	switch {
	case c >= packText && c < packNil:
		return t.unpackText(b, i, int(c-packText), name)
	case c >= packText8 && c <= packText32:
		n, i, ok := unpackLength(b, i, 1<<(c-packText8))
		if !ok {
			return i, errPackCut
		}
		return t.unpackText(b, i, n, name)
	case c >= packExt8 && c <= packExt32, c >= packExtFix1 && c <= packExtFix16:
		return t.unpackLiteral(b, i, c, name)
	case name:
		return i, errPackName
	case c < packMap:
		t.add(kindInteger, uint64(c))
	case c >= packNegative:
		t.add(kindInteger, uint64(int64(int8(c))))
	case c < packArray:
		return i, t.unpackMembers(b, i, true, int(c-packMap))
	case c < packText:
		return i, t.unpackMembers(b, i, false, int(c-packArray))
	case c >= packArray16:
		n, i, ok := unpackLength(b, i, 2<<((c-packArray16)&1))
		if !ok {
			return i, errPackCut
		}
		return i, t.unpackMembers(b, i, c >= packMap16, n)
	case c == packNil:
		t.add(kindNull, 0)
	case c == packFalse:
		t.add(kindFalse, 0)
	case c == packTrue:
		t.add(kindTrue, 0)
	default:
		return t.unpackNumber(b, i, c)
	}
	return i, nil
}

// unpackLength reads a length of so many bytes, which may not go beyond the end.
func unpackLength(b []byte, i, width int) (n, next int, ok bool) {
	if i+width > len(b) {
		return 0, i, false
	}
	var v uint32
	for _, c := range b[i : i+width] {
		v = v<<8 | uint32(c)
	}
	i += width
	if int64(v) > int64(len(b)-i) {
		return 0, i, false
	}
	return int(v), i, true
}

func (t *Tape) unpackText(b []byte, i, n int, name bool) (int, error) {
	if n > len(b)-i {
		return i, errPackCut
	}
	k := kindText
	if name {
		k = kindName
	}
	t.addBytes(k, i, i+n)
	return i + n, nil
}

// unpackMembers begins what has so many members. Each takes a byte at least.
func (t *Tape) unpackMembers(b []byte, i int, object bool, n int) error {
	if n > len(b)-i {
		return errPackCut
	}
	return t.begin(object, n)
}

// unpackLiteral reads a JSON literal that was kept as it stands, and checks it.
func (t *Tape) unpackLiteral(b []byte, i int, c byte, name bool) (int, error) {
	n, ok := 0, true
	if c >= packExtFix1 {
		n = 1 << (c - packExtFix1)
	} else {
		n, i, ok = unpackLength(b, i, 1<<(c-packExt8))
	}
	if !ok || 1+n > len(b)-i {
		return i, errPackCut
	}
	extension := b[i]
	i++
	end := -1
	switch {
	case n == 0:
	case extension == extString && b[i] == '"' && name:
		end = t.jsonString(b[:i+n], i, kindName, kindNameWritten)
	case extension == extString && b[i] == '"':
		end = t.jsonString(b[:i+n], i, kindText, kindTextWritten)
	case extension == extNumber && !name:
		end = t.jsonNumber(b[:i+n], i)
	}
	if end != i+n {
		return i, errPackLiteral
	}
	return end, nil
}

// unpackNumber reads a number that begins with c.
func (t *Tape) unpackNumber(b []byte, i int, c byte) (int, error) {
	var width int
	switch c {
	case packUint8, packInt8:
		width = 1
	case packUint16, packInt16:
		width = 2
	case packFloat32, packUint32, packInt32:
		width = 4
	case packFloat64, packUint64, packInt64:
		width = 8
	default:
		return i, errPackType
	}
	if i+width > len(b) {
		return i, errPackCut
	}
	v := b[i : i+width]
	big, ok := binary.BigEndian, true
	switch c {
	case packFloat32:
		ok = t.addBinary(kindSingle, float64(math.Float32frombits(big.Uint32(v))))
	case packFloat64:
		ok = t.addBinary(kindDouble, math.Float64frombits(big.Uint64(v)))
	case packUint8:
		t.add(kindInteger, uint64(v[0]))
	case packUint16:
		t.add(kindInteger, uint64(big.Uint16(v)))
	case packUint32:
		t.add(kindInteger, uint64(big.Uint32(v)))
	case packUint64:
		t.addUnsigned(big.Uint64(v))
	case packInt8:
		t.add(kindInteger, uint64(int64(int8(v[0]))))
	case packInt16:
		t.add(kindInteger, uint64(int64(int16(big.Uint16(v)))))
	case packInt32:
		t.add(kindInteger, uint64(int64(int32(big.Uint32(v)))))
	case packInt64:
		t.add(kindInteger, big.Uint64(v))
	}
	if !ok {
		return i, errPackNumber
	}
	return i + width, nil
}

// Append implements Codec. Every value takes its shortest form.
func (msgPackCodec) Append(out []byte, t *Tape) ([]byte, error) {
	return appendPack(out, t, t.tokens), nil
}

func appendPack(out []byte, t *Tape, tokens []token) []byte {
	big := binary.BigEndian
	for _, k := range tokens {
		switch k.kind {
		case kindObject:
			out = appendMembers(out, packMap, packMap16, k.bits)
		case kindArray:
			out = appendMembers(out, packArray, packArray16, k.bits)
		case kindObjectEnd, kindArrayEnd: // nothing closes
		case kindName, kindText:
			text := t.bytes(k)
			out = append(appendTextHeader(out, len(text)), text...)
		case kindNameWritten, kindTextWritten:
			out = appendExt(out, extString, t.bytes(k))
		case kindWritten:
			out = appendExt(out, extNumber, t.bytes(k))
		case kindInteger:
			out = appendPackInteger(out, int64(k.bits))
		case kindLarge:
			out = big.AppendUint64(append(out, packUint64), k.bits)
		case kindSingle:
			out = big.AppendUint32(append(out, packFloat32), math.Float32bits(float32(math.Float64frombits(k.bits))))
		case kindDouble:
			out = big.AppendUint64(append(out, packFloat64), k.bits)
		case kindTrue:
			out = append(out, packTrue)
		case kindFalse:
			out = append(out, packFalse)
		case kindNull:
			out = append(out, packNil)
		}
	}
	return out
}

// appendMembers appends the beginning of what has n members; short and long are
// the first bytes of its shortest form and of that with 16 bits.
func appendMembers(out []byte, short, long byte, n uint64) []byte {
	switch {
	case n < 16:
		return append(out, short|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, long), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(out, long+1), uint32(n))
}

func appendTextHeader(out []byte, n int) []byte {
	switch {
	case n < 32:
		return append(out, packText|byte(n))
	case n <= math.MaxUint8:
		return append(out, packText8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, packText16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(out, packText32), uint32(n))
}

func appendExt(out []byte, extension byte, literal []byte) []byte {
	n := len(literal)
	switch {
	case n <= 16 && n > 0 && n&(n-1) == 0:
		fix := byte(packExtFix1)
		for ; n > 1; n >>= 1 {
			fix++
		}
		out = append(out, fix)
	case n <= math.MaxUint8:
		out = append(out, packExt8, byte(n))
	case n <= math.MaxUint16:
		out = binary.BigEndian.AppendUint16(append(out, packExt16), uint16(n))
	default:
		out = binary.BigEndian.AppendUint32(append(out, packExt32), uint32(n))
	}
	return append(append(out, extension), literal...)
}

func appendPackInteger(out []byte, n int64) []byte {
	big := binary.BigEndian
	switch {
	case n >= -32 && n < 128:
		return append(out, byte(n))
	case n >= 0 && n <= math.MaxUint8:
		return append(out, packUint8, byte(n))
	case n >= 0 && n <= math.MaxUint16:
		return big.AppendUint16(append(out, packUint16), uint16(n))
	case n >= 0 && n <= math.MaxUint32:
		return big.AppendUint32(append(out, packUint32), uint32(n))
	case n >= 0:
		return big.AppendUint64(append(out, packUint64), uint64(n))
	case n >= math.MinInt8:
		return append(out, packInt8, byte(n))
	case n >= math.MinInt16:
		return big.AppendUint16(append(out, packInt16), uint16(n))
	case n >= math.MinInt32:
		return big.AppendUint32(append(out, packInt32), uint32(n))
	}
	return big.AppendUint64(append(out, packInt64), uint64(n))
}
