package live

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
		{Clock(0), "00:00", "the start"},
		{Clock(72 * time.Second), "01:12", "minutes and seconds"},
		{Clock(3600 * time.Second), "1:00:00", "an hour gets a third field"},
		{Clock(-time.Second), "00:00", "a clock that was set back"},
		{Length(15 * time.Second), "15s", "as an experiment file has it"},
		{Length(5 * time.Minute), "5m", "without seconds that say nothing"},
		{Length(65 * time.Second), "1m5s", ""},
		{Length(2 * time.Hour), "2h", ""},
		{Length(250 * time.Millisecond), "250ms", "below a second the milliseconds count"},
		{Rate(1), "1/s", ""},
		{Rate(0.2), "0.2/s", "one message every five seconds"},
		{Rate(9999), "9999/s", "four digits are still exact"},
		{Rate(12_340), "12.3k/s", ""},
		{Rate(1_204_000), "1.20M/s", ""},
		{Rate(math.NaN()), "-/s", "no number"},
		{Millis(nil), "-", "nothing was received in this second"},
		{Millis(ms(0.41)), "0.41 ms", ""},
		{Millis(ms(-0.12)), "-0.12 ms", "a negative latency is shown as it is"},
		{Millis(ms(12.34)), "12.3 ms", ""},
		{Millis(ms(1500)), "1.50 s", ""},
		{Millis(ms(90_000)), "1.50 min", ""},
		{MiB(38), "38 MiB", ""},
		{MiB(1536), "1.50 GiB", ""},
		{Count(1234567), "1 234 567", ""},
		{Count(-1234), "-1 234", "more deliveries than expected"},
		{Some([]string{"a", "b", "c"}, 2), "a, b and 1 more", ""},
		{Coordinate(1000.0), "1000", "a matrix value as it is written"},
		{Coordinate(0.5), "0.5", ""},
		{Coordinate(true), "true", ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q %s", c.got, c.want, c.why)
		}
	}
}
