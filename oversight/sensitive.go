package oversight

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/reevehq/reeve/governance"
)

// The sensitive actions of the catalogue.
const (
	ActionPlan   = "tenant.plan"
	ActionCredit = "tenant.credit"
	ActionExport = "tenant.export"
)

// PlanChange moves a tenant to another plan.
type PlanChange struct {
	Tenant governance.TenantID `json:"tenant"`
	Plan   string              `json:"plan"`
}

// PlanQuote is what a plan change would do, by the host's own prices.
type PlanQuote struct {
	From    string           `json:"from"`
	To      string           `json:"to"`
	Before  governance.Money `json:"mrr_before"`
	After   governance.Money `json:"mrr_after"`
	Gained  []string         `json:"features_gained"`
	Lost    []string         `json:"features_lost"`
	Version int64            `json:"-"` // of the subscription: another change supersedes an approval
}

// MRRLost is the monthly recurring revenue that the change gives up; zero when it
// gives up none.
func (q PlanQuote) MRRLost() governance.Money {
	return governance.Money{Minor: max(0, q.Before.Minor-q.After.Minor), Currency: q.Before.Currency}
}

// PlanSpec describes a plan change, measured in the monthly recurring revenue it
// loses. quote reads the host's tables and fails when there is no such plan or
// subscription. It is allowed through an impersonation, where the actor's own
// permission is needed as well.
func PlanSpec(quote func(ctx context.Context, tx *governance.Tx, in PlanChange) (PlanQuote, error)) governance.Spec[PlanChange] {
	return governance.Spec[PlanChange]{
		Summary:    "Moves a tenant to another plan.",
		Units:      []string{"*.cent"},
		Permission: "tenant:plan",
		Tenant:     func(in PlanChange) governance.TenantID { return in.Tenant },
		Resource:   func(in PlanChange) governance.Ref { return tenantRef(in.Tenant) },
		Validate: func(in PlanChange) error {
			if in.Tenant == "" || in.Plan == "" || len(in.Plan) > 64 || !clean(in.Plan) {
				return governance.Invalid("plan", "tenant and plan are required, plan has at most 64 bytes")
			}
			return nil
		},
		Measures: func(ctx context.Context, tx *governance.Tx, in PlanChange) ([]governance.Measure, error) {
			q, err := quote(ctx, tx, in)
			if err != nil {
				return nil, err
			}
			if q.From == q.To {
				return nil, fmt.Errorf("tenant %s is on plan %s already: %w", in.Tenant, q.To, governance.ErrConflict)
			}
			if q.Before.Currency != q.After.Currency {
				return nil, fmt.Errorf("plan change of %s: priced in %s before and %s after", in.Tenant, q.Before.Currency, q.After.Currency)
			}
			return []governance.Measure{governance.MoneyMeasure(q.MRRLost())}, nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in PlanChange) (int64, error) {
			q, err := quote(ctx, tx, in)
			return q.Version, err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in PlanChange) (any, error) {
			q, err := quote(ctx, tx, in)
			side := func(plan string, mrr governance.Money, only []string) map[string]any {
				return map[string]any{"plan": plan, "mrr": mrr, "features": only}
			}
			return map[string]any{"before": side(q.From, q.Before, q.Lost), "after": side(q.To, q.After, q.Gained)}, err
		},
	}
}

func tenantRef(t governance.TenantID) governance.Ref {
	return governance.Ref{Kind: "tenant", ID: string(t)}
}

// Credit gives a tenant money.
type Credit struct {
	Tenant governance.TenantID `json:"tenant"`
	Money  governance.Money    `json:"money"`
}

// maxCredit is the most minor units of one credit: far above any real one, far
// below where a conversion could overflow.
const maxCredit = 1_000_000_000_000

// CreditSpec describes a credit, measured in its money. check refuses a tenant that
// cannot get one, before anybody is asked. Nobody gives a credit while impersonating.
// Only the currencies named are taken.
func CreditSpec(check func(ctx context.Context, tx *governance.Tx, in Credit) error, currencies ...string) governance.Spec[Credit] {
	known := map[string]bool{}
	for _, c := range currencies {
		known[c] = true
	}
	return governance.Spec[Credit]{
		Summary:    "Gives a tenant a credit.",
		Units:      []string{"*.cent"},
		Permission: "tenant:credit",
		Sensitive:  true,
		Tenant:     func(in Credit) governance.TenantID { return in.Tenant },
		Resource:   func(in Credit) governance.Ref { return tenantRef(in.Tenant) },
		Validate: func(in Credit) error {
			var errs []error
			if in.Tenant == "" {
				errs = append(errs, governance.Invalid("tenant", "is required"))
			}
			if !known[in.Money.Currency] {
				errs = append(errs, governance.Invalid("currency", "%q is not one of %s", in.Money.Currency, strings.Join(currencies, ", ")))
			}
			if in.Money.Minor <= 0 || in.Money.Minor > maxCredit {
				errs = append(errs, governance.Invalid("amount", "must be positive, and at most %s", governance.Money{Minor: maxCredit, Currency: in.Money.Currency}.Amount()))
			}
			return errors.Join(errs...)
		},
		Measures: func(ctx context.Context, tx *governance.Tx, in Credit) ([]governance.Measure, error) {
			if check != nil {
				if err := check(ctx, tx, in); err != nil {
					return nil, err
				}
			}
			return []governance.Measure{governance.MoneyMeasure(in.Money)}, nil
		},
		Preview: func(_ context.Context, _ *governance.Tx, in Credit) (any, error) { return in, nil },
	}
}

// Export takes a tenant's rows out of the product.
type Export struct {
	Tenant  governance.TenantID `json:"tenant"`
	Dataset string              `json:"dataset"`
}

// ExportSpec describes an export, measured in rows that count reads before anybody
// is asked: an executor must not write more. Nobody exports while impersonating.
func ExportSpec(datasets []string, count func(ctx context.Context, tx *governance.Tx, in Export) (int64, error)) governance.Spec[Export] {
	return governance.Spec[Export]{
		Summary:    "Takes a copy of a tenant's rows out of the product.",
		Units:      []string{UnitRows},
		Permission: "tenant:export",
		Sensitive:  true,
		Tenant:     func(in Export) governance.TenantID { return in.Tenant },
		Resource:   func(in Export) governance.Ref { return tenantRef(in.Tenant) },
		Validate: func(in Export) error {
			for _, d := range datasets {
				if d == in.Dataset && in.Tenant != "" {
					return nil
				}
			}
			return governance.Invalid("dataset", "%q is not one of %s", in.Dataset, strings.Join(datasets, ", "))
		},
		Measures: func(ctx context.Context, tx *governance.Tx, in Export) ([]governance.Measure, error) {
			n, err := count(ctx, tx, in)
			if err != nil {
				return nil, err
			}
			return []governance.Measure{{Unit: UnitRows, Value: n}}, nil
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in Export) (any, error) {
			n, err := count(ctx, tx, in)
			return map[string]any{"dataset": in.Dataset, "rows": n}, err
		},
	}
}

// UnitRows is the unit of an export's measure.
const UnitRows = "rows"
