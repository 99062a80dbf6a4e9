package governance_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govtest"
)

func hours(n int) governance.Duration {
	return governance.Duration{Duration: time.Duration(n) * time.Hour}
}

// deskWorld has one action on a thing, whose executor fails while broken is set.
type deskWorld struct {
	*govtest.Env
	act    *governance.Action[creditInput]
	broken bool
}

func counter(t *testing.T, policies func(p governance.Policy) []governance.Policy, fn func(t *testing.T, w *deskWorld)) {
	t.Helper()
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	govtest.Each(t, &govtest.Options{Kernel: func(o *governance.Options) { o.Rules = rules }}, func(t *testing.T, e *govtest.Env) {
		w := &deskWorld{Env: e}
		e.People.Put("ann", "root")
		e.People.Put("bob", "approver", "root")
		e.People.Put("cleo", "approver", "security", "root")
		e.People.Put("dan", "security", "root")
		e.People.Put("eve", "root", "chief")
		w.act = governance.Define("desk.act", governance.Spec[creditInput]{
			Permission: "desk:act",
			Tenant:     func(in creditInput) governance.TenantID { return in.Tenant },
			Resource:   func(in creditInput) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
			Measures: func(_ context.Context, _ *governance.Tx, in creditInput) ([]governance.Measure, error) {
				return []governance.Measure{{Unit: "EUR.cent", Value: in.Cents}}, nil
			},
		}, func(context.Context, *governance.Tx, creditInput) (governance.Result, error) {
			if w.broken {
				return governance.Result{}, errors.New("broken")
			}
			return governance.Result{}, nil
		})
		require.NoError(t, e.Kernel.Register(w.act))
		base := governance.Policy{ID: "desk", Title: "Desk", Actions: []string{"desk.act"}, Mode: governance.Enforce,
			Require: &governance.Require{DecideWithin: hours(24), ExecuteWithin: hours(24)}}
		require.NoError(t, e.Kernel.InstallPolicies(t.Context(), policies(base)...))
		fn(t, w)
		problems, err := governance.Check(t.Context(), e.DB)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

func (w *deskWorld) do(t *testing.T, who governance.PersonID, cents int64, opts *governance.DoOptions) (governance.Outcome, error) {
	t.Helper()
	return w.act.Do(t.Context(), w.Kernel, w.As(who), creditInput{"acme", cents}, opts)
}

// hold asks for the action, which must be held.
func (w *deskWorld) hold(t *testing.T, who governance.PersonID) governance.Approval {
	t.Helper()
	_, err := w.do(t, who, 1, nil)
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	a, err := w.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	return a
}

func (w *deskWorld) vote(t *testing.T, who governance.PersonID, a governance.Approval, d governance.VoteDecision) (governance.State, error) {
	t.Helper()
	got, err := w.Kernel.Decide(t.Context(), w.As(who), a.ID, governance.Vote{Decision: d, Digest: a.Digest})
	return got.State, err
}

func wantDenied(t *testing.T, err error, why string) {
	t.Helper()
	var denied *governance.DeniedError
	require.ErrorAs(t, err, &denied)
	require.Contains(t, denied.Reason, why)
}

func TestLimit_AttemptsCountWhatFailed(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require = nil
		p.Limits = []governance.Limit{{Unit: governance.UnitCount, Max: 3, Window: hours(1), By: governance.ByActor, Count: governance.CountAttempts}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		w.broken = true
		for range 2 {
			_, err := w.do(t, "ann", 1, nil)
			require.Error(t, err)
		}
		w.broken = false
		_, err := w.do(t, "ann", 1, nil)
		require.NoError(t, err)
		for range 3 { // refused tries count on: whoever hammers stays out
			_, err = w.do(t, "ann", 1, nil)
			wantDenied(t, err, "would be more than")
			w.Advance(20 * time.Minute)
		}
		_, err = w.do(t, "bob", 1, nil)
		require.NoError(t, err, "another person's attempts are their own")
		w.Advance(61 * time.Minute)
		_, err = w.do(t, "ann", 1, nil)
		require.NoError(t, err)
	})
}

func TestLimit_PostedLeavesOutWhatWaits(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		hold := p
		hold.Require = &governance.Require{AllOf: []governance.Quorum{{Group: "approver", Approvals: 1}}, DecideWithin: hours(1), ExecuteWithin: hours(1)}
		posted := p
		posted.ID, posted.Require = "posted", nil
		posted.Limits = []governance.Limit{{Unit: governance.UnitCount, Max: 1, Window: hours(1), By: governance.ByTenant, Count: governance.CountPosted}}
		return []governance.Policy{hold, posted}
	}, func(t *testing.T, w *deskWorld) {
		one := w.hold(t, "ann")
		w.hold(t, "ann") // pending does not count
		state, err := w.vote(t, "bob", one, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state)
		_, err = w.do(t, "ann", 1, nil)
		wantDenied(t, err, "would be more than")
	})
}

