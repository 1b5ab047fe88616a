package provision

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bela/nodes"
	"bela/provision/agentbin"
)

// visit is one session on a node, from the first look to the conversation with
// its agent. It is one session because each costs a login shell, with all that
// the user's start-up files do, and a round trip.
type visit struct {
	node *nodes.Node
	env  map[string]string
	// programs are those that it asks for.
	programs []agentbin.Program
	conn     io.ReadWriteCloser
	in       *bufio.Reader

	facts   nodes.Facts
	problem error             // what check.sh found
	running string            // whose agent runs there; empty for none
	tools   []string          // what it can unpack, "gzip" and "zstd", and "fetch"
	has     map[string]string // its programs: path to SHA-256, "-" where it has no tool for it
	home    string
	rate    float64 // of its link, in bytes a second; 0 while not measured
}

// visitBound bounds what a node says of itself, in bytes and lines.
const (
	visitBound = 64 << 10
	visitLines = 200
)

const visitName = "look at the node"

// visitScript puts the scripts together that a visit consists of.
func visitScript() string {
	part := func(name string) string {
		text, err := scripts.ReadFile("scripts/" + name + ".sh")
		if err != nil {
			panic("provision: " + err.Error()) // it is part of the program
		}
		return string(text)
	}
	// Each of these ends with exit: a subshell keeps that to itself.
	sub := func(name, text string) string { return name + "() (\n" + text + "\n)\n" }
	return "printf 'home=%s\\n' \"$PWD\"\nIFS= read -r dir && read -r programs || exit 0\n" + part("common") + part("launch") +
		sub("facts", nodes.FactsScript()) + sub("check", part("check")) + sub("prepare", part("prepare")) + part("visit")
}

// begin opens the session and reads what the node says, of itself and of the
// programs that it has. The caller closes it.
func begin(ctx context.Context, n *nodes.Node, env map[string]string, programs ...agentbin.Program) (*visit, error) {
	command := nodes.Script(visitName, visitScript())
	command.Env = env
	conn, err := n.Stream(ctx, command)
	if err != nil {
		return nil, err
	}
	v := &visit{node: n, env: env, programs: programs, conn: conn, in: bufio.NewReader(conn), has: map[string]string{}}
	if err := v.during(ctx, v.look); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return v, nil
}

// during runs f, and ends the session when ctx ends first: its calls take none.
// It returns after the session has ended then, so that nothing goes on there.
func (v *visit) during(ctx context.Context, f func() error) error {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = v.conn.Close()
	})
	err := f()
	if stop() {
		return err
	}
	<-closed
	if err == nil {
		err = ctx.Err()
	}
	if kind := nodes.KindOf(err); kind == nodes.LinkLost || kind == nodes.NoSpace {
		return err
	}
	return &nodes.Error{Node: v.node.Name(), Kind: nodes.Canceled, Err: context.Cause(ctx)}
}

// look reads what the node says of itself.
func (v *visit) look() error {
	first, err := v.line()
	if err != nil {
		return v.ended(err)
	}
	for range visitLines { // a login's own greeting may come first
		if strings.HasPrefix(first, "home=") {
			break
		}
		if first, err = v.line(); err != nil {
			return v.ended(err)
		}
	}
	v.home = strings.TrimPrefix(first, "home=")
	dir, err := v.node.DirectoryAt(v.home)
	if err != nil {
		return err
	}
	var wanted []string
	for _, p := range v.programs {
		wanted = append(wanted, string(p))
	}
	if err := v.say(dir, strings.Join(wanted, " ")); err != nil {
		return err
	}
	var facts strings.Builder
	for range visitLines {
		line, err := v.line()
		if err != nil {
			return v.ended(err)
		}
		if line == "end" {
			v.facts, err = v.node.ReadFacts([]byte(facts.String()))
			return err
		}
		if key, value, _ := strings.Cut(line, "="); !v.note(key, value) && facts.Len() < visitBound {
			facts.WriteString(line + "\n")
		}
	}
	return v.odd("it says more than bela asks for")
}

// note takes a line that is no fact.
func (v *visit) note(key, value string) bool {
	switch key {
	case "check":
		status, words, _ := strings.Cut(value, " ")
		if code, err := strconv.Atoi(status); err != nil || code != 0 {
			v.problem = explain(v.node.Name(), "check bela's directory", &nodes.Error{Node: v.node.Name(), Kind: nodes.CommandFailed,
				Err: &nodes.ExitError{Command: "check bela's directory", Status: code, Stderr: words}})
		}
	case "running":
		v.running = value
	case "has":
		v.tools = append(v.tools, value)
	case "program":
		sum, file, _ := strings.Cut(value, " ")
		v.has[path.Clean(file)] = sum
	default:
		return false
	}
	return true
}

