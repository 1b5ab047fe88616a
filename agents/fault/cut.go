package fault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"bela/agents/protocol"
)

// cut drops what passes between this node and its peers, with a chain of its own
// in the packet filter.
type cut struct {
	spec   protocol.NetworkFault
	at     place
	local  net.IP
	peers  []net.IP
	report networkReport
}

func newCut(spec protocol.NetworkFault, at place) *cut { return &cut{spec: spec, at: at} }

// chain is a chain of bela's in the packet filter.
type chain struct {
	Program string `json:"program"` // iptables or ip6tables
	Name    string `json:"name"`
}

// hooks are the built-in chains that a cut hangs on.
func hooks() []string { return []string{"INPUT", "OUTPUT"} }

// chains are those of the cut, one for each family of addresses.
func (c *cut) chains() []chain {
	sum := sha256.Sum256([]byte(c.at.Dir + "\x00" + c.at.ID + "\x00" + c.at.Run))
	name := "bela-" + hex.EncodeToString(sum[:8])
	var all []chain
	for _, p := range c.peers {
		ch := chain{"iptables", name}
		if p.To4() == nil {
			ch.Program = "ip6tables"
		}
		if !slices.Contains(all, ch) {
			all = append(all, ch)
		}
	}
	return all
}

func (c *cut) check(ctx context.Context) (err error) {
	if c.local, c.peers, err = addresses(ctx, c.spec); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	for _, ch := range c.chains() {
		// In a network of its own, which ends with the program.
		if err := apart(ctx, ch.Program, "-w", "5", "-N", ch.Name); err != nil {
			return fmt.Errorf("the packet filter cannot be used: %w", err)
		}
	}
	return nil
}

var errNotRoot = errors.New("the agent is not root there, and the network needs it: log in as root (user in the node block), or use another fault")

// apart runs a program in a new, empty network namespace, so that what it does
// there touches nothing.
func apart(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + searchPath(), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	_, err = said(cmd)
	return err
}

func (c *cut) before(ctx context.Context) string {
	c.report = networkReport{local: c.local, peers: c.peers}
	return c.report.measureBefore(ctx)
}

func (c *cut) remedy() remedy { return remedy{Chains: c.chains()} }

// comment makes the rules known to whoever looks at them.
func (c *cut) comment() []string {
	return []string{"-m", "comment", "--comment", "bela-" + strings.Map(wordRune, c.at.Run)}
}

// wordRune keeps a comment one word for every tool.
func wordRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
		return r
	}
	return '-'
}

func (c *cut) apply(ctx context.Context) error {
	for _, ch := range c.chains() {
		run := func(args ...string) error {
			_, err := tool(ctx, ch.Program, append([]string{"-w", "5"}, args...)...)
			return err
		}
		rules := [][]string{{"-N", ch.Name}}
		add := func(rule ...string) {
			rules = append(rules, slices.Concat([]string{"-A", ch.Name}, rule, c.comment()))
		}
		for _, port := range keptPorts(c.spec.Keep) {
			add("-p", "tcp", "--dport", port, "-j", "RETURN")
			add("-p", "tcp", "--sport", port, "-j", "RETURN")
		}
		for _, p := range c.peers {
			if (p.To4() == nil) != (ch.Program == "ip6tables") {
				continue
			}
			out, in := []string{"-d", p.String()}, []string{"-s", p.String()}
			if sameMachine(c.local, p) {
				// Both ends are here: only both addresses tell whose packet it is.
				out, in = append(out, "-s", c.local.String()), append(in, "-d", c.local.String())
			}
			add(append(out, "-j", "DROP")...)
			add(append(in, "-j", "DROP")...)
		}
		for _, hook := range hooks() {
			rules = append(rules, slices.Concat([]string{"-I", hook, "1"}, c.comment(), []string{"-j", ch.Name}))
		}
		for _, rule := range rules {
			if err := run(rule...); err != nil {
				return err
			}
		}
	}
	return nil
}

// keptPorts are those of SSH, which no fault of the network touches.
func keptPorts(more []int) []string {
	ports := []string{"22"}
	// "client port server port" of the session that started the agent.
	if f := strings.Fields(os.Getenv("SSH_CONNECTION")); len(f) == 4 {
		if n, err := strconv.Atoi(f[3]); err == nil && n > 0 {
			more = append(slices.Clone(more), n)
		}
	}
	for _, p := range more {
		if s := strconv.Itoa(p); p > 0 && !slices.Contains(ports, s) {
			ports = append(ports, s)
		}
	}
	return ports
}

func (c *cut) during(ctx context.Context) string { return c.report.measureDuring(ctx) }

// remove takes a chain and what leads to it out of the packet filter.
func (c chain) remove(ctx context.Context) error {
	if _, err := lookPath(c.Program); err != nil {
		return nil // then there never was one
	}
	list, err := tool(ctx, c.Program, "-w", "5", "-S")
	if err != nil {
		return err
	}
	var errs []error
	there := false
	for text := range strings.Lines(list) {
		rule := strings.Fields(text)
		switch {
		case len(rule) == 2 && rule[0] == "-N" && rule[1] == c.Name:
			there = true
		case len(rule) > 3 && rule[0] == "-A" && slices.Contains(hooks(), rule[1]) && rule[len(rule)-1] == c.Name:
			_, err := tool(ctx, c.Program, slices.Concat([]string{"-w", "5", "-D"}, rule[1:])...)
			errs = append(errs, err)
		}
	}
	if there {
		for _, order := range []string{"-F", "-X"} {
			_, err := tool(ctx, c.Program, "-w", "5", order, c.Name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
