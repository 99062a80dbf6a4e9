package pack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// lateStore is the directory that a kernel is made with before its database is known
// here.
type lateStore struct{ *govauth.Store }

// memberRig is a rig whose people are govauth's: ann and ben are approvers, cy is an
// auditor, and a rename needs two approvers.
type memberRig struct {
	*evidencetest.Rig
	t    *testing.T
	auth *govauth.Service
	vkey string
	turn string // ends the names of the people of one case among several
}

func (r *memberRig) p(name string) governance.PersonID { return governance.PersonID(name + r.turn) }

func eachMember(t *testing.T, fn func(t *testing.T, r *memberRig)) {
	t.Helper()
	opts := evidencetest.Options()
	opts.Schemas = append(opts.Schemas, govauth.Schema())
	opts.Kernel = func(o *governance.Options) {
		rules, err := celrules.New(nil)
		require.NoError(t, err)
		o.Directory, o.Rules = &lateStore{}, rules
	}
	govtest.Each(t, opts, func(t *testing.T, env *govtest.Env) {
		late := env.Kernel.Directory().(*lateStore) //nolint:forcetypeassert // set above
		var err error
		late.Store, err = govauth.NewStore(env.DB)
		require.NoError(t, err)
		r := &memberRig{Rig: evidencetest.New(t, env), t: t, vkey: env.Kernel.Ledger().VerifierKey()}
		r.auth, err = govauth.New(env.Kernel, late.Store, nil)
		require.NoError(t, err)
		r.add("boss", govauth.RoleSuperAdmin)
		r.add("dana", govauth.RoleCSAgent)
		r.People.Put("dana", "cs_agent")
		r.add("zoe", govauth.RoleApprover)
		r.add("ann", govauth.RoleApprover)
		r.add("ben", govauth.RoleApprover)
		r.add("cy", govauth.RoleAuditor)
		day := governance.Duration{Duration: 24 * time.Hour}
		require.NoError(t, r.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "renames", Title: "Renames", Actions: []string{"tenant.rename"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: govauth.RoleApprover, Approvals: 2}}, Exclude: []governance.GroupID{govauth.RoleFinanceViewer},
				DecideWithin: day, ExecuteWithin: day}}))
		r.Advance(10 * time.Minute)
		fn(t, r)
	})
}

func (r *memberRig) add(name string, roles ...string) {
	r.t.Helper()
	id := r.p(name)
	r.People.Put(id, "finance") // who may vote; the groups are the directory's
	_, err := r.auth.AddUser(r.t.Context(), govauth.User{ID: id, Name: name, Email: string(id) + "@example.com", Roles: roles})
	require.NoError(r.t, err)
}

func (r *memberRig) roles(name string, roles ...string) {
	r.t.Helper()
	_, err := r.auth.SetRoles(r.t.Context(), r.As("root"), govauth.ChangeRoles{Person: r.p(name), Roles: roles}, &governance.DoOptions{Reason: "new work"})
	require.NoError(r.t, err)
	r.Advance(5 * time.Minute)
}

func (r *memberRig) ask() governance.Approval {
	r.t.Helper()
	_, err := r.Rename.Do(r.t.Context(), r.Kernel, r.As("dana"), evidencetest.Rename{Tenant: "acme", Name: "Acme " + r.Now().Format(time.TimeOnly)}, &governance.DoOptions{Reason: "asked for", Ticket: "T-1"})
	var held *governance.ApprovalRequiredError
	require.ErrorAs(r.t, err, &held)
	a, err := r.Kernel.Approval(r.t.Context(), held.Approval)
	require.NoError(r.t, err)
	return a
}

