package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// One line of a hostile node must not fill events.jsonl.
func TestClip(t *testing.T) {
	if got := Clip(strings.Repeat("é", 1<<20), MaxText); len(got) > MaxText+len(" …") || !utf8.ValidString(got) || !strings.HasSuffix(got, " …") {
		t.Errorf("%d bytes, ends with %q", len(got), got[len(got)-8:])
	}
	if got := Clip("short", MaxText); got != "short" {
		t.Errorf("%q", got)
	}
}

// What no agent says must not get further than where it comes in: beyond, a rate
// of it is no number, or a series that nobody planned.
func TestEventsThatNoAgentSends(t *testing.T) {
	component := func(fields string) string {
		return `{"seq":1,"sample":{"at_ns":1,"components":[{` + fields + `}]}}`
	}
	for name, text := range map[string]string{
		"without a number":          `{"log":{"level":"info"}}`,
		"number at the end":         `{"seq":18446744073709551615}`,
		"negative memory":           `{"seq":1,"sample":{"host":{"memory_used_bytes":-1}}}`,
		"time before the epoch":     `{"seq":1,"sample":{"at_ns":-9223372036854775808}}`,
		"time without room":         `{"seq":1,"sample":{"at_ns":9223372036854775807}}`,
		"load that is endless":      `{"seq":1,"sample":{"host":{"load1":1e308}}}`,
		"negative devices":          `{"seq":1,"sample":{"devices":{"sent":-5}}}`,
		"counter without room":      `{"seq":1,"sample":{"customers":{"delivered":9223372036854775807}}}`,
		"component without a name":  component(`"name":"","instance":1`),
		"endless name":              component(`"name":"` + strings.Repeat("x", 300) + `","instance":1`),
		"instance before the first": component(`"name":"a","instance":0`),
		"reason that nobody has":    component(`"name":"a","instance":1,"counters":{"dropped":{"x y=z":1}}`),
		"source that nobody has":    component(`"name":"a","instance":1,"traffic":{"source":"x"}`),
		"negative throttling":       component(`"name":"a","instance":1,"group":{"throttled_ns":-1}`),
		"level that nobody has":     `{"seq":1,"log":{"level":"\u001b[2J"}}`,
		"code that nobody has":      `{"seq":1,"log":{"level":"info","code":"x"}}`,
		"state that nobody has":     `{"seq":1,"component":{"name":"a","instance":1,"state":"x"}}`,
	} {
		var e Event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := e.Check(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A user's own broker may report what it likes, and an agent's clock may be wrong
// by years: neither is a broken agent.
func TestEventsThatAgentsSend(t *testing.T) {
	for name, text := range map[string]string{
		"a clock of 1970":        `{"seq":1,"sample":{"at_ns":5}}`,
		"a gauge as a counter":   `{"seq":7,"sample":{"at_ns":5,"components":[{"name":"a","instance":2,"traffic":{"source":"prometheus","bytes_in":-4}}]}}`,
		"every reason":           `{"seq":7,"sample":{"at_ns":5,"components":[{"name":"a","instance":2,"counters":{"dropped":{"decode":1,"slow_consumer":2}}}]}}`,
		"a disk that is full":    `{"seq":7,"log":{"level":"error","code":"disk_full","text":"x"}}`,
		"one that began again":   `{"seq":7,"component":{"name":"a","instance":1,"state":"restarted"}}`,
		"an event from tomorrow": `{"seq":7}`,
	} {
		var e Event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := e.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Texts of an agent are kept in the run directory; they must have an end.
func TestTextsAreCut(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	e := Event{Seq: 1, Component: &ComponentEvent{Name: "a", Instance: 1, State: "exited", Detail: long, Log: []string{long, long}}, Log: &LogEvent{Level: "info", Text: long}}
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	lines := &Error{Text: long, Log: make([]string, 1<<16), Missing: []string{long}}
	if err := lines.Check(); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{e, lines, &FaultBegun{}, &ComponentStarted{}} {
		text, err := json.Marshal(v)
		if err != nil || len(text) > 10*MaxText {
			t.Errorf("%T: %d bytes, %v", v, len(text), err)
		}
	}
}
