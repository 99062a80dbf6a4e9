package access_test

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govauth/access"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

type env struct {
	*govtest.Env
	auth *govauth.Service
	svc  *access.Service
}

func each(t *testing.T, fn func(t *testing.T, e *env)) {
	t.Parallel()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{govauth.Schema(), access.Schema()}}, func(t *testing.T, base *govtest.Env) {
		e := &env{Env: base}
		e.restart(t, true)
		fn(t, e)
	})
}

// restart makes the services again, as a new start of the server does; without keep,
// the server is one from before there was a history.
func (e *env) restart(t *testing.T, keep bool) {
	store, err := govauth.NewStore(e.DB)
	require.NoError(t, err)
	authorizer, err := govauth.NewAuthorizer(nil)
	require.NoError(t, err)
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	e.Kernel, err = governance.New(e.DB, &governance.Options{Authorizer: authorizer, Directory: store, LedgerKey: skey, Rules: rules})
	require.NoError(t, err)
	h, err := access.NewHistory(e.DB)
	require.NoError(t, err)
	opts := &govauth.Options{}
	if keep {
		opts.OnChange = h.Keep
	}
	e.auth, err = govauth.New(e.Kernel, store, opts)
	require.NoError(t, err)
	e.svc, err = access.New(e.Kernel, e.auth, h, nil)
	if !keep {
		require.ErrorContains(t, err, "OnChange", "a list that would miss changes is refused")
		return
	}
	require.NoError(t, err)
}

func (e *env) add(t *testing.T, name string, roles ...string) {
	t.Helper()
	_, err := e.auth.AddUser(t.Context(), govauth.User{ID: governance.PersonID(name), Name: name, Email: name + "@example.com", Roles: roles})
	require.NoError(t, err)
}

func (e *env) as(t *testing.T, id governance.PersonID) governance.Identity {
	t.Helper()
	p, err := e.Kernel.Directory().Resolve(t.Context(), id)
	require.NoError(t, err)
	return governance.Identity{Actor: governance.Actor{ID: "user:" + string(id), Kind: governance.ActorUser, Person: id, Roles: p.Roles, Groups: p.Groups}}
}

func (e *env) at(t *testing.T, at time.Time) string {
	t.Helper()
	l, err := e.svc.At(t.Context(), at)
	require.NoError(t, err)
	return text(l)
}

func text(l access.List) string {
	var b strings.Builder
	for _, p := range l.People {
		fmt.Fprintf(&b, "%s:%s ", p.Person, strings.Join(p.Roles, "+"))
	}
	return b.String()
}

// churn makes random changes and returns what the list must be from each instant on.
func (e *env) churn(t *testing.T, steps int) (times []time.Time, want []string) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	root := e.as(t, "root")
	state := map[string][]string{"root": {govauth.RoleSuperAdmin}, "vera": {govauth.RoleApprover}}
	active := map[string]bool{"root": true, "vera": true}
	for i := range steps {
		e.Advance(time.Duration(r.IntN(3)) * time.Hour) // none at all as well
		name := fmt.Sprintf("p%d", r.IntN(6))
		_, known := state[name]
		roles := []string{govauth.RoleAuditor}
		if r.IntN(2) == 0 {
			roles = []string{govauth.RoleCSAgent, govauth.RoleFinanceViewer}
		}
		before := e.Now()
		var err error
		switch {
		case !known:
			e.add(t, name, roles...)
			state[name], active[name] = roles, true
		case active[name] && r.IntN(3) == 0:
			_, err = e.auth.Deactivate(t.Context(), root, govauth.Deactivate{Person: governance.PersonID(name)}, nil)
			active[name] = false
		case active[name]:
			_, err = e.auth.SetRoles(t.Context(), root, govauth.ChangeRoles{Person: governance.PersonID(name), Roles: roles}, nil)
			state[name] = roles
		default:
			_, err = e.auth.Activate(t.Context(), root, govauth.Activate{Person: governance.PersonID(name)}, nil)
			active[name] = true
		}
		require.NoError(t, err, "step %d", i)
		var b strings.Builder
		for _, n := range slices.Sorted(func(yield func(string) bool) {
			for n := range state {
				if active[n] && !yield(n) {
					return
				}
			}
		}) {
			fmt.Fprintf(&b, "%s:%s ", n, strings.Join(state[n], "+"))
		}
		times, want = append(times, before, e.Now()), append(want, "", b.String())
	}
	for i := 0; i < len(want); i += 2 { // just before a change it is as after the one before
		want[i] = "root:super_admin vera:gov_approver "
		if i > 0 {
			want[i] = want[i-1]
		}
	}
	return times, want
}

