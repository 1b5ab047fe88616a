// Package mqtttest gives tests real MQTT brokers on loopback, and a proxy
// between them and their clients that delays, stalls and cuts. Only tests may
// import it: it brings a broker along.
package mqtttest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Broker starts a broker in this process, with hooks that may misbehave as a
// test needs, and ends it with the test.
func Broker(t testing.TB, hooks ...mochi.Hook) (server *mochi.Server, address string) {
	t.Helper()
	server = mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	for _, h := range append([]mochi.Hook{new(allow)}, hooks...) {
		if err := server.AddHook(h, nil); err != nil {
			t.Fatalf("broker: %v", err)
		}
	}
	tcp := listeners.NewTCP(listeners.Config{ID: "test", Address: "127.0.0.1:0"})
	if err := server.AddListener(tcp); err != nil {
		t.Fatalf("broker: %v", err)
	}
	if err := server.Serve(); err != nil {
		t.Fatalf("broker: %v", err)
	}
	t.Cleanup(func() { end(t, server) })
	return server, tcp.Address()
}

// end closes a broker when its clients have left. Closing it while one is leaving
// can lock it up: version 2.7.9 takes the lock on its clients twice for reading,
// which a writer in between turns into a deadlock.
func end(t testing.TB, server *mochi.Server) {
	const inline = 1 // the broker's own client
	for deadline := time.Now().Add(5 * time.Second); server.Clients.Len() > inline; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			break // a test left clients behind, which are not leaving
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = server.Close() // what its listener says on the way out matters to nobody
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the broker does not close")
	}
}

// allow lets everybody do everything.
type allow struct{ mochi.HookBase }

func (allow) ID() string { return "allow" }

func (allow) Provides(b byte) bool { return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck }

func (allow) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (allow) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// Mosquitto starts a mosquitto on a free port and ends it with the test; it
// skips the test where none is installed.
func Mosquitto(t testing.TB) (address string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto" // not in everybody's PATH
		if _, err := os.Stat(program); err != nil {
			t.Skip("left out: MQTT against mosquitto: it is not installed")
		}
	}
	address = freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	// Mosquitto drops its rights to the user "mosquitto" when started as root,
	// unless told otherwise.
	// No window of messages in flight: version 2.0.11 leaves messages of QoS 2
	// lying in its queue once a slow client has filled the window.
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n"+
		"max_inflight_messages 0\nmax_queued_messages 0\n", port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, program, "-c", config)
	command.Stdout, command.Stderr = io.Discard, io.Discard
	if err := command.Start(); err != nil {
		t.Fatalf("mosquitto: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = command.Wait() // it was killed, which is an error
	})
	waitFor(t, address)
	return address
}

// freeAddress is a loopback address whose port was free a moment ago.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// waitFor returns when something listens at the address.
func waitFor(t testing.TB, address string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nothing listens at %s after 10 s", address)
}
