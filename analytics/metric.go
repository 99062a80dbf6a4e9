package analytics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reevehq/reeve/analytics/survival"
	"github.com/reevehq/reeve/governance"
)

// Figures is one published generation. What is read through one Figures belongs
// together, whatever is published meanwhile.
type Figures struct {
	Refresh
	s      *Service
	months []MonthRow
}

// Figures gives the generation that is published now. It is
// [governance.ErrNotFound] before the first one.
func (s *Service) Figures(ctx context.Context) (*Figures, error) {
	r, err := s.published(ctx)
	if err != nil {
		return nil, fmt.Errorf("published figures: %w", err)
	}
	f := &Figures{Refresh: r, s: s}
	if f.months, err = s.w.Months(ctx, r.Generation); err != nil {
		return nil, err
	}
	return f, nil
}

// Months is the roll-forward by month, without a gap, the oldest first.
func (f *Figures) Months() []MonthRow { return f.months }

// Month is one month; ok is false outside the history.
func (f *Figures) Month(m Month) (MonthRow, bool) {
	if len(f.months) == 0 || m < f.months[0].Month || m > f.months[len(f.months)-1].Month {
		return MonthRow{}, false
	}
	return f.months[m-f.months[0].Month], true
}

// Days is the roll-forward by day.
func (f *Figures) Days(ctx context.Context, from, to Day) ([]DayRow, error) {
	to = min(to, f.Through)
	if to-from > 800 {
		return nil, governance.Invalid("from", "at most 800 days are given at once")
	}
	return f.s.w.Days(ctx, f.Generation, from, to)
}

// Movements lists movements by keyset pages.
func (f *Figures) Movements(ctx context.Context, q MovementFilter) ([]Movement, error) {
	return f.s.w.Movements(ctx, f.Generation, q)
}

// TenantMonths is the roll-forward of one tenant from its first month on, with its
// movements. It is empty for a tenant that never had any.
func (f *Figures) TenantMonths(ctx context.Context, tenant governance.TenantID) ([]MonthRow, []Movement, error) {
	ms, err := f.s.w.Movements(ctx, f.Generation, MovementFilter{Tenant: tenant, To: f.Through})
	if err != nil || len(ms) == 0 {
		return nil, nil, err
	}
	slices.SortStableFunc(ms, func(a, b Movement) int { return cmp.Compare(a.Day, b.Day) })
	var out []MonthRow
	closing := int64(0)
	rest := ms
	for m := ms[0].Day.Month(); m <= f.Through.Month(); m++ {
		r := MonthRow{Month: m, Complete: m.Last() <= f.Through, RollForward: RollForward{Opening: closing, Closing: closing}}
		for len(rest) > 0 && rest[0].Day.Month() == m {
			r.Add(rest[0].Line, rest[0].Delta)
			rest = rest[1:]
		}
		closing = r.Closing
		out = append(out, r)
	}
	return out, ms, nil
}

// Cohorts are the cohorts of a basis, by currency, cohort and age.
func (f *Figures) Cohorts(ctx context.Context, b Basis) ([]CohortRow, error) {
	return f.s.w.Cohorts(ctx, f.Generation, b)
}

// Revenue is what was billed, paid and sold, by month, kind and currency.
func (f *Figures) Revenue(ctx context.Context) ([]RevenueRow, error) {
	return f.s.w.Revenue(ctx, f.Generation)
}

// Usage is a tenant's usage by metric and month.
func (f *Figures) Usage(ctx context.Context, tenant governance.TenantID) ([]UsageRow, error) {
	return f.s.w.Usage(ctx, f.Generation, tenant)
}

// Forecast is the forecast, or nil while the history is too short.
func (f *Figures) Forecast(ctx context.Context) (*Forecast, error) {
	return f.s.w.Forecast(ctx, f.Generation)
}

