package mqtt

import (
	"strconv"
	"strings"
	"sync"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// fates knows the messages that wait for an acknowledgement. It learns of them
// as Paho's message store: Paho puts each packet of QoS 1 and 2 there before it
// sends it, and deletes it when the PUBACK or PUBCOMP arrives. So a thousand
// devices need no goroutine that waits for a token each, and the moment of the
// acknowledgement is exact. Nothing is ever sent again from it: All is empty.
type fates struct {
	tell func(id uint64, err error)

	mu   sync.Mutex
	open map[uint16]uint64 // packet identifier → the caller's ID
	// The publish that is being handed over: its ID, and its packet identifier
	// once Paho has put it here.
	next   uint64
	packet uint16
	put    bool
	ended  error // set when the connection is lost; nothing stays open after
}

func newFates(tell func(uint64, error)) *fates {
	if tell == nil {
		tell = func(uint64, error) {}
	}
	return &fates{tell: tell, open: make(map[uint16]uint64)}
}

// announce says which message the next Put belongs to.
func (f *fates) announce(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next, f.put = id, false
}

// withdraw takes the announced message back, because it could not be handed
// over. It is false when its fate has been told already.
func (f *fates) withdraw() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.put {
		return true // Paho refused it before it got anywhere
	}
	if id, ok := f.open[f.packet]; !ok || id != f.next {
		return false
	}
	delete(f.open, f.packet)
	return true
}

// lose tells all that is open that nobody will know.
func (f *fates) lose(why error) {
	f.mu.Lock()
	open := f.open
	f.open, f.ended = nil, why
	f.mu.Unlock()
	for _, id := range open {
		f.tell(id, why)
	}
}

// Put implements paho's Store: a packet is about to be sent, or came in.
func (f *fates) Put(key string, packet packets.ControlPacket) {
	publish, ok := packet.(*packets.PublishPacket)
	if !ok || !strings.HasPrefix(key, "o.") {
		return
	}
	f.mu.Lock()
	f.packet, f.put = publish.MessageID, true
	id, ended := f.next, f.ended
	if ended == nil {
		f.open[publish.MessageID] = id
	}
	f.mu.Unlock()
	if ended != nil {
		// The connection broke after Paho looked at it.
		f.tell(id, ended)
	}
}

// Del implements paho's Store: an acknowledgement arrived or went out.
func (f *fates) Del(key string) {
	number, ok := strings.CutPrefix(key, "o.")
	if !ok {
		return
	}
	packet, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return
	}
	f.mu.Lock()
	id, ok := f.open[uint16(packet)]
	delete(f.open, uint16(packet))
	f.mu.Unlock()
	if ok { // else of a subscription, or one more than was asked for
		f.tell(id, nil)
	}
}

// Open, Close, Reset, Get and All complete paho's Store; nothing is kept for
// another connection.
func (f *fates) Open()  {}
func (f *fates) Close() {}
func (f *fates) Reset() {}

// Get implements paho's Store.
func (f *fates) Get(string) packets.ControlPacket { return nil }

// All implements paho's Store.
func (f *fates) All() []string { return nil }
