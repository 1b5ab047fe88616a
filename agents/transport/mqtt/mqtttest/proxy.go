package mqtttest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy passes connections on to a broker. It is a wire that a test can make
// long, freeze and cut.
type Proxy struct {
	Address string // where it listens

	target string
	delay  time.Duration
	listen net.Listener
	frozen atomic.Bool
	closed chan struct{}

	mu      sync.Mutex
	pairs   map[net.Conn]net.Conn
	running sync.WaitGroup
}

// NewProxy starts a proxy to the target; each byte in either direction takes
// delay. It ends with the test.
func NewProxy(t testing.TB, target string, delay time.Duration) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Address: l.Addr().String(), target: target, delay: delay, listen: l,
		closed: make(chan struct{}), pairs: make(map[net.Conn]net.Conn),
	}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		close(p.closed)
		_ = l.Close()
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Freeze stops passing anything on, without closing anything; connections stay
// frozen until they are cut.
func (p *Proxy) Freeze() { p.frozen.Store(true) }

// Thaw lets new bytes through again.
func (p *Proxy) Thaw() { p.frozen.Store(false) }

// Cut breaks all connections, and says how many.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.pairs)
	for client, broker := range p.pairs {
		_ = client.Close()
		_ = broker.Close()
	}
	clear(p.pairs)
	return n
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		// Small buffers, so that a frozen wire soon is a full one.
		_ = client.(*net.TCPConn).SetReadBuffer(32 << 10)
		p.mu.Lock()
		p.pairs[client] = broker
		p.mu.Unlock()
		p.running.Go(func() { p.pipe(broker, client) })
		p.running.Go(func() { p.pipe(client, broker) })
	}
}

// thawed waits while the proxy is frozen; false when it was closed meanwhile.
func (p *Proxy) thawed() bool {
	for p.frozen.Load() {
		select {
		case <-p.closed:
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}

// chunk is bytes and when they came in.
type chunk struct {
	data []byte
	at   time.Time
}

// pipe copies one direction, each chunk delay after it came in.
func (p *Proxy) pipe(to, from net.Conn) {
	chunks := make(chan chunk, 1024)
	p.running.Go(func() {
		defer close(chunks)
		for {
			if !p.thawed() {
				return
			}
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			if n > 0 {
				chunks <- chunk{data[:n], time.Now()}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range chunks {
		time.Sleep(time.Until(c.at.Add(p.delay)))
		if !p.thawed() {
			break
		}
		if _, err := to.Write(c.data); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
	for range chunks { // lets the reader end
	}
}
