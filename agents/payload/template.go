package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// placeholder is what a template may stand in for.
type placeholder byte

const (
	literal   placeholder = iota
	device                // the device's number
	customer              // the number of the customer it belongs to
	sequence              // the message's sequence number
	value                 // a temperature: 21.07
	timestamp             // the intended time in ms since the Unix epoch
)

// part is a stretch of a template: literal text, or a placeholder.
type part struct {
	kind placeholder
	text string
}

var placeholders = map[string]placeholder{
	"device": device, "customer": customer, "seq": sequence, "value": value, "time": timestamp,
}

// A placeholder is a bare word in braces, which is never JSON by itself.
var word = regexp.MustCompile(`\{[A-Za-z_]+\}`)

// useTemplate takes the template apart and proves that what it makes is a JSON
// object, free of the envelope's own names, that fits the size at its longest.
func (b *Builder) useTemplate(template string) error {
	parts, err := split(template)
	if err != nil {
		return err
	}
	b.parts = parts
	longest := Envelope{Device: math.MaxUint32, Sequence: math.MaxUint32, Intended: math.MaxInt64}
	for _, e := range []Envelope{{}, longest} {
		object := b.appendTemplate([]byte("{"), e)
		if len(object) > 1 && object[1] == ',' {
			object = append(object[:1], object[2:]...)
		}
		object = append(object, '}')
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(object, &fields); err != nil {
			return fmt.Errorf("what it makes is not a JSON object: %w", err)
		}
		for _, own := range []string{"bela", "pad"} {
			if _, ok := fields[own]; ok {
				return fmt.Errorf("the field %s is bela's own; name yours otherwise", quoted(own))
			}
		}
	}
	need := b.longest()
	if b.packed != nil {
		if need, err = b.packed.need(b.appendTemplate(nil, longest)); err != nil {
			return err
		}
		for _, p := range b.parts {
			if p.kind == value {
				need++ // its sign
			}
		}
	}
	if need > b.size {
		return fmt.Errorf("it needs up to %d bytes with the envelope, the payload's size is %d", need, b.size)
	}
	return nil
}

// longest is an upper bound on the length of a payload without padding.
func (b *Builder) longest() int {
	n := MinSize
	for _, p := range b.parts {
		switch p.kind {
		case literal:
			n += len(p.text)
		case timestamp:
			n += len(strconv.FormatInt(math.MinInt64/1_000_000, 10))
		case value:
			n += len("-99.99")
		default:
			n += len("4294967295")
		}
	}
	return n
}

// split takes a template apart: from behind its opening brace, with a comma put
// before its first field, to before its closing one.
func split(template string) ([]part, error) {
	text := strings.TrimSpace(template)
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return nil, errors.New("it must be a JSON object, from { to }")
	}
	inner := strings.TrimSpace(text[1 : len(text)-1])
	parts := []part{}
	if inner == "" {
		return parts, nil
	}
	inner = "," + inner
	for {
		at := word.FindStringIndex(inner)
		if at == nil {
			return append(parts, part{literal, inner}), nil
		}
		name := inner[at[0]+1 : at[1]-1]
		kind, ok := placeholders[name]
		if !ok {
			return nil, fmt.Errorf("unknown placeholder {%s}: there are {device}, {customer}, {seq}, {value} and {time}", name)
		}
		parts = append(parts, part{literal, inner[:at[0]]}, part{kind: kind})
		inner = inner[at[1]:]
	}
}

// appendTemplate appends the template's fields, each after a comma.
func (b *Builder) appendTemplate(dst []byte, e Envelope) []byte {
	for _, p := range b.parts {
		switch p.kind {
		case literal:
			dst = append(dst, p.text...)
		case device:
			dst = strconv.AppendUint(dst, uint64(e.Device), 10)
		case customer:
			dst = strconv.AppendUint(dst, uint64(e.Device%b.customers), 10)
		case sequence:
			dst = strconv.AppendUint(dst, uint64(e.Sequence), 10)
		case value:
			dst = appendHundredths(dst, b.value(0, e))
		case timestamp:
			dst = strconv.AppendInt(dst, e.Intended/1e6, 10)
		}
	}
	return dst
}
