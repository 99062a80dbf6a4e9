package forecast

import "math"

// isSeasonal is the test that the Theta method is used with: the autocorrelation
// at the seasonal lag against a 90 % limit (Bartlett's formula).
func isSeasonal(y []float64, period int) bool {
	n := len(y)
	if period < 2 || n < 2*period {
		return false
	}
	m := mean(y)
	variance := 0.0
	for _, v := range y {
		variance += (v - m) * (v - m)
	}
	if variance == 0 {
		return false
	}
	acf := func(lag int) float64 {
		s := 0.0
		for t := lag; t < n; t++ {
			s += (y[t] - m) * (y[t-lag] - m)
		}
		return s / variance
	}
	sum := 0.0
	for k := 1; k < period; k++ {
		sum += acf(k) * acf(k)
	}
	return math.Abs(acf(period)) > 1.645*math.Sqrt((1+2*sum)/float64(n))
}

// seasonalIndices is the classical decomposition by centred moving averages: the
// index of position t is out[t%period]. Multiplicative indices have mean 1,
// additive ones sum 0. It needs two seasons.
func seasonalIndices(y []float64, period int, multiplicative bool) []float64 {
	n, half := len(y), period/2
	sum, count := make([]float64, period), make([]float64, period)
	for t := half; t < n-half; t++ {
		trend := 0.0
		if period%2 == 0 {
			trend = (y[t-half] + y[t+half]) / 2
			for k := t - half + 1; k < t+half; k++ {
				trend += y[k]
			}
		} else {
			for k := t - half; k <= t+half; k++ {
				trend += y[k]
			}
		}
		trend /= float64(period)
		if multiplicative {
			sum[t%period] += y[t] / trend
		} else {
			sum[t%period] += y[t] - trend
		}
		count[t%period]++
	}
	idx := make([]float64, period)
	for i := range idx {
		switch {
		case count[i] > 0:
			idx[i] = sum[i] / count[i]
		case multiplicative:
			idx[i] = 1
		}
	}
	level := mean(idx)
	for i := range idx {
		if multiplicative {
			idx[i] = math.Max(idx[i]/level, 0.01) // a season of nothing must not divide by zero
		} else {
			idx[i] -= level
		}
	}
	return idx
}

// line is the least-squares line through y at 0, 1, 2, …
func line(y []float64) (intercept, slope float64) {
	n := float64(len(y))
	if n < 2 {
		return mean(y), 0
	}
	mx, my := (n-1)/2, mean(y)
	sxy, sxx := 0.0, 0.0
	for i, v := range y {
		d := float64(i) - mx
		sxy += d * (v - my)
		sxx += d * d
	}
	slope = sxy / sxx
	return my - slope*mx, slope
}

func allPositive(y []float64) bool {
	for _, v := range y {
		if v <= 0 {
			return false
		}
	}
	return true
}
