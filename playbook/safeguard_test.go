package playbook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
)

func TestNurture(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 6)
		r.all(6, "usage_30d", 100.0)
		r.set("t02", "usage_30d", 12.500000000000002)
		name := r.live(t, nurture)
		shadow := r.runs(t, playbook.Shadow)
		require.Len(t, shadow, 1, "the first look is in shadow")
		require.Equal(t, playbook.RunShadow, shadow[0].State)
		require.Equal(t, "nurture", shadow[0].Steps[0].Params.Text("list"), "it says what it would do")
		r.turn(t)
		require.Empty(t, r.vendor.effects, "shadow has no effect")

		b := r.scan(t, name)
		require.Equal(t, playbook.BatchDone, b.State)
		require.Equal(t, 6, b.Scanned)
		require.Equal(t, 1, b.Matched)
		r.turn(t)
		run := r.only(t)
		require.Equal(t, playbook.RunSucceeded, run.State)
		require.EqualValues(t, "t02", run.Tenant)
		require.Len(t, r.vendor.effects, 1)
		require.InDelta(t, 12.5, run.Steps[0].Checked["usage_30d"].Value, 1e-9, "what was seen right before the step")
		notice := r.alerts(t)["playbook.notice:nurture:t02"]
		require.Equal(t, "Tenant t02 at 12.5", notice.Title)
		require.Contains(t, notice.Body, "see V-")
		require.NotEmpty(t, run.Timeline)

		r.refresh()
		b = r.scan(t, name)
		require.Zero(t, b.Matched, "a rerun within the window takes nobody twice")
		cs, err := r.svc.Candidates(t.Context(), b.ID)
		require.NoError(t, err)
		require.Equal(t, playbook.Repeated, cs[0].Verdict)
		r.Advance(31 * 24 * time.Hour)
		r.refresh()
		require.Equal(t, 1, r.scan(t, name).Matched, "after it, it does")
		require.Subset(t, r.Actions(t), []string{"playbook.put done", "playbook.activate done", "playbook.batch done", "playbook.run.start observed", "playbook.run.start done", "playbook.step done", "tenant.notice done", "playbook.run.end done"})
	})
}

func TestVersions(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 2)
		r.all(2, "usage_30d", 100.0)
		ctx := t.Context()
		e.People.Put("ana", "gov_approver", "root")
		_, err := r.svc.Put(ctx, r.As("cara"), nurture, nil)
		_, denied := errors.AsType[*governance.DeniedError](err)
		require.True(t, denied, "who may not write may not put")
		_, err = r.svc.Put(ctx, r.As("ana"), nurture, nil)
		require.NoError(t, err)
		_, err = r.svc.Activate(ctx, r.As("root"), playbook.ActivateInput{Name: "nurture", Version: 1}, nil)
		a := r.approve(t, held(t, err), "ben")
		require.Equal(t, governance.StateFailed, a.State, "a version that never ran in shadow does not act")
		_, err = r.svc.Scan(ctx, "nurture", "test")
		require.NoError(t, err)
		_, err = r.svc.Activate(ctx, r.As("root"), playbook.ActivateInput{Name: "nurture", Version: 1}, nil)
		id := held(t, err)
		a, err = r.Kernel.Approval(ctx, id)
		require.NoError(t, err)
		_, err = r.Kernel.Decide(ctx, r.As("ana"), id, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
		require.ErrorContains(t, err, "you wrote the automation", "its author may not let it act")
		require.Equal(t, governance.StateExecuted, r.approve(t, id, "ben").State)

		r.put(t, strings.Replace(nurture, "< 50.0", "< 60.0", 1))
		p, err := r.svc.Playbook(ctx, "nurture")
		require.NoError(t, err)
		require.Equal(t, 1, p.LiveVersion, "the old version goes on acting")
		require.Equal(t, 2, p.ShadowVersion)
		r.set("t00", "usage_30d", 55.0)
		bs, err := r.svc.Scan(ctx, "nurture", "test")
		require.NoError(t, err)
		require.Len(t, bs, 2)
		require.Zero(t, bs[0].Matched, "live, version 1")
		require.Equal(t, 1, bs[1].Matched, "shadow, version 2")
		require.Empty(t, r.runs(t, playbook.Live))
		vs, err := r.svc.Versions(ctx, "nurture")
		require.NoError(t, err)
		require.Len(t, vs, 2)
		require.EqualValues(t, "ana", vs[1].Author)
		require.NoError(t, r.svc.Retire(ctx, r.As("root"), "nurture", "not needed"))
		require.ErrorIs(t, r.svc.Retire(ctx, r.As("root"), "nurture", "again"), governance.ErrConflict)
	})
}

