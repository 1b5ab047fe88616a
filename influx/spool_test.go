package influx

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// grown is a file that a run appends to, and how it is read meanwhile.
type grown struct {
	path  string
	file  *os.File
	spool *Spool
}

func newGrown(t testing.TB) *grown {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metrics.lp.gz")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &grown{path: path, file: file, spool: mustSpool(t, path)}
}

func mustSpool(t testing.TB, path string) *Spool {
	t.Helper()
	s, err := OpenSpool(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (g *grown) append(t testing.TB, b []byte) {
	t.Helper()
	if _, err := g.file.Write(b); err != nil {
		t.Fatal(err)
	}
}

// now reads what the file has, at most limit lines.
func now(t testing.TB, s *Spool, limit int) (text []byte) {
	t.Helper()
	for line, err := range s.Lines() {
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, line...)
		if limit--; limit == 0 {
			break
		}
	}
	return text
}

// However the file grows, and wherever a reading stops, each line must be read
// once and in order: one that is skipped would never reach the server.
func TestSpoolOfAGrowingFile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	g := newGrown(t)
	var want, got []byte
	for i := range 40 {
		member := numbered(1000*i, random.IntN(300))
		if i%7 == 0 {
			member = append([]byte("\n"), member...) // ReadLines forgives it as well
		}
		want = append(want, bytes.TrimPrefix(member, []byte("\n"))...)
		packed := zipped(t, member)
		for len(packed) > 0 {
			n := 1 + random.IntN(len(packed))
			g.append(t, packed[:n])
			packed = packed[n:]
			got = append(got, now(t, g.spool, random.IntN(50))...)
		}
	}
	got = append(got, now(t, g.spool, 0)...)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes of lines were read, want %d, the same", len(got), len(want))
	}
	if n := g.spool.Mark().Points; n != int64(bytes.Count(want, []byte("\n"))) {
		t.Errorf("the mark says %d points", n)
	}
}

// A mark is believed of the file that it was made of and of no other, for what
// lies behind it is not sent again.
func TestSpoolSkip(t *testing.T) {
	first, second := zipped(t, numbered(0, 100)), zipped(t, numbered(100, 100))
	g := newGrown(t)
	g.append(t, append(bytes.Clone(first), second...))
	now(t, g.spool, 150)
	mark := g.spool.Mark()
	for _, tt := range []struct {
		name string
		file []byte
		mark Mark
		same bool
		next string
	}{
		{"the file", append(bytes.Clone(first), second...), mark, true, "m f=1i 150\n"},
		{"the same lines in other members", zipped(t, numbered(0, 200)), mark, true, "m f=1i 150\n"},
		{"no mark", first, Mark{}, true, "m f=1i 0\n"},
		{"a file that has lost its end", first, mark, false, "m f=1i 0\n"},
		{"a file that has other lines since", append(bytes.Clone(first), zipped(t, numbered(500, 100))...), mark, false, "m f=1i 0\n"},
		{"an empty file", nil, mark, false, ""},
		{"a mark of nonsense", first, Mark{Points: -5, Sum: 3}, false, "m f=1i 0\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.lp.gz")
			if err := os.WriteFile(path, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			s := mustSpool(t, path)
			same, err := s.Skip(tt.mark)
			if err != nil || same != tt.same {
				t.Errorf("same is %v (%v), want %v", same, err, tt.same)
			}
			if next := string(now(t, s, 1)); next != tt.next {
				t.Errorf("the next line is %q, want %q", next, tt.next)
			}
		})
	}
}

// A file that is not what it should be must be said, and not read for ever.
func TestSpoolOfGarbage(t *testing.T) {
	for name, content := range map[string][]byte{
		"not gzip":                  []byte("m f=1i 1\n and more than a header\n"),
		"a line without end":        zipped(t, bytes.Repeat([]byte("x"), 2*maxLine)),
		"a sum that does not match": flip(zipped(t, numbered(0, 9)), len(zipped(t, numbered(0, 9)))-6),
	} {
		g := newGrown(t)
		g.append(t, content)
		var last error
		for _, err := range g.spool.Lines() {
			last = err
		}
		if last == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkSpool(b *testing.B) {
	g := newGrown(b)
	var text []byte
	for i := range 100_000 {
		text = fmt.Appendf(text, "bela_node,experiment=e,node=worker-%d,run=r cpu_mcpu=%d,memory_mib=2048.25 %d\n", i%9, i, i)
	}
	g.append(b, zipped(b, text))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s := mustSpool(b, g.path)
		for _, err := range s.Lines() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "points/s")
}
