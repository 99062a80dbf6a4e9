package governance_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// consentWorld is a desk whose act the tenant has to agree to, beside one approver.
type consentWorld struct {
	*deskWorld
	people []governance.Contact
}

func consents(t *testing.T, edit func(r *governance.Require), fn func(t *testing.T, w *consentWorld)) {
	t.Helper()
	counter(t, func(p governance.Policy) []governance.Policy {
		p.Require.AllOf = []governance.Quorum{{Group: "approver", Approvals: 1}, {Group: governance.GroupTenant, Approvals: 1}}
		if edit != nil {
			edit(p.Require)
		}
		return []governance.Policy{p}
	}, func(t *testing.T, d *deskWorld) {
		w := &consentWorld{deskWorld: d, people: []governance.Contact{{ID: "uma", Name: "Uma", Roles: []string{"admin"}, Since: d.Now().Add(-time.Hour)}}}
		d.Kernel.ContactsBy(func(_ context.Context, tenant governance.TenantID) ([]governance.Contact, error) {
			if tenant != "acme" {
				return nil, nil
			}
			return w.people, nil
		})
		fn(t, w)
	})
}

func uma(tenant governance.TenantID) governance.Identity {
	return governance.Identity{Actor: governance.TenantActor(tenant, governance.Contact{ID: "uma", Name: "Uma"})}
}

func (w *consentWorld) vote(t *testing.T, id governance.Identity, a governance.Approval, d governance.VoteDecision) (governance.Approval, error) {
	t.Helper()
	return w.Kernel.Decide(t.Context(), id, a.ID, governance.Vote{Decision: d, Digest: a.Digest})
}

func TestConsent_IsOneMoreApprover(t *testing.T) {
	t.Parallel()
	consents(t, nil, func(t *testing.T, w *consentWorld) {
		a := w.hold(t, "ann")
		require.True(t, a.NamesTenant())
		got, err := w.vote(t, w.As("bob"), a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, got.State)
		require.Equal(t, []governance.Quorum{{Group: governance.GroupTenant, Approvals: 1}}, got.Missing)
		got, err = w.vote(t, uma("acme"), a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, got.State)
		require.Equal(t, governance.ActorTenant, got.Votes[1].Actor.Kind)
		require.Equal(t, []governance.GroupID{governance.GroupTenant}, got.Votes[1].Groups)
		rs, err := w.Kernel.Ledger().Records(t.Context(), ledger.Filter{AllTenants: true, Limit: 200})
		require.NoError(t, err)
		n := 0
		for _, r := range rs {
			v, err := governance.ReadRecord(r.Body)
			require.NoError(t, err)
			if v.Action == "approval.vote" && v.Actor.Kind == governance.ActorTenant {
				require.Equal(t, a.Digest, v.Digest)
				n++
			}
		}
		require.Equal(t, 1, n)

		no := w.hold(t, "ann")
		got, err = w.vote(t, uma("acme"), no, governance.Reject)
		require.NoError(t, err)
		require.Equal(t, governance.StateDenied, got.State, "a tenant's no is a no")
	})
}

func TestConsent_StaffNeverFillThePlace(t *testing.T) {
	t.Parallel()
	consents(t, func(r *governance.Require) {
		r.Escalate = &governance.Escalation{After: hours(1), To: "chief"}
	}, func(t *testing.T, w *consentWorld) {
		w.People.Put("mallory", "tenant", "root") // a directory that has a group of this name
		w.People.Put("customer:acme/uma", "approver", "tenant", "root")
		a := w.hold(t, "ann")
		for why, id := range map[string]governance.Identity{
			"a group called tenant":     w.As("mallory"),
			"an id like a customer's":   w.As("customer:acme/uma"),
			"another tenant's person":   uma("globex"),
			"nobody's contact":          {Actor: governance.TenantActor("acme", governance.Contact{ID: "zoe"})},
			"the person of a user":      {Actor: governance.Actor{ID: "user:ann", Kind: governance.ActorTenant, Person: "ann", Tenant: "acme"}},
			"a shared key of the place": {Actor: governance.Actor{ID: "customer:uma", Kind: governance.ActorTenant, Tenant: "acme"}},
		} {
			_, err := w.vote(t, id, a, governance.Approve)
			var denied *governance.DeniedError
			require.ErrorAs(t, err, &denied, why)
		}
		_, err := w.Kernel.Delegate(t.Context(), w.As("mallory"), governance.Delegation{Delegate: "bob", Group: governance.GroupTenant, Reason: "away", Until: w.Now().Add(time.Hour)})
		require.Error(t, err, "what nobody has nobody delegates")

		// Escalation opens the approver's place to the chief, and the tenant's to nobody.
		w.Advance(2 * time.Hour)
		_, err = w.vote(t, w.As("bob"), a, governance.Approve)
		require.NoError(t, err)
		require.NoError(t, w.Kernel.SweepApprovals(t.Context()))
		got, err := w.vote(t, w.As("eve"), a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, got.State)
		require.Len(t, got.Missing, 1)
		require.Equal(t, governance.GroupTenant, got.Missing[0].Group)
		require.Empty(t, got.Missing[0].Or)
	})
}

