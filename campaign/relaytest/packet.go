package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"bela/agents/payload"
)

// The MQTT packets that the relay tells apart.
const (
	typePublish = 3
	typePuback  = 4
)

const maxPacket = 1 << 20

// readPacket reads one MQTT control packet, its header included.
func readPacket(r *bufio.Reader) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	packet := []byte{first}
	length, shift := 0, 0
	for {
		b, err := r.ReadByte()
		if err != nil {
			return nil, noEOF(err)
		}
		packet = append(packet, b)
		length |= int(b&0x7f) << shift
		shift += 7
		if b < 0x80 {
			break
		}
		if shift > 21 {
			return nil, fmt.Errorf("a packet's length has more than four bytes")
		}
	}
	if length > maxPacket {
		return nil, fmt.Errorf("a packet of %d bytes, more than %d", length, maxPacket)
	}
	head := len(packet)
	packet = append(packet, make([]byte, length)...)
	if _, err := io.ReadFull(r, packet[head:]); err != nil {
		return nil, noEOF(err)
	}
	return packet, nil
}

// noEOF keeps an end inside a packet apart from one between two.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func typeOf(packet []byte) byte { return packet[0] >> 4 }

// message is what a packet publishes, where it is a scheduled message of a
// device: one with an envelope, and no probe.
func message(packet []byte) (e payload.Envelope, id uint16, ok bool) {
	if typeOf(packet) != typePublish {
		return e, 0, false
	}
	body := packet[1:]
	for len(body) > 0 && body[0] >= 0x80 {
		body = body[1:]
	}
	if len(body) < 3 {
		return e, 0, false
	}
	body = body[1:]
	topic := int(binary.BigEndian.Uint16(body))
	if body = body[2:]; len(body) < topic {
		return e, 0, false
	}
	body = body[topic:]
	if packet[0]>>1&3 > 0 {
		if len(body) < 2 {
			return e, 0, false
		}
		id, body = binary.BigEndian.Uint16(body), body[2:]
	}
	e, err := payload.Parse(body)
	return e, id, err == nil && !e.Probe
}

// puback acknowledges a message of QoS 1.
func puback(id uint16) []byte {
	return []byte{typePuback << 4, 2, byte(id >> 8), byte(id)}
}
