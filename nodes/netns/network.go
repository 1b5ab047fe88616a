package netns

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// network is the block of addresses that a bed takes out of 198.18.0.0/15,
// which is set aside for tests of networks (RFC 2544). The bed with the
// machine's link belabed<k> has the k-th 1024 of them: the upper half is for
// the nodes, the lower for what lies between the controller and a gateway.
type network int

const blocks = 128

func (k network) address(i int) netip.Addr {
	base := netip.MustParseAddr("198.18.0.0").As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])+uint32(int(k)*1024+i))
	return netip.AddrFrom4(a)
}

// link is the name of the controller's end.
func (k network) link() string { return "belabed" + strconv.Itoa(int(k)) }

// Places in the block.
const (
	outerController = 1
	outerGateway    = 2
	inner           = 512
	innerFirst      = inner + 1 // the gateway, or the controller where there is none
	innerNodes      = inner + 10
)

// uplink is the bridge's end of the controller's link, where there is no gateway.
const uplink = "uplink"

// connect makes the links: the controller's, the bridge, and one a node.
func (b *Bed) connect(ctx context.Context) error {
	if err := b.uplink(ctx); err != nil {
		return err
	}
	var batch strings.Builder
	batch.WriteString("link set lo up\nlink add bed0 type bridge\nlink set bed0 up\n")
	for _, n := range b.all() {
		batch.WriteString(n.port())
	}
	if b.gateway == nil {
		batch.WriteString("link set " + uplink + " master bed0\nlink set " + uplink + " up\n")
	}
	if err := b.sw.ip(ctx, batch.String()); err != nil {
		return fmt.Errorf("make the links: %w", err)
	}
	return b.sw.nft(ctx, cutRules)
}

// port makes a node's link to the bridge: n<index> there, eth0 on the node. A
// node keeps its hardware address when it boots again, as machines do.
func (n *Node) port() string {
	return fmt.Sprintf("link add %[1]s type veth peer name eth0 address 02:be:1a:00:%02[3]x:%02[4]x netns %[2]d\nlink set %[1]s master bed0\nlink set %[1]s up\n", n.portName(), n.holder.pid, n.index>>8, n.index&0xff)
}

func (n *Node) portName() string { return "n" + strconv.Itoa(n.index) }

// uplink takes the first free block by making the controller's link, whose name
// no two beds can have; its other end is the bridge's or the gateway's.
func (b *Bed) uplink(ctx context.Context) error {
	peer, other, address := b.sw, "uplink", innerFirst
	length := 23
	if b.gateway != nil {
		peer, other, address, length = b.gateway.holder, "eth1", outerController, 24
	}
	for k := network(0); k < blocks; k++ {
		_, err := run(exec.CommandContext(ctx, "ip", "link", "add", k.link(), "type", "veth", "peer", "name", other, "netns", strconv.Itoa(peer.pid)))
		if err != nil && strings.Contains(err.Error(), "File exists") {
			continue
		}
		if err != nil {
			return err
		}
		b.net = k
		cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
		batch := fmt.Sprintf("address add %s/%d dev %s\nlink set %[3]s up\n", k.address(address), length, k.link())
		if b.gateway != nil {
			// Else packets to the inner nodes would go the machine's default way, where
			// somebody may answer.
			batch += fmt.Sprintf("route add %s/23 dev %s\n", k.address(inner), k.link())
		}
		cmd.Stdin = strings.NewReader(batch)
		_, err = run(cmd)
		return err
	}
	return fmt.Errorf("all %d blocks of addresses are taken: remove beds with make testbed-down", blocks)
}

// links are the commands that a node runs for its own ends.
func (n *Node) links() string {
	k := n.bed.net
	at := innerNodes + n.index - 1
	if n.group == "" { // the gateway
		return fmt.Sprintf("link set lo up\naddress add %s/24 dev eth1\nlink set eth1 up\naddress add %s/23 dev eth0\nlink set eth0 up\n",
			k.address(outerGateway), k.address(innerFirst))
	}
	return fmt.Sprintf("link set lo up\naddress add %s/23 dev eth0\nlink set eth0 up\n", k.address(at))
}

// ip runs a batch of ip's commands in the process's network.
func (h *holder) ip(ctx context.Context, batch string) error {
	return h.feed(ctx, batch, "ip", "-batch", "-")
}

// nft changes the firewall of the process's network, all at once or not at all.
func (h *holder) nft(ctx context.Context, rules string) error {
	return h.feed(ctx, rules, "nft", "-f", "-")
}

func (h *holder) feed(ctx context.Context, input, tool string, args ...string) error {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(h.pid), "-n", "--", tool}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	if _, err := run(cmd); err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	return nil
}

// listens says whether a TCP port is listened on, IPv4, in a process's network.
func (h *holder) listens(port int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(h.pid), "net", "tcp"))
	return err == nil && bytes.Contains(text, fmt.Appendf(nil, ":%04X 00000000:0000 0A", port))
}
