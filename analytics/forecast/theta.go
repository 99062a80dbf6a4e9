package forecast

import (
	"fmt"
	"math"
)

type theta struct{}

// Theta is the method of Assimakopoulos and Nikolopoulos (2000), winner of the M3
// competition: simple exponential smoothing with half the slope of the linear
// trend as drift (the form of Hyndman and Billah, 2003), on a series with its
// season taken out when the season is significant.
func Theta() Model { return theta{} }

func (theta) Name() string   { return "theta" }
func (theta) MinLen(int) int { return 4 }

type fittedTheta struct {
	n, period    int
	level        float64
	alpha, slope float64
	sigma        float64
	index        []float64 // nil: no season
	mult         bool
}

func (theta) Fit(y []float64, period int) (Fitted, error) {
	if err := check(y, 4, "theta"); err != nil {
		return nil, err
	}
	f := &fittedTheta{n: len(y), period: period}
	x := append([]float64(nil), y...)
	if isSeasonal(y, period) {
		f.mult = allPositive(y)
		f.index = seasonalIndices(y, period, f.mult)
		for t := range x {
			if f.mult {
				x[t] /= f.index[t%period]
			} else {
				x[t] -= f.index[t%period]
			}
		}
	}
	_, slope := line(x)
	f.slope = slope / 2

	sse := func(alpha, level float64) (float64, float64) {
		s := 0.0
		for _, v := range x {
			e := v - level
			s += e * e
			level += alpha * e
		}
		return s, level
	}
	scale := rms(x, mean(x)) + 1e-12
	decode := func(p []float64) (alpha, level float64) { return 0.0001 + 0.9998*sigmoid(p[0]), x[0] + scale*p[1] }
	best := minimise(func(p []float64) float64 {
		s, _ := sse(decode(p))
		return s
	}, []float64{0, 0}, 150)
	alpha, level := decode(best)
	total, last := sse(alpha, level)
	f.alpha, f.level = alpha, last
	f.sigma = math.Sqrt(total / float64(max(1, len(x)-2)))
	return f, nil
}

func (f *fittedTheta) Forecast(h int) (mean, sd []float64) {
	mean, sd = make([]float64, h), make([]float64, h)
	lead := (1 - math.Pow(1-f.alpha, float64(f.n))) / f.alpha
	for i := range mean {
		m := f.level + f.slope*(float64(i)+lead)
		s := f.sigma * math.Sqrt(1+float64(i)*f.alpha*f.alpha)
		if f.index != nil {
			idx := f.index[(f.n+i)%f.period]
			if f.mult {
				m, s = m*idx, s*idx
			} else {
				m += idx
			}
		}
		mean[i], sd[i] = m, s
	}
	return mean, sd
}

func (f *fittedTheta) Describe() string {
	season := "no season"
	switch {
	case f.index != nil && f.mult:
		season = "multiplicative season"
	case f.index != nil:
		season = "additive season"
	}
	return fmt.Sprintf("theta, α %.3f, drift %.4g, %s", f.alpha, f.slope, season)
}
