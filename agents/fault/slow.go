package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/agents/protocol"
)

// slow delays, loses and limits what this node sends to its peers, with a
// queueing discipline on the interfaces that lead there.
type slow struct {
	spec    protocol.NetworkFault
	local   net.IP
	peers   []net.IP
	devices map[string][]net.IP // peers by the interface that leads to them
	htb     bool                // a rate alone, on a kernel without netem
	report  networkReport
}

func newSlow(spec protocol.NetworkFault, _ place) *slow { return &slow{spec: spec} }

// The handles of bela's queueing disciplines, by which they are known again.
const (
	rootHandle  = "be1a:"
	netemHandle = "be1b:"
	slowBand    = "be1a:4"
	fastBand    = "be1a:1"
)

func (s *slow) check(ctx context.Context) (err error) {
	if s.local, s.peers, err = addresses(ctx, s.spec); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	for _, program := range []string{"ip", "tc"} {
		if _, err := lookPath(program); err != nil {
			return err
		}
	}
	// In a network of its own: whether the kernel has what it takes.
	if err := apart(ctx, "tc", slices.Concat([]string{"qdisc", "add", "dev", "lo", "root"}, s.netem())...); err != nil {
		s.htb = s.spec.Delay == 0 && s.spec.Loss == 0 && apart(ctx, "tc", "qdisc", "add", "dev", "lo", "root", "htb") == nil
		if !s.htb {
			return fmt.Errorf("this node's kernel cannot slow a network down, for it has no netem (Linux: CONFIG_NET_SCH_NETEM, module sch_netem); use cut, a rate alone where it has htb, or another kernel: %w", err)
		}
	}
	s.devices = make(map[string][]net.IP)
	for _, p := range s.peers {
		device, err := deviceTo(ctx, p)
		if err != nil {
			return err
		}
		s.devices[device] = append(s.devices[device], p)
	}
	for device := range s.devices {
		if kind, own, err := rootQdisc(ctx, device); err != nil {
			return err
		} else if own {
			return fmt.Errorf("the interface %s has the queueing discipline %s, which is not the kernel's default and could not be put back", device, kind)
		}
	}
	return nil
}

// netem are the words that slow a network down.
func (s *slow) netem() []string {
	words := []string{"netem"}
	micros := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) + "us" }
	if s.spec.Delay > 0 {
		words = append(words, "delay", micros(s.spec.Delay))
		if s.spec.Jitter > 0 {
			words = append(words, micros(s.spec.Jitter))
		}
	}
	if s.spec.Loss > 0 {
		words = append(words, "loss", strconv.FormatFloat(100*s.spec.Loss, 'f', -1, 64)+"%")
	}
	if s.spec.Rate > 0 {
		words = append(words, "rate", strconv.FormatInt(s.spec.Rate, 10)+"bit")
	}
	return append(words, "limit", "100000") // packets; the default of 1000 would lose some of a delayed burst
}

// deviceTo is the interface that leads to an address.
func deviceTo(ctx context.Context, peer net.IP) (string, error) {
	text, err := tool(ctx, "ip", "-j", "route", "get", peer.String())
	if err != nil {
		return "", err
	}
	var routes []struct {
		Dev string `json:"dev"`
	}
	if err := json.Unmarshal([]byte(text), &routes); err != nil || len(routes) == 0 || routes[0].Dev == "" {
		return "", fmt.Errorf("no interface leads to %s: ip says %q", peer, strings.TrimSpace(text))
	}
	return routes[0].Dev, nil
}

// rootQdisc is an interface's root queueing discipline, and whether somebody set
// it: the kernel's own have the handle 0.
func rootQdisc(ctx context.Context, device string) (kind string, own bool, err error) {
	text, err := tool(ctx, "tc", "-j", "qdisc", "show", "dev", device)
	if err != nil {
		return "", false, err
	}
	var all []struct {
		Kind   string `json:"kind"`
		Handle string `json:"handle"`
		Root   bool   `json:"root"`
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return "", false, fmt.Errorf("queueing disciplines of %s: %w", device, err)
	}
	for _, q := range all {
		if q.Root {
			return q.Kind + " " + q.Handle, q.Handle != "0:", nil
		}
	}
	return "", false, nil
}

