package findings

import (
	"math"
	"slices"
)

// Baseline is what is usual: the median of earlier values and how far they stray.
type Baseline struct {
	N      int
	Median float64
	MAD    float64 // median absolute deviation from the median
	MeanAD float64 // mean absolute deviation from the median
}

// NewBaseline summarises values; it is the zero Baseline without any.
func NewBaseline(values []int64) Baseline {
	if len(values) == 0 {
		return Baseline{}
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	b := Baseline{N: len(values), Median: median(sorted)}
	away := make([]float64, len(values))
	for i, v := range values {
		away[i] = math.Abs(float64(v) - b.Median)
		b.MeanAD += away[i] / float64(len(values))
	}
	slices.Sort(away)
	b.MAD = median(away)
	return b
}

func median[T int64 | float64](sorted []T) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return float64(sorted[n/2])
	}
	return (float64(sorted[n/2-1]) + float64(sorted[n/2])) / 2
}

// Score is the modified z-score of Iglewicz and Hoaglin (How to Detect and Handle
// Outliers, ASQC 1993): 0.6745·(x − median)/MAD, where 0.6745 is the upper quartile of
// the standard normal, so that for normal values it agrees with (x − μ)/σ. An outlier
// moves neither median nor MAD, unlike mean and standard deviation, by which a burst
// hides itself.
//
// When more than half of the values are equal, MAD is 0 and the mean absolute deviation
// takes its place, (x − median)/(1.253314·MeanAD), with √(π/2) for the same agreement.
// When all are equal, MeanAD is 0 as well, and the count's own Poisson deviation is all
// there is to go by: (x − median)/max(1, √median).
func (b Baseline) Score(x int64) float64 {
	d := float64(x) - b.Median
	switch {
	case b.MAD > 0:
		return 0.6745 * d / b.MAD
	case b.MeanAD > 0:
		return d / (1.253314 * b.MeanAD)
	}
	return d / max(1, math.Sqrt(b.Median))
}
