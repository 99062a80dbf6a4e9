package oversight

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/reevehq/reeve/governance"
)

// The actions by which people give and take an entitlement by hand.
const (
	ActionGrant  = "tenant.entitlement.grant"
	ActionRevoke = "tenant.entitlement.revoke"
)

// SourceHand is the source of an entitlement that was given by hand.
const SourceHand = "hand"

// UnitEntitlementDays is the unit of a grant's measure: for how many days.
const UnitEntitlementDays = "entitlement.day"

// grantMax is the longest grant: what is meant to stay belongs into a plan.
const grantMax = 366 * 24 * time.Hour

// Grant gives a tenant a feature until a day.
type Grant struct {
	Tenant   governance.TenantID `json:"tenant"`
	Feature  string              `json:"feature"`
	Quantity int64               `json:"quantity,string"` // 0 is unlimited
	Until    string              `json:"until"`           // RFC 3339
}

// Revoke takes back what was given by hand.
type Revoke struct {
	Tenant  governance.TenantID `json:"tenant"`
	Feature string              `json:"feature"`
}

// Grants are the two actions. Use [NewGrants].
type Grants struct {
	Give *governance.Action[Grant]
	Take *governance.Action[Revoke]

	k *governance.Kernel
}

// NewGrants defines the actions and registers them. features are what can be given.
func NewGrants(k *governance.Kernel, features ...string) (*Grants, error) {
	g := &Grants{k: k}
	g.Give = governance.Define(ActionGrant, governance.Spec[Grant]{
		Summary:    "Gives a tenant a feature by hand, until a day.",
		Permission: "tenant:plan", Sensitive: true, Units: []string{UnitEntitlementDays},
		Tenant:   func(in Grant) governance.TenantID { return in.Tenant },
		Resource: func(in Grant) governance.Ref { return entitlementRef(in.Tenant, in.Feature) },
		Validate: func(in Grant) error {
			until, err := time.Parse(time.RFC3339, in.Until)
			switch {
			case in.Tenant == "":
				return governance.Invalid("tenant", "is required")
			case !slices.Contains(features, in.Feature):
				return governance.Invalid("feature", "%q is not one of %v", in.Feature, features)
			case in.Quantity < 0:
				return governance.Invalid("quantity", "is negative; 0 is unlimited")
			case err != nil || until.Nanosecond() != 0:
				return governance.Invalid("until", "%q is not a time such as 2026-12-31T00:00:00Z", in.Until)
			}
			return nil
		},
		Measures: func(ctx context.Context, tx *governance.Tx, in Grant) ([]governance.Measure, error) {
			if _, err := g.givable(ctx, tx, in); err != nil {
				return nil, err
			}
			until, err := in.until(k.Now())
			days := (until.Sub(k.Now()) + 24*time.Hour - 1) / (24 * time.Hour)
			return []governance.Measure{{Unit: UnitEntitlementDays, Value: int64(days)}}, err
		},
		Version: func(ctx context.Context, tx *governance.Tx, in Grant) (int64, error) {
			e, err := g.have(ctx, tx, in.Tenant, in.Feature)
			return e.Version, err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in Grant) (any, error) {
			e, err := g.have(ctx, tx, in.Tenant, in.Feature)
			return map[string]any{"before": side(e), "after": map[string]any{"feature": in.Feature, "quantity": strconv.FormatInt(in.Quantity, 10), "until": in.Until}}, err
		},
	}, g.give)
	g.Take = governance.Define(ActionRevoke, governance.Spec[Revoke]{
		Summary:    "Takes back at once what was given by hand.",
		Unheld:     "It gives nobody anything: it undoes a grant, which was held if it was large.",
		Permission: "tenant:plan", Sensitive: true,
		Tenant:   func(in Revoke) governance.TenantID { return in.Tenant },
		Resource: func(in Revoke) governance.Ref { return entitlementRef(in.Tenant, in.Feature) },
		Validate: func(in Revoke) error {
			if in.Tenant == "" || in.Feature == "" || len(in.Feature) > 128 || !clean(in.Feature) {
				return governance.Invalid("feature", "tenant and feature are required")
			}
			return nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in Revoke) (int64, error) {
			e, err := g.byHand(ctx, tx, in)
			return e.Version, err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in Revoke) (any, error) {
			e, err := g.byHand(ctx, tx, in)
			return map[string]any{"before": side(e), "after": nil}, err
		},
	}, func(ctx context.Context, tx *governance.Tx, in Revoke) (governance.Result, error) {
		x, _ := governance.ExecutionFrom(ctx)
		if _, err := k.LockTenantTx(ctx, tx, in.Tenant); err != nil {
			return governance.Result{}, err
		}
		e, err := g.byHand(ctx, tx, in)
		if err != nil {
			return governance.Result{}, err
		}
		return governance.Result{Data: side(e)}, k.RevokeTx(ctx, tx, x.Identity, in.Tenant, in.Feature, e.Version)
	})
	return g, k.Register(g.Give, g.Take)
}

