package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"bela/provision/agentbin"
)

// What is packed must be executables that run, of which the agent knows its version
// and the platform does not: a new version of bela must not move it anew. And a
// second pack of the same must leave them alone, or every build would embed anew.
func TestPack(t *testing.T) {
	module, dist := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module x\n\ngo 1.26\n",
		"main.go": "package main\n\nvar version string\n\nfunc main() { println(version) }\n",
	} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wanted, err := selection("host,arm")
	if err != nil {
		t.Skipf("no agent is built for this machine: %v", err)
	}
	p := packer{root: module, dist: dist, version: "v1.2.3", packages: map[agentbin.Program]string{agentbin.Agent: ".", agentbin.Platform: "."}}
	stale := filepath.Join(dist, "bela-agent-linux-old.zst")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.pack(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dist, agentbin.IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	var index agentbin.Index
	if err := json.Unmarshal(text, &index); err != nil || len(index.Programs) != 4 {
		t.Fatalf("index %s: %v", text, err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("an agent of an older build is still there")
	}
	packed, platform := filepath.Join(dist, index.Programs[0].File), filepath.Join(dist, index.Programs[2].File)
	if out := execute(t, packed, index.Programs[0]); out != "v1.2.3\n" || index.Programs[0].Program != agentbin.Agent {
		t.Errorf("%s prints %q", index.Programs[0].Program, out)
	}
	if out := execute(t, platform, index.Programs[2]); out != "\n" || index.Programs[2].Program != agentbin.Platform {
		t.Errorf("%s prints %q", index.Programs[2].Program, out)
	}

	before, err := os.Stat(packed)
	if err != nil {
		t.Fatal(err)
	}
	platformBefore, err := os.Stat(platform)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.pack(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(packed)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the same agent was written again: %v", err)
	}
	p.version = "v1.2.4"
	if err := p.pack(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	if changed, err := os.Stat(packed); err != nil || os.SameFile(before, changed) {
		t.Errorf("another agent was not written: %v", err)
	}
	if same, err := os.Stat(platform); err != nil || !os.SameFile(platformBefore, same) {
		t.Errorf("another version made another platform: %v", err)
	}
}

// execute unpacks an agent, checks it against the index and runs it.
func execute(t *testing.T, packed string, e agentbin.Entry) string {
	t.Helper()
	text, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	plain, err := decoder.DecodeAll(text, nil)
	if err != nil || hash(plain) != e.SHA256 || int64(len(plain)) != e.Size || hash(text) != e.Packed {
		t.Fatalf("%d bytes do not fit %+v: %v", len(plain), e, err)
	}
	file := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(file, plain, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), file).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A wrong -only must name the choices instead of building nothing.
func TestSelection(t *testing.T) {
	if all, err := selection(""); err != nil || len(all) != 3 {
		t.Errorf("got %v: %v", all, err)
	}
	if _, err := selection("amd64,mips"); err == nil {
		t.Error("mips is taken")
	}
}