func TestCap(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 20)
		r.all(20, "usage_30d", 100.0)
		name := r.live(t, nurture) // at most 5, and 50 %
		for i := range 6 {
			r.set(fmt.Sprintf("t%02d", i), "usage_30d", 1.0)
		}
		b := r.scan(t, name)
		require.Equal(t, playbook.BatchStopped, b.State)
		require.Contains(t, b.Why, "6 tenants match, more than the cap of 5")
		r.turn(t)
		require.Empty(t, r.runs(t, playbook.Live), "the whole batch, not its first five")
		require.Empty(t, r.vendor.effects)
		require.Equal(t, governance.Critical, r.alerts(t)["playbook.stopped:nurture"].Severity)

		r.set("t05", "usage_30d", 100.0)
		r.set("t04", "usage_30d", 100.0)
		b = r.scan(t, name)
		require.Equal(t, playbook.BatchDone, b.State)
		require.Equal(t, 4, b.Matched)
		require.NotContains(t, r.alerts(t), "playbook.stopped:nurture", "the alert is over with the next good batch")
		r.set("t10", "usage_30d", 1.0)
		r.set("t11", "usage_30d", 1.0)
		b = r.scan(t, name)
		require.Contains(t, b.Why, "2 tenants match and 4 were taken within a day", "the cap counts over batches")
		r.turn(t)
		require.Len(t, r.vendor.effects, 4)
	})
}

func TestCap_Percent(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := newRig(t, e, 10)
	r.all(10, "usage_30d", 100.0)
	name := r.live(t, strings.Replace(nurture, "max_percent: 50", "max_percent: 5", 1))
	r.set("t00", "usage_30d", 1.0)
	require.Equal(t, 1, r.scan(t, name).Cap, "5 % of 10 still is one")
	r.set("t01", "usage_30d", 1.0)
	r.set("t02", "usage_30d", 1.0)
	require.Equal(t, playbook.BatchStopped, r.scan(t, name).State)
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 12)
		r.all(12, "usage_30d", 100.0)
		name := r.live(t, nurture)
		r.setAt("t00", "usage_30d", 1.0, r.Now().Add(-37*time.Hour))
		r.signals["t01"] = nil
		r.setAt("t02", "usage_30d", 1.0, time.Time{})
		r.setAt("t03", "usage_30d", 1.0, r.Now().Add(time.Hour))
		r.set("t04", "usage_30d", "1.0")
		r.set("t05", "usage_30d", nil)
		b := r.scan(t, name)
		require.Equal(t, playbook.BatchDone, b.State)
		require.Zero(t, b.Matched)
		require.Equal(t, 6, b.Unusable)
		cs, err := r.svc.Candidates(t.Context(), b.ID)
		require.NoError(t, err)
		whys := map[governance.TenantID]string{}
		for _, c := range cs {
			require.Equal(t, playbook.Stale, c.Verdict)
			whys[c.Tenant] = c.Why
		}
		require.Contains(t, whys["t00"], "36h is allowed")
		require.Contains(t, whys["t01"], "missing")
		require.Contains(t, whys["t02"], "nobody knows how old")
		require.Contains(t, whys["t03"], "lies ahead")
		require.Contains(t, whys["t04"], "not of type number")
		require.Contains(t, whys["t05"], "missing")
		require.Contains(t, r.alerts(t), "playbook.stale:nurture")

		r.signals["t06"] = nil
		b = r.scan(t, name)
		require.Equal(t, playbook.BatchStopped, b.State, "a late feed looks like mass disengagement")
		require.Contains(t, b.Why, "outage of data")
		r.broken = errors.New("warehouse is down")
		_, err = r.svc.Scan(t.Context(), name, "test")
		require.ErrorContains(t, err, "warehouse is down")
		require.Empty(t, r.runs(t, playbook.Live))
	})
}

