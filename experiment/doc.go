// Package experiment turns an experiment file into a plan: every cell of the
// matrix, numbered, with its components, devices and customers resolved and
// placed on nodes. It is pure: it reads the file and its variables and knows
// no network, no clock and no other package of bela.
package experiment
