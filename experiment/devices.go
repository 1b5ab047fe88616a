package experiment

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds and defaults of devices and customers.
const (
	maxDevices     = 1_000_000
	maxCustomers   = 1_000_000
	maxRate        = 1_000_000  // messages a second and device
	maxMessages    = 1<<27 - 1  // of one device in one cell; sequence numbers and their books are 32 bits wide
	maxOffered     = 10_000_000 // messages a second over all devices
	minPayload     = 128        // the envelope needs room
	minRawPayload  = 42         // the same where there is nothing else
	maxPayload     = 256 * 1024 // bytes
	defaultPayload = 1024       // bytes
	rampRate       = 200        // devices that connect a second
	maxRamp        = 30 * time.Second
	defaultOn      = time.Second
	defaultOff     = 9 * time.Second

	defaultDeviceTopic = "iot/{customer}/{device}"
)

// loadSpec is what devices and customers have in common before placing.
type loadSpec struct {
	header, viaAt, onAt, topicAt hcl.Range
	what                         string
	topicGiven, qosGiven         bool
	whole                        bool
}

type devicesSpec struct {
	Devices
	loadSpec
	rampGiven bool
	rampAt    hcl.Range
	codecAt   hcl.Range // of the payload
}

type customersSpec struct {
	Customers
	loadSpec
}

// devicesBlock reads the devices as they are in one cell.
func (l *loader) devicesBlock(b *hclsyntax.Block, s *scope) *devicesSpec {
	before := len(l.m.list)
	r := l.m.reader(b, s)
	d := &devicesSpec{}
	l.loadBlock(r, b, &d.loadSpec)
	d.Group, _ = r.refer("on", nodeType, "node", sortedKeys(l.groups))
	r.require("on", "on = node.iot")
	count, _ := r.whole("count", 1, maxDevices)
	d.Count = int(count)
	r.require("count", "count = cell.devices")
	d.Via, _ = r.refer("via", componentType, "component", l.componentLabels())
	qos, _ := r.whole("qos", 0, 2)
	d.QoS = int(qos)
	d.Rate = 1
	if rate, ok := r.rate("rate", maxRate); ok {
		d.Rate = rate
		if offered := rate * float64(d.Count); offered > maxOffered {
			r.wrong("rate", fmt.Sprintf("%s devices at %s messages a second are %s messages a second",
				grouped(count), showNumber(rate), showNumber(offered)), fmt.Sprintf("legal: %s in all", grouped(maxOffered)))
		}
	}
	l.arrivals(r, d)
	d.Topic = defaultDeviceTopic
	if topic, ok := r.text("topic", 1024); ok {
		d.Topic = topic
		l.checkTopic(r, topic, false, "{customer}", "{device}", "{node}")
	}
	d.PayloadSize = defaultPayload
	if n := r.nested("payload"); n != nil {
		l.payload(n, d)
	}
	d.Ramp = min(time.Duration(d.Count)*time.Second/rampRate, maxRamp)
	if ramp, ok := r.length("ramp", 0, time.Hour); ok {
		d.Ramp, d.rampGiven = ramp, true
	}
	d.rampAt = r.at("ramp")
	d.Late, _ = r.length("late", 0, maxDuration)
	r.finish()
	d.whole = len(l.m.list) == before
	return d
}

// loadBlock remembers where things stand, for mistakes that show later.
func (l *loader) loadBlock(r *reader, b *hclsyntax.Block, spec *loadSpec) {
	*spec = loadSpec{
		header: b.DefRange(), what: r.what, viaAt: r.at("via"), onAt: r.at("on"), topicAt: r.at("topic"),
		topicGiven: r.has("topic"), qosGiven: r.has("qos"),
	}
}

func (l *loader) componentLabels() []string {
	var names []string
	for _, b := range l.components {
		names = append(names, b.Labels[0])
	}
	slices.Sort(names)
	return names
}

// arrivals reads how messages are spread in time.
func (l *loader) arrivals(r *reader, d *devicesSpec) {
	d.Arrivals = ArrivalsConstant
	if a, ok := r.choice("arrivals", string(ArrivalsConstant), string(ArrivalsPoisson), string(ArrivalsOnOff)); ok {
		d.Arrivals = Arrivals(a)
	}
	// on names the node group, so the lengths are burst and pause.
	on, onGiven := r.length("burst", time.Millisecond, time.Hour)
	off, offGiven := r.length("pause", 0, time.Hour)
	if d.Arrivals != ArrivalsOnOff {
		if onGiven || offGiven {
			name := "burst"
			if !onGiven {
				name = "pause"
			}
			r.wrong(name, fmt.Sprintf("%s counts only with arrivals = \"onoff\"", name))
		}
		return
	}
	d.On, d.Off = defaultOn, defaultOff
	if onGiven {
		d.On = on
	}
	if offGiven {
		d.Off = off
	}
}

var placeholder = regexp.MustCompile(`\{[A-Za-z_]*\}`)

// checkTopic checks an MQTT topic template, or a filter where wildcards are
// legal.
func (l *loader) checkTopic(r *reader, topic string, filter bool, legal ...string) {
	for _, p := range placeholder.FindAllString(topic, -1) {
		if !slices.Contains(legal, p) {
			r.wrong("topic", fmt.Sprintf("%s cannot be filled in", p), didYouMean(p, legal, bare), legalNames("legal here", legal))
		}
	}
	plain := placeholder.ReplaceAllString(topic, "x")
	switch {
	case topic == "":
		r.wrong("topic", "the topic is empty")
	case strings.ContainsAny(plain, "{}"):
		r.wrong("topic", "a brace is left open", legalNames("legal here", legal))
	case strings.HasPrefix(topic, "$"):
		r.wrong("topic", "topics that begin with $ belong to the broker")
	case !filter && strings.ContainsAny(plain, "+#"):
		r.wrong("topic", "devices publish to a topic, which has no wildcards", "legal: no + and no #")
	case filter && !validFilter(plain):
		r.wrong("topic", fmt.Sprintf("%q is not an MQTT topic filter", clip(topic)), "legal: + as a whole level, # as the last one")
	}
}

// validFilter checks where wildcards stand in an MQTT topic filter.
func validFilter(filter string) bool {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level == "+", level == "#" && i == len(levels)-1:
		case strings.ContainsAny(level, "+#"):
			return false
		}
	}
	return true
}

// customersBlock reads the customers as they are in one cell.
func (l *loader) customersBlock(b *hclsyntax.Block, s *scope) *customersSpec {
	before := len(l.m.list)
	r := l.m.reader(b, s)
	c := &customersSpec{}
	l.loadBlock(r, b, &c.loadSpec)
	c.Group, _ = r.refer("on", nodeType, "node", sortedKeys(l.groups))
	r.require("on", "on = node.customer")
	count, _ := r.whole("count", 1, maxCustomers)
	c.Count = int(count)
	r.require("count", "count = 4")
	c.Via, _ = r.refer("via", componentType, "component", l.componentLabels())
	qos, _ := r.whole("qos", 0, 2)
	c.QoS = int(qos)
	if topic, ok := r.text("topic", 1024); ok {
		c.Topic = topic
		l.checkTopic(r, topic, true, "{customer}")
	}
	c.Receive = ReceiveOwn
	if receive, ok := r.choice("receive", string(ReceiveOwn), string(ReceiveAll)); ok {
		c.Receive = Receive(receive)
	}
	r.finish()
	c.whole = len(l.m.list) == before
	return c
}
