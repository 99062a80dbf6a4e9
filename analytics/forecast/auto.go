package forecast

import (
	"fmt"
	"math"
	"sort"
)

// Options tunes [Auto]. The zero value is ready to use.
type Options struct {
	Period      int       // points in a season; default 12
	Horizon     int       // points to forecast; default 12
	Levels      []float64 // of the bands, rising; default 0.80 and 0.95
	NonNegative bool      // cut means and bands at zero: revenue does not go below
	Origins     int       // most points of the past to forecast from; default 24
	Models      []Model   // candidates; default [Candidates]
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Period == 0 {
		c.Period = 12
	}
	if c.Horizon == 0 {
		c.Horizon = 12
	}
	if c.Origins == 0 {
		c.Origins = 24
	}
	if c.Levels == nil {
		c.Levels = []float64{0.80, 0.95}
	}
	if c.Models == nil {
		c.Models = Candidates()
	}
	if c.Period < 1 || c.Horizon < 1 || c.Origins < 1 {
		return c, fmt.Errorf("forecast: period %d, horizon %d and origins %d must be positive", c.Period, c.Horizon, c.Origins)
	}
	for i, l := range c.Levels {
		if l <= 0 || l >= 1 || (i > 0 && l <= c.Levels[i-1]) {
			return c, fmt.Errorf("forecast: levels must rise between 0 and 1, got %v", c.Levels)
		}
	}
	return c, nil
}

// Candidates are the methods that [Auto] compares unless told otherwise.
func Candidates() []Model {
	return []Model{
		SeasonalNaive(), Naive(), Drift(), SeasonalDrift(), Theta(), AutoETS(), Combine(AutoETS(), Theta()),
	}
}

// Result is a forecast with the evidence for it.
type Result struct {
	Method   string // name of the chosen model
	Fit      string // its form and parameters
	Levels   []float64
	Points   []Point
	Backtest Backtest
}

// Point is the forecast for one step ahead. Lo and Hi are parallel to
// [Result.Levels]; Lo[i] ≤ Mean ≤ Hi[i], and a higher level holds a lower one.
type Point struct {
	Step   int // from 1
	Mean   float64
	Lo, Hi []float64
}

// Auto forecasts y by the candidate that did best in the back-test. It needs
// three points; under three seasons the choice is among the simpler methods,
// since the others cannot be back-tested yet. Where two candidates are close the
// mean of models is taken (see [Combine]).
func Auto(y []float64, opts *Options) (Result, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return Result{}, err
	}
	if err := check(y, 3, "a forecast"); err != nil {
		return Result{}, err
	}
	bt, runs := backtest(y, o)
	chosen := runs[0]
	f, err := chosen.model.Fit(y, o.Period)
	if err != nil {
		return Result{}, fmt.Errorf("fit %s: %w", chosen.model.Name(), err)
	}
	r := Result{Method: chosen.model.Name(), Fit: f.Describe(), Levels: o.Levels, Backtest: bt}
	quantiles := make([]float64, len(o.Levels))
	for i, level := range o.Levels {
		quantiles[i] = chosen.quantile(level, -1)
	}
	floor := bandFloor(y)
	means, sds := f.Forecast(o.Horizon)
	for i, m := range means {
		p := Point{Step: i + 1, Mean: m}
		if o.NonNegative {
			p.Mean = math.Max(0, m)
		}
		for _, q := range quantiles {
			half := q * math.Max(sds[i], floor)
			lo, hi := m-half, m+half
			if o.NonNegative {
				lo, hi = math.Max(0, lo), math.Max(0, hi)
			}
			p.Lo, p.Hi = append(p.Lo, lo), append(p.Hi, hi)
		}
		for k := 1; k < len(p.Lo); k++ { // quantiles of few scores may tie, never cross
			p.Lo[k], p.Hi[k] = math.Min(p.Lo[k], p.Lo[k-1]), math.Max(p.Hi[k], p.Hi[k-1])
		}
		r.Points = append(r.Points, p)
	}
	return r, nil
}

// bandFloor keeps a band from having no width when a model fits its history
// without error: a thousandth of the usual step from one point to the next.
func bandFloor(y []float64) float64 {
	return math.Max(rms(lagged(y, 1), 0)*1e-3, 1e-12)
}

// normalQuantile is z such that a standard normal lies within ±z with probability level.
func normalQuantile(level float64) float64 { return math.Sqrt2 * math.Erfinv(level) }

// conformalQuantile is the ⌈(n+1)·level⌉-th smallest score, the largest when there
// are too few.
func conformalQuantile(scores []float64, level float64) float64 {
	if len(scores) == 0 {
		return 0
	}
	s := append([]float64(nil), scores...)
	sort.Float64s(s)
	k := int(math.Ceil(float64(len(s)+1) * level))
	return s[min(k, len(s))-1]
}
