package document

import (
	"math"
	"strconv"
)

// powers of ten that a float64 holds exactly. Read only.
var powers = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// maxDigits is how many digits a uint64 holds whatever they are.
const maxDigits = 19

// decimal is a JSON number taken apart: ±mantissa × 10^exponent.
type decimal struct {
	mantissa uint64
	exponent int
	digits   int // beyond maxDigits, the mantissa is not right
	negative bool
	integer  bool // without point and exponent
}

// jsonNumber reads the number at i in the smallest type that holds its value.
func (t *Tape) jsonNumber(b []byte, i int) int {
	d, end := scanNumber(b, i)
	if end < 0 {
		return -1
	}
	if d.integer && (d.mantissa != 0 || !d.negative || d.digits > maxDigits) {
		t.addInteger(d, b, i, end)
	} else {
		t.addFloat(d, b, i, end)
	}
	return end
}

// scanNumber goes over a number and returns the index after it, negative for
// what is none.
func scanNumber(b []byte, i int) (decimal, int) {
	d := decimal{integer: true}
	if i < len(b) && b[i] == '-' {
		d.negative = true
		i++
	}
	from := i
	for i < len(b) && isDigit(b[i]) {
		d.mantissa = d.mantissa*10 + uint64(b[i]-'0')
		i++
	}
	d.digits = i - from
	if d.digits == 0 || d.digits > 1 && b[from] == '0' {
		return d, -1
	}
	if i < len(b) && b[i] == '.' {
		d.integer = false
		i++
		from = i
		for i < len(b) && isDigit(b[i]) {
			d.mantissa = d.mantissa*10 + uint64(b[i]-'0')
			i++
		}
		if i == from {
			return d, -1
		}
		d.digits += i - from
		d.exponent = from - i
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		d.integer = false
		var exponent int
		if exponent, i = scanExponent(b, i+1); i < 0 {
			return d, -1
		}
		d.exponent += exponent
	}
	return d, i
}

// scanExponent reads an exponent; one beyond any float64's stays beyond it.
func scanExponent(b []byte, i int) (int, int) {
	negative := false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		negative = b[i] == '-'
		i++
	}
	from, n := i, 0
	for i < len(b) && isDigit(b[i]) {
		n = min(n*10+int(b[i]-'0'), 1<<20)
		i++
	}
	if i == from {
		return 0, -1
	}
	if negative {
		n = -n
	}
	return n, i
}

func isDigit(c byte) bool { return c-'0' < 10 }

// addInteger adds one that 64 bits hold, or what was written.
func (t *Tape) addInteger(d decimal, b []byte, from, to int) {
	m := d.mantissa
	switch {
	case d.digits == maxDigits+1 && !d.negative:
		var err error
		if m, err = strconv.ParseUint(string(b[from:to]), 10, 64); err != nil {
			t.addBytes(kindWritten, from, to)
			return
		}
		t.add(kindLarge, m)
	case d.digits > maxDigits, d.negative && m > 1<<63:
		t.addBytes(kindWritten, from, to)
	case d.negative:
		t.add(kindInteger, -m)
	case m > math.MaxInt64:
		t.add(kindLarge, m)
	default:
		t.add(kindInteger, m)
	}
}

// addFloat adds a number that prints again as the same decimal, or what was
// written. Any decimal of at most 6 digits survives a float32, any of at most 15
// a float64, within their ranges.
func (t *Tape) addFloat(d decimal, b []byte, from, to int) {
	const most6, most15 = 1e6, 1e15
	if d.digits > maxDigits || d.mantissa >= most15 {
		t.addBytes(kindWritten, from, to)
		return
	}
	f := float64(d.mantissa)
	switch e := d.exponent; {
	case e == 0 || f == 0:
	case e > 0 && e < len(powers):
		f *= powers[e]
	case e < 0 && -e < len(powers):
		f /= powers[-e]
	default:
		var err error
		if f, err = strconv.ParseFloat(string(b[from:to]), 64); err != nil {
			f = math.Inf(1)
		}
		f = math.Abs(f)
	}
	var k kind
	switch {
	case f == 0 && d.mantissa == 0, d.mantissa < most6 && f >= 1e-30 && f <= 1e30:
		k = kindSingle
	case f >= 1e-290 && f <= 1e290:
		k = kindDouble
	default:
		t.addBytes(kindWritten, from, to)
		return
	}
	if d.negative {
		f = -f
	}
	t.add(k, math.Float64bits(f))
}

// addBinary adds a float as another codec holds it.
func (t *Tape) addBinary(k kind, f float64) bool {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return false // no JSON form
	}
	t.add(k, math.Float64bits(f))
	return true
}

func (t *Tape) addUnsigned(n uint64) {
	if n > math.MaxInt64 {
		t.add(kindLarge, n)
	} else {
		t.add(kindInteger, n)
	}
}

// appendNumber appends a number as JSON: the shortest decimal that is the same
// float, without an exponent where that is not much longer.
func appendNumber(out []byte, k token) []byte {
	width := 64
	switch k.kind {
	case kindInteger:
		return strconv.AppendInt(out, int64(k.bits), 10)
	case kindLarge:
		return strconv.AppendUint(out, k.bits, 10)
	case kindSingle:
		width = 32
	}
	f := math.Float64frombits(k.bits)
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 0.999_999e-6 || a >= 1e21) { // 1e-6 as a float32 is a little less
		format = 'e'
	}
	return strconv.AppendFloat(out, f, format, -1, width)
}
