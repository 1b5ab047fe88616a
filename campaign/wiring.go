package campaign

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"bela/agents/protocol"
	"bela/experiment"
	"bela/nodes"
)

// ackTimeout is how long a device waits for an acknowledgement before it calls
// the message's fate unknown.
const ackTimeout = 20 * time.Second

// stopTimeout is how long a component may take to end when it sets nothing else.
const stopTimeout = 5 * time.Second

// wiring turns a cell of the plan into what each agent is asked to do: it puts
// the nodes' addresses where the plan has names.
type wiring struct {
	cell     experiment.Cell
	seed     int64
	run      uint32 // in every envelope
	attempt  uint32 // in every envelope; unique in the run
	address  func(node string) string
	facts    func(node string) nodes.Facts
	user     string
	password string
}

// placed is one component instance and the node that runs it.
type placed struct {
	node string
	of   experiment.Component
	spec protocol.ComponentSpec
	err  error // why it cannot be asked for
}

// components lists the instances in starting order.
func (w wiring) components() []placed {
	var all []placed
	for _, c := range w.cell.Components {
		for _, i := range c.Instances {
			filled, err := c.Filled(w.cell, i, w.surroundings())
			all = append(all, placed{i.Node, c, w.component(filled, i), err})
		}
	}
	return all
}

func (w wiring) component(c experiment.Component, i experiment.Instance) protocol.ComponentSpec {
	spec := protocol.ComponentSpec{
		Cell: cellName(w.cell), Name: c.Name, Instance: i.Index,
		Kind: strings.TrimPrefix(string(c.Kind), "platform."),
		Bind: w.address(i.Node), Port: i.Port,
		Links: make(map[string][]string),
		User:  w.user, Password: w.password,
		Codec: c.Codec, Queue: c.Queue, Timeout: c.Timeout,
		QoS:     min(w.cell.Devices.QoS, 1), // between hops, at least once is the most that there is
		Ingest:  topicFilter(w.cell.Devices.Topic),
		Deliver: topicRoot(w.cell.Customers.Topic),
		Command: c.Command, Env: w.environment(c, i),
		ReadyTCP: c.Ready.TCP, ReadyLog: c.Ready.Log, ReadyCommand: c.Ready.Command,
		ReadyTimeout: w.cell.Phases.Ready,
		StopSignal:   c.StopSignal, StopTimeout: c.StopTimeout,
		LimitCPU: c.Limits.CPU, LimitMemory: c.Limits.Memory,
		Process: process(c, i),
	}
	if c.Kind == experiment.KindGateway || c.Kind == experiment.KindHub {
		spec.PayloadCodec = w.cell.Devices.PayloadCodec
	}
	if keepsBooks(c.Kind) {
		spec.Books = &protocol.BooksSpec{Run: w.run, Cell: w.attempt}
	}
	if !c.BuiltIn() {
		spec.Meter = meterSpec(c.Metrics, w.address(i.Node), i)
	}
	if spec.StopTimeout == 0 {
		spec.StopTimeout = stopTimeout
	}
	for as, name := range c.Links {
		spec.Links[as] = w.addresses(name)
	}
	if i.Port != 0 {
		spec.Peers = w.addresses(c.Name)
	}
	return spec
}

// surroundings are what placeholders stand for.
func (w wiring) surroundings() experiment.Surroundings {
	return experiment.Surroundings{
		Address: w.address,
		CPUs:    func(node string) int { return w.facts(node).CPUs },
		Memory:  func(node string) int64 { return w.facts(node).Memory },
		Login:   w.user, Password: w.password,
	}
}

// process is what a process of the user's own needs besides its command.
func process(c experiment.Component, i experiment.Instance) *protocol.ProcessSpec {
	if c.BuiltIn() {
		return nil
	}
	p := &protocol.ProcessSpec{
		User: c.User, Directory: c.Directory, State: c.State,
		ReadyHTTP: c.Ready.HTTP, ReadyStatus: c.Ready.Status, ReadyBody: c.Ready.Body,
	}
	for _, name := range slices.Sorted(maps.Keys(i.Ports)) {
		p.Ports = append(p.Ports, i.Ports[name])
	}
	for _, f := range c.Files {
		p.Files = append(p.Files, protocol.FileSpec{Name: f.Name, Content: f.Content, Mode: f.Mode})
	}
	for _, a := range c.Artifacts {
		spec := protocol.ArtifactSpec{Name: a.Name, SHA256: a.SHA256, Mode: a.Mode}
		if a.Unpack {
			spec.Archive = archive(a.Source)
		}
		p.Artifacts = append(p.Artifacts, spec)
	}
	if r := c.Restart; r != nil {
		p.Restart = &protocol.RestartSpec{Always: r.Policy == experiment.RestartAlways, Backoff: r.Backoff, Max: r.Max}
	}
	return p
}

