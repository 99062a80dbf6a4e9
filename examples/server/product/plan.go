package product

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/oversight"
)

// Plan is what a tenant can subscribe to. Features map a feature to its quantity, 0
// being unlimited; Prices are for one seat and month, by currency.
type Plan struct {
	ID       string
	Name     string
	Rank     int64 // dearer plans have higher ones
	Features map[string]int64
	Prices   map[string]governance.Money
}

// DefaultPlans is the catalogue of the reference server.
func DefaultPlans() []Plan {
	price := func(eur, usd, gbp int64) map[string]governance.Money {
		return map[string]governance.Money{"EUR": {Minor: eur, Currency: "EUR"}, "USD": {Minor: usd, Currency: "USD"}, "GBP": {Minor: gbp, Currency: "GBP"}}
	}
	return []Plan{
		{ID: "free", Name: "Free", Rank: 0, Prices: price(0, 0, 0), Features: map[string]int64{"documents": 100}},
		{ID: "starter", Name: "Starter", Rank: 1, Prices: price(1200, 1400, 1100), Features: map[string]int64{"documents": 1000, "exports": 0}},
		{ID: "growth", Name: "Growth", Rank: 2, Prices: price(2900, 3200, 2600), Features: map[string]int64{"documents": 0, "exports": 0, "api": 0}},
		{ID: "enterprise", Name: "Enterprise", Rank: 3, Prices: price(5900, 6500, 5200), Features: map[string]int64{"documents": 0, "exports": 0, "api": 0, "sso": 0, "audit": 0}},
	}
}

