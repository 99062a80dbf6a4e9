package playbook_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
)

func shipped(t testing.TB, name string) string {
	t.Helper()
	for _, s := range playbook.Shipped() {
		if s.Name == name {
			return s.Text
		}
	}
	t.Fatalf("%s is not shipped", name)
	return ""
}

// licences is a rig where the shipped playbook about licences is live and t00 is
// overdue.
func licences(t *testing.T, e *govtest.Env) *rig {
	t.Helper()
	r := newRig(t, e, 20)
	r.all(20, "payment_overdue_days", 0.0)
	r.live(t, shipped(t, "expiring-licence"))
	r.set("t00", "payment_overdue_days", 20.0)
	r.tenant(t, "t00", func(ten *governance.Tenant) { ten.RenewalAt = r.Now().Add(6 * 24 * time.Hour) })
	require.Equal(t, 1, r.scan(t, "expiring-licence").Matched)
	r.turn(t)
	return r
}

// overdue brings the run to where a person decides.
func (r *rig) overdue(t *testing.T) playbook.Run {
	t.Helper()
	run := r.only(t)
	require.Equal(t, []playbook.StepState{playbook.StepDone, playbook.StepWaiting, playbook.StepPending, playbook.StepPending, playbook.StepPending}, states(run))
	require.Contains(t, r.alerts(t)["playbook.notice:expiring-licence:t00"].Title, "Tenant t00")
	r.Advance(5*24*time.Hour + time.Minute)
	r.refresh()
	r.turn(t)
	run = r.only(t)
	require.Equal(t, []playbook.StepState{playbook.StepDone, playbook.StepDone, playbook.StepAwaiting, playbook.StepPending, playbook.StepPending}, states(run))
	require.Equal(t, run.Steps[2].Approval, run.Steps[3].Approval, "people decide on the restriction itself")
	return run
}

func TestLicence(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := licences(t, e)
		run := r.overdue(t)
		a := parseApproval(t, run.Steps[2].Approval)
		ap, err := r.Kernel.Approval(t.Context(), a)
		require.NoError(t, err)
		require.Equal(t, "tenant.restrict", ap.Action)
		require.Contains(t, string(ap.Preview), "Tenant t00")
		ap = r.approve(t, a, "ana")
		require.Equal(t, governance.StateApproved, ap.State)
		require.False(t, r.state(t, "t00").Suspended, "a vote alone executes nothing: the condition is looked at first")
		r.refresh()
		r.turn(t)
		run = r.only(t)
		require.Equal(t, playbook.RunSucceeded, run.State, run.Why)
		require.True(t, r.state(t, "t00").Suspended)
		require.Equal(t, "playbook:expiring-licence:licence-expired", r.state(t, "t00").Restrictions[0].Reason)
		require.Contains(t, run.Steps[3].Detail, "approved by ana")
		require.NotEmpty(t, run.Steps[3].Checked)
		require.Len(t, r.vendor.effects, 1, "the ticket")

		// Payment alone is not seen by an event here; the renewal is.
		r.set("t00", "payment_overdue_days", 0.0)
		r.tenant(t, "t00", func(ten *governance.Tenant) { ten.RenewalAt = r.Now().Add(365 * 24 * time.Hour) })
		r.turn(t)
		run = r.only(t)
		require.Equal(t, playbook.RunRolledBack, run.State)
		require.False(t, r.state(t, "t00").Suspended, "taken back by the renewal")
		require.Equal(t, playbook.StepUndone, run.Steps[4].State, "the ticket first")
		require.Equal(t, playbook.StepUndone, run.Steps[3].State)
		require.Less(t, run.Steps[4].EndedAt, run.Steps[3].EndedAt.Add(time.Hour))
		require.Len(t, r.vendor.undos, 1)
		require.Subset(t, r.Actions(t), []string{"tenant.restrict held", "approval.vote done", "tenant.restrict done", "tenant.restriction.lift done", "playbook.run.stop done"})
	})
}

