// Package provision makes a node ready for a run and clean again: it checks the
// node, pushes the agent, and the built-in platform where that is needed, starts
// the agent so that it outlives the connection, reaches it, stops it, and removes
// all that bela put there.
//
// Everything lies under one directory on the node, and MANIFEST in it records
// what, when and by whom:
//
//	bin/bela-agent-<16 hex digits of its SHA-256>
//	bin/bela-platform-<16 hex digits of its SHA-256>, where built-in components run
//	run/     agent.sock, agent.pid, agent.log
//	cells/   what the agent and the components write
//	artifacts/  files that components need, by their SHA-256
//	undo-packages.sh  where packages were installed: removes them again
//	MANIFEST
//
// A directory without bela's MANIFEST is never touched. The package knows how
// an agent is started, and nothing of what it does or what is said to it.
package provision

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"bela/nodes"
	"bela/provision/agentbin"
)

//go:embed scripts/*.sh
var scripts embed.FS

// Source gives a program for Linux on an architecture, as agentbin.For does.
type Source func(program agentbin.Program, goarch string, goarm int) (agentbin.Binary, error)

// Exit statuses of the scripts that stand for something.
const (
	exitForeign     = 10
	exitUnwritable  = 11
	exitNoExec      = 12
	exitToolMissing = 13
	exitNotRoot     = 14
	exitPackages    = 15
	exitInUse       = 20
	exitNoAgent     = 25
	exitOthersStay  = 24
	exitFaultLeft   = 26
	exitPackageLeft = 27
	// A shell's own: a script with mistakes in it, a file that cannot be run, and
	// one that is not there, or what would load it.
	exitNoScript  = 2
	exitNoProgram = 126
	exitNotFound  = 127
)

// spaceForRun is what a node's disk must have beside the agent: logs and
// results of a cell.
const spaceForRun = 64 << 20

// script runs one of the scripts; what it does is for errors, and bela's
// directory is its first argument.
func script(ctx context.Context, n *nodes.Node, what, name string, args ...string) (nodes.Result, error) {
	return scriptWith(ctx, n, nil, what, name, args...)
}

func scriptWith(ctx context.Context, n *nodes.Node, env map[string]string, what, name string, args ...string) (nodes.Result, error) {
	dir, err := n.Directory(ctx)
	if err != nil {
		return nodes.Result{}, err
	}
	common, err := scripts.ReadFile("scripts/common.sh")
	if err != nil {
		return nodes.Result{}, err
	}
	launch, err := scripts.ReadFile("scripts/launch.sh")
	if err != nil {
		return nodes.Result{}, err
	}
	text, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		return nodes.Result{}, err
	}
	command := nodes.Script(what, "dir=$1\n"+string(common)+string(launch)+string(text), append([]string{dir}, args...)...)
	command.Env = env
	res, err := n.Run(ctx, command)
	if err == nil {
		return res, nil
	}
	return res, explain(n.Name(), what, err)
}

