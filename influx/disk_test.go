package influx

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bela/event"
	"bela/influx/influxtest"
)

// smallDisk mounts a disk of a few megabytes.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("left out: a disk that is full: only root may mount one")
	}
	dir := t.TempDir()
	if err := syscall.Mount("bela-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("left out: a disk that is full: no small disk can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // what fits is there
	for size := 1 << 20; size > 0; size /= 4 {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}

// A database whose disk is full must get every point once there is room, and the
// user must read why it does not take them.
func TestServerWithAFullDisk(t *testing.T) {
	dir := smallDisk(t, "size=64m")
	db := influxtest.StartIn(t, dir, "bela")
	said := newTroubles()
	w := mustWriter(t, Config{URL: db.URL, Bucket: "bela", Trouble: said.record})
	f := follow(t, w, newGrown(t), Mark{})
	events := fixtureRun(30, steady)
	e := NewEncoder("qos 1", "r")
	encode := func(events []event.Event) (lines []byte) {
		for _, ev := range events {
			lines = e.Append(lines, ev)
		}
		return lines
	}
	half := encode(events[:len(events)/2])
	f.append(t, zipped(t, half))
	for deadline := time.Now().Add(time.Minute); f.settled.Load() < int64(bytes.Count(half, []byte("\n"))); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute %d points are settled", f.settled.Load())
		}
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	rest := encode(events[len(events)/2:])
	f.append(t, zipped(t, rest))
	if err := said.wait(t); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("it said %v, want the server's words", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	db.Stop(t) // 1.8 goes on refusing new series until it is started again
	db.Start(t)
	all := append(half, rest...)
	wantStats(t, f.end(t, w, time.Minute), int64(bytes.Count(all, []byte("\n"))), 0, 0)
	influxtest.Same(t, db.Stored(t, "bela"), influxtest.Values(influxtest.Parse(t, all)))
}
