package live

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"bela/measure"
)

// Clock writes a length of time as mm:ss, or h:mm:ss from an hour on.
func Clock(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	s := int64(d / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// Length writes a length of time as in an experiment file: 15s, 1m30s.
func Length(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d > 0 && d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Short writes a number in at most five characters: 7, 0.5, 512, 12.3k, 1.20M.
func Short(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case a >= 999_500_000:
		return Sig(v/1e9) + "G"
	case a >= 999_500:
		return Sig(v/1e6) + "M"
	case a >= 9_999.5:
		return Sig(v/1e3) + "k"
	case a >= 10 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// Sig writes a number below 1000 with three significant digits.
func Sig(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// Rate writes messages a second.
func Rate(v float64) string { return Short(v) + "/s" }

// Millis writes a latency given in milliseconds; "-" where there is none.
func Millis(v *float64) string {
	switch {
	case v == nil || math.IsNaN(*v) || math.IsInf(*v, 0):
		return "-"
	case math.Abs(*v) >= 59_950:
		return Sig(*v/60_000) + " min"
	case math.Abs(*v) >= 999.5:
		return Sig(*v/1000) + " s"
	}
	return Sig(*v) + " ms"
}

// MiB writes an amount of memory given in MiB.
func MiB(v float64) string {
	if v >= 1000 {
		return Sig(v/1024) + " GiB"
	}
	return Short(v) + " MiB"
}

// Count writes a whole number with thin groups of three digits: 1 234 567.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}

// Coordinates writes a cell's place in the matrix: devices=500 qos=1.
func Coordinates(ds []measure.Dimension) string {
	parts := make([]string, len(ds))
	for i, d := range ds {
		parts[i] = Clean(d.Name) + "=" + Coordinate(d.Value)
	}
	return strings.Join(parts, " ")
}

// Coordinate writes one value of a dimension.
func Coordinate(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return Clean(fmt.Sprint(v))
}