// forge casts a vote past the kernel, with a genuine record that says what an insider
// wants it to say.
func (r *memberRig) forge(a governance.Approval, name string, says map[string]any, groups ...string) {
	r.t.Helper()
	person := r.p(name)
	require.NoError(r.t, r.DB.Do(r.t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		list, err := json.Marshal(groups)
		require.NoError(r.t, err)
		_, err = tx.ExecContext(ctx, "INSERT INTO gov_vote (approval, person, actor, decision, digest, comment, groups, created_at) VALUES (?, ?, ?, 'approve', ?, '', ?, ?)",
			a.ID, person, `{"id":"user:`+string(person)+`","kind":"user"}`, a.Digest, string(list), govdb.At(r.Now()))
		if err != nil {
			return err
		}
		data := map[string]any{"decision": "approve", "comment": "", "groups": groups, "state": "pending", "action": a.Action}
		for k, v := range says {
			data[k] = v
		}
		_, err = r.Kernel.RecordTx(ctx, tx, r.As(person), governance.Record{Action: "approval.vote", Tenant: "acme", Resource: governance.RefTo("approval", a.ID), ActionID: a.ID, Digest: a.Digest, Data: data})
		return err
	}))
	r.Advance(5 * time.Minute)
}

// execute carries an action out past the kernel.
func (r *memberRig) execute(a governance.Approval, by ...string) {
	r.t.Helper()
	require.NoError(r.t, r.DB.Do(r.t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE gov_action SET state = 'executed', executed_at = ?, execute_by = ? WHERE id = ?", govdb.At(r.Now()), govdb.At(r.Now()), a.ID)
		if err != nil {
			return err
		}
		_, err = r.Kernel.RecordTx(ctx, tx, r.As("dana"), governance.Record{Action: a.Action, Tenant: "acme", Resource: governance.ParseRef(a.Resource), ActionID: a.ID, Digest: a.Digest,
			Data: map[string]any{"result": nil, "approved_by": by, "policy_hash": a.Decision.Hash}})
		return err
	}))
}

func (r *memberRig) delegate(from, to string) governance.Delegation {
	r.t.Helper()
	d, err := r.Kernel.Delegate(r.t.Context(), r.As(r.p(from)), governance.Delegation{Delegate: r.p(to), Group: govauth.RoleApprover, Reason: "on leave", Until: r.Now().Add(48 * time.Hour)})
	require.NoError(r.t, err)
	r.Advance(5 * time.Minute)
	return d
}

// accessRecords are the records of people's access in a pack, by person and number.
func accessRecords(f *pack.Forgery) map[string]string {
	out := map[string]string{}
	for name, b := range f.Files {
		if person, n, ok := pack.AccessChange(b); ok && strings.HasPrefix(name, "records/") {
			out[person+string(rune('0'+n))] = name
		}
	}
	return out
}

func numbers(records map[string]string) []string { return slices.Sorted(maps.Keys(records)) }

// relies is what a vote says of the changes of access that it relies on.
func (r *memberRig) relies(name string, n int) map[string]any {
	return map[string]any{"access": map[governance.PersonID]int{r.p(name): n}}
}

// inPlace is the same of cy, who votes by a delegation of ben's.
func (r *memberRig) inPlace(n int, d governance.Delegation) map[string]any {
	return map[string]any{"access": map[governance.PersonID]int{r.p("cy"): 1, r.p("ben"): n}, "delegated": map[string]any{govauth.RoleApprover: d.ID}}
}

