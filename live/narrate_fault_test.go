package live

import (
	"strings"
	"testing"
	"time"

	"bela/event"
)

// Who looks at a run must see when something was done to it on purpose, and not
// take what follows for a failure.
func TestFaultsAreTold(t *testing.T) {
	s := New()
	fault := event.Fault{Position: 1, Name: "far\x1b[2J away", Does: "slow", Target: "iot-1", Measured: []string{"iot-1: round trip before: 1 ms", "b", "c", "d"}}
	tell := func(d event.Data) string {
		e := event.Event{Seq: 1, Time: time.Unix(1, 0), Data: d}
		s.apply(e)
		notes := s.narrate(e)
		if len(notes) != 1 || !notes[0].Lasting || !notes[0].Logged {
			t.Fatalf("notes: %+v", notes)
		}
		return notes[0].Text
	}
	begun := tell(event.FaultStarted{Fault: fault, Text: "slow iot-1: delay 50ms", For: 5})
	for _, want := range []string{"cell 1", "away", "slow iot-1: delay 50ms", "for 5s", "round trip before: 1 ms", "1 more node"} {
		if !strings.Contains(begun, want) {
			t.Errorf("%q does not say %q", begun, want)
		}
	}
	if strings.Contains(begun, "\x1b") {
		t.Errorf("a name reaches the terminal as it is: %q", begun)
	}
	if healed := tell(event.FaultHealed{Fault: fault, Lasted: 5.04}); !strings.Contains(healed, "healed after 5.0 s") {
		t.Errorf("%q", healed)
	}
}
