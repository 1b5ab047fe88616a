package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	mqttKeepAlive  = 30 * time.Second
	mqttWait       = 10 * time.Second // for a connection, a subscription, a write
	firstBackoff   = 100 * time.Millisecond
	longestBackoff = 5 * time.Second
)

// mqttLink keeps a connection to one broker, with a reconnect loop of its own:
// the library's reports messages as acknowledged that were lost with a connection.
// Each connection has a client of its own, so a token belongs to one connection.
type mqttLink struct {
	addr           string
	clientID       string
	user, password string
	// keepSession has the broker keep what is not acknowledged for the next
	// connection.
	keepSession bool
	// filter is subscribed to at qos; empty for none. onMessage gets the
	// messages in their order and must not block; it acknowledges each itself.
	filter    string
	qos       byte
	onMessage mqtt.MessageHandler
	wrap      func(net.Conn) net.Conn
	log       *slog.Logger

	mu     sync.Mutex
	client mqtt.Client   // nil while not connected
	change chan struct{} // closed when client changes
	err    error         // why there is no connection
	done   chan struct{} // closed when run has ended
	cancel context.CancelFunc
}

// open starts the loop; wait tells when the first connection stands.
func (l *mqttLink) open() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.change, l.done = cancel, make(chan struct{}), make(chan struct{})
	go l.run(ctx)
}

// close disconnects, and waits for the loop.
func (l *mqttLink) close() {
	l.cancel()
	<-l.done
}

func (l *mqttLink) run(ctx context.Context) {
	defer close(l.done)
	backoff := firstBackoff
	for ctx.Err() == nil {
		lost := make(chan error, 1)
		client, err := l.connect(lost)
		if err == nil {
			l.set(client, nil)
			backoff = firstBackoff
			select {
			case <-ctx.Done():
				l.set(nil, ctx.Err())
				client.Disconnect(250)
				return
			case err = <-lost:
				l.log.Warn("connection to the broker lost", "broker", l.addr, "error", err)
			}
		}
		l.set(nil, err)
		select {
		case <-ctx.Done():
		case <-time.After(backoff/2 + rand.N(backoff/2)):
			backoff = min(2*backoff, longestBackoff)
		}
	}
}

// connect makes one connection and its subscription. lost gets the error that
// ends it.
func (l *mqttLink) connect(lost chan<- error) (mqtt.Client, error) {
	o := mqtt.NewClientOptions().
		AddBroker("tcp://" + l.addr).
		SetClientID(l.clientID).
		SetUsername(l.user).SetPassword(l.password).
		SetProtocolVersion(4).
		SetCleanSession(!l.keepSession).
		SetAutoReconnect(false).SetConnectRetry(false).
		// In order and without a goroutine a message: onMessage does not block.
		SetOrderMatters(true).SetAutoAckDisabled(true).
		SetKeepAlive(mqttKeepAlive).SetPingTimeout(mqttWait).
		SetConnectTimeout(mqttWait).SetWriteTimeout(mqttWait).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }).
		SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
			conn, err := net.DialTimeout("tcp", u.Host, mqttWait)
			if err != nil {
				return nil, err
			}
			return l.wrap(conn), nil
		})
	if l.onMessage != nil {
		// A kept session's messages come before the subscription is made anew.
		o.SetDefaultPublishHandler(l.onMessage)
	}
	client := mqtt.NewClient(o)
	if err := settle(client.Connect()); err != nil {
		return nil, fmt.Errorf("connect to broker %s: %w", l.addr, err)
	}
	if l.filter == "" {
		return client, nil
	}
	t := client.Subscribe(l.filter, l.qos, nil).(*mqtt.SubscribeToken)
	err := settle(t)
	if err == nil && t.Result()[l.filter] > l.qos {
		err = errors.New("refused by the broker")
	}
	if err != nil {
		client.Disconnect(0)
		return nil, fmt.Errorf("subscribe to %s at broker %s: %w", l.filter, l.addr, err)
	}
	return client, nil
}

// settle waits for what ends by itself, with an error of its own where it does not.
func settle(t mqtt.Token) error {
	if !t.WaitTimeout(mqttWait + time.Second) {
		return fmt.Errorf("no answer in %s", mqttWait)
	}
	return t.Error()
}

func (l *mqttLink) set(c mqtt.Client, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client, l.err = c, err
	close(l.change)
	l.change = make(chan struct{})
}

// wait returns the connected client. Its error, when ctx is done first, says why
// there is no connection.
func (l *mqttLink) wait(ctx context.Context) (mqtt.Client, error) {
	for {
		l.mu.Lock()
		c, change, err := l.client, l.change, l.err
		l.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("broker %s: %w", l.addr, ctx.Err())
			}
			return nil, err
		case <-change:
		}
	}
}

// current is the connected client, or nil.
func (l *mqttLink) current() mqtt.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}