func TestEvaluationErrorIsNotFalse(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := newRig(t, e, 4)
	r.all(4, "usage_30d", 100.0)
	src := strings.Replace(nurture, "when: signals.usage_30d < 50.0", "when: 100 / (tenant.seats - 10) > 5 || signals.usage_30d < 50.0 && tenant.seats != 10", 1)
	r.tenant(t, "t00", func(ten *governance.Tenant) { ten.Seats = 11 })
	r.put(t, src)
	b := r.scan(t, "nurture")
	cs, err := r.svc.Candidates(t.Context(), b.ID)
	require.NoError(t, err)
	require.Equal(t, 3, b.Unusable)
	n := map[playbook.Verdict]int{}
	for _, c := range cs {
		n[c.Verdict]++
	}
	require.Equal(t, map[playbook.Verdict]int{playbook.Fault: 3, playbook.Match: 1}, n)
	require.Equal(t, playbook.BatchStopped, b.State)
}

// waiting has a consequence after a wait.
const waiting = `
name: waiting
title: Waiting
trigger: {daily: "06:00"}
signals:
  usage_30d: {type: number, max_age: 36h}
when: signals.usage_30d < 50.0
safeguards: {max_targets: 5, max_percent: 50, max_unusable: 50, repeat_after: 30d}
steps:
  - {id: tell, kind: notice, params: {title: "Hello ${tenant.name}"}}
  - {id: grant, kind: entitlement.grant, params: {feature: coach, quantity: 3, for: 60d}}
  - {id: pause, kind: wait, params: {for: 5d}}
  - {id: list, kind: crm.list_add, params: {list: nurture}}
`

func TestRecheck(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, waiting)
		r.set("t00", "usage_30d", 1.0)
		r.set("t01", "usage_30d", 1.0)
		require.Equal(t, 2, r.scan(t, name).Matched)
		r.turn(t)
		require.Len(t, r.state(t, "t00").Entitlements, 1)
		r.turn(t)
		require.Empty(t, r.vendor.effects, "it waits")

		r.Advance(5*24*time.Hour + time.Minute) // nothing was refreshed: stale
		r.turn(t)
		require.Empty(t, r.vendor.effects, "stale data never acts")
		rs := r.runs(t, playbook.Live)
		require.Equal(t, playbook.RunRunning, rs[0].State)
		require.Contains(t, r.alerts(t), "playbook.deferred:"+rs[0].ID.String())
		r.Advance(11 * time.Minute)
		r.broken = errors.New("warehouse is down")
		r.turn(t)
		require.Empty(t, r.vendor.effects)
		r.broken = nil

		r.refresh()
		r.set("t00", "usage_30d", 80.0) // it came back by itself
		r.Advance(11 * time.Minute)
		r.turn(t)
		require.Len(t, r.vendor.effects, 1, "t01 goes on")
		for _, run := range r.runs(t, playbook.Live) {
			if run.Tenant == "t00" {
				require.Equal(t, playbook.RunRolledBack, run.State)
				require.Contains(t, run.Why, "does not hold any more")
				require.Equal(t, []playbook.StepState{playbook.StepDone, playbook.StepUndone, playbook.StepDone, playbook.StepSkipped}, states(run))
			} else {
				require.Equal(t, playbook.RunSucceeded, run.State)
			}
			require.NotContains(t, r.alerts(t), "playbook.deferred:"+run.ID.String())
		}
		require.Empty(t, r.state(t, "t00").Entitlements, "what was granted on the way is taken back")
		require.Len(t, r.state(t, "t01").Entitlements, 1)
	})
}

func TestRecheck_GivesUp(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := newRig(t, e, 4)
	r.all(4, "usage_30d", 100.0)
	name := r.live(t, waiting)
	r.set("t00", "usage_30d", 1.0)
	r.scan(t, name)
	r.turn(t)
	r.Advance(5*24*time.Hour + time.Minute)
	for range 4 {
		r.turn(t)
		r.Advance(20 * time.Hour)
	}
	r.turn(t)
	run := r.only(t)
	require.Equal(t, playbook.RunRolledBack, run.State)
	require.Contains(t, run.Why, "nobody could say whether the condition still holds")
	require.Empty(t, r.vendor.effects)
}

