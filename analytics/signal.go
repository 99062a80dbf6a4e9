package analytics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
)

// Signal is one value about a tenant, and the instant up to which it is known.
// Whoever acts on it must look at AsOf first: an old zero is no zero.
type Signal struct {
	Value int64     `json:"value"`
	Unit  string    `json:"unit"`
	AsOf  time.Time `json:"as_of"`
}

// Signals are what is known of one tenant, by name: for each usage metric M
// "M_7d", "M_30d" (sums of the last 7 and 30 complete days), "M_trend_pct" (the last
// 30 days against the 30 before, in percent) and "M_idle_days"; "overdue_days" and
// "overdue" (the oldest unpaid invoice, and what is unpaid after its due day, in
// minor units of the reporting currency); "renewal_days"; "mrr".
// A signal nobody ever told anything about is absent.
type Signals struct {
	Tenant governance.TenantID `json:"tenant"`
	Values map[string]Signal   `json:"values"`
}

// Signals gives what is known of one tenant, from the facts as they are now. A
// tenant that the kernel does not know is [governance.ErrNotFound].
func (s *Service) Signals(ctx context.Context, tenant governance.TenantID) (Signals, error) {
	t, err := s.k.Tenant(ctx, tenant)
	if err != nil {
		return Signals{}, err
	}
	all, err := s.signals(ctx, []governance.Tenant{t}, tenant)
	if err != nil {
		return Signals{}, err
	}
	return all[0], nil
}

