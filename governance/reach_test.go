package governance_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

// both gives two policies that hold the same act.
func both(p governance.Policy, first, second governance.Require) []governance.Policy {
	q := p
	q.ID = "second"
	for r, to := range map[*governance.Require]*governance.Policy{&first: &p, &second: &q} {
		r.DecideWithin, r.ExecuteWithin = hours(24), hours(24)
		to.Require = r
	}
	return []governance.Policy{p, q}
}

func TestQuorum_OnePlaceOverTwoPolicies(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		return both(p, governance.Require{AllOf: []governance.Quorum{{Group: "approver", Approvals: 1}}},
			governance.Require{AllOf: []governance.Quorum{{Group: "security", Approvals: 1}}})
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		state, err := w.vote(t, "cleo", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, state, "cleo filled a place of each policy")
		got, err := w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Len(t, got.Missing, 1, "one more person is needed, of either")
		state, err = w.vote(t, "bob", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state, "cleo moves over to security")
	})
}

// What two policies ask of the same group is asked once, as often as the stricter asks:
// a credit under a limit of credits and one of all payments needs no second manager.
func TestQuorum_SameGroupOverTwoPolicies(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		return both(p, governance.Require{AllOf: []governance.Quorum{{Group: "approver", Approvals: 2}}},
			governance.Require{AllOf: []governance.Quorum{{Group: "approver", Approvals: 1}, {Group: "security", Approvals: 1}}})
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		for _, p := range []governance.PersonID{"cleo", "bob"} {
			state, err := w.vote(t, p, a, governance.Approve)
			require.NoError(t, err)
			require.Equal(t, governance.StatePending, state)
		}
		got, err := w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Len(t, got.Missing, 1)
		require.Equal(t, 1, got.Missing[0].Approvals)
		state, err := w.vote(t, "dan", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state)
	})
}

func TestQuorum_AlternativesOverTwoPolicies(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		return both(p, governance.Require{AllOf: []governance.Quorum{{Group: "approver", Approvals: 1}}},
			governance.Require{AnyOf: []governance.Quorum{{Group: "approver", Approvals: 2}, {Group: "security", Approvals: 1}}})
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		state, err := w.vote(t, "cleo", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, state)
		got, err := w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		var open []string
		for _, m := range got.Missing {
			open = append(open, fmt.Sprintf("%d %s", m.Approvals, m.Group))
		}
		require.Contains(t, open, "1 approver", "what the other alternative lacks: cleo is one of its two")
		state, err = w.vote(t, "dan", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, state)
	})
}

func TestPolicy_ReachOverTwoPolicies(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 2}} // bob, cleo
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		second := governance.Policy{ID: "second", Title: "Second", Actions: []string{"desk.*"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "security", Approvals: 2}}, DecideWithin: hours(24), ExecuteWithin: hours(24)}} // cleo, dan
		put := func() error {
			_, err := w.Kernel.PutPolicy(t.Context(), w.As("eve"), second, nil)
			return err
		}
		require.ErrorContains(t, put(), "together with the other policies")
		second.Mode = governance.Shadow
		require.NoError(t, put(), "in shadow it holds nothing")
		second.Mode, second.Match = governance.Enforce, `tenant.country == "DE"`
		require.ErrorContains(t, put(), "together with the other policies", "whenever it holds, the other does")

		w.hold(t, "ann")
		require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			second.Match = ""
			return w.Kernel.PutPolicyTx(ctx, tx, w.As("eve"), second)
		}))
		stuck := w.hold(t, "ann")
		titles := func() (out []string) {
			require.NoError(t, w.Kernel.CheckReach(t.Context()))
			as, err := w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
			require.NoError(t, err)
			for _, a := range as {
				out = append(out, a.Key)
			}
			return out
		}
		require.Contains(t, titles(), "approval.unreachable:"+stuck.ID.String())
		require.Contains(t, titles(), "policy.unreachable:second")
		w.People.Put("fred", "security", "root")
		require.NotContains(t, titles(), "approval.unreachable:"+stuck.ID.String())
		require.NotContains(t, titles(), "policy.unreachable:second")
	})
}

