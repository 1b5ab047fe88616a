package influx

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
)

// zipped packs text into one gzip member.
func zipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	if _, err := zip.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll collects what ReadLines yields.
func readAll(r io.Reader) (lines []string, err error) {
	for line, e := range ReadLines(r) {
		if e != nil {
			return lines, e
		}
		lines = append(lines, string(line))
	}
	return lines, nil
}

// A run's file is read back to send it again: no line may be lost or made up.
func TestReadLines(t *testing.T) {
	one, two := zipped(t, []byte("a f=1i 1\nb f=2i 2\n")), zipped(t, []byte("c f=3i 3\n"))
	tests := []struct {
		name string
		in   []byte
		want string
		err  string
	}{
		{"one member", one, "a f=1i 1|b f=2i 2", ""},
		{"a resumed run appends a member", append(bytes.Clone(one), two...), "a f=1i 1|b f=2i 2|c f=3i 3", ""},
		{"empty file: the run died before its first point", nil, "", ""},
		{"empty member", zipped(t, nil), "", ""},
		{"the last line is torn", zipped(t, []byte("a f=1i 1\nb f=2i 2")), "a f=1i 1", ""},
		{"blank lines", zipped(t, []byte("\na f=1i 1\n\n")), "a f=1i 1", ""},
		{"the second member's header is torn", append(bytes.Clone(one), two[:5]...), "a f=1i 1|b f=2i 2", ""},
		{"not gzip at all", []byte("a f=1i 1\n but longer than a header\n"), "", "after line 0: gzip: invalid header"},
		{"a checksum that does not match", flip(one, len(one)-6), "a f=1i 1|b f=2i 2", "after line 2: gzip: invalid checksum"},
		{"a line without end", zipped(t, bytes.Repeat([]byte("x"), maxLine+2)), "", "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines, err := readAll(bytes.NewReader(tt.in))
			if got := strings.Join(lines, "|"); got != tt.want {
				t.Errorf("lines %q, want %q", got, tt.want)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0xff
	return b
}

// Wherever a controller dies, what is read back must be a beginning of what was
// written, and hold all that was flushed.
func TestReadLinesTornAnywhere(t *testing.T) {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	var whole []string
	flushed := map[int]int{} // bytes in the file → lines in it
	for line := range strings.Lines(string(encodeAll(fixtureRun(1, steady)))) {
		if _, err := zip.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if err := zip.Flush(); err != nil {
			t.Fatal(err)
		}
		whole = append(whole, strings.TrimSuffix(line, "\n"))
		flushed[b.Len()] = len(whole)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	atLeast := 0
	for n := range b.Len() {
		atLeast = max(atLeast, flushed[n])
		lines, err := readAll(bytes.NewReader(b.Bytes()[:n]))
		if err != nil {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
		if len(lines) < atLeast {
			t.Fatalf("cut at byte %d: %d lines, %d were flushed", n, len(lines), atLeast)
		}
		for i := range lines {
			if lines[i] != whole[i] {
				t.Fatalf("cut at byte %d: line %d is %q", n, i+1, lines[i])
			}
		}
	}
}

// A reader that stops early must be let go.
func TestReadLinesStops(t *testing.T) {
	n := 0
	for _, err := range ReadLines(bytes.NewReader(zipped(t, []byte("a\nb\nc\n")))) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
}

// The file may have been damaged, or be no such file.
func FuzzReadLines(f *testing.F) {
	f.Add(zipped(f, []byte("a f=1i 1\nb f=2i 2\n")))
	f.Add([]byte("\x1f\x8b"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for line, err := range ReadLines(bytes.NewReader(b)) {
			if err == nil && (len(line) == 0 || len(line) > maxLine || bytes.IndexByte(line, '\n') >= 0) {
				t.Fatalf("line %q", line)
			}
		}
	})
}