// fit says whether bela can work there, all reasons against it joined.
func (v *visit) fit(source Source) error {
	err := errors.Join(fit(v.node, v.facts, source, v.programs...), v.problem)
	if v.running != "" {
		err = errors.Join(&nodes.Error{Node: v.node.Name(), Kind: nodes.InUse, Err: fmt.Errorf("start the agent: %s", oneLine(v.running)),
			Next: "wait for the other run to end, or end it with bela clean"}, err)
	}
	return err
}

func (v *visit) line() (string, error) {
	var text []byte
	for {
		part, more, err := v.in.ReadLine()
		if err != nil {
			return "", err
		}
		if text = append(text, part...); len(text) > visitBound {
			return "", v.odd("it sends a line without end")
		}
		if !more {
			return string(text), nil
		}
	}
}

func (v *visit) say(lines ...string) error {
	if slices.ContainsFunc(lines, func(l string) bool { return strings.ContainsAny(l, "\n\x00") }) {
		return v.odd("a path or name has a line's end in it")
	}
	_, err := io.WriteString(v.conn, strings.Join(lines, "\n")+"\n")
	return err
}

func (v *visit) odd(text string) error {
	return &nodes.Error{Node: v.node.Name(), Kind: nodes.CommandFailed, Err: fmt.Errorf("%s: %s", visitName, text)}
}

// ended explains why there is no more to read.
func (v *visit) ended(err error) error {
	if errors.Is(err, io.EOF) {
		return v.odd("the shell there ended too early")
	}
	if nodes.KindOf(err) == nodes.CommandFailed && v.home == "" {
		return &nodes.Error{Node: v.node.Name(), Kind: nodes.NotLinux, Err: fmt.Errorf("it has no POSIX shell: %w", err), Next: "bela runs on Linux nodes only"}
	}
	return explain(v.node.Name(), visitName, err)
}

// start starts the agent and gives the conversation with it, which is the rest
// of this session.
func (v *visit) start(ctx context.Context, o StartOptions) (io.ReadWriteCloser, error) {
	const grace = 10 * time.Second // beside what the script itself waits
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout+grace, fmt.Errorf("start the agent: no answer within %v", o.Timeout+grace))
	defer cancel()
	err := v.during(ctx, func() error {
		if err := v.say(strings.Join([]string{"start", o.Lease.String(), o.Keep.String(), o.Timeout.String()}, " "), o.Agent, o.Run, Controller()); err != nil {
			return err
		}
		switch line, err := v.line(); {
		case err != nil:
			if exit, ok := errors.AsType[*nodes.ExitError](err); ok && unfit(exit) {
				return &nodes.Error{Node: v.node.Name(), Kind: nodes.Unsupported, Err: fmt.Errorf("the agent for %s does not run there: %s",
					agentbin.Machine(v.facts.GOARCH, v.facts.GOARM), oneLine(exit.Stderr)), Next: "check the node's architecture, and that its disk is not mounted noexec"}
			}
			return explain(v.node.Name(), "start the agent", err)
		case line != "started":
			return v.odd(fmt.Sprintf("it says %q instead of starting the agent", oneLine(line)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &conversation{v.in, v.conn}, nil
}

// unfit says whether that is what comes of an agent that a machine cannot run: a
// shell takes what is no program there for a script.
func unfit(exit *nodes.ExitError) bool {
	switch exit.Status {
	case exitNoScript, exitNoProgram, exitNotFound:
		return true
	}
	return exit.Signal == "ILL"
}

// conversation reads what the visit has read too far, and then on.
type conversation struct {
	in *bufio.Reader
	io.WriteCloser
}

func (c *conversation) Read(p []byte) (int, error) { return c.in.Read(p) }

// watchdog ends something that has not moved for a while: f is called once.
type watchdog struct {
	timer *time.Timer
	limit time.Duration
}

func newWatchdog(limit time.Duration, f func()) *watchdog {
	return &watchdog{time.AfterFunc(limit, sync.OnceFunc(f)), limit}
}

func (w *watchdog) moved() {
	if w.timer.Stop() {
		w.timer.Reset(w.limit)
	}
}

func (w *watchdog) stop() { w.timer.Stop() }

// without has f done while nothing is expected to move. It is not for a watchdog
// that was stopped.
func (w *watchdog) without(f func()) {
	if w.timer.Stop() {
		defer w.timer.Reset(w.limit)
	}
	f()
}
