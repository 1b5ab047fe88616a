package document

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonCodec reads any JSON (RFC 8259), and writes it without white space.
type jsonCodec struct{}

var errNotJSON = errors.New("payload is no JSON")

// Decode implements Codec. It goes through the bytes once.
func (jsonCodec) Decode(t *Tape, b []byte) error {
	if err := t.reset(b); err != nil {
		return err
	}
	for i := 0; ; {
		var err error
		if i, err = t.jsonValue(b, space(b, i)); err != nil {
			return err
		}
		if i < 0 {
			return errNotJSON
		}
		if t.tokens[len(t.tokens)-1].begins() {
			continue
		}
		if i = t.jsonNext(b, i); i < 0 {
			return errNotJSON
		}
		if len(t.open) == 0 {
			return nil
		}
	}
}

// begins tells whether a first member follows, and not what comes after a value.
func (k token) begins() bool {
	return k.kind == kindObject || k.kind == kindArray || k.kind == kindName || k.kind == kindNameWritten
}

// jsonValue reads the value at i, or only the beginning of one that has members:
// up to the first member's value. It returns the index after it, negative for
// what is no JSON.
func (t *Tape) jsonValue(b []byte, i int) (int, error) {
	if i >= len(b) {
		return -1, nil
	}
	switch b[i] {
	case '{':
		if err := t.begin(true, 0); err != nil {
			return -1, err
		}
		if i = space(b, i+1); i < len(b) && b[i] == '}' {
			t.end()
			return i + 1, nil
		}
		return t.jsonName(b, i), nil
	case '[':
		if err := t.begin(false, 0); err != nil {
			return -1, err
		}
		if i = space(b, i+1); i < len(b) && b[i] == ']' {
			t.end()
			return i + 1, nil
		}
		return i, nil
	case '"':
		return t.jsonString(b, i, kindText, kindTextWritten), nil
	case 't':
		return t.jsonWord(b, i, "true", kindTrue), nil
	case 'f':
		return t.jsonWord(b, i, "false", kindFalse), nil
	case 'n':
		return t.jsonWord(b, i, "null", kindNull), nil
	}
	return t.jsonNumber(b, i), nil
}

// jsonNext goes from the end of a value to the beginning of the next one, or to
// the end of the document.
func (t *Tape) jsonNext(b []byte, i int) int {
	for len(t.open) > 0 {
		if i = space(b, i); i >= len(b) {
			return -1
		}
		f := t.open[len(t.open)-1]
		t.tokens[f.token].bits++
		c := b[i]
		i++
		switch {
		case c == ',' && f.object:
			return t.jsonName(b, space(b, i))
		case c == ',':
			return i
		case c == '}' && f.object, c == ']' && !f.object:
			t.end()
		default:
			return -1
		}
	}
	if i = space(b, i); i < len(b) {
		return -1
	}
	return i
}

// jsonName reads a field's name and the colon behind it.
func (t *Tape) jsonName(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	if i = t.jsonString(b, i, kindName, kindNameWritten); i < 0 {
		return -1
	}
	if i = space(b, i); i >= len(b) || b[i] != ':' {
		return -1
	}
	return i + 1
}

func (t *Tape) jsonWord(b []byte, i int, word string, k kind) int {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		t.add(k, 0)
		return end
	}
	return -1
}

// space is the index of the next byte that is no white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// plain is the index of the next byte that a JSON string cannot hold as it is: a
// quote, a backslash or a control character.
func plain(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		// Eight at a time: a byte's top bit is set in found where the byte is one of
		// them, and perhaps in bytes after it.
		x := binary.LittleEndian.Uint64(b[i:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		found := ((quote-ones)&^quote | (backslash-ones)&^backslash | (x-ones*' ')&^x) & tops
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// jsonString reads the string at i: by its characters, or as written where an
// escape has none, being half of a surrogate pair.
func (t *Tape) jsonString(b []byte, i int, k, asWritten kind) int {
	start := i + 1
	i = plain(b, start)
	if i < len(b) && b[i] == '"' {
		t.addBytes(k, start, i)
		return i + 1
	}
	from, unicode := len(t.text), true
	t.text = append(t.text, b[start:i]...)
	for i < len(b) {
		switch b[i] {
		case '"':
			if unicode {
				t.addText(k, from)
			} else {
				t.text = t.text[:from]
				t.addBytes(asWritten, start-1, i+1)
			}
			return i + 1
		case '\\':
			var r rune
			if r, i = unescape(b, i+1); i < 0 {
				return -1
			}
			if utf16.IsSurrogate(r) {
				unicode = false
			}
			t.text = utf8.AppendRune(t.text, r)
		default:
			return -1 // a control character
		}
		rest := i
		i = plain(b, i)
		t.text = append(t.text, b[rest:i]...)
	}
	return -1
}

// unescape reads what follows a backslash, with both halves of a surrogate pair.
// It returns a surrogate where the other half is missing, and the index after
// it, negative for what is no escape.
func unescape(b []byte, i int) (rune, int) {
	if i >= len(b) {
		return 0, -1
	}
	c := b[i]
	i++
	switch c {
	case '"', '\\', '/':
		return rune(c), i
	case 'b':
		return '\b', i
	case 'f':
		return '\f', i
	case 'n':
		return '\n', i
	case 'r':
		return '\r', i
	case 't':
		return '\t', i
	case 'u':
	default:
		return 0, -1
	}
	r := hex4(b, i)
	if r < 0 {
		return 0, -1
	}
	i += 4
	if utf16.IsSurrogate(r) && i+6 <= len(b) && b[i] == '\\' && b[i+1] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(b, i+2)); pair != utf8.RuneError {
			return pair, i + 6
		}
	}
	return r, i
}

// hex4 reads four hexadecimal digits; negative where there are none.
func hex4(b []byte, i int) rune {
	if i+4 > len(b) {
		return -1
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// Append implements Codec.
func (jsonCodec) Append(out []byte, t *Tape) ([]byte, error) {
	for _, k := range t.tokens {
		switch k.kind {
		case kindObject:
			out = append(out, '{')
			continue
		case kindArray:
			out = append(out, '[')
			continue
		case kindName:
			out = append(appendQuoted(out, t.bytes(k)), ':')
			continue
		case kindNameWritten:
			out = append(append(out, t.bytes(k)...), ':')
			continue
		case kindObjectEnd:
			out = appendEnd(out, '}')
		case kindArrayEnd:
			out = appendEnd(out, ']')
		case kindText:
			out = appendQuoted(out, t.bytes(k))
		case kindTextWritten, kindWritten:
			out = append(out, t.bytes(k)...)
		case kindTrue:
			out = append(out, "true"...)
		case kindFalse:
			out = append(out, "false"...)
		case kindNull:
			out = append(out, "null"...)
		default:
			out = appendNumber(out, k)
		}
		out = append(out, ',')
	}
	return out[:len(out)-1], nil
}

// appendEnd closes a bracket, over the comma after the last member.
func appendEnd(out []byte, bracket byte) []byte {
	if last := len(out) - 1; out[last] == ',' {
		out[last] = bracket
		return out
	}
	return append(out, bracket)
}

// appendQuoted appends a JSON string. Only what JSON forbids is escaped.
func appendQuoted(out, text []byte) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for from := 0; ; {
		i := plain(text, from)
		out = append(out, text[from:i]...)
		if i == len(text) {
			return append(out, '"')
		}
		from = i + 1
		switch c := text[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
}
