package governance_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

type credit struct {
	Tenant governance.TenantID `json:"tenant"`
	Money  governance.Money    `json:"money"`
}

func creditSpec() governance.Spec[credit] {
	return governance.Spec[credit]{
		Permission: "tenant:credit", Sensitive: true,
		Tenant:   func(in credit) governance.TenantID { return in.Tenant },
		Resource: func(in credit) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
		Measures: func(_ context.Context, _ *governance.Tx, in credit) ([]governance.Measure, error) {
			return []governance.Measure{governance.MoneyMeasure(in.Money)}, nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in credit) (int64, error) {
			var v int64
			err := tx.NewRaw("SELECT COALESCE(MAX(seats), 0) FROM gov_tenant WHERE id = ?", in.Tenant).Scan(ctx, &v)
			return v, err
		},
	}
}

// creditAction counts its executions in the database itself.
func creditAction() *governance.Action[credit] {
	return governance.Define("tenant.credit", creditSpec(), func(ctx context.Context, tx *governance.Tx, in credit) (governance.Result, error) {
		_, err := tx.ExecContext(ctx, "INSERT INTO host_credit (id, tenant, minor) VALUES (?, ?, ?)", uuid.NewString(), in.Tenant, in.Money.Minor)
		if in.Money.Minor == 666 {
			return governance.Result{}, errors.New("the host refuses")
		}
		return governance.Result{Data: map[string]string{"amount": in.Money.String()}}, err
	})
}

func creditPolicy(limit int64) governance.Policy {
	return governance.Policy{
		ID: "credit-limit", Title: "Credits over the limit", Actions: []string{"tenant.credit"}, Mode: governance.Enforce,
		Limits: []governance.Limit{{Unit: "EUR.cent", Max: limit, Window: governance.Duration{Duration: 24 * time.Hour}, By: governance.ByTenant, Convert: true}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour}},
	}
}

var creditOptions = &govtest.Options{Rates: map[string]int64{"USD→EUR": 900_000, "EUR→EUR": 1_000_000}}

func creditEnv(t *testing.T, e *govtest.Env, limit int64) *governance.Action[credit] {
	t.Helper()
	ctx := t.Context()
	_, err := e.DB.Handle().ExecContext(ctx, "CREATE TABLE host_credit (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, minor BIGINT NOT NULL)")
	require.NoError(t, err)
	a := creditAction()
	require.NoError(t, e.Kernel.Register(a))
	require.NoError(t, e.Kernel.InstallPolicies(ctx, creditPolicy(limit)))
	e.People.Put("dana", "root")
	e.People.Put("ana", "gov_approver")
	e.People.Put("ben", "gov_approver")
	e.People.Allow("gov_approver", "approval:vote", "approval:read")
	require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("test"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive, Plan: "pro", Seats: 5})
		return err
	}))
	return a
}

func eur(minor int64) credit {
	return credit{"acme", governance.Money{Minor: minor, Currency: "EUR"}}
}

func credits(t *testing.T, e *govtest.Env) int64 {
	t.Helper()
	var n int64
	require.NoError(t, e.DB.Handle().NewRaw("SELECT COUNT(*) FROM host_credit").Scan(t.Context(), &n))
	return n
}

func held(t *testing.T, err error) uuid.UUID {
	t.Helper()
	h, ok := errors.AsType[*governance.ApprovalRequiredError](err)
	require.True(t, ok, "want an approval, got %v", err)
	return h.Approval
}

func TestGuard_Limits(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		ctx, dana := t.Context(), e.As("dana")
		_, err := a.Do(ctx, e.Kernel, dana, eur(600), nil)
		require.NoError(t, err)
		out, err := a.Do(ctx, e.Kernel, dana, credit{"acme", governance.Money{Minor: 444, Currency: "USD"}}, nil)
		require.NoError(t, err, "4.44 USD are 4.00 EUR: exactly the limit is not over it")
		require.JSONEq(t, `{"amount":"USD 4.44"}`, string(out.Data))
		_, err = a.Do(ctx, e.Kernel, dana, eur(1), nil)
		id := held(t, err)
		require.EqualValues(t, 2, credits(t, e))
		ap, err := e.Kernel.Approval(ctx, id)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, ap.State)
		require.EqualValues(t, 1000, ap.Decision.Policies[0].Limits[0].Sum)
		e.Advance(24 * time.Hour)
		_, err = a.Do(ctx, e.Kernel, dana, eur(1000), nil)
		require.NoError(t, err, "the window has passed")
	})
}