func TestRequire_AnyOfDenyExcludeWhere(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AnyOf = []governance.Quorum{{Group: "approver", Approvals: 2}, {Group: "security", Approvals: 1, Where: `actor.roles.exists(r, r == "security") && action.measures["EUR.cent"] < 100`}}
		p.Require.Deny = 2
		p.Require.Exclude = []governance.GroupID{"chief"}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		w.People.Put("eve", "approver", "chief", "root")
		a := w.hold(t, "ann")
		_, err := w.vote(t, "eve", a, governance.Approve)
		wantDenied(t, err, "excludes a group")
		state, err := w.vote(t, "bob", a, governance.Reject)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, state, "one of two rejections")
		state, err = w.vote(t, "dan", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state, "one alternative is met")

		a = w.hold(t, "ann")
		_, err = w.vote(t, "bob", a, governance.Reject)
		require.NoError(t, err)
		state, err = w.vote(t, "cleo", a, governance.Reject)
		require.NoError(t, err)
		require.Equal(t, governance.StateDenied, state)

		_, err = w.do(t, "ann", 100, nil)
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		big, err := w.Kernel.Approval(t.Context(), held.Approval)
		require.NoError(t, err)
		_, err = w.vote(t, "dan", big, governance.Approve)
		wantDenied(t, err, "none of the groups")
		for who, want := range map[governance.PersonID]bool{"dan": false, "cleo": true, "eve": false, "ann": false} {
			can, why := w.Kernel.CanVote(t.Context(), w.As(who), big)
			require.Equal(t, want, can, "%s: %s", who, why)
		}
	})
}

func TestPolicy_RefusesOpenRequirements(t *testing.T) {
	t.Parallel()
	good := func() governance.Policy {
		return governance.Policy{ID: "p", Title: "P", Actions: []string{"a"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "g", Approvals: 1}}, DecideWithin: hours(24), ExecuteWithin: hours(1)}}
	}
	require.NoError(t, good().Validate())
	for field, change := range map[string]func(p *governance.Policy){
		"require.any_of":     func(p *governance.Policy) { p.Require.AnyOf = p.Require.AllOf },
		"require.all_of[0]":  func(p *governance.Policy) { p.Require.AllOf[0].Approvals = 0 },
		"require.deny":       func(p *governance.Policy) { p.Require.Deny = -1 },
		"require.exclude[0]": func(p *governance.Policy) { p.Require.Exclude = []governance.GroupID{""} },
		"require.escalate":   func(p *governance.Policy) { p.Require.Escalate = &governance.Escalation{After: hours(24), To: "x"} },
		"notify":             func(p *governance.Policy) { p.Notify = "loud" },
		"review_after":       func(p *governance.Policy) { p.ReviewAfter = hours(-1) },
		"limits[0].count": func(p *governance.Policy) {
			p.Limits = []governance.Limit{{Unit: "count", Window: hours(1), By: governance.ByGlobal, Count: "all"}}
		},
		"require.break_glass":  func(p *governance.Policy) { p.Require.BreakGlass = &governance.BreakGlass{} },
		"require.all_of[0].or": func(p *governance.Policy) { p.Require.AllOf[0].Or = []governance.GroupID{"everybody"} },
	} {
		p := good()
		change(&p)
		require.ErrorContains(t, p.Validate(), field)
	}
}

