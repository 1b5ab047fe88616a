package campaign

import (
	"bela/agents/protocol"
	"bela/measure"
)

// messageUse gathers how many messages an instance took and handed on, and how
// large their payloads were.
type messageUse struct{ in, out, payloadIn, payloadOut counter }

// add takes what a process had counted at a time.
func (u *messageUse) add(at int64, pid int, c *protocol.Counters) {
	u.in.add(at, c.MessagesIn, pid)
	u.out.add(at, c.MessagesOut, pid)
	u.payloadIn.add(at, c.PayloadIn, pid)
	u.payloadOut.add(at, c.PayloadOut, pid)
}

func (u *messageUse) fill(row *measure.Component, w window) {
	row.MessagesIn, row.MessagesOut = u.in.rate(w), u.out.rate(w)
	row.MessageIn, row.MessageOut = mean(u.payloadIn.rate(w), row.MessagesIn), mean(u.payloadOut.rate(w), row.MessagesOut)
}

// mean is bytes a message; nil where there were none.
func mean(bytes, messages *float64) *float64 {
	if bytes == nil || messages == nil || *bytes <= 0 || *messages <= 0 {
		return nil
	}
	v := *bytes / *messages
	return &v
}
