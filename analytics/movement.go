package analytics

import (
	"cmp"
	"slices"

	"github.com/reevehq/reeve/governance"
)

// Line is a line of the roll-forward of MRR.
type Line string

// The lines. Opening plus the movements is closing, exactly.
const (
	LineOpening      Line = "opening"
	LineNew          Line = "new"          // a tenant that never paid before begins to
	LineExpansion    Line = "expansion"    // a paying tenant pays more
	LineContraction  Line = "contraction"  // a paying tenant pays less
	LineChurn        Line = "churn"        // a paying tenant stops
	LineReactivation Line = "reactivation" // a tenant that had stopped pays again
	LineFX           Line = "fx"           // the new month's rates on what was there already
	LineClosing      Line = "closing"
)

// MovementLines are the lines between opening and closing, in the order they are shown.
func MovementLines() []Line {
	return []Line{LineNew, LineExpansion, LineContraction, LineChurn, LineReactivation, LineFX}
}

// Movement is the change that one subscription's change, or a new rate, made to the
// MRR on one day. Its line is decided for the tenant: all its subscriptions' changes
// of a day together are one of new, expansion, contraction, churn and reactivation.
type Movement struct {
	Tenant       governance.TenantID `json:"tenant"`
	Subscription string              `json:"subscription"`
	Day          Day                 `json:"day"`
	Line         Line                `json:"line"`
	Delta        int64               `json:"delta,string"` // minor units of the reporting currency: ValueAfter − ValueBefore
	Before       governance.Money    `json:"before"`       // native MRR
	After        governance.Money    `json:"after"`
	ValueBefore  int64               `json:"value_before,string"`
	ValueAfter   int64               `json:"value_after,string"`
	RateBefore   int64               `json:"rate_before,string"` // millionths; 0 when there was nothing to convert
	RateAfter    int64               `json:"rate_after,string"`
}

// logoChange is a tenant beginning or ceasing to pay.
type logoChange struct {
	day  Day
	line Line
}

// movements gives the movements of one tenant up to through, in order, and when it
// began and stopped to pay.
func (a account) movements(rates *rateTable, through Day) (out []Movement, logos []logoChange, err error) {
	days := []Day{}
	for _, t := range a.tracks {
		for _, s := range t.segments {
			days = append(days, s.From)
		}
	}
	slices.Sort(days)
	days = slices.Compact(days)
	if len(days) == 0 {
		return nil, nil, nil
	}
	paid := false
	month := days[0].Month()
	for len(days) > 0 || month < through.Month() {
		// The next month's rates come before the changes of its first day.
		if len(days) == 0 || days[0].Month() > month {
			month++
			if out, err = a.revalue(out, rates, month); err != nil {
				return nil, nil, err
			}
			continue
		}
		d := days[0]
		days = days[1:]
		step, before, after, err := a.changes(d, rates)
		if err != nil {
			return nil, nil, err
		}
		net := int64(0)
		for _, m := range step {
			net += m.Delta
		}
		line := LineExpansion // also a move between two subscriptions that changes nothing in sum
		switch {
		case !before && after && !paid:
			line = LineNew
		case !before && after:
			line = LineReactivation
		case before && !after:
			line = LineChurn
		case net < 0:
			line = LineContraction
		}
		paid = paid || after
		if before != after {
			logos = append(logos, logoChange{d, line})
		}
		for _, m := range step {
			m.Line = line
			out = append(out, m)
		}
	}
	return out, logos, nil
}