func TestEndWait(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := licences(t, e)
		id := r.only(t).ID
		require.Error(t, r.svc.EndWait(t.Context(), r.As("cara"), id, "no right"))
		require.Error(t, r.svc.EndWait(t.Context(), r.As("root"), id, ""))
		require.NoError(t, r.svc.EndWait(t.Context(), r.As("root"), id, "they answered"))
		r.turn(t)
		require.Equal(t, playbook.StepAwaiting, r.only(t).Steps[2].State, "a person still decides")
		require.ErrorIs(t, r.svc.EndWait(t.Context(), r.As("root"), id, "again"), governance.ErrConflict)
		require.False(t, r.state(t, "t00").Suspended)
		require.Contains(t, r.Actions(t), "playbook.run.end_wait done")
	})
}

func TestLicence_PaidWhileWaiting(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := licences(t, e)
		run := r.overdue(t)
		id := parseApproval(t, run.Steps[2].Approval)
		r.approve(t, id, "ana")
		r.refresh()
		r.set("t00", "payment_overdue_days", 0.0) // five minutes ago
		r.turn(t)
		run = r.only(t)
		require.Equal(t, playbook.RunExited, run.State)
		require.False(t, r.state(t, "t00").Suspended)
		require.Empty(t, r.vendor.effects)
		ap, err := r.Kernel.Approval(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, governance.StateCancelled, ap.State, "nobody can execute it later")
	})
}

func TestLicence_StaleAfterApproval(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := licences(t, e)
	run := r.overdue(t)
	id := parseApproval(t, run.Steps[2].Approval)
	r.Advance(49 * time.Hour)
	r.approve(t, id, "ana")
	r.turn(t)
	require.False(t, r.state(t, "t00").Suspended, "approved, but the data is stale")
	_, err := r.Kernel.Execute(t.Context(), r.As("root"), id)
	require.Error(t, err, "nor by hand")
	require.False(t, r.state(t, "t00").Suspended)
	r.refresh()
	r.Advance(11 * time.Minute)
	r.turn(t)
	require.True(t, r.state(t, "t00").Suspended, "it goes on with fresh data")
	require.NotContains(t, r.alerts(t), "approval.failed:"+id.String())
}

func TestLicence_Refused(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := licences(t, e)
		run := r.overdue(t)
		id := parseApproval(t, run.Steps[2].Approval)
		ap, err := r.Kernel.Approval(t.Context(), id)
		require.NoError(t, err)
		_, err = r.Kernel.Decide(t.Context(), r.As("ana"), id, governance.Vote{Decision: governance.Reject, Digest: ap.Digest, Comment: "key account"})
		require.NoError(t, err)
		r.turn(t)
		run = r.only(t)
		require.Equal(t, playbook.RunCancelled, run.State)
		require.Contains(t, run.Why, "denied")
		require.False(t, r.state(t, "t00").Suspended)
	})
}

func TestLicence_NobodyDecides(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := licences(t, e)
	r.overdue(t)
	r.Advance(73 * time.Hour)
	require.NoError(t, r.Kernel.Sweep(t.Context()))
	r.turn(t)
	require.Equal(t, playbook.RunCancelled, r.only(t).State, "silence is no approval")
	require.False(t, r.state(t, "t00").Suspended)
}

// restricting goes straight to the restriction.
const restricting = `
name: restricting
title: Restricting
trigger: {daily: "06:00"}
signals:
  usage_30d: {type: number, max_age: 36h}
when: signals.usage_30d < 50.0
safeguards: {max_targets: 5, max_percent: 50, max_unusable: 50, repeat_after: 30d}
on_stop: keep
steps:
  - {id: list, kind: crm.list_add, params: {list: risky}}
  - {id: suspend, kind: restriction.place, params: {reason: idle}}
`

func TestRestriction_NeverWithoutAPerson(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, restricting)
		r.set("t00", "usage_30d", 1.0)
		// Somebody turned the policy into one that only watches.
		p := playbook.Policies()[0]
		p.Mode = governance.Shadow
		_, err := r.Kernel.PutPolicy(t.Context(), r.As("root"), p, nil)
		require.NoError(t, err)
		r.scan(t, name)
		r.turn(t)
		run := r.only(t)
		require.Equal(t, playbook.RunFailed, run.State)
		require.Contains(t, run.Steps[1].Detail, "may not restrict a tenant without a person's approval")
		require.False(t, r.state(t, "t00").Suspended)
		require.Equal(t, playbook.StepDone, run.Steps[0].State, "on_stop: keep")
	})
}