// TestAt_EveryInstant: the list is right before and after each of many changes, and a
// change counts from its own instant on, not a microsecond earlier.
func TestAt_EveryInstant(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		require.NoError(t, e.svc.Install(t.Context()))
		e.add(t, "root", govauth.RoleSuperAdmin)
		e.add(t, "vera", govauth.RoleApprover)
		times, want := e.churn(t, 40)
		for i, at := range times {
			require.Equal(t, want[i], e.at(t, at), "instant %d", i)
		}
		last, err := e.svc.Changes(t.Context(), "p1")
		require.NoError(t, err)
		for _, c := range last {
			l, err := e.svc.At(t.Context(), c.Since)
			require.NoError(t, err)
			i := slices.IndexFunc(append(l.People, l.Former...), func(x access.Line) bool { return x.Person == "p1" && x.Since.Equal(c.Since) })
			require.GreaterOrEqual(t, i, 0, "it counts from its instant on")
			l, err = e.svc.At(t.Context(), c.Since.Add(-time.Microsecond))
			require.NoError(t, err)
			require.False(t, slices.ContainsFunc(append(l.People, l.Former...), func(x access.Line) bool { return x.Person == "p1" && x.Since.Equal(c.Since) }))
			require.Equal(t, access.Live, c.Source)
		}
		_, err = e.svc.At(t.Context(), e.Now().Add(time.Hour))
		require.ErrorContains(t, err, "still to come")
		_, err = e.svc.Changes(t.Context(), "nobody")
		require.ErrorIs(t, err, governance.ErrNotFound)
	})
}

// TestInstall_FromLedger: on an installation that kept no history the ledger tells it
// whole, and what was done behind the server's back is found and said.
func TestInstall_FromLedger(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		e.restart(t, false)
		e.add(t, "root", govauth.RoleSuperAdmin)
		e.add(t, "vera", govauth.RoleApprover)
		times, want := e.churn(t, 25)
		e.Drain(t)
		e.restart(t, true)
		require.NoError(t, e.svc.Install(ctx))
		for i, at := range times {
			require.Equal(t, want[i], e.at(t, at), "instant %d", i)
		}
		l, err := e.svc.At(ctx, times[0])
		require.NoError(t, err)
		require.True(t, l.Complete)
		require.Equal(t, access.Ledger, l.People[0].Source)
		l, err = e.svc.At(ctx, l.CompleteFrom.Add(-time.Microsecond))
		require.NoError(t, err)
		require.False(t, l.Complete, "before its first record the list says that it knows nothing")
		require.Empty(t, l.People)

		require.NoError(t, e.svc.Install(ctx), "again changes nothing")
		require.NoError(t, e.svc.Reconcile(ctx))
		before := e.Now()
		_, err = e.DB.Handle().ExecContext(ctx, "UPDATE auth_user SET roles = ? WHERE id = ?", `["gov_auditor","super_admin"]`, "vera")
		require.NoError(t, err)
		e.Advance(time.Hour)
		require.NoError(t, e.svc.Install(ctx))
		l, err = e.svc.At(ctx, before)
		require.NoError(t, err)
		require.False(t, l.Complete, "a change of unknown time ended the claim to be complete")
		changes, err := e.svc.Changes(ctx, "vera")
		require.NoError(t, err)
		require.Equal(t, access.Found, changes[0].Source)
		require.Equal(t, []string{"gov_auditor", "super_admin"}, changes[0].Roles)
		alerts, err := e.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Equal(t, "access.found", alerts[0].Key)
		require.NoError(t, e.svc.Reconcile(ctx), "found once")
		again, err := e.svc.Changes(ctx, "vera")
		require.NoError(t, err)
		require.Len(t, again, len(changes))
	})
}