func (s *slow) before(ctx context.Context) string {
	s.report = networkReport{local: s.local, peers: s.peers, slow: 2 * (s.spec.Delay + s.spec.Jitter)}
	return s.report.measureBefore(ctx)
}

func (s *slow) remedy() remedy {
	var r remedy
	for d := range s.devices {
		r.Devices = append(r.Devices, d)
	}
	slices.Sort(r.Devices)
	return r
}

func (s *slow) apply(ctx context.Context) error {
	for device, peers := range s.devices {
		on := []string{"dev", device}
		orders := s.disciplines(on)
		filter := func(priority string, words []string, band string) {
			orders = append(orders, slices.Concat([]string{"filter", "add"}, on, []string{"parent", rootHandle}, words[:2],
				[]string{"prio", priority, "u32"}, words[2:], []string{"flowid", band}))
		}
		for _, p := range peers {
			match := s.match(p)
			for _, port := range keptPorts(s.spec.Keep) {
				for _, end := range []string{"sport", "dport"} {
					filter("1", append(slices.Clone(match), "match", familyOf(p), end, port, "0xffff"), fastBand)
				}
			}
			filter("2", match, slowBand)
		}
		for _, o := range orders {
			if _, err := tool(ctx, "tc", o...); err != nil {
				return err
			}
		}
	}
	return nil
}

// disciplines are the orders that make a way which is slow beside one that is as
// before.
func (s *slow) disciplines(on []string) [][]string {
	order := func(what string, words ...string) []string { return slices.Concat([]string{what, "add"}, on, words) }
	if !s.htb {
		return [][]string{
			order("qdisc", "root", "handle", rootHandle, "prio", "bands", "4",
				"priomap", "1", "2", "2", "2", "1", "2", "0", "0", "1", "1", "1", "1", "1", "1", "1", "1"),
			order("qdisc", slices.Concat([]string{"parent", slowBand, "handle", netemHandle}, s.netem())...),
		}
	}
	return [][]string{
		order("qdisc", "root", "handle", rootHandle, "htb", "default", "1"),
		order("class", "parent", rootHandle, "classid", fastBand, "htb", "rate", "100gbit", "quantum", "60000"),
		order("class", "parent", rootHandle, "classid", slowBand, "htb", "rate", strconv.FormatInt(s.spec.Rate, 10)+"bit", "quantum", "60000"),
		order("qdisc", "parent", slowBand, "handle", netemHandle, "pfifo", "limit", "100000"),
	}
}

func familyOf(ip net.IP) string {
	if ip.To4() == nil {
		return "ip6"
	}
	return "ip"
}

// match are the words that find packets for a peer.
func (s *slow) match(peer net.IP) []string {
	family, bits := familyOf(peer), "/32"
	protocol := "ip"
	if family == "ip6" {
		protocol, bits = "ipv6", "/128"
	}
	words := []string{"protocol", protocol, "match", family, "dst", peer.String() + bits}
	if sameMachine(s.local, peer) {
		words = append(words, "match", family, "src", s.local.String()+bits)
	}
	return words
}

func (s *slow) during(ctx context.Context) string { return s.report.measureDuring(ctx) }

// restoreDevice takes bela's queueing discipline off an interface; the kernel
// puts its own back.
func restoreDevice(ctx context.Context, device string) error {
	if _, err := lookPath("tc"); err != nil {
		return nil // then there never was one
	}
	if _, err := net.InterfaceByName(device); err != nil {
		return nil // it went, and its disciplines with it
	}
	kind, _, err := rootQdisc(ctx, device)
	if err != nil || !strings.HasSuffix(kind, " "+rootHandle) {
		return err
	}
	_, err = tool(ctx, "tc", "qdisc", "del", "dev", device, "root")
	return err
}
