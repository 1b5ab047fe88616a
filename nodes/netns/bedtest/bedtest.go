// Package bedtest gives tests a testbed of network namespaces. It exists apart
// from netns so that what is no test carries no testing package.
package bedtest

import (
	"context"
	"os"
	"testing"
	"time"

	"bela/nodes/netns"
)

// Up makes a bed that lives until the test ends. Where none can be made the
// test is left out; under CI, where it must be possible, the test fails.
func Up(t testing.TB, o netns.Options) *netns.Bed {
	t.Helper()
	if err := netns.Available(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("left out: many hosts on one machine: %v", err)
		}
		t.Skipf("left out: many hosts on one machine: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bed, err := netns.Up(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bed.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return bed
}
