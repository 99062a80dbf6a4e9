package evidence_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// TestBuild_EveryRequirement builds and checks packs of actions that were approved in
// every way a policy can ask for.
func TestBuild_EveryRequirement(t *testing.T) {
	t.Parallel()
	govtest.Each(t, evidencetest.Options(), func(t *testing.T, e *govtest.Env) {
		r := evidencetest.New(t, e)
		ctx, day := t.Context(), governance.Duration{Duration: 24 * time.Hour}
		e.People.Put("chris", "chief", "root")
		e.People.Put("otto", "oncall", "root")
		require.NoError(t, r.Kernel.InstallPolicies(ctx, governance.Policy{ID: "renames", Title: "Renames", Actions: []string{"tenant.rename"}, Mode: governance.Enforce,
			Require: &governance.Require{AnyOf: []governance.Quorum{{Group: "finance", Approvals: 2}, {Group: "security", Approvals: 1}}, Deny: 2, Exclude: []governance.GroupID{"interns"},
				DecideWithin: day, ExecuteWithin: day, Escalate: &governance.Escalation{After: governance.Duration{Duration: time.Hour}, To: "chief"},
				BreakGlass: &governance.BreakGlass{Group: "oncall", Max: 5, Window: day, ReviewWithin: day}}}))
		ask := func(who governance.PersonID, opts *governance.DoOptions) (governance.Outcome, error) {
			id := r.As(who)
			id.Actor.AuthTime = r.Now()
			return r.Rename.Do(ctx, r.Kernel, id, evidencetest.Rename{Tenant: "acme", Name: "Acme two"}, opts)
		}
		hold := func() governance.Approval {
			t.Helper()
			out, err := ask("dana", nil)
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			a, err := r.Kernel.Approval(ctx, out.Action)
			require.NoError(t, err)
			return a
		}
		holds := func(id governance.Approval) pack.Report {
			t.Helper()
			e.Drain(t)
			rep := verify(t, r, r.Build(t, pack.KindAction, id.ID))
			require.Empty(t, rep.Problems)
			return rep
		}
		one := hold()
		r.Vote(t, one, governance.Reject, "fay")
		require.Equal(t, governance.StateExecuted, r.Vote(t, one, governance.Approve, "sue").State, "one of two rejections, one alternative met")
		holds(one)

		late := hold()
		e.Advance(time.Hour + time.Minute)
		require.NoError(t, r.Kernel.Sweep(ctx))
		require.Equal(t, governance.StateExecuted, r.Vote(t, late, governance.Approve, "chris").State, "escalated")
		holds(late)

		broken, err := ask("otto", &governance.DoOptions{Reason: "customers cannot log in", BreakGlass: true})
		require.NoError(t, err)
		a, err := r.Kernel.Action(ctx, broken.Action)
		require.NoError(t, err)
		require.Contains(t, strings.Join(holds(a).Notes, "\n"), "the glass was broken")

		// a call to somebody else's system under broken glass: its record carries the decision
		notify := governance.DefineRemote("tenant.notify", governance.Spec[evidencetest.Rename]{Permission: "tenant:rename",
			Tenant: func(in evidencetest.Rename) governance.TenantID { return in.Tenant },
			Resource: func(in evidencetest.Rename) governance.Ref {
				return governance.Ref{Kind: "tenant", ID: string(in.Tenant)}
			},
		}, governance.Remote[evidencetest.Rename]{
			Call: func(context.Context, string, evidencetest.Rename) (governance.Result, error) {
				return governance.Result{Data: map[string]any{"sent": true}}, nil
			},
			Lookup: func(context.Context, string, evidencetest.Rename) (governance.Result, bool, error) {
				return governance.Result{}, false, nil
			}})
		require.NoError(t, r.Kernel.Register(notify))
		require.NoError(t, r.Kernel.InstallPolicies(ctx, governance.Policy{ID: "notices", Title: "Notices", Actions: []string{"tenant.notify"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "finance", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day,
				BreakGlass: &governance.BreakGlass{Group: "oncall", Max: 5, Window: day, ReviewWithin: day}}}))
		otto := r.As("otto")
		otto.Actor.AuthTime = r.Now()
		far, err := notify.Do(ctx, r.Kernel, otto, evidencetest.Rename{Tenant: "acme", Name: "x"}, &governance.DoOptions{Reason: "customers cannot log in", BreakGlass: true})
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, far.State)
		b, err := r.Kernel.Action(ctx, far.Action)
		require.NoError(t, err)
		require.Contains(t, strings.Join(holds(b).Notes, "\n"), "the glass was broken")

		r.Kernel.RaiseBy(func(context.Context, *governance.Tx, governance.Asked) ([]governance.Raise, error) {
			return []governance.Raise{{Source: "test", Why: "because", Require: governance.Require{AllOf: []governance.Quorum{{Group: "finance", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}}, nil
		})
		raised := hold()
		r.Vote(t, raised, governance.Approve, "fay")
		require.Equal(t, governance.StateExecuted, r.Vote(t, raised, governance.Approve, "sue").State)
		require.Contains(t, strings.Join(holds(raised).Notes, "\n"), "asked for more than the policies")

		// The tenant has to agree: the pack shows that its own person did.
		r.Kernel.ContactsBy(func(context.Context, governance.TenantID) ([]governance.Contact, error) {
			return []governance.Contact{{ID: "uma", Name: "Uma", Since: e.Now().Add(-48 * time.Hour)}}, nil
		})
		require.NoError(t, r.Kernel.InstallPolicies(ctx, governance.Policy{ID: "consent", Title: "The tenant agrees", Actions: []string{"tenant.rename"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: governance.GroupTenant, Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
		out, err := ask("dana", &governance.DoOptions{Reason: "ask them"})
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		asked, err := r.Kernel.Approval(ctx, out.Action)
		require.NoError(t, err)
		r.Vote(t, asked, governance.Approve, "sue")
		r.Vote(t, asked, governance.Approve, "fay")
		agreed, err := r.Kernel.Decide(ctx, governance.Identity{Actor: governance.TenantActor("acme", governance.Contact{ID: "uma", Name: "Uma"})}, asked.ID, governance.Vote{Decision: governance.Approve, Digest: asked.Digest})
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, agreed.State)
		require.Equal(t, 3, holds(asked).Votes)
	})
}
