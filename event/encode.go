package event

import (
	"encoding/json"
	"fmt"
	"time"
)

// The kinds, as they stand in JSON.
const (
	KindRunStarted     Kind = "run_started"
	KindNodeState      Kind = "node"
	KindCellStarted    Kind = "cell_started"
	KindPhaseStarted   Kind = "phase"
	KindWaiting        Kind = "waiting"
	KindComponentState Kind = "component"
	KindNodeSample     Kind = "node_sample"
	KindLoad           Kind = "load"
	KindCellFinished   Kind = "cell_finished"
	KindMessage        Kind = "message"
	KindRunFinished    Kind = "run_finished"
)

// Kind implements Data.
func (RunStarted) Kind() Kind { return KindRunStarted }

// Kind implements Data.
func (NodeState) Kind() Kind { return KindNodeState }

// Kind implements Data.
func (CellStarted) Kind() Kind { return KindCellStarted }

// Kind implements Data.
func (PhaseStarted) Kind() Kind { return KindPhaseStarted }

// Kind implements Data.
func (Waiting) Kind() Kind { return KindWaiting }

// Kind implements Data.
func (ComponentState) Kind() Kind { return KindComponentState }

// Kind implements Data.
func (NodeSample) Kind() Kind { return KindNodeSample }

// Kind implements Data.
func (Load) Kind() Kind { return KindLoad }

// Kind implements Data.
func (CellFinished) Kind() Kind { return KindCellFinished }

// Kind implements Data.
func (Message) Kind() Kind { return KindMessage }

// Kind implements Data.
func (RunFinished) Kind() Kind { return KindRunFinished }

// wire is an event as it stands in JSON: one object a line.
type wire struct {
	V    int             `json:"v"`
	Seq  uint64          `json:"seq"`
	Time time.Time       `json:"time"`
	Kind Kind            `json:"kind"`
	Data json.RawMessage `json:"data"`
}

// MarshalJSON encodes the event with its version and kind.
func (e Event) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("event %d (%s): %w", e.Seq, e.Data.Kind(), err)
	}
	return json.Marshal(wire{V: Version, Seq: e.Seq, Time: e.Time.UTC(), Kind: e.Data.Kind(), Data: data})
}

// UnmarshalJSON decodes an event. It refuses another version and a kind that
// it does not know.
func (e *Event) UnmarshalJSON(b []byte) error {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	if w.V != Version {
		return fmt.Errorf("event version %d is not %d: it was written by another version of bela", w.V, Version)
	}
	data, err := decode(w.Kind, w.Data)
	if err != nil {
		return fmt.Errorf("event %d (%s): %w", w.Seq, w.Kind, err)
	}
	e.Seq, e.Time, e.Data = w.Seq, w.Time, data
	return nil
}

func decode(kind Kind, b []byte) (Data, error) {
	switch kind {
	case KindRunStarted:
		return into[RunStarted](b)
	case KindRunResumed:
		return into[RunResumed](b)
	case KindNodeState:
		return into[NodeState](b)
	case KindCellStarted:
		return into[CellStarted](b)
	case KindPhaseStarted:
		return into[PhaseStarted](b)
	case KindWaiting:
		return into[Waiting](b)
	case KindComponentState:
		return into[ComponentState](b)
	case KindNodeSample:
		return into[NodeSample](b)
	case KindLoad:
		return into[Load](b)
	case KindCellFinished:
		return into[CellFinished](b)
	case KindMessage:
		return into[Message](b)
	case KindFaultStarted:
		return into[FaultStarted](b)
	case KindFaultHealed:
		return into[FaultHealed](b)
	case KindCellSkipped:
		return into[CellSkipped](b)
	case KindRunFinished:
		return into[RunFinished](b)
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

func into[T Data](b []byte) (Data, error) {
	var v T
	err := json.Unmarshal(b, &v)
	return v, err
}