func TestApprovalStep_NeverPassesByItself(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := newRig(t, e, 4)
	r.all(4, "usage_30d", 100.0)
	src := strings.Replace(nurture, "  - {id: tell", "  - {id: ok, kind: approval, params: {question: \"Really?\"}}\n  - {id: tell", 1)
	name := r.live(t, src)
	r.set("t00", "usage_30d", 1.0)
	r.scan(t, name)
	r.turn(t)
	run := r.only(t)
	require.Equal(t, playbook.StepAwaiting, run.Steps[1].State)
	r.approve(t, parseApproval(t, run.Steps[1].Approval), "ana")
	r.turn(t)
	require.Equal(t, playbook.RunSucceeded, r.only(t).State)

	p := playbook.Policies()[1]
	p.Mode = governance.Shadow
	_, err := r.Kernel.PutPolicy(t.Context(), r.As("root"), p, nil)
	require.NoError(t, err)
	r.set("t01", "usage_30d", 1.0)
	r.scan(t, name)
	r.turn(t)
	for _, run := range r.runs(t, playbook.Live) {
		if run.Tenant == "t01" {
			require.Equal(t, playbook.RunRolledBack, run.State)
			require.Contains(t, run.Why, "no policy asks a person")
		}
	}
}

func TestRollback_LeavesForeignChanges(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := licences(t, e)
		run := r.overdue(t)
		r.approve(t, parseApproval(t, run.Steps[2].Approval), "ana")
		r.refresh()
		r.turn(t)
		reason := r.state(t, "t00").Restrictions[0].Reason
		// A person lifts it and places it anew, for a reason of their own.
		ctx := t.Context()
		require.NoError(t, r.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			if err := r.Kernel.LiftTx(ctx, tx, r.As("root"), "t00", reason, 0); err != nil {
				return err
			}
			_, _, err := r.Kernel.RestrictTx(ctx, tx, r.As("root"), "t00", governance.Restriction{Reason: reason, Detail: "fraud"})
			return err
		}))
		require.Error(t, r.svc.Rollback(ctx, r.As("root"), run.ID, ""), "a reason is required")
		require.Error(t, r.svc.Rollback(ctx, r.As("cara"), run.ID, "no right"))
		require.NoError(t, r.svc.Rollback(ctx, r.As("root"), run.ID, "wrong customer"))
		require.ErrorIs(t, r.svc.Rollback(ctx, r.As("root"), run.ID, "twice"), governance.ErrConflict)
		r.turn(t)
		run = r.only(t)
		require.Equal(t, playbook.RunIncomplete, run.State)
		require.Equal(t, playbook.StepRefused, run.Steps[3].State)
		require.Equal(t, playbook.StepUndone, run.Steps[4].State, "what can be taken back is")
		require.True(t, r.state(t, "t00").Suspended, "theirs stays")
		require.Equal(t, "fraud", r.state(t, "t00").Restrictions[0].Detail)
		alert := r.alerts(t)["playbook.rollback:"+run.ID.String()]
		require.Equal(t, governance.Critical, alert.Severity)
		require.Equal(t, run.ID.String(), alert.Links[0].ID)
		xs, err := r.svc.Exemptions(ctx, false)
		require.NoError(t, err)
		require.EqualValues(t, "t00", xs[0].Tenant, "the rule does not take it again the next day")

		_, err = r.svc.InstallShipped(ctx)
		require.NoError(t, err)
		require.NoError(t, r.svc.OpenForAlerts(ctx))
		ins, err := r.svc.Instances(ctx, playbook.InstanceFilter{})
		require.NoError(t, err)
		require.Len(t, ins, 1)
		require.Equal(t, "unknown-outcome", ins[0].Runbook)
		require.Equal(t, run.ID.String(), ins[0].Run)
	})
}

