package governance_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govtest"
)

// TestBackTest_IsNoOracle: the counts of a draft tell about values of acts, so who may
// not read acts gets none.
func TestBackTest_IsNoOracle(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		w.hold(t, "ann")
		guess := governance.Policy{ID: "guess", Title: "Guess", Actions: []string{"desk.act"}, Match: `action.measures["EUR.cent"] == 1`, Mode: governance.Shadow, Deny: true}
		w.People.Allow("reader", "policy:read")
		w.People.Allow("auditor", "policy:read", "approval:read", "ledger:read")
		w.People.Put("rita", "reader")
		w.People.Put("otto", "auditor")
		var denied *governance.DeniedError
		_, err := w.Kernel.BackTest(t.Context(), w.As("rita"), guess, w.Now().Add(-time.Hour), w.Now())
		require.ErrorAs(t, err, &denied)
		r, err := w.Kernel.BackTest(t.Context(), w.As("otto"), guess, w.Now().Add(-time.Hour), w.Now())
		require.NoError(t, err)
		require.Equal(t, 1, r.Denied)
		_, _, err = w.Kernel.BackTestReport(t.Context(), w.As("rita"), r.Hash)
		require.ErrorAs(t, err, &denied, "nor may they read what another made")
	})
}

// TestBackTest_LongRecentAndOfTheSame: a policy comes into force with a report that says
// something about it, and with none does not.
func TestBackTest_LongRecentAndOfTheSame(t *testing.T) {
	t.Parallel()
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	govtest.Each(t, &govtest.Options{Kernel: func(o *governance.Options) { o.Rules, o.BackTested = rules, true }}, func(t *testing.T, e *govtest.Env) {
		ctx, k, day := t.Context(), e.Kernel, 24*time.Hour
		e.People.Put("eve", "root")
		p := governance.Policy{ID: "quiet", Title: "Quiet", Actions: []string{"late.*"}, Mode: governance.Enforce, NeedWhy: true}
		put := func(p governance.Policy) error {
			_, err := k.PutPolicy(ctx, e.As("eve"), p, nil)
			return err
		}
		test := func(from, to time.Time) governance.BackTestReport {
			r, err := k.BackTest(ctx, e.As("eve"), p, from, to)
			require.NoError(t, err)
			p.BackTest = r.Hash
			return r
		}
		require.ErrorContains(t, put(p), "hash of its back-test")
		shadow := p
		shadow.Mode = governance.Shadow
		require.NoError(t, put(shadow), "in shadow it needs none; and it is the first act there is")

		r := test(e.Now().Add(-time.Hour), e.Now().Add(90*day))
		require.True(t, r.Whole)
		require.False(t, r.To.After(e.Now()), "the future is not replayed")
		require.NoError(t, put(p), "all there is, is enough")

		e.Advance(40 * day)
		require.ErrorContains(t, put(p), "ended more than 7 days ago")
		test(e.Now().Add(-29*day), e.Now())
		require.ErrorContains(t, put(p), "less than 30 days")
		test(e.Now().Add(-30*day), e.Now())
		other := p
		other.Title = "Other"
		require.ErrorContains(t, put(other), "another document")
		late := governance.Define("late.act", governance.Spec[creditInput]{Permission: "late:act", Tenant: func(in creditInput) governance.TenantID { return in.Tenant },
			Resource: func(in creditInput) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} }}, nothing)
		require.NoError(t, k.Register(late))
		require.ErrorContains(t, put(p), "have changed since the report")
		test(e.Now().Add(-30*day), e.Now())
		require.NoError(t, put(p))
	})
}

func nothing(context.Context, *governance.Tx, creditInput) (governance.Result, error) {
	return governance.Result{}, nil
}
