package clock

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Environment is the variable from which an agent takes a planted clock error:
// an offset, a drift in parts per million, a step some time after the agent's
// start, or several of them: "+100ms,50ppm,step=-40ms@6s".
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

// ParseOptions reads "+100ms", "-20ppm" and "step=40ms@6s", or several with
// commas between, in any order.
func ParseOptions(text string) (Options, error) {
	var o Options
	given := make(map[string]bool)
	once := func(what string) bool {
		first := !given[what]
		given[what] = true
		return first
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if rest, ok := strings.CutPrefix(part, "step="); ok {
			step, err := parseStep(rest)
			if err != nil || !once("step") {
				return Options{}, fmt.Errorf("clock step %q: give it once, like step=40ms@6s, within ±%v and at most %v after the start", part, maxOffset, maxOffset)
			}
			o.Step = step
			continue
		}
		if number, ok := strings.CutSuffix(part, "ppm"); ok {
			ppm, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil || math.IsNaN(ppm) || math.Abs(ppm) > maxPPM || !once("drift") {
				return Options{}, fmt.Errorf("clock drift %q: give it once, within ±%dppm", part, maxPPM)
			}
			o.Drift = ppm / 1e6
			continue
		}
		offset, err := time.ParseDuration(part)
		if err != nil || offset.Abs() > maxOffset || !once("offset") {
			return Options{}, fmt.Errorf("clock offset %q: give it once, like +100ms, within ±%v", part, maxOffset)
		}
		o.Offset = offset
	}
	return o, nil
}

var errStep = errors.New("not a step")

// parseStep reads "40ms@6s".
func parseStep(text string) (Step, error) {
	by, after, ok := strings.Cut(text, "@")
	if !ok {
		return Step{}, errStep
	}
	var s Step
	var err error
	if s.By, err = time.ParseDuration(by); err != nil || s.By == 0 || s.By.Abs() > maxOffset {
		return Step{}, errStep
	}
	if s.After, err = time.ParseDuration(after); err != nil || s.After < 0 || s.After > maxOffset {
		return Step{}, errStep
	}
	return s, nil
}