// Currencies lists the currencies that the catalogue has prices in.
func (s *Service) Currencies() []string {
	seen := map[string]bool{}
	for _, p := range s.opts.Plans {
		for c := range p.Prices {
			seen[c] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// Install stores the catalogue, at start-up. Plans that are there get the prices and
// features given; subscriptions keep what they pay until they change.
func (s *Service) Install(ctx context.Context) error {
	var plans []planRow
	var prices []priceRow
	for _, p := range s.opts.Plans {
		features, err := json.Marshal(p.Features)
		if err != nil {
			return fmt.Errorf("plan %s: %w", p.ID, err)
		}
		plans = append(plans, planRow{ID: p.ID, Name: p.Name, Rank: p.Rank, Features: string(features)})
		for _, c := range slices.Sorted(maps.Keys(p.Prices)) {
			prices = append(prices, priceRow{Plan: p.ID, Currency: c, Minor: p.Prices[c].Minor})
		}
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.NewInsert().Model(&plans).On("CONFLICT (id) DO UPDATE").Set("name = EXCLUDED.name").Set("rank = EXCLUDED.rank").Set("features = EXCLUDED.features").Exec(ctx)
		if err != nil {
			return fmt.Errorf("plans: %w", err)
		}
		if _, err := tx.NewInsert().Model(&prices).On("CONFLICT (plan, currency) DO UPDATE").Set("minor = EXCLUDED.minor").Exec(ctx); err != nil {
			return fmt.Errorf("prices: %w", err)
		}
		return nil
	})
}

// Plans lists the catalogue, the cheapest first.
func (s *Service) Plans(ctx context.Context) ([]Plan, error) { return plans(ctx, s.k.DB().Read()) }

func plans(ctx context.Context, db bun.IDB) ([]Plan, error) {
	var rows []planRow
	if err := db.NewSelect().Model(&rows).Order("rank", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("plans: %w", err)
	}
	var prices []priceRow
	if err := db.NewSelect().Model(&prices).Scan(ctx); err != nil {
		return nil, fmt.Errorf("prices: %w", err)
	}
	out := make([]Plan, len(rows))
	for i, r := range rows {
		out[i] = Plan{ID: r.ID, Name: r.Name, Rank: r.Rank, Prices: map[string]governance.Money{}}
		if err := json.Unmarshal([]byte(r.Features), &out[i].Features); err != nil {
			return nil, fmt.Errorf("plan %s: %w", r.ID, err)
		}
		for _, p := range prices {
			if p.Plan == r.ID {
				out[i].Prices[p.Currency] = governance.Money{Minor: p.Minor, Currency: p.Currency}
			}
		}
	}
	return out, nil
}

// Subscription is what a tenant pays for.
type Subscription struct {
	Tenant    governance.TenantID
	Plan      string
	Seats     int64
	MRR       governance.Money
	Version   int64
	ChangedAt time.Time
}

func (r subscriptionRow) subscription() Subscription {
	return Subscription{governance.TenantID(r.Tenant), r.Plan, r.Seats, governance.Money{Minor: r.MRRMinor, Currency: r.Currency}, r.Version, r.ChangedAt.Time()}
}

// Subscription reads a tenant's subscription.
func (s *Service) Subscription(ctx context.Context, tenant governance.TenantID) (Subscription, error) {
	return subscription(ctx, s.k.DB().Read(), tenant)
}

func subscription(ctx context.Context, db bun.IDB, tenant governance.TenantID) (Subscription, error) {
	var row subscriptionRow
	err := db.NewSelect().Model(&row).Where("tenant = ?", tenant).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Subscription{}, fmt.Errorf("subscription of tenant %s: %w", tenant, governance.ErrNotFound)
	}
	if err != nil {
		return Subscription{}, fmt.Errorf("subscription of tenant %s: %w", tenant, err)
	}
	return row.subscription(), nil
}

// SubscribeTx starts a tenant's subscription and grants what its plan contains. The
// tenant must be known; its projection's plan and seats should say the same.
func (s *Service) SubscribeTx(ctx context.Context, tx *governance.Tx, id governance.Identity, tenant governance.TenantID, plan, currency string, seats int64) error {
	p, err := s.planTx(ctx, tx, plan)
	if err != nil {
		return err
	}
	price, ok := p.Prices[currency]
	if !ok || seats < 1 {
		return governance.Invalid("subscription", "plan %s has no price in %q, or seats is %d", plan, currency, seats)
	}
	row := &subscriptionRow{Tenant: string(tenant), Plan: plan, Currency: currency, Seats: seats, MRRMinor: price.Minor * seats, Version: 1, ChangedAt: govdb.At(s.k.Now())}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return fmt.Errorf("tenant %s has a subscription: %w", tenant, governance.ErrConflict)
		}
		return fmt.Errorf("subscription of tenant %s: %w", tenant, err)
	}
	for _, f := range slices.Sorted(maps.Keys(p.Features)) {
		if err := s.k.GrantTx(ctx, tx, id, tenant, governance.Entitlement{Feature: f, Quantity: p.Features[f], Source: sourcePlan}); err != nil {
			return err
		}
	}
	return nil
}

// sourcePlan is the source of the entitlements that come with a plan. A plan change
// leaves those of other sources alone, except those with an end that the new plan
// contains.
const sourcePlan = "plan"

func (s *Service) planTx(ctx context.Context, tx *governance.Tx, id string) (Plan, error) {
	all, err := plans(ctx, tx)
	if err != nil {
		return Plan{}, err
	}
	names := make([]string, len(all))
	for i, p := range all {
		if p.ID == id {
			return p, nil
		}
		names[i] = p.ID
	}
	return Plan{}, governance.Invalid("plan", "%q is not one of %v", id, names)
}

