package doctor

import (
	"cmp"
	"slices"
)

// Severity says what a finding would do to a campaign.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the campaign would fail
	Warning Severity = "warning" // its numbers may be spoilt
	Note    Severity = "note"    // good to know
)

// Finding is one thing about one node.
type Finding struct {
	Node     string   `json:"node"`
	Check    string   `json:"check"` // "ports": what was looked at
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why"` // it matters
	// Fix is what to do, most often a command to type; empty where nothing is
	// to be done.
	Fix string `json:"fix,omitempty"`

	// mend is what -fix would do; nil where it does nothing.
	mend *mend
}

// Fixable says whether -fix would mend it.
func (f Finding) Fixable() bool { return f.mend != nil }

// mend is a remedy that bela applies itself.
type mend struct {
	leftovers     bool   // remove them
	sysctl, value string // or set this
}

// Report is what a doctor found.
type Report struct {
	Experiment string    `json:"experiment"`
	Fit        bool      `json:"fit"` // no finding is an error
	Nodes      []Patient `json:"nodes"`
	Findings   []Finding `json:"findings"`
	// Ways is how many ways between nodes were tried.
	Ways int `json:"ways_tried"`
	// Done is what -fix or -undo did, a line each.
	Done []string `json:"done,omitempty"`
	// UndoFile is where the controller keeps how to undo it; empty where
	// nothing was changed that could be.
	UndoFile string `json:"undo_file,omitempty"`
}

// Patient is one node that was looked at.
type Patient struct {
	Node    string `json:"node"`
	Address string `json:"address"`
	// Spare says that it stands in for a node that is lost, and else does nothing.
	Spare bool `json:"spare,omitempty"`
	// Seen says how far the doctor came: "all", "facts" where no agent could be
	// brought there, or "nothing".
	Seen string `json:"seen"`
	// ClockOffsetMS is the node's clock against the controller's, and
	// ClockErrorMS how far that may be off; nil where it was not read.
	ClockOffsetMS *float64 `json:"clock_offset_ms,omitempty"`
	ClockErrorMS  *float64 `json:"clock_error_ms,omitempty"`
	// LimitsBy is what would enforce limits of components there; empty where
	// nothing would, or the plan has none for the node.
	LimitsBy string `json:"limits_by,omitempty"`
}

// count says how many findings have a severity.
func (r *Report) count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// settle orders the findings, the worst first, and says whether the nodes are fit.
func (r *Report) settle() {
	rank := map[Severity]int{Error: 0, Warning: 1, Note: 2}
	place := make(map[string]int)
	for i, p := range r.Nodes {
		place[p.Node] = i
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.Check, b.Check),
			cmp.Compare(place[a.Node], place[b.Node]), cmp.Compare(a.What, b.What))
	})
	r.Fit = r.count(Error) == 0
}
