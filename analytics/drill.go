package analytics

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Metric names a number that can be walked down.
type Metric string

// The metrics beside the lines of the roll-forward, which are metrics too.
const (
	MetricNRRStart Metric = "nrr_start" // what the tenants of a retention paid a year before
	MetricNRRNow   Metric = "nrr_now"   // what they pay now
	MetricGRRKept  Metric = "grr_kept"  // of it, no more than before
	MetricCohort   Metric = "cohort"    // the MRR of a cohort at an age
)

// Cell is one number: a metric of a month, or of a cohort at an age.
type Cell struct {
	Metric Metric              `json:"metric"`
	Month  Month               `json:"month"`            // of cohorts: the month the cohort began
	Age    int                 `json:"age,omitempty"`    // of cohorts
	Day    *Day                `json:"day,omitempty"`    // of a line: this day alone
	Tenant governance.TenantID `json:"tenant,omitempty"` // its part alone
}

// Drill is a number with the rows that add up to it.
type Drill struct {
	Cell    Cell             `json:"cell"`
	Number  governance.Money `json:"number"`
	Tenants []TenantAmount   `json:"tenants"` // its parts, when Cell names no tenant
	Rows    []DrillRow       `json:"rows"`    // the changes or subscriptions behind it, when Cell names one
}

// DrillRow is a movement, or a subscription as it stood, with its facts.
type DrillRow struct {
	Subscription string            `json:"subscription"`
	Amount       governance.Money  `json:"amount"` // in the reporting currency
	Day          Day               `json:"day"`    // of the movement, or the day the subscription is looked at
	Line         Line              `json:"line,omitempty"`
	Before       *governance.Money `json:"before,omitempty"` // native MRR
	After        governance.Money  `json:"after"`
	RateBefore   int64             `json:"rate_before,string,omitempty"`
	Rate         int64             `json:"rate,string,omitempty"` // millionths; 0 when the currency is the reporting one
	Plan         string            `json:"plan,omitempty"`
	Quantity     int64             `json:"quantity"`
	Facts        []uuid.UUID       `json:"facts"`
}

// Drill walks a number down: to its tenants, and for one tenant to the movements or
// subscriptions and the facts behind them. The parts always add up to the number.
func (f *Figures) Drill(ctx context.Context, c Cell) (*Drill, error) {
	d := &Drill{Cell: c, Number: f.money(0), Tenants: []TenantAmount{}, Rows: []DrillRow{}}
	if c.Metric != MetricCohort {
		if _, ok := f.Month(c.Month); !ok {
			return nil, fmt.Errorf("month %s has no figures: %w", c.Month, governance.ErrNotFound)
		}
	}
	var err error
	switch {
	case slices.Contains(MovementLines(), Line(c.Metric)):
		err = f.drillLine(ctx, d)
	case c.Metric == Metric(LineClosing):
		err = f.drillPosition(ctx, d, min(c.Month.Last(), f.Through), c.Month, 0)
	case c.Metric == Metric(LineOpening):
		// What a month opens with is valued at the rates of the month before: it is that
		// month's closing.
		err = f.drillPosition(ctx, d, c.Month.First()-1, c.Month-1, 0)
	case c.Metric == MetricCohort:
		if c.Age < 0 || (c.Month+Month(c.Age)).Last() > f.Through {
			return nil, fmt.Errorf("cohort %s has no age of %d months yet: %w", c.Month, c.Age, governance.ErrNotFound)
		}
		err = f.drillPosition(ctx, d, (c.Month + Month(c.Age)).Last(), c.Month, c.Month)
	case c.Metric == MetricNRRStart || c.Metric == MetricNRRNow || c.Metric == MetricGRRKept:
		err = f.drillRetention(ctx, d)
	default:
		return nil, governance.Invalid("metric", "is not one of opening, new, expansion, contraction, churn, reactivation, fx, closing, nrr_start, nrr_now, grr_kept, cohort")
	}
	// By bytes, whatever the collation of the engine: pages are found by it.
	slices.SortFunc(d.Tenants, func(a, b TenantAmount) int { return strings.Compare(string(a.Tenant), string(b.Tenant)) })
	return d, err
}

func (f *Figures) drillLine(ctx context.Context, d *Drill) error {
	c := d.Cell
	mf := MovementFilter{Tenant: c.Tenant, Line: Line(c.Metric), From: c.Month.First(), To: min(c.Month.Last(), f.Through)}
	if c.Day != nil {
		mf.From, mf.To = *c.Day, *c.Day
	}
	if c.Tenant == "" {
		var err error
		if d.Tenants, err = f.s.w.MovementsByTenant(ctx, f.Generation, mf); err != nil {
			return err
		}
		for _, t := range d.Tenants {
			d.Number.Minor += t.Amount
		}
		return nil
	}
	ms, err := f.s.w.Movements(ctx, f.Generation, mf)
	if err != nil {
		return err
	}
	segments, err := f.s.w.Segments(ctx, f.Generation, SegmentFilter{Tenant: c.Tenant})
	if err != nil {
		return err
	}
	for _, a := range accounts(segments) {
		for _, m := range ms {
			for _, t := range a.tracks {
				if t.subscription != m.Subscription {
					continue
				}
				d.Rows = append(d.Rows, f.movementRow(m, t))
				d.Number.Minor += m.Delta
			}
		}
	}
	return nil
}

