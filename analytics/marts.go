package analytics

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/reevehq/reeve/governance"
)

// Marts is one generation of everything that is shown, before and after it stands
// in a [Warehouse].
type Marts struct {
	Reporting string // the reporting currency
	Through   Day    // the last complete day
	Segments  []Segment
	Movements []Movement
	Rates     []Rate // those that were used
	Months    []MonthRow
	Cohorts   []CohortRow
	Revenue   []RevenueRow
	Usage     []UsageRow
	Forecast  *Forecast // nil while the history is too short

	missing []Rate // month and currency of rates that are wanted and not known
}

// MonthRow is a month of the business.
type MonthRow struct {
	Month    Month `json:"month"`
	Complete bool  `json:"complete"` // false: the month is not over, its figures are as of "data through"
	RollForward
	Logos     Logos      `json:"logos"`
	Retention *Retention `json:"retention,omitempty"` // nil in the first twelve months
}

// Retention compares the tenants that paid at the end of the same month a year ago
// with what the same tenants pay now, both at the rates of the later month, so that
// currencies play no part. New tenants are no part of it, and one that stopped in
// between counts as lost even if it came back.
type Retention struct {
	Start  int64 `json:"start,string"` // their MRR then
	Now    int64 `json:"now,string"`   // their MRR now
	Kept   int64 `json:"kept,string"`  // the lesser of the two, tenant by tenant
	Logos  int   `json:"logos"`
	Stayed int   `json:"stayed"`
}

// NRR is net revenue retention in hundredths of a percent, GRR gross revenue
// retention, which is never above 10000; ok is false without a start.
func (r *Retention) NRR() (basis int64, ok bool) {
	if r == nil {
		return 0, false
	}
	return ratio(r.Now, r.Start)
}

// GRR is gross revenue retention; see [Retention.NRR].
func (r *Retention) GRR() (basis int64, ok bool) {
	if r == nil {
		return 0, false
	}
	return ratio(r.Kept, r.Start)
}

// ratio is a/b in hundredths of a percent, rounded down: a figure never looks better
// than it is. ok is false where the division means nothing.
func ratio(a, b int64) (basis int64, ok bool) {
	if b <= 0 || a < 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(a), 10_000)
	if hi >= uint64(b) {
		return 0, false
	}
	q, _ := bits.Div64(hi, lo, uint64(b))
	return int64(min(q, math.MaxInt64)), true
}

// Basis says what a cohort is made of.
type Basis string

// The bases of cohorts.
const (
	BySubscription Basis = "subscription" // tenants by the month in which they first paid MRR; money is MRR
	ByPurchase     Basis = "purchase"     // tenants by the month of their first purchase; money is what they bought
)

// CohortRow is the tenants that began in one month, a number of months later.
type CohortRow struct {
	Basis    Basis  `json:"basis"`
	Currency string `json:"currency"`
	Cohort   Month  `json:"cohort"`
	Age      int    `json:"age"`           // months after the month of the beginning
	Size     int    `json:"size"`          // tenants that began
	Base     int64  `json:"base,string"`   // their MRR on their first day, or what they bought in the first month
	Logos    int    `json:"logos"`         // of them paying at the end of the month, or buying in it
	Amount   int64  `json:"amount,string"` // their MRR then at the rates of the first month, or what they bought
}

// RevenueRow is what was billed, paid or sold in a month, as the facts have it.
type RevenueRow struct {
	Month    Month  `json:"month"`
	Kind     Kind   `json:"kind"`
	Currency string `json:"currency"`
	Amount   int64  `json:"amount,string"`
	Facts    int    `json:"facts"`
	Tenants  int    `json:"tenants"`
}

// UsageRow is a tenant's usage in a month.
type UsageRow struct {
	Tenant   governance.TenantID `json:"tenant"`
	Metric   string              `json:"metric"`
	Month    Month               `json:"month"`
	Quantity int64               `json:"quantity"`
	Facts    int                 `json:"facts"`
}