func TestGuard_PendingCounts(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		ctx, dana := t.Context(), e.As("dana")
		_, err := a.Do(ctx, e.Kernel, dana, eur(1001), nil)
		id := held(t, err)
		_, err = a.Do(ctx, e.Kernel, dana, eur(1), nil)
		held(t, err)
		ap, err := e.Kernel.Approval(ctx, id)
		require.NoError(t, err)
		ap, err = e.Kernel.Decide(ctx, e.As("ana"), id, governance.Vote{Decision: governance.Reject, Digest: ap.Digest})
		require.NoError(t, err)
		require.Equal(t, governance.StateDenied, ap.State)
		_, err = a.Do(ctx, e.Kernel, dana, eur(999), nil)
		require.NoError(t, err, "a denied action gives back what it reserved")
		require.EqualValues(t, 1, credits(t, e))
	})
}

func TestGuard_ExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 100)
		ctx, dana := t.Context(), e.As("dana")
		var admitted, heldBack atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 5 {
					_, err := a.Do(ctx, e.Kernel, dana, eur(1), nil)
					if _, ok := errors.AsType[*governance.ApprovalRequiredError](err); ok {
						heldBack.Add(1)
					} else if err == nil {
						admitted.Add(1)
					} else {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 100, admitted.Load())
		require.EqualValues(t, 220, heldBack.Load())
		require.EqualValues(t, 100, credits(t, e))
	})
}

func TestGuard_FailedExecutorLeavesNothing(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		_, err := a.Do(t.Context(), e.Kernel, e.As("dana"), eur(666), nil)
		require.ErrorContains(t, err, "the host refuses")
		require.Zero(t, credits(t, e))
		_, err = a.Do(t.Context(), e.Kernel, e.As("dana"), eur(1000), nil)
		require.NoError(t, err, "what failed reserves nothing")
		require.Contains(t, e.Actions(t), "tenant.credit failed")
	})
}

func TestGuard_Idempotency(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		ctx, dana, key := t.Context(), e.As("dana"), &governance.DoOptions{Key: "k1"}
		first, err := a.Do(ctx, e.Kernel, dana, eur(10), key)
		require.NoError(t, err)
		again, err := a.Do(ctx, e.Kernel, dana, eur(10), key)
		require.NoError(t, err)
		require.True(t, again.Replayed)
		require.Equal(t, first.Action, again.Action)
		require.JSONEq(t, string(first.Data), string(again.Data))
		_, err = a.Do(ctx, e.Kernel, dana, eur(11), key)
		require.ErrorIs(t, err, governance.ErrConflict)
		require.EqualValues(t, 1, credits(t, e))
		_, err = a.Do(ctx, e.Kernel, dana, eur(5000), &governance.DoOptions{Key: "k2"})
		id := held(t, err)
		_, err = a.Do(ctx, e.Kernel, dana, eur(5000), &governance.DoOptions{Key: "k2"})
		require.Equal(t, id, held(t, err), "the same key finds the same approval")

		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if _, err := a.Do(ctx, e.Kernel, dana, credit{"other", governance.Money{Minor: 7, Currency: "EUR"}}, &governance.DoOptions{Key: "k3"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 2, credits(t, e), "sixteen calls with one key execute once")
	})
}

