package clock

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Environment is the variable from which an agent takes a planted clock error:
// an offset, a drift in parts per million, or both: "+100ms,50ppm".
const Environment = "BELA_CLOCK_ERROR"

// The largest error that can be planted; more is a slip of the pen.
const (
	maxOffset = 24 * time.Hour
	maxPPM    = 10_000
)

// FromEnvironment reads the planted error with getenv (os.Getenv). An unset or
// empty variable is no error.
func FromEnvironment(getenv func(string) string) (Options, error) {
	text := strings.TrimSpace(getenv(Environment))
	if text == "" {
		return Options{}, nil
	}
	o, err := ParseOptions(text)
	if err != nil {
		return Options{}, fmt.Errorf("environment variable %s: %w", Environment, err)
	}
	return o, nil
}

// ParseOptions reads "+100ms", "-20ppm" or both with a comma between, in any
// order.
func ParseOptions(text string) (Options, error) {
	var o Options
	var haveOffset, haveDrift bool
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if number, ok := strings.CutSuffix(part, "ppm"); ok {
			ppm, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil || math.IsNaN(ppm) || math.Abs(ppm) > maxPPM || haveDrift {
				return Options{}, fmt.Errorf("clock drift %q: give it once, within ±%dppm", part, maxPPM)
			}
			o.Drift, haveDrift = ppm/1e6, true
			continue
		}
		offset, err := time.ParseDuration(part)
		if err != nil || offset.Abs() > maxOffset || haveOffset {
			return Options{}, fmt.Errorf("clock offset %q: give it once, like +100ms, within ±%v", part, maxOffset)
		}
		o.Offset, haveOffset = offset, true
	}
	return o, nil
}