// Build makes the recurring part of the marts of current facts: subscriptions and
// rates, up to and with the day through. It is a pure function.
func Build(reporting string, through Day, subscriptions, rateFacts []Fact) (*Marts, error) {
	m := &Marts{Reporting: reporting, Through: through, Segments: Segments(subscriptions, through)}
	rates := newRateTable(reporting, rateFacts)
	all := accounts(m.Segments)
	b := builder{m: m, rates: rates, all: all, logos: make([][]logoChange, len(all))}
	for i, a := range all {
		ms, logos, err := a.movements(rates, through)
		if err != nil {
			return nil, fmt.Errorf("movements: %w", err)
		}
		m.Movements = append(m.Movements, ms...)
		b.logos[i] = logos
	}
	if len(m.Movements) > 0 {
		b.months()
		if err := b.retention(); err != nil {
			return nil, err
		}
		if err := b.cohorts(); err != nil {
			return nil, err
		}
	}
	sortMovements(m.Movements)
	for _, r := range rates.used {
		m.Rates = append(m.Rates, r)
	}
	for k := range rates.missing {
		m.missing = append(m.missing, Rate{Month: k.month, Currency: k.currency})
	}
	for _, rs := range [][]Rate{m.Rates, m.missing} {
		slices.SortFunc(rs, func(a, b Rate) int { return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Currency, b.Currency)) })
	}
	return m, nil
}

type builder struct {
	m     *Marts
	rates *rateTable
	all   []account
	logos [][]logoChange // by account
}

// row is the row of a month; the months of the marts have no gap.
func (b *builder) row(m Month) *MonthRow { return &b.m.Months[m-b.m.Months[0].Month] }

func (b *builder) months() {
	first := b.m.Movements[0].Day
	for _, v := range b.m.Movements {
		first = min(first, v.Day)
	}
	for m := first.Month(); m <= b.m.Through.Month(); m++ {
		b.m.Months = append(b.m.Months, MonthRow{Month: m, Complete: m.Last() <= b.m.Through})
	}
	for _, v := range b.m.Movements {
		*b.row(v.Day.Month()).line(v.Line) += v.Delta
	}
	for _, ls := range b.logos {
		for _, l := range ls {
			r := b.row(l.day.Month())
			switch l.line {
			case LineNew:
				r.Logos.New++
			case LineReactivation:
				r.Logos.Reactivated++
			default:
				r.Logos.Churned++
			}
		}
	}
	var prev MonthRow
	for i := range b.m.Months {
		r := &b.m.Months[i]
		r.Opening, r.Logos.Opening = prev.Closing, prev.Logos.Closing
		r.Closing = r.Opening + r.New + r.Expansion + r.Contraction + r.Churn + r.Reactivation + r.FX
		r.Logos.Closing = r.Logos.Opening + r.Logos.New + r.Logos.Reactivated - r.Logos.Churned
		prev = *r
	}
}

// end is the last day of a month that is known of.
func (b *builder) end(m Month) Day { return min(m.Last(), b.m.Through) }

func (b *builder) retention() error {
	for i := 12; i < len(b.m.Months); i++ {
		r := &b.m.Months[i]
		ret := &Retention{}
		for k := range b.all {
			t, ok, err := retained(b.all[k], b.logos[k], b.rates, r.Month, b.end(r.Month))
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			ret.Start, ret.Now, ret.Kept = ret.Start+t.Start, ret.Now+t.Now, ret.Kept+t.Kept
			ret.Logos++
			if t.Stayed {
				ret.Stayed++
			}
		}
		r.Retention = ret
	}
	return nil
}

// TenantRetention is one tenant's part in a [Retention].
type TenantRetention struct {
	Tenant governance.TenantID `json:"tenant"`
	Start  int64               `json:"start,string"`
	Now    int64               `json:"now,string"`
	Kept   int64               `json:"kept,string"`
	Stayed bool                `json:"stayed"`
}

