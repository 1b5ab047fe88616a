package protocol

import (
	"time"

	"bela/measure"
)

// Clock probes between agents: a node with devices answers, over UDP, what nodes
// with customers ask, so that one-way latencies need not rest on how far away
// the controller is. All of it ends with TypeReset.
const (
	TypePeerAnswer  Type = "peer.answer"  // PeerAnswer → PeerAnswering
	TypePeerWatch   Type = "peer.watch"   // PeerWatch → PeerWatching
	TypePeerCollect Type = "peer.collect" // PeerCollect → PeerProbes
)

// PeerTokenSize is the length of a token, in bytes.
const PeerTokenSize = 16

// PeerAnswer asks an agent to answer probes that carry the token, on a UDP port
// of its own choice.
type PeerAnswer struct {
	Bind  string `json:"bind"`
	Token []byte `json:"token"` // PeerTokenSize bytes
}

// PeerAnswering answers PeerAnswer.
type PeerAnswering struct {
	Port int `json:"port"`
}

// PeerWatch asks an agent to probe each peer in quick succession now, then once
// Every, and in quick succession again when the probes are collected.
type PeerWatch struct {
	Bind  string        `json:"bind,omitempty"` // local address to send from; empty for any
	Token []byte        `json:"token"`
	Peers []Peer        `json:"peers"`
	Burst int           `json:"burst"`
	Every time.Duration `json:"every"`
}

// Peer is an agent that answers probes.
type Peer struct {
	Node    string `json:"node"`
	Address string `json:"address"` // host:port
}

// PeerWatching answers PeerWatch after the first probes.
type PeerWatching struct {
	// Silent are the nodes that answered none; they go on being probed.
	Silent []string `json:"silent,omitempty"`
}

// PeerCollect asks for the probes of one peer, and ends probing it.
type PeerCollect struct {
	Node string `json:"node"`
}

// PeerProbes answers PeerCollect: the probes in the order in which they were
// taken, T1 and T4 on the clock of the agent that is asked.
type PeerProbes struct {
	Probes []measure.ProbeSample `json:"probes,omitempty"`
	Sent   int                   `json:"sent"` // probes that were sent
}
