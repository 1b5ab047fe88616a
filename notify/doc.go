// Package notify tells people who do not watch a run what they would want to
// know: that a cell became invalid, that the run ended. It reads events and
// posts them to one address over HTTP. It knows nothing of how a run works, and
// it can neither slow nor fail one: it has a bounded queue, its own deadlines,
// and the last word is one error that says what did not arrive.
package notify
