// Package payload is the form of a device's message: a small envelope that the
// measurement lives on, inside a payload that looks like a sensor's, in any of
// the codecs of package document. It knows bytes only: no clock, no connection, no schedule. What it reads may come
// from anywhere (a broker is shared, a gateway rewrites), so nothing in it
// trusts its input.
package payload

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Envelope says which message this is and when it was sent.
type Envelope struct {
	Run      uint32
	Cell     uint32
	Device   uint32
	Sequence uint32 // of the device, from 0; a probe's ID
	Intended int64  // ns since the Unix epoch, testbed time
	Actual   int64  // the same, taken just before the message was handed over
	// Probe marks a message outside the schedule, which no account counts.
	Probe bool
}

// The encoded envelope: version, flags, four uint32, two int64, CRC-32C of all
// before it; big-endian. In a payload it is base64url without padding, but raw ones
// begin with the key and these bytes.
const (
	version = 1
	probe   = 1 << 0 // flag

	rawSize  = 1 + 1 + 4*4 + 2*8 + 4
	textSize = (rawSize*8 + 5) / 6
)

const (
	prefix = `{"bela":"`
	key    = `bela`
	// MinSize is the smallest payload in JSON: the envelope's field alone.
	MinSize = len(prefix) + textSize + len(`"}`)
	// minRaw is the smallest raw payload: the key, and the envelope in binary.
	minRaw = len(key) + rawSize
)

// Foreign is the error for a payload that holds no valid envelope, by reason.
type Foreign string

// The reasons. They are constants, so that refusing a payload allocates nothing.
const (
	NoEnvelope Foreign = "payload: no envelope in it"
	Damaged    Foreign = "payload: the envelope's checksum does not match"
	Version    Foreign = "payload: the envelope is of another version"
)

func (f Foreign) Error() string { return string(f) }

// strict refuses text whose unused last bits are not zero, so that each
// envelope has exactly one form.
var strict = base64.RawURLEncoding.Strict()

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of b. crc32.Checksum would be twice as quick, but its
// argument escapes to the heap, which costs more for so few bytes.
func checksum(b []byte) uint32 {
	crc := ^uint32(0)
	for _, v := range b {
		crc = castagnoli[byte(crc)^v] ^ crc>>8
	}
	return ^crc
}

// appendEnvelope appends the envelope's text.
func appendEnvelope(dst []byte, e Envelope) []byte {
	var raw [rawSize]byte
	e.put(&raw)
	return strict.AppendEncode(dst, raw[:])
}

// put writes the envelope's bytes.
func (e Envelope) put(raw *[rawSize]byte) {
	raw[0] = version
	if e.Probe {
		raw[1] = probe
	}
	b := binary.BigEndian
	b.PutUint32(raw[2:], e.Run)
	b.PutUint32(raw[6:], e.Cell)
	b.PutUint32(raw[10:], e.Device)
	b.PutUint32(raw[14:], e.Sequence)
	b.PutUint64(raw[18:], uint64(e.Intended))
	b.PutUint64(raw[26:], uint64(e.Actual))
	b.PutUint32(raw[34:], checksum(raw[:34]))
}

// decode reads an envelope's text of textSize bytes.
func decode(text []byte) (Envelope, error) {
	// Decode writes whole groups, so the buffer has room for one more.
	var raw [rawSize + 3]byte
	n, err := strict.Decode(raw[:], text)
	if err != nil || n != rawSize {
		return Envelope{}, NoEnvelope
	}
	return decodeRaw(raw[:rawSize])
}

// decodeRaw reads an envelope's rawSize bytes.
func decodeRaw(raw []byte) (Envelope, error) {
	b := binary.BigEndian
	if b.Uint32(raw[34:]) != checksum(raw[:34]) {
		return Envelope{}, Damaged
	}
	if raw[0] != version || raw[1]&^probe != 0 {
		return Envelope{}, Version
	}
	return Envelope{
		Run:      b.Uint32(raw[2:]),
		Cell:     b.Uint32(raw[6:]),
		Device:   b.Uint32(raw[10:]),
		Sequence: b.Uint32(raw[14:]),
		Intended: int64(b.Uint64(raw[18:])),
		Actual:   int64(b.Uint64(raw[26:])),
		Probe:    raw[1]&probe != 0,
	}, nil
}

// Parse finds the envelope in a payload of any codec. It is quick where the
// field stands first, as a Builder puts it, and finds it elsewhere too: in JSON
// with other spacing or order, and in what a gateway wraps around it. The error is
// a Foreign. The payload is not kept.
func Parse(payload []byte) (Envelope, error) {
	const end = len(prefix) + textSize
	if len(payload) > end && payload[end] == '"' && string(payload[:len(prefix)]) == prefix {
		if e, err := decode(payload[len(prefix):end]); err == nil {
			return e, nil
		}
	} else if e, err := parsePacked(payload); err == nil {
		return e, nil
	}
	return search(payload)
}

const (
	// packedHead is how far the key may stand behind the beginning in MessagePack
	// and Protobuf: a map's length; or the lengths of four messages around it.
	packedHead = 24
	// What stands between the key and the text: a string's type, and its length.
	msgPackText  = 0xd9
	protobufText = 4<<3 | 2
)

// parsePacked reads the envelope where a Builder puts it in the other codecs.
func parsePacked(payload []byte) (Envelope, error) {
	i := bytes.Index(payload[:min(len(payload), packedHead)], []byte(key))
	if i < 0 {
		return Envelope{}, NoEnvelope
	}
	rest := payload[i+len(key):]
	switch {
	case len(rest) >= 2+textSize && (rest[0] == msgPackText || rest[0] == protobufText) && rest[1] == textSize:
		return decode(rest[2 : 2+textSize])
	case i == 0 && isRaw(rest):
		return decodeRaw(rest[:rawSize])
	}
	return Envelope{}, NoEnvelope
}

// isRaw tells whether an envelope in binary may follow the key: a version, which
// is no letter.
func isRaw(rest []byte) bool { return len(rest) >= rawSize && rest[0] > 0 && rest[0] < ' ' }

// Bounds of the search, so that no payload can keep a customer busy: how often
// the key is tried, and how far behind it the text may begin (quotes, a colon
// and spaces in JSON; a length in MessagePack).
const (
	maxKeys = 32
	maxGap  = 8
)

// search tries every text, and the envelope in binary, behind every key. The checksum decides, so a false
// find is as rare as a collision of it.
func search(payload []byte) (Envelope, error) {
	var refusal error = NoEnvelope
	for range maxKeys {
		i := bytes.Index(payload, []byte(key))
		if i < 0 {
			break
		}
		payload = payload[i+len(key):]
		if isRaw(payload) {
			e, err := decodeRaw(payload[:rawSize])
			if err == nil {
				return e, nil
			}
			refusal = err
		}
		for gap := 0; gap <= maxGap && gap+textSize <= len(payload); gap++ {
			e, err := decode(payload[gap : gap+textSize])
			if err == nil {
				return e, nil
			}
			if !errors.Is(err, NoEnvelope) {
				refusal = err // the more telling reason
			}
		}
	}
	return Envelope{}, refusal
}