func TestDelegation_MovesAndNeverWidens(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 2}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		ctx, k := t.Context(), w.Kernel
		give := func(from, to governance.PersonID) (governance.Delegation, error) {
			return k.Delegate(ctx, w.As(from), governance.Delegation{Delegate: to, Group: "approver", Reason: "on leave", Until: w.Now().Add(24 * time.Hour)})
		}
		_, err := give("dan", "eve")
		wantDenied(t, err, "you are not in approver")
		_, err = give("bob", "bob")
		require.ErrorContains(t, err, "somebody else")
		d, err := give("bob", "dan")
		require.NoError(t, err)
		_, err = give("dan", "eve")
		wantDenied(t, err, "you are not in approver") // what was delegated cannot be delegated on

		a := w.hold(t, "ann")
		_, err = w.vote(t, "bob", a, governance.Approve)
		wantDenied(t, err, "none of the groups") // it is dan's now
		_, err = w.vote(t, "dan", a, governance.Approve)
		require.NoError(t, err)
		state, err := w.vote(t, "cleo", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state)

		own := w.hold(t, "bob") // of the one who asks there is no place to fill
		_, err = w.vote(t, "dan", own, governance.Approve)
		wantDenied(t, err, "none of the groups")

		b := w.hold(t, "ann")
		_, err = w.vote(t, "dan", b, governance.Approve)
		require.NoError(t, err)
		w.People.Put("bob", "root") // the delegator leaves the group: the vote goes with it
		state, err = w.vote(t, "cleo", b, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, state)
		w.People.Put("bob", "approver", "root")

		require.ErrorIs(t, k.RevokeDelegation(ctx, w.As("cleo"), d.ID), governance.ErrNotFound)
		require.NoError(t, k.RevokeDelegation(ctx, w.As("bob"), d.ID))
		state, err = w.vote(t, "bob", b, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state)
		left, err := k.Delegations(ctx)
		require.NoError(t, err)
		require.Empty(t, left)
		// The last two need a decision: own and nothing else waits.
		require.NoError(t, k.Cancel(ctx, w.As("bob"), own.ID, "done"))
	})
}

func TestEscalation_OpensToOneMoreGroup(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		p.Require.Escalate = &governance.Escalation{After: hours(2), To: "chief"}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		_, err := w.vote(t, "eve", a, governance.Approve)
		wantDenied(t, err, "none of the groups")
		require.NoError(t, w.Kernel.Sweep(t.Context()))
		_, err = w.vote(t, "eve", a, governance.Approve)
		wantDenied(t, err, "none of the groups")
		w.Advance(2*time.Hour + time.Second)
		for range 3 { // once
			require.NoError(t, w.Kernel.Sweep(t.Context()))
		}
		alerts, err := w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Len(t, alerts, 1)
		require.Equal(t, governance.Critical, alerts[0].Severity)
		require.EqualValues(t, 2, alerts[0].Times)
		state, err := w.vote(t, "eve", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state)
	})
}

func TestPolicy_ReachIsCheckedWhenPeopleLeave(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}, {Group: "security", Approvals: 1}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		open := func() []governance.Alert {
			t.Helper()
			require.NoError(t, w.Kernel.CheckReach(t.Context()))
			as, err := w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
			require.NoError(t, err)
			return as
		}
		require.Empty(t, open())
		w.People.Remove("bob")
		require.Empty(t, open(), "cleo approves, dan is of security")
		w.People.Remove("dan") // cleo is in both groups and fills one place
		require.Len(t, open(), 1)
		require.EqualValues(t, 1, open()[0].Times, "told once")
		w.People.Put("bob", "approver")
		require.Empty(t, open())
	})
}

