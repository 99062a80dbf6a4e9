package forecast

import (
	"math"
	"sort"
)

// Backtest is what the candidates would have forecast at points of the past, when
// only the points before were known, compared with what came.
type Backtest struct {
	Origins int     // points of the past that were forecast from
	First   int     // length of the shortest history used
	Horizon int     // most steps ahead
	Pairs   int     // forecasts compared with what came
	Scale   float64 // one unit of MASE: mean absolute change over a season (over a step, in a short series)
	Naive   string  // the yardstick: seasonal naive, or naive in a series shorter than a season
	Scores  []Score // best first; the first is the chosen one
}

// Score is how one candidate did.
type Score struct {
	Method   string
	MASE     float64   // mean absolute error in units of Scale (Hyndman and Koehler, 2006)
	VsNaive  float64   // MASE divided by the yardstick's; below 1 is better than it
	Bias     float64   // mean error in units of Scale; above 0 means forecasts too low
	Coverage []float64 // share inside the band of each level, each origin judged by a band calibrated on the others
}

// margin is how much better than a mean of models a single method must have done to
// be taken instead. A back-test of one to three seasons is a noisy judge, and a
// mean of models is the safer bet when it cannot tell them apart.
const margin = 0.9

// trial is one candidate's errors over all origins.
type trial struct {
	model  Model
	origin []int     // index of the origin of each pair
	err    []float64 // actual − forecast
	score  []float64 // |err| / claimed deviation
}

// quantile is the multiple of the claimed deviation that holds a share level of
// the errors, and never less than a normal distribution would need: a back-test
// may widen a band and not narrow it, since the errors of neighbouring origins
// are far from independent. without leaves out one origin; −1 leaves out none.
func (t trial) quantile(level float64, without int) float64 {
	scores := t.score
	if without >= 0 {
		scores = make([]float64, 0, len(t.score))
		for i, s := range t.score {
			if t.origin[i] != without {
				scores = append(scores, s)
			}
		}
	}
	return math.Max(conformalQuantile(scores, level), normalQuantile(level))
}

// origins gives the history lengths to forecast from.
func origins(n int, o Options) []int {
	first := max(3, n/2)
	switch {
	case n >= 3*o.Period && o.Period > 1:
		first = 2 * o.Period
	case n >= o.Period+4 && o.Period > 1:
		first = max(o.Period+2, min(2*o.Period, n-o.Period))
	}
	last := n - 1
	if full := n - o.Horizon; full-first+1 >= o.Origins {
		last = full // enough history: only origins that can be followed to the full horizon
	}
	first = max(first, last-o.Origins+1)
	var out []int
	for t := min(first, last); t <= last; t++ {
		out = append(out, t)
	}
	return out
}

// backtest runs every candidate that can be fitted at the first origin. There is
// always one: naive needs two points.
func backtest(y []float64, o Options) (Backtest, []trial) {
	at := origins(len(y), o)
	bt := Backtest{Origins: len(at), First: at[0], Horizon: min(o.Horizon, len(y)-at[0]), Naive: "naive"}
	diffs := lagged(y, 1)
	if o.Period > 1 && len(y) > o.Period+1 {
		diffs = lagged(y, o.Period)
		bt.Naive = SeasonalNaive().Name()
	}
	for _, d := range diffs {
		bt.Scale += math.Abs(d) / float64(len(diffs))
	}
	floor := bandFloor(y)
	fits := memo{}
	var trials []trial
	yardstick := -1.0
	for _, m := range withYardstick(o.Models, bt.Naive) {
		if m.MinLen(o.Period) > at[0] {
			continue
		}
		t, ok := try(m, y, at, o, floor, fits)
		if !ok {
			continue
		}
		s := Score{Method: m.Name(), MASE: bt.scaled(t.err, math.Abs), Bias: bt.scaled(t.err, func(e float64) float64 { return e })}
		for _, level := range o.Levels {
			s.Coverage = append(s.Coverage, coverage(t, level))
		}
		if s.Method == bt.Naive {
			yardstick = s.MASE
		}
		bt.Scores = append(bt.Scores, s)
		bt.Pairs = len(t.err)
		trials = append(trials, t)
	}
	order := make([]int, len(trials))
	for i := range order {
		order[i] = i
	}
	rank := func(k int) float64 {
		if _, ok := trials[k].model.(combine); ok {
			return bt.Scores[k].MASE * margin
		}
		return bt.Scores[k].MASE
	}
	sort.SliceStable(order, func(a, b int) bool { return rank(order[a]) < rank(order[b]) })
	scores, runs := make([]Score, len(order)), make([]trial, len(order))
	for i, k := range order {
		scores[i], runs[i] = bt.Scores[k], trials[k]
		switch {
		case yardstick > 0:
			scores[i].VsNaive = scores[i].MASE / yardstick
		case scores[i].MASE == 0:
			scores[i].VsNaive = 1 // both without error
		}
	}
	bt.Scores = scores
	return bt, runs
}

// withYardstick makes sure that the method the others are measured against takes
// part, and that there is one which any history can be fitted with.
func withYardstick(models []Model, yardstick string) []Model {
	has := map[string]bool{}
	for _, m := range models {
		has[m.Name()] = true
	}
	out := append([]Model(nil), models...)
	if yardstick == SeasonalNaive().Name() && !has[yardstick] {
		out = append(out, SeasonalNaive())
	}
	if !has[Naive().Name()] {
		out = append(out, Naive())
	}
	return out
}

// memo holds what was fitted at each origin, so that a mean of models costs no
// second fit of its parts.
type memo map[memoKey]Fitted

type memoKey struct {
	model string
	n     int
}

func (c memo) fit(m Model, y []float64, period int) (Fitted, error) {
	key := memoKey{m.Name(), len(y)}
	if f, ok := c[key]; ok {
		return f, nil
	}
	var f Fitted
	var err error
	if mean, ok := m.(combine); ok {
		f, err = mean.fitWith(func(part Model) (Fitted, error) { return c.fit(part, y, period) })
	} else {
		f, err = m.Fit(y, period)
	}
	if err == nil {
		c[key] = f
	}
	return f, err
}

func try(m Model, y []float64, at []int, o Options, floor float64, fits memo) (trial, bool) {
	t := trial{model: m}
	for i, n := range at {
		f, err := fits.fit(m, y[:n], o.Period)
		if err != nil {
			return trial{}, false
		}
		means, sds := f.Forecast(min(o.Horizon, len(y)-n))
		for h, mean := range means {
			if o.NonNegative {
				mean = math.Max(0, mean)
			}
			e := y[n+h] - mean
			if math.IsNaN(e) || math.IsInf(e, 0) {
				return trial{}, false
			}
			t.origin = append(t.origin, i)
			t.err = append(t.err, e)
			t.score = append(t.score, math.Abs(e)/math.Max(sds[h], floor))
		}
	}
	return t, true
}

func (b Backtest) scaled(errs []float64, f func(float64) float64) float64 {
	if len(errs) == 0 {
		return 0
	}
	sum := 0.0
	for _, e := range errs {
		sum += f(e)
	}
	scale := b.Scale
	if scale == 0 {
		scale = 1 // a constant season: errors in the series' own unit
	}
	return sum / float64(len(errs)) / scale
}

func coverage(t trial, level float64) float64 {
	inside := 0
	q, last := 0.0, -1
	for i, s := range t.score {
		if t.origin[i] != last {
			last = t.origin[i]
			q = t.quantile(level, last)
		}
		if s <= q {
			inside++
		}
	}
	return float64(inside) / float64(max(1, len(t.score)))
}
