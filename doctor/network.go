package doctor

import (
	"fmt"
	"strconv"

	"bela/agents/protocol"
)

// The parameters that -fix sets.
const (
	somaxconn    = "net.core.somaxconn"
	synBacklog   = "net.ipv4.tcp_max_syn_backlog"
	portRange    = "net.ipv4.ip_local_port_range"
	conntrackMax = "net.netfilter.nf_conntrack_max"
)

// widePorts is the range of local ports that -fix sets: it leaves room below
// for the ports of brokers.
var widePorts = [...]int{10000, 65535}

// narrowPath is a path's largest packet below which a tunnel is on the way.
const narrowPath = 1400

// listening judges whether each port of a component is there to be taken.
func listening(d *desk, e *exam, n *need) {
	for _, p := range n.ports {
		l, looked := e.listeners[p.number]
		first, last := e.inspection.Network.LocalPorts[0], e.inspection.Network.LocalPorts[1]
		if first <= p.number && p.number <= last {
			d.add(Note, "ports", fmt.Sprintf("port %d of %s is one that outgoing connections are given (%d to %d)", p.number, p.instance, first, last),
				"by chance it may be taken when the component starts", fmt.Sprintf("sudo sysctl -w net.ipv4.ip_local_reserved_ports=%d", p.number))
		}
		if !looked || l.Code == "" {
			continue
		}
		what, fix := "", ""
		switch l.Code {
		case protocol.ListenTaken:
			by := l.Holder
			if by == "" {
				by = "a process that this login cannot see"
			}
			what = fmt.Sprintf("port %d, where %s would listen, is taken by %s", p.number, p.instance, by)
			fix = fmt.Sprintf("sudo ss -ltnp 'sport = :%d' shows it: end it, or give the component another port", p.number)
		case protocol.ListenDenied:
			what = fmt.Sprintf("%s may not listen on port %d, where %s would", who(e), p.number, p.instance)
			fix = fmt.Sprintf("give the component a port from 1024 on, log in as root, or sudo sysctl -w net.ipv4.ip_unprivileged_port_start=%d", p.number)
		case protocol.ListenForeign:
			what = fmt.Sprintf("%s cannot listen on %s: it is no address of this node", p.instance, l.Address)
			fix = "name the node in hosts by an address of its own (ip addr shows them)"
		default:
			what = fmt.Sprintf("%s cannot listen on %s: %s", p.instance, l.Address, l.Error)
		}
		d.add(Error, "ports", what, "the component could not start", fix)
	}
}

// ways judges the connections that were tried from this node.
func ways(d *desk, e *exam, _ *need) {
	narrow := false
	for _, t := range e.ways {
		port := strconv.Itoa(t.port)
		ends := fmt.Sprintf("%s cannot connect to %s at %s (%s)", t.from, t.to, t.address, t.why)
		allow := fmt.Sprintf("on %s: sudo iptables -I INPUT -p tcp -s %s --dport %s -j ACCEPT, or the same in the cloud's firewall", t.to, e.address, port)
		what, fix := "", allow
		switch t.result.Code {
		case "":
			narrow = narrow || t.result.MTU > 0 && t.result.MTU < narrowPath
			continue
		case protocol.WayRefused:
			what = ends + ": refused, although something listened there: a firewall rejects it"
		case protocol.WaySilent:
			what = fmt.Sprintf("%s: no answer within %v: a firewall drops it, or the way back is missing", ends, dialTimeout)
		case protocol.WayNoRoute:
			what, fix = ends+": "+t.result.Error, fmt.Sprintf("on %s: ip route get %s; give the nodes addresses that reach each other", t.from, t.address)
		case protocol.WayStuck:
			what = fmt.Sprintf("%s connects to %s at %s (%s), but full packets do not come through", t.from, t.to, t.address, t.why)
			fix = fmt.Sprintf("on %s: ping -M do -s 1472 %s finds the path's MTU; lower that of the interface (ip link set dev … mtu …), or let ICMP pass", t.from, t.to)
		case protocol.WayOther:
			what = fmt.Sprintf("%s connects to %s, but it is not %s that answers (%s)", t.from, t.address, t.to, t.why)
			fix = "look for a proxy or an address translation on the way, and for two machines with one address"
		default:
			what, fix = ends+": "+t.result.Error, ""
		}
		if t.spare {
			d.add(Warning, "reachability", what, spareWhy, fix)
			continue
		}
		d.add(Error, "reachability", what, "what has to connect there would not", fix)
	}
	if narrow {
		d.add(Note, "path mtu", fmt.Sprintf("some paths from here carry packets below %d bytes only", narrowPath), "a tunnel is on the way; it costs CPU and throughput", "")
	}
	if e.untried > 0 {
		d.add(Note, "reachability", fmt.Sprintf("%d ways from here were not tried: their other ends could not listen", e.untried), "nothing is known of them", "mend what is reported of the other ends, and call the doctor again")
	}
}

