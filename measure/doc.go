// Package measure holds what a number means: latency histograms, the message
// ledger, the clock model, statistics and the verdict. It is pure: it knows no
// network, no clock, no file and no other package of bela. Agents record with
// it, the controller closes the books with it, and reports read what it made.
package measure
