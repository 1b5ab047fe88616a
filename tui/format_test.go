package tui

import (
	"math"
	"testing"
	"time"
)

// Numbers that are read at a glance must keep their size and their unit, or an
// operator reads 12.3k as 12.3.
func TestNumbers(t *testing.T) {
	ms := func(v float64) *float64 { return &v }
	for _, c := range []struct{ got, want, why string }{
		{clock(0), "00:00", "the start"},
		{clock(72 * time.Second), "01:12", "minutes and seconds"},
		{clock(3600 * time.Second), "1:00:00", "an hour gets a third field"},
		{clock(-time.Second), "00:00", "a clock that was set back"},
		{length(15 * time.Second), "15s", "as an experiment file has it"},
		{length(5 * time.Minute), "5m", "without seconds that say nothing"},
		{length(65 * time.Second), "1m5s", ""},
		{length(2 * time.Hour), "2h", ""},
		{length(250 * time.Millisecond), "250ms", "below a second the milliseconds count"},
		{rate(1), "1/s", ""},
		{rate(0.2), "0.2/s", "one message every five seconds"},
		{rate(9999), "9999/s", "four digits are still exact"},
		{rate(12_340), "12.3k/s", ""},
		{rate(1_204_000), "1.20M/s", ""},
		{rate(math.NaN()), "-/s", "no number"},
		{millis(nil), "-", "nothing was received in this second"},
		{millis(ms(0.41)), "0.41 ms", ""},
		{millis(ms(-0.12)), "-0.12 ms", "a negative latency is shown as it is"},
		{millis(ms(12.34)), "12.3 ms", ""},
		{millis(ms(1500)), "1.50 s", ""},
		{millis(ms(90_000)), "1.50 min", ""},
		{mib(38), "38 MiB", ""},
		{mib(1536), "1.50 GiB", ""},
		{count(1234567), "1 234 567", ""},
		{count(-1234), "-1 234", "more deliveries than expected"},
		{some([]string{"a", "b", "c"}, 2), "a, b and 1 more", ""},
		{coordinate(1000.0), "1000", "a matrix value as it is written"},
		{coordinate(0.5), "0.5", ""},
		{coordinate(true), "true", ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q %s", c.got, c.want, c.why)
		}
	}
}