// TestHistory_AppendOnly: the database itself refuses to rewrite it, and a change whose
// history cannot be written does not happen.
func TestHistory_AppendOnly(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		e.add(t, "root", govauth.RoleSuperAdmin)
		for _, q := range []string{"UPDATE access_change SET roles = '[]'", "DELETE FROM access_change"} {
			_, err := e.DB.Handle().ExecContext(ctx, q)
			require.ErrorContains(t, err, "cannot be")
		}
		_, err := e.DB.Handle().ExecContext(ctx, "ALTER TABLE access_change RENAME TO access_hidden")
		require.NoError(t, err)
		_, err = e.auth.AddUser(ctx, govauth.User{ID: "eve", Name: "eve", Email: "eve@example.com", Roles: []string{govauth.RoleSuperAdmin}})
		require.ErrorContains(t, err, "history of access")
		_, err = e.auth.User(ctx, "eve")
		require.ErrorIs(t, err, governance.ErrNotFound)
	})
}

// TestAt_Keys: a key counts from when it was shown until it was revoked or ended, and
// never has a role that its person had not.
func TestAt_Keys(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		require.NoError(t, e.svc.Install(ctx))
		e.add(t, "root", govauth.RoleSuperAdmin)
		e.add(t, "ana", govauth.RoleAuditor, govauth.RoleCSAgent)
		keys := func(at time.Time) string {
			l, err := e.svc.At(ctx, at)
			require.NoError(t, err)
			var b strings.Builder
			for _, p := range l.People {
				for _, k := range p.Keys {
					fmt.Fprintf(&b, "%s:%s:%s ", p.Person, k.Name, strings.Join(k.Roles, "+"))
				}
			}
			for _, k := range l.SharedKeys {
				fmt.Fprintf(&b, "-:%s:%s ", k.Name, strings.Join(k.Roles, "+"))
			}
			return b.String()
		}
		out, err := e.auth.CreateKey(ctx, e.as(t, "root"), govauth.CreateKey{ID: "k1", Kind: govauth.KeyPersonal, Person: "ana", Name: "script", Roles: []string{govauth.RoleCSAgent}}, nil)
		require.NoError(t, err)
		require.NotEmpty(t, out.Action)
		unshown := e.Now()
		_, err = e.auth.ShowKey(ctx, e.as(t, "ana"), "k1")
		require.NoError(t, err)
		_, err = e.auth.MintKey(ctx, govauth.CreateKey{ID: "k2", Kind: govauth.KeyShared, Name: "desk", Roles: []string{govauth.RoleSupportKey}, ExpiresAt: e.Now().Add(time.Hour)})
		require.NoError(t, err)
		both := e.Now()
		e.Advance(2 * time.Hour)
		one := e.Now()
		_, err = e.auth.SetRoles(ctx, e.as(t, "root"), govauth.ChangeRoles{Person: "ana", Roles: []string{govauth.RoleAuditor}}, nil)
		require.NoError(t, err)
		narrowed := e.Now()
		require.NoError(t, e.auth.RevokeKey(ctx, e.as(t, "root"), "k1", "left"))
		require.Empty(t, keys(unshown))
		require.Equal(t, "ana:script:cs_agent -:desk:support_key ", keys(both))
		require.Equal(t, "ana:script:cs_agent ", keys(one), "the shared one has ended")
		require.Equal(t, "ana:script: ", keys(narrowed), "a role that ana lost is lost to her key")
		require.Empty(t, keys(e.Now()))

		var b strings.Builder
		require.NoError(t, e.svc.Export(ctx, e.as(t, "root"), both, &b))
		rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 1+3+1+1)
		require.Contains(t, e.Actions(t), "access.export observed")
	})
}

