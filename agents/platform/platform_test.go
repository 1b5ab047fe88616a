package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"bela/agents/component"
	"bela/agents/platform"
	"bela/agents/protocol"
)

// TestMain is also the executables of the agent and of the platform: the supervisor
// under test starts it again as a shim and as a component.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == component.ShimCommand:
		err = component.Shim(os.Args[2:])
	case len(os.Args) == 4 && os.Args[2] == "-config":
		err = platform.Main(context.Background(), os.Args[1], os.Args[3], os.Stdout, os.Stderr)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const (
	user     = "bela"
	password = "a-secret-of-this-run"
	patience = 30 * time.Second // of a busy machine
)

// bed is a platform on loopback.
type bed struct {
	t      *testing.T
	sup    *component.Supervisor
	dir    string
	events chan protocol.ComponentEvent
	specs  map[string]protocol.ComponentSpec
}

// newBed prepares specs of all kinds; nothing runs yet.
func newBed(t *testing.T, codec string, qos int) *bed {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, dir: t.TempDir(), events: make(chan protocol.ComponentEvent, 100)}
	b.sup = component.New(component.Options{
		Dir: b.dir, Self: self, Now: func() int64 { return time.Now().UnixNano() },
		OnEvent: func(e protocol.ComponentEvent) { b.events <- e },
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	t.Cleanup(func() { b.stopAll() })
	broker, nats := freePort(t), freeLeafPort(t)
	links := map[string][]string{"broker": {local(broker)}, "nats": {local(nats)}}
	b.specs = map[string]protocol.ComponentSpec{
		"broker":  {Port: broker},
		"nats":    {Port: nats},
		"stan":    {Port: freePort(t), Links: links},
		"gateway": {Links: links},
		"hub":     {Links: links},
	}
	for kind, s := range b.specs {
		s.Cell, s.Name, s.Instance, s.Kind, s.Executable = "001", kind, 1, kind, self
		s.Bind, s.User, s.Password = "127.0.0.1", user, password
		s.Codec, s.QoS, s.Queue, s.Timeout = codec, qos, 5000, 20*time.Second
		s.Ingest, s.Deliver = "iot/#", "out"
		s.ReadyTimeout, s.StopTimeout = patience, patience
		s.Env = map[string]string{"GORACE": os.Getenv("GORACE")} // how long a racing program's end takes
		b.specs[kind] = s
	}
	return b
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// freeLeafPort finds a port whose leaf port is free too.
func freeLeafPort(t *testing.T) int {
	t.Helper()
	for range 100 {
		p := freePort(t)
		l, err := net.Listen("tcp", local(platform.LeafPort(p)))
		if err == nil {
			_ = l.Close()
			return p
		}
	}
	t.Fatal("no two free ports a thousand apart")
	return 0
}

func (b *bed) start(kinds ...string) {
	b.t.Helper()
	for _, k := range kinds {
		b.startSpec(b.specs[k])
	}
}

func (b *bed) startSpec(s protocol.ComponentSpec) {
	b.t.Helper()
	if _, err := b.sup.Start(b.t.Context(), s); err != nil {
		var e *protocol.Error
		if errors.As(err, &e) {
			b.t.Fatalf("start %s: %v\n%s", s.Name, err, strings.Join(e.Log, "\n"))
		}
		b.t.Fatalf("start %s: %v", s.Name, err)
	}
}

func (b *bed) stopAll() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if err := b.sup.StopAll(ctx); err != nil {
		b.t.Error(err)
	}
}

// counters are an instance's last report.
func (b *bed) counters(name string, instance int) protocol.Counters {
	for _, s := range b.sup.Sample() {
		if s.Name == name && s.Instance == instance && s.Counters != nil {
			return *s.Counters
		}
	}
	return protocol.Counters{}
}

// await polls for a condition that other processes bring about.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	awaitWithin(t, patience, what, ok)
}

func awaitWithin(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", limit, what)
		}
	}
}

