package live

// Control is how whoever watches a run steps in. Its methods do not wait for
// what they ask for, and may be called from any goroutine.
type Control interface {
	// SkipCell gives up the cell at a position, which must be the one in
	// progress. by says who wants it, for the record.
	SkipCell(position int, by string) error
	// StopRun ends the run as the first Ctrl-C does.
	StopRun() error
}
