package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"bela/event"
	"bela/measure"
)

// Version is the version of Message's JSON.
const Version = 1

// The kinds of messages.
const (
	RunFinished = "run_finished"
	CellInvalid = "cell_invalid"
)

// Message is what is posted; docs/experiment-file.md describes its JSON.
type Message struct {
	Version    int       `json:"bela_notify"`
	Kind       string    `json:"kind"`
	Time       time.Time `json:"time"`
	Experiment string    `json:"experiment"`
	Run        string    `json:"run"`
	// Directory is the run directory on the controller.
	Directory string `json:"directory"`
	// Text says it all in one line, for chats.
	Text string `json:"text"`
	// Finished is set in run_finished, Cell in cell_invalid.
	Finished *Finished `json:"finished,omitempty"`
	Cell     *Cell     `json:"cell,omitempty"`
}

// Finished is how a run ended.
type Finished struct {
	Status   int    `json:"status"` // bela's exit status
	Reason   string `json:"reason"`
	Valid    int    `json:"valid"`
	Degraded int    `json:"degraded"`
	Invalid  int    `json:"invalid"`
	Missing  int    `json:"missing"`
}

// Cell is a cell whose numbers must not be used.
type Cell struct {
	Position   int            `json:"position"`
	Number     int            `json:"cell"`
	Repetition int            `json:"repetition"`
	Attempt    int            `json:"attempt"`
	Dimensions map[string]any `json:"dimensions"`
	// Reasons are in words, the worst first.
	Reasons []string `json:"reasons"`
}

// about makes a message of an event, or says that it is not worth one.
func about(run event.RunStarted, e event.Event) (Message, bool) {
	m := Message{Version: Version, Time: e.Time.UTC(), Experiment: run.Experiment, Run: run.Run, Directory: run.Directory}
	switch d := e.Data.(type) {
	case event.RunFinished:
		m.Kind = RunFinished
		m.Finished = &Finished{Status: d.Status, Reason: d.Reason, Valid: d.Valid, Degraded: d.Degraded, Invalid: d.Invalid, Missing: d.Missing}
		m.Text = fmt.Sprintf("bela: %s ended with status %d: %s (%d valid, %d degraded, %d invalid, %d missing)",
			run.Experiment, d.Status, d.Reason, d.Valid, d.Degraded, d.Invalid, d.Missing)
	case event.CellFinished:
		if d.Result.Verdict != measure.Invalid {
			return m, false
		}
		m.Kind = CellInvalid
		m.Cell = &Cell{Position: d.Cell.Position, Number: d.Cell.Number, Repetition: d.Cell.Repetition, Attempt: d.Cell.Attempt,
			Dimensions: make(map[string]any), Reasons: reasons(d.Result)}
		var at []string
		for _, dim := range d.Cell.Dimensions {
			m.Cell.Dimensions[dim.Name] = dim.Value
			at = append(at, fmt.Sprintf("%s=%v", dim.Name, dim.Value))
		}
		m.Text = fmt.Sprintf("bela: %s, cell %d (%s) is invalid: %s",
			run.Experiment, d.Cell.Number, strings.Join(at, ", "), strings.Join(m.Cell.Reasons, "; "))
	default:
		return m, false
	}
	return m, true
}

// reasons are those that made the cell invalid, then the others.
func reasons(c measure.Cell) []string {
	var worst, others []string
	for _, r := range c.Reasons {
		if r.Verdict == measure.Invalid {
			worst = append(worst, r.Text)
		} else {
			others = append(others, r.Text)
		}
	}
	return append(worst, others...)
}

// body encodes a message in a format.
func (m Message) body(format string) ([]byte, error) {
	if format == Text {
		return json.Marshal(struct {
			Text string `json:"text"`
		}{m.Text})
	}
	return json.Marshal(m)
}
