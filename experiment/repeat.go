package experiment

import (
	"fmt"
	"regexp"
	"strconv"
)

// minRepeat is how many repetitions a 95 % interval of a median needs: of five,
// all lie on one side of it with a probability of 2/2⁵, above 5 %; of six with
// 2/2⁶.
const minRepeat = 6

// defaultWithin is ±5 %.
const defaultWithin = 0.05

const shareLegal = `legal: a share as in "5%" or 0.05, above 0 and at most 1`

// repeatBlock reads `repeat { until = … }`; nil where there is none.
func (l *loader) repeatBlock(r *reader) *Repeat {
	if r == nil {
		return nil
	}
	p := &Repeat{Within: defaultWithin, AtLeast: minRepeat}
	r.require("until", `until = "latency_p99_ms"`)
	if metric, ok := r.choice("until", Metrics()...); ok {
		p.Until = metric
	}
	if within, ok := r.share("within"); ok {
		p.Within = within
	}
	r.require("at_most", "at_most = 20")
	bound, whole := r.repetitions("at_most")
	p.AtMost = bound
	if least, ok := r.repetitions("at_least"); ok {
		p.AtLeast = least
		if whole && least > bound {
			r.wrong("at_least", fmt.Sprintf("%d is more than at_most, which is %d", least, bound))
		}
	}
	r.finish()
	return p
}

// repetitions is a number of repetitions that an interval can be made of.
func (r *reader) repetitions(name string) (int, bool) {
	n, ok := r.whole(name, 1, maxRepetitions)
	if ok && n < minRepeat {
		r.wrong(name, fmt.Sprintf("%d repetitions have no 95 %% interval of their median", n),
			fmt.Sprintf("legal: a whole number from %d to %s; of fewer than %d, all may lie on one side of the median by chance",
				minRepeat, grouped(maxRepetitions), minRepeat))
		return 0, false
	}
	return int(n), ok
}

// share is a number above 0 and at most 1, or a percentage in quotes.
func (r *reader) share(name string) (float64, bool) {
	n, ok := r.quantity(name, shareLegal, parsePercent, 1)
	if ok && !(n > 0 && n <= 1) {
		r.wrong(name, r.source(name)+" is out of range", shareLegal)
		return 0, false
	}
	return n, ok
}

var percentForm = regexp.MustCompile(`^\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(%?)\s*$`)

// parsePercent reads "5%" as 0.05.
func parsePercent(s string) (float64, *badUnit) {
	bad := &badUnit{problem: fmt.Sprintf("%q is not a share", clip(s)), legal: shareLegal}
	parts := percentForm.FindStringSubmatch(s)
	if parts == nil {
		return 0, bad
	}
	if parts[2] == "" {
		bad.meant = parts[1] + "%"
		return 0, bad
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		return 0, bad
	}
	return n / 100, nil
}
