package playbook_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
)

func parseApproval(t testing.TB, s string) uuid.UUID {
	t.Helper()
	id, err := uuid.Parse(s)
	require.NoError(t, err)
	return id
}

func (r *rig) raise(t testing.TB, key string, run uuid.UUID) {
	t.Helper()
	require.NoError(t, r.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := r.Kernel.AlertTx(ctx, tx, governance.Alert{Key: key, Severity: governance.Critical, Title: "Nobody knows", Tenant: "t00",
			Links: []governance.Link{{Title: "Run", Kind: "playbook_run", ID: run.String()}}})
		return err
	}))
}

func TestRunbook(t *testing.T) {
	t.Parallel()
	govtest.Each(t, options, func(t *testing.T, e *govtest.Env) {
		r := newRig(t, e, 1)
		ctx := t.Context()
		skipped, err := r.svc.InstallShipped(ctx)
		require.NoError(t, err)
		require.Empty(t, skipped)
		_, err = r.svc.InstallShipped(ctx)
		require.NoError(t, err, "again changes nothing")
		ps, err := r.svc.Playbooks(ctx)
		require.NoError(t, err)
		require.Len(t, ps, 2)
		require.Zero(t, ps[0].LiveVersion, "what ships does not act by itself")

		run := uuid.New()
		r.raise(t, "playbook.unknown:x/y", run)
		r.raise(t, "something.else", run)
		require.NoError(t, r.svc.OpenForAlerts(ctx))
		require.NoError(t, r.svc.OpenForAlerts(ctx))
		ins, err := r.svc.Instances(ctx, playbook.InstanceFilter{State: playbook.InstanceOpen})
		require.NoError(t, err)
		require.Len(t, ins, 1, "once per alert")
		in := ins[0]
		require.Equal(t, run.String(), in.Run)
		require.EqualValues(t, "t00", in.Tenant)
		require.Equal(t, 3, in.Left)
		again, err := r.svc.Open(ctx, r.As("cara"), playbook.Opening{Runbook: "unknown-outcome", Alert: parseApproval(t, in.Alert)})
		require.NoError(t, err)
		require.Equal(t, in.ID, again, "by hand it is the same one")

		require.NoError(t, r.svc.SetTicket(ctx, r.As("cara"), in.ID, "SUP-77"))
		check := func(c playbook.Check) error { return r.svc.CheckStep(ctx, r.As("cara"), in.ID, c) }
		require.Error(t, r.svc.CheckStep(ctx, r.As("ana"), in.ID, playbook.Check{Step: "read"}), "who may not work on it")
		require.Error(t, r.svc.CheckStep(ctx, governance.Identity{Actor: governance.Actor{ID: "key:1", Kind: governance.ActorKey, Roles: []string{"cs"}}}, in.ID, playbook.Check{Step: "read"}), "only a person")
		require.NoError(t, check(playbook.Check{Step: "read"}))
		require.ErrorIs(t, check(playbook.Check{Step: "read"}), governance.ErrConflict, "once")
		require.ErrorIs(t, check(playbook.Check{Step: "nothing"}), governance.ErrNotFound)
		require.ErrorContains(t, check(playbook.Check{Step: "look"}), "evidence", "what it asks for must be given")
		require.NoError(t, check(playbook.Check{Step: "look", Evidence: "search of 14:02, nothing", Note: "by id"}))
		require.ErrorIs(t, r.svc.Close(ctx, r.As("cara"), in.ID, playbook.OutcomeResolved, ""), governance.ErrConflict, "a step is open")
		require.Error(t, check(playbook.Check{Step: "settle", Skip: true}), "a skip needs a reason")
		require.NoError(t, check(playbook.Check{Step: "settle", Skip: true, Note: "settled by itself"}))
		require.Error(t, r.svc.Close(ctx, r.As("cara"), in.ID, "whatever", ""))
		require.NoError(t, r.svc.Close(ctx, r.As("cara"), in.ID, playbook.OutcomeResolved, ""))
		require.ErrorIs(t, check(playbook.Check{Step: "tell"}), governance.ErrConflict, "closed")
		in, err = r.svc.Instance(ctx, in.ID)
		require.NoError(t, err)
		require.Equal(t, "SUP-77", in.Ticket)
		require.EqualValues(t, "cara", in.Steps[1].Person)
		require.Equal(t, "search of 14:02, nothing", in.Steps[1].Given)
		require.NoError(t, r.svc.OpenForAlerts(ctx))
		ins, err = r.svc.Instances(ctx, playbook.InstanceFilter{})
		require.NoError(t, err)
		require.Len(t, ins, 1, "a closed one is not opened again for the same alert")
		require.Subset(t, r.Actions(t), []string{"runbook.open done", "runbook.ticket done", "runbook.check done", "runbook.close done"})
	})
}

func TestRunbook_Versions(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, options)
	r := newRig(t, e, 4)
	r.all(4, "usage_30d", 100.0)
	ctx := t.Context()
	src := "name: look\ntitle: Look\nsteps:\n  - {id: a, title: A, do: it}\n"
	_, err := r.svc.PutRunbook(ctx, r.As("cara"), src)
	require.Error(t, err, "who may not write")
	_, err = r.svc.PutRunbook(ctx, r.As("root"), src)
	require.NoError(t, err)
	name := r.live(t, nurture+"  - {id: guide, kind: runbook.open, params: {runbook: look, ticket: \"${steps.list.ref}\"}}\n")
	r.set("t00", "usage_30d", 1.0)
	r.scan(t, name)
	r.turn(t)
	run := r.only(t)
	require.Equal(t, playbook.RunSucceeded, run.State, run.Why)
	_, err = r.svc.PutRunbook(ctx, r.As("root"), src+"  - {id: b, title: B, do: that}\n")
	require.NoError(t, err)
	in, err := r.svc.Instance(ctx, parseApproval(t, run.Steps[2].Output["instance"]))
	require.NoError(t, err)
	require.Len(t, in.Steps, 1, "an open one keeps its version")
	require.Equal(t, run.Steps[0].Output["ref"], in.Ticket)
	require.Equal(t, run.ID.String(), in.Run)
	rbs, err := r.svc.Runbooks(ctx)
	require.NoError(t, err)
	require.Equal(t, 2, rbs[0].Version)
	require.Equal(t, 1, rbs[0].Open)
}