func TestVerify_Membership(t *testing.T) {
	t.Parallel()
	eachMember(t, func(t *testing.T, r *memberRig) {
		r.roles("ann", govauth.RoleApprover, govauth.RoleAuditor)
		a := r.Vote(t, r.ask(), governance.Approve, "ann", "ben")
		require.Equal(t, governance.StateExecuted, a.State, a.Error)
		of := "action " + a.ID.String()
		first := r.Build(t, pack.KindAction, a.ID)
		rep := check(t, r.vkey, first)
		require.Empty(t, texts(rep))
		require.Contains(t, rep.Notes, "2 votes on "+of+": records prove the voters' groups; no later change is in the pack, so that none came before the vote is what the vote's own record says")
		require.Equal(t, []string{"ann2", "ben1"}, numbers(accessRecords(pack.Take(first))), "the change that counts, and no other")

		// What came later brackets the vote.
		r.roles("ann", govauth.RoleAuditor)
		r.roles("ann", govauth.RoleApprover)
		second := r.Build(t, pack.KindAction, a.ID)
		rep = check(t, r.vkey, second)
		require.Empty(t, texts(rep))
		require.Contains(t, rep.Notes, "1 votes on "+of+": records prove the voters' groups, and the next change of their access came after the vote")
		require.Equal(t, []string{"ann2", "ann3", "ben1"}, numbers(accessRecords(pack.Take(second))))

		// So does a deactivation, and a later vote relies on a later change.
		_, err := r.auth.Deactivate(t.Context(), r.As("root"), govauth.Deactivate{Person: "ben"}, &governance.DoOptions{Reason: "left"})
		require.NoError(t, err)
		b := r.Vote(t, r.ask(), governance.Approve, "ann", "zoe")
		third := r.Build(t, pack.KindAction, b.ID)
		require.Empty(t, texts(check(t, r.vkey, third)))
		require.Equal(t, []string{"ann4", "zoe1"}, numbers(accessRecords(pack.Take(third))))
		fourth := r.Build(t, pack.KindAction, a.ID)
		require.Empty(t, texts(check(t, r.vkey, fourth)))
		require.Equal(t, []string{"ann2", "ann3", "ben1", "ben2"}, numbers(accessRecords(pack.Take(fourth))))

		// Somebody who takes records out, or puts others in.
		for what, c := range map[string]struct {
			change func(f *pack.Forgery, at map[string]string)
			want   string
		}{
			"left out":                      {func(f *pack.Forgery, at map[string]string) { dropRecord(f, at["ben1"]) }, "the record of the change of the access of ben that it relies on is missing"},
			"another person's in its place": {func(f *pack.Forgery, at map[string]string) { f.Files[at["ben1"]] = f.Files[at["ann2"]] }, "holds another record"},
			"another person's by its name": {func(f *pack.Forgery, at map[string]string) {
				f.Files[at["ben1"]] = []byte(strings.Replace(string(f.Files[at["ann2"]]), recordID(at["ann2"]), recordID(at["ben1"]), 1))
			}, "is not in the log at leaf"},
			"an altered group": {func(f *pack.Forgery, at map[string]string) {
				f.Files[at["ben1"]] = []byte(strings.Replace(string(f.Files[at["ben1"]]), govauth.RoleApprover, govauth.RoleAuditor, 1))
			}, "gives them gov_auditor, not gov_approver"},
			"the next change left out, a later one is known": {func(f *pack.Forgery, at map[string]string) {
				dropRecord(f, at["ann3"])
				later := pack.Take(third)
				name := accessRecords(later)["ann4"]
				f.Files[name] = later.Files[name]
			}, "is not the change of the access of ann that followed: one is left out"},
		} {
			t.Run(what, func(t *testing.T) {
				f := pack.Take(fourth)
				c.change(f, accessRecords(f))
				require.Contains(t, texts(check(t, r.vkey, f.Zip())), c.want)
			})
		}
		// With no later change known it cannot be noticed by the numbers: the pack then says
		// no more than that, and only the digest of its contents is off.
		f := pack.Take(second)
		dropRecord(f, accessRecords(f)["ann3"])
		rep = check(t, r.vkey, f.Zip())
		require.NotContains(t, texts(rep), "access")
		require.Contains(t, texts(rep), "a file was changed, added or taken out")
		require.Contains(t, strings.Join(rep.Notes, "\n"), "2 votes on "+of+": records prove the voters' groups; no later change is in the pack")
	})
}

// TestVerify_MembershipDelegated: whoever votes in somebody's place is shown by the
// delegation and the other's own access.
func TestVerify_MembershipDelegated(t *testing.T) {
	t.Parallel()
	eachMember(t, func(t *testing.T, r *memberRig) {
		r.delegate("ben", "cy")
		a := r.Vote(t, r.ask(), governance.Approve, "ann", "cy")
		require.Equal(t, governance.StateExecuted, a.State)
		b := r.Build(t, pack.KindAction, a.ID)
		require.Empty(t, texts(check(t, r.vkey, b)))
		require.Equal(t, []string{"ann1", "ben1", "cy1"}, numbers(accessRecords(pack.Take(b))))
		f := pack.Take(b)
		dropRecord(f, recordOf(t, f, "approval.delegate", "done"))
		require.Contains(t, texts(check(t, r.vkey, f.Zip())), "gives them gov_auditor, not gov_approver: no record says that it was delegated to them")
		f = pack.Take(b)
		dropRecord(f, accessRecords(f)["ben1"])
		require.Contains(t, texts(check(t, r.vkey, f.Zip())), "the record of the change of the access of ben that it relies on is missing")
	})
}

