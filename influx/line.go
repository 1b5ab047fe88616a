package influx

import (
	"math"
	"strconv"
	"unicode/utf8"

	"bela/event"
)

// The longest tag and text field, in bytes. Longer ones are cut: InfluxDB holds
// tags in memory and refuses a series key above 64 KiB.
const (
	maxTag  = 256
	maxText = 1024
)

// line appends one point of line protocol to a buffer. A point that ends up
// without a field is taken back, for line protocol has no such thing.
type line struct {
	buf    []byte
	start  int
	fields int
}

// open begins a point. The measurement is one of this package's own constants
// and needs no escaping.
func (l *line) open(measurement string) {
	l.start, l.fields = len(l.buf), 0
	l.buf = append(l.buf, measurement...)
}

// escaped appends tags that are escaped already: ",key=value,key=value".
func (l *line) escaped(tags string) { l.buf = append(l.buf, tags...) }

// tag appends one tag. An empty value is left out: line protocol has none.
func (l *line) tag(key, value string) { l.buf = appendTag(l.buf, key, value) }

func (l *line) tagInt(key string, value int) {
	l.buf = append(l.buf, ',')
	l.buf = append(l.buf, key...)
	l.buf = append(l.buf, '=')
	l.buf = strconv.AppendInt(l.buf, int64(value), 10)
}

func (l *line) field(name string) {
	sep := byte(',')
	if l.fields == 0 {
		sep = ' '
	}
	l.fields++
	l.buf = append(l.buf, sep)
	l.buf = append(l.buf, name...)
	l.buf = append(l.buf, '=')
}

// float appends a number; NaN and infinities are left out, InfluxDB has none.
func (l *line) float(name string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	l.field(name)
	l.buf = strconv.AppendFloat(l.buf, v, 'g', -1, 64)
}

// optional appends a number that may not have been taken.
func (l *line) optional(name string, v *float64) {
	if v != nil {
		l.float(name, *v)
	}
}

// optionalInteger appends a count that may not have been taken.
func (l *line) optionalInteger(name string, v *int64) {
	if v != nil {
		l.integer(name, *v)
	}
}

func (l *line) integer(name string, v int64) {
	l.field(name)
	l.buf = strconv.AppendInt(l.buf, v, 10)
	l.buf = append(l.buf, 'i')
}

func (l *line) boolean(name string, v bool) {
	l.field(name)
	l.buf = strconv.AppendBool(l.buf, v)
}

// text appends a string field; an empty one is left out, as missing.
func (l *line) text(name, v string) {
	if v == "" {
		return
	}
	l.field(name)
	l.buf = append(l.buf, '"')
	for _, r := range cut(v, maxText) {
		switch {
		case r == '"' || r == '\\':
			l.buf = append(l.buf, '\\', byte(r))
		case control(r):
			l.buf = append(l.buf, ' ')
		default:
			l.buf = utf8.AppendRune(l.buf, r)
		}
	}
	l.buf = append(l.buf, '"')
}

// close ends the point with the event's time, see Encoder.Append.
func (l *line) close(ev event.Event) {
	if l.fields == 0 {
		l.buf = l.buf[:l.start]
		return
	}
	l.buf = append(l.buf, ' ')
	l.buf = strconv.AppendInt(l.buf, stamp(ev), 10)
	l.buf = append(l.buf, '\n')
}

// stamp is a point's time in nanoseconds since the Unix epoch.
func stamp(ev event.Event) int64 { return ev.Time.UnixMicro()*1000 + int64(ev.Seq%1000) }

// appendTag appends ",key=value", escaped. Line protocol cannot say a control
// character, nor a backslash before a comma, a space or an equals sign: the
// first becomes a space, and every backslash a slash.
func appendTag(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ',')
	dst = appendTagText(dst, key)
	dst = append(dst, '=')
	return appendTagText(dst, value)
}

func appendTagText(dst []byte, s string) []byte {
	for _, r := range cut(s, maxTag) {
		switch {
		case r == ',' || r == '=' || r == ' ':
			dst = append(dst, '\\', byte(r))
		case r == '\\':
			dst = append(dst, '/')
		case control(r):
			dst = append(dst, '\\', ' ')
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }

// cut shortens s to at most limit bytes, at a rune's border.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
