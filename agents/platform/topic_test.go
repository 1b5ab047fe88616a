package platform

import (
	"strings"
	"testing"
)

// If this failed, messages would be stored where the hub does not look, or reach
// the wrong customer.
func TestTopics(t *testing.T) {
	for _, tt := range []struct {
		ingest, deliver string
		topic, subject  string
		out             string
	}{
		{"iot/#", "out", "iot/3/17", "iot.3.17", "out/3/17"},
		{"iot/#", "out/", "iot/3", "iot.3", "out/3"},
		{"a/b/+/#", "x/y", "a/b/c/d", "a.b.c.d", "x/y/c/d"},
		{"iot/#", "out", "iot/3/a-b_c", "iot.3.a-b_c", "out/3/a-b_c"},
	} {
		if err := checkFilter(tt.ingest); err != nil {
			t.Error(err)
		}
		subject, ok := topicSubject(tt.topic)
		if !ok || subject != tt.subject {
			t.Errorf("%s: %q %v", tt.topic, subject, ok)
		}
		if out, ok := newDelivery(tt.ingest, tt.deliver).of(subject); !ok || out != tt.out {
			t.Errorf("%s: delivered to %q %v, want %q", tt.topic, out, ok, tt.out)
		}
	}
	if got := filterSubject("a/+/b/#"); got != "a.*.b.>" {
		t.Error(got)
	}
	for _, topic := range []string{"", "/a", "a/", "a//b", "a.b", "a/*", "a/>", "a b", "$SYS/x", "a/\x00"} {
		if s, ok := topicSubject(topic); ok {
			t.Errorf("topic %q became %q", topic, s)
		}
	}
	for _, filter := range []string{"", "#", "+/a", "iot//#", "iot/a.b/#", "iot/#/x", "iot/a+"} {
		if checkFilter(filter) == nil {
			t.Errorf("filter %q passes", filter)
		}
	}
	if out, ok := newDelivery("iot/#", "out").of("other.3"); ok {
		t.Errorf("a foreign subject became %q", out)
	}
}

// FuzzTopics: a subject that a topic became leads back to it, and is valid.
func FuzzTopics(f *testing.F) {
	f.Add("iot/3/17")
	f.Add("iot/a b")
	f.Add("iot//")
	f.Fuzz(func(t *testing.T, topic string) {
		subject, ok := topicSubject(topic)
		if !ok {
			return
		}
		if back := strings.ReplaceAll(subject, ".", "/"); back != topic {
			t.Fatalf("%q became %q", topic, back)
		}
		if strings.ContainsAny(subject, " \t\r\n*>") || strings.Contains(subject, "..") {
			t.Fatalf("%q is no subject", subject)
		}
	})
}
