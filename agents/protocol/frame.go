package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxFrame bounds a frame's JSON, in bytes. An agent's books come in pages of
// PageSize; those of a hop are bounded to what fits into one.
const MaxFrame = 64 << 20

// ErrFrame says that the frame itself is at fault, and not the connection.
var ErrFrame = errors.New("cannot be sent as a frame")

// WriteFrame writes one frame with a single Write, so that concurrent writers
// need only serialize their calls.
func WriteFrame(w io.Writer, f Frame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrFrame, f.Type, err)
	}
	if len(body) > MaxFrame {
		return fmt.Errorf("%w %s: its %d bytes are above the limit of %d", ErrFrame, f.Type, len(body), MaxFrame)
	}
	buf := make([]byte, 4+len(body))
	binary.BigEndian.PutUint32(buf, uint32(len(body)))
	copy(buf[4:], body)
	_, err = w.Write(buf)
	return err
}

// ReadFrame reads one frame. It returns io.EOF at a clean end and
// io.ErrUnexpectedEOF inside a frame. Memory grows only with what really
// arrives, whatever length the header claims.
func ReadFrame(r io.Reader) (Frame, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(header[:]))
	if n > MaxFrame {
		return Frame{}, fmt.Errorf("frame of %d bytes is above the limit of %d: the peer is not a bela agent or is broken", n, MaxFrame)
	}
	var body bytes.Buffer
	if got, err := io.Copy(&body, io.LimitReader(r, n)); err != nil {
		return Frame{}, err
	} else if got < n {
		return Frame{}, io.ErrUnexpectedEOF
	}
	var f Frame
	if err := json.Unmarshal(body.Bytes(), &f); err != nil {
		return Frame{}, fmt.Errorf("frame is not JSON: %w", err)
	}
	return f, nil
}

// Body encodes a frame's body.
func Body(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}
