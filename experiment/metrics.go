package experiment

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// MeterSource says who counts what goes in and out of a process.
type MeterSource string

// The sources. Sockets is the default: the kernel's counters of its connections.
const (
	MeterSockets    MeterSource = "sockets"
	MeterSys        MeterSource = "sys"
	MeterNATS       MeterSource = "nats"
	MeterRabbitMQ   MeterSource = "rabbitmq"
	MeterPrometheus MeterSource = "prometheus"
)

// Meter is the `metrics` block of a component.
type Meter struct {
	Source MeterSource `json:"source"`
	// URL is a template, of {address}, {port} and {instance}; empty for sockets.
	URL      string `json:"url,omitempty"`
	User     string `json:"user,omitempty"`
	Password Secret `json:"password,omitempty"`
	// InPorts and OutPorts bound the connections that bytes in and bytes out are
	// of; empty is all. Only for sockets.
	InPorts  []int `json:"in_ports,omitempty"`
	OutPorts []int `json:"out_ports,omitempty"`
	// Map names what each number is read from: bytes_in, bytes_out, messages_in,
	// messages_out, dropped.
	Map map[string]string `json:"map,omitempty"`
}

// At is the URL for one instance.
func (m Meter) At(address string, port, instance int) string {
	return strings.NewReplacer("{address}", address, "{port}", fmt.Sprint(port), "{instance}", fmt.Sprint(instance)).Replace(m.URL)
}

func meterSources() []string {
	return []string{string(MeterSockets), string(MeterSys), string(MeterNATS), string(MeterRabbitMQ), string(MeterPrometheus)}
}

func meterNumbers() []string {
	return []string{"bytes_in", "bytes_out", "messages_in", "messages_out", "dropped"}
}

// defaultMeterURL is where a source answers unless the file says otherwise.
func defaultMeterURL(source MeterSource) string {
	switch source {
	case MeterSys:
		return "mqtt://{address}:{port}"
	case MeterNATS:
		return "http://{address}:8222"
	case MeterRabbitMQ:
		return "http://{address}:15672"
	}
	return ""
}

// meter reads a metrics block.
func (l *loader) meter(r *reader) *Meter {
	m := &Meter{Source: MeterSockets}
	r.require("source", `source = "sockets"`)
	source, known := r.choice("source", meterSources()...)
	if known {
		m.Source = MeterSource(source)
	}
	if !known || m.Source == MeterSockets {
		m.InPorts, m.OutPorts = r.ports("in_ports"), r.ports("out_ports")
	}
	if !known || m.Source != MeterSockets {
		m.URL = defaultMeterURL(m.Source)
		if text, ok := r.text("url", 2048); ok {
			m.URL = text
		}
		m.User, _ = r.text("user", 256)
		m.Password = l.secret(r, "password", `password = env("BROKER_PASSWORD")`)
	}
	if !known || m.Source == MeterSys || m.Source == MeterPrometheus {
		l.meterMap(r, m)
	}
	r.finish()
	if !known {
		return nil
	}
	if m.Source != MeterSockets {
		checkMeterURL(r, m)
	}
	if m.Source == MeterPrometheus && !r.has("map") {
		r.m.error(r.header, r.what+" needs the argument map", `for example: map = { bytes_in = "broker_bytes_received_total" }`)
	}
	return m
}

func checkMeterURL(r *reader, m *Meter) {
	if m.URL == "" {
		r.require("url", `url = "http://{address}:9100/metrics"`)
		return
	}
	u, err := url.Parse(m.At("127.0.0.1", 1, 1))
	web := m.Source != MeterSys
	switch {
	case err != nil || u.Host == "" || web && u.Scheme != "http" && u.Scheme != "https":
		r.wrong("url", fmt.Sprintf("%q is no address of a %s endpoint", clip(m.URL), m.Source), `for example: url = "http://{address}:9100/metrics"`)
	case !web && (u.Scheme != "mqtt" || u.Port() == ""):
		r.wrong("url", fmt.Sprintf("%q is no address of an MQTT broker", clip(m.URL)), `for example: url = "mqtt://{address}:{port}"`)
	case u.User != nil:
		r.wrong("url", "a user or password in the address would be shown", "use the arguments user and password")
	case strings.ContainsAny(m.At("", 0, 0), "{}"):
		r.wrong("url", fmt.Sprintf("%q has a placeholder that is none", clip(m.URL)), "legal: {address}, {port}, {instance}")
	}
}

// ports reads a list of TCP ports.
func (r *reader) ports(name string) []int {
	v, ok := r.value(name)
	if !ok {
		return nil
	}
	const help = "for example: [1883, 8883]"
	if !v.Type().IsTupleType() && !v.Type().IsListType() {
		r.wrong(name, "a list of ports is wanted, and this is "+typeName(v), help)
		return nil
	}
	var ports []int
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		n, isNumber := asNumber(e)
		if !isNumber || n != float64(int(n)) || n < 1 || n > 65535 {
			r.wrong(name, "a port is a whole number from 1 to 65535", help)
			return nil
		}
		ports = append(ports, int(n))
	}
	if len(ports) == 0 || len(ports) > 100 {
		r.wrong(name, "1 to 100 ports are wanted", help)
	}
	return ports
}

// A metric of Prometheus with labels; its agent reads it in full.
var metricPattern = regexp.MustCompile(`^[A-Za-z_:][A-Za-z0-9_:]*(\{[^{}\n]*\})?$`)

// meterMap reads map = { bytes_in = "…" }.
func (l *loader) meterMap(r *reader, m *Meter) {
	v, ok := r.value("map")
	if !ok {
		return
	}
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		r.wrong("map", "an object is wanted, and this is "+typeName(v), `for example: map = { bytes_in = "broker_bytes_received_total" }`)
		return
	}
	if v.LengthInt() == 0 {
		r.wrong("map", "the map is empty", legalNames("legal", meterNumbers()))
	}
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		number := key.AsString()
		text, isText := "", false
		if value.Type() == cty.String && !value.IsNull() {
			text, isText = value.AsString(), true
		}
		switch {
		case !slices.Contains(meterNumbers(), number):
			r.wrong("map", fmt.Sprintf("%q is no number of a component", clip(number)), didYouMean(number, meterNumbers(), quoted),
				legalNames("legal", meterNumbers()))
		case !isText || text == "" || len(text) > 1024:
			r.wrong("map", number+": a text of at most 1,024 bytes is wanted")
		case m.Source == MeterPrometheus && !metricPattern.MatchString(text):
			r.wrong("map", fmt.Sprintf("%s: %q is no metric", number, clip(text)), `for example: bytes_total{direction="in"}`)
		case m.Source == MeterSys && !strings.HasPrefix(text, "$SYS/"):
			r.wrong("map", fmt.Sprintf("%s: %q is no topic under $SYS", number, clip(text)), `for example: "$SYS/brokers/+/metrics/bytes/received"`)
		default:
			m.Map = set(m.Map, number, text)
		}
	}
}
