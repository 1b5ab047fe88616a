package component

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"

	"bela/agents/meter"
	"bela/agents/protocol"
)

// The load of these tests: large messages, so that what protocols add is little.
const (
	loadMessages = 500
	loadSize     = 16 << 10
	loadBytes    = loadMessages * loadSize
)

// freePort is a port that nobody listens at right now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// server finds a program that Debian has, where Debian puts servers.
func server(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin", "/usr/lib/rabbitmq/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("left out: %s is not installed", name)
	return ""
}

// mqttLoad sends the load from one client to another, and returns when all of it
// has arrived.
func mqttLoad(t *testing.T, port int) {
	connect := func(id string) paho.Client {
		c := paho.NewClient(paho.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", port)).SetClientID(id).
			SetUsername("guest").SetPassword("guest").SetAutoReconnect(false))
		settled(t, c.Connect())
		t.Cleanup(func() { c.Disconnect(0) })
		return c
	}
	var arrived atomic.Int64
	to, from := connect("to"), connect("from")
	settled(t, to.Subscribe("load", 1, func(_ paho.Client, m paho.Message) { arrived.Add(int64(len(m.Payload()))) }))
	for range loadMessages {
		settled(t, from.Publish("load", 1, false, make([]byte, loadSize)))
	}
	await(t, "the load", func() bool { return arrived.Load() == loadBytes })
}

func settled(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("no answer, or %v", token.Error())
	}
}

