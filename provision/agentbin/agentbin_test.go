package agentbin

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
)

// A checkout without agents must say how to get them, and for which machine.
func TestMissingAgent(t *testing.T) {
	index, err := json.Marshal(Index{Programs: []Entry{{Program: Agent, GOARCH: "arm", GOARM: 7, File: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		dir    fstest.MapFS
		what   Program
		goarch string
		goarm  int
		want   string
	}{
		{fstest.MapFS{}, Agent, "arm64", 0, "this controller was built without the agent for linux/arm64: run make build"},
		{fstest.MapFS{IndexFile: {Data: index}}, Agent, "amd64", 0, "linux/amd64: run make build"},
		{fstest.MapFS{IndexFile: {Data: index}}, Platform, "arm", 7, "without the built-in platform for linux/arm/v7"}, // the agent is another program
		{fstest.MapFS{IndexFile: {Data: index}}, Agent, "arm", 6, "linux/arm/v6: run make build"},                      // v7 does not run on it
		{fstest.MapFS{IndexFile: {Data: []byte("{")}}, Agent, "amd64", 0, "index.json"},
	}
	for _, row := range rows {
		if _, err := find(row.dir, row.what, row.goarch, row.goarm); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s/%d: got %v, want %q", row.goarch, row.goarm, err, row.want)
		}
	}
}

// The agent that comes out must be the one that was packed, byte for byte.
func TestOpen(t *testing.T) {
	want := bytes.Repeat([]byte("agent"), 100_000)
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	index, err := json.Marshal(Index{Programs: []Entry{{Program: Agent, GOARCH: "amd64", File: "a.zst", SHA256: "abc", Size: int64(len(want))}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := fstest.MapFS{IndexFile: {Data: index}, "a.zst": {Data: encoder.EncodeAll(want, nil)}}
	b, err := find(dir, Agent, "amd64", 0)
	if err != nil || b.Size != int64(len(want)) || b.SHA256 != "abc" {
		t.Fatalf("got %+v: %v", b, err)
	}
	for range 2 { // it is opened once a node
		r, err := b.Open()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came out: %v", len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	dir["a.zst"].Data[20] ^= 0xff
	r, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err == nil && bytes.Equal(got, want) {
		t.Error("damage goes unnoticed")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// A development build's agent, from a file, must carry its true hash: the
// node's copy is checked against it.
func TestFromFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := FromFile(name)
	// printf hello | sha256sum
	if err != nil || b.Size != 5 || b.SHA256 != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
		t.Errorf("got %+v: %v", b, err)
	}
	if _, err := FromFile(name + "x"); err == nil {
		t.Error("a file that is not there is taken")
	}
}
