package experiment

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// badUnit is a quantity that cannot be read: what is wrong, what is legal, and
// what was probably meant.
type badUnit struct {
	problem, meant, legal string
}

func (b *badUnit) help() []string {
	meant := ""
	if b.meant != "" {
		meant = fmt.Sprintf("did you mean %q?", b.meant)
	}
	return []string{meant, b.legal}
}

const (
	durationLegal = `legal: a number with a unit, one of ms, s, m, h, as in "90s", "5m" or "1h30m"`
	sizeLegal     = `legal: bytes as a number, or with a unit, one of B, KiB, MiB, GiB, kB, MB, GB, as in "700MiB"`
	cpuLegal      = `legal: thousandths of a core as in "350m", or cores as in 0.35 or "1.5"`
	rateLegal     = `legal: messages per s, min or h, as in "100/s" or "6/min", or a number of messages per second`
)

var (
	quantity = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-zµ]*)\s*$`)
	rateForm = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(?:msg|msgs|messages?)?\s*/\s*([A-Za-z]+)\s*$`)
)

// parseDuration reads Go's syntax for durations and guesses what other habits
// meant.
func parseDuration(s string) (time.Duration, *badUnit) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err == nil {
		return d, nil
	}
	bad := &badUnit{problem: fmt.Sprintf("%q is not a duration", clip(s)), legal: durationLegal}
	parts := quantity.FindStringSubmatch(s)
	if parts == nil {
		return 0, bad
	}
	units := map[string]string{
		"": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
		"min": "m", "mins": "m", "minute": "m", "minutes": "m",
		"hr": "h", "hrs": "h", "hour": "h", "hours": "h",
		"msec": "ms", "millis": "ms", "milliseconds": "ms",
	}
	unit := strings.ToLower(parts[2])
	if u, ok := units[unit]; ok {
		bad.meant = parts[1] + u
	} else if n, err := strconv.ParseFloat(parts[1], 64); err == nil && (unit == "d" || unit == "day" || unit == "days") {
		bad.meant = strconv.FormatFloat(24*n, 'g', -1, 64) + "h"
	}
	return 0, bad
}

var sizeUnits = map[string]float64{
	"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
}

// parseSize reads a number of bytes.
func parseSize(s string) (int64, *badUnit) {
	bad := &badUnit{problem: fmt.Sprintf("%q is not a size", clip(s)), legal: sizeLegal}
	parts := quantity.FindStringSubmatch(s)
	if parts == nil {
		return 0, bad
	}
	factor, ok := sizeUnits[parts[2]]
	if !ok {
		guesses := map[string]string{"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}
		if u, ok := guesses[strings.ToLower(parts[2])]; ok {
			bad.meant = parts[1] + u
		} else if u := nearest(parts[2], []string{"KiB", "MiB", "GiB"}); u != "" {
			bad.meant = parts[1] + u
		}
		return 0, bad
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	if err != nil || n*factor > math.MaxInt64/2 {
		bad.problem = fmt.Sprintf("%q is out of range", clip(s))
		return 0, bad
	}
	return int64(math.Round(n * factor)), nil
}

// parseCPU reads a share of CPU in thousandths of a core.
func parseCPU(s string) (float64, *badUnit) {
	bad := &badUnit{problem: fmt.Sprintf("%q is not a share of CPU", clip(s)), legal: cpuLegal}
	parts := quantity.FindStringSubmatch(s)
	if parts == nil {
		return 0, bad
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	switch {
	case err != nil:
		return 0, bad
	case parts[2] == "m":
		return n, nil
	case parts[2] == "":
		return 1000 * n, nil
	}
	if nearest(strings.ToLower(parts[2]), []string{"m", "mcpu", "millicores", "milli"}) != "" {
		bad.meant = parts[1] + "m"
	}
	return 0, bad
}

// ParseSize reads a number of bytes as experiment files write it: "700MiB".
func ParseSize(s string) (int64, error) {
	n, bad := parseSize(s)
	return n, bad.asError()
}

// ParseCPU reads a share of CPU as experiment files write it, in thousandths of
// a core: "350m", "1.5".
func ParseCPU(s string) (float64, error) {
	n, bad := parseCPU(s)
	return n, bad.asError()
}

// asError is the whole in one line; nil for nil.
func (b *badUnit) asError() error {
	if b == nil {
		return nil
	}
	return errors.New(strings.Join(append([]string{b.problem}, slices.DeleteFunc(b.help(), func(s string) bool { return s == "" })...), "; "))
}

// parseRate reads a rate in messages per second.
func parseRate(s string) (float64, *badUnit) {
	bad := &badUnit{problem: fmt.Sprintf("%q is not a rate", clip(s)), legal: rateLegal}
	parts := rateForm.FindStringSubmatch(s)
	if parts == nil {
		if plain := quantity.FindStringSubmatch(s); plain != nil && plain[2] == "" {
			bad.meant = plain[1] + "/s"
		}
		return 0, bad
	}
	per, ok := map[string]float64{"s": 1, "min": 60, "h": 3600}[parts[2]]
	if !ok {
		guesses := map[string]string{
			"sec": "s", "second": "s", "m": "min", "minute": "min", "minutes": "min", "hour": "h", "hr": "h",
		}
		if u, ok := guesses[strings.ToLower(parts[2])]; ok {
			bad.meant = parts[1] + "/" + u
		}
		return 0, bad
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	if err != nil || math.IsInf(n, 0) {
		return 0, bad
	}
	return n / per, nil
}

// clip shortens foreign text for a message.
func clip(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