func TestRollback_Entitlements(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 8)
		r.all(8, "usage_30d", 100.0)
		ctx := t.Context()
		src := strings.Replace(waiting, "  - {id: pause, kind: wait, params: {for: 5d}}", "  - {id: off, kind: entitlement.revoke, params: {feature: beta}}", 1)
		name := r.live(t, src)
		before := governance.Entitlement{Feature: "coach", Quantity: 9, Source: "plan", ExpiresAt: r.Now().Add(90 * 24 * time.Hour)}
		beta := governance.Entitlement{Feature: "beta", Source: "sales"}
		grant := func(tenant governance.TenantID, es ...governance.Entitlement) {
			require.NoError(t, r.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
				for _, e := range es {
					if err := r.Kernel.GrantTx(ctx, tx, governance.System("host"), tenant, e); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		for _, id := range []string{"t00", "t01", "t02"} {
			r.set(id, "usage_30d", 1.0)
		}
		grant("t00", before, beta)
		grant("t01", before, beta)
		r.scan(t, name)
		r.turn(t)
		require.Len(t, r.state(t, "t00").Entitlements, 1)
		require.EqualValues(t, 3, r.state(t, "t00").Entitlements[0].Quantity)
		// On t01 others changed both; on t02 there was nothing before.
		grant("t01", governance.Entitlement{Feature: "coach", Quantity: 50, Source: "sales"}, governance.Entitlement{Feature: "beta", Source: "support"})
		for _, run := range r.runs(t, playbook.Live) {
			require.Equal(t, playbook.RunSucceeded, run.State)
			require.NoError(t, r.svc.Rollback(ctx, r.As("root"), run.ID, "test"))
		}
		r.turn(t)
		got := map[governance.TenantID]playbook.RunState{}
		for _, run := range r.runs(t, playbook.Live) {
			got[run.Tenant] = run.State
		}
		require.Equal(t, map[governance.TenantID]playbook.RunState{"t00": playbook.RunRolledBack, "t01": playbook.RunIncomplete, "t02": playbook.RunRolledBack}, got)
		es := r.state(t, "t00").Entitlements
		require.Len(t, es, 2)
		require.Equal(t, "sales", es[0].Source)
		require.EqualValues(t, 9, es[1].Quantity, "the pre-image")
		require.Equal(t, "plan", es[1].Source)
		require.WithinDuration(t, before.ExpiresAt, es[1].ExpiresAt, time.Millisecond)
		require.EqualValues(t, 50, r.state(t, "t01").Entitlements[1].Quantity, "a foreign change stays")
		require.Equal(t, "support", r.state(t, "t01").Entitlements[0].Source)
		require.Empty(t, r.state(t, "t02").Entitlements)
	})
}