// explain gives a script's failure its kind and next step.
func explain(node, what string, err error) error {
	exit, ok := errors.AsType[*nodes.ExitError](err)
	if !ok {
		return err
	}
	text := strings.TrimSpace(exit.Stderr)
	fail := func(kind nodes.Kind, next string) error {
		return &nodes.Error{Node: node, Kind: kind, Err: fmt.Errorf("%s: %s", what, oneLine(text)), Next: next}
	}
	switch exit.Status {
	case exitForeign:
		return fail(nodes.BadConfig, "set directory in the ssh block to one that is bela's alone")
	case exitUnwritable:
		return fail(nodes.NoPermission, "make it writable for the login, or set directory in the ssh block to another place")
	case exitNoExec:
		return fail(nodes.Unsupported, "set directory in the ssh block to a place where programs may run")
	case exitToolMissing:
		return fail(nodes.Unsupported, "install it on the node")
	case exitInUse:
		return fail(nodes.InUse, "wait for the other run to end, or end it with bela clean")
	case exitNoAgent:
		return &nodes.Error{Node: node, Kind: nodes.CommandFailed, Err: fmt.Errorf("%s: %w", what, ErrNoAgent)}
	case exitOthersStay:
		return fail(nodes.FileFailed, "look at them and remove them by hand")
	case exitNotRoot:
		return fail(nodes.NoPermission, "log in as root, or have them installed there")
	case exitPackages:
		return fail(nodes.CommandFailed, "see what apt-get says on the node, or install them there by hand")
	case exitPackageLeft:
		return fail(nodes.CommandFailed, "remove them by hand, then run bela clean again")
	case exitFaultLeft:
		return fail(nodes.CommandFailed, "log in as the user that ran the experiment and run bela clean again")
	}
	return err
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Check says whether bela can work on the node: an architecture that there is
// an agent for, room on the disk, and a directory where programs may be written
// and run. It leaves nothing behind. The errors of all that is wrong are joined.
func Check(ctx context.Context, n *nodes.Node, f nodes.Facts, source Source) error {
	var found error
	if f.OS == "Linux" {
		_, found = script(ctx, n, "check bela's directory", "check.sh")
	}
	return errors.Join(fit(n, f, source, agentbin.Agent), found)
}

// fit says whether a machine with these facts can take the programs, of which there
// is one.
func fit(n *nodes.Node, f nodes.Facts, source Source, programs ...agentbin.Program) error {
	var errs []error
	fail := func(kind nodes.Kind, next, format string, args ...any) {
		errs = append(errs, &nodes.Error{Node: n.Name(), Kind: kind, Err: fmt.Errorf(format, args...), Next: next})
	}
	need := int64(spaceForRun)
	size, err := sizes(f, source, programs)
	switch {
	case f.OS != "Linux":
		fail(nodes.NotLinux, "bela runs on Linux nodes only", "it runs %q", f.OS)
	case f.GOARCH == "":
		fail(nodes.Unsupported, "use a machine of amd64, arm64 or arm v7", "there is no agent for %q machines", f.Machine)
	case err != nil:
		fail(nodes.Unsupported, "", "%w", err)
	default:
		need += size
	}
	if f.DiskFree < need {
		fail(nodes.NoSpace, "free some space there, or set directory in the ssh block to another disk",
			"the disk of bela's directory has %d MiB left, %d are needed", f.DiskFree>>20, need>>20)
	}
	return errors.Join(errs...)
}

// sizes adds up what programs take on a machine's disk, in bytes.
func sizes(f nodes.Facts, source Source, programs []agentbin.Program) (sum int64, err error) {
	for _, p := range programs {
		bin, err := source(p, f.GOARCH, f.GOARM)
		if err != nil {
			return 0, err
		}
		sum += bin.Size
	}
	return sum, nil
}

// Push puts the agent on the node and returns its path there. It copies
// nothing where the same is there already.
func Push(ctx context.Context, n *nodes.Node, f nodes.Facts, source Source) (pushed bool, agent string, err error) {
	bin, err := binaryFor(n, f, source, agentbin.Agent)
	if err != nil {
		return false, "", err
	}
	if agent, err = AgentPath(ctx, n, f, source); err != nil {
		return false, "", err
	}
	if sum, err := n.SHA256(ctx, agent); err == nil && sum == bin.SHA256 {
		return false, agent, nil
	} else if err != nil && nodes.KindOf(err) != nodes.FileFailed {
		return false, "", err
	}
	if _, err := script(ctx, n, "make bela's directory", "prepare.sh", Controller(), "file", agent); err != nil {
		return false, "", err
	}
	if err := upload(ctx, n, agentbin.Agent, bin, agent); err != nil {
		return false, "", err
	}
	if _, err := n.Run(ctx, nodes.Command{Name: "run the agent", Args: []string{agent, "version"}}); err != nil {
		if nodes.KindOf(err) != nodes.CommandFailed {
			return false, "", err
		}
		return false, "", &nodes.Error{Node: n.Name(), Kind: nodes.Unsupported, Err: fmt.Errorf("the agent for %s does not run there: %w",
			agentbin.Machine(f.GOARCH, f.GOARM), err), Next: "check the node's architecture, and that its disk is not mounted noexec"}
	}
	return true, agent, nil
}

func upload(ctx context.Context, n *nodes.Node, p agentbin.Program, bin agentbin.Binary, to string) error {
	r, err := bin.Open()
	if err != nil {
		return &nodes.Error{Node: n.Name(), Kind: nodes.BadConfig, Err: err}
	}
	defer r.Close() //nolint:errcheck // only read
	sum, err := n.Upload(ctx, to, 0o700, bin.Size, r)
	if err != nil {
		return err
	}
	if sum != bin.SHA256 {
		return errors.Join(&nodes.Error{Node: n.Name(), Kind: nodes.BadConfig,
			Err:  fmt.Errorf("%s that this controller carries has SHA-256 %s instead of %s", p.Noun(), sum, bin.SHA256),
			Next: "run make build"}, n.RemoveAll(ctx, to))
	}
	return nil
}

// Controller says who puts something on a node: user@host.
func Controller() string {
	name := "?"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return oneLine(name + "@" + host)
}

// StartOptions say how to start an agent.
type StartOptions struct {
	Agent string // its path on the node, as Push gave it
	// Platform has Open bring the built-in platform too. Start does not look at it.
	Platform bool
	Run      string // the run's id; the agent serves no other
	// Lease is how long the agent goes on without hearing from a controller;
	// Keep is how long it then holds its results before it removes itself.
	Lease, Keep time.Duration
	// Timeout bounds the wait for its first answer; 0 is 15 s.
	Timeout time.Duration
	// Env is added to its environment. It is visible to other users of the node.
	Env map[string]string
}

const defaultStartTimeout = 15 * time.Second

// Start starts the agent, detached from the connection, and returns once it
// answers. Where another agent runs on the node already the error is InUse: the
// node is another run's then, and neither Stop nor Remove may be called.
func Start(ctx context.Context, n *nodes.Node, o StartOptions) error {
	if o.Agent == "" || o.Run == "" || o.Lease <= 0 || o.Keep < 0 {
		return &nodes.Error{Node: n.Name(), Kind: nodes.BadConfig, Err: errors.New("start the agent: agent, run and lease are needed")}
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultStartTimeout
	}
	args := []string{o.Agent, o.Run, o.Lease.String(), o.Keep.String(), o.Timeout.String(), Controller()}
	_, err := scriptWith(ctx, n, o.Env, "start the agent", "start.sh", args...)
	return err
}

// tenths is a length of time as the scripts count it.
func tenths(d time.Duration) string {
	return strconv.FormatInt(int64((d+99*time.Millisecond)/(100*time.Millisecond)), 10)
}

// ErrNoAgent says that no agent runs on the node, so that none can be reached.
var ErrNoAgent = errors.New("no agent runs there")

// Attach reaches the running agent: what is written goes to its socket, and
// what it answers is read. ctx bounds the reaching alone. Close it; the agent
// goes on. The error wraps ErrNoAgent where there is none.
func Attach(ctx context.Context, n *nodes.Node) (io.ReadWriteCloser, error) {
	const what = "reach the agent"
	res, err := script(ctx, n, what, "agent.sh")
	if err != nil {
		return nil, err
	}
	dir, err := n.Directory(ctx)
	if err != nil {
		return nil, err
	}
	agent := strings.TrimSuffix(string(res.Stdout), "\n")
	return n.Stream(ctx, nodes.Command{Name: what, Args: []string{agent, "attach", "-dir", dir}})
}

// How long the agent, which has components to stop, and then what it left may
// take to end when asked.
const (
	agentGrace    = 20 * time.Second
	leftoverGrace = 3 * time.Second
)

// Stop ends the agent and every process that it left, first asking and then by
// force. Where nothing runs it does nothing.
func Stop(ctx context.Context, n *nodes.Node) error {
	return stop(ctx, n, agentGrace, leftoverGrace)
}

func stop(ctx context.Context, n *nodes.Node, agent, leftovers time.Duration) error {
	_, err := script(ctx, n, "stop the agent", "stop.sh", tenths(agent), tenths(leftovers))
	return err
}

// RemoveOptions say what Remove leaves.
type RemoveOptions struct {
	// Keep are the paths of programs that stay, with the record of them, so that
	// the next Open finds them; without any nothing stays.
	Keep []string
}

// Remove stops the agent and removes all that bela put on the node. Files in
// the directory that are not bela's stay, and are an error. Where there is
// nothing it does nothing; one that was cut short can be repeated.
func Remove(ctx context.Context, n *nodes.Node, o RemoveOptions) error {
	if err := Stop(ctx, n); err != nil {
		return err
	}
	_, err := script(ctx, n, "remove bela's directory", "remove.sh", o.Keep...)
	return err
}

// Leftovers lists what bela has on the node: "process 123 /path", "cgroup
// /path", "unit NAME", "file /path", "directory /path". It is empty on a clean node.
func Leftovers(ctx context.Context, n *nodes.Node) ([]string, error) {
	res, err := script(ctx, n, "look for leftovers", "leftovers.sh")
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(res.Stdout), func(r rune) bool { return r == '\n' }), nil
}
