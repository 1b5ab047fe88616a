package tui

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"bela/event"
)

func plainText(t *testing.T, events []event.Event) string {
	t.Helper()
	var b bytes.Buffer
	v := NewPlain(&b, Options{})
	for _, e := range events {
		v.Handle(e)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What CI keeps of a run: readable, complete, and without a single control byte.
func TestPlainGolden(t *testing.T) {
	text := plainText(t, whole().events)
	golden(t, "plain.txt", text)
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if !regexp.MustCompile(`^(\d+:)?\d\d:\d\d `).MatchString(l) {
			t.Errorf("line %d has no time: %q", i+1, l)
		}
		for _, r := range l {
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				t.Errorf("line %d holds %q", i+1, r)
			}
		}
	}
	if !strings.Contains(strings.SplitN(text, "\n", 2)[0], "2020-11-14T10:00:00Z") {
		t.Error("the first line does not say the time of day")
	}
}

// A long wait in CI says again and again for whom, or the log looks dead.
func TestPlainRemindsOfAWait(t *testing.T) {
	s := waitingForDevices()
	for range 25 {
		s.pass(time.Second)
		s.add(event.NodeSample{Position: 2, T: -1, Node: "iot-1"})
	}
	if n := strings.Count(plainText(t, s.events), "waiting for device-0017 on iot-1, device-0042 on iot-1, device-0077 on iot-2 since"); n != 3 {
		t.Errorf("%d reminders in the 30s of the phase, want 3 (one every 10s)", n)
	}
}

