// Package nodes reaches machines: an SSH connection each, the commands and
// files that go over it, the facts of the machine, and the fan-out over many.
//
// It knows machines only. It must not know experiments, agents or what is put
// on a node, and it cannot tell a machine of the loopback lab from a real one.
package nodes
