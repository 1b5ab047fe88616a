package platform

import (
	"math"
	"strconv"
)

// numberKind is the smallest type that holds a JSON number's value.
type numberKind int

const (
	numberLiteral numberKind = iota // none of the others: it is kept as written
	numberInteger                   // an int64
	numberLarge                     // a uint64 beyond it
	numberSingle                    // a float32 that prints as the same decimal
	numberDouble                    // a float64 that does
)

// number is a JSON number by its value.
type number struct {
	kind    numberKind
	integer int64
	large   uint64
	float   float64
}

// numberOf reads a literal of a valid document. Any decimal of at most 6 digits
// survives a float32, any of at most 15 a float64, within their ranges.
func numberOf(lit []byte) number {
	digits, integer := 0, true
	for _, b := range lit {
		switch {
		case b >= '0' && b <= '9':
			digits++ // those of the exponent too, which errs on the safe side
		case b != '-':
			integer = false
		}
	}
	s := string(lit)
	if integer && s != "-0" {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return number{kind: numberInteger, integer: n}
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return number{kind: numberLarge, large: n}
		}
		return number{}
	}
	if digits > 15 {
		return number{}
	}
	f, err := strconv.ParseFloat(s, 64)
	a := math.Abs(f)
	switch {
	case err != nil:
	case isZero(lit), digits <= 6 && a >= 1e-30 && a <= 1e30:
		return number{kind: numberSingle, float: f}
	case a >= 1e-290 && a <= 1e290:
		return number{kind: numberDouble, float: f}
	}
	return number{}
}

// isZero tells whether a number's value is zero as written, not by underflow.
func isZero(lit []byte) bool {
	for _, b := range lit {
		if b == 'e' || b == 'E' {
			break
		}
		if b >= '1' && b <= '9' {
			return false
		}
	}
	return true
}