func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		effect  bool // of the first call
		lookups int  // that fail
		calls   int
		lost    bool // the call is the last thing that works
	}{
		"it had happened":            {effect: true, calls: 1},
		"it had not":                 {effect: false, calls: 2},
		"nobody can tell for a time": {effect: true, lookups: 3, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, govtest.New(t, options), 4)
			r.all(4, "usage_30d", 100.0)
			playbookName := r.live(t, nurture)
			r.set("t00", "usage_30d", 1.0)
			calls, lookups := 0, c.lookups
			r.vendor.fault = func(what string) (bool, error) {
				switch {
				case what == "do list":
					calls++
					if calls == 1 {
						return c.effect, errVendor
					}
				case what == "lookup list" && lookups > 0:
					lookups--
					return false, errVendor
				}
				return true, nil
			}
			r.scan(t, playbookName)
			r.turn(t)
			run := r.only(t)
			require.Equal(t, playbook.StepUnknown, run.Steps[0].State)
			require.Equal(t, governance.Critical, r.alerts(t)["playbook.unknown:"+run.ID.String()+"/list"].Severity)
			for range 6 {
				r.Advance(90 * time.Minute)
				r.turn(t)
			}
			require.Equal(t, playbook.RunSucceeded, r.only(t).State)
			require.Equal(t, c.calls, calls)
			require.Equal(t, []int{1}, slices.Collect(maps.Values(r.vendor.effects)))
			require.NotContains(t, r.alerts(t), "playbook.unknown:"+run.ID.String()+"/list")
		})
	}
	t.Run("rolled back while nobody can tell", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, govtest.New(t, options), 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, nurture)
		r.set("t00", "usage_30d", 1.0)
		r.vendor.fault = func(string) (bool, error) { return true, errVendor }
		r.scan(t, name)
		r.turn(t)
		run := r.only(t)
		require.NoError(t, r.svc.Rollback(t.Context(), r.As("root"), run.ID, "test"))
		for range 12 {
			r.turn(t)
			r.Advance(2 * time.Hour)
		}
		run = r.only(t)
		require.Equal(t, playbook.RunIncomplete, run.State, "never a guess")
		require.Equal(t, playbook.StepRefused, run.Steps[0].State)
	})
	t.Run("certainly not done", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, govtest.New(t, options), 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, nurture)
		r.set("t00", "usage_30d", 1.0)
		r.vendor.fault = func(string) (bool, error) { return false, governance.NotDone(errVendor) }
		r.scan(t, name)
		for range 8 {
			r.turn(t)
			r.Advance(time.Hour)
			r.refresh()
		}
		run := r.only(t)
		require.Equal(t, playbook.RunFailed, run.State)
		require.Equal(t, 5, run.Steps[0].Attempts)
		require.Empty(t, r.vendor.effects)
	})
}

// long is a playbook with every kind of step.
const long = `
name: long
title: Long
trigger: {daily: "06:00"}
signals:
  usage_30d: {type: number, max_age: 36h}
when: signals.usage_30d < 50.0
safeguards: {max_targets: 5, max_percent: 50, max_unusable: 50, repeat_after: 30d}
steps:
  - {id: one, kind: crm.list_add, params: {list: nurture}}
  - {id: grant, kind: entitlement.grant, params: {feature: coach}}
  - {id: cool, kind: wait, params: {for: 1h}}
  - {id: ask, kind: approval, params: {step: suspend}}
  - {id: suspend, kind: restriction.place, params: {reason: idle}}
  - {id: two, kind: ticket.open, params: {subject: "${tenant.name}"}}
`

// live steps of a run on another process; the lease of a dead one has run out.
func (r *rig) step(t testing.TB, svc *playbook.Service) {
	t.Helper()
	r.Drain(t)
	if err := svc.Advance(t.Context()); err != nil && !errors.Is(err, playbook.ErrCrash) {
		t.Logf("advance: %v", err)
	}
	for _, a := range r.pending(t) {
		r.approve(t, a.ID, "ana")
	}
	r.Drain(t)
	r.Advance(3 * time.Minute)
	r.refresh()
}

func (r *rig) pending(t testing.TB) []governance.Approval {
	t.Helper()
	as, err := r.Kernel.Approvals(t.Context(), governance.ApprovalFilter{States: []governance.State{governance.StatePending}})
	require.NoError(t, err)
	return as
}

// TestCrash ends the process at every point between two writes, forward and back,
// and lets another one go on.
func TestCrash(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, long)
		r.set("t00", "usage_30d", 1.0)
		r.scan(t, name)
		crashed := map[string]bool{}
		r.svc.SetHook(func(point string) error {
			if crashed[point] {
				return nil
			}
			crashed[point] = true
			return playbook.ErrCrash
		})
		for range 60 {
			r.step(t, r.svc)
			if r.only(t).State == playbook.RunSucceeded {
				break
			}
		}
		run := r.only(t)
		require.Equal(t, playbook.RunSucceeded, run.State, "%v", run.Timeline)
		require.Len(t, crashed, 10, "%v", crashed)
		require.Len(t, r.vendor.effects, 2)
		for id, n := range r.vendor.effects {
			require.Equal(t, 1, n, id)
		}
		require.True(t, r.state(t, "t00").Suspended)
		require.Len(t, r.state(t, "t00").Entitlements, 1)

		require.NoError(t, r.svc.Rollback(t.Context(), r.As("root"), run.ID, "test"))
		for range 40 {
			r.step(t, r.svc)
		}
		run = r.only(t)
		require.Equal(t, playbook.RunRolledBack, run.State, "%v", run.Timeline)
		require.Len(t, crashed, 16, "%v", crashed)
		require.False(t, r.state(t, "t00").Suspended)
		require.Empty(t, r.state(t, "t00").Entitlements)
		require.Len(t, r.vendor.undos, 2)
		for id, n := range r.vendor.undos {
			require.Equal(t, 1, n, id)
		}
	})
}

