// Package live is what the events of a run so far amount to: where each cell,
// node and component stands, the last minutes of load, and what there is to say
// about each event in one line. Every live view shows this state.
//
// It must not know how a view looks, where it is shown, or how a run works. All
// text in it is harmless on a terminal.
package live