func (e *env) campaign(t *testing.T, reviewers ...governance.PersonID) access.Campaign {
	t.Helper()
	out, err := e.svc.Start(t.Context(), e.as(t, "root"), access.Start{Title: "Autumn", DueAt: e.Now().Add(7 * 24 * time.Hour), Reviewers: reviewers}, nil)
	require.NoError(t, err)
	require.NotEmpty(t, out.Receipt.ID)
	list, err := e.svc.Campaigns(t.Context(), uuid.Nil, 1)
	require.NoError(t, err)
	return list[0]
}

func (e *env) item(t *testing.T, c access.Campaign, person governance.PersonID) access.Item {
	t.Helper()
	got, err := e.svc.Campaign(t.Context(), c.ID)
	require.NoError(t, err)
	i := slices.IndexFunc(got.Items, func(it access.Item) bool { return it.Person == person })
	require.GreaterOrEqual(t, i, 0)
	return got.Items[i]
}

func TestCampaign(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		require.NoError(t, e.svc.Install(ctx))
		e.add(t, "root", govauth.RoleSuperAdmin)
		e.add(t, "vera", govauth.RoleApprover, govauth.RoleSuperAdmin)
		e.add(t, "omar", govauth.RoleApprover)
		e.add(t, "ana", govauth.RoleAuditor, govauth.RoleCSAgent)
		e.add(t, "leo", govauth.RoleCSAgent)
		require.NoError(t, e.Kernel.InstallPolicies(ctx, govauth.Policies()...))

		_, err := e.svc.Start(ctx, e.as(t, "root"), access.Start{Title: "Alone", DueAt: e.Now().Add(time.Hour), Reviewers: []governance.PersonID{"root"}}, nil)
		require.ErrorContains(t, err, "nobody reviews themself")
		_, err = e.svc.Start(ctx, e.as(t, "ana"), access.Start{Title: "x", DueAt: e.Now().Add(time.Hour), Reviewers: []governance.PersonID{"root", "vera"}}, nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		_, err = e.svc.Start(ctx, e.as(t, "root"), access.Start{Title: "x", DueAt: e.Now(), Reviewers: []governance.PersonID{"root", "nobody"}}, nil)
		require.Error(t, err)

		c := e.campaign(t, "root", "vera")
		require.Len(t, c.Items, 5)
		for _, it := range c.Items {
			require.NotEqual(t, it.Person, it.Reviewer)
		}
		confirm := func(by, person governance.PersonID) error {
			return e.svc.Decide(ctx, e.as(t, by), c.ID, person, access.Decision{Verdict: access.Confirm, Version: e.item(t, c, person).Version})
		}
		require.ErrorAs(t, confirm("root", "root"), &denied, "nobody on themself")
		require.ErrorAs(t, confirm("omar", "leo"), &denied, "no reviewer")
		imp := e.as(t, "root")
		imp.Subject = &governance.Actor{ID: "user:olga"}
		require.ErrorAs(t, e.svc.Decide(ctx, imp, c.ID, "leo", access.Decision{Verdict: access.Confirm, Version: 1}), &denied)
		require.ErrorIs(t, e.svc.Decide(ctx, e.as(t, "root"), c.ID, "leo", access.Decision{Verdict: access.Confirm, Version: 99}), governance.ErrConflict, "other roles than were shown")
		require.ErrorIs(t, e.svc.Decide(ctx, e.as(t, "root"), c.ID, "nobody", access.Decision{Verdict: access.Confirm}), governance.ErrNotFound)
		require.NoError(t, confirm("vera", "root"))
		require.NoError(t, confirm("root", "vera"))
		require.NoError(t, confirm("root", "omar"))
		require.ErrorIs(t, confirm("root", "omar"), governance.ErrConflict, "once")

		// A revocation is asked for through the guard: it is held, and settled only when
		// the role is gone.
		revoke := access.Decision{Verdict: access.Revoke, Keep: []string{govauth.RoleAuditor}, Version: 1, Comment: "left the team"}
		bad := revoke
		bad.Keep = []string{govauth.RoleSuperAdmin}
		require.ErrorContains(t, e.svc.Decide(ctx, e.as(t, "root"), c.ID, "ana", bad), "a review gives nothing")
		bad.Keep = []string{govauth.RoleAuditor, govauth.RoleCSAgent}
		require.ErrorContains(t, e.svc.Decide(ctx, e.as(t, "root"), c.ID, "ana", bad), "at least one role")
		err = e.svc.Decide(ctx, e.as(t, "root"), c.ID, "ana", revoke)
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		require.Equal(t, access.Revoke, e.item(t, c, "ana").Verdict)
		require.False(t, e.item(t, c, "ana").Settled)

		e.Advance(8 * 24 * time.Hour)
		require.NoError(t, e.svc.Tick(ctx))
		alerts, err := e.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(alerts, func(a governance.Alert) bool {
			return a.Key == "access.campaign:"+c.ID.String() && strings.Contains(a.Body, "2 of 5 people are not settled") && a.Severity == governance.Critical
		}), "%v", alerts)

		err = e.svc.Decide(ctx, e.as(t, "vera"), c.ID, "leo", access.Decision{Verdict: access.Revoke, Version: 1, Comment: "gone"})
		require.NoError(t, err, "deactivation is not held by the standard policies")
		require.True(t, e.item(t, c, "leo").Settled)
		_, err = e.auth.SetRoles(ctx, e.as(t, "vera"), govauth.ChangeRoles{Person: "ana", Roles: []string{govauth.RoleAuditor}}, nil)
		require.ErrorAs(t, err, &held, "the first one has run out; another is asked for")
		ap, err := e.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		_, err = e.Kernel.Decide(ctx, e.as(t, "omar"), held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest})
		require.NoError(t, err)
		require.True(t, e.item(t, c, "ana").Settled)
		require.NoError(t, e.svc.Tick(ctx))
		got, err := e.svc.Campaign(ctx, c.ID)
		require.NoError(t, err)
		require.Equal(t, access.CampaignClosed, got.State)
		alerts, err = e.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.False(t, slices.ContainsFunc(alerts, func(a governance.Alert) bool { return a.Key == "access.campaign:"+c.ID.String() }))
		records := strings.Join(e.Actions(t), "\n")
		require.Equal(t, 5, strings.Count(records, "access.attest done"))
		require.Equal(t, 1, strings.Count(records, "access.campaign_closed done"))
	})
}

