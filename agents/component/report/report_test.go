package report

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"bela/agents/protocol"
)

// If this failed, counters would be lost between a component and its supervisor.
func TestRoundTrip(t *testing.T) {
	want := []Line{
		{Ready: &Ready{Address: "127.0.0.1:1883"}},
		{Counters: &protocol.Counters{MessagesIn: 3, MessagesOut: 2, Dropped: map[string]int64{"timeout": 1}}},
	}
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, l := range want {
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	var got []Line
	if err := Read(&b, func(l Line) { got = append(got, l) }); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// If this failed, a component would go on for ever after its agent died.
func TestBrokenPipeIsAnError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := NewWriter(w).Write(Line{Ready: &Ready{}}); err == nil {
		t.Error("no error")
	}
}

// FuzzRead feeds what a broken component might write.
func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"ready\":{}}\n{\"counters\":{\"messages_in\":1}}\n"))
	f.Add([]byte("\n\n{}"))
	f.Add([]byte("{\"ready\":1}"))
	f.Add([]byte(strings.Repeat("x", maxLine+1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := 0
		_ = Read(bytes.NewReader(b), func(Line) { lines++ })
		if most := bytes.Count(b, []byte("\n")) + 1; lines > most {
			t.Errorf("%d reports of %d lines", lines, most)
		}
	})
}
