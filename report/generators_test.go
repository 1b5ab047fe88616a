package report

import (
	"strings"
	"testing"

	"bela/store"
)

// A reader must see the load generator that is nearest to its limit, and nothing
// where none was calibrated.
func TestGenerators(t *testing.T) {
	late := 0.25
	nodes := []store.NodeEnvironment{
		{Name: "worker-1"},
		{Name: "iot-1", Generator: &store.Generator{PlannedRate: 1000, Rate: 100_000}},
		{Name: "iot-2", Generator: &store.Generator{PlannedRate: 900, Rate: 1000, LatenessP99MS: &late}},
	}
	if s := generators(nodes[:1]); s != "" {
		t.Errorf("%q, and none was calibrated", s)
	}
	if s := generators(nodes); !strings.Contains(s, "900 msg/s planned where 1000 were held (iot-2), late by 0.25 ms at p99") {
		t.Errorf("%q", s)
	}
}