func TestExemption(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 8)
		r.all(8, "usage_30d", 100.0)
		name := r.live(t, waiting)
		ctx := t.Context()
		for _, id := range []string{"t00", "t01", "t02"} {
			r.set(id, "usage_30d", 1.0)
		}
		until := r.Now().Add(24 * time.Hour)
		for _, bad := range []playbook.Exemption{
			{Tenant: "t00", Reason: "contract", Playbook: name}, {Tenant: "t00", Reason: "", Playbook: name, Until: until}, {Tenant: "nobody", Reason: "contract", Until: until},
			{Tenant: "t00", Reason: "contract", Playbook: "nothing", Until: until}, {Tenant: "t00", Reason: "contract", Playbook: name, Until: r.Now().Add(-time.Hour)},
		} {
			_, err := r.svc.Exempt(ctx, r.As("root"), bad)
			require.Error(t, err)
		}
		_, err := r.svc.Exempt(ctx, r.As("cara"), playbook.Exemption{Tenant: "t00", Reason: "contract", Until: until})
		require.Error(t, err)
		_, err = r.svc.Exempt(ctx, r.As("root"), playbook.Exemption{Tenant: "t00", Reason: "contract", Playbook: name, Until: until})
		require.NoError(t, err)
		all, err := r.svc.Exempt(ctx, r.As("root"), playbook.Exemption{Tenant: "t01", Reason: "in dispute", Until: until.Add(365 * 24 * time.Hour)})
		require.NoError(t, err)
		b := r.scan(t, name)
		require.Equal(t, 1, b.Matched)
		cs, err := r.svc.Candidates(ctx, b.ID)
		require.NoError(t, err)
		require.Equal(t, playbook.Exempt, cs[0].Verdict)
		require.Contains(t, cs[0].Why, "contract")

		r.turn(t)
		_, err = r.svc.Exempt(ctx, r.As("root"), playbook.Exemption{Tenant: "t02", Reason: "promised by sales", Until: r.Now().Add(30 * 24 * time.Hour)})
		require.NoError(t, err)
		r.Advance(5*24*time.Hour + time.Minute)
		r.refresh()
		r.turn(t)
		run := r.only(t)
		require.Contains(t, run.Why, "exempt: promised by sales", "an exemption stops a run that is under way")
		require.Empty(t, r.vendor.effects)
		require.NoError(t, r.svc.EndExemption(ctx, r.As("root"), all.ID, "settled"))
		require.ErrorIs(t, r.svc.EndExemption(ctx, r.As("root"), all.ID, "again"), governance.ErrNotFound)
		require.Equal(t, 2, r.scan(t, name).Matched, "one expired, one ended")
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, nurture)
		ctx := t.Context()
		r.set("t00", "usage_30d", 1.0)
		r.scan(t, name)
		require.Error(t, r.svc.Pause(ctx, r.As("cara"), name, "no right"))
		require.NoError(t, r.svc.Pause(ctx, r.As("root"), name, "looks wrong"))
		_, err := r.svc.Scan(ctx, name, "test")
		require.ErrorIs(t, err, governance.ErrConflict)
		r.turn(t)
		require.Empty(t, r.vendor.effects)
		require.NoError(t, r.svc.Pause(ctx, r.As("root"), "", "everything"))
		require.NoError(t, r.svc.Resume(ctx, r.As("root"), name, "fine"))
		require.ErrorIs(t, r.svc.Resume(ctx, r.As("root"), name, "again"), governance.ErrConflict)
		r.turn(t)
		require.Empty(t, r.vendor.effects, "the global pause still stands")
		ps, err := r.svc.Paused(ctx)
		require.NoError(t, err)
		require.Len(t, ps, 1)
		require.NoError(t, r.svc.Resume(ctx, r.As("root"), "", "fine"))
		r.turn(t)
		require.Len(t, r.vendor.effects, 1, "resuming makes the run due at once")
	})
}