func TestConsent_NotThroughAnImpersonation(t *testing.T) {
	t.Parallel()
	consents(t, nil, func(t *testing.T, w *consentWorld) {
		a := w.hold(t, "ann")
		subject := governance.TenantActor("acme", governance.Contact{ID: "uma"})
		for why, id := range map[string]governance.Identity{
			"who asked, as the contact":         {Actor: w.As("ann").Actor, Subject: &subject, SessionID: "s"},
			"a colleague, as the contact":       {Actor: w.As("dan").Actor, Subject: &subject, SessionID: "s"},
			"the contact, representing anybody": {Actor: subject, Subject: &subject, SessionID: "s"},
		} {
			_, err := w.vote(t, id, a, governance.Approve)
			var denied *governance.DeniedError
			require.ErrorAs(t, err, &denied, why)
			require.Equal(t, "you are impersonating somebody", denied.Reason, why)
		}
	})
}

func TestConsent_IsBound(t *testing.T) {
	t.Parallel()
	consents(t, func(r *governance.Require) { r.Manual = true }, func(t *testing.T, w *consentWorld) {
		a := w.hold(t, "ann")
		_, err := w.Kernel.Decide(t.Context(), uma("acme"), a.ID, governance.Vote{Decision: governance.Approve, Digest: "another"})
		require.ErrorIs(t, err, governance.ErrConflict)

		// Whoever became a contact after it was asked for has no word on it.
		w.people = append(w.people, governance.Contact{ID: "late", Since: w.Now()}, governance.Contact{ID: "spy", Staff: "dan", Since: w.Now().Add(-time.Hour)}, governance.Contact{ID: "ever"})
		for _, who := range []string{"late", "spy", "ever"} {
			_, err = w.vote(t, governance.Identity{Actor: governance.TenantActor("acme", governance.Contact{ID: who})}, a, governance.Approve)
			var denied *governance.DeniedError
			require.ErrorAs(t, err, &denied, who)
		}
		_, err = w.vote(t, uma("acme"), a, governance.Approve)
		require.NoError(t, err)
		got, err := w.vote(t, w.As("bob"), a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateApproved, got.State)
		w.people = nil // who consented has left before it was done
		_, err = w.Kernel.Execute(t.Context(), w.As("bob"), a.ID)
		require.ErrorIs(t, err, governance.ErrConflict)
		got, err = w.Kernel.Approval(t.Context(), a.ID)
		require.NoError(t, err)
		require.Equal(t, governance.StateSuperseded, got.State)
	})
}

func TestConsent_Expires(t *testing.T) {
	t.Parallel()
	consents(t, nil, func(t *testing.T, w *consentWorld) {
		a := w.hold(t, "ann")
		w.Advance(25 * time.Hour)
		got, err := w.vote(t, uma("acme"), a, governance.Approve)
		require.NoError(t, err)
		require.Equal(t, governance.StateExpired, got.State)
		require.Empty(t, got.Votes)
	})
}

func TestConsent_Reach(t *testing.T) {
	t.Parallel()
	consents(t, nil, func(t *testing.T, w *consentWorld) {
		waits := w.hold(t, "ann")
		open := func() int {
			as, err := w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
			require.NoError(t, err)
			n := 0
			for _, a := range as {
				if a.Key == "consent.unreachable:"+waits.ID.String() {
					n++
				}
			}
			return n
		}
		require.NoError(t, w.Kernel.CheckReach(t.Context()))
		require.Zero(t, open())
		before := w.people
		w.people = []governance.Contact{{ID: "spy", Staff: "dan", Since: w.Now().Add(-time.Hour)}}
		_, err := w.do(t, "ann", 1, nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied, "nobody there could consent")
		require.Equal(t, "consent", denied.Rule)
		require.NoError(t, w.Kernel.CheckReach(t.Context()))
		require.Equal(t, 1, open())
		w.people = before
		require.NoError(t, w.Kernel.CheckReach(t.Context()))
		require.Zero(t, open())
	})
}

// A glass that a policy has is there for a tenant without contacts, too.
func TestConsent_BreakGlassWithoutContacts(t *testing.T) {
	t.Parallel()
	consents(t, func(r *governance.Require) {
		r.BreakGlass = &governance.BreakGlass{Group: "chief", Max: 5, Window: hours(24), ReviewWithin: hours(24)}
	}, func(t *testing.T, w *consentWorld) {
		w.people = nil
		now := &governance.DoOptions{Reason: "the account is being emptied", BreakGlass: true}
		_, err := w.do(t, "ann", 1, now)
		wantDenied(t, err, "you are not in chief")
		_, err = w.do(t, "eve", 1, &governance.DoOptions{Reason: now.Reason})
		wantDenied(t, err, "nobody there can")
		out, err := w.do(t, "eve", 1, now)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, out.State)
	})
}

