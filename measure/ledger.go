package measure

// Ledger is the closed books of a cell over all devices and customers, in
// deliveries: a message that k customers should get counts k times in Expected,
// Delivered, Late, Dropped and Unknown, and once in the others.
//
// The identities, which Closed reports:
//
//	Intended = Unsent + Failed + Published
//	Published × fan-out = Expected = Delivered + Late + Dropped + Unknown
type Ledger struct {
	Intended  int64 `json:"intended"`
	Unsent    int64 `json:"unsent"`
	Failed    int64 `json:"failed"`
	Published int64 `json:"published"`
	// Acked counts published messages that the broker acknowledged.
	Acked    int64 `json:"acked"`
	Expected int64 `json:"expected"`
	// Delivered arrived in time, Late arrived after the bound, Dropped never
	// arrived; Unknown was published and the customer's books are missing.
	Delivered  int64 `json:"delivered"`
	Late       int64 `json:"late"`
	Dropped    int64 `json:"dropped"`
	Unknown    int64 `json:"unknown"`
	Duplicated int64 `json:"duplicated"`
	Reordered  int64 `json:"reordered"`
	// InDoubt counts messages whose acknowledgement never came (the publisher
	// could not know); each is also in Delivered, Late, Dropped or Unknown.
	InDoubt int64 `json:"in_doubt"`
	// Phantom counts deliveries of messages that no publisher's books hold as
	// sent; any makes the ledger open.
	Phantom int64  `json:"phantom"`
	Closed  bool   `json:"closed"`
	Open    string `json:"open,omitempty"` // why it is not closed
}

// Taken says whether the books hold anything: a cell that came to no load has no
// counts, which is not to have counted nothing.
func (l Ledger) Taken() bool {
	l.Open = ""
	return l != Ledger{}
}