// client connects to the broker.
func (b *bed) client(id string, onMessage mqtt.MessageHandler) mqtt.Client {
	b.t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + local(b.specs["broker"].Port)).SetClientID(id).
		SetUsername(user).SetPassword(password).SetAutoReconnect(false).SetConnectTimeout(patience).SetWriteTimeout(patience)
	if onMessage != nil {
		o.SetDefaultPublishHandler(onMessage)
	}
	c := mqtt.NewClient(o)
	done(b.t, c.Connect())
	b.t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func done(t *testing.T, tok mqtt.Token) {
	t.Helper()
	if !tok.WaitTimeout(patience) {
		t.Fatal("no answer from the broker")
	}
	if err := tok.Error(); err != nil {
		t.Fatal(err)
	}
}

// inbox gathers what a customer receives, by topic and payload.
type inbox struct {
	mu  sync.Mutex
	got map[string]int
	all []string
}

func (i *inbox) take(_ mqtt.Client, m mqtt.Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.got == nil {
		i.got = make(map[string]int)
	}
	i.got[m.Topic()+" "+string(m.Payload())]++
	i.all = append(i.all, string(m.Payload()))
}

func (i *inbox) distinct() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.got)
}

func payload(device, seq int) string {
	return fmt.Sprintf(`{"bela":"AQEAAAA-%d-%d","z":%d,"a":[1.5,null,true,"ü\n"],"pad":"%s"}`,
		device, seq, seq, strings.Repeat("x", 200))
}

// If this failed, an experiment with the built-in platform would lose messages,
// or its books would not close: every hop must count exactly what was sent.
func TestMessagesPassAllHops(t *testing.T) {
	for _, codec := range []string{"json", "msgpack", "protobuf", "raw"} {
		for _, qos := range []int{0, 1} {
			if qos == 0 && (codec == "protobuf" || codec == "raw") {
				continue // the codec changes nothing there
			}
			t.Run(fmt.Sprintf("%s-qos%d", codec, qos), func(t *testing.T) {
				b := newBed(t, codec, qos)
				b.start("broker", "nats", "stan", "gateway", "hub")
				const devices, each = 5, 100
				var in inbox
				customer := b.client("customer", in.take)
				done(t, customer.Subscribe("out/#", byte(qos), nil))
				device := b.client("device", nil)
				bytes := 0
				for seq := range each {
					for d := range devices {
						p := payload(d, seq)
						bytes += len(p)
						done(t, device.Publish(fmt.Sprintf("iot/3/%d", d), byte(qos), false, p))
					}
				}
				const n = devices * each
				await(t, "all messages at the customer", func() bool { return in.distinct() == n })
				b.checkInbox(&in, devices, each)
				b.checkBooks(n, int64(bytes))
				groups := b.groups()
				b.stopAll()
				b.checkNothingLeft(groups)
			})
		}
	}
}

func (b *bed) checkInbox(in *inbox, devices, each int) {
	b.t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.all) != devices*each {
		b.t.Errorf("%d messages arrived, want %d: some came twice", len(in.all), devices*each)
	}
	next := make([]int, devices)
	for _, p := range in.all {
		var m struct {
			Bela string
			Z    int
		}
		if err := json.Unmarshal([]byte(p), &m); err != nil {
			b.t.Fatalf("%v in %q", err, p)
		}
		var d, seq int
		if _, err := fmt.Sscanf(m.Bela, "AQEAAAA-%d-%d", &d, &seq); err != nil || d >= devices {
			b.t.Fatalf("envelope %q: %v", m.Bela, err)
		}
		if p != payload(d, seq) {
			b.t.Fatalf("payload changed on its way:\n got %q\nwant %q", p, payload(d, seq))
		}
		if seq != next[d] {
			b.t.Fatalf("device %d: message %d came where %d was due: the platform reorders", d, seq, next[d])
		}
		next[d]++
	}
}