// Programs read this: every event must come back as it was sent.
func TestJSONRoundTrip(t *testing.T) {
	var b bytes.Buffer
	v := NewJSON(&b, Options{})
	events := whole().events
	events = append(events, event.Event{Seq: 9999, Time: events[0].Time, Data: event.Message{Level: "warn", Text: "del \x7f csi \u009b2J é"}})
	for _, e := range events {
		v.Handle(e)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.String() {
		if r != '\n' && r < ' ' || r >= 0x7f && r < 0xa0 {
			t.Fatalf("the JSON holds %q, which a terminal may obey", r)
		}
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != len(events) {
		t.Fatalf("%d lines for %d events", len(lines), len(events))
	}
	for i, l := range lines {
		var got event.Event
		if err := json.Unmarshal([]byte(l), &got); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		// Through the event's own encoding, for JSON cannot tell invalid UTF-8.
		var want event.Event
		own, err := json.Marshal(events[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(own, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("line %d came back as\n%+v\nwant\n%+v", i+1, got, want)
		}
	}
}

// A reader that stops (`bela run | less`) must not stop the run. What it reads
// later holds every change of state, in order, and the newest samples.
func TestStalledReader(t *testing.T) {
	r, w := io.Pipe()
	v := NewJSON(w, Options{})
	start := time.Unix(1000, 0)
	const seconds, nodes = 2000, 10
	var seq, lastSeq uint64
	states := 0
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send := func(d event.Data) { seq++; v.Handle(event.Event{Seq: seq, Time: start, Data: d}) }
		for i := range seconds {
			if i%10 == 0 {
				send(event.NodeState{Node: "n0", State: "ready"})
				states++
			}
			send(event.Load{T: i})
			for n := range nodes {
				send(event.NodeSample{Node: string(rune('a' + n)), T: i})
			}
			send(event.Message{Level: "info", Text: "chatter"})
		}
	}()
	select {
	case <-sent:
	case <-time.After(30 * time.Second):
		t.Fatal("handling events waits for the reader")
	}
	if n := len(v.queue.pending); n > 2*maxPending {
		t.Errorf("%d lines are held back", n)
	}
	closed := make(chan error, 1)
	go func() { closed <- v.Close(); _ = w.Close() }()
	got, newest := 0, map[string]int{}
	for scan := bufio.NewScanner(r); scan.Scan(); {
		var e event.Event
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Seq <= lastSeq {
			t.Fatalf("event %d after event %d", e.Seq, lastSeq)
		}
		lastSeq = e.Seq
		switch d := e.Data.(type) {
		case event.NodeState:
			got++
		case event.NodeSample:
			newest[d.Node] = d.T
		case event.Load:
			newest["load"] = d.T
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got != states {
		t.Errorf("%d of %d changes of state arrived", got, states)
	}
	for who, at := range newest {
		if at != seconds-1 {
			t.Errorf("the newest of %s is second %d, not %d", who, at, seconds-1)
		}
	}
	if len(newest) != nodes+1 {
		t.Errorf("samples of %d sources, want %d", len(newest), nodes+1)
	}
}

// A reader that never reads again must not keep bela from ending.
func TestCloseGivesUp(t *testing.T) {
	r, w := io.Pipe()
	defer func() { _ = r.Close() }() // lets the writing goroutine end
	v := NewPlain(w, Options{CloseTimeout: 50 * time.Millisecond})
	for _, e := range whole().events {
		v.Handle(e)
	}
	err := v.Close()
	if err == nil || !strings.Contains(err.Error(), "were not written") {
		t.Errorf("Close said %v", err)
	}
	if again := v.Close(); !errors.Is(again, err) {
		t.Errorf("the second Close said %v", again)
	}
	v.Handle(whole().events[0]) // must be harmless
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// `bela run | head` closes the pipe: the run goes on, and Close tells why there
// is no more output.
func TestBrokenPipe(t *testing.T) {
	for _, v := range []View{NewPlain(brokenPipe{}, Options{}), NewJSON(brokenPipe{}, Options{})} {
		for _, e := range whole().events {
			v.Handle(e)
		}
		if err := v.Close(); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%T: Close said %v", v, err)
		}
	}
}

// The wrong view is escape codes in a CI log, or no dashboard for an operator.
func TestAuto(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tty.Close(); _ = master.Close() }()
	if err := pty.Setsize(master, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, master) }()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pr.Close(); _ = pw.Close() }()
	xterm, dumb := []string{"TERM=xterm-256color"}, []string{"TERM=dumb"}
	for _, c := range []struct {
		mode    string
		in, out *os.File
		env     []string
		want    View
		why     string
	}{
		{"auto", tty, tty, xterm, &Dashboard{}, "two terminals"},
		{"", tty, tty, xterm, &Dashboard{}, "no mode is auto"},
		{"tui", tty, tty, xterm, &Dashboard{}, "asked for"},
		{"auto", pr, tty, xterm, &Plain{}, "no keys can be read from a pipe"},
		{"auto", tty, pw, xterm, &Plain{}, "a pipe gets no escape codes"},
		{"auto", tty, tty, dumb, &Plain{}, "a dumb terminal cannot move its cursor"},
		{"auto", tty, tty, []string{}, &Plain{}, "no TERM says nothing about the terminal"},
		{"auto", nil, pw, xterm, &Plain{}, "no stdin at all"},
		{"tui", tty, pw, xterm, &Plain{}, "asked for, but impossible"},
		{"plain", tty, tty, xterm, &Plain{}, "asked for"},
		{"json", tty, tty, xterm, &JSON{}, "asked for"},
	} {
		v, err := Auto(c.mode, c.in, c.out, Options{Env: c.env})
		if err != nil {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		if reflect.TypeOf(v) != reflect.TypeOf(c.want) {
			t.Errorf("%s: %T, want %T", c.why, v, c.want)
		}
		if err := v.Close(); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	if _, err := Auto("fancy", tty, tty, Options{}); err == nil || !strings.Contains(err.Error(), "auto, tui, plain, json") {
		t.Errorf("an unknown view gives %v; it should name the known ones", err)
	}
	line, err := bufio.NewReader(pr).ReadString('\n')
	if err != nil || !strings.Contains(line, "stdout is not a terminal") {
		t.Errorf("-view tui without a terminal says %q (%v), not why", line, err)
	}
}