// quoteTx says what a plan change would do.
func (s *Service) quoteTx(ctx context.Context, tx *governance.Tx, in oversight.PlanChange) (oversight.PlanQuote, error) {
	q := oversight.PlanQuote{Gained: []string{}, Lost: []string{}}
	if _, err := s.openTenantTx(ctx, tx, in.Tenant); err != nil {
		return q, err
	}
	sub, err := subscription(ctx, tx, in.Tenant)
	if err != nil {
		return q, err
	}
	to, err := s.planTx(ctx, tx, in.Plan)
	if err != nil {
		return q, err
	}
	price, ok := to.Prices[sub.MRR.Currency]
	if !ok {
		return q, governance.Invalid("plan", "plan %s has no price in %s, the tenant's currency", to.ID, sub.MRR.Currency)
	}
	from, err := s.planTx(ctx, tx, sub.Plan)
	if err != nil {
		return q, err
	}
	for _, f := range slices.Sorted(maps.Keys(to.Features)) {
		if _, had := from.Features[f]; !had {
			q.Gained = append(q.Gained, f)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(from.Features)) {
		if _, has := to.Features[f]; !has {
			q.Lost = append(q.Lost, f)
		}
	}
	q.From, q.To, q.Before, q.Version = sub.Plan, to.ID, sub.MRR, sub.Version
	q.After = governance.Money{Minor: price.Minor * sub.Seats, Currency: price.Currency}
	return q, nil
}

// ChangePlan moves a tenant to another plan: at once, or after approval when it
// gives up more monthly revenue than one actor may.
func (s *Service) ChangePlan(ctx context.Context, id governance.Identity, tenant governance.TenantID, plan string, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.plan.Do(ctx, s.k, id, oversight.PlanChange{Tenant: tenant, Plan: plan}, opts)
}

func (s *Service) changePlanTx(ctx context.Context, tx *governance.Tx, in oversight.PlanChange) (governance.Result, error) {
	e, _ := governance.ExecutionFrom(ctx)
	st, err := s.k.LockTenantTx(ctx, tx, in.Tenant)
	if err != nil {
		return governance.Result{}, err
	}
	q, err := s.quoteTx(ctx, tx, in)
	if err != nil {
		return governance.Result{}, err
	}
	now := s.k.Now()
	res, err := tx.ExecContext(ctx, "UPDATE product_subscription SET plan = ?, mrr_minor = ?, version = version + 1, changed_at = ? WHERE tenant = ? AND version = ?",
		in.Plan, q.After.Minor, govdb.At(now), in.Tenant, q.Version)
	if err != nil {
		return governance.Result{}, fmt.Errorf("subscription of tenant %s: %w", in.Tenant, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return governance.Result{}, fmt.Errorf("subscription of tenant %s: %w", in.Tenant, governance.ErrRetry)
	}
	t := st.Tenant
	t.Plan = in.Plan
	if _, err := s.k.UpsertTenantTx(ctx, tx, e.Identity, t); err != nil {
		return governance.Result{}, err
	}
	if err := s.entitleTx(ctx, tx, e.Identity, st, in.Plan); err != nil {
		return governance.Result{}, err
	}
	if s.opts.OnPlanChange != nil {
		c := PlanChanged{in.Tenant, q.From, q.To, t.Seats, q.Before, q.After, now}
		if err := s.opts.OnPlanChange(ctx, tx, e.Identity, c); err != nil {
			return governance.Result{}, fmt.Errorf("plan change of tenant %s: %w", in.Tenant, err)
		}
	}
	return governance.Result{Data: q}, nil
}

// entitleTx grants what the plan contains and takes away what came with another.
func (s *Service) entitleTx(ctx context.Context, tx *governance.Tx, id governance.Identity, st governance.TenantState, plan string) error {
	to, err := s.planTx(ctx, tx, plan)
	if err != nil {
		return err
	}
	have := map[string]governance.Entitlement{}
	for _, e := range st.Entitlements {
		have[e.Feature] = e
		if _, stays := to.Features[e.Feature]; !stays && e.Source == sourcePlan {
			if err := s.k.RevokeTx(ctx, tx, id, st.Tenant.ID, e.Feature, 0); err != nil {
				return err
			}
		}
	}
	for _, f := range slices.Sorted(maps.Keys(to.Features)) {
		e, ok := have[f]
		stays := e.ExpiresAt.IsZero() // what ends by itself would take the plan's along
		if ok && stays && (e.Source != sourcePlan || e.Quantity == to.Features[f]) {
			continue
		}
		if err := s.k.GrantTx(ctx, tx, id, st.Tenant.ID, governance.Entitlement{Feature: f, Quantity: to.Features[f], Source: sourcePlan}); err != nil {
			return err
		}
	}
	return nil
}