// environment is what a user's process gets: its own settings, and where it is
// and what it is linked to.
func (w wiring) environment(c experiment.Component, i experiment.Instance) map[string]string {
	if c.BuiltIn() {
		return nil
	}
	env := map[string]string{"BELA_ADDRESS": w.address(i.Node), "BELA_INSTANCE": strconv.Itoa(i.Index)}
	if i.Port != 0 {
		env["BELA_PORT"] = strconv.Itoa(i.Port)
	}
	for name, port := range i.Ports {
		env["BELA_PORT_"+environmentName(name)] = strconv.Itoa(port)
	}
	for as, name := range c.Links {
		env["BELA_LINK_"+environmentName(as)] = strings.Join(w.addresses(name), ",")
	}
	maps.Copy(env, c.Env)
	for name, secret := range c.SecretEnv {
		env[name] = secret.Reveal()
	}
	return env
}

func environmentName(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// addresses are host:port of a component's instances.
func (w wiring) addresses(component string) []string {
	var all []string
	for _, c := range w.cell.Components {
		if c.Name != component {
			continue
		}
		for _, i := range c.Instances {
			all = append(all, net.JoinHostPort(w.address(i.Node), strconv.Itoa(i.Port)))
		}
	}
	return all
}

// devices are the agents' shares of the devices, by node.
func (w wiring) devices() map[string]protocol.DevicesSpec {
	d := w.cell.Devices
	all := make(map[string]protocol.DevicesSpec)
	for n, share := range d.Shares {
		all[share.Node] = protocol.DevicesSpec{
			Run: w.run, Cell: w.attempt, Node: share.Node, Source: n,
			First: share.First, Count: share.Count, Customers: w.cell.Customers.Count,
			Brokers: w.addresses(d.Via), User: w.user, Password: w.password,
			Bind: loopbackOnly(w.address(share.Node)),
			QoS:  d.QoS, Rate: d.Rate, Arrivals: string(d.Arrivals), On: d.On, Off: d.Off,
			Topic: d.Topic, Payload: d.PayloadSize, PayloadCodec: d.PayloadCodec, Template: d.PayloadTemplate, Sensors: sensors(d.Sensors),
			Ramp: d.Ramp, Seed: w.seed, AckTimeout: ackTimeout,
		}
	}
	return all
}

// sensors are a device's, as its agent takes them.
func sensors(all []experiment.Sensor) []protocol.Sensor {
	var out []protocol.Sensor
	for _, s := range all {
		out = append(out, protocol.Sensor(s))
	}
	return out
}

// customers are the agents' shares of the customers, by node.
func (w wiring) customers() map[string]protocol.CustomersSpec {
	c := w.cell.Customers
	var firsts []int
	for _, share := range w.cell.Devices.Shares {
		firsts = append(firsts, share.First)
	}
	all := make(map[string]protocol.CustomersSpec)
	for _, share := range c.Shares {
		all[share.Node] = protocol.CustomersSpec{
			Run: w.run, Cell: w.attempt, Node: share.Node,
			First: share.First, Count: share.Count,
			Devices: w.cell.Devices.Count, Customers: c.Count, SourceOf: firsts,
			Brokers: w.addresses(c.Via), User: w.user, Password: w.password,
			Bind: loopbackOnly(w.address(share.Node)),
			QoS:  c.QoS, Topic: c.Topic, Receive: string(c.Receive), Late: w.cell.Devices.Late,
		}
	}
	return all
}

// owners are the customers that should get a device's messages.
func owners(cell experiment.Cell, device int) []int {
	if cell.Customers.Receive == experiment.ReceiveAll {
		all := make([]int, cell.Customers.Count)
		for i := range all {
			all[i] = i
		}
		return all
	}
	return []int{device % cell.Customers.Count}
}

// cellName names a cell's directories: "003".
func cellName(cell experiment.Cell) string { return fmt.Sprintf("%03d", cell.Position) }

// topicRoot is a topic template's first level: "iot/{customer}/{device}" → "iot".
func topicRoot(template string) string {
	root, _, _ := strings.Cut(template, "/")
	return root
}

// topicFilter takes everything under a topic template's first level.
func topicFilter(template string) string { return topicRoot(template) + "/#" }

// loopbackOnly is the address to send from: a node that lives on a loopback
// address must show it, so that each node has its own ports; elsewhere the
// kernel knows better.
func loopbackOnly(address string) string {
	if ip := net.ParseIP(address); ip != nil && ip.IsLoopback() {
		return address
	}
	return ""
}