// retained is a tenant's part in the retention of a month that ends, or is known
// of, on the day end; ok is false when it did not pay a year ago.
func retained(a account, logos []logoChange, rates *rateTable, m Month, end Day) (t TenantRetention, ok bool, err error) {
	start := (m - 12).Last()
	t.Tenant = a.tenant
	if t.Start, ok, err = a.value(start, rates, m); err != nil || !ok {
		return t, false, err
	}
	for _, l := range logos {
		if l.line == LineChurn && l.day > start && l.day <= end {
			return t, true, nil // lost; a return is reactivation, not retention
		}
	}
	t.Stayed = true
	t.Now, _, err = a.value(end, rates, m)
	t.Kept = min(t.Start, t.Now)
	return t, true, err
}

func (b *builder) cohorts() error {
	type cell struct {
		cohort Month
		age    int
	}
	cells := map[cell]*CohortRow{}
	at := func(c Month, age int) *CohortRow {
		k := cell{c, age}
		if cells[k] == nil {
			cells[k] = &CohortRow{Basis: BySubscription, Currency: b.m.Reporting, Cohort: c, Age: age}
		}
		return cells[k]
	}
	last := b.m.Through.Month()
	if b.end(last) != last.Last() {
		last-- // cohorts are compared at whole months
	}
	for i, a := range b.all {
		if len(b.logos[i]) == 0 {
			continue
		}
		began := b.logos[i][0].day // the first change is always the beginning
		c := began.Month()
		base, _, err := a.value(began, b.rates, c)
		if err != nil {
			return err
		}
		for m := c; m <= last; m++ {
			r := at(c, int(m-c))
			r.Size++
			r.Base += base
			v, active, err := a.value(m.Last(), b.rates, c)
			if err != nil {
				return err
			}
			if active {
				r.Logos++
				r.Amount += v
			}
		}
	}
	for _, r := range cells {
		b.m.Cohorts = append(b.m.Cohorts, *r)
	}
	sortCohorts(b.m.Cohorts)
	return nil
}

func sortCohorts(rows []CohortRow) {
	slices.SortFunc(rows, func(a, b CohortRow) int {
		return cmp.Or(cmp.Compare(a.Basis, b.Basis), cmp.Compare(a.Currency, b.Currency), cmp.Compare(a.Cohort, b.Cohort), cmp.Compare(a.Age, b.Age))
	})
}

// bought is what a tenant bought in a month.
type bought struct {
	Tenant   string `bun:"tenant"`
	Currency string `bun:"currency"`
	Month    Month  `bun:"month"`
	Amount   int64  `bun:"amount"`
}

// purchaseCohorts groups tenants by the month of their first purchase, in each
// currency; rows are sorted by tenant, currency and month. The last month counts
// when it is over.
func purchaseCohorts(rows []bought, through Day) []CohortRow {
	last := through.Month()
	if last.Last() > through {
		last--
	}
	type cell struct {
		currency string
		cohort   Month
	}
	type cohort struct {
		size  int
		base  int64
		logos map[int]int
		sums  map[int]int64
	}
	cells := map[cell]*cohort{}
	for i := 0; i < len(rows); {
		first := rows[i]
		key := cell{first.Currency, first.Month}
		c := cells[key]
		if c == nil {
			c = &cohort{logos: map[int]int{}, sums: map[int]int64{}}
			cells[key] = c
		}
		c.size++
		c.base += first.Amount
		for ; i < len(rows) && rows[i].Tenant == first.Tenant && rows[i].Currency == first.Currency; i++ {
			a := int(rows[i].Month - first.Month)
			c.logos[a]++
			c.sums[a] += rows[i].Amount
		}
	}
	var out []CohortRow
	for key, c := range cells {
		for a := 0; key.cohort+Month(a) <= last; a++ {
			out = append(out, CohortRow{Basis: ByPurchase, Currency: key.currency, Cohort: key.cohort, Age: a, Size: c.size, Base: c.base, Logos: c.logos[a], Amount: c.sums[a]})
		}
	}
	sortCohorts(out)
	return out
}