func TestPolicy_AlternativesStayFew(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		many := func(id string, n int) governance.Policy {
			p := governance.Policy{ID: id, Title: id, Actions: []string{"desk.act"}, Mode: governance.Enforce,
				Require: &governance.Require{DecideWithin: hours(24), ExecuteWithin: hours(24)}}
			for i := range n {
				p.Require.AnyOf = append(p.Require.AnyOf, governance.Quorum{Group: governance.GroupID(fmt.Sprintf("g%d", i)), Approvals: 1})
			}
			return p
		}
		require.NoError(t, w.Kernel.InstallPolicies(t.Context(), many("a", 16), many("b", 16)))
		require.ErrorContains(t, w.Kernel.InstallPolicies(t.Context(), many("c", 2)), "more than 256 ways")
		elsewhere := many("c", 16)
		elsewhere.Actions = []string{"other.*"}
		require.NoError(t, w.Kernel.InstallPolicies(t.Context(), elsewhere))
	})
}

// TestApproval_ConditionalRefusalEndsIt: a refusal with a condition counts whenever it
// comes to hold, not only when the act was asked for.
func TestApproval_ConditionalRefusalEndsIt(t *testing.T) {
	t.Parallel()
	freeze := governance.Policy{ID: "freeze", Title: "Freeze", Actions: []string{"desk.act"}, Mode: governance.Enforce, Deny: true}
	for name, c := range map[string]struct {
		match string
		ends  bool
	}{
		"holds": {`tenant.status == "closed"`, true}, "measures": {`action.measures["EUR.cent"] == 1`, true},
		"not": {`tenant.status == "trial"`, false}, "unanswerable": {`action.measures["USD.cent"] > 1`, true},
	} {
		for _, since := range []bool{false, true} { // it was there before, its condition did not hold
			if !since && name != "holds" && name != "not" {
				continue
			}
			t.Run(fmt.Sprintf("%s, came since: %t", name, since), func(t *testing.T) {
				t.Parallel()
				freeze := freeze
				freeze.Match = c.match
				counter(t, func(p governance.Policy) []governance.Policy {
					p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 2}}
					p.Require.Manual = true
					if !since {
						return []governance.Policy{p, freeze}
					}
					return []governance.Policy{p}
				}, func(t *testing.T, w *deskWorld) {
					tenant := func(s governance.TenantStatus) {
						require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
							_, err := w.Kernel.UpsertTenantTx(ctx, tx, governance.System("test"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: s, Plan: "pro"})
							return err
						}))
					}
					tenant(governance.TenantActive)
					one, two := w.hold(t, "ann"), w.hold(t, "ann")
					for _, who := range []governance.PersonID{"bob", "cleo"} {
						_, err := w.vote(t, who, one, governance.Approve)
						require.NoError(t, err)
					}
					_, err := w.vote(t, "bob", two, governance.Approve)
					require.NoError(t, err)
					tenant(governance.TenantClosed)
					if since {
						require.NoError(t, w.Kernel.InstallPolicies(t.Context(), freeze))
					}
					out, err := w.Kernel.Execute(t.Context(), w.As("eve"), one.ID)
					state, verr := w.vote(t, "cleo", two, governance.Approve)
					if !c.ends {
						require.NoError(t, err)
						require.NoError(t, verr)
						require.Equal(t, governance.StateApproved, state)
						return
					}
					require.ErrorIs(t, err, governance.ErrConflict)
					require.ErrorContains(t, err, "policy freeze")
					require.Equal(t, governance.StateSuperseded, out.State)
					require.NoError(t, verr)
					require.Equal(t, governance.StateSuperseded, state)
				})
			})
		}
	}
}

