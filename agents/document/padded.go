package document

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// padField is the field that fills a message up to a size.
const padField = "pad"

// AppendPadded appends the tape's document, an object, with one more field,
// "pad", so that the message has exactly size bytes; letters are what it is
// filled with, and must be enough. A length takes one byte more than it needs
// where no other message has that size. JSON, which may be filled with spaces,
// has no padded form here.
func AppendPadded(dst []byte, codec string, t *Tape, size int, letters []byte) ([]byte, error) {
	if len(t.tokens) == 0 || t.tokens[0].kind != kindObject {
		return dst, fmt.Errorf("a message that is no object cannot be padded")
	}
	switch codec {
	case MsgPack:
		return padPack(dst, t, size, letters)
	case Protobuf:
		return padProtobuf(dst, t, size, letters)
	}
	return dst, fmt.Errorf("codec %q has no padded form", codec)
}

func tooSmall(size int) error { return fmt.Errorf("%d bytes are too few for the message", size) }

func padPack(out []byte, t *Tape, size int, letters []byte) ([]byte, error) {
	start := len(out)
	out = appendMembers(out, packMap, packMap16, t.tokens[0].bits+1)
	out = appendPack(out, t, t.tokens[1:])
	out = append(appendTextHeader(out, len(padField)), padField...)
	big := binary.BigEndian
	n := size - (len(out) - start)
	switch {
	case n < 1:
		return out, tooSmall(size)
	case n < 1+32:
		n--
		out = append(out, packText|byte(n))
	case n <= 2+math.MaxUint8:
		n -= 2
		out = append(out, packText8, byte(n))
	case n <= 3+math.MaxUint16:
		n -= 3
		out = big.AppendUint16(append(out, packText16), uint16(n))
	default:
		n -= 5
		out = big.AppendUint32(append(out, packText32), uint32(n))
	}
	return append(out, letters[:n]...), nil
}

// padProtobuf works from the outside in: each length follows from what is left
// for it and what it measures.
func padProtobuf(out []byte, t *Tape, size int, letters []byte) ([]byte, error) {
	end := len(out) + size
	out, ok := appendRest(out, end, tag(documentValue, wireBytes))
	if ok {
		out, ok = appendRest(out, end, tag(valueObject, wireBytes))
	}
	if !ok {
		return out, tooSmall(size)
	}
	w := protobufWriter{t: t, at: 1}
	out, err := w.members(out, 0)
	if err != nil {
		return out, err
	}
	if out, ok = appendRest(out, end, tag(valuesValues, wireBytes)); ok {
		out = append(out, tag(valueKnown, wireVarint), wordPad)
		out, ok = appendRest(out, end, tag(valueText, wireBytes))
	}
	if !ok {
		return out, tooSmall(size)
	}
	return append(out, letters[:end-len(out)]...), nil
}

// appendRest appends the key and the length of what goes from there to the end.
func appendRest(out []byte, end int, key byte) ([]byte, bool) {
	out = append(out, key)
	for width := 1; ; width++ {
		n := end - len(out) - width
		if n < 0 {
			return out, false
		}
		if protowire.SizeVarint(uint64(n)) > width {
			continue
		}
		for ; width > 1; width-- {
			out = append(out, byte(n)|0x80)
			n >>= 7
		}
		return append(out, byte(n)), true
	}
}