func TestBreakGlass(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		p.Require.BreakGlass = &governance.BreakGlass{Group: "chief", Max: 2, Window: hours(24), ReviewWithin: hours(4)}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		ctx, k := t.Context(), w.Kernel
		why := "the site is down, customers cannot pay"
		breaks := func(who governance.PersonID, age time.Duration, reason string) (governance.Outcome, error) {
			id := w.As(who)
			id.Actor.AuthTime = w.Now().Add(-age)
			return w.act.Do(ctx, k, id, creditInput{"acme", 1}, &governance.DoOptions{Reason: reason, BreakGlass: true})
		}
		_, err := breaks("ann", 0, why)
		wantDenied(t, err, "you are not in chief")
		_, err = breaks("eve", 0, "short")
		wantDenied(t, err, "say why")
		_, err = breaks("eve", 6*time.Minute, why)
		wantDenied(t, err, "sign in again")
		out, err := breaks("eve", time.Minute, why)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, out.State)

		reviews, err := k.Reviews(ctx, governance.ReviewFilter{})
		require.NoError(t, err)
		require.Len(t, reviews, 1)
		require.Equal(t, out.Action, reviews[0].Action)
		alerts, err := k.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Len(t, alerts, 1)
		require.Equal(t, governance.Critical, alerts[0].Severity)

		_, err = k.DecideReview(ctx, w.As("eve"), reviews[0].ID, governance.ReviewAccepted, "fine")
		wantDenied(t, err, "nobody reviews what they did themselves")
		w.Advance(4*time.Hour + time.Second)
		_, err = breaks("eve", 0, why)
		wantDenied(t, err, "overdue")
		_, err = k.DecideReview(ctx, w.As("bob"), reviews[0].ID, governance.ReviewAccepted, "")
		require.ErrorContains(t, err, "note")
		got, err := k.DecideReview(ctx, w.As("bob"), reviews[0].ID, governance.ReviewAccepted, "it was down")
		require.NoError(t, err)
		require.Equal(t, governance.ReviewAccepted, got.State)
		_, err = k.DecideReview(ctx, w.As("cleo"), reviews[0].ID, governance.ReviewViolation, "no")
		require.ErrorIs(t, err, governance.ErrConflict)
		waits := w.hold(t, "eve")
		chief, err := w.People.Resolve(ctx, "eve")
		require.NoError(t, err)
		require.True(t, waits.Glass(chief))
		fresh := w.As("eve")
		fresh.Actor.AuthTime = w.Now()
		_, err = k.BreakGlassOn(ctx, w.As("bob"), waits.ID, governance.DoOptions{Reason: why})
		wantDenied(t, err, "only who asked")
		first, err := k.BreakGlassOn(ctx, fresh, waits.ID, governance.DoOptions{Reason: why, Key: "once"})
		require.NoError(t, err)
		again, err := k.BreakGlassOn(ctx, fresh, waits.ID, governance.DoOptions{Reason: why, Key: "once"})
		require.NoError(t, err)
		require.True(t, again.Replayed)
		require.Equal(t, first.Action, again.Action)
		now, err := k.Approval(ctx, waits.ID)
		require.NoError(t, err)
		require.Equal(t, governance.StateSuperseded, now.State, "it is done once")
		_, err = k.BreakGlassOn(ctx, fresh, waits.ID, governance.DoOptions{Reason: why})
		require.ErrorIs(t, err, governance.ErrConflict)
		_, err = breaks("eve", 0, why)
		wantDenied(t, err, "no more are allowed")
	})
}

func TestExecute_FailedIsTriedAgainInsideItsClock(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		p.ReviewAfter, p.Notify = hours(8), governance.Warning
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		w.broken = true
		a := w.hold(t, "ann")
		state, err := w.vote(t, "bob", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateFailed, state)
		require.NoError(t, w.Kernel.Sweep(t.Context()))
		got, err := w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Equal(t, 1, got.Attempts, "it rests first")
		for _, rest := range []time.Duration{11 * time.Second, 21 * time.Second} {
			w.Advance(rest)
			_ = w.Kernel.Sweep(t.Context()) // the error is the executor's
		}
		got, err = w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Equal(t, 3, got.Attempts)
		w.broken = false
		w.Advance(41 * time.Second)
		require.NoError(t, w.Kernel.Sweep(t.Context()))
		got, err = w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, got.State)
		reviews, err := w.Kernel.Reviews(t.Context(), governance.ReviewFilter{})
		require.NoError(t, err)
		require.Len(t, reviews, 1, "what the policy owes is owed once")

		w.broken = true
		b := w.hold(t, "ann")
		_, err = w.vote(t, "bob", b, governance.Approve)
		require.NoError(t, err)
		w.Advance(24*time.Hour + time.Minute)
		w.broken = false
		require.NoError(t, w.Kernel.Sweep(t.Context()))
		got, err = w.Kernel.Approval(t.Context(), b.ID)
		require.NoError(t, err)
		require.Equal(t, governance.StateLapsed, got.State)
	})
}