func TestGuard_Refusals(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		ctx := t.Context()
		e.People.Put("eve", "nobody")
		_, err := a.Do(ctx, e.Kernel, e.As("eve"), eur(1), nil)
		_, denied := errors.AsType[*governance.DeniedError](err)
		require.True(t, denied, "%v", err)

		imp := e.As("dana")
		imp.Subject = &governance.Actor{ID: "user:customer", Kind: governance.ActorUser, Person: "customer"}
		_, err = a.Do(ctx, e.Kernel, imp, eur(1), nil)
		d, _ := errors.AsType[*governance.DeniedError](err)
		require.NotNil(t, d)
		require.Equal(t, "impersonation", d.Rule)

		_, err = a.Do(ctx, e.Kernel, e.As("dana"), credit{"acme", governance.Money{Minor: 1, Currency: "JPY"}}, nil)
		require.ErrorIs(t, err, governance.ErrNotFound, "a currency without a rate is not let through")
		require.Zero(t, credits(t, e))
		require.Subset(t, e.Actions(t), []string{"tenant.credit denied"})
		_, err = governance.DoFunc(ctx, e.Kernel, e.As("dana"), "tenant.credit", creditSpec(), eur(2000), nil,
			func(context.Context, *governance.Tx) (governance.Result, error) { return governance.Result{}, nil })
		d, _ = errors.AsType[*governance.DeniedError](err)
		require.NotNil(t, d)
		require.Equal(t, "closure", d.Rule)
	})
}

func TestGuard_Shadow(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, creditOptions)
	a := creditEnv(t, e, 1_000_000)
	p := creditPolicy(10)
	p.ID, p.Mode = "credit-shadow", governance.Shadow
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), p))
	out, err := a.Do(t.Context(), e.Kernel, e.As("dana"), eur(11), nil)
	require.NoError(t, err)
	r, err := e.Kernel.Ledger().Record(t.Context(), out.Receipt.ID)
	require.NoError(t, err)
	require.Contains(t, string(r.Body), "more than EUR 0.10", "what a shadow policy would have done is written down")
}

func TestGuard_InTx(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		ctx := t.Context()
		host, err := e.DB.Handle().DB.BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = a.InTx(ctx, e.Kernel, e.DB.Adopt(host), e.As("dana"), eur(5), nil)
		require.NoError(t, err)
		require.NoError(t, host.Rollback())
		require.Zero(t, credits(t, e))
		require.NotContains(t, e.Actions(t), "tenant.credit done")

		host, err = e.DB.Handle().DB.BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = a.InTx(ctx, e.Kernel, e.DB.Adopt(host), e.As("dana"), eur(5000), nil)
		id := held(t, err)
		require.NoError(t, host.Commit())
		ap, err := e.Kernel.Approval(ctx, id)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, ap.State)
	})
}

func TestGuard_PoliciesOnTheFly(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, creditOptions)
	a := creditEnv(t, e, 1000)
	ctx, dana := t.Context(), e.As("dana")
	_, err := e.Kernel.PutPolicy(ctx, dana, creditPolicy(10), nil)
	require.NoError(t, err)
	_, err = a.Do(ctx, e.Kernel, dana, eur(11), nil)
	held(t, err)
	bad := creditPolicy(10)
	bad.Require.AllOf = []governance.Quorum{{Group: "gov_approver", Approvals: 3}}
	_, err = e.Kernel.PutPolicy(ctx, dana, bad, nil)
	require.ErrorContains(t, err, "cannot be reached")
	for name, change := range map[string]func(p *governance.Policy){
		"no mode":                             func(p *governance.Policy) { p.Mode = "" },
		"no action":                           func(p *governance.Policy) { p.Actions = nil },
		"no quorum":                           func(p *governance.Policy) { p.Require.AllOf = nil },
		"zero approvals":                      func(p *governance.Policy) { p.Require.AllOf[0].Approvals = 0 },
		"window too short":                    func(p *governance.Policy) { p.Limits[0].Window = governance.Duration{} },
		"a condition without a rule language": func(p *governance.Policy) { p.Match = "true" },
	} {
		p := creditPolicy(10)
		change(&p)
		_, err := e.Kernel.PutPolicy(ctx, dana, p, nil)
		_, invalid := errors.AsType[*governance.InvalidError](err)
		require.True(t, invalid, "%s: %v", name, err)
	}
}

func TestDo_Unregistered(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, creditOptions)
	_, err := creditAction().Do(t.Context(), e.Kernel, e.As("dana"), eur(1), nil)
	require.ErrorIs(t, err, governance.ErrNotFound)
}

func ExampleMoney() {
	m, _ := governance.ParseMoney("12.5", "EUR")
	y, _ := governance.ParseMoney("500", "JPY")
	_, err := governance.ParseMoney("0.001", "EUR")
	fmt.Println(m, y, err)
	// Output: EUR 12.50 JPY 500 amount: "0.001" is not a decimal amount with at most 2 decimals
}