func (f *Figures) movementRow(m Movement, t track) DrillRow {
	day := m.Day
	if m.Line == LineFX {
		day-- // what was there when the month began
	}
	s, _ := t.at(day)
	before := m.Before
	return DrillRow{Subscription: m.Subscription, Amount: f.money(m.Delta), Day: m.Day, Line: m.Line, Before: &before, After: m.After,
		RateBefore: f.rate(m.Before, m.RateBefore), Rate: f.rate(m.After, m.RateAfter), Plan: s.Plan, Quantity: s.Quantity, Facts: s.Facts}
}

// rate leaves out the rate of the reporting currency to itself.
func (f *Figures) rate(m governance.Money, micro int64) int64 {
	if m.Currency == f.Reporting {
		return 0
	}
	return micro
}

// position is the subscriptions paid for at the end of a day, at a month's rates.
func (f *Figures) drillPosition(ctx context.Context, d *Drill, on Day, rateMonth, cohort Month) error {
	used, err := f.s.w.Rates(ctx, f.Generation)
	if err != nil {
		return err
	}
	rates := ratesOf(f.Reporting, used)
	segments, err := f.s.w.Segments(ctx, f.Generation, SegmentFilter{Tenant: d.Cell.Tenant, On: &on, Cohort: cohort, Paid: true})
	if err != nil {
		return err
	}
	for _, s := range segments {
		v, rate, err := rates.valued(s.MRR, rateMonth)
		if err != nil {
			return err
		}
		d.Number.Minor += v
		if d.Cell.Tenant != "" {
			d.Rows = append(d.Rows, DrillRow{Subscription: s.Subscription, Amount: f.money(v), Day: on, After: s.MRR, Rate: f.rate(s.MRR, rate), Plan: s.Plan,
				Quantity: s.Quantity, Facts: s.Facts})
			continue
		}
		if n := len(d.Tenants); n == 0 || d.Tenants[n-1].Tenant != s.Tenant {
			d.Tenants = append(d.Tenants, TenantAmount{Tenant: s.Tenant})
		}
		t := &d.Tenants[len(d.Tenants)-1]
		t.Amount += v
		t.Rows++
	}
	return nil
}

// RetentionTenants is the tenants behind the NRR and GRR of a month.
func (f *Figures) RetentionTenants(ctx context.Context, m Month) ([]TenantRetention, error) {
	row, ok := f.Month(m)
	if !ok || row.Retention == nil {
		return nil, fmt.Errorf("month %s has no retention: %w", m, governance.ErrNotFound)
	}
	used, err := f.s.w.Rates(ctx, f.Generation)
	if err != nil {
		return nil, err
	}
	segments, err := f.s.w.Segments(ctx, f.Generation, SegmentFilter{})
	if err != nil {
		return nil, err
	}
	end := min(m.Last(), f.Through)
	churned, err := f.s.w.Movements(ctx, f.Generation, MovementFilter{Line: LineChurn, From: (m - 12).Last() + 1, To: end})
	if err != nil {
		return nil, err
	}
	stopped := map[governance.TenantID][]logoChange{}
	for _, c := range churned {
		stopped[c.Tenant] = append(stopped[c.Tenant], logoChange{c.Day, LineChurn})
	}
	out := []TenantRetention{}
	rates := ratesOf(f.Reporting, used)
	for _, a := range accounts(segments) {
		t, ok, err := retained(a, stopped[a.tenant], rates, m, end)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, t)
		}
	}
	return out, nil
}

func (f *Figures) drillRetention(ctx context.Context, d *Drill) error {
	tenants, err := f.RetentionTenants(ctx, d.Cell.Month)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		if d.Cell.Tenant != "" && t.Tenant != d.Cell.Tenant {
			continue
		}
		v := t.Start
		switch d.Cell.Metric {
		case MetricNRRNow:
			v = t.Now
		case MetricGRRKept:
			v = t.Kept
		}
		d.Number.Minor += v
		d.Tenants = append(d.Tenants, TenantAmount{Tenant: t.Tenant, Amount: v, Rows: 1})
	}
	if d.Cell.Tenant == "" {
		return nil
	}
	// The subscriptions behind it: as they stood a year before, or as they stand now,
	// whichever adds up to the tenant's part.
	then, end := (d.Cell.Month - 12).Last(), min(d.Cell.Month.Last(), f.Through)
	on := end
	for _, t := range tenants {
		switch {
		case t.Tenant != d.Cell.Tenant:
		case d.Cell.Metric == MetricNRRStart, d.Cell.Metric == MetricGRRKept && t.Start <= t.Now:
			on = then
		case !t.Stayed:
			return nil // it stopped in between: nothing of what it pays now counts
		}
	}
	rows := &Drill{Cell: d.Cell}
	if err := f.drillPosition(ctx, rows, on, d.Cell.Month, 0); err != nil {
		return err
	}
	d.Rows = append(d.Rows, rows.Rows...)
	return nil
}

// DrillFacts are the facts behind a row, in the order they count.
func (s *Service) DrillFacts(ctx context.Context, ids []uuid.UUID) ([]Fact, error) {
	ids = ids[:min(len(ids), 500)]
	facts, err := s.Facts(ctx, FactFilter{IDs: ids, History: true, Limit: 500})
	slices.SortFunc(facts, func(a, b Fact) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	return facts, err
}

// TenantPage is a page of the tenants behind the number, those after the one given;
// more says that it is not the last.
func (d *Drill) TenantPage(after governance.TenantID, limit int) (page []TenantAmount, more bool) {
	i, found := slices.BinarySearchFunc(d.Tenants, after, func(t TenantAmount, id governance.TenantID) int { return strings.Compare(string(t.Tenant), string(id)) })
	if found {
		i++
	}
	end := min(len(d.Tenants), i+limit)
	return d.Tenants[i:end], end < len(d.Tenants)
}
