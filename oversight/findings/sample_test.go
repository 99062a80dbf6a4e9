package findings_test

import (
	"context"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/findings"
)

// TestSamples: the figures an auditor samples first are those counted by hand, and each
// leads to exactly the actions it counts.
func TestSamples(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		w := newWorld(t, e, nil)
		plain := governance.Spec[oversight.Credit]{Permission: "tenant:credit", Sensitive: true, Tenant: func(in oversight.Credit) governance.TenantID { return in.Tenant },
			Resource: func(in oversight.Credit) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
			Measures: func(_ context.Context, _ *governance.Tx, in oversight.Credit) ([]governance.Measure, error) {
				return []governance.Measure{governance.MoneyMeasure(in.Money)}, nil
			}}
		nothing := func(context.Context, *governance.Tx, oversight.Credit) (governance.Result, error) {
			return governance.Result{}, nil
		}
		refund := governance.Define(oversight.ActionRefund, plain, nothing)
		export := governance.Define(oversight.ActionExport, plain, nothing)
		require.NoError(t, e.Kernel.Register(refund, export))
		day := governance.Duration{Duration: 24 * time.Hour}
		require.NoError(t, e.Kernel.InstallPolicies(ctx, governance.Policy{ID: "export-trial", Title: "On trial", Actions: []string{oversight.ActionExport}, Mode: governance.Shadow, Deny: true},
			governance.Policy{ID: "two", Title: "Two groups", Actions: []string{"other"}, Mode: governance.Enforce, Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 2}, {Group: "root", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
		do := func(a *governance.Action[oversight.Credit], who governance.PersonID, minor int64, currency, reason string) error {
			_, err := a.Do(ctx, w.Kernel, w.As(who), oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: minor, Currency: currency}}, &governance.DoOptions{Reason: reason})
			return err
		}
		require.NoError(t, do(w.credit, "agent0", 11_100, "EUR", "before the period"))
		e.Advance(48 * time.Hour)
		from := e.Now()
		require.NoError(t, do(w.credit, "agent0", 40_000, "EUR", "goodwill"))
		require.NoError(t, do(w.credit, "agent0", 10_001, "USD", "=goodwill")) // 90.009 EUR, rounded up as the limit does
		approve := func(who governance.PersonID, err error, after time.Duration, v governance.VoteDecision) {
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			e.Advance(after)
			ap, err := w.Kernel.Approval(ctx, held.Approval)
			require.NoError(t, err)
			_, err = w.Kernel.Decide(ctx, w.As(who), held.Approval, governance.Vote{Decision: v, Digest: ap.Digest})
			require.NoError(t, err)
		}
		approve("appr0", do(w.credit, "agent1", 150_000, "EUR", "outage"), 3*time.Second, governance.Approve)
		approve("appr0", do(w.credit, "agent1", 150_000, "EUR", "outage"), 40*time.Second, governance.Reject)
		approve("appr0", do(w.credit, "agent1", 150_000, "EUR", "never executed"), 20*time.Second, governance.Reject)
		var waits *governance.ApprovalRequiredError
		require.ErrorAs(t, do(w.credit, "agent1", 150_000, "EUR", "waits"), &waits)
		require.NoError(t, do(refund, "agent2", 500, "USD", "goodwill")) // no limit, so no rate was stored
		require.NoError(t, do(export, "agent2", 700, "EUR", ""))         // shadow only
		to := e.Now()
		e.Advance(time.Hour)
		require.NoError(t, do(export, "agent2", 700, "EUR", "after the period"))

		sh, err := w.svc.Share(ctx, from, to)
		require.NoError(t, err)
		require.Equal(t, 5, sh.Total)
		require.Equal(t, 3, sh.Enforced)
		yes, no := true, false
		for _, l := range sh.Actions { // walks down
			under, err := w.svc.Samples(ctx, findings.SampleFilter{From: from, To: to, Action: l.Action, Enforced: &yes})
			require.NoError(t, err)
			require.Len(t, under, l.Enforced, l.Action)
			rest, err := w.svc.Samples(ctx, findings.SampleFilter{From: from, To: to, Action: l.Action, Enforced: &no})
			require.NoError(t, err)
			require.Len(t, rest, l.Total-l.Enforced, l.Action)
			for _, x := range append(under, rest...) {
				a, err := w.Kernel.Action(ctx, x.ID)
				require.NoError(t, err)
				require.Equal(t, governance.StateExecuted, a.State)
			}
		}

		c, err := w.svc.Credits(ctx, from, to)
		require.NoError(t, err)
		money := func(minor int64) governance.Money { return governance.Money{Minor: minor, Currency: "EUR"} }
		require.Equal(t, []findings.CreditLine{{Key: "agent1", OverCount: 1, Under: money(0), Over: money(150_000)}, {Key: "agent0", UnderCount: 2, Under: money(49_001), Over: money(0)},
			{Key: "agent2", UnderCount: 1, Under: money(0), Over: money(0)}}, c.ByPerson)
		require.Equal(t, []string{"outage", "goodwill", "=goodwill"}, []string{c.ByReason[0].Key, c.ByReason[1].Key, c.ByReason[2].Key})
		require.Equal(t, money(49_001), c.Total.Under)
		require.Equal(t, 1, c.Unpriced)
		require.Equal(t, 1, c.Unlimited)
		for _, l := range c.ByReason {
			all, err := w.svc.Samples(ctx, findings.SampleFilter{From: from, To: to, Credits: true, Reason: &l.Key})
			require.NoError(t, err)
			var sum int64
			for _, x := range all {
				sum += x.In.Minor
			}
			require.Len(t, all, l.UnderCount+l.OverCount)
			require.Equal(t, l.Under.Minor+l.Over.Minor, sum)
		}

		h, err := w.svc.Health(ctx, from, to)
		require.NoError(t, err)
		require.Len(t, h.Approvers, 1)
		require.Equal(t, 1, h.Waiting)
		a := h.Approvers[0]
		require.Equal(t, []int{1, 2, 1}, []int{a.Approved, a.Denied, a.Fast})
		require.InDelta(t, 20, a.Median.Seconds(), 0.01)
		require.InDelta(t, 40, a.Slowest.Seconds(), 0.01)
		spare := map[string]int{}
		for _, q := range h.Quorums {
			spare[q.Policy+"/"+string(q.Group)] = q.Spare
		}
		require.Equal(t, map[string]int{"credit-24h/gov_approver": 5, "two/gov_approver": 0, "two/root": 0}, spare, "root is the one without whom nothing goes")
		e.People.Remove("root")
		h, err = w.svc.Health(ctx, from, to)
		require.NoError(t, err)
		require.Equal(t, -1, h.Quorums[len(h.Quorums)-1].Spare)

		for what, export := range map[string]func(b *strings.Builder) error{
			"samples": func(b *strings.Builder) error {
				return w.svc.Export(ctx, w.As("appr0"), findings.SampleFilter{From: from, To: to, Credits: true}, b)
			},
			"share":   func(b *strings.Builder) error { return w.svc.ExportShare(ctx, w.As("appr0"), from, to, b) },
			"credits": func(b *strings.Builder) error { return w.svc.ExportCredits(ctx, w.As("appr0"), from, to, b) },
		} {
			var b strings.Builder
			require.NoError(t, export(&b), what)
			rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
			require.NoError(t, err, what)
			require.Greater(t, len(rows), 4, what)
			require.NotContains(t, b.String(), ",=", "no cell is a formula")
		}
		require.Equal(t, 3, strings.Count(strings.Join(e.Actions(t), "\n"), "audit.export observed"))
		_, err = w.svc.Share(ctx, to, from)
		require.ErrorContains(t, err, "beginning before its end")
		got, err := w.svc.Findings(ctx, findings.Filter{Before: uuid.New()})
		require.NoError(t, err)
		require.Empty(t, got)

		windows, err := w.Kernel.Windows(ctx, governance.ByTenant, "acme")
		require.NoError(t, err)
		require.Len(t, windows, 1)
		require.EqualValues(t, 40_000+9_001+150_000+150_000, windows[0].Used, "what waits counts as well")
		_, err = w.Kernel.Windows(ctx, governance.ByTenant, "")
		require.Error(t, err)
	})
}