// TestVerify_MembershipDelegatedOnce: what is handed on is one place, for as long as it
// is handed on.
func TestVerify_MembershipDelegatedOnce(t *testing.T) {
	t.Parallel()
	const approver, none = govauth.RoleApprover, "executes without its quorum: nobody is left for a place of gov_approver"
	cases := map[string]struct {
		do         func(r *memberRig, a governance.Approval) (by []string)
		want, note string
	}{
		"the delegate and another": {do: func(r *memberRig, a governance.Approval) []string {
			r.forge(a, "cy", r.inPlace(1, r.delegate("ben", "cy")), approver)
			r.forge(a, "ann", r.relies("ann", 1), approver)
			return []string{"cy", "ann"}
		}},
		"the delegator first": {do: func(r *memberRig, a governance.Approval) []string {
			r.forge(a, "ben", r.relies("ben", 1), approver)
			r.forge(a, "cy", r.inPlace(1, r.delegate("ben", "cy")), approver)
			return []string{"ben", "cy"}
		}, want: none},
		"the delegator first, and enough others": {do: func(r *memberRig, a governance.Approval) []string {
			r.forge(a, "ben", r.relies("ben", 1), approver)
			r.forge(a, "cy", r.inPlace(1, r.delegate("ben", "cy")), approver)
			r.forge(a, "ann", r.relies("ann", 1), approver)
			return []string{"ben", "cy", "ann"}
		}, note: "the vote of ben did not count for gov_approver in the end: they had delegated it to cy"},
		"ended before the act": {do: func(r *memberRig, a governance.Approval) []string {
			d := r.delegate("ben", "cy")
			r.forge(a, "cy", r.inPlace(1, d), approver)
			require.NoError(r.t, r.Kernel.RevokeDelegation(r.t.Context(), r.As(r.p("ben")), d.ID))
			r.Advance(5 * time.Minute)
			r.forge(a, "ann", r.relies("ann", 1), approver)
			return []string{"cy", "ann"}
		}, want: none},
		"the delegator left before the act": {do: func(r *memberRig, a governance.Approval) []string {
			r.forge(a, "cy", r.inPlace(1, r.delegate("ben", "cy")), approver)
			r.roles("ben", govauth.RoleAuditor)
			r.forge(a, "ann", r.relies("ann", 1), approver)
			return []string{"cy", "ann"}
		}, want: none},
		"to two people": {do: func(r *memberRig, a governance.Approval) []string {
			r.add("di", govauth.RoleAuditor)
			r.forge(a, "cy", r.inPlace(1, r.delegate("ben", "cy")), approver)
			r.forge(a, "di", map[string]any{"access": map[governance.PersonID]int{r.p("di"): 1, r.p("ben"): 1}, "delegated": map[string]any{approver: r.delegate("ben", "di").ID}}, approver)
			return []string{"cy", "di"}
		}, want: none},
	}
	eachMember(t, func(t *testing.T, r *memberRig) {
		for i, what := range slices.Sorted(maps.Keys(cases)) {
			c := cases[what]
			r.turn = fmt.Sprintf(".%02d", i)
			r.add("ann", approver)
			r.add("ben", approver)
			r.add("cy", govauth.RoleAuditor)
			a := r.ask()
			r.Advance(5 * time.Minute)
			by := c.do(r, a)
			for i, name := range by {
				by[i] = string(r.p(name))
			}
			r.execute(a, by...)
			p, err := r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: pack.KindAction, Subject: a.ID, Reason: "audit"})
			if c.want != "" {
				require.ErrorIs(t, err, evidence.ErrDoesNotHold, what)
				require.ErrorContains(t, err, c.want, what)
				continue
			}
			require.NoError(t, err, what)
			_, data, err := r.Evidence.Download(t.Context(), r.As("root"), p.ID)
			require.NoError(t, err, what)
			require.Contains(t, strings.ReplaceAll(strings.Join(check(t, r.vkey, data).Notes, "\n"), r.turn, ""), c.note, what)
		}
	})
}