// What the policies ask of the tenant together is more than each of them asks.
func TestConsent_ReachTogether(t *testing.T) {
	t.Parallel()
	by := func(role string) governance.Quorum {
		return governance.Quorum{Group: governance.GroupTenant, Approvals: 1, Where: `"` + role + `" in actor.roles`}
	}
	consents(t, func(r *governance.Require) { r.AllOf = []governance.Quorum{by("admin"), by("billing")} }, func(t *testing.T, w *consentWorld) {
		day := governance.Duration{Duration: 24 * time.Hour}
		w.people[0].Roles = []string{"admin", "billing"}
		_, err := w.do(t, "ann", 1, nil)
		wantDenied(t, err, "nobody there can")
		w.people = append(w.people, governance.Contact{ID: "vic", Roles: []string{"admin", "billing"}, Since: w.Now().Add(-time.Hour)})
		a := w.hold(t, "ann")
		require.NoError(t, w.Kernel.CheckReach(t.Context()))
		as, err := w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		for _, x := range as {
			require.NotContains(t, x.Key, "unreachable", "two people of the tenant can answer")
		}
		w.people = w.people[:1]
		require.NoError(t, w.Kernel.CheckReach(t.Context()))
		as, err = w.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		keys := []string{}
		for _, x := range as {
			keys = append(keys, x.Key)
		}
		require.Contains(t, keys, "consent.unreachable:"+a.ID.String())

		either := governance.Require{AnyOf: []governance.Quorum{{Group: governance.GroupTenant, Approvals: 2}, {Group: "approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}
		_, err = w.Kernel.PutPolicy(t.Context(), w.As("eve"), governance.Policy{ID: "desk", Title: "Either", Actions: []string{"desk.act"}, Mode: governance.Enforce, Require: &either}, nil)
		require.NoError(t, err)
		w.people = nil
		w.hold(t, "ann") // colleagues can do without
	})
}

func TestConsent_Documents(t *testing.T) {
	t.Parallel()
	ask := func(edit func(r *governance.Require)) governance.Policy {
		r := &governance.Require{AllOf: []governance.Quorum{{Group: governance.GroupTenant, Approvals: 1}}, DecideWithin: hours(2), ExecuteWithin: hours(2)}
		if edit != nil {
			edit(r)
		}
		return governance.Policy{ID: "ask", Title: "Ask", Actions: []string{"x"}, Mode: governance.Enforce, Require: r}
	}
	require.NoError(t, ask(nil).Validate())
	require.Error(t, ask(func(r *governance.Require) { r.Exclude = []governance.GroupID{governance.GroupTenant} }).Validate())
	require.Error(t, ask(func(r *governance.Require) {
		r.Escalate = &governance.Escalation{After: hours(1), To: governance.GroupTenant}
	}).Validate())

	counter(t, func(p governance.Policy) []governance.Policy { return nil }, func(t *testing.T, w *deskWorld) {
		_, err := w.Kernel.PutPolicy(t.Context(), w.As("ann"), ask(nil), nil)
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid, "nothing here knows a tenant's contacts")
		w.Kernel.ContactsBy(func(context.Context, governance.TenantID) ([]governance.Contact, error) { return nil, nil })
		_, err = w.Kernel.PutPolicy(t.Context(), w.As("ann"), ask(nil), nil)
		require.NoError(t, err)
	})
}

// Bootstrap spares a lone administrator their colleagues' votes, and no customer's word.
func TestConsent_NotInBootstrap(t *testing.T) {
	t.Parallel()
	consents(t, nil, func(t *testing.T, w *consentWorld) {
		require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error { return w.Kernel.BeginBootstrapTx(ctx, tx) }))
		w.hold(t, "ann")
	})
}

func TestConsent_CheckFindsAForgedOne(t *testing.T) {
	t.Parallel()
	consents(t, nil, func(t *testing.T, w *consentWorld) {
		a := w.hold(t, "ann")
		_, err := w.vote(t, w.As("bob"), a, governance.Approve)
		require.NoError(t, err)
		_, err = w.vote(t, uma("acme"), a, governance.Approve)
		require.NoError(t, err)
		set := func(actor string) {
			_, err := w.DB.Handle().ExecContext(t.Context(), "UPDATE gov_vote SET actor = ? WHERE person = 'customer:acme/uma'", actor)
			require.NoError(t, err)
		}
		var genuine string
		require.NoError(t, w.DB.Handle().NewRaw("SELECT actor FROM gov_vote WHERE person = 'customer:acme/uma'").Scan(t.Context(), &genuine))
		set(`{"id":"user:dan","kind":"user","person":"dan"}`)
		problems, err := governance.Check(t.Context(), w.DB)
		require.NoError(t, err)
		require.Len(t, problems, 1)
		require.Contains(t, problems[0].What, "in the tenant's place")
		set(genuine)
	})
}
