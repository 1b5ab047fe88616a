package platform_test

import (
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// lateBroker is a broker that has chosen the gateway for one more message before
// it answers its unsubscribing, and writes that message only afterwards. What it
// returns tells whether that message was acknowledged.
func lateBroker(t *testing.T, port int, late time.Duration) <-chan bool {
	t.Helper()
	l, err := net.Listen("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := make(chan bool, 1)
	go func() {
		taken := false
		defer func() { acknowledged <- taken }()
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(2 * patience))
		for {
			p, err := packets.ReadPacket(conn)
			if err != nil {
				return // the gateway has hung up
			}
			switch p := p.(type) {
			case *packets.ConnectPacket:
				write(conn, packets.NewControlPacket(packets.Connack))
			case *packets.SubscribePacket:
				a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
				a.MessageID, a.ReturnCodes = p.MessageID, p.Qoss
				write(conn, a)
			case *packets.UnsubscribePacket:
				a := packets.NewControlPacket(packets.Unsuback).(*packets.UnsubackPacket)
				a.MessageID = p.MessageID
				write(conn, a)
				time.Sleep(late)
				m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
				m.TopicName, m.Qos, m.MessageID, m.Payload = "iot/0/0", 1, 77, []byte(payload(0, 0))
				write(conn, m)
			case *packets.PubackPacket:
				taken = p.MessageID == 77
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return acknowledged
}

// write's error shows as a connection that ends too early.
func write(c net.Conn, p packets.ControlPacket) { _ = p.Write(c) }

// If this failed, a message that the broker chose a gateway for just before the
// gateway unsubscribed would be in nobody's hands once the gateway has ended:
// neither acknowledged nor with another gateway.
func TestGatewayTakesWhatComesAfterUnsubscribing(t *testing.T) {
	t.Parallel()
	b := newBed(t, "msgpack", 1)
	b.start("nats", "stan")
	acknowledged := lateBroker(t, b.specs["broker"].Port, 50*time.Millisecond)
	b.start("gateway")
	if err := b.sup.Stop(t.Context(), "gateway", 1); err != nil {
		t.Fatal(err)
	}
	if !<-acknowledged {
		t.Fatal("the gateway ended without acknowledging the message that came after its unsubscribing")
	}
	await(t, "the message in the stream", func() bool { return b.counters("stan", 1).MessagesIn == 1 })
}
