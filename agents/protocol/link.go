package protocol

// TypeSync asks for the number of the last event, so that a controller can wait
// for all that happened up to now.
const TypeSync Type = "sync"

// Synced answers TypeSync.
type Synced struct {
	LastEvent uint64 `json:"last_event"`
}

// Code marks a log event that the controller has to understand.
type Code string

// The codes of log events.
const (
	// DiskFull: the node's disk takes no more; DiskFree: it does again.
	DiskFull Code = "disk_full"
	DiskFree Code = "disk_free"
)

// Repeatable tells whether a request may be carried out again when its answer
// did not arrive. The answers to all others are remembered.
func (t Type) Repeatable() bool {
	switch t {
	case TypeStatus, TypeCollect, TypePeerCollect, TypeComponentBooks, TypeSync, TypePing:
		return true
	}
	return false
}
