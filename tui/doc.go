// Package tui shows a run to the person in front of it: as a dashboard in a
// terminal, as plain lines in a pipe, or as JSON for a program.
//
// The stream of typed events is all that it gets. It must not know how a run
// works, and it can never slow one: a view that cannot write falls behind,
// folds samples together and goes on.
package tui