// checkBooks compares the counters with what was sent: each message is once in
// and once out of gateway, stan and hub, and twice in and out of the broker.
func (b *bed) checkBooks(n, bytes int64) {
	b.t.Helper()
	for name, want := range map[string]int64{"broker": 2 * n, "gateway": n, "stan": n, "hub": n} {
		await(b.t, name+"'s counters", func() bool {
			c := b.counters(name, 1)
			return c.MessagesIn >= want && c.MessagesOut >= want
		})
		c := b.counters(name, 1)
		if c.MessagesIn != want || c.MessagesOut != want || len(c.Dropped) > 0 {
			b.t.Errorf("%s: %+v, want %d in, %d out, none dropped", name, c, want, want)
		}
	}
	for _, name := range []string{"broker", "gateway", "hub", "nats", "stan"} {
		// MessagePack of these payloads is shorter by a few bytes a message.
		await(b.t, fmt.Sprintf("%s's %d bytes in and out", name, bytes*8/10), func() bool {
			c := b.counters(name, 1)
			return c.BytesIn >= bytes*8/10 && c.BytesOut >= bytes*8/10
		})
	}
	await(b.t, fmt.Sprintf("%d messages that pass nats", n), func() bool {
		c := b.counters("nats", 1)
		return c.MessagesIn >= n && c.MessagesOut >= n
	})
}

// groups are the control groups of what runs, below their mount points.
func (b *bed) groups() []string {
	var all []string
	for _, s := range b.sup.Sample() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.PID))
		if err != nil {
			b.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if path := line[strings.LastIndexByte(line, ':')+1:]; strings.Contains(path, "/bela/") {
				all = append(all, strings.TrimSpace(path))
			}
		}
	}
	return all
}