func TestApproval_NewHoldEndsIt(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}}
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		a := w.hold(t, "ann")
		stricter := governance.Policy{ID: "stricter", Title: "Stricter", Actions: []string{"desk.act"}, Match: `action.measures["EUR.cent"] > 0`, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "chief", Approvals: 1}}, DecideWithin: hours(24), ExecuteWithin: hours(24)}}
		require.NoError(t, w.Kernel.InstallPolicies(t.Context(), stricter))
		state, err := w.vote(t, "bob", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateSuperseded, state)
	})
}

// TestPolicyPut_ReachIsAskedAgain: who left while an edit waited is missed when it would
// come into force.
func TestPolicyPut_ReachIsAskedAgain(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		edit := p
		edit.ID, edit.Actions = "edits", []string{governance.ActionPutPolicy}
		edit.Require = &governance.Require{AllOf: []governance.Quorum{{Group: "approver", Approvals: 1}}, DecideWithin: hours(24), ExecuteWithin: hours(24)}
		return []governance.Policy{edit}
	}, func(t *testing.T, w *deskWorld) {
		_, err := w.Kernel.PutPolicy(t.Context(), w.As("eve"), governance.Policy{ID: "two", Title: "Two", Actions: []string{"desk.act"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "security", Approvals: 2}}, DecideWithin: hours(24), ExecuteWithin: hours(24)}}, nil)
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		a, err := w.Kernel.Approval(t.Context(), held.Approval)
		require.NoError(t, err)
		w.People.Remove("dan")
		state, err := w.vote(t, "bob", a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateFailed, state)
		got, err := w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Contains(t, got.Error, "cannot be reached: 1 more needed in security")
		as, err := w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Condition(t, func() bool {
			for _, al := range as {
				if al.Key == "approval.failed:"+a.ID.String() && al.Severity == governance.Critical {
					return true
				}
			}
			return false
		}, "an alert says so")
		_, err = w.Kernel.PolicyHistory(t.Context(), "two")
		require.ErrorIs(t, err, governance.ErrNotFound, "it is not in force")

		w.People.Put("dan", "security", "root")
		w.Advance(time.Minute)
		require.NoError(t, w.Kernel.Sweep(t.Context()))
		_, err = w.Kernel.PolicyHistory(t.Context(), "two")
		require.NoError(t, err, "inside its clock it is tried again")
	})
}

// TestReview_NobodyOfThoseWhoActed: who was represented and who wrote the automation
// have no say in whether it was right.
func TestReview_NobodyOfThoseWhoActed(t *testing.T) {
	t.Parallel()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require = nil
		p.ReviewAfter = hours(4)
		return []governance.Policy{p}
	}, func(t *testing.T, w *deskWorld) {
		id := w.As("ann")
		id.Subject = &governance.Actor{ID: "product:bob", Kind: governance.ActorUser, Person: "bob"}
		_, err := w.act.Do(t.Context(), w.Kernel, id, creditInput{"acme", 1}, &governance.DoOptions{Exclude: []governance.PersonID{"cleo"}})
		require.NoError(t, err)
		rs, err := w.Kernel.Reviews(t.Context(), governance.ReviewFilter{})
		require.NoError(t, err)
		require.Len(t, rs, 1)
		for who, why := range map[governance.PersonID]string{"ann": "did themselves", "bob": "in their name", "cleo": "own automation"} {
			said, err := w.Kernel.WhyNotReview(t.Context(), w.As(who), rs[0])
			require.NoError(t, err)
			require.Contains(t, said, why)
			_, err = w.Kernel.DecideReview(t.Context(), w.As(who), rs[0].ID, governance.ReviewAccepted, "it is fine")
			wantDenied(t, err, why)
		}
		got, err := w.Kernel.DecideReview(t.Context(), w.As("dan"), rs[0].ID, governance.ReviewAccepted, "it is fine")
		require.NoError(t, err)
		require.Equal(t, governance.ReviewAccepted, got.State)
	})
}
