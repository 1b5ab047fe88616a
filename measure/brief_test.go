package measure

import "testing"

// Reasons are read by people: a stall of two seconds must not be told as
// 2e+03 ms.
func TestBrief(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.01234: "0.0123", 12.345: "12.3", -2.5: "-2.5", 99.96: "100", 1899.6: "1900", 12345: "12345", 4.2e6: "4200000",
	} {
		if got := brief(v); got != want {
			t.Errorf("%v is told as %s, want %s", v, got, want)
		}
	}
}