// Summary is the figures of the front page.
type Summary struct {
	Through      Day              `json:"data_through"`
	AsOf         time.Time        `json:"as_of"`
	Generation   int64            `json:"generation"`
	MRR          governance.Money `json:"mrr"` // at the end of the day Through
	ARR          governance.Money `json:"arr"`
	ARPA         governance.Money `json:"arpa"`
	Logos        int              `json:"logos"`
	Month        Month            `json:"month"` // the last complete month, for what follows
	NRR          *int64           `json:"nrr"`   // hundredths of a percent; nil in the first year
	GRR          *int64           `json:"grr"`
	LogoKept     *int64           `json:"logo_retention"`
	QuickRatio   *int64           `json:"quick_ratio"` // hundredths; nil when nothing was lost
	Change       governance.Money `json:"change"`      // of MRR in that month
	PreviousMRR  governance.Money `json:"previous_mrr"`
	Restatements int              `json:"restatements"`
}

// Summary gives the figures of the front page.
func (f *Figures) Summary() Summary {
	money := f.money
	s := Summary{Through: f.Through, AsOf: f.AsOf, Generation: f.Generation, MRR: money(0), ARR: money(0), ARPA: money(0), Change: money(0),
		PreviousMRR: money(0), Restatements: len(f.Restatements)}
	if len(f.months) == 0 {
		return s
	}
	last := f.months[len(f.months)-1]
	s.MRR, s.ARR, s.Logos = money(last.Closing), money(12*last.Closing), last.Logos.Closing
	if s.Logos > 0 {
		s.ARPA = money(last.Closing / int64(s.Logos))
	}
	for i := len(f.months) - 1; i >= 0; i-- {
		m := f.months[i]
		if !m.Complete {
			continue
		}
		s.Month, s.Change, s.PreviousMRR = m.Month, money(m.Closing-m.Opening), money(m.Opening)
		if v, ok := m.Retention.NRR(); ok {
			s.NRR = &v
		}
		if v, ok := m.Retention.GRR(); ok {
			s.GRR = &v
		}
		if r := m.Retention; r != nil && r.Logos > 0 {
			v := int64(r.Stayed) * 10_000 / int64(r.Logos)
			s.LogoKept = &v
		}
		if lost := -(m.Churn + m.Contraction); lost > 0 {
			v := (m.New + m.Expansion + m.Reactivation) * 100 / lost
			s.QuickRatio = &v
		}
		break
	}
	return s
}

// money is an amount in the currency that the generation was made in.
func (f *Figures) money(minor int64) governance.Money {
	return governance.Money{Minor: minor, Currency: f.Reporting}
}

// Survival is how long subscriptions live, in months.
type Survival struct {
	Subscriptions int             `json:"subscriptions"`
	Ended         int             `json:"ended"`
	Median        *float64        `json:"median_months"` // nil: more than half still live
	Points        []SurvivalPoint `json:"points"`
}

// SurvivalPoint is the share of subscriptions that live longer than a number of
// months, with its 95 % interval.
type SurvivalPoint struct {
	Months   int     `json:"months"`
	Survival float64 `json:"survival"`
	StdErr   float64 `json:"std_err"`
	Lo       float64 `json:"lo"`
	Hi       float64 `json:"hi"`
	AtRisk   int     `json:"at_risk"`
}

// Survival estimates by Kaplan and Meier how long a subscription is paid for: from
// its first paid day to the first day on which it no longer is. One that still is
// counts with the time it was seen, and a return starts no second life. plan limits
// it to subscriptions that began on that plan.
func (f *Figures) Survival(ctx context.Context, plan string) (*Survival, error) {
	segments, err := f.s.w.Segments(ctx, f.Generation, SegmentFilter{})
	if err != nil {
		return nil, err
	}
	obs := lifetimes(segments, f.Through, plan)
	if len(obs) == 0 {
		return &Survival{Points: []SurvivalPoint{}}, nil
	}
	curve, err := survival.KaplanMeier(obs)
	if err != nil {
		return nil, fmt.Errorf("survival: %w", err)
	}
	out := &Survival{Subscriptions: curve.N, Ended: curve.Events, Points: []SurvivalPoint{}}
	if m, ok := curve.Quantile(0.5); ok {
		out.Median = &m
	}
	last := curve.Steps[len(curve.Steps)-1].Time
	for m := 0; float64(m) <= last; m++ {
		e := curve.At(float64(m))
		lo, hi, _ := curve.Interval(float64(m), 0.95, survival.Log)
		out.Points = append(out.Points, SurvivalPoint{m, e.Survival, e.StdErr, lo, hi, e.AtRisk})
	}
	return out, nil
}