// changes is what the tenant's subscriptions did on a day, and whether it paid the
// day before and at its end.
func (a account) changes(d Day, rates *rateTable) (out []Movement, before, after bool, err error) {
	for _, t := range a.tracks {
		was, _ := t.at(d - 1)
		is, ok := t.at(d)
		before = before || was.MRR.Minor > 0
		after = after || is.MRR.Minor > 0
		if !ok || is.From != d || was.MRR == is.MRR || (was.MRR.Minor == 0 && is.MRR.Minor == 0) {
			continue
		}
		if was.MRR.Currency == "" {
			was.MRR.Currency = is.MRR.Currency
		}
		m := Movement{Tenant: a.tenant, Subscription: t.subscription, Day: d, Before: was.MRR, After: is.MRR}
		if m.ValueBefore, m.RateBefore, err = rates.valued(was.MRR, d.Month()); err != nil {
			return nil, false, false, err
		}
		if m.ValueAfter, m.RateAfter, err = rates.valued(is.MRR, d.Month()); err != nil {
			return nil, false, false, err
		}
		m.Delta = m.ValueAfter - m.ValueBefore
		out = append(out, m)
	}
	return out, before, after, nil
}

// revalue adds what the rates of a month do to the MRR that it opens with.
func (a account) revalue(out []Movement, rates *rateTable, month Month) ([]Movement, error) {
	d := month.First()
	for _, t := range a.tracks {
		s, ok := t.at(d - 1)
		if !ok || s.MRR.Minor == 0 || s.MRR.Currency == rates.reporting {
			continue
		}
		m := Movement{Tenant: a.tenant, Subscription: t.subscription, Day: d, Line: LineFX, Before: s.MRR, After: s.MRR}
		var err error
		if m.ValueBefore, m.RateBefore, err = rates.valued(s.MRR, month-1); err != nil {
			return nil, err
		}
		if m.ValueAfter, m.RateAfter, err = rates.valued(s.MRR, month); err != nil {
			return nil, err
		}
		if m.Delta = m.ValueAfter - m.ValueBefore; m.Delta != 0 {
			out = append(out, m)
		}
	}
	return out, nil
}

func (t *rateTable) valued(m governance.Money, month Month) (value, rate int64, err error) {
	if m.Minor == 0 {
		return 0, 0, nil
	}
	r, _ := t.of(m.Currency, month)
	value, err = t.value(m, month)
	return value, r.Micro, err
}

// RollForward is the MRR of one period: a month or a day. All amounts are minor
// units of the reporting currency.
type RollForward struct {
	Opening      int64 `json:"opening,string"`
	New          int64 `json:"new,string"`
	Expansion    int64 `json:"expansion,string"`
	Contraction  int64 `json:"contraction,string"`
	Churn        int64 `json:"churn,string"`
	Reactivation int64 `json:"reactivation,string"`
	FX           int64 `json:"fx,string"`
	Closing      int64 `json:"closing,string"`
}

func (r *RollForward) line(l Line) *int64 {
	switch l {
	case LineOpening:
		return &r.Opening
	case LineNew:
		return &r.New
	case LineExpansion:
		return &r.Expansion
	case LineContraction:
		return &r.Contraction
	case LineChurn:
		return &r.Churn
	case LineReactivation:
		return &r.Reactivation
	case LineFX:
		return &r.FX
	}
	return &r.Closing
}

// Line is one line of it.
func (r RollForward) Line(l Line) int64 { return *r.line(l) }

// Add counts a movement: its line and the closing rise by delta.
func (r *RollForward) Add(l Line, delta int64) {
	*r.line(l) += delta
	r.Closing += delta
}

// Closes tells whether opening and movements make closing.
func (r RollForward) Closes() bool {
	return r.Opening+r.New+r.Expansion+r.Contraction+r.Churn+r.Reactivation+r.FX == r.Closing
}

// Logos counts paying tenants over a month.
type Logos struct {
	Opening     int `json:"opening"`
	New         int `json:"new"`
	Churned     int `json:"churned"`
	Reactivated int `json:"reactivated"`
	Closing     int `json:"closing"`
}

func sortMovements(ms []Movement) {
	slices.SortFunc(ms, func(a, b Movement) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Day, b.Day), cmp.Compare(a.Line, b.Line))
	})
}