// TestServersShare lets several processes drive the same runs at once.
func TestServersShare(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 10)
		r.all(10, "usage_30d", 100.0)
		name := r.live(t, nurture)
		for i := range 5 {
			r.set(fmt.Sprintf("t%02d", i), "usage_30d", 1.0)
		}
		r.scan(t, name)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 3 {
					_ = r.svc.Advance(t.Context())
				}
			})
		}
		wg.Wait()
		r.turn(t)
		for _, run := range r.runs(t, playbook.Live) {
			require.Equal(t, playbook.RunSucceeded, run.State)
		}
		require.Len(t, r.vendor.effects, 5)
		for id, n := range r.vendor.effects {
			require.Equal(t, 1, n, id)
		}
		notices := 0
		for _, a := range r.alerts(t) {
			if strings.HasPrefix(a.Key, "playbook.notice:") {
				notices++
				require.EqualValues(t, 1, a.Times)
			}
		}
		require.Equal(t, 5, notices)
		// Two batches at once: the same tenants are not taken twice.
		r.Advance(31 * 24 * time.Hour)
		r.refresh()
		for range 4 {
			wg.Go(func() { _, _ = r.svc.Scan(t.Context(), name, "test") })
		}
		wg.Wait()
		require.Len(t, r.runs(t, playbook.Live), 10)
	})
}

// TestProperty lets chance decide about failures, crashes, foreign changes, data
// and people, and checks what must hold whatever happens.
func TestProperty(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		seeds := 25
		if e.DB.Postgres() {
			seeds = 8
		}
		if n, err := strconv.Atoi(os.Getenv("REEVE_TEST_SEEDS")); err == nil {
			seeds = n
		}
		r := newRig(t, e, 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, long)
		ends := map[playbook.RunState]int{}
		for seed := range seeds {
			ends[r.chance(t, name, rand.New(rand.NewPCG(uint64(seed), 7)))]++
		}
		t.Logf("ends: %v", ends)
		require.GreaterOrEqual(t, len(ends), 3, "chance reaches more than one end")
	})
}

