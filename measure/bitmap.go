package measure

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Bitmap is a set of small numbers, one bit each. The zero value is empty; Set
// grows it. It encodes in JSON as base64 of little-endian words.
type Bitmap []uint64

// Set adds i.
func (b *Bitmap) Set(i uint32) {
	w := int(i >> 6)
	for len(*b) <= w {
		*b = append(*b, 0)
	}
	(*b)[w] |= 1 << (i & 63)
}

// Has reports whether i is in the set.
func (b Bitmap) Has(i uint32) bool {
	w := int(i >> 6)
	return w < len(b) && b[w]&(1<<(i&63)) != 0
}

// Clear removes i.
func (b Bitmap) Clear(i uint32) {
	if w := int(i >> 6); w < len(b) {
		b[w] &^= 1 << (i & 63)
	}
}

// Count is the number of members.
func (b Bitmap) Count() int64 {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return int64(n)
}

// MarshalText encodes the set, without trailing empty words.
func (b Bitmap) MarshalText() ([]byte, error) {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	raw := make([]byte, 8*n)
	for i := range n {
		binary.LittleEndian.PutUint64(raw[8*i:], b[i])
	}
	return []byte(base64.StdEncoding.EncodeToString(raw)), nil
}

// UnmarshalText decodes what MarshalText made.
func (b *Bitmap) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("bitmap: %w", err)
	}
	if len(raw)%8 != 0 {
		return fmt.Errorf("bitmap: %d bytes is not a whole number of words", len(raw))
	}
	*b = make(Bitmap, len(raw)/8)
	for i := range *b {
		(*b)[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	return nil
}