// TestBuild_MembershipOfAnInsider: genuine records of votes that rely on an access that
// was none.
func TestBuild_MembershipOfAnInsider(t *testing.T) {
	t.Parallel()
	const approver = govauth.RoleApprover
	cases := map[string]struct {
		do   func(r *memberRig, a governance.Approval)
		want string // of the problem; or
		note string
	}{
		"honest": {do: func(r *memberRig, a governance.Approval) { r.forge(a, "ann", r.relies("ann", 1), approver) },
			note: "1 votes on action ID: records prove the voters' groups; no later change"},
		"a group they are not in": {do: func(r *memberRig, a governance.Approval) { r.forge(a, "cy", r.relies("cy", 1), approver) },
			want: "gives them gov_auditor, not gov_approver: no record says that it was delegated to them"},
		"the access of somebody else": {do: func(r *memberRig, a governance.Approval) { r.forge(a, "cy", r.relies("ann", 1), approver) },
			want: "its record names no change of the access of cy that it relies on"},
		"a change that is none": {do: func(r *memberRig, a governance.Approval) { r.forge(a, "ann", r.relies("ann", 7), approver) },
			want: "the record of the change of the access of ann that it relies on is missing"},
		"made an approver after the vote": {do: func(r *memberRig, a governance.Approval) {
			r.forge(a, "cy", r.relies("cy", 2), approver)
			r.roles("cy", approver)
		}, want: "gave cy their groups after the vote"},
		"made an approver after the vote, by a clock set back": {do: func(r *memberRig, a governance.Approval) {
			r.forge(a, "cy", r.relies("cy", 2), approver)
			r.Advance(-time.Hour)
			r.roles("cy", approver)
			r.Advance(time.Hour)
		}, want: "gave cy their groups after the vote"},
		"superseded before the vote": {do: func(r *memberRig, a governance.Approval) {
			r.roles("ann", govauth.RoleAuditor)
			r.forge(a, "ann", r.relies("ann", 1), approver)
		}, want: "had changed the access of ann before the vote"},
		"deactivated before the vote": {do: func(r *memberRig, a governance.Approval) {
			_, err := r.auth.Deactivate(r.t.Context(), r.As("root"), govauth.Deactivate{Person: r.p("ann")}, &governance.DoOptions{Reason: "left"})
			require.NoError(r.t, err)
			r.forge(a, "ann", r.relies("ann", 2), approver)
		}, want: "had ended the access of ann"},
		"a change within the minute before": {do: func(r *memberRig, a governance.Approval) {
			r.roles("ann", govauth.RoleAuditor)
			r.Advance(-5*time.Minute + time.Second)
			r.forge(a, "ann", r.relies("ann", 1), approver)
		}, note: "the access of ann changed within a minute before the vote"},
		"silent on what it relies on, removed": {do: func(r *memberRig, a governance.Approval) {
			r.roles("ann", govauth.RoleAuditor)
			r.forge(a, "ann", nil, approver)
		}, want: "gives them gov_auditor, not gov_approver"},
		"silent on what it relies on, deactivated": {do: func(r *memberRig, a governance.Approval) {
			_, err := r.auth.Deactivate(r.t.Context(), r.As("root"), govauth.Deactivate{Person: r.p("ann")}, &governance.DoOptions{Reason: "left"})
			require.NoError(r.t, err)
			r.forge(a, "ann", nil, approver)
		}, want: "had ended the access of ann"},
		"silent on what it relies on, before they were there": {do: func(r *memberRig, a governance.Approval) {
			r.forge(a, "eve", nil, approver)
			r.add("eve", approver)
		}, want: "the access of eve begins after it"},
		"from before votes said so": {do: func(r *memberRig, a governance.Approval) { r.forge(a, "ann", nil, approver) },
			note: "1 votes on action ID: records gave the voters their groups; that none took them away before the vote is not shown"},
		"made an approver when records of it said less": {do: func(r *memberRig, a governance.Approval) {
			require.NoError(r.t, r.DB.Do(r.t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				_, err := r.Kernel.RecordTx(ctx, tx, r.As("root"), governance.Record{Action: "user.add", Resource: governance.Ref{Kind: "person", ID: string(r.p("old"))},
					Data: map[string]any{"roles": []string{approver}}})
				return err
			}))
			r.forge(a, "old", r.relies("old", 1), approver)
		}, note: "1 votes on action ID: records prove the voters' groups; no later change"},
		"of somebody whom no record knows": {do: func(r *memberRig, a governance.Approval) { r.forge(a, "eve", nil, approver) },
			note: "1 votes on action ID: that the voters were in their groups is what the votes' records say"},
		"in a group that the policy excludes": {do: func(r *memberRig, a governance.Approval) {
			r.roles("ann", approver, govauth.RoleFinanceViewer)
			r.forge(a, "ann", r.relies("ann", 2), approver)
		}, want: "says that they are in finance_viewer, which the policy excludes"},
		"two changes of one number": {do: func(r *memberRig, a governance.Approval) {
			require.NoError(r.t, r.DB.Do(r.t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				_, err := r.Kernel.RecordTx(ctx, tx, r.As("root"), governance.Record{Action: "user.roles", Resource: governance.Ref{Kind: "person", ID: string(r.p("cy"))},
					Data: map[string]any{"result": map[string]any{"person": r.p("cy"), "roles": []string{approver}, "state": "active", "version": 1}}})
				return err
			}))
			r.Advance(5 * time.Minute)
			r.forge(a, "cy", r.relies("cy", 1), approver)
		}, want: "are both the change of the access of cy"},
		"a delegation that had ended": {do: func(r *memberRig, a governance.Approval) {
			d := r.delegate("ben", "cy")
			require.NoError(r.t, r.Kernel.RevokeDelegation(r.t.Context(), r.As(r.p("ben")), d.ID))
			r.Advance(5 * time.Minute)
			r.forge(a, "cy", r.inPlace(1, d), approver)
		}, want: "had ended"},
		"a delegation of a place that was lost": {do: func(r *memberRig, a governance.Approval) {
			d := r.delegate("ben", "cy")
			r.roles("ben", govauth.RoleAuditor)
			r.forge(a, "cy", r.inPlace(2, d), approver)
		}, want: "gives ben, who delegated it, gov_auditor"},
		"a delegation that the vote does not name": {do: func(r *memberRig, a governance.Approval) {
			r.delegate("ben", "cy")
			r.forge(a, "cy", nil, approver)
		}, note: "1 votes on action ID: records gave the voters their groups"},
	}
	eachMember(t, func(t *testing.T, r *memberRig) {
		for i, what := range slices.Sorted(maps.Keys(cases)) {
			c := cases[what]
			r.turn = fmt.Sprintf(".%02d", i)
			r.add("ann", approver)
			r.add("ben", approver)
			r.add("cy", govauth.RoleAuditor)
			r.Advance(5 * time.Minute)
			a := r.ask()
			r.Advance(5 * time.Minute)
			c.do(r, a)
			plain := func(s string) string { return strings.NewReplacer(r.turn, "", a.ID.String(), "ID").Replace(s) }
			p, err := r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: pack.KindAction, Subject: a.ID, Reason: "audit"})
			if c.want != "" {
				require.ErrorIs(t, err, evidence.ErrDoesNotHold, what)
				require.Contains(t, plain(err.Error()), c.want, what)
				require.ErrorContains(t, err, "the groups of ", what)
				continue
			}
			require.NoError(t, err, what)
			_, data, err := r.Evidence.Download(t.Context(), r.As("root"), p.ID)
			require.NoError(t, err, what)
			require.Contains(t, plain(strings.Join(check(t, r.vkey, data).Notes, "\n")), c.note, what)
		}
	})
}