func natsLoad(t *testing.T, port int) {
	c, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var arrived atomic.Int64
	if _, err := c.Subscribe("load", func(m *nats.Msg) { arrived.Add(int64(len(m.Data))) }); err != nil {
		t.Fatal(err)
	}
	for range loadMessages {
		if err := c.Publish("load", make([]byte, loadSize)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the load", func() bool { return arrived.Load() == loadBytes })
}

// If this failed, the same traffic would be another number with each source, and
// a foreign broker could not be held beside a built-in one.
func TestSourcesAgree(t *testing.T) {
	port, monitor := freePort(t), freePort(t)
	for _, tt := range []struct {
		name    string
		command func(t *testing.T) []string
		source  protocol.MeterSpec
		load    func(t *testing.T, port int)
	}{
		{"mosquitto", func(t *testing.T) []string {
			config := filepath.Join(t.TempDir(), "mosquitto.conf")
			text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nsys_interval 1\nuser root\n", port)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{server(t, "mosquitto"), "-c", config}
		}, protocol.MeterSpec{Source: protocol.TrafficSys, URL: fmt.Sprintf("mqtt://127.0.0.1:%d", port)}, mqttLoad},
		{"nats-server", func(t *testing.T) []string {
			return []string{server(t, "nats-server"), "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-m", fmt.Sprint(monitor)}
		}, protocol.MeterSpec{Source: protocol.TrafficNATS, URL: fmt.Sprintf("http://127.0.0.1:%d", monitor)}, natsLoad},
	} {
		t.Run(tt.name, func(t *testing.T) { sourcesAgree(t, newBench(t, false), tt.command(t), nil, port, tt.source, tt.load) })
	}
}

// RabbitMQ is told by its environment where all of its things are. It takes ten
// seconds to start, and it leaves a daemon behind that only a control group finds.
func TestRabbitMQAgreesWithItsSockets(t *testing.T) {
	t.Parallel()
	program := server(t, "rabbitmq-server")
	if resolved, err := filepath.EvalSymlinks(filepath.Join("/usr/lib/rabbitmq/bin", filepath.Base(program))); err == nil {
		program = resolved // Debian's own wrapper changes the user
	}
	dir, port, monitor := t.TempDir(), freePort(t), freePort(t)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := map[string]string{
		"HOME": dir, "RABBITMQ_NODENAME": "bela" + fmt.Sprint(port) + "@localhost",
		"ERL_EPMD_PORT": fmt.Sprint(freePort(t)), "RABBITMQ_DIST_PORT": fmt.Sprint(freePort(t)),
		"RABBITMQ_MNESIA_BASE": dir, "RABBITMQ_LOG_BASE": dir, "RABBITMQ_LOGS": "-", "RABBITMQ_PID_FILE": filepath.Join(dir, "pid"),
		"RABBITMQ_ENABLED_PLUGINS_FILE": file("plugins", "[rabbitmq_management,rabbitmq_mqtt].\n"),
		"RABBITMQ_CONFIG_FILE": file("rabbit.conf", fmt.Sprintf("listeners.tcp = none\nmqtt.listeners.tcp.default = 127.0.0.1:%d\n"+
			"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\ncollect_statistics_interval = 1000\n", port, monitor)),
	}
	b := newBench(t, true)
	sourcesAgree(t, b, []string{program}, env, port, protocol.MeterSpec{Source: protocol.TrafficRabbitMQ,
		URL: fmt.Sprintf("http://127.0.0.1:%d", monitor), User: "guest", Password: "guest"}, mqttLoad)
}

// sourcesAgree starts a broker whose sockets are counted, asks its own source
// too, and holds what both say of the load against each other.
func sourcesAgree(t *testing.T, b *bench, command []string, env map[string]string, port int, source protocol.MeterSpec, load func(t *testing.T, port int)) {
	t.Helper()
	spec := b.process()
	spec.Command, spec.Env, spec.ReadyTCP = command, env, fmt.Sprintf("127.0.0.1:%d", port)
	// The monitoring port is not what is compared.
	spec.Meter = &protocol.MeterSpec{Source: protocol.TrafficSockets, InPorts: []int{port}, OutPorts: []int{port}}
	b.start(spec)
	var warned atomic.Pointer[string]
	own, err := meter.Open(source, meter.Options{Now: func() int64 { return time.Now().UnixNano() }, Warn: func(text string) { warned.Store(&text) }})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	var first, last *protocol.Traffic
	read := func() bool {
		if r := own.Take(); r != nil && r.BytesIn != nil && r.BytesOut != nil {
			last = r
		}
		return last != nil
	}
	await(t, "the source's first reading", read)
	first, began := last, b.sample().Traffic
	load(t, port)

	var in, out, ownIn, ownOut int64
	agree := func(a, b int64) bool { return a >= loadBytes && b >= loadBytes && max(a, b)-min(a, b) <= max(a, b)/50 }
	defer func() {
		t.Logf("load %d; in: sockets %d, %s %d; out: sockets %d, %s %d", loadBytes, in, source.Source, ownIn, out, source.Source, ownOut)
		if text := warned.Load(); text != nil {
			t.Log(*text)
		}
	}()
	await(t, "agreement within 2 %", func() bool {
		read()
		now := b.sample().Traffic
		in, out = *now.BytesIn-*began.BytesIn, *now.BytesOut-*began.BytesOut
		ownIn, ownOut = *last.BytesIn-*first.BytesIn, *last.BytesOut-*first.BytesOut
		return agree(in, ownIn) && agree(out, ownOut)
	})
	if most := int64(loadBytes + loadBytes/50); in > most || out > most {
		t.Errorf("%d bytes in and %d out for a load of %d", in, out, loadBytes)
	}
}

// If this failed, an instance's own source would be asked for ever after its end,
// or its readings would not reach the samples.
func TestMeterOfAnInstance(t *testing.T) {
	port, monitor := freePort(t), freePort(t)
	b := newBench(t, false)
	spec := b.process()
	spec.Command = []string{server(t, "nats-server"), "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-m", fmt.Sprint(monitor)}
	spec.ReadyTCP = fmt.Sprintf("127.0.0.1:%d", port)
	spec.Meter = &protocol.MeterSpec{Source: protocol.TrafficNATS, URL: fmt.Sprintf("http://127.0.0.1:%d", monitor)}
	var told atomic.Int64
	b.OnWarn = func(string) { told.Add(1) }
	b.start(spec)
	await(t, "a reading", func() bool {
		r := b.sample().Traffic
		return r != nil && r.Source == protocol.TrafficNATS && r.BytesIn != nil
	})
	if err := b.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := told.Load(); n > 1 { // one if it was asked while it ended
		t.Errorf("%d warnings", n)
	}
}

// If this failed, a typing error would cost a campaign its throughput.
func TestMeterIsChecked(t *testing.T) {
	b := newBench(t, false)
	spec := b.process("stubborn")
	spec.Meter = &protocol.MeterSpec{Source: "prometheus", URL: "http://127.0.0.1/", Map: map[string]string{"bytes_in": "rate(x)"}}
	if _, err := b.Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "is no metric") {
		t.Errorf("error %v", err)
	}
}

// If this failed, nobody would see that a limit held a component back, and a
// latency that the limit made would be put down to the component.
func TestLimitsShowInSamples(t *testing.T) {
	b := newBench(t, true)
	spec := b.process("spin", "100")
	spec.LimitCPU = 100
	b.start(spec)
	await(t, "300 ms of being throttled", func() bool {
		g := b.sample().Group
		return g != nil && g.ThrottledNS != nil && *g.ThrottledNS > int64(300*time.Millisecond) && *g.ThrottledPeriods >= 3
	})
	if g := b.sample().Group; g.OOMKills == nil || *g.OOMKills != 0 || g.MemoryPeak == nil || *g.MemoryPeak < b.sample().Memory {
		t.Errorf("%+v", g)
	}
	if err := b.Stop(t.Context(), "p", 1); err != nil {
		t.Fatal(err)
	}
	without := b.process("spin", "100")
	b.start(without)
	await(t, "300 ms of CPU", func() bool { return b.sample().CPUNS > int64(300*time.Millisecond) })
	if g := b.sample().Group; g.ThrottledNS == nil || *g.ThrottledNS != 0 {
		t.Errorf("without a limit: throttled %+v", g)
	}
}

// If this failed, a peak between two samples would go unseen, and a memory limit
// be set below what is needed.
func TestMemoryPeak(t *testing.T) {
	b := newBench(t, true)
	b.start(b.process("memory", "200"))
	if err := os.WriteFile(filepath.Join(b.Dir, "cells", "001", "p-1", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.awaitOutput("touched", 1)
	if got := *b.sample().Group.MemoryPeak >> 20; got < 200 || got > 220 {
		t.Errorf("a peak of %d MiB, and 200 were touched", got)
	}
}

// If this failed, a child that the memory limit killed would leave no trace where
// its parent ends in good order.
func TestMemoryLimitThatKillsAChild(t *testing.T) {
	b := newBench(t, true)
	spec := b.process()
	spec.Command = []string{"sh", "-c", `"$0" helper memory 200; exit 3`, self(t)}
	spec.LimitMemory = 64 << 20
	b.start(spec)
	b.awaitOutput("up", 1)
	if err := os.WriteFile(filepath.Join(b.Dir, "cells", "001", "p-1", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := b.awaitEvent(); !strings.Contains(e.Detail, "exit status 3") || !strings.Contains(e.Detail, "killed by the memory limit of 64 MiB") {
		t.Errorf("%+v", e)
	}
}
