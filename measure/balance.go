package measure

import "math"

// Balance says how evenly a load was spread over the instances of a component.
type Balance struct {
	Shares []float64 // of each instance, adding up to 1
	// MaxOverMean is the largest load over the mean: 1 when all carry the same,
	// the number of instances when one carries all.
	MaxOverMean float64
	// CV is the coefficient of variation: the standard deviation of all loads
	// over their mean; 0 when all carry the same.
	CV float64
}

// Spread makes a Balance of the instances' loads, in any unit. It is false where
// there was no load, or one that is negative or no number.
func Spread(loads []float64) (Balance, bool) {
	var sum float64
	for _, l := range loads {
		if l < 0 || math.IsNaN(l) || math.IsInf(l, 0) {
			return Balance{}, false
		}
		sum += l
	}
	if sum <= 0 || math.IsInf(sum, 0) {
		return Balance{}, false
	}
	n := float64(len(loads))
	b := Balance{Shares: make([]float64, len(loads))}
	var squares float64
	for i, l := range loads {
		b.Shares[i] = l / sum
		relative := b.Shares[i] * n
		b.MaxOverMean = max(b.MaxOverMean, relative)
		squares += (relative - 1) * (relative - 1)
	}
	b.CV = math.Sqrt(squares / n)
	return b, true
}

// SetBalance writes into rows, per component, how its instances shared the
// messages that they took. A component of which an instance was not counted is
// left out.
func SetBalance(rows []Component) {
	for i := 0; i < len(rows); {
		j := i
		var loads []float64
		for ; j < len(rows) && rows[j].Component == rows[i].Component; j++ {
			if rows[j].MessagesIn != nil {
				loads = append(loads, *rows[j].MessagesIn)
			}
		}
		if b, ok := Spread(loads); ok && len(loads) == j-i {
			for k := i; k < j; k++ {
				rows[k].Share, rows[k].MaxOverMean, rows[k].ShareCV = &b.Shares[k-i], &b.MaxOverMean, &b.CV
			}
		}
		i = j
	}
}