// TestVerify_MembershipUnderACondition: the mark that a condition held is of a group that
// the voter is in by themself.
func TestVerify_MembershipUnderACondition(t *testing.T) {
	t.Parallel()
	eachMember(t, func(t *testing.T, r *memberRig) {
		const where = `!("cs_agent" in actor.roles)`
		policy := governance.Policy{ID: "renames", Title: "Renames", Actions: []string{"tenant.rename"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: govauth.RoleApprover, Approvals: 1, Where: where}},
				DecideWithin: governance.Duration{Duration: time.Hour}, ExecuteWithin: governance.Duration{Duration: time.Hour}}}
		_, err := r.Kernel.PutPolicy(t.Context(), r.As("root"), policy, &governance.DoOptions{Reason: "new"})
		require.NoError(t, err)
		a := r.Vote(t, r.ask(), governance.Approve, "ann")
		require.Equal(t, governance.StateExecuted, a.State, a.Error)
		require.Empty(t, texts(check(t, r.vkey, r.Build(t, pack.KindAction, a.ID))))
		a = r.ask()
		r.forge(a, "cy", r.relies("cy", 1), govauth.RoleAuditor, govauth.RoleApprover+"?"+where)
		r.execute(a, "cy")
		_, err = r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: pack.KindAction, Subject: a.ID, Reason: "audit"})
		require.ErrorIs(t, err, evidence.ErrDoesNotHold)
		require.ErrorContains(t, err, "not gov_approver, whose condition they are said to meet")
	})
}

