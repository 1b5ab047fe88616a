package main

import (
	"os/exec"
	"strings"
	"testing"
)

// If this failed, the built-in platform would go to every node again: more than half
// of what a node costs, on boards that run no component of it.
func TestAgentCarriesNoPlatform(t *testing.T) {
	deps := func(program string) string {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "bela/cmd/"+program).Output()
		if err != nil {
			t.Fatal(err)
		}
		return "\n" + string(out)
	}
	agent, platform := deps("bela-agent"), deps("bela-platform")
	for _, heavy := range []string{"bela/agents/platform\n", "github.com/nats-io/nats-server/", "github.com/mochi-mqtt/server/"} {
		if strings.Contains(agent, "\n"+heavy) {
			t.Errorf("the agent depends on %s", strings.TrimSpace(heavy))
		}
		if !strings.Contains(platform, "\n"+heavy) {
			t.Errorf("the platform does not depend on %s: this test looks for the wrong thing", strings.TrimSpace(heavy))
		}
	}
}
