package event

import "time"

// KindRunResumed is RunResumed's, as it stands in JSON.
const KindRunResumed Kind = "run_resumed"

// RunResumed says that a run that was broken off goes on. RunStarted was told
// when it began, and numbers go on where the events that were kept end.
type RunResumed struct {
	Run       string    `json:"run"`
	Directory string    `json:"directory"`
	StartedAt time.Time `json:"started_at"` // when the run began
	Nodes     []NodeRef `json:"nodes"`      // as they are reached now
	// Done cells have a result that stands, Left are to be run; where the
	// repetitions turn out to be enough, fewer are.
	Done     int           `json:"done"`
	Left     int           `json:"left"`
	Expected time.Duration `json:"expected_ns"` // of the cells that are left
	Version  string        `json:"bela_version"`
}

// Kind implements Data.
func (RunResumed) Kind() Kind { return KindRunResumed }
