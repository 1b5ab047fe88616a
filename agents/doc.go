// Package agents is what runs on a node: one agent process that starts
// components, runs devices and customers, watches the host, and answers its
// controller over a local socket. It knows the protocol and nothing of the
// controller: no experiment file, no SSH, no terminal.
package agents