// TestBackTest_AgreesWithShadow lets a policy run in shadow beside random acts, and
// wants its back-test over the same time to say the same of each of them.
func TestBackTest_AgreesWithShadow(t *testing.T) {
	t.Parallel()
	document := func(p governance.Policy) governance.Policy {
		p.Match = `action.measures["EUR.cent"] > 3`
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 2}}
		p.Limits = []governance.Limit{{Unit: "EUR.cent", Max: 100, Window: hours(24), By: governance.ByActor}, {Unit: governance.UnitCount, Max: 12, Window: hours(6), By: governance.ByTenant}}
		return p
	}
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Mode = governance.Shadow
		return []governance.Policy{document(p)}
	}, func(t *testing.T, w *deskWorld) {
		draft := document(governance.Policy{ID: "desk", Title: "Desk", Actions: []string{"desk.act"}, Mode: governance.Enforce,
			Require: &governance.Require{DecideWithin: hours(24), ExecuteWithin: hours(24)}})
		rng := rand.New(rand.NewPCG(7, 7))
		start := w.Now()
		want := map[uuid.UUID]bool{}
		for range 150 {
			w.Advance(time.Duration(rng.IntN(90)) * time.Minute)
			who := []governance.PersonID{"ann", "bob", "cleo"}[rng.IntN(3)]
			out, err := w.do(t, who, int64(1+rng.IntN(30)), nil)
			require.NoError(t, err)
			a, err := w.Kernel.Action(t.Context(), out.Action)
			require.NoError(t, err)
			for _, h := range a.Decision.Policies {
				want[out.Action] = h.Effect == governance.Hold
			}
		}
		r, err := w.Kernel.BackTest(t.Context(), w.As("dan"), draft, start, w.Now())
		require.NoError(t, err)
		require.Equal(t, 150, r.Actions)
		require.Len(t, want, r.Matched)
		held := map[uuid.UUID]bool{}
		for _, i := range r.Items {
			require.Equal(t, governance.Hold, i.Effect)
			held[i.Action] = true
			require.Equal(t, i.Deadlock, i.Deadlock && r.Deadlocks > 0)
		}
		for id, hold := range want {
			require.Equal(t, hold, held[id])
		}
		require.Greater(t, r.Held, 10)
		require.Less(t, r.Held, 140)
		require.Equal(t, r.Held, r.Fresh)
		require.Greater(t, r.Deadlocks, 0, "two approvers, and one of them asks")

		later, err := w.Kernel.BackTest(t.Context(), w.As("dan"), draft, start.Add(48*time.Hour), w.Now())
		require.NoError(t, err)
		n := 0
		for _, i := range r.Items {
			if !i.At.Before(later.From) {
				n++
			}
		}
		require.Equal(t, n, later.Held, "windows know what came before the period")

		again, _, err := w.Kernel.BackTestReport(t.Context(), w.As("dan"), r.Hash)
		require.NoError(t, err)
		require.Equal(t, r.Held, again.Held)
		draft.BackTest = r.Hash
		_, err = w.Kernel.PutPolicy(t.Context(), w.As("dan"), draft, nil)
		require.NoError(t, err)
		draft.Limits[0].Max++
		_, err = w.Kernel.PutPolicy(t.Context(), w.As("dan"), draft, nil)
		require.ErrorContains(t, err, "another document")
		draft.BackTest = governance.Digest(fmt.Sprintf("sha256:%064d", 0))
		_, err = w.Kernel.PutPolicy(t.Context(), w.As("dan"), draft, nil)
		require.ErrorContains(t, err, "no such report")
	})
}
