package forecast

import (
	"errors"
	"fmt"
	"math"
)

// Trend is the trend component of an [ETS] form.
type Trend int

// The trends.
const (
	NoTrend Trend = iota
	Additive
	Damped
)

// Season is the seasonal component of an [ETS] form.
type Season int

// The seasons. A multiplicative season comes with a multiplicative error and
// needs a series above zero.
const (
	NoSeason Season = iota
	AdditiveSeason
	MultiplicativeSeason
)

// ETS is exponential smoothing in the innovations state-space form of Hyndman,
// Koehler, Ord and Snyder (2008). {NoTrend, NoSeason} is simple smoothing,
// {Additive, NoSeason} Holt's method, {Additive, AdditiveSeason} and {Additive,
// MultiplicativeSeason} the two methods of Holt and Winters; Damped flattens the
// trend. Smoothing parameters, level and slope are fitted by maximum likelihood,
// seasonal indices start from a classical decomposition.
type ETS struct {
	Trend  Trend
	Season Season
}

// Name is the usual abbreviation, such as "ETS(A,Ad,A)".
func (m ETS) Name() string {
	e := "A"
	if m.Season == MultiplicativeSeason {
		e = "M"
	}
	return fmt.Sprintf("ETS(%s,%s,%s)", e, [...]string{"N", "A", "Ad"}[m.Trend], [...]string{"N", "A", "M"}[m.Season])
}

// MinLen is two seasons for a seasonal form, else five points for a trend and
// three without.
func (m ETS) MinLen(period int) int {
	n := 3
	if m.Trend != NoTrend {
		n = 5
	}
	if m.Season != NoSeason {
		n = max(n, 2*period)
	}
	return n
}

type fittedETS struct {
	form                    ETS
	period                  int
	alpha, beta, gamma, phi float64
	level, slope            float64
	season                  []float64 // season[i] is the index of the next point with position i (mod period)
	n                       int
	sigma                   float64 // of the error; relative for a multiplicative form
	aicc                    float64
}

// Fit estimates the form on y.
func (m ETS) Fit(y []float64, period int) (Fitted, error) { return m.fit(y, period) }

func (m ETS) fit(y []float64, period int) (*fittedETS, error) {
	if err := check(y, m.MinLen(period), m.Name()); err != nil {
		return nil, err
	}
	if m.Season != NoSeason && period < 2 {
		return nil, errors.New("forecast: a seasonal form needs a period above 1")
	}
	mult := m.Season == MultiplicativeSeason
	if mult && !allPositive(y) {
		return nil, errNotPositive
	}
	run := newETSRun(m, y, period)
	best := minimise(run.objective, run.start(), 90*len(run.start()))
	run.decode(best)
	sse, logs, ok := run.pass(true)
	if !ok {
		return nil, fmt.Errorf("forecast: %s does not converge", m.Name())
	}
	f := run.f
	n, k := float64(len(y)), float64(run.params())
	f.sigma = math.Sqrt(sse / math.Max(1, n-k+1))
	f.aicc = math.Inf(1)
	if n-k-1 > 0 {
		lik := n*math.Log(math.Max(sse, 1e-300)) + 2*logs
		f.aicc = lik + 2*k + 2*k*(k+1)/(n-k-1)
	}
	return &f, nil
}

// etsRun is one estimation: it is reused for every point the search tries.
type etsRun struct {
	f          fittedETS
	y          []float64
	season0    []float64
	level0     float64
	slope0     float64
	scale      float64
	seasonWork []float64
}

func newETSRun(form ETS, y []float64, period int) *etsRun {
	r := &etsRun{y: y, f: fittedETS{form: form, period: period, n: len(y), phi: 1}}
	head := y
	if form.Season != NoSeason {
		mult := form.Season == MultiplicativeSeason
		r.season0 = seasonalIndices(y, period, mult)
		r.seasonWork = make([]float64, period)
		head = make([]float64, len(y))
		for t, v := range y {
			if mult {
				head[t] = v / r.season0[t%period]
			} else {
				head[t] = v - r.season0[t%period]
			}
		}
	}
	head = head[:min(len(head), max(10, 2*period))]
	r.level0, r.slope0 = line(head)
	if form.Trend == NoTrend {
		r.level0, r.slope0 = mean(head), 0
	}
	r.scale = rms(lagged(y, 1), 0) + 1e-9*math.Abs(r.level0) + 1e-12
	return r
}

// params counts what AICc charges for: smoothing parameters, initial states, the
// variance. A season has one index less than positions, since they are normalised.
func (r *etsRun) params() int {
	k := 3
	switch r.f.form.Trend {
	case Additive:
		k += 2
	case Damped:
		k += 3
	}
	if r.f.form.Season != NoSeason {
		k += r.f.period
	}
	return k
}

func (r *etsRun) start() []float64 {
	x := []float64{logit(0.3), 0} // alpha, level
	if r.f.form.Trend != NoTrend {
		x = append(x, logit(0.1), 0) // beta/alpha, slope
	}
	if r.f.form.Trend == Damped {
		x = append(x, logit(0.8)) // phi between .8 and .98
	}
	if r.f.form.Season != NoSeason {
		x = append(x, logit(0.1)) // gamma/(1-alpha)
	}
	return x
}

