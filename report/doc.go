// Package report shows a run to people: as text for a terminal, as Markdown and
// as one HTML file. It only reads the store; what a number means is decided in
// measure, and nothing is computed here that is not in the run directory.
package report
