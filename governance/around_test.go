package governance_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

func TestDelegation_TwoDelegatesFillOnePlace(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 2}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		for _, to := range []governance.PersonID{"dan", "eve"} {
			_, err := w.Kernel.Delegate(t.Context(), w.As("bob"), governance.Delegation{Delegate: to, Group: "approver", Reason: "leave", Until: w.Now().Add(24 * time.Hour)})
			if err != nil {
				return
			}
		}
		a := w.hold(t, "ann")
		_, err := w.vote(t, "dan", a, governance.Approve)
		require.NoError(t, err)
		s, err := w.vote(t, "eve", a, governance.Approve)
		require.False(t, err == nil && s == governance.StateExecuted, "one seat of bob filled two places")
	})
}

func TestDelegation_LiftsNoExclusion(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		p.Require.Exclude = []governance.GroupID{"security"}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		_, err := w.vote(t, "cleo", a, governance.Approve)
		wantDenied(t, err, "excludes a group")
		_, err = w.Kernel.Delegate(t.Context(), w.As("cleo"), governance.Delegation{Delegate: "eve", Group: "security", Reason: "leave", Until: w.Now().Add(time.Hour)})
		require.NoError(t, err)
		s, err := w.vote(t, "cleo", a, governance.Approve)
		require.Error(t, err, "excluded cleo voted: %s", s)
	})
}

func TestDelegation_OfTheExcludedIsNone(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		p.Require.Exclude = []governance.GroupID{"security"}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		_, err := w.Kernel.Delegate(t.Context(), w.As("cleo"), governance.Delegation{Delegate: "eve", Group: "approver", Reason: "leave", Until: w.Now().Add(time.Hour)})
		require.NoError(t, err)
		s, err := w.vote(t, "eve", a, governance.Approve)
		require.Error(t, err, "eve voted with the place of excluded cleo: %s", s)
	})
}

func TestApproval_NewRefusalEndsIt(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		require.NoError(t, w.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "freeze", Title: "Freeze", Actions: []string{"desk.act"}, Mode: governance.Enforce, Deny: true}))
		s, err := w.vote(t, "bob", a, governance.Approve)
		require.False(t, err == nil && s == governance.StateExecuted, "done although freeze denies it")
	})
}

func TestApproval_ShadowThatEnforcesEndsIt(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		q := p
		q.ID, q.Mode, q.Deny, q.Require = "freeze", governance.Shadow, true, nil
		return []governance.Policy{p, q}
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			return w.Kernel.PutPolicyTx(ctx, tx, w.As("eve"), governance.Policy{ID: "freeze", Title: "Freeze", Actions: []string{"desk.act"}, Mode: governance.Enforce, Deny: true})
		}))
		s, err := w.vote(t, "bob", a, governance.Approve)
		require.False(t, err == nil && s == governance.StateExecuted, "done although freeze, which had matched in shadow, denies it")
	})
}

func TestDelegation_MeetsNoConditionOfOthers(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1, Where: "'security' in actor.roles"}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		_, err := w.vote(t, "bob", a, governance.Approve)
		require.Error(t, err, "bob is no security")
		_, err = w.Kernel.Delegate(t.Context(), w.As("bob"), governance.Delegation{Delegate: "dan", Group: "approver", Reason: "leave", Until: w.Now().Add(time.Hour)})
		require.NoError(t, err)
		s, err := w.vote(t, "dan", a, governance.Approve)
		require.Error(t, err, "dan does with bob's place what bob could not: %s", s)
	})
}

func TestLimit_KeyedAttemptsLeaveASoundLedger(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require = nil
		p.Limits = []governance.Limit{{Unit: governance.UnitCount, Max: 9, Window: hours(1), By: governance.ByActor, Count: governance.CountAttempts}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		w.broken = true
		_, err := w.do(t, "ann", 1, &governance.DoOptions{Key: "k"})
		require.Error(t, err)
		w.broken = false
		_, err = w.do(t, "ann", 1, &governance.DoOptions{Key: "k"})
		require.NoError(t, err)
	})
}
