package payload

import (
	"math"

	"bela/agents/document"
)

// packing is how payloads are made in MessagePack and Protobuf: the payload that
// it would be in JSON, taken apart and put together in the codec, so that it says
// the same in each of them.
type packing struct {
	name     string
	in, out  document.Codec // JSON, and the payload's
	smallest int            // the envelope's field alone, and a padding without letters
	padRoom  int            // what the padding's field takes at most besides its letters
}

// scratch is what making one payload takes.
type scratch struct {
	text []byte
	tape document.Tape
}

func newPacking(name string) (*packing, error) {
	out, err := document.ForName(name)
	if err != nil {
		return nil, err
	}
	in, err := document.ForName(document.JSON)
	if err != nil {
		return nil, err
	}
	p := &packing{name: name, in: in, out: out}
	switch name {
	case document.MsgPack:
		p.smallest, p.padRoom = 64, len("\xa3pad\xa0")
	case document.Protobuf:
		// Besides the field, the lengths of the two messages around it may need more.
		p.smallest, p.padRoom = 71, len("\x0a\x04\x10\x09\x22\x00")+4
	}
	return p, nil
}

// appendPacked appends a payload in MessagePack or Protobuf.
func (b *Builder) appendPacked(dst []byte, e Envelope) []byte {
	s := b.scratch.Get().(*scratch)
	defer b.scratch.Put(s)
	s.text = append(b.appendFields(s.text[:0], e), '}')
	p := b.packed
	// None of this can fail: NewBuilder has tried the document at its longest. If it
	// did, the payload would be short, and foreign to whoever reads it.
	if p.in.Decode(&s.tape, s.text) != nil {
		return dst
	}
	if b.size == 0 {
		dst, _ = p.out.Append(dst, &s.tape)
		return dst
	}
	dst, _ = document.AppendPadded(dst, p.name, &s.tape, b.size, b.pad)
	return dst
}

// need is how large a payload of these fields may become in the codec, with
// padding: JSON, each field after a comma.
func (p *packing) need(fields []byte) (int, error) {
	doc := append(appendEnvelope([]byte(prefix), Envelope{}), '"')
	doc = append(append(doc, fields...), '}')
	var tape document.Tape
	if err := p.in.Decode(&tape, doc); err != nil {
		return 0, err
	}
	packed, err := p.out.Append(nil, &tape)
	return len(packed) + p.padRoom, err
}

// fitPacked finds how much of the built-in reading the size has room for.
func (b *Builder) fitPacked() {
	for n := len(sensors); n >= 0; n-- {
		if need, err := b.packed.need(longestReading(n)); err == nil && need <= b.size {
			b.named, b.sensors = true, n
			return
		}
	}
}

// longestReading is the built-in reading of so many sensors with the most
// characters that it may have.
func longestReading(n int) []byte {
	b := Builder{named: true, sensors: n}
	return b.appendReadingOf(nil, Envelope{Device: math.MaxUint32}, func(i int) int64 {
		s := &sensors[i]
		return s.base + s.spread + s.swing + s.noise
	})
}
