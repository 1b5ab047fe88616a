package main

import (
	"bufio"
	"bytes"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2/packets"

	"bela/agents/payload"
)

// publish is a packet with a device's message, as an MQTT library makes it.
func publish(t testing.TB, qos byte, id uint16, e payload.Envelope) []byte {
	t.Helper()
	b, err := payload.NewBuilder(payload.Options{Size: 300})
	if err != nil {
		t.Fatal(err)
	}
	p := mqtt.Packet{
		FixedHeader: mqtt.FixedHeader{Type: mqtt.Publish, Qos: qos}, ProtocolVersion: 4,
		TopicName: "iot/0/7", PacketID: id, Payload: b.Append(nil, e),
	}
	var out bytes.Buffer
	if err := p.PublishEncode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// If the relay took one message for another, its report would be no truth to
// hold a run against.
func TestMessage(t *testing.T) {
	want := payload.Envelope{Run: 1, Cell: 2, Device: 7, Sequence: 9, Intended: 11, Actual: 12}
	for qos, id := range map[byte]uint16{0: 0, 1: 0x1234} {
		data, err := readPacket(bufio.NewReader(bytes.NewReader(publish(t, qos, id, want))))
		if err != nil {
			t.Fatal(err)
		}
		e, got, ok := message(data)
		if !ok || e != want || got != id {
			t.Errorf("QoS %d: %+v with identifier %d, %v", qos, e, got, ok)
		}
	}
	if _, _, ok := message(publish(t, 0, 0, payload.Envelope{Probe: true})); ok {
		t.Error("a probe counts as a message")
	}
	if _, _, ok := message(puback(3)); ok {
		t.Error("an acknowledgement counts as a message")
	}
}

// What comes over a wire may be anything: it must not panic, and what is passed
// on must be what came.
func FuzzReadPacket(f *testing.F) {
	f.Add(publish(f, 1, 5, payload.Envelope{}))
	f.Add(puback(9))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		data, err := readPacket(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, data) {
			t.Errorf("% x became % x", b, data)
		}
		message(data)
	})
}