// localPorts judges two cells that follow each other; a single cell is judged
// by the plan's own check.
func localPorts(d *desk, e *exam, n *need) {
	net := e.inspection.Network
	have := net.LocalPorts[1] - net.LocalPorts[0] + 1
	reused := net.TimeWaitReuse == 1 || net.TimeWaitReuse == 2 && e.onLab
	if net.LocalPorts[1] == 0 || reused || n.again <= have {
		return
	}
	f := d.add(Warning, "local ports", fmt.Sprintf("two cells in a row take %d local ports to one destination, and there are %d", n.again, have),
		fmt.Sprintf("a port rests for %d s after its connection; the second cell may not get one", timeWaitSeconds),
		fmt.Sprintf("sudo sysctl -w %s='%d %d', or net.ipv4.tcp_tw_reuse=1", portRange, widePorts[0], widePorts[1]))
	if have < widePorts[1]-widePorts[0]+1 {
		f.mend = &mend{sysctl: portRange, value: fmt.Sprintf("%d %d", widePorts[0], widePorts[1])}
	}
}

// queues judges whether devices that connect at once find room.
func queues(d *desk, e *exam, n *need) {
	net := e.inspection.Network
	want := strconv.Itoa(above(n.arrivals))
	if net.Somaxconn > 0 && int64(n.arrivals) > net.Somaxconn {
		f := d.add(Warning, "accept queue", fmt.Sprintf("%d connections a second arrive at %s, and its queue holds %d (%s)", n.arrivals, n.arrivesAt, net.Somaxconn, somaxconn),
			"a broker that pauses for a second lets connections time out", "sudo sysctl -w "+somaxconn+"="+want+", or a longer ramp")
		f.mend = &mend{sysctl: somaxconn, value: want}
	}
	if net.SynBacklog > 0 && net.SynCookies == 0 && int64(n.arrivals) > net.SynBacklog {
		f := d.add(Warning, "accept queue", fmt.Sprintf("%d connections a second arrive at %s, %d may be half open (%s), and SYN cookies are off", n.arrivals, n.arrivesAt, net.SynBacklog, synBacklog),
			"connections would be dropped and come a second later", "sudo sysctl -w "+synBacklog+"="+want)
		f.mend = &mend{sysctl: synBacklog, value: want}
	}
}

// conntrack judges whether the kernel can keep track of all connections.
func conntrack(d *desk, e *exam, n *need) {
	net := e.inspection.Network
	if net.ConntrackMax <= 0 || n.connections == 0 {
		return
	}
	one, two := net.Conntrack+int64(n.connections), net.Conntrack+2*int64(n.connections)
	want := strconv.Itoa(max(65536, above(int(2*two))))
	fix := "sudo sysctl -w " + conntrackMax + "=" + want
	var f *Finding
	switch {
	case one > net.ConntrackMax:
		f = d.add(Error, "conntrack", fmt.Sprintf("the kernel tracks at most %d connections, %d are there, and cell %d has %d", net.ConntrackMax, net.Conntrack, n.cell, n.connections),
			"packets of further connections are dropped", fix)
	case two > net.ConntrackMax:
		f = d.add(Warning, "conntrack", fmt.Sprintf("the kernel tracks at most %d connections, %d are there, and two cells in a row have %d", net.ConntrackMax, net.Conntrack, 2*n.connections),
			fmt.Sprintf("a connection is tracked for %d s after its end; beyond that packets are dropped", conntrackSeconds), fix)
	default:
		return
	}
	f.mend = &mend{sysctl: conntrackMax, value: want}
}