// TestRaise_Ends: a finding that was dismissed raises nothing, one that was confirmed
// does for thirty days.
func TestRaise_Ends(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		ctx, day := t.Context(), governance.Duration{Duration: 24 * time.Hour}
		w := newWorld(t, e, &findings.Options{Hours: &findings.Hours{From: 8, To: 18, Days: []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}},
			Raise: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}})
		late := func(who governance.PersonID, d int) {
			w.play(t, []event{{at: time.Date(2026, 1, 5+d, 22, 0, 0, 0, time.UTC), who: who, action: "note.write", tenant: "t1"}})
			require.NoError(t, w.svc.Turn(ctx))
		}
		give := func(who governance.PersonID) error {
			_, err := w.credit.Do(ctx, w.Kernel, w.As(who), oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: 1, Currency: "EUR"}}, nil)
			return err
		}
		var held *governance.ApprovalRequiredError
		for i, state := range []findings.State{findings.Dismissed, findings.Confirmed} {
			who := governance.PersonID([]string{"agent3", "agent5"}[i])
			late(who, i)
			require.ErrorAs(t, give(who), &held, "open")
			f, err := w.svc.Findings(ctx, findings.Filter{Who: string(who)})
			require.NoError(t, err)
			require.Len(t, f, 1)
			_, err = w.svc.Decide(ctx, w.As([]governance.PersonID{"appr0", "appr1"}[i]), findings.Decide{Finding: f[0].ID.String(), State: state}, &governance.DoOptions{Reason: "looked into it"})
			require.NoError(t, err)
		}
		require.NoError(t, give("agent3"))
		require.ErrorAs(t, give("agent5"), &held)
		e.Advance(31 * 24 * time.Hour)
		require.NoError(t, give("agent5"))
	})
}

// TestPrune: what no baseline reaches is forgotten, findings and firsts are not.
func TestPrune(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		w := newWorld(t, e, nil)
		count := func(table string) (n int) {
			require.NoError(t, e.DB.Handle().NewRaw("SELECT COUNT(*) FROM "+table).Scan(ctx, &n))
			return n
		}
		w.play(t, []event{{at: w.Now(), who: "agent1", action: "note.write", tenant: "t1"}})
		e.Advance(70 * 24 * time.Hour)
		w.play(t, []event{{at: w.Now(), who: "agent1", action: "note.write", tenant: "t1"}})
		require.NoError(t, w.svc.Turn(ctx))
		require.Equal(t, 2, count("finding_act"))
		require.NoError(t, w.svc.Prune(ctx))
		require.Equal(t, 1, count("finding_act"))
		require.Equal(t, 2, count("finding_pair"))
	})
}
