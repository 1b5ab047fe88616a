package experiment_test

import (
	"testing"

	"bela/experiment"
)

// metricsBlock is a process with a metrics block.
func metricsBlock(lines string) string {
	return basic + "component \"p\" {\ncommand = [\"/bin/p\"]\non = node.worker\nport = 1900\nmetrics {\n" + lines + "\n}\n}\n"
}

// If this failed, a mistake in a metrics block would show after hours, as empty
// columns.
func TestMetricsBlockMistakes(t *testing.T) {
	for _, tt := range []struct{ name, lines, want string }{
		{"a source is needed: it decides what else is legal", ``, "needs the argument source"},
		{"a source with a slip", `source = "socket"`, `did you mean "sockets"?`},
		{"sockets have no address", "source = \"sockets\"\nurl = \"http://a/\"", `no argument "url"`},
		{"an endpoint has no ports", "source = \"nats\"\nin_ports = [1]", `no argument "in_ports"`},
		{"a port beyond all", "source = \"sockets\"\nin_ports = [70000]", "from 1 to 65535"},
		{"no list", "source = \"sockets\"\nin_ports = 1883", "a list of ports"},
		{"prometheus without a map", "source = \"prometheus\"\nurl = \"http://a/\"", "needs the argument map"},
		{"prometheus without an address", "source = \"prometheus\"\nmap = { bytes_in = \"b\" }", "needs the argument url"},
		{"a number that nobody knows", "source = \"prometheus\"\nurl = \"http://a/\"\nmap = { bytes_im = \"b\" }", `did you mean "bytes_in"?`},
		{"an expression where a metric belongs", "source = \"prometheus\"\nurl = \"http://a/\"\nmap = { bytes_in = \"rate(b)\" }", "is no metric"},
		{"a topic that is none of $SYS", "source = \"sys\"\nmap = { bytes_in = \"iot/#\" }", "no topic under $SYS"},
		{"a password that would be shown", "source = \"nats\"\nurl = \"http://u:p@a/\"", "would be shown"},
		{"a placeholder that is none", "source = \"nats\"\nurl = \"http://a/{node}\"", "{address}, {port}, {instance}"},
		{"an MQTT address over HTTP", "source = \"sys\"\nurl = \"http://a:1\"", "no address of an MQTT broker"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, metricsBlock(tt.lines), experiment.Inputs{}, tt.want)
		})
	}
}

// If this failed, a source would be asked at another instance's address.
func TestMetricsBlock(t *testing.T) {
	e := mustLoad(t, metricsBlock("source = \"sys\"\nurl = \"mqtt://{address}:{port}\"\nuser = \"u\"\npassword = \"hidden\""), experiment.Inputs{})
	for _, c := range e.Plan().Cells[0].Components {
		if c.Name != "p" {
			if c.Metrics != nil {
				t.Errorf("%s has %+v", c.Name, c.Metrics)
			}
			continue
		}
		if got := c.Metrics.At("10.0.0.7", 1901, 2); got != "mqtt://10.0.0.7:1901" || c.Metrics.Password.Reveal() != "hidden" {
			t.Errorf("%s, %+v", got, c.Metrics)
		}
	}
}
