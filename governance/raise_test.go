package governance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

func strictness(e governance.Effect) int {
	return slices.Index([]governance.Effect{governance.Allow, governance.Hold, governance.Deny}, e)
}

func need(group governance.GroupID, n int) governance.Require {
	day := governance.Duration{Duration: 24 * time.Hour}
	return governance.Require{AllOf: []governance.Quorum{{Group: group, Approvals: n}}, DecideWithin: day, ExecuteWithin: day}
}

// TestRaiseBy_OnlyStricter weighs the same action under every set of policies with
// every answer a raiser can give, valid or not: none makes the decision milder, none
// takes a demand away, and a wrong one lets nothing through.
func TestRaiseBy_OnlyStricter(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		e.People.Put("dana", "root")
		req := need("gov_approver", 2)
		policies := []governance.Policy{
			{ID: "hold", Title: "hold", Mode: governance.Enforce, Require: &req},
			{ID: "limit", Title: "limit", Mode: governance.Enforce, Require: &req, Limits: []governance.Limit{{Unit: "EUR.cent", Max: 10, Window: req.DecideWithin, By: governance.ByTenant}}},
			{ID: "deny", Title: "deny", Mode: governance.Enforce, Deny: true},
			{ID: "shadow", Title: "shadow", Mode: governance.Shadow, Deny: true},
			{ID: "why", Title: "why", Mode: governance.Enforce, NeedWhy: true},
		}
		answers := map[string][]governance.Raise{
			"nothing":       nil,
			"one":           {{Source: "finding/rate", Why: "unusual", Require: need("gov_approver", 1)}},
			"two":           {{Source: "finding/rate", Why: "unusual", Require: need("gov_approver", 1)}, {Source: "finding/ring", Why: "ring", Require: need("finance", 2)}},
			"empty list":    {{Source: "finding/rate", Require: governance.Require{AllOf: []governance.Quorum{}}}},
			"zero":          {{}},
			"no approvals":  {{Source: "x", Require: need("gov_approver", 0)}},
			"nobody":        {{Source: "x", Require: need("", 1)}},
			"no clock":      {{Source: "x", Require: governance.Require{AllOf: []governance.Quorum{{Group: "g", Approvals: 1}}}}},
			"a policy's id": {{Source: "deny", Why: "a name does not replace a policy", Require: need("gov_approver", 1)}},
		}
		var answer []governance.Raise
		var failure error
		e.Kernel.RaiseBy(func(context.Context, *governance.Tx, governance.Asked) ([]governance.Raise, error) {
			return answer, failure
		})
		ctx, checked := t.Context(), 0
		for set := range 1 << len(policies) {
			name := fmt.Sprintf("credit.%d", set)
			a := governance.Define(name, creditSpec(), func(context.Context, *governance.Tx, credit) (governance.Result, error) {
				return governance.Result{}, nil
			})
			require.NoError(t, e.Kernel.Register(a))
			for i, p := range policies {
				if set&(1<<i) != 0 {
					p.ID, p.Actions = fmt.Sprintf("%s-%d", p.ID, set), []string{name}
					require.NoError(t, e.Kernel.InstallPolicies(ctx, p))
				}
			}
			answer, failure = nil, nil
			without, err := a.Weigh(ctx, e.Kernel, e.As("dana"), eur(100), nil)
			require.NoError(t, err)
			for what, rs := range answers {
				answer = rs
				with, err := a.Weigh(ctx, e.Kernel, e.As("dana"), eur(100), nil)
				checked++
				if err != nil {
					require.Empty(t, with.Effect, "%s: a wrong raise answers nothing", what)
					_, err = a.Do(ctx, e.Kernel, e.As("dana"), eur(100), nil)
					require.Error(t, err, what)
					continue
				}
				require.GreaterOrEqual(t, strictness(with.Effect), strictness(without.Effect), "%s under %s", what, name)
				require.GreaterOrEqual(t, len(with.Require), len(without.Require))
				for i, r := range without.Require {
					require.Equal(t, r, with.Require[i], "the policies' own demands stay")
				}
				require.Equal(t, without.Policies, with.Policies[:len(without.Policies)])
				if without.Effect == governance.Allow && len(rs) > 0 {
					require.Equal(t, governance.Hold, with.Effect)
				}
			}
			answer, failure = nil, errors.New("the findings cannot be read")
			_, err = a.Do(ctx, e.Kernel, e.As("dana"), eur(100), nil)
			require.Error(t, err)
			if without.Effect == governance.Allow {
				require.NotErrorIs(t, err, governance.ErrNotFound)
				require.ErrorContains(t, err, "cannot be read", "what cannot be asked lets nothing through")
			}
		}
		require.Equal(t, len(answers)<<len(policies), checked)
	})
}

// TestRaiseBy_Held: a raised action is held, approved and executed like any other.
func TestRaiseBy_Held(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1_000_000)
		e.Kernel.RaiseBy(func(_ context.Context, _ *governance.Tx, q governance.Asked) ([]governance.Raise, error) {
			if q.Identity.Actor.Person != "dana" || !q.Sensitive {
				return nil, nil
			}
			return []governance.Raise{{Source: "finding/rate", Why: "41 credits in an hour", Require: need("gov_approver", 1)}}, nil
		})
		ctx := t.Context()
		_, err := a.Do(ctx, e.Kernel, e.As("dana"), eur(5), nil)
		id := held(t, err)
		var why *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &why)
		require.Contains(t, why.Why, "raised:finding/rate: 41 credits in an hour")
		require.Zero(t, credits(t, e))
		ap, err := e.Kernel.Approval(ctx, id)
		require.NoError(t, err)
		_, err = e.Kernel.Decide(ctx, e.As("ana"), id, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
		require.EqualValues(t, 1, credits(t, e))

		var seen []governance.Entry
		require.NoError(t, e.Kernel.Entries(ctx, governance.EntryFilter{From: e.Now().Add(-time.Hour), To: e.Now(), Executed: true, Names: []string{"tenant.credit"}}, func(x governance.Entry) error {
			seen = append(seen, x)
			return nil
		}))
		require.Len(t, seen, 1)
		require.True(t, seen[0].Enforced())
		require.Len(t, seen[0].Votes, 1)
		require.EqualValues(t, "ana", seen[0].Votes[0].Person)
	})
}
