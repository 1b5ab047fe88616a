// Package mqtt speaks MQTT 3.1.1 for devices and customers, over the Paho
// client. Paho would gladly reconnect and resend by itself, and then completes
// what it lost without an error; here it does neither, so that the accounts stay
// true. The package knows nothing of what the messages hold.
package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"bela/agents/transport"
)

// Dialer opens MQTT connections over TCP. The zero value is ready.
type Dialer struct{}

const (
	defaultKeepalive    = 30 * time.Second
	defaultWriteTimeout = 5 * time.Second
	// goodbye is how long a DISCONNECT may take before the socket is closed.
	goodbye = 250 * time.Millisecond
)

// conn is one connection: a Paho client that is thrown away when it breaks.
type conn struct {
	client paho.Client
	fates  *fates
	// publishing makes each publish the only one, so that fates can tell which
	// packet belongs to which of them.
	publishing sync.Mutex
	socket     net.Conn // set once, before the client connects
	done       chan struct{}
	end        sync.Once
	err        error // why it ended; read after done
}

// Dial opens a connection; ctx bounds it.
func (Dialer) Dial(ctx context.Context, o transport.Options) (transport.Conn, error) {
	c := &conn{fates: newFates(o.Acked), done: make(chan struct{})}
	socket, err := openSocket(ctx, o)
	if err != nil {
		return nil, err
	}
	c.socket = socket
	c.client = paho.NewClient(c.options(o))
	token := c.client.Connect()
	select {
	case <-token.Done():
		err = token.Error()
	case <-ctx.Done():
		err = fmt.Errorf("no answer to CONNECT: %w", ctx.Err())
	}
	if err != nil {
		_ = c.socket.Close() // which also ends an attempt that still waits
		return nil, err
	}
	return c, nil
}

// options are Paho's, for a client that does nothing behind its user's back.
func (c *conn) options(o transport.Options) *paho.ClientOptions {
	keepalive, writeTimeout := o.Keepalive, o.WriteTimeout
	if keepalive == 0 {
		keepalive = defaultKeepalive
	}
	if writeTimeout == 0 {
		writeTimeout = defaultWriteTimeout
	}
	return paho.NewClientOptions().
		AddBroker("tcp://" + o.Address).
		SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return c.socket, nil }).
		SetClientID(o.ClientID).
		SetUsername(o.User).
		SetPassword(o.Password).
		SetProtocolVersion(4).
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		// Handlers run in order, in the client's own goroutine: they are quick,
		// and a goroutine for each message would lose both order and time. Paho
		// advises against order only for handlers that block.
		SetOrderMatters(true).
		SetStore(c.fates).
		SetKeepAlive(keepalive).
		SetPingTimeout(keepalive / 2).
		SetWriteTimeout(writeTimeout).
		SetConnectionLostHandler(func(_ paho.Client, err error) { c.finish(err) })
}

// Publish implements transport.Conn.
func (c *conn) Publish(id uint64, topic string, qos byte, payload []byte) error {
	if qos == 0 {
		return c.publishOnce(topic, payload)
	}
	c.publishing.Lock()
	defer c.publishing.Unlock()
	c.fates.announce(id)
	token := c.client.Publish(topic, qos, false, payload)
	select {
	case <-token.Done():
		if err := token.Error(); err != nil && c.fates.withdraw() {
			return err
		}
	default:
	}
	return nil
}

// publishOnce sends at QoS 0, where a completed token means that the socket took
// the message. A client that is going down may leave a token open for ever; but
// one whose message is on the wire completes it a moment later, and such a message
// must not be called refused: the broker may deliver it.
func (c *conn) publishOnce(topic string, payload []byte) error {
	token := c.client.Publish(topic, 0, false, payload)
	select {
	case <-token.Done():
		return token.Error()
	case <-c.done:
	}
	last := time.NewTimer(goodbye)
	defer last.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-last.C:
		return transport.ErrLost
	}
}

// Subscribe implements transport.Conn.
func (c *conn) Subscribe(ctx context.Context, filter string, qos byte, handle func([]byte)) error {
	token := c.client.Subscribe(filter, qos, func(_ paho.Client, m paho.Message) { handle(m.Payload()) })
	select {
	case <-token.Done():
	case <-c.done:
		return fmt.Errorf("subscribe to %s: %w", filter, c.err)
	case <-ctx.Done():
		return fmt.Errorf("subscribe to %s: no SUBACK: %w", filter, ctx.Err())
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	for _, granted := range token.(*paho.SubscribeToken).Result() {
		if granted > 2 {
			return fmt.Errorf("subscribe to %s: the broker refused it", filter)
		}
		if granted < qos {
			return fmt.Errorf("subscribe to %s: the broker grants only QoS %d, not %d", filter, granted, qos)
		}
	}
	return nil
}

// Done implements transport.Conn.
func (c *conn) Done() <-chan struct{} { return c.done }

// Err implements transport.Conn.
func (c *conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Close implements transport.Conn.
func (c *conn) Close(ctx context.Context) error {
	quiesce := goodbye
	if deadline, ok := ctx.Deadline(); ok {
		quiesce = max(min(quiesce, time.Until(deadline)), 0)
	}
	select {
	case <-c.done: // nobody to say goodbye to
	default:
		c.client.Disconnect(uint(quiesce.Milliseconds()))
	}
	err := c.socket.Close()
	c.finish(transport.ErrClosed)
	if errors.Is(err, net.ErrClosed) {
		return nil // Paho closed it after its goodbye
	}
	return err
}

// finish ends the connection once: first the open fates, then the news.
func (c *conn) finish(why error) {
	c.end.Do(func() {
		if why == nil {
			why = transport.ErrLost
		}
		c.err = why
		c.fates.lose(why)
		close(c.done)
	})
}
