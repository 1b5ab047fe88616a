package nodes

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Kind says what went wrong with a node.
type Kind string

// The kinds of errors.
const (
	// Unreachable: no route, or no answer in time. The machine may be off.
	Unreachable Kind = "unreachable"
	// NameUnknown: the host's name has no address.
	NameUnknown Kind = "name unknown"
	// PortClosed: the machine is there, and nothing listens on the port.
	PortClosed Kind = "port closed"
	// NotSSH: what listens on the port is no SSH server.
	NotSSH Kind = "no ssh server"
	// ConnectionCut: the peer, or something in between, hung up before the login
	// was done, as an SSH server does that has too many logins at once.
	ConnectionCut Kind = "connection cut"
	// JumpUnreachable: a jump host cannot be reached itself.
	JumpUnreachable Kind = "jump host unreachable"
	// JumpRefused: a jump host takes none of the keys, or forwards nothing.
	JumpRefused Kind = "jump host refused"
	// HostKeyUnknown: the policy knows no key for the host.
	HostKeyUnknown Kind = "host key unknown"
	// HostKeyChanged: the host shows another key than the known one.
	HostKeyChanged Kind = "host key changed"
	// AuthRefused: the node takes none of the keys, or there is none to offer.
	AuthRefused Kind = "login refused"
	// NotLinux: the node runs something that bela does not.
	NotLinux Kind = "not linux"
	// NoSpace: the node's disk is full, or would be.
	NoSpace Kind = "no space"
	// NoPermission: the login may not write in bela's directory.
	NoPermission Kind = "no permission"
	// LinkLost: the connection was up and died.
	LinkLost Kind = "link lost"
	// CommandFailed: a command ended with a status other than 0, or was cut short.
	CommandFailed Kind = "command failed"
	// FileFailed: a file could not be read, written or verified.
	FileFailed Kind = "file failed"
	// Unsupported: the node, or the way to it, is one that bela has no means for.
	Unsupported Kind = "unsupported"
	// InUse: another run holds the node.
	InUse Kind = "in use"
	// BadConfig: something on the controller is wrong: a key file, ssh_config,
	// known_hosts or an option.
	BadConfig Kind = "bad configuration"
	// Canceled: the caller's context ended first.
	Canceled Kind = "canceled"
)

// Error is an error of one node: what, why and what to do next.
type Error struct {
	Node string
	Kind Kind
	// Err is the cause.
	Err error
	// Next is what the user can do, as a phrase; may be empty.
	Next string
	// Transient errors may be gone at the next attempt.
	Transient bool
}

// Error gives node, kind, cause and next step on one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "node %s: %s: %v", e.Node, e.Kind, e.Err)
	if e.Next != "" {
		b.WriteString("; ")
		b.WriteString(e.Next)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of the first *Error in err's tree; empty where there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// ExitError is the cause of a CommandFailed error: how the command ended.
type ExitError struct {
	// Command is its name, or its first words, without environment or input.
	Command string
	// Status is the exit status; -1 where a signal or a lost link ended it.
	Status int
	// Signal is the signal's name without SIG; empty where it exited.
	Signal string
	// Stderr is the end of what it wrote to standard error.
	Stderr string
}

// Error says how the command ended and the end of its standard error.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Status)
	switch {
	case e.Signal != "":
		how = "killed by signal " + e.Signal
	case e.Status < 0:
		how = "ended without an exit status"
	}
	text := fmt.Sprintf("%s: %s", e.Command, how)
	if tail := strings.TrimSpace(e.Stderr); tail != "" {
		text += ": " + oneLine(tail)
	}
	return text
}

// oneLine keeps foreign text from breaking a log line or steering a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return '|'
		case r == '\t':
			return ' '
		case r < ' ', r == 0x7f, r >= 0x80 && r < 0xa0, r == '\u2028', r == '\u2029', unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
}