// checkNothingLeft finds processes of this test by the directory that they were
// started with.
func (b *bed) checkNothingLeft(groups []string) {
	b.t.Helper()
	for _, g := range groups {
		left, _ := filepath.Glob("/sys/fs/cgroup/*" + g)
		if _, err := os.Stat("/sys/fs/cgroup" + g); err == nil || len(left) > 0 {
			b.t.Errorf("control group left: %s %v", g, left)
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range procs {
		if line, err := os.ReadFile(p); err == nil && strings.Contains(string(line), b.dir) {
			b.t.Errorf("process left: %s %q", p, line)
		}
	}
	if left := b.sup.Running(); len(left) > 0 {
		b.t.Errorf("running: %v", left)
	}
}

// If this failed, the password of a run would lie in a log that travels to the
// controller, or in the process list.
func TestNoSecretsInArgumentsAndLogs(t *testing.T) {
	b := newBed(t, "json", 1)
	b.start("broker", "nats", "stan")
	// A foreign client with the wrong password makes the servers log.
	o := mqtt.NewClientOptions().AddBroker("tcp://" + local(b.specs["broker"].Port)).SetUsername(user).SetPassword("wrong")
	if tok := mqtt.NewClient(o).Connect(); !tok.WaitTimeout(patience) || tok.Error() == nil {
		t.Error("the broker let a wrong password in")
	}
	for _, s := range b.sup.Sample() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.PID))
		if err != nil || strings.Contains(string(line), password) {
			t.Errorf("%s: command line %q, %v", s.Name, line, err)
		}
	}
	// stan's connection to nats breaks, which it logs with the address.
	if err := b.sup.Stop(t.Context(), "nats", 1); err != nil {
		t.Fatal(err)
	}
	b.stopAll()
	err := filepath.Walk(b.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		switch {
		case err != nil:
			return err
		case filepath.Base(path) == "config.json":
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
		case strings.Contains(string(text), password):
			t.Errorf("%s holds the password", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// If this failed, a burst would show drops that are no property of the platform
// but a library's default: 8192 queued writes, 1024 unacknowledged messages.
func TestBurstIsNotDroppedByDefaults(t *testing.T) {
	const devices, each, n = 5, 2000, 10_000
	b := newBed(t, "json", 1)
	for kind, s := range b.specs {
		s.Queue = n
		b.specs[kind] = s
	}
	b.start("broker", "nats", "stan", "gateway", "hub")
	var in inbox
	done(t, b.client("customer", in.take).Subscribe("out/#", 1, nil))
	var burst sync.WaitGroup
	for d := range devices {
		c := b.client(fmt.Sprintf("device-%d", d), nil)
		burst.Go(func() {
			var last []mqtt.Token
			for i := range each {
				last = append(last, c.Publish(fmt.Sprintf("iot/1/%d", d), 1, false, payload(d, i)))
			}
			for _, tok := range last {
				if !tok.WaitTimeout(patience) || tok.Error() != nil {
					t.Errorf("device %d: %v", d, tok.Error())
					return
				}
			}
		})
	}
	burst.Wait()
	await(t, "all messages at the customer", func() bool { return in.distinct() == n })
	for _, s := range b.sup.Sample() {
		if s.Counters != nil && len(s.Counters.Dropped) > 0 {
			t.Errorf("%s: %+v", s.Name, *s.Counters)
		}
	}
}

// If this failed, two gateways would not share the load, and adding one would buy
// nothing.
func TestGatewaysAndHubsShare(t *testing.T) {
	b := newBed(t, "json", 1)
	b.start("broker", "nats", "stan", "gateway", "hub")
	for _, kind := range []string{"gateway", "hub"} {
		s := b.specs[kind]
		s.Instance = 2
		b.startSpec(s)
	}
	var in inbox
	done(t, b.client("customer", in.take).Subscribe("out/#", 1, nil))
	device := b.client("device", nil)
	const n = 400
	for i := range n {
		done(t, device.Publish("iot/1/1", 1, false, payload(1, i)))
	}
	await(t, "all messages at the customer", func() bool { return in.distinct() == n })
	await(t, "the gateways' counters", func() bool {
		return b.counters("gateway", 1).MessagesOut+b.counters("gateway", 2).MessagesOut == n
	})
	for i := 1; i <= 2; i++ {
		// They take turns exactly.
		if c := b.counters("gateway", i); c.MessagesIn != n/2 {
			t.Errorf("gateway-%d took %d of %d", i, c.MessagesIn, n)
		}
	}
	await(t, "the hubs' counters", func() bool {
		return b.counters("hub", 1).MessagesOut+b.counters("hub", 2).MessagesOut == n
	})
}

// If this failed, a device with a broken payload would bring the platform down,
// or its messages would vanish without a count.
func TestForeignPayloadsAreCounted(t *testing.T) {
	for _, codec := range []string{"json", "msgpack"} {
		t.Run(codec, func(t *testing.T) {
			b := newBed(t, codec, 1)
			b.start("broker", "nats", "stan", "gateway", "hub")
			var in inbox
			done(t, b.client("customer", in.take).Subscribe("out/#", 1, nil))
			device := b.client("device", nil)
			for _, p := range []string{"", "not json", `{"bela":`, "\x00\xff\xfe", `{"bela":"x"} tail`} {
				done(t, device.Publish("iot/1/1", 1, false, p))
			}
			done(t, device.Publish("iot/1/with space", 1, false, payload(1, 1)))
			done(t, device.Publish("iot/1/1", 1, false, payload(1, 2)))
			await(t, "the good message", func() bool { return in.distinct() == 1 })
			await(t, "the gateway's counters", func() bool { return b.counters("gateway", 1).MessagesOut == 1 })
			if c := b.counters("gateway", 1); c.MessagesIn != 7 || c.Dropped["decode"] != 5 || c.Dropped["topic"] != 1 {
				t.Errorf("gateway: %+v, want 7 in, 1 out, 5 dropped for decode and 1 for topic", c)
			}
		})
	}
}

// If this failed, a connection that breaks for a moment would lose messages at
// QoS 1, where the platform promises to keep them.
func TestQoS1SurvivesRestartOfNATS(t *testing.T) {
	b := newBed(t, "json", 1)
	b.start("broker", "nats", "stan", "gateway", "hub")
	var in inbox
	done(t, b.client("customer", in.take).Subscribe("out/#", 1, nil))
	device := b.client("device", nil)
	const n = 300
	for i := range n {
		if i == n/3 {
			if err := b.sup.Stop(t.Context(), "nats", 1); err != nil {
				t.Fatal(err)
			}
		}
		if i == 2*n/3 {
			b.start("nats")
		}
		done(t, device.Publish("iot/1/1", 1, false, payload(1, i)))
	}
	// What was on its way from stan to the hub comes again when the wait for its
	// acknowledgement is over: the hub's timeout and half a minute.
	awaitWithin(t, 20*time.Second+30*time.Second+patience, "all messages at the customer", func() bool { return in.distinct() == n })
	// While nats is away, stan tries to deliver thousands of times.
	await(t, "stan to have handed on each message that it holds once", func() bool {
		c := b.counters("stan", 1)
		return c.MessagesIn >= n && c.MessagesOut == c.MessagesIn
	})
	t.Logf("stan %+v", b.counters("stan", 1))
}

// If this failed, an operator would not learn that a component died, or how.
func TestKilledGatewayIsAnEvent(t *testing.T) {
	b := newBed(t, "json", 1)
	b.start("broker", "nats", "stan", "gateway")
	for _, s := range b.sup.Sample() {
		if s.Name == "gateway" {
			if p, err := os.FindProcess(s.PID); err != nil || p.Kill() != nil {
				t.Fatal("cannot kill the gateway")
			}
		}
	}
	select {
	case e := <-b.events:
		if e.Name != "gateway" || e.Instance != 1 || e.State != "exited" || !strings.Contains(e.Detail, "SIGKILL") || e.At == 0 {
			t.Errorf("%+v", e)
		}
	case <-time.After(patience):
		t.Fatal("no event")
	}
	// A start after that is a restart.
	b.start("gateway")
	for _, s := range b.sup.Sample() {
		if s.Name == "gateway" && s.Restarts != 1 {
			t.Errorf("restarts %d, want 1", s.Restarts)
		}
	}
}

// If this failed, experiments with many devices could not even connect.
func TestThousandIdleConnections(t *testing.T) {
	b := newBed(t, "json", 0)
	b.start("broker")
	const n = 1000
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", local(b.specs["broker"].Port))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		conns[i] = c
		if _, err := c.Write(connectPacket(fmt.Sprintf("device-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range conns {
		var ack [4]byte
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(c, ack[:]); err != nil || ack != [4]byte{0x20, 2, 0, 0} {
			t.Fatalf("connection %d: %v %v", i, ack, err)
		}
	}
	memory := b.sup.Sample()[0].Memory
	t.Logf("broker with %d connections: %d MiB", n, memory>>20)
	if memory > 300<<20 {
		t.Errorf("%d MiB for %d idle connections", memory>>20, n)
	}
}

// connectPacket is an MQTT 3.1.1 CONNECT with a clean session and the run's credentials.
func connectPacket(id string) []byte {
	str := func(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }
	body := str("MQTT") + "\x04\xc2\x00\x3c" + str(id) + str(user) + str(password)
	return append([]byte{0x10, byte(len(body))}, body...)
}

// If this failed, a component started with a bad configuration would hang until
// the ready timeout and say nothing of the cause.
func TestStartErrorsNameTheCause(t *testing.T) {
	b := newBed(t, "json", 1)
	b.start("broker")
	for _, tt := range []struct {
		name string
		spec func() protocol.ComponentSpec
		want string // in the error or its log
	}{
		{"the port is taken: by the broker above", func() protocol.ComponentSpec {
			s := b.specs["broker"]
			s.Name = "broker2"
			return s
		}, "in use"},
		{"a second stan could not share the stream", func() protocol.ComponentSpec {
			s := b.specs["stan"]
			s.Instance = 2
			return s
		}, "it is instance 2 of 1"},
		{"a gateway without nats has nowhere to go", func() protocol.ComponentSpec {
			s := b.specs["gateway"]
			s.Links = map[string][]string{"broker": s.Links["broker"]}
			return s
		}, "needs a link to nats"},
		{"a codec that does not exist", func() protocol.ComponentSpec {
			s := b.specs["gateway"]
			s.Codec = "xml"
			return s
		}, `codec "xml"`},
		{"nats is not there: the deadline names the component", func() protocol.ComponentSpec {
			s := b.specs["gateway"]
			s.ReadyTimeout = time.Second
			return s
		}, "gateway-1 is not ready"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := b.sup.Start(t.Context(), tt.spec())
			var e *protocol.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if text := e.Text + "\n" + strings.Join(e.Log, "\n"); !strings.Contains(text, tt.want) {
				t.Errorf("got %s, want %q in it", text, tt.want)
			}
		})
	}
}