// AllSignals gives the signals of every tenant that the kernel knows, by id, in a
// handful of queries.
func (s *Service) AllSignals(ctx context.Context) ([]Signals, error) {
	var tenants []governance.Tenant
	for after := governance.TenantID(""); ; {
		page, err := s.k.Tenants(ctx, governance.TenantFilter{After: after, Limit: 200})
		if err != nil {
			return nil, err
		}
		tenants = append(tenants, page...)
		if len(page) < 200 {
			break
		}
		after = page[len(page)-1].ID
	}
	slices.SortFunc(tenants, func(a, b governance.Tenant) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return s.signals(ctx, tenants, "")
}

func (s *Service) signals(ctx context.Context, tenants []governance.Tenant, only governance.TenantID) ([]Signals, error) {
	now := s.k.Now()
	r := reader{db: s.k.DB().Read(), at: s.at(now), zone: s.opts.Zone, yesterday: DayOf(now, s.opts.Zone) - 1}
	sources, _, err := r.sources(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Signals, len(tenants))
	index := map[governance.TenantID]int{}
	for i, t := range tenants {
		out[i] = Signals{t.ID, map[string]Signal{}}
		index[t.ID] = i
		if !t.RenewalAt.IsZero() {
			out[i].Values["renewal_days"] = Signal{int64(DayOf(t.RenewalAt, s.opts.Zone) - s.today()), "days", now}
		}
	}
	put := func(tenant governance.TenantID, name string, v Signal) {
		if i, ok := index[tenant]; ok {
			out[i].Values[name] = v
		}
	}
	err = errors.Join(s.usageSignals(ctx, r, sources, only, out, put), s.overdueSignals(ctx, r, sources, only, out, put), s.mrrSignals(ctx, only, out, put))
	return out, err
}

type putSignal func(tenant governance.TenantID, name string, v Signal)

func whereTenant(q *bun.SelectQuery, only governance.TenantID) *bun.SelectQuery {
	if only != "" {
		q = q.Where("f.tenant = ?", only)
	}
	return q
}

// through is up to when the sources of one kind of fact have told everything: the
// earliest of them.
func (s *Service) through(names map[string]bool, sources []Source) (Day, time.Time) {
	d := Forever
	for _, src := range sources {
		if names[src.Source] {
			d = min(d, src.Through)
		}
	}
	return d, (d + 1).Start(s.opts.Zone).UTC()
}

func (s *Service) usageSignals(ctx context.Context, r reader, sources []Source, only governance.TenantID, out []Signals, put putSignal) error {
	var metrics []struct {
		Metric string `bun:"metric"`
		Source string `bun:"source"`
	}
	err := r.db.NewRaw("SELECT metric, source FROM analytics_source WHERE kind = 'usage'").Scan(ctx, &metrics)
	if err != nil {
		return fmt.Errorf("usage metrics: %w", err)
	}
	told := map[string]map[string]bool{}
	for _, m := range metrics {
		if told[m.Metric] == nil {
			told[m.Metric] = map[string]bool{}
		}
		told[m.Metric][m.Source] = true
	}
	for metric, names := range told {
		end, asOf := s.through(names, sources)
		var sums []struct {
			Tenant governance.TenantID `bun:"tenant"`
			Week   int64               `bun:"week"`
			Now    int64               `bun:"now30"`
			Before int64               `bun:"before30"`
			Last   Day                 `bun:"last_day"`
		}
		q := r.db.NewSelect().TableExpr("analytics_fact f").
			ColumnExpr("f.tenant").
			ColumnExpr("CAST(SUM(CASE WHEN f.day > ? THEN f.quantity ELSE 0 END) AS BIGINT) AS week", end-7).
			ColumnExpr("CAST(SUM(CASE WHEN f.day > ? THEN f.quantity ELSE 0 END) AS BIGINT) AS now30", end-30).
			ColumnExpr("CAST(SUM(CASE WHEN f.day <= ? THEN f.quantity ELSE 0 END) AS BIGINT) AS before30", end-30).
			ColumnExpr("COALESCE(MAX(CASE WHEN f.quantity > 0 THEN f.day END), 0) AS last_day").
			Where("f.kind = ? AND f.metric = ? AND f.day > ? AND f.day <= ?", KindUsage, metric, end-60, end).Where(current, r.at, r.at).Group("f.tenant")
		if err := whereTenant(q, only).Scan(ctx, &sums); err != nil {
			return fmt.Errorf("usage of %s: %w", metric, err)
		}
		for i := range out { // no fact in 60 days of a source that is up to date is a zero
			out[i].Values[metric+"_7d"] = Signal{0, "count", asOf}
			out[i].Values[metric+"_30d"] = Signal{0, "count", asOf}
			out[i].Values[metric+"_idle_days"] = Signal{60, "days", asOf}
		}
		for _, v := range sums {
			put(v.Tenant, metric+"_7d", Signal{v.Week, "count", asOf})
			put(v.Tenant, metric+"_30d", Signal{v.Now, "count", asOf})
			if v.Last > 0 {
				put(v.Tenant, metric+"_idle_days", Signal{int64(end - v.Last), "days", asOf})
			}
			if v.Before > 0 {
				put(v.Tenant, metric+"_trend_pct", Signal{(v.Now - v.Before) * 100 / v.Before, "percent", asOf})
			}
		}
	}
	return nil
}

func (s *Service) overdueSignals(ctx context.Context, r reader, sources []Source, only governance.TenantID, out []Signals, put putSignal) error {
	var names []string
	err := r.db.NewRaw("SELECT DISTINCT source FROM analytics_source WHERE kind IN ('invoice', 'payment')").Scan(ctx, &names)
	if err != nil {
		return fmt.Errorf("billing sources: %w", err)
	}
	if len(names) == 0 {
		return nil
	}
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	end, asOf := s.through(set, sources)
	for i := range out {
		out[i].Values["overdue_days"] = Signal{0, "days", asOf}
		out[i].Values["overdue"] = Signal{0, s.opts.Reporting + ".cent", asOf}
	}
	open, err := s.overdue(ctx, r, only, end)
	if err != nil || len(open) == 0 {
		return err
	}
	var rateFacts []factRow
	if err := r.db.NewSelect().Model(&rateFacts).Where("f.kind = ?", KindRate).Where(current, r.at, r.at).Order("f.day", "f.id").Scan(ctx); err != nil {
		return fmt.Errorf("rates: %w", err)
	}
	facts := make([]Fact, len(rateFacts))
	for i, f := range rateFacts {
		facts[i] = f.fact()
	}
	rates := newRateTable(s.opts.Reporting, facts)
	sums, oldest := map[governance.TenantID]int64{}, map[governance.TenantID]Day{}
	for _, o := range open {
		v, err := rates.value(governance.Money{Minor: o.Amount, Currency: o.Currency}, end.Month())
		if err != nil {
			return err
		}
		sums[o.Tenant] += v
		if d, ok := oldest[o.Tenant]; !ok || o.Due < d {
			oldest[o.Tenant] = o.Due
		}
	}
	for t, due := range oldest {
		put(t, "overdue_days", Signal{int64(end - due), "days", asOf})
		put(t, "overdue", Signal{sums[t], s.opts.Reporting + ".cent", asOf})
	}
	return nil
}

// OpenInvoice is an invoice that is not paid in full after its due day.
type OpenInvoice struct {
	Tenant   governance.TenantID `json:"tenant"`
	Ref      string              `json:"ref"`
	Currency string              `json:"currency"`
	Amount   int64               `json:"amount,string"`
	Due      Day                 `json:"due"`
}

// Money is what is still to be paid.
func (o OpenInvoice) Money() governance.Money {
	return governance.Money{Minor: o.Amount, Currency: o.Currency}
}

func (s *Service) overdue(ctx context.Context, r reader, only governance.TenantID, end Day) ([]OpenInvoice, error) {
	var rows []OpenInvoice
	q := r.db.NewSelect().TableExpr("analytics_fact f").ColumnExpr("f.tenant, f.ref, f.currency").
		ColumnExpr("CAST(SUM(CASE WHEN f.kind = 'invoice' THEN f.amount ELSE -f.amount END) AS BIGINT) AS amount").
		ColumnExpr("MIN(CASE WHEN f.due > 0 THEN f.due END) AS due").
		Where("f.kind IN ('invoice', 'payment') AND f.day <= ?", end).Where(current, r.at, r.at).
		GroupExpr("f.tenant, f.ref, f.currency").
		Having("SUM(CASE WHEN f.kind = 'invoice' THEN f.amount ELSE -f.amount END) > 0 AND MIN(CASE WHEN f.due > 0 THEN f.due END) < ?", end).
		OrderExpr("f.tenant, due")
	if err := whereTenant(q, only).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("overdue invoices: %w", err)
	}
	return rows, nil
}

// Overdue lists a tenant's invoices that are not paid in full after their due day;
// the due day itself and what is due later are not in it.
func (s *Service) Overdue(ctx context.Context, tenant governance.TenantID) ([]OpenInvoice, error) {
	now := s.k.Now()
	r := reader{db: s.k.DB().Read(), at: s.at(now), zone: s.opts.Zone, yesterday: DayOf(now, s.opts.Zone) - 1}
	out, err := s.overdue(ctx, r, tenant, r.yesterday)
	return slices.Clip(out), err
}

func (s *Service) mrrSignals(ctx context.Context, only governance.TenantID, out []Signals, put putSignal) error {
	f, err := s.Figures(ctx)
	if errors.Is(err, governance.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	asOf := (f.Through + 1).Start(s.opts.Zone).UTC()
	unit := f.Reporting + ".cent"
	for i := range out {
		out[i].Values["mrr"] = Signal{0, unit, asOf}
	}
	sums, err := s.w.MovementsByTenant(ctx, f.Generation, MovementFilter{Tenant: only, To: f.Through})
	if err != nil {
		return err
	}
	for _, t := range sums {
		put(t.Tenant, "mrr", Signal{t.Amount, unit, asOf})
	}
	return nil
}
