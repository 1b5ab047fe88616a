package meter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"bela/agents/protocol"
)

const (
	// quiet is how long nothing more must come before a round of topics is whole:
	// a broker publishes all of them at once.
	quiet = 100 * time.Millisecond
	// silent is after how many looks a broker that publishes nothing is told of.
	silent = 30
	// maxSysTopics bounds the topics that wildcards take.
	maxSysTopics = 1000
	maxSysValue  = 64 // bytes
)

// sysTopics are those of Mosquitto, which other brokers took over.
func sysTopics() map[string]string {
	return map[string]string{
		protocol.TrafficBytesIn: "$SYS/broker/bytes/received", protocol.TrafficBytesOut: "$SYS/broker/bytes/sent",
		protocol.TrafficMessagesIn:  "$SYS/broker/publish/messages/received",
		protocol.TrafficMessagesOut: "$SYS/broker/publish/messages/sent",
		protocol.TrafficDropped:     "$SYS/broker/publish/messages/dropped",
	}
}

// sys listens to what an MQTT broker publishes of itself under $SYS. Its bytes
// are those of the MQTT packets of all clients, this one included.
type sys struct {
	spec    protocol.MeterSpec
	host    string
	filters map[string]string // by number
	now     func() int64
	client  paho.Client
	lost    chan error

	mu     sync.Mutex
	values map[string]map[string]int64 // by filter and topic
	began  int64                       // when the round that is under way began; 0 without one
	last   time.Time                   // when its newest message came
	looks  int                         // without a round
}

func newSys(spec protocol.MeterSpec, now func() int64) (source, error) {
	u, err := url.Parse(spec.URL)
	if err != nil || u.Port() == "" || u.Scheme != "mqtt" && u.Scheme != "tcp" {
		return nil, fmt.Errorf("metrics: %q is no address: it looks like mqtt://127.0.0.1:1883", spec.URL)
	}
	s := &sys{spec: spec, host: u.Host, now: now, filters: spec.Map}
	if len(s.filters) == 0 {
		s.filters = sysTopics()
	}
	return s, nil
}

func (s *sys) close() {
	if s.client != nil {
		s.client.Disconnect(100)
	}
}

func (s *sys) read(ctx context.Context) (*protocol.Traffic, error) {
	if s.client != nil {
		select {
		case err := <-s.lost:
			s.close()
			s.client = nil
			return nil, fmt.Errorf("the connection was lost: %w", err)
		default:
		}
	}
	if s.client == nil {
		if err := s.connect(ctx); err != nil {
			return nil, err
		}
	}
	return s.round(ctx)
}

// round is the values of a round that is whole.
func (s *sys) round(ctx context.Context) (*protocol.Traffic, error) {
	for {
		s.mu.Lock()
		began, age := s.began, time.Since(s.last)
		if began != 0 && age >= quiet {
			s.began, s.looks = 0, 0
			t := s.sums()
			s.mu.Unlock()
			t.At = began
			return t, nil
		}
		if began == 0 {
			s.looks++
			tell := s.looks >= silent
			s.mu.Unlock()
			if tell {
				return nil, fmt.Errorf("it published none of %s in %d s: is its interval for them short, and may this user read them?",
					strings.Join(slices.Sorted(maps.Values(s.filters)), ", "), silent)
			}
			return nil, nil
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(quiet - age):
		}
	}
}

// sums adds up the topics of each filter. The caller holds mu.
func (s *sys) sums() *protocol.Traffic {
	var t protocol.Traffic
	for number, filter := range s.filters {
		if len(s.values[filter]) == 0 {
			continue
		}
		var n int64
		for _, v := range s.values[filter] {
			n += v
		}
		*field(&t, number) = &n
	}
	return &t
}

func (s *sys) connect(ctx context.Context) error {
	lost := make(chan error, 1)
	o := paho.NewClientOptions().AddBroker("tcp://" + s.host).
		SetClientID("bela-meter-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(s.now(), 36)).
		SetUsername(s.spec.User).SetPassword(s.spec.Password).
		SetProtocolVersion(4).SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).
		SetOrderMatters(true).SetConnectTimeout(askTime).SetWriteTimeout(askTime).
		SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		}).
		SetConnectionLostHandler(func(_ paho.Client, err error) { lost <- err })
	client := paho.NewClient(o)
	s.mu.Lock()
	s.values, s.began, s.looks = make(map[string]map[string]int64), 0, 0
	s.mu.Unlock()
	if err := settle(ctx, client.Connect()); err != nil {
		client.Disconnect(0)
		return err
	}
	for _, filter := range s.filters {
		token := client.Subscribe(filter, 0, func(_ paho.Client, m paho.Message) { s.take(filter, m) })
		err := settle(ctx, token)
		if t, ok := token.(*paho.SubscribeToken); ok && err == nil && t.Result()[filter] > 2 {
			err = errors.New("the broker refused it")
		}
		if err != nil {
			client.Disconnect(0)
			return fmt.Errorf("subscribe to %s: %w", filter, err)
		}
	}
	s.client, s.lost = client, lost
	return nil
}

func settle(ctx context.Context, t paho.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take notes a value. A retained one is as old as the broker's interval: it
// counts, but it begins no round.
func (s *sys) take(filter string, m paho.Message) {
	if len(m.Payload()) > maxSysValue {
		return
	}
	text, _, _ := strings.Cut(strings.TrimSpace(string(m.Payload())), " ") // some add a unit
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return
	}
	at := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	topics := s.values[filter]
	if topics == nil {
		topics = make(map[string]int64)
		s.values[filter] = topics
	}
	if _, known := topics[m.Topic()]; !known && len(topics) >= maxSysTopics {
		return
	}
	topics[m.Topic()] = n
	if m.Retained() {
		return
	}
	if s.began == 0 {
		s.began = at
	}
	s.last = time.Now()
}
