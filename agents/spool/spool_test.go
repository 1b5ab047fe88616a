package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func open(t *testing.T, o Options) (*Spool, Recovered) {
	t.Helper()
	if o.Label == "" {
		o.Label = "run-1"
	}
	s, found, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, found
}

// record is a text from which its number can be told.
func record(n uint64) string { return fmt.Sprintf("record %d %s", n, strings.Repeat("x", int(n%50))) }

func fill(t *testing.T, s *Spool, n int) {
	t.Helper()
	for range n {
		if err := s.Append([]byte(record(s.Next()))); err != nil {
			t.Fatal(err)
		}
	}
}

// all reads everything after n, and demands that each record stands under its
// own number.
func all(t *testing.T, s *Spool, n uint64) (numbers []uint64) {
	t.Helper()
	for {
		records, first, err := s.After(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			if first != s.Next() {
				t.Fatalf("the end is at %d, want %d", first, s.Next())
			}
			return numbers
		}
		for i, r := range records {
			n = first + uint64(i)
			if string(r) != record(n) {
				t.Fatalf("record %d is %q", n, r)
			}
			numbers = append(numbers, n)
		}
	}
}

func consecutive(t *testing.T, numbers []uint64, first, last uint64) {
	t.Helper()
	if len(numbers) == 0 || numbers[0] != first || numbers[len(numbers)-1] != last || uint64(len(numbers)) != last-first+1 {
		t.Fatalf("%d records, from %v; want %d to %d without a gap", len(numbers), numbers[:min(len(numbers), 3)], first, last)
	}
}

func onDisk(t *testing.T, dir string) (bytes int64, files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		bytes += info.Size()
		files = append(files, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes, files
}

// A controller that comes back must get everything after the last number that it
// saw, in order, whether that lies in memory or on disk.
func TestOrder(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{Dir: t.TempDir(), Limit: 1 << 20, Tail: 500})
	fill(t, s, 3000)
	for _, after := range []uint64{0, 1, 1234, 2990, 2999} {
		consecutive(t, all(t, s, after), after+1, 3000)
	}
	if len(all(t, s, 3000)) != 0 {
		t.Error("there is something after the last record")
	}
}

// A controller that stays away must not fill the node's disk: the oldest go, and
// what is left has no hole.
func TestBound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const limit = 16 << 10
	s, _ := open(t, Options{Dir: dir, Limit: limit, Tail: 100})
	for range 50 {
		fill(t, s, 100)
		if bytes, _ := onDisk(t, dir); bytes > limit {
			t.Fatalf("%d bytes on disk, the limit is %d", bytes, limit)
		}
	}
	numbers := all(t, s, 0)
	consecutive(t, numbers, numbers[0], 5000)
	if bytes, _ := onDisk(t, dir); numbers[0] == 1 || bytes < limit/2 {
		t.Errorf("it begins with %d and has %d bytes on disk: the bound was not reached", numbers[0], bytes)
	}
	if s.Append(make([]byte, 2*limit)) == nil {
		t.Error("a record above the bound is taken without a word")
	}
	fill(t, s, 10)
	if bytes, _ := onDisk(t, dir); bytes > limit {
		t.Errorf("%d bytes on disk", bytes)
	}
	if records, first, err := s.After(5001); err != nil || first != 5002 || len(records) != 10 {
		t.Errorf("after the large one: %d records from %d: %v", len(records), first, err)
	}
}

// An agent that is killed while it writes leaves half a record: it must be
// dropped and told, and all before it kept.
func TestTornTail(t *testing.T) {
	t.Parallel()
	for _, cut := range []int64{1, 7, 8, 20} {
		dir := t.TempDir()
		s, _ := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 100})
		fill(t, s, 40)
		s.Close()
		_, files := onDisk(t, dir)
		last := files[len(files)-1]
		info, err := os.Stat(last)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(last, info.Size()-cut); err != nil {
			t.Fatal(err)
		}
		again, found := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 100})
		size := int64(recordHead + len(record(40)))
		if found.Records != 39 || found.Torn != size-cut {
			t.Errorf("cut by %d: found %+v, want 39 records and %d bytes torn", cut, found, size-cut)
		}
		fill(t, again, 10) // number 40 once more
		consecutive(t, all(t, again, 0), 1, 49)
		again.Close()
		if _, found := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 100}); found.Records != 49 || found.Torn != 0 {
			t.Errorf("opened once more: %+v", found)
		}
	}
}

// A byte that the disk changed must not be handed out as an event.
func TestDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 1})
	fill(t, s, 40)
	s.Close()
	_, files := onDisk(t, dir)
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 0x20
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.After(0); err == nil {
		t.Error("the damage is not told")
	}
	again, found := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 1})
	if found.Torn == 0 || found.Records == 0 || found.Records >= 40 {
		t.Errorf("found %+v", found)
	}
	consecutive(t, all(t, again, 0), 1, uint64(found.Records))
}

// What another run left must not be told to this one's controller.
func TestOtherLabel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 100})
	fill(t, s, 40)
	s.Close()
	other, found := open(t, Options{Dir: dir, Label: "run-2", Limit: 1 << 20, Tail: 100})
	if found.Records != 0 || other.Next() != 1 {
		t.Errorf("found %+v, next is %d", found, other.Next())
	}
	if _, files := onDisk(t, dir); len(files) > 0 {
		t.Errorf("left: %v", files)
	}
}

// full is a file on a disk that takes no more after some bytes.
type full struct {
	file
	left *int
}

func (f full) Write(p []byte) (int, error) {
	if len(p) > *f.left {
		n, _ := f.file.Write(p[:*f.left])
		*f.left = 0
		return n, syscall.ENOSPC
	}
	*f.left -= len(p)
	return f.file.Write(p)
}

// A full disk must be an error that says so, cost nothing of what is there and
// nothing that memory holds, and leave a gap that shows; when there is room
// again it goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 300})
	left := 1000
	s.create = func(path string) (file, error) {
		f, err := createFile(path)
		return full{f, &left}, err
	}
	var written uint64
	for s.Next() <= 100 {
		number := s.Next()
		switch err := s.Append([]byte(record(number))); {
		case err == nil:
			written = number
		case !errors.Is(err, syscall.ENOSPC):
			t.Fatalf("a full disk is %v", err)
		}
	}
	if written == 0 || written >= 90 {
		t.Fatalf("the last one written is %d", written)
	}
	numbers := all(t, s, 0)
	consecutive(t, numbers[:written], 1, written)
	rest := numbers[written:]
	consecutive(t, rest, rest[0], 100)
	if rest[0] == written+1 {
		t.Error("there is no gap")
	}
	left = 1 << 20
	fill(t, s, 100)
	numbers = all(t, s, 0)
	consecutive(t, numbers[len(numbers)-100:], 101, 200)
	s.Close()
	again, found := open(t, Options{Dir: dir, Limit: 1 << 20, Tail: 300})
	if found.Torn != 0 || again.Next() != 201 {
		t.Errorf("opened again: %+v, next %d", found, again.Next())
	}
}

func BenchmarkAppend(b *testing.B) {
	s, _, err := Open(Options{Dir: b.TempDir(), Label: "run-1", Limit: 32 << 20, Tail: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	sample := make([]byte, 3000)
	b.SetBytes(int64(len(sample)))
	for b.Loop() {
		if err := s.Append(sample); err != nil {
			b.Fatal(err)
		}
	}
}
