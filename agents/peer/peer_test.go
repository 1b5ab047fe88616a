package peer_test

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"bela/agents/clock"
	"bela/agents/peer"
	"bela/agents/protocol"
	"bela/measure"
)

var token = bytes.Repeat([]byte{7}, protocol.PeerTokenSize)

func responder(t *testing.T, token []byte, local func() int64) protocol.Peer {
	t.Helper()
	r, err := peer.Answer("127.0.0.1", token, local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return protocol.Peer{Node: "iot-1", Address: net.JoinHostPort("127.0.0.1", fmt.Sprint(r.Port()))}
}

func watch(t *testing.T, spec protocol.PeerWatch, local func() int64) (*peer.Watcher, []string) {
	t.Helper()
	w, silent, err := peer.Watch(t.Context(), spec, local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w, silent
}

// Two clocks that are 200 ms apart must be known to within half a round trip by
// the probes between them, from before to after; else latencies between their
// nodes are wrong by what is missing.
func TestPeersKnowEachOther(t *testing.T) {
	device, customer := clock.New(clock.Options{Offset: 100 * time.Millisecond}), clock.New(clock.Options{Offset: -100 * time.Millisecond})
	var read atomic.Int64 // twice for each answer
	at := responder(t, token, func() int64 { read.Add(1); return device.Local() })
	w, silent := watch(t, protocol.PeerWatch{Bind: "127.0.0.2", Token: token, Peers: []protocol.Peer{at}, Burst: 24, Every: 20 * time.Millisecond}, customer.Local)
	if len(silent) > 0 {
		t.Fatalf("%v are silent", silent)
	}
	for deadline := time.Now().Add(20 * time.Second); read.Load() < 2*(24+3); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("within 20 s only %d probes were answered: none follow the burst", read.Load()/2)
		}
	}
	got, err := w.Collect(t.Context(), "iot-1")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Probes) < 2*24+2 || got.Sent < len(got.Probes) {
		t.Errorf("%d probes of %d, want two bursts of 24 and some between", len(got.Probes), got.Sent)
	}
	fit, err := measure.FitClockPair(got.Probes)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("apart by %v ± %v", time.Duration(fit.Offset), time.Duration(fit.Error))
	if off := fit.Offset + 200e6; off > fit.Error+1e6 || off < -fit.Error-1e6 || len(fit.Steps) > 0 { // two clocks are anchored apart by µs
		t.Errorf("apart by %v ± %v with steps %v, planted were -200 ms", time.Duration(fit.Offset), time.Duration(fit.Error), fit.Steps)
	}
	again, err := w.Collect(t.Context(), "iot-1")
	if err != nil || !slices.Equal(again.Probes, got.Probes) {
		t.Errorf("collected again: %d probes, %v", len(again.Probes), err)
	}
	if _, err := w.Collect(t.Context(), "iot-9"); err == nil {
		t.Error("a node that is not probed has probes")
	}
}

// A node behind a firewall, or of another run, must be named as silent, and not
// hold up the cell.
func TestSilentPeers(t *testing.T) {
	local := clock.New(clock.Options{}).Local
	other := responder(t, bytes.Repeat([]byte{8}, protocol.PeerTokenSize), local)
	other.Node = "another run's"
	closed, err := net.ListenPacket("udp", "127.0.0.1:0") // takes, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closed.Close() }()
	begun := time.Now()
	w, silent := watch(t, protocol.PeerWatch{
		Token: token, Burst: 24, Every: time.Second,
		Peers: []protocol.Peer{other, {Node: "firewalled", Address: closed.LocalAddr().String()}},
	}, local)
	if !slices.Equal(silent, []string{"another run's", "firewalled"}) {
		t.Errorf("silent are %v", silent)
	}
	got, err := w.Collect(t.Context(), "firewalled")
	if err != nil || len(got.Probes) != 0 || got.Sent < 3 {
		t.Errorf("%d probes, %d sent, %v", len(got.Probes), got.Sent, err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// The port is open to all of a network: it must answer nobody without the token,
// nothing longer than it was asked, and no flood.
func TestResponderIsNoAmplifier(t *testing.T) {
	at := responder(t, token, func() int64 { return 5e9 }) // one second that does not end
	conn, err := net.Dial("udp", at.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	question := append([]byte("belaclk1q"), token...)
	question = append(question, make([]byte, 24)...)
	ask := func(b []byte, wait time.Duration) (int, bool) {
		if _, err := conn.Write(b); err != nil {
			return 0, false
		}
		buf := make([]byte, 1500)
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(buf)
		return n, err == nil
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "short": question[:len(question)-1], "long": append(slices.Clone(question), 0),
		"another token": bytes.Replace(question, token[:1], []byte{9}, 1), "an answer": bytes.Replace(question, []byte("1q"), []byte("1a"), 1),
	} {
		if _, ok := ask(b, 50*time.Millisecond); ok {
			t.Errorf("%s is answered", name)
		}
	}
	if n, ok := ask(question, 5*time.Second); !ok || n > len(question) {
		t.Fatalf("a question of %d bytes: an answer of %d, %v", len(question), n, ok)
	}
	answers := 1
	for ; answers <= 6000; answers++ {
		if _, ok := ask(question, time.Second); !ok {
			break
		}
	}
	if answers > 5000 || answers < 4000 { // loopback may lose some when busy
		t.Errorf("%d questions in one second were answered, want 5000", answers)
	}
}

// Requests come from outside: what cannot be done must be refused.
func TestRefusals(t *testing.T) {
	local := clock.New(clock.Options{}).Local
	if _, err := peer.Answer("127.0.0.1", token[1:], local); err == nil {
		t.Error("a short token is taken")
	}
	good := protocol.PeerWatch{Token: token, Burst: 1, Every: time.Second}
	for name, change := range map[string]func(*protocol.PeerWatch){
		"token": func(w *protocol.PeerWatch) { w.Token = nil },
		"burst": func(w *protocol.PeerWatch) { w.Burst = 1 << 20 },
		"every": func(w *protocol.PeerWatch) { w.Every = 0 },
		"peers": func(w *protocol.PeerWatch) { w.Peers = make([]protocol.Peer, peer.MaxPeers+1) },
		"address": func(w *protocol.PeerWatch) {
			w.Peers = []protocol.Peer{{Node: "iot-1", Address: "nowhere"}}
		},
	} {
		spec := good
		change(&spec)
		if w, _, err := peer.Watch(t.Context(), spec, local); err == nil {
			w.Close()
			t.Errorf("%s: it is taken", name)
		}
	}
}