func entitlementRef(t governance.TenantID, feature string) governance.Ref {
	return governance.Ref{Kind: "entitlement", ID: string(t) + ":" + feature}
}

func side(e governance.Entitlement) map[string]any {
	if e.Feature == "" {
		return nil
	}
	out := map[string]any{"feature": e.Feature, "quantity": strconv.FormatInt(e.Quantity, 10), "source": e.Source}
	if !e.ExpiresAt.IsZero() {
		out["until"] = e.ExpiresAt.Format(time.RFC3339)
	}
	return out
}

func (g *Grants) have(ctx context.Context, tx *governance.Tx, tenant governance.TenantID, feature string) (governance.Entitlement, error) {
	s, err := g.k.TenantStateTx(ctx, tx, tenant)
	if err != nil {
		return governance.Entitlement{}, err
	}
	for _, e := range s.Entitlements {
		if e.Feature == feature {
			return e, nil
		}
	}
	return governance.Entitlement{}, nil
}

// givable refuses to lay a grant over what the tenant has otherwise: it would be gone
// with the grant.
func (g *Grants) givable(ctx context.Context, tx *governance.Tx, in Grant) (governance.Entitlement, error) {
	s, err := g.k.TenantStateTx(ctx, tx, in.Tenant)
	if err != nil {
		return governance.Entitlement{}, err
	}
	if s.Tenant.Status == governance.TenantClosed {
		return governance.Entitlement{}, fmt.Errorf("tenant %s is closed: %w", in.Tenant, governance.ErrConflict)
	}
	e, err := g.have(ctx, tx, in.Tenant, in.Feature)
	if err == nil && e.Feature != "" && e.Source != SourceHand && (e.ExpiresAt.IsZero() || e.ExpiresAt.After(g.k.Now())) {
		return e, fmt.Errorf("tenant %s has %s by %s already: %w", in.Tenant, in.Feature, e.Source, governance.ErrConflict)
	}
	return e, err
}

func (in Grant) until(now time.Time) (time.Time, error) {
	until, err := time.Parse(time.RFC3339, in.Until)
	if err != nil || !until.After(now) || until.Sub(now) > grantMax {
		return until, governance.Invalid("until", "is not in the future, or more than 366 days away")
	}
	return until.UTC(), nil
}

func (g *Grants) give(ctx context.Context, tx *governance.Tx, in Grant) (governance.Result, error) {
	x, _ := governance.ExecutionFrom(ctx)
	if _, err := g.k.LockTenantTx(ctx, tx, in.Tenant); err != nil {
		return governance.Result{}, err
	}
	before, err := g.givable(ctx, tx, in)
	if err != nil {
		return governance.Result{}, err
	}
	until, err := in.until(g.k.Now())
	if err != nil {
		return governance.Result{}, err
	}
	after := governance.Entitlement{Feature: in.Feature, Quantity: in.Quantity, ExpiresAt: until, Source: SourceHand}
	return governance.Result{Data: map[string]any{"before": side(before), "after": side(after)}}, g.k.GrantTx(ctx, tx, x.Identity, in.Tenant, after)
}

func (g *Grants) byHand(ctx context.Context, tx *governance.Tx, in Revoke) (governance.Entitlement, error) {
	e, err := g.have(ctx, tx, in.Tenant, in.Feature)
	if err == nil && e.Source != SourceHand {
		err = fmt.Errorf("%s of tenant %s was not given by hand: %w", in.Feature, in.Tenant, governance.ErrNotFound)
	}
	return e, err
}
