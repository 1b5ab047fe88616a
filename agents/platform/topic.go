package platform

import (
	"fmt"
	"strings"
)

// checkFilter refuses a topic filter that has no counterpart among NATS subjects.
func checkFilter(filter string) error {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch {
		case l == "#" && i == len(levels)-1, l == "+":
		case !validToken(l):
			return fmt.Errorf("topic filter %q: level %d has no counterpart in NATS: use letters, digits, - and _", filter, i+1)
		}
	}
	if levels[0] == "#" || levels[0] == "+" {
		return fmt.Errorf("topic filter %q: its first level must be a word, or it would take in what the hub hands out", filter)
	}
	return nil
}

// filterSubject is the NATS subject filter for an MQTT topic filter: iot/# is iot.>.
func filterSubject(filter string) string {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch l {
		case "#":
			levels[i] = ">"
		case "+":
			levels[i] = "*"
		}
	}
	return strings.Join(levels, ".")
}

// topicSubject is the NATS subject for a topic: iot/3/17 is iot.3.17. It is
// false for a topic that has none.
func topicSubject(topic string) (string, bool) {
	for l := range strings.SplitSeq(topic, "/") {
		if !validToken(l) {
			return "", false
		}
	}
	return strings.ReplaceAll(topic, "/", "."), true
}

// validToken tells whether a topic level can stand as a token of a subject:
// not empty, no wildcard, no separator, no white space.
func validToken(l string) bool {
	return l != "" && l[0] != '$' && !strings.ContainsAny(l, ".*>#+ \t\r\n\f\x00")
}

// delivery maps subjects to the topics that customers subscribe to.
type delivery struct {
	prefix string // of subjects, with the trailing dot: "iot."
	topic  string // of topics, with the trailing slash: "out/"
}

// newDelivery maps what the filter ingest takes to topics under deliver. What
// stands before the filter's first wildcard is replaced.
func newDelivery(ingest, deliver string) delivery {
	var fixed []string
	for l := range strings.SplitSeq(ingest, "/") {
		if l == "#" || l == "+" {
			break
		}
		fixed = append(fixed, l)
	}
	return delivery{
		prefix: strings.Join(fixed, ".") + ".",
		topic:  strings.TrimSuffix(deliver, "/") + "/",
	}
}

// of maps iot.3.17 to out/3/17. It is false for a subject outside the filter.
func (d delivery) of(subject string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, d.prefix)
	if !ok || rest == "" {
		return "", false
	}
	return d.topic + strings.ReplaceAll(rest, ".", "/"), true
}
