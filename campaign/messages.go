package campaign

import (
	"bela/agents/protocol"
	"bela/measure"
)

// messageUse gathers how many messages an instance took and handed on, and how
// large their payloads were.
type messageUse struct{ in, out, payloadIn, payloadOut []measure.Reading }

func (u *messageUse) add(at int64, c *protocol.Counters) {
	u.in = append(u.in, measure.Reading{At: at, Value: c.MessagesIn})
	u.out = append(u.out, measure.Reading{At: at, Value: c.MessagesOut})
	u.payloadIn = append(u.payloadIn, measure.Reading{At: at, Value: c.PayloadIn})
	u.payloadOut = append(u.payloadOut, measure.Reading{At: at, Value: c.PayloadOut})
}

func (u *messageUse) fill(row *measure.Component, w window) {
	row.MessagesIn, row.MessagesOut = rate(u.in, w), rate(u.out, w)
	row.MessageIn, row.MessageOut = mean(rate(u.payloadIn, w), row.MessagesIn), mean(rate(u.payloadOut, w), row.MessagesOut)
}

// mean is bytes a message; nil where there were none.
func mean(bytes, messages *float64) *float64 {
	if bytes == nil || messages == nil || *bytes <= 0 || *messages <= 0 {
		return nil
	}
	v := *bytes / *messages
	return &v
}