// decode maps any real vector onto allowed parameters, so that the search needs
// no constraints: 0 < alpha < 1, 0 < beta < alpha, 0 < gamma < 1-alpha.
func (r *etsRun) decode(x []float64) {
	f := &r.f
	f.alpha = 0.0001 + 0.9998*sigmoid(x[0])
	f.level = r.level0 + r.scale*x[1]
	f.beta, f.slope, f.gamma, f.phi = 0, 0, 0, 1
	x = x[2:]
	if f.form.Trend != NoTrend {
		f.beta = f.alpha * (0.0001 + 0.9998*sigmoid(x[0]))
		f.slope = r.slope0 + 0.2*r.scale*x[1]
		x = x[2:]
	}
	if f.form.Trend == Damped {
		f.phi = 0.8 + 0.18*sigmoid(x[0])
		x = x[1:]
	}
	if f.form.Season != NoSeason {
		f.gamma = (1 - f.alpha) * (0.0001 + 0.9998*sigmoid(x[0]))
	}
}

func (r *etsRun) objective(x []float64) float64 {
	r.decode(x)
	sse, logs, ok := r.pass(false)
	if !ok {
		return math.Inf(1)
	}
	n := float64(len(r.y))
	return n*math.Log(math.Max(sse, 1e-300)) + 2*logs
}

// pass runs the recursion over the series: the sum of squared errors, and for a
// multiplicative error the sum of the logarithms of the one-step means, which its
// likelihood needs. keep stores the final state in r.f.
func (r *etsRun) pass(keep bool) (sse, logs float64, ok bool) {
	f := &r.f
	l, b := f.level, f.slope
	if f.form.Season != NoSeason {
		copy(r.seasonWork, r.season0)
	}
	s, at := r.seasonWork, 0
	for _, v := range r.y {
		base := l + f.phi*b
		var e float64
		switch f.form.Season {
		case MultiplicativeSeason:
			mu := base * s[at]
			if mu <= 0 {
				return 0, 0, false
			}
			e = (v - mu) / mu
			logs += math.Log(mu)
			l = base * (1 + f.alpha*e)
			b = f.phi*b + f.beta*base*e
			s[at] *= 1 + f.gamma*e
			if l <= 0 || s[at] <= 0 {
				return 0, 0, false
			}
		case AdditiveSeason:
			e = v - base - s[at]
			l = base + f.alpha*e
			b = f.phi*b + f.beta*e
			s[at] += f.gamma * e
		default:
			e = v - base
			l = base + f.alpha*e
			b = f.phi*b + f.beta*e
		}
		sse += e * e
		if at++; at == f.period {
			at = 0
		}
	}
	if math.IsNaN(sse) || math.IsInf(sse, 0) {
		return 0, 0, false
	}
	if keep {
		f.level, f.slope = l, b
		f.season = append([]float64(nil), s...)
	}
	return sse, logs, true
}

// Forecast gives means by the recursion without errors. The deviation is exact for
// the additive forms (class 1) and the same growth in relative terms for the
// multiplicative ones.
func (f *fittedETS) Forecast(h int) (mean, sd []float64) {
	mean, sd = make([]float64, h), make([]float64, h)
	damp, phi := 0.0, 1.0
	grown := 1.0 // 1 + sum of c_j²
	for i := range mean {
		phi *= f.phi
		damp += phi
		m := f.level + damp*f.slope
		at := (f.n + i) % max(1, f.period)
		scale := f.sigma * math.Sqrt(grown)
		switch f.form.Season {
		case MultiplicativeSeason:
			m *= f.season[at]
			scale *= math.Abs(m)
		case AdditiveSeason:
			m += f.season[at]
		}
		mean[i], sd[i] = m, scale
		c := f.alpha + f.beta*damp
		if f.form.Season != NoSeason && (i+1)%f.period == 0 {
			c += f.gamma
		}
		grown += c * c
	}
	return mean, sd
}

func (f *fittedETS) Describe() string {
	s := fmt.Sprintf("%s, α %.3f", f.form.Name(), f.alpha)
	if f.form.Trend != NoTrend {
		s += fmt.Sprintf(", β %.3f", f.beta)
	}
	if f.form.Season != NoSeason {
		s += fmt.Sprintf(", γ %.3f", f.gamma)
	}
	if f.form.Trend == Damped {
		s += fmt.Sprintf(", φ %.3f", f.phi)
	}
	return s
}

type autoETS struct{}

// AutoETS fits the admissible forms of [ETS] and keeps the one with the lowest
// corrected Akaike criterion. Seasonal forms are tried from two seasons on,
// multiplicative ones on series above zero.
func AutoETS() Model { return autoETS{} }

func (autoETS) Name() string   { return "ETS" }
func (autoETS) MinLen(int) int { return 5 }

func (autoETS) Fit(y []float64, period int) (Fitted, error) {
	if err := check(y, 5, "ETS"); err != nil {
		return nil, err
	}
	var best *fittedETS
	for _, season := range []Season{NoSeason, AdditiveSeason, MultiplicativeSeason} {
		for _, trend := range []Trend{NoTrend, Additive, Damped} {
			form := ETS{trend, season}
			if len(y) < form.MinLen(period) || (season != NoSeason && period < 2) {
				continue
			}
			f, err := form.fit(y, period)
			if err != nil {
				continue // not positive, or no finite likelihood: another form will do
			}
			if best == nil || f.aicc < best.aicc {
				best = f
			}
		}
	}
	if best == nil {
		return nil, fmt.Errorf("forecast: no form of ETS fits %d points", len(y))
	}
	return best, nil
}