func lifetimes(segments []Segment, through Day, plan string) []survival.Observation {
	var out []survival.Observation
	for _, a := range accounts(segments) {
		for _, t := range a.tracks {
			i := 0
			for i < len(t.segments) && t.segments[i].MRR.Minor == 0 {
				i++
			}
			if i == len(t.segments) || (plan != "" && t.segments[i].Plan != plan) {
				continue // never paid for
			}
			began := t.segments[i].From
			for i < len(t.segments) && t.segments[i].MRR.Minor > 0 {
				i++
			}
			o := survival.Observation{Time: age(began, max(began, through))}
			if i < len(t.segments) {
				o = survival.Observation{Time: age(began, t.segments[i].From), Event: true}
			}
			out = append(out, o)
		}
	}
	return out
}

// AsOf gives the months as they would have been published at an instant of the
// past, from the facts known then; nothing is stored. It is how a figure that was
// shown once can be shown again.
func (s *Service) AsOf(ctx context.Context, at time.Time) (months []MonthRow, through Day, err error) {
	if at.After(s.k.Now()) {
		return nil, 0, governance.Invalid("as_of", "lies in the future")
	}
	in, err := s.read(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	m, err := Build(s.opts.Reporting, in.through, in.subscriptions, in.rates)
	if err != nil {
		return nil, 0, err
	}
	if len(m.missing) > 0 {
		return nil, 0, fmt.Errorf("a rate of %s was not known then: %w", m.missing[0].Currency, governance.ErrNotFound)
	}
	return m.Months, in.through, nil
}

// Definition says what a figure means.
type Definition struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

// Definitions are the definitions of every figure, in the order they are shown.
func Definitions() []Definition {
	return []Definition{
		{"mrr", "MRR", "Monthly recurring revenue: what all subscriptions pay for a month, at the end of the day named by “data through”. Trials and subscriptions at no price add nothing; usage charges, single sales and taxes are no part of it."},
		{"arr", "ARR", "Annual recurring revenue: 12 × MRR."},
		{"logos", "Customers", "Tenants that pay for at least one subscription."},
		{"arpa", "ARPA", "Average revenue per account: MRR divided by customers, both at the end of the day named, rounded down to a minor unit."},
		{"new", "New", "MRR of tenants that never paid before, on the day they begin to. Two subscriptions begun on one day are one new customer."},
		{"expansion", "Expansion", "A paying tenant pays more: more seats, a higher plan, another subscription, a higher price. All changes of a tenant on one day count as one; a move between two subscriptions that changes nothing stands here with zero."},
		{"contraction", "Contraction", "A paying tenant pays less, and still pays. Ending one of two subscriptions is contraction."},
		{"churn", "Churn", "A paying tenant stops to pay, on the day the cancellation takes effect. A tenant that begins and stops within one month counts in both."},
		{"reactivation", "Reactivation", "A tenant that had stopped pays again."},
		{"fx", "Currency", "What the rates of the new month do to the MRR that the month opens with. All other movements are valued at the rates of their own month: the last rate known on its first day, or else the first rate in it."},
		{"nrr", "NRR", "Net revenue retention: of the tenants that paid twelve months ago, what they pay now divided by what they paid then, both at today's monthly rates. New tenants are no part of it; a tenant that stopped in between counts as lost even if it came back. Rounded down."},
		{"grr", "GRR", "Gross revenue retention: as NRR, but of each tenant no more counts now than then. It is never above 100 %."},
		{"logo_retention", "Logo retention", "Of the tenants that paid twelve months ago, the share that never stopped since."},
		{"quick_ratio", "Quick ratio", "New, expansion and reactivation divided by churn and contraction, in the last complete month."},
		{"cohort", "Cohorts", "Tenants by the month in which they first paid. Logos: how many pay at the end of a later month. Net revenue: what they pay then, at the rates of their first month, against what they paid on their first day."},
		{"forecast", "Forecast", "The MRR at the end of the next twelve months, by the method that erred least when it had to forecast past months from the months before them. The band is as wide as those errors demand."},
		{"survival", "Survival", "The share of subscriptions still paid for after a number of months (Kaplan–Meier); those that still run count with the time they were seen."},
		{"data_through", "Data through", "The last day that is over and that every source has told in full: by its own watermark, or else the day of its latest fact."},
	}
}
