package payload

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A seed must give the same bytes on every node: a compiler that fuses a product
// and a sum into one rounding, as that for arm64 does, gives a counter of 0.05 steps
// other decimals there than on amd64. None of what makes schedules and payloads
// may be fused.
func TestNothingIsFused(t *testing.T) {
	build := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-S", "bela/agents/schedule", "bela/agents/payload")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("build for arm64: %v\n%s", err, out[max(0, len(out)-2000):])
	}
	if !strings.Contains(string(out), "FMULD") {
		t.Fatal("the compiler's listing shows no multiplication at all: it is read in the wrong way")
	}
	for line := range strings.Lines(string(out)) {
		for _, fused := range []string{"FMADD", "FMSUB", "FNMADD", "FNMSUB"} {
			if strings.Contains(line, "\t"+fused) {
				t.Errorf("fused: %s", strings.TrimSpace(line))
			}
		}
	}
}
