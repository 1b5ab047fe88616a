package netns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Direction is which way a link is cut, seen from the node.
type Direction int

// The directions.
const (
	BothWays Direction = iota
	ToNode
	FromNode
)

// cutRules drop, at the bridge, every frame of a link that is cut; the node and
// its carrier notice nothing, as when a switch further off dies.
const cutRules = `table bridge bed {
	set to { type ifname; }
	set from { type ifname; }
	set pairs { type ifname . ifname; }
	chain forward {
		type filter hook forward priority 0; policy accept;
		oifname @to drop
		iifname @from drop
		iifname . oifname @pairs drop
	}
}
`

// Cut lets nothing pass between the node and all others, the controller too,
// in the directions given. Nothing is told to either side.
func (n *Node) Cut(ctx context.Context, d Direction) error {
	var rules string
	if d != FromNode {
		rules += fmt.Sprintf("add element bridge bed to { %q }\n", n.portName())
	}
	if d != ToNode {
		rules += fmt.Sprintf("add element bridge bed from { %q }\n", n.portName())
	}
	return n.atSwitch("cut its link", n.bed.sw.nft(ctx, rules))
}

// CutFrom lets nothing pass from another node to this one; all else does.
func (n *Node) CutFrom(ctx context.Context, other *Node) error {
	return n.atSwitch("cut its link", n.bed.sw.nft(ctx, fmt.Sprintf("add element bridge bed pairs { %q . %q }\n", other.portName(), n.portName())))
}

// CutController lets nothing pass between the controller and the node, either way;
// the nodes among themselves go on. A bed with a gateway has no such way.
func (n *Node) CutController(ctx context.Context) error {
	return n.atSwitch("cut its link", n.bed.sw.nft(ctx, fmt.Sprintf("add element bridge bed pairs { %[1]q . %[2]q, %[2]q . %[1]q }\n", uplink, n.portName())))
}

// Unplug takes the node's carrier away, as a cable that is pulled.
func (n *Node) Unplug(ctx context.Context) error {
	return n.atSwitch("unplug it", n.bed.sw.ip(ctx, "link set "+n.portName()+" down\n"))
}

// Mend undoes Cut, CutFrom, CutController, Unplug and Slow of this node.
func (n *Node) Mend(ctx context.Context) error {
	var rules strings.Builder
	p := n.portName()
	for _, set := range []string{"to", "from"} { // adding makes sure that there is one to delete
		fmt.Fprintf(&rules, "add element bridge bed %[1]s { %[2]q }\ndelete element bridge bed %[1]s { %[2]q }\n", set, p)
	}
	pairs := [][2]string{{uplink, p}, {p, uplink}}
	for _, other := range n.bed.all() {
		pairs = append(pairs, [2]string{other.portName(), p})
	}
	for _, way := range pairs {
		fmt.Fprintf(&rules, "add element bridge bed pairs { %[1]q . %[2]q }\ndelete element bridge bed pairs { %[1]q . %[2]q }\n", way[0], way[1])
	}
	return n.atSwitch("mend its link", errors.Join(n.bed.sw.nft(ctx, rules.String()), n.bed.sw.ip(ctx, "link set "+p+" up\n"),
		n.unshape(ctx, n.bed.sw, p), n.unshape(ctx, n.holder, "eth0")))
}

func (n *Node) atSwitch(what string, err error) error {
	if err != nil {
		return n.fail(what, err)
	}
	return nil
}

// Shape is how slow a link is, each way.
type Shape struct {
	BitsPerSecond int64         // 0 is no limit
	Delay         time.Duration // added to each frame; needs netem
	Loss          float64       // share of frames that are lost, 0 to 1; needs netem
}

// ErrNoNetem says that the kernel cannot delay or lose frames.
var ErrNoNetem = errors.New("this kernel has no netem (CONFIG_NET_SCH_NETEM), which delay and loss need; a rate alone works without it")

// Slow makes the node's link slow, both ways. The way from the node is shaped
// on the node itself, where tc shows it.
func (n *Node) Slow(ctx context.Context, s Shape) error {
	args := []string{"tbf", "rate", fmt.Sprintf("%dbit", s.BitsPerSecond), "burst", "16kb", "latency", "200ms"}
	if s.Delay > 0 || s.Loss > 0 {
		args = []string{"netem", "limit", "100000", "delay", fmt.Sprintf("%dus", s.Delay.Microseconds()), "loss", fmt.Sprintf("%.4f%%", 100*s.Loss)}
		if s.BitsPerSecond > 0 {
			args = append(args, "rate", fmt.Sprintf("%dbit", s.BitsPerSecond))
		}
	} else if s.BitsPerSecond <= 0 {
		return n.fail("slow its link", errors.New("the shape says nothing: give a rate, a delay or a loss"))
	}
	err := n.shape(ctx, n.bed.sw, n.portName(), args)
	if err == nil {
		err = n.shape(ctx, n.holder, "eth0", args)
	}
	if err != nil && args[0] == "netem" && strings.Contains(err.Error(), "qdisc kind is unknown") {
		err = ErrNoNetem
	}
	return n.atSwitch("slow its link", err)
}

func (n *Node) shape(ctx context.Context, at *holder, link string, args []string) error {
	return at.feed(ctx, "", "tc", append([]string{"qdisc", "replace", "dev", link, "root"}, args...)...)
}

// unshape takes a link's shape away, where it has one.
func (n *Node) unshape(ctx context.Context, at *holder, link string) error {
	out, err := run(exec.CommandContext(ctx, "nsenter", "-t", fmt.Sprint(at.pid), "-n", "--", "tc", "qdisc", "show", "dev", link))
	if err != nil {
		return err
	}
	if !strings.Contains(out, "tbf") && !strings.Contains(out, "netem") {
		return nil
	}
	return at.feed(ctx, "", "tc", "qdisc", "del", "dev", link, "root")
}