// TestCampaign_Periodic: one begins by itself, whoever left meanwhile is written off,
// and where nobody can review it the server says so.
func TestCampaign_Periodic(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		require.NoError(t, e.svc.Install(ctx))
		e.add(t, "root", govauth.RoleSuperAdmin)
		require.NoError(t, e.svc.Tick(ctx))
		list, err := e.svc.Campaigns(ctx, uuid.Nil, 0)
		require.NoError(t, err)
		require.Empty(t, list, "not before its time")
		e.Advance(91 * 24 * time.Hour)
		require.Error(t, e.svc.Tick(ctx), "root alone cannot review root")
		alerts, err := e.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Equal(t, "access.periodic", alerts[0].Key)
		e.add(t, "vera", govauth.RoleApprover)
		e.add(t, "leo", govauth.RoleCSAgent)
		require.NoError(t, e.svc.Tick(ctx))
		require.NoError(t, e.svc.Tick(ctx))
		list, err = e.svc.Campaigns(ctx, uuid.Nil, 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Len(t, list[0].Items, 3)
		alerts, err = e.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Empty(t, alerts)
		_, err = e.auth.Deactivate(ctx, e.as(t, "root"), govauth.Deactivate{Person: "leo"}, nil)
		require.NoError(t, err)
		require.NoError(t, e.svc.Tick(ctx))
		require.Equal(t, access.Gone, e.item(t, list[0], "leo").Verdict)
		e.Advance(400 * 24 * time.Hour)
		require.NoError(t, e.svc.Tick(ctx), "after a long pause the next one has its day in the future")
		list, err = e.svc.Campaigns(ctx, uuid.Nil, 0)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.False(t, list[0].Overdue)
		require.True(t, list[1].Overdue)
	})
}
