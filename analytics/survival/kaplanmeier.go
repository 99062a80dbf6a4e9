package survival

import (
	"fmt"
	"math"
	"sort"
)

// Observation is one lifetime, in any unit of time as long as it is the same for
// all of them.
type Observation struct {
	Entry float64 // age when watching began; 0 when watched from the start
	Time  float64 // age when the event happened, or when watching ended
	Event bool    // true: the event (churn) happened at Time; false: censored
}

// Step is what happened at one age at which somebody left or was last seen.
type Step struct {
	Time      float64
	AtRisk    int     // lifetimes under watch just before Time
	Events    int     // that ended at Time
	Censored  int     // that were last seen at Time
	Survival  float64 // S(Time), after the events
	greenwood float64 // sum of d/(n(n-d)) up to Time
}

// Curve is a Kaplan–Meier estimate: a step function that changes at events only.
type Curve struct {
	N      int // lifetimes
	Events int // of which ended
	Steps  []Step
}

// Estimate is the curve at one age.
type Estimate struct {
	Time     float64
	Survival float64
	StdErr   float64 // Greenwood; 0 while nobody has left, and once nobody is left
	AtRisk   int     // under watch just before Time
}

// Transform is the scale on which a confidence interval is symmetric.
type Transform int

// The scales. Log is what most statistical software uses unless told otherwise.
const (
	Log    Transform = iota // log S; the upper bound is cut at 1
	LogLog                  // log(-log S); stays inside (0, 1) by itself
	Plain                   // S; cut at 0 and 1
)

// KaplanMeier is the product-limit estimate of Kaplan and Meier (1958):
// S(t) = Π (1 − dᵢ/nᵢ) over event times tᵢ ≤ t, where nᵢ counts the lifetimes
// with Entry < tᵢ ≤ Time. At equal times events come before censoring. A lifetime
// of zero that did not end adds to N and to no risk set.
func KaplanMeier(obs []Observation) (Curve, error) {
	if len(obs) == 0 {
		return Curve{}, fmt.Errorf("kaplan-meier: no observations")
	}
	exits := make([]Observation, len(obs))
	copy(exits, obs)
	entries := make([]float64, 0, len(obs))
	c := Curve{N: len(obs)}
	for i, o := range exits {
		switch {
		case math.IsNaN(o.Time) || math.IsInf(o.Time, 0) || o.Time < 0:
			return Curve{}, fmt.Errorf("kaplan-meier: observation %d: time is %v, want a finite number >= 0", i, o.Time)
		case math.IsNaN(o.Entry) || o.Entry < 0:
			return Curve{}, fmt.Errorf("kaplan-meier: observation %d: entry is %v, want >= 0", i, o.Entry)
		case o.Entry > 0 && o.Entry >= o.Time:
			return Curve{}, fmt.Errorf("kaplan-meier: observation %d: entered at %v, after it ended at %v", i, o.Entry, o.Time)
		}
		if o.Entry > 0 {
			entries = append(entries, o.Entry)
		}
		if o.Event {
			c.Events++
		}
	}
	sort.Slice(exits, func(i, j int) bool { return exits[i].Time < exits[j].Time })
	sort.Float64s(entries)

	s, green := 1.0, 0.0
	atRisk := len(exits) - len(entries) // entered at zero
	entered := 0
	for i := 0; i < len(exits); {
		t := exits[i].Time
		for entered < len(entries) && entries[entered] < t {
			atRisk++
			entered++
		}
		step := Step{Time: t, AtRisk: atRisk}
		for ; i < len(exits) && exits[i].Time == t; i++ {
			if exits[i].Event {
				step.Events++
			} else {
				step.Censored++
			}
		}
		if d, n := float64(step.Events), float64(step.AtRisk); d > 0 {
			s *= 1 - d/n
			if d < n {
				green += d / (n * (n - d))
			} else {
				s = 0 // exactly: 1-n/n
			}
		}
		step.Survival, step.greenwood = s, green
		c.Steps = append(c.Steps, step)
		atRisk -= step.Events + step.Censored
	}
	return c, nil
}

// At is the estimate at age t. Beyond the last step it holds the last value: ask
// AtRisk, which is then 0, before trusting it.
func (c Curve) At(t float64) Estimate {
	e := Estimate{Time: t, Survival: 1}
	i := sort.Search(len(c.Steps), func(i int) bool { return c.Steps[i].Time > t })
	if i > 0 {
		last := c.Steps[i-1]
		e.Survival = last.Survival
		e.StdErr = last.Survival * math.Sqrt(last.greenwood)
		if last.Time == t {
			e.AtRisk = last.AtRisk
			return e
		}
	}
	if i < len(c.Steps) {
		// Nothing left the risk set between t and the next step; with late entries
		// somebody may have joined it, so this is the count at the next step.
		e.AtRisk = c.Steps[i].AtRisk
	}
	return e
}

// Interval is the confidence interval of S(t) at a level such as 0.95, by
// Greenwood's formula on the scale tr. ok is false where the formula gives none:
// nobody has left yet, or nobody is left.
func (c Curve) Interval(t, level float64, tr Transform) (lo, hi float64, ok bool) {
	e := c.At(t)
	if level <= 0 || level >= 1 || e.StdErr == 0 || e.Survival <= 0 || e.Survival >= 1 {
		return e.Survival, e.Survival, false
	}
	z := math.Sqrt2 * math.Erfinv(level)
	rel := e.StdErr / e.Survival // standard error of log S
	switch tr {
	case Plain:
		lo, hi = e.Survival-z*e.StdErr, e.Survival+z*e.StdErr
	case LogLog:
		ls := math.Log(e.Survival)
		w := z * rel / math.Abs(ls)
		lo, hi = math.Exp(ls*math.Exp(w)), math.Exp(ls*math.Exp(-w))
	default:
		lo, hi = e.Survival*math.Exp(-z*rel), e.Survival*math.Exp(z*rel)
	}
	return math.Max(lo, 0), math.Min(hi, 1), true
}

// Quantile is the earliest age by which a share p has left: 0.5 gives the median
// lifetime. ok is false when the curve never comes down that far.
func (c Curve) Quantile(p float64) (t float64, ok bool) {
	for _, s := range c.Steps {
		if s.Events > 0 && s.Survival <= 1-p+1e-12 {
			return s.Time, true
		}
	}
	return 0, false
}

// Restricted is the mean lifetime up to the age limit: the area under the curve.
func (c Curve) Restricted(limit float64) float64 {
	area, at, s := 0.0, 0.0, 1.0
	for _, step := range c.Steps {
		if step.Time >= limit {
			break
		}
		area += s * (step.Time - at)
		at, s = step.Time, step.Survival
	}
	return area + s*(limit-at)
}
