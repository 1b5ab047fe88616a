package agents

import (
	"testing"
	"testing/synctest"
	"time"

	"bela/agents/clock"
	"bela/agents/protocol"
)

// If this failed, a node whose clock is the faster one would report a second
// twice: with the use of a moment as that of a second, and as if another node had
// reported it too.
func TestOneSampleASecond(t *testing.T) {
	for name, drift := range map[string]float64{
		"a clock as fast as the testbed's": 0, "a faster one": -500e-6, "a slower one": 500e-6, "a hair faster": -1e-8,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clock.New(clock.Options{})
				c.Set(protocol.Clock{At: c.Local(), Offset: int64(17 * time.Hour), Drift: drift})
				before := c.Now() / int64(time.Second)
				for range 100 {
					if !awaitSecond(t.Context(), c) {
						t.Fatal("it did not wait")
					}
					at := c.Now()
					if second := at / int64(time.Second); second != before+1 || at%int64(time.Second) > int64(time.Millisecond) {
						t.Fatalf("a sample at second %d and %v after the one of second %d", second, time.Duration(at%int64(time.Second)), before)
					}
					before++
				}
			})
		})
	}
}

// If this failed, a node that is told the time would not be heard of for as long
// as it was off.
func TestSamplesGoOnWhenTheTimeIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New(clock.Options{})
		for _, by := range []time.Duration{-time.Hour, 2 * time.Hour, -time.Millisecond} {
			time.AfterFunc(100*time.Millisecond, func() { c.Set(protocol.Clock{Offset: int64(by)}) })
			began := time.Now()
			if awaitSecond(t.Context(), c); time.Since(began) > 2*time.Second {
				t.Errorf("set by %v: the next sample came after %v", by, time.Since(began))
			}
		}
	})
}