func (r *rig) chance(t *testing.T, name string, rnd *rand.Rand) playbook.RunState {
	const tenant = "t00"
	ctx := t.Context()
	one := func(n int) bool { return rnd.IntN(n) == 0 }
	r.Advance(31 * 24 * time.Hour)
	r.refresh()
	r.set(tenant, "usage_30d", 1.0)
	xs, err := r.svc.Exemptions(ctx, false)
	require.NoError(t, err)
	for _, x := range xs {
		require.NoError(t, r.svc.EndExemption(ctx, r.As("root"), x.ID, "test"))
	}
	require.NoError(t, r.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error { // what an earlier run left to people
		s, err := r.Kernel.TenantStateTx(ctx, tx, tenant)
		for _, rs := range s.Restrictions {
			err = errors.Join(err, r.Kernel.LiftTx(ctx, tx, r.As("root"), tenant, rs.Reason, 0))
		}
		for _, e := range s.Entitlements {
			err = errors.Join(err, r.Kernel.RevokeTx(ctx, tx, r.As("root"), tenant, e.Feature, 0))
		}
		return err
	}))
	require.Equal(t, 1, r.scan(t, name).Matched)
	id := r.runs(t, playbook.Live)[0].ID

	stale, flipped := false, false
	r.svc.SetHook(func(string) error {
		if one(6) {
			return playbook.ErrCrash
		}
		return nil
	})
	r.vendor.fault = func(what string) (bool, error) {
		if strings.HasPrefix(what, "do ") && stale {
			t.Errorf("%s on stale data", what)
		}
		switch rnd.IntN(8) {
		case 0:
			return true, errVendor
		case 1:
			return false, errVendor
		case 2:
			return false, governance.NotDone(errVendor)
		}
		return true, nil
	}
	defer func() { r.vendor.fault = nil; r.svc.SetHook(func(string) error { return nil }) }()
	foreign := map[string]int64{} // entitlements and restrictions that are not ours any more, by version
	steady := 0
	var run playbook.Run
	for range 120 {
		r.Drain(t)
		was, err := r.svc.Run(ctx, id)
		require.NoError(t, err)
		_ = r.svc.Advance(ctx)
		run, err = r.svc.Run(ctx, id)
		require.NoError(t, err)
		for i, st := range run.Steps {
			before := was.Steps[i].State
			began := before == playbook.StepPending || before == playbook.StepAwaiting
			if stale && began && st.State == playbook.StepDone && (st.ID == "grant" || st.ID == "suspend") {
				t.Errorf("%s on stale data", st.ID)
			}
		}
		if run.State != playbook.RunRunning && run.State != playbook.RunStopping {
			if steady++; steady > 1 {
				break
			}
			if run.State == playbook.RunSucceeded && one(2) {
				require.NoError(t, r.svc.Rollback(ctx, r.As("root"), id, "chance"))
				steady = 0
			}
			continue
		}
		for _, a := range r.pending(t) {
			d := governance.Approve
			if one(8) {
				d = governance.Reject
			}
			_, err := r.Kernel.Decide(ctx, r.As("ana"), a.ID, governance.Vote{Decision: d, Digest: a.Digest, Comment: "chance"})
			require.NoError(t, err)
		}
		if one(12) {
			r.change(t, tenant, rnd, foreign)
		}
		switch {
		case one(40):
			_ = r.svc.Cancel(ctx, r.As("root"), id, "chance")
		case one(40):
			_ = r.svc.Rollback(ctx, r.As("root"), id, "chance")
		}
		r.Advance(time.Duration(1+rnd.IntN(20)) * time.Minute)
		if one(25) && !flipped {
			flipped = true
			r.set(tenant, "usage_30d", 90.0)
		}
		if stale = one(6); stale {
			v := 1.0
			if flipped {
				v = 90.0
			}
			r.setAt(tenant, "usage_30d", v, r.Now().Add(-40*time.Hour))
		} else {
			r.refresh()
		}
	}
	require.NotContains(t, []playbook.RunState{playbook.RunRunning, playbook.RunStopping}, run.State, "it comes to an end: %v", run.Timeline)
	r.check(t, run, foreign)
	return run.State
}

// change is somebody else touching what the run made.
func (r *rig) change(t *testing.T, tenant governance.TenantID, rnd *rand.Rand, foreign map[string]int64) {
	t.Helper()
	require.NoError(t, r.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		s, err := r.Kernel.TenantStateTx(ctx, tx, tenant)
		if err != nil {
			return err
		}
		by := r.As("root")
		if len(s.Entitlements) > 0 && rnd.IntN(2) == 0 {
			if err := r.Kernel.GrantTx(ctx, tx, by, tenant, governance.Entitlement{Feature: "coach", Quantity: 77, Source: "sales"}); err != nil {
				return err
			}
		}
		for _, rs := range s.Restrictions {
			if err := r.Kernel.LiftTx(ctx, tx, by, tenant, rs.Reason, 0); err != nil {
				return err
			}
			if rnd.IntN(2) == 0 {
				continue
			}
			if _, _, err := r.Kernel.RestrictTx(ctx, tx, by, tenant, governance.Restriction{Reason: rs.Reason, Detail: "theirs"}); err != nil {
				return err
			}
		}
		s, err = r.Kernel.TenantStateTx(ctx, tx, tenant)
		clear(foreign)
		for _, e := range s.Entitlements {
			if e.Source == "sales" {
				foreign["e:"+e.Feature] = e.Version
			}
		}
		for _, rs := range s.Restrictions {
			if rs.Detail == "theirs" {
				foreign["r:"+rs.Reason] = rs.Version
			}
		}
		return err
	}))
}

