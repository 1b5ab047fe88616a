package platform

import (
	"slices"
	"testing"

	"bela/agents/protocol"
)

// The controller refuses a node whose components drop messages for reasons that
// it does not know.
func TestReasonsAreKnown(t *testing.T) {
	if !slices.Equal(reasonNames[:], protocol.DropReasons()) {
		t.Errorf("components say %q, the controller knows %q", reasonNames, protocol.DropReasons())
	}
}
