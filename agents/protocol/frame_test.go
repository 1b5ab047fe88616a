package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

// A frame must come back as it was written, or a controller would act on
// something that no agent said.
func TestFrameRoundTrip(t *testing.T) {
	var buf bytes.Buffer
	body, err := Body(Hello{Version: Version, Run: "r", After: 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []Frame{
		{ID: 1, Type: TypeHello, Body: body},
		{ID: 2, Type: TypePing},
		{Type: TypeEvent, Body: []byte(`{"seq":1}`)},
	} {
		if err := WriteFrame(&buf, f); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFrame(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != f.ID || got.Type != f.Type || !bytes.Equal(got.Body, f.Body) {
			t.Errorf("read %+v, wrote %+v", got, f)
		}
	}
	if _, err := ReadFrame(&buf); !errors.Is(err, io.EOF) {
		t.Errorf("clean end: %v, want io.EOF", err)
	}
}

// A broken or hostile node must not fill the controller's memory, nor pass
// half a frame for a whole one.
func TestReadFrameRefuses(t *testing.T) {
	header := func(n uint32, rest string) string {
		b := binary.BigEndian.AppendUint32(nil, n)
		return string(b) + rest
	}
	for _, tc := range []struct {
		name, in string
		want     func(error) bool
	}{
		{"a length above the limit", header(MaxFrame+1, "{}"), func(err error) bool { return strings.Contains(err.Error(), "above the limit") }},
		{"a header cut short", "\x00\x00", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"a body cut short", header(100, `{"type"`), func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"a body that is not JSON", header(3, "abc"), func(err error) bool { return strings.Contains(err.Error(), "not JSON") }},
		{"a login banner", "Welcome to Debian", func(err error) bool { return strings.Contains(err.Error(), "not a bela agent") }},
	} {
		_, err := ReadFrame(strings.NewReader(tc.in))
		if err == nil || !tc.want(err) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// FuzzReadFrame: whatever a node sends, the decoder neither panics nor returns
// a frame that cannot be written again.
func FuzzReadFrame(f *testing.F) {
	var buf bytes.Buffer
	_ = WriteFrame(&buf, Frame{ID: 3, Type: TypeOK, Body: []byte(`{"a":[1,2]}`)})
	f.Add(buf.Bytes())
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		frame, err := ReadFrame(bytes.NewReader(in))
		if err != nil {
			return
		}
		if err := WriteFrame(io.Discard, frame); err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
	})
}