func (r *rig) check(t *testing.T, run playbook.Run, foreign map[string]int64) {
	t.Helper()
	for id, n := range r.vendor.effects {
		require.Equal(t, 1, n, "no step has its effect twice: %s", id)
	}
	for id, n := range r.vendor.undos {
		require.Equal(t, 1, n, "nothing is taken back twice: %s", id)
		require.Equal(t, 1, r.vendor.effects[id], "nothing is taken back that was not done: %s", id)
	}
	// Compensation in reverse order, of steps that were done, and only after all that
	// was open is settled.
	index := map[string]int{}
	for i, s := range run.Steps {
		index[s.ID] = i
	}
	done, last := map[string]bool{}, len(run.Steps)
	for _, l := range run.Timeline {
		switch playbook.StepState(l.State) {
		case playbook.StepDone:
			require.False(t, done[l.Step], "%s is done twice", l.Step)
			done[l.Step] = true
			require.Equal(t, len(run.Steps), last, "%s is done after compensation began", l.Step)
		case playbook.StepUndone:
			require.True(t, done[l.Step], "%s is taken back and was not done", l.Step)
			require.Less(t, index[l.Step], last, "reverse order")
			last = index[l.Step]
		}
	}
	// What others changed is as they left it.
	s := r.state(t, string(run.Tenant))
	now := map[string]int64{}
	for _, e := range s.Entitlements {
		now["e:"+e.Feature] = e.Version
		if e.Source != "sales" {
			require.NotEqual(t, playbook.RunRolledBack, run.State, "our entitlement is left after a rollback")
		}
	}
	for _, rs := range s.Restrictions {
		now["r:"+rs.Reason] = rs.Version
		if rs.Detail != "theirs" {
			require.True(t, done["suspend"])
			require.NotEqual(t, playbook.RunRolledBack, run.State, "our restriction is left after a rollback")
		}
	}
	for k, v := range foreign {
		if k == "e:coach" && !done["grant"] {
			continue // granted over theirs is the step's own business, and kept as its pre-image
		}
		require.Equal(t, v, now[k], "a foreign change is overwritten: %s", k)
	}
	if run.State == playbook.RunRolledBack || run.State == playbook.RunIncomplete {
		for _, st := range run.Steps {
			require.NotContains(t, []playbook.StepState{playbook.StepRunning, playbook.StepUnknown, playbook.StepUndoing, playbook.StepAwaiting}, st.State)
			if st.Undoable {
				require.NotEqual(t, playbook.StepDone, st.State, "%s is left as it was", st.ID)
			}
		}
	}
}

// TestTakenOver lets a second process take a run over while the first one sleeps
// between two writes, past its lease.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 4)
		for i, point := range []string{"local grant", "called one"} {
			r.all(4, "usage_30d", 100.0)
			name := r.live(t, strings.Replace(waiting, "name: waiting", fmt.Sprintf("name: w%d", i), 1)+"  - {id: one, kind: crm.list_add}\n")
			r.set("t00", "usage_30d", 1.0)
			r.scan(t, name)
			slept := false
			r.svc.SetHook(func(at string) error {
				if at == point && !slept {
					slept = true
					r.Advance(3 * time.Minute)
					require.NoError(t, r.svc.Advance(t.Context()))
				}
				return nil
			})
			for range 3 {
				_ = r.svc.Advance(t.Context())
				r.Advance(6 * 24 * time.Hour)
				r.refresh()
			}
			rs, err := r.svc.Runs(t.Context(), playbook.RunFilter{Playbook: name, Mode: playbook.Live})
			require.NoError(t, err)
			require.Len(t, rs, 1)
			require.True(t, slept)
			require.Equal(t, playbook.RunSucceeded, rs[0].State, rs[0].Why)
			for id, n := range r.vendor.effects {
				require.Equal(t, 1, n, id)
			}
			require.Equal(t, rs[0].Steps[1].Output["version"], fmt.Sprint(r.state(t, "t00").Entitlements[0].Version), "granted once")
		}
	})
}
