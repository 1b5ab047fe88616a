// Package hostiletest turns bela's own agent into one that lies, for tests: it
// stands between the agent and its controller, in the process that joins them, and
// changes what the agent says. What the agent does on its node stays as it is, so
// that a test sees what a controller makes of a lie, and of nothing else.
package hostiletest

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bela/agents/launch"
	"bela/agents/protocol"
)

// Environment is the variable of a node's processes that holds the Mode in which
// its agent lies. Without it an agent is as honest as any.
const Environment = "BELA_HOSTILE"

// Install makes the agent lie if it was started to join a controller with the
// agent that serves, and the environment asks for it. It must be called before the
// agent looks at its input and output: from an init function.
func Install() {
	mode := Mode(os.Getenv(Environment))
	if mode == "" || len(os.Args) < 2 || os.Args[1] != "attach" && os.Args[1] != launch.Command {
		return
	}
	in, toAgent, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	fromAgent, out, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	l := &liar{mode: mode, out: os.Stdout, asked: make(map[uint64]protocol.Type)}
	go l.requests(os.Stdin, toAgent)
	go func() {
		if os.Args[1] == launch.Command {
			l.firstLine(fromAgent)
		}
		l.answers(fromAgent)
	}()
	os.Stdin, os.Stdout = in, out
}

// liar stands between an agent and a controller.
type liar struct {
	mode Mode

	mu    sync.Mutex
	out   io.Writer // to the controller
	asked map[uint64]protocol.Type
	last  uint64 // number of the last event
	pages int
	load  bool // the node has devices or customers
}

// requests passes on what the controller asks.
func (l *liar) requests(from io.Reader, to *os.File) {
	defer func() { _ = to.Close() }()
	for {
		f, err := protocol.ReadFrame(from)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.asked[f.ID] = f.Type
		l.load = l.load || f.Type == protocol.TypePrepareDevices || f.Type == protocol.TypePrepareCustomers
		l.mu.Unlock()
		if protocol.WriteFrame(to, f) != nil {
			return
		}
	}
}

// firstLine passes on what a launch says before the conversation begins.
func (l *liar) firstLine(from io.Reader) {
	for b := []byte{0}; b[0] != '\n'; l.raw(b) {
		if _, err := io.ReadFull(from, b); err != nil {
			os.Exit(0) // nothing was launched; it has told why
		}
	}
}

// answers passes on what the agent says, or something else.
func (l *liar) answers(from io.Reader) {
	for {
		f, err := protocol.ReadFrame(from)
		if err != nil {
			os.Exit(0) // the agent has ended the connection
		}
		l.mu.Lock()
		asked, first := l.asked[f.ID], protocol.TypeStart
		if !l.load {
			first = protocol.TypeClock // shortly before, and to every node
		}
		l.mu.Unlock()
		if f.Type == protocol.TypeEvent {
			asked = protocol.TypeEvent
			var e protocol.Event
			if json.Unmarshal(f.Body, &e) == nil {
				l.last = max(l.last, e.Seq)
			}
		}
		begun := armed()
		l.say(asked, f, begun)
		if asked == first && f.Type == protocol.TypeOK && !begun {
			arm()
			l.begin()
		}
	}
}

// send says a frame.
func (l *liar) send(f protocol.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if protocol.WriteFrame(l.out, f) != nil {
		os.Exit(0)
	}
}

// raw says bytes.
func (l *liar) raw(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.out.Write(b); err != nil {
		os.Exit(0)
	}
}

// event says an event of its own, with the next number.
func (l *liar) event(e protocol.Event) {
	l.last++
	e.Seq = l.last
	body, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	l.send(protocol.Frame{Type: protocol.TypeEvent, Body: body})
}

// Lies that last begin with the load, and a file remembers it: each connection is
// a process of its own.
func mark() string { return filepath.Join(os.Getenv("HOME"), "hostile-begun") }

func arm() { _ = os.WriteFile(mark(), nil, 0o600) }

func armed() bool {
	_, err := os.Stat(mark())
	return err == nil
}

// drip says bytes one a second.
func (l *liar) drip(b []byte) {
	for i := range b {
		l.raw(b[i : i+1])
		time.Sleep(time.Second)
	}
}
