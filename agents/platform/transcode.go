package platform

import (
	"bytes"
	"cmp"

	"bela/agents/document"
)

// transcoder takes a hop's messages apart and puts them together in the codec of
// the other side, also where both sides have the same: a hop that takes nothing
// apart is what the codec raw stands for. It is for one goroutine.
type transcoder struct {
	in, out document.Codec // both nil for raw
	tape    document.Tape
	buffer  []byte
}

// newTranscoder is for a hop between two codecs, of which readSpec has seen to it
// that they go together.
func newTranscoder(from, to string) (*transcoder, error) {
	if from == document.Raw || to == document.Raw {
		return &transcoder{}, nil
	}
	in, err := document.ForName(cmp.Or(from, document.JSON))
	if err != nil {
		return nil, err
	}
	out, err := document.ForName(cmp.Or(to, document.JSON))
	return &transcoder{in: in, out: out}, err
}

// convert returns what goes on. It is the caller's, who may keep it: one
// allocation of just its size.
func (t *transcoder) convert(b []byte) ([]byte, error) {
	if t.in == nil {
		return b, nil
	}
	err := t.in.Decode(&t.tape, b)
	if err == nil {
		t.buffer, err = t.out.Append(t.buffer[:0], &t.tape)
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(t.buffer), nil
}
