package measure

// PublishAccount is what one device did with its measured messages, kept by the
// agent that ran it. Message i of the account is sequence number First+i; a bit
// set in a bitmap says that of message i. Every measured message is in exactly
// one of the classes sent, failed and unsent; acked and unknown refine sent.
type PublishAccount struct {
	Device int    `json:"device"`
	First  uint32 `json:"first"` // the first measured sequence number
	Count  uint32 `json:"count"` // how many messages the schedule intended in the window
	// Sent: handed to the transport without an error.
	Sent Bitmap `json:"sent"`
	// Acked: the broker acknowledged it (QoS 1 and 2); empty at QoS 0.
	Acked Bitmap `json:"acked"`
	// Failed: the transport refused it with an error.
	Failed Bitmap `json:"failed"`
	// Unknown: sent, and the connection broke or the wait for the
	// acknowledgement ended before it came.
	Unknown Bitmap `json:"unknown"`
}

// ReceiptAccount is what one customer received of one device's measured
// messages, kept by the agent that ran the customer.
type ReceiptAccount struct {
	Customer int    `json:"customer"`
	Device   int    `json:"device"`
	First    uint32 `json:"first"`
	// Delivered and Late are disjoint: a message is late when its latency from
	// the intended time is above the bound that the experiment sets.
	Delivered  Bitmap `json:"delivered"`
	Late       Bitmap `json:"late,omitempty"`
	Duplicated uint64 `json:"duplicated"` // deliveries beyond the first of a message
	Reordered  uint64 `json:"reordered"`  // first deliveries with a sequence number below one seen before
	// ReorderDistance is the largest distance, in sequence numbers, of a
	// reordered message behind the highest seen before it.
	ReorderDistance uint32 `json:"reorder_distance,omitempty"`
}

// LatencySlice is the latencies of the messages that one node's devices
// intended to send in one second of the cell and that one agent's customers
// received. Latency is receipt minus intended time on the testbed's time axis
// as the agents knew it; Residual corrections are applied when it is merged.
type LatencySlice struct {
	// Second counts from the start of load; negative never.
	Second int32 `json:"second"`
	// Source is the index of the device node (its number in the cell's shares).
	Source  int        `json:"source"`
	Latency *Histogram `json:"latency"`
}
