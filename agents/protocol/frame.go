package protocol

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxFrame bounds a frame's JSON, in bytes. An agent's books come in pages of
// PageSize; those of a hop are bounded to what fits into one. A controller holds
// a frame three times while it reads it.
const MaxFrame = 48 << 20

// ErrFrame says that the frame itself is at fault, and not the connection.
var ErrFrame = errors.New("cannot be sent as a frame")

// ErrMalformed says that what came is no frame: the peer is no agent of bela's,
// or is broken.
var ErrMalformed = errors.New("the peer is not a bela agent or is broken")

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
	return ReadFrameWithin(r, func() int { return MaxFrame })
}

// ReadFrameWithin is ReadFrame with a bound on the frame's JSON, in bytes, which
// is asked for when the frame's length is known.
func ReadFrameWithin(r io.Reader, limit func() int) (Frame, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(header[:]))
	if most := int64(limit()); n > most {
		return Frame{}, fmt.Errorf("frame of %d bytes is above the limit of %d: %w", n, most, ErrMalformed)
	}
	body, err := readBody(r, int(n))
	if err != nil {
		return Frame{}, err
	}
	var f Frame
	if err := json.Unmarshal(body, &f); err != nil {
		return Frame{}, fmt.Errorf("frame is not JSON: %w: %w", err, ErrMalformed)
	}
	return f, nil
}

// readBody reads n bytes. What it holds is never more than twice what has come.
func readBody(r io.Reader, n int) ([]byte, error) {
	const first = 64 << 10
	body := make([]byte, min(n, first))
	for got := 0; ; {
		m, err := io.ReadFull(r, body[got:])
		if got += m; err != nil {
			if err == io.EOF && n > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if got == n {
			return body, nil
		}
		grown := make([]byte, min(n, 2*got))
		copy(grown, body)
		body = grown
	}
}

// Body encodes a frame's body.
func Body(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}
