package forecast

import (
	"errors"
	"fmt"
	"math"
)

var (
	// ErrTooShort: the method needs more points than the series has.
	ErrTooShort = errors.New("forecast: the series is too short")
	// ErrNotFinite: the series holds a NaN or an infinity.
	ErrNotFinite = errors.New("forecast: the series holds a value that is not finite")
	// errNotPositive: a multiplicative form was asked for a series that touches zero.
	errNotPositive = errors.New("forecast: the form needs a series above zero")
)

// Model is a way to extend a series. period is the length of a season, 12 for
// months; 1 means no season. Implementations: [Naive], [Drift], [SeasonalNaive],
// [SeasonalDrift], [ETS], [AutoETS], [Theta], [Combine].
type Model interface {
	Name() string
	MinLen(period int) int // fewest points that Fit accepts
	Fit(y []float64, period int) (Fitted, error)
}

// Fitted is a model with its parameters.
type Fitted interface {
	// Forecast gives the next h points, and for each the standard deviation that the
	// model claims for its error.
	Forecast(h int) (mean, sd []float64)
	// Describe tells the form and parameters, for people.
	Describe() string
}

func check(y []float64, minLen int, name string) error {
	if len(y) < minLen {
		return fmt.Errorf("%w: %s needs %d points, has %d", ErrTooShort, name, minLen, len(y))
	}
	for i, v := range y {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: point %d", ErrNotFinite, i)
		}
	}
	return nil
}

// fixed is a forecast rule that is cheap enough to be a closure.
type fixed struct {
	name string
	at   func(h int) (mean, sd float64) // h from 1
}

func (f fixed) Forecast(h int) (mean, sd []float64) {
	mean, sd = make([]float64, h), make([]float64, h)
	for i := range mean {
		mean[i], sd[i] = f.at(i + 1)
	}
	return mean, sd
}

func (f fixed) Describe() string { return f.name }

type naive struct{}

// Naive repeats the last value; the error grows with the square root of time.
func Naive() Model { return naive{} }

func (naive) Name() string   { return "naive" }
func (naive) MinLen(int) int { return 2 }
func (naive) Fit(y []float64, _ int) (Fitted, error) {
	if err := check(y, 2, "naive"); err != nil {
		return nil, err
	}
	last, sigma := y[len(y)-1], rms(lagged(y, 1), 0)
	return fixed{"naive", func(h int) (float64, float64) { return last, sigma * math.Sqrt(float64(h)) }}, nil
}

type drift struct{}

// Drift continues the straight line from the first point to the last.
func Drift() Model { return drift{} }

func (drift) Name() string   { return "drift" }
func (drift) MinLen(int) int { return 3 }
func (drift) Fit(y []float64, _ int) (Fitted, error) {
	if err := check(y, 3, "drift"); err != nil {
		return nil, err
	}
	n := len(y)
	last, slope := y[n-1], (y[n-1]-y[0])/float64(n-1)
	sigma := rms(lagged(y, 1), slope)
	return fixed{fmt.Sprintf("drift, slope %.4g", slope), func(h int) (float64, float64) {
		k := float64(h)
		return last + slope*k, sigma * math.Sqrt(k*(1+k/float64(n-1)))
	}}, nil
}

type seasonalNaive struct{ trend bool }

// SeasonalNaive repeats the last season. It is the yardstick of every back-test.
func SeasonalNaive() Model { return seasonalNaive{} }

// SeasonalDrift repeats the last season and adds the mean growth from one season
// to the next. It is the seasonal method for a series of one to three seasons.
func SeasonalDrift() Model { return seasonalNaive{trend: true} }

func (s seasonalNaive) Name() string {
	if s.trend {
		return "seasonal drift"
	}
	return "seasonal naive"
}

func (s seasonalNaive) MinLen(period int) int {
	if s.trend {
		return period + 2
	}
	return period + 1
}

func (s seasonalNaive) Fit(y []float64, period int) (Fitted, error) {
	if err := check(y, s.MinLen(period), s.Name()); err != nil {
		return nil, err
	}
	season := y[len(y)-period:]
	diffs := lagged(y, period)
	growth := 0.0
	if s.trend {
		growth = mean(diffs)
	}
	sigma := rms(diffs, growth)
	name := s.Name()
	if s.trend {
		name = fmt.Sprintf("seasonal drift, %.4g a season", growth)
	}
	return fixed{name, func(h int) (float64, float64) {
		turns := float64((h-1)/period + 1)
		return season[(h-1)%period] + growth*turns, sigma * math.Sqrt(turns)
	}}, nil
}

type combine struct{ models []Model }

// Combine averages the forecasts of several models, which beats most of its
// parts on most collections of series.
func Combine(models ...Model) Model { return combine{models} }

func (c combine) Name() string {
	name := "mean of "
	for i, m := range c.models {
		if i > 0 {
			name += " and "
		}
		name += m.Name()
	}
	return name
}

func (c combine) MinLen(period int) int {
	least := 1
	for _, m := range c.models {
		least = max(least, m.MinLen(period))
	}
	return least
}

type combined struct{ parts []Fitted }

func (c combine) Fit(y []float64, period int) (Fitted, error) {
	return c.fitWith(func(m Model) (Fitted, error) { return m.Fit(y, period) })
}

// fitWith lets a back-test reuse the parts that it has fitted already.
func (c combine) fitWith(fit func(Model) (Fitted, error)) (Fitted, error) {
	if len(c.models) == 0 {
		return nil, errors.New("forecast: combine needs models")
	}
	var f combined
	for _, m := range c.models {
		part, err := fit(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name(), err)
		}
		f.parts = append(f.parts, part)
	}
	return f, nil
}

func (c combined) Forecast(h int) (mean, sd []float64) {
	mean, sd = make([]float64, h), make([]float64, h)
	k := float64(len(c.parts))
	for _, p := range c.parts {
		m, s := p.Forecast(h)
		for i := range m {
			mean[i] += m[i] / k
			sd[i] += s[i] / k // as if the errors were perfectly correlated: never too narrow
		}
	}
	return mean, sd
}

func (c combined) Describe() string {
	s := "mean of "
	for i, p := range c.parts {
		if i > 0 {
			s += "; "
		}
		s += p.Describe()
	}
	return s
}

// lagged gives y[t] − y[t−lag].
func lagged(y []float64, lag int) []float64 {
	out := make([]float64, 0, len(y))
	for t := lag; t < len(y); t++ {
		out = append(out, y[t]-y[t-lag])
	}
	return out
}

func mean(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s / float64(len(v))
}

// rms is the root mean square of v around centre.
func rms(v []float64, centre float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := 0.0
	for _, x := range v {
		s += (x - centre) * (x - centre)
	}
	return math.Sqrt(s / float64(len(v)))
}