// TestVerify_MembershipPastTheServer: a role that was written into the table alone lets
// its bearer vote, and no pack holds.
func TestVerify_MembershipPastTheServer(t *testing.T) {
	t.Parallel()
	eachMember(t, func(t *testing.T, r *memberRig) {
		a := r.ask()
		_, err := r.DB.Handle().ExecContext(t.Context(), "UPDATE auth_user SET roles = ? WHERE id = ?", `["gov_approver"]`, "cy")
		require.NoError(t, err)
		a = r.Vote(t, a, governance.Approve, "ann", "cy")
		require.Equal(t, governance.StateExecuted, a.State)
		_, err = r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: pack.KindAction, Subject: a.ID, Reason: "audit"})
		require.ErrorIs(t, err, evidence.ErrDoesNotHold)
		require.ErrorContains(t, err, "gives them gov_auditor, not gov_approver")
		require.ErrorContains(t, err, "executes without its quorum")
	})
}

// TestVerify_MembershipLostBeforeTheAct: leaving a group takes the vote with it, and the
// pack of what others carried still holds.
func TestVerify_MembershipLostBeforeTheAct(t *testing.T) {
	t.Parallel()
	eachMember(t, func(t *testing.T, r *memberRig) {
		a := r.Vote(t, r.ask(), governance.Approve, "ann")
		r.Advance(5 * time.Minute)
		r.roles("ann", govauth.RoleAuditor)
		a = r.Vote(t, a, governance.Approve, "ben", "zoe")
		require.Equal(t, governance.StateExecuted, a.State, a.Error)
		b := r.Build(t, pack.KindAction, a.ID)
		rep := check(t, r.vkey, b)
		require.Empty(t, texts(rep))
		require.Contains(t, strings.Join(rep.Notes, "\n"), "the vote of ann did not count in the end")
		f := pack.Take(b)
		dropRecord(f, accessRecords(f)["ann2"])
		require.NotContains(t, strings.Join(check(t, r.vkey, f.Zip()).Notes, "\n"), "did not count", "nothing says so any more")

		// Lost and won again, it counts.
		a = r.Vote(t, r.ask(), governance.Approve, "ben")
		r.Advance(5 * time.Minute)
		r.roles("ben", govauth.RoleAuditor)
		r.roles("ben", govauth.RoleApprover)
		a = r.Vote(t, a, governance.Approve, "zoe")
		require.Equal(t, governance.StateExecuted, a.State, a.Error)
		b = r.Build(t, pack.KindAction, a.ID)
		rep = check(t, r.vkey, b)
		require.Empty(t, texts(rep))
		require.Equal(t, []string{"ben1", "ben2", "ben3", "zoe1"}, numbers(accessRecords(pack.Take(b))))
		require.NotContains(t, strings.Join(rep.Notes, "\n"), "did not count")

		// Whoever executes past the kernel on a vote that was lost is found out.
		a = r.Vote(t, r.ask(), governance.Approve, "ben")
		r.Advance(5 * time.Minute)
		_, err := r.auth.Deactivate(t.Context(), r.As("root"), govauth.Deactivate{Person: "ben"}, &governance.DoOptions{Reason: "left"})
		require.NoError(t, err)
		r.Advance(5 * time.Minute)
		a = r.Vote(t, a, governance.Approve, "zoe")
		require.Equal(t, governance.StatePending, a.State)
		r.execute(a, "ben", "zoe")
		_, err = r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: pack.KindAction, Subject: a.ID, Reason: "audit"})
		require.ErrorIs(t, err, evidence.ErrDoesNotHold)
		require.ErrorContains(t, err, "executes without its quorum: nobody is left for a place of gov_approver")
	})
}
