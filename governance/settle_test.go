package governance_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// TestSettle_ByHand: where the vendor cannot be asked, a person who had no part in it
// says how it ended, once and on record.
func TestSettle_ByHand(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		creditEnv(t, e, 1000)
		e.People.Put("vera", "root")
		e.People.Put("carl", "root")
		v := &vendor{done: map[string]int{}}
		v.lose.Store(true)
		v.blind.Store(true)
		a, ctx, k := v.action(), t.Context(), e.Kernel
		require.NoError(t, k.Register(a))
		unknown := func(opts *governance.DoOptions) governance.Outcome {
			out, err := a.Do(ctx, k, e.As("vera"), eur(1), opts)
			require.Error(t, err)
			require.Equal(t, governance.StateUnknown, out.State)
			return out
		}
		settle := func(who governance.PersonID, of governance.Outcome, done bool) error {
			_, err := k.SettleUnknown(ctx, e.As(who), governance.Settlement{Action: of.Action, Done: done, Reason: "the vendor's support told me"}, nil)
			return err
		}
		one, two := unknown(&governance.DoOptions{Exclude: []governance.PersonID{"carl"}}), unknown(nil)
		_, err := k.SettleUnknown(ctx, e.As("vera"), governance.Settlement{Action: one.Action, Done: true, Reason: "so"}, nil)
		require.ErrorContains(t, err, "reason")
		wantDenied(t, settle("vera", one, true), "had no part")
		wantDenied(t, settle("carl", one, true), "had no part")
		e.People.Put("sam", "guest")
		wantDenied(t, settle("sam", one, true), "no role")
		require.Equal(t, "unknown", remoteState(t, e, one.Action))
		e.People.Put("rob", "root")
		require.NoError(t, settle("rob", one, true))
		require.NoError(t, settle("rob", two, false))
		require.Equal(t, "executed", remoteState(t, e, one.Action))
		require.Equal(t, "failed", remoteState(t, e, two.Action))
		require.ErrorIs(t, settle("rob", one, false), governance.ErrConflict, "once")

		v.blind.Store(false)
		e.Advance(time.Hour)
		require.NoError(t, k.Sweep(ctx))
		require.Equal(t, "failed", remoteState(t, e, two.Action), "nothing looks again at what is settled")
		require.Equal(t, 1, v.done[two.Action.String()], "nor calls again")
		alerts, err := k.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Empty(t, alerts)
		require.Subset(t, e.Actions(t), []string{"vendor.credit done", "vendor.credit failed", "action.settle done"})
		problems, err := governance.Check(ctx, e.DB)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

// TestSettle_HeldIsOfTheCallsUntilThen: what somebody found out about one call says nothing
// about the next, which is made while the finding waits for approval. Who asked for the
// act approves of no finding about it.
func TestSettle_HeldIsOfTheCallsUntilThen(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		creditEnv(t, e, 1000)
		e.People.Put("vera", "root", "gov_approver")
		e.People.Put("rob", "root")
		v := &vendor{done: map[string]int{}}
		v.lose.Store(true)
		v.blind.Store(true)
		a, ctx, k, day := v.action(), t.Context(), e.Kernel, governance.Duration{Duration: 24 * time.Hour}
		require.NoError(t, k.Register(a))
		require.NoError(t, k.InstallPolicies(ctx, governance.Policy{ID: "settling", Title: "Settling", Actions: []string{governance.ActionSettle}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
		for _, again := range []bool{true, false} {
			out, err := a.Do(ctx, k, e.As("vera"), eur(1), nil)
			require.Error(t, err)
			require.Equal(t, governance.StateUnknown, out.State)
			id := out.Action.String()
			v.done[id] = 0 // the call never arrived
			_, err = k.SettleUnknown(ctx, e.As("rob"), governance.Settlement{Action: out.Action, Reason: "the vendor's support told me"}, nil)
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			if again { // it is called again, and that call arrives
				v.blind.Store(false)
				e.Advance(30 * time.Minute)
				require.ErrorContains(t, k.Sweep(ctx), "connection lost")
				require.Equal(t, "unknown", remoteState(t, e, out.Action))
				require.Equal(t, 1, v.done[id])
				v.blind.Store(true)
			}
			w, err := k.Approval(ctx, held.Approval)
			require.NoError(t, err)
			_, err = k.Decide(ctx, e.As("vera"), w.ID, governance.Vote{Decision: governance.Approve, Digest: w.Digest})
			wantDenied(t, err, "you had a part")
			w, err = k.Decide(ctx, e.As("ana"), w.ID, governance.Vote{Decision: governance.Approve, Digest: w.Digest})
			require.NoError(t, err)
			if again {
				require.Equal(t, governance.StateSuperseded, w.State)
				require.Equal(t, "unknown", remoteState(t, e, out.Action))
			} else {
				require.Equal(t, governance.StateExecuted, w.State)
				require.Equal(t, "failed", remoteState(t, e, out.Action))
			}
		}
	})
}
