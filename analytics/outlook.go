package analytics

import (
	"errors"
	"fmt"
	"math"

	"github.com/reevehq/reeve/analytics/forecast"
)

// Forecast is the MRR at the end of each of the next twelve months, as expected
// from the complete months behind, and how wrong the same method was in the past.
type Forecast struct {
	Origin   Month           `json:"origin"` // the last month it was made from
	Method   string          `json:"method"`
	Fit      string          `json:"fit"`
	Levels   []int           `json:"levels"` // percent
	Points   []ForecastPoint `json:"points"`
	Backtest Backtest        `json:"backtest"`
}

// ForecastPoint is one month ahead; Lo and Hi are parallel to Forecast.Levels.
// Amounts are minor units of the reporting currency.
type ForecastPoint struct {
	Month Month   `json:"month"`
	MRR   int64   `json:"mrr"`
	Lo    []int64 `json:"lo"`
	Hi    []int64 `json:"hi"`
}

// Backtest is what the methods would have said at months of the past.
type Backtest struct {
	Origins int             `json:"origins"` // months of the past that were forecast from
	Horizon int             `json:"horizon"` // most months ahead
	Pairs   int             `json:"pairs"`   // forecasts compared with what came
	Naive   string          `json:"naive"`   // the yardstick
	Scale   int64           `json:"scale"`   // minor units that make a MASE of 1
	Scores  []ForecastScore `json:"scores"`  // best first
}

// ForecastScore is how one method did.
type ForecastScore struct {
	Method   string  `json:"method"`
	Chosen   bool    `json:"chosen"`
	MASE     float64 `json:"mase"`     // mean absolute scaled error
	VsNaive  float64 `json:"vs_naive"` // below 1 is better than the yardstick
	Bias     float64 `json:"bias"`
	Coverage []int   `json:"coverage"` // percent of months that fell inside the band, by level
}

// Horizon is how many months ahead a forecast reaches.
const Horizon = 12

// NewForecast extends the closing MRR of the complete months by the method that did
// best in a back-test. It is nil while there are fewer than six.
func NewForecast(months []MonthRow) (*Forecast, error) {
	var y []float64
	var origin Month
	for _, m := range months {
		if m.Complete {
			y = append(y, float64(m.Closing))
			origin = m.Month
		}
	}
	if len(y) < 6 {
		return nil, nil
	}
	opts := &forecast.Options{Period: 12, Horizon: Horizon, NonNegative: true, Levels: []float64{0.80, 0.95}}
	if len(y) >= 24 { // two years show what a season does: every candidate has one then
		rolled := rollForwardModel{}
		opts.Models = []forecast.Model{forecast.SeasonalNaive(), forecast.SeasonalDrift(), rolled, forecast.Combine(rolled, forecast.Theta()),
			forecast.Combine(rolled, forecast.AutoETS()), forecast.Combine(rolled, forecast.AutoETS(), forecast.Theta())}
	}
	r, err := forecast.Auto(y, opts)
	if errors.Is(err, forecast.ErrTooShort) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := &Forecast{Origin: origin, Method: r.Method, Fit: r.Fit, Backtest: Backtest{Origins: r.Backtest.Origins, Horizon: r.Backtest.Horizon,
		Pairs: r.Backtest.Pairs, Naive: r.Backtest.Naive, Scale: whole(r.Backtest.Scale)}}
	for _, l := range r.Levels {
		f.Levels = append(f.Levels, int(math.Round(l*100)))
	}
	for _, p := range r.Points {
		out := ForecastPoint{Month: origin + Month(p.Step), MRR: whole(p.Mean)}
		for i := range p.Lo {
			out.Lo, out.Hi = append(out.Lo, whole(p.Lo[i])), append(out.Hi, whole(p.Hi[i]))
		}
		f.Points = append(f.Points, out)
	}
	for i, s := range r.Backtest.Scores {
		out := ForecastScore{Method: s.Method, Chosen: i == 0, MASE: round3(s.MASE), VsNaive: round3(s.VsNaive), Bias: round3(s.Bias)}
		for _, c := range s.Coverage {
			out.Coverage = append(out.Coverage, int(math.Round(c*100)))
		}
		f.Backtest.Scores = append(f.Backtest.Scores, out)
	}
	return f, nil
}

// rollForwardModel forecasts what changes MRR, which has a season (business is won in
// January and not in August), and rolls it forward from the last closing. MRR itself
// is a stock in which the season hardly shows, and its next month is known far better
// than its twelfth; this way the band says so.
type rollForwardModel struct{}

// Name implements forecast.Model.
func (rollForwardModel) Name() string { return "seasonal movements rolled forward" }

// MinLen implements forecast.Model: a change of every month of the year.
func (rollForwardModel) MinLen(period int) int { return period + 2 }

// Fit implements forecast.Model. The change expected of a month of the year is the
// mean of all changes, moved towards the mean of that month's own by n/(n+1), where n
// is how often that month was seen: one good January is mostly luck.
func (m rollForwardModel) Fit(y []float64, period int) (forecast.Fitted, error) {
	if len(y) < m.MinLen(period) {
		return nil, fmt.Errorf("%w: %s needs %d points, has %d", forecast.ErrTooShort, m.Name(), m.MinLen(period), len(y))
	}
	changes := len(y) - 1
	level := (y[changes] - y[0]) / float64(changes)
	f := rolledForward{last: y[changes], next: changes, season: make([]float64, period)}
	seen := make([]float64, period)
	for i := range changes {
		f.season[i%period] += y[i+1] - y[i] - level
		seen[i%period]++
	}
	for k := range f.season {
		f.season[k] = level + f.season[k]/(seen[k]+1) // sum/n × n/(n+1)
	}
	for i := range changes {
		e := y[i+1] - y[i] - f.season[i%period]
		f.sigma += e * e
	}
	f.sigma = math.Sqrt(f.sigma / float64(max(1, changes-2)))
	f.level = level
	return f, nil
}

// rolledForward is the model with its numbers.
type rolledForward struct {
	last, level, sigma float64
	next               int // index of the next change
	season             []float64
}

// Forecast implements forecast.Fitted.
func (f rolledForward) Forecast(h int) (mean, sd []float64) {
	at := f.last
	for i := range h {
		at += f.season[(f.next+i)%len(f.season)]
		mean, sd = append(mean, at), append(sd, f.sigma*math.Sqrt(float64(i+1)))
	}
	return mean, sd
}

// Describe implements forecast.Fitted.
func (f rolledForward) Describe() string {
	return fmt.Sprintf("monthly change of %.4g with its season", f.level)
}

// whole is an estimate in whole minor units.
func whole(v float64) int64 { return int64(math.Round(min(max(v, -1e15), 1e15))) }

func round3(v float64) float64 { return math.Round(v*1000) / 1000 }