func TestLoop(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 4)
		r.all(4, "usage_30d", 100.0)
		name := r.live(t, nurture)
		emit := func(tenant string, actor governance.Identity) {
			r.set(tenant, "usage_30d", 1.0)
			require.NoError(t, r.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				s, err := r.Kernel.TenantStateTx(ctx, tx, governance.TenantID(tenant))
				if err != nil {
					return err
				}
				s.Tenant.Seats++
				_, err = r.Kernel.UpsertTenantTx(ctx, tx, actor, s.Tenant)
				return err
			}))
		}
		deep := governance.System("host")
		deep.Depth, deep.Causation = 2, uuid.New()
		emit("t00", deep)
		r.turn(t)
		require.Empty(t, r.runs(t, playbook.Live), "the chain of causes is too long")
		require.Contains(t, r.alerts(t), "playbook.loop:nurture")
		emit("t01", governance.Identity{Actor: governance.Actor{ID: "playbook:" + name, Kind: governance.ActorPlaybook}})
		r.turn(t)
		require.Empty(t, r.runs(t, playbook.Live), "its own event")
		emit("t02", governance.System("host"))
		r.turn(t)
		run := r.only(t)
		require.EqualValues(t, "t02", run.Tenant)
		require.Equal(t, 1, run.Depth)
		require.Equal(t, playbook.RunSucceeded, run.State)
		caused := governance.System("plugin")
		caused.Causation = run.ID
		emit("t03", caused)
		r.turn(t)
		require.Len(t, r.runs(t, playbook.Live), 1, "what a run of it caused elsewhere does not come back")
		emit("t02", governance.System("host"))
		r.turn(t)
		require.Len(t, r.runs(t, playbook.Live), 1, "one run per tenant and window, for events too")
	})
}

func TestSimulate(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 6)
		r.all(6, "usage_30d", 100.0)
		r.set("t00", "usage_30d", 1.0)
		r.setAt("t01", "usage_30d", 1.0, r.Now().Add(-100*time.Hour))
		r.put(t, nurture)
		before := len(r.Actions(t))
		p, err := r.svc.Simulate(t.Context(), "nurture", 1)
		require.NoError(t, err)
		require.Equal(t, 6, p.Scanned)
		require.Equal(t, 1, p.Matched)
		require.Len(t, p.Candidates, 2)
		require.Equal(t, "nurture", p.Candidates[0].Steps[0].Params.Text("list"))
		require.Contains(t, p.Candidates[0].Steps[1].Fault, "${steps.list.ref} is not there")
		q, err := r.svc.SimulateSource(t.Context(), strings.Replace(nurture, "< 50.0", "< 500.0", 1))
		require.NoError(t, err)
		require.Equal(t, 5, q.Matched)
		require.Contains(t, q.Stopped, "more than the cap of 3")
		require.Len(t, r.Actions(t), before, "nothing is written")
		require.Empty(t, r.vendor.effects)
		require.Empty(t, r.runs(t, ""))
	})
}

func TestScanDue(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options) // 12:00
	r := newRig(t, e, 4)
	r.all(4, "usage_30d", 100.0)
	r.live(t, nurture) // 06:00
	r.set("t00", "usage_30d", 1.0)
	job := r.svc.Jobs()[0]
	require.NoError(t, job.Run(t.Context(), r.Now()))
	require.Empty(t, r.runs(t, playbook.Live))
	r.Advance(18*time.Hour + time.Minute)
	require.NoError(t, job.Run(t.Context(), r.Now()))
	require.NoError(t, job.Run(t.Context(), r.Now()))
	bs, err := r.svc.Batches(t.Context(), "nurture", 10)
	require.NoError(t, err)
	require.Len(t, bs, 2, "one in shadow, and one now")
	require.Equal(t, "schedule", bs[0].Trigger)
	require.Len(t, r.runs(t, playbook.Live), 1)
}

// TestScan_Pages has more tenants than one page, and closed ones at its end.
func TestScan_Pages(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := newRig(t, e, 0)
	require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		for i := range 250 {
			ten := governance.Tenant{ID: governance.TenantID(fmt.Sprintf("p%03d", i)), Name: "P", Country: "DE", Status: governance.TenantActive}
			if i%10 == 9 {
				ten.Status = governance.TenantClosed
			}
			if _, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("host"), ten); err != nil {
				return err
			}
			r.set(string(ten.ID), "usage_30d", 100.0)
		}
		return nil
	}))
	r.set("p240", "usage_30d", 1.0)
	r.set("p249", "usage_30d", 1.0) // closed
	r.put(t, nurture)
	b := r.scan(t, "nurture")
	require.Equal(t, 225, b.Scanned)
	require.Equal(t, 1, b.Matched)
}
