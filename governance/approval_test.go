package governance_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

func ask(t *testing.T, e *govtest.Env, a *governance.Action[credit]) governance.Approval {
	t.Helper()
	_, err := a.Do(t.Context(), e.Kernel, e.As("dana"), eur(5000), &governance.DoOptions{Reason: "goodwill"})
	ap, err := e.Kernel.Approval(t.Context(), held(t, err))
	require.NoError(t, err)
	return ap
}

func yes(a governance.Approval) governance.Vote {
	return governance.Vote{Decision: governance.Approve, Digest: a.Digest, Comment: "seen"}
}

func TestApproval_ExecutesByItself(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		ap := ask(t, e, a)
		ap, err := e.Kernel.Decide(t.Context(), e.As("ana"), ap.ID, yes(ap))
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, ap.State)
		require.EqualValues(t, 1, credits(t, e))
		_, err = e.Kernel.Execute(t.Context(), e.As("dana"), ap.ID)
		require.ErrorIs(t, err, governance.ErrConflict, "a second execution")
		_, err = e.Kernel.Decide(t.Context(), e.As("ben"), ap.ID, yes(ap))
		require.ErrorIs(t, err, governance.ErrConflict)
		require.EqualValues(t, 1, credits(t, e))
		require.Subset(t, e.Actions(t), []string{"tenant.credit held", "approval.vote done", "tenant.credit done"})
		alerts, err := e.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Empty(t, alerts, "the alert is resolved with the decision")
	})
}

// TestApproval_ReadWhileVoted: an approval that was pending with the vote that decided
// it refused the voter's second click as a second vote instead of saying that it is over.
func TestApproval_ReadWhileVoted(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		ap := ask(t, e, creditEnv(t, e, 1000))
		got, err := e.Kernel.TornApproval(t.Context(), ap.ID, func() {
			_, err := e.Kernel.Decide(t.Context(), e.As("ana"), ap.ID, yes(ap))
			require.NoError(t, err)
		})
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, got.State)
		require.Len(t, got.Votes, 1)
	})
}

func TestApproval_WhoMayNotVote(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		ctx := t.Context()
		e.People.Put("dana", "root", "gov_approver")
		e.People.Put("cyd", "voter")
		e.People.Allow("voter", "approval:vote")
		ap := ask(t, e, a)
		key := e.As("ana")
		key.Actor.ID, key.Actor.Kind = "key:1", governance.ActorKey
		shared := key
		shared.Actor.Person = ""
		impersonating := e.As("ana")
		impersonating.Subject = &governance.Actor{ID: "user:x", Person: "x"}
		secondAccount := e.As("dana")
		secondAccount.Actor.ID = "user:dana-2"
		for name, id := range map[string]governance.Identity{
			"the requester": e.As("dana"), "the requester by another account": secondAccount, "a personal key": key, "a shared key": shared,
			"while impersonating": impersonating, "in no deciding group": e.As("cyd"),
		} {
			_, err := e.Kernel.Decide(ctx, id, ap.ID, yes(ap))
			_, denied := errors.AsType[*governance.DeniedError](err)
			require.True(t, denied, "%s: %v", name, err)
		}
		wrong := yes(ap)
		wrong.Digest = "sha256:00"
		_, err := e.Kernel.Decide(ctx, e.As("ana"), ap.ID, wrong)
		require.ErrorIs(t, err, governance.ErrConflict, "a vote with another digest")
		require.Zero(t, credits(t, e))
	})
}

func TestApproval_Clocks(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, creditOptions)
	a := creditEnv(t, e, 1000)
	ap := ask(t, e, a)
	e.Advance(73 * time.Hour)
	got, err := e.Kernel.Decide(t.Context(), e.As("ana"), ap.ID, yes(ap))
	require.NoError(t, err)
	require.Equal(t, governance.StateExpired, got.State)

	p := creditPolicy(1000)
	p.Require.Manual = true
	_, err = e.Kernel.PutPolicy(t.Context(), e.As("dana"), p, nil)
	require.NoError(t, err)
	e.People.Put("dana", "root")
	ap = ask(t, e, a)
	got, err = e.Kernel.Decide(t.Context(), e.As("ana"), ap.ID, yes(ap))
	require.NoError(t, err)
	require.Equal(t, governance.StateApproved, got.State, "manual: it waits")
	e.Advance(25 * time.Hour)
	_, err = e.Kernel.Execute(t.Context(), e.As("dana"), ap.ID)
	require.ErrorContains(t, err, "lapsed")
	require.Zero(t, credits(t, e))
}

func TestApproval_BoundToWhatWasSeen(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, creditOptions)
	a := creditEnv(t, e, 1000)
	p := creditPolicy(1000)
	p.Require.Manual = true
	_, err := e.Kernel.PutPolicy(t.Context(), e.As("dana"), p, nil)
	require.NoError(t, err)
	approve := func() governance.Approval {
		ap := ask(t, e, a)
		ap, err := e.Kernel.Decide(t.Context(), e.As("ana"), ap.ID, yes(ap))
		require.NoError(t, err)
		require.Equal(t, governance.StateApproved, ap.State)
		return ap
	}
	superseded := func(ap governance.Approval, why string) {
		t.Helper()
		_, err := e.Kernel.Execute(t.Context(), e.As("ben"), ap.ID)
		require.ErrorContains(t, err, why)
		got, err := e.Kernel.Approval(t.Context(), ap.ID)
		require.NoError(t, err)
		require.Equal(t, governance.StateSuperseded, got.State)
	}
	ap := approve()
	require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE gov_tenant SET seats = seats + 1")
		return err
	}))
	superseded(ap, "changed since")

	ap = approve()
	e.People.Put("ana", "nobody")
	superseded(ap, "left the group")
	e.People.Put("ana", "gov_approver")

	ap = approve()
	p.Title = "Credits over the limit, again"
	_, err = e.Kernel.PutPolicy(t.Context(), e.As("dana"), p, nil)
	require.NoError(t, err)
	superseded(ap, "policy")

	ap = approve()
	e.People.Put("dana", "nobody")
	superseded(ap, "may not")
	require.Zero(t, credits(t, e))
}

func TestApproval_QuorumByDistinctPeople(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, creditOptions)
	a := creditEnv(t, e, 1000)
	e.People.Put("both", "finance", "security")
	e.People.Put("fin", "finance")
	e.People.Put("fin2", "finance")
	e.People.Allow("finance", "approval:vote")
	p := creditPolicy(1000)
	p.Require.AllOf = []governance.Quorum{{Group: "finance", Approvals: 2}, {Group: "security", Approvals: 1}}
	_, err := e.Kernel.PutPolicy(t.Context(), e.As("dana"), p, nil)
	require.NoError(t, err)
	e.People.Put("dana2", "root")
	_, err = a.Do(t.Context(), e.Kernel, e.As("dana2"), eur(5000), nil)
	ap, err := e.Kernel.Approval(t.Context(), held(t, err))
	require.NoError(t, err)
	for i, who := range []governance.PersonID{"both", "fin"} {
		ap, err = e.Kernel.Decide(t.Context(), e.As(who), ap.ID, yes(ap))
		require.NoError(t, err)
		require.Equal(t, governance.StatePending, ap.State, "vote %d: one person fills one place", i)
	}
	require.Len(t, ap.Missing, 1)
	require.Equal(t, 1, ap.Missing[0].Approvals)
	ap, err = e.Kernel.Decide(t.Context(), e.As("fin2"), ap.ID, yes(ap))
	require.NoError(t, err)
	require.Equal(t, governance.StateExecuted, ap.State)
}

func TestApproval_RacingVotesExecuteOnce(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		a := creditEnv(t, e, 1000)
		for range 10 {
			ap := ask(t, e, a)
			var wg sync.WaitGroup
			for _, who := range []governance.PersonID{"ana", "ben"} {
				wg.Go(func() { _, _ = e.Kernel.Decide(t.Context(), e.As(who), ap.ID, yes(ap)) })
				wg.Go(func() { _, _ = e.Kernel.Execute(t.Context(), e.As("dana"), ap.ID) })
			}
			wg.Wait()
			got, err := e.Kernel.Approval(t.Context(), ap.ID)
			require.NoError(t, err)
			require.Equal(t, governance.StateExecuted, got.State)
		}
		require.EqualValues(t, 10, credits(t, e))
	})
}

func TestApproval_Cancel(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, creditOptions)
	a := creditEnv(t, e, 1000)
	ap := ask(t, e, a)
	require.NoError(t, e.Kernel.Cancel(t.Context(), e.As("dana"), ap.ID, "not needed"))
	require.ErrorIs(t, e.Kernel.Cancel(t.Context(), e.As("dana"), ap.ID, "again"), governance.ErrConflict)
	_, err := a.Do(t.Context(), e.Kernel, e.As("dana"), eur(1000), nil)
	require.NoError(t, err, "what was reserved is free again")
}

// vendor is a remote system that can lose its answers.
type vendor struct {
	mu     sync.Mutex
	done   map[string]int
	lose   atomic.Bool
	refuse atomic.Bool
	blind  atomic.Bool
}

func (v *vendor) action() *governance.Action[credit] {
	spec := creditSpec()
	spec.Version = nil
	return governance.DefineRemote("vendor.credit", spec, governance.Remote[credit]{
		Call: func(_ context.Context, idem string, _ credit) (governance.Result, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.refuse.Load() {
				return governance.Result{}, governance.NotDone(errors.New("refused"))
			}
			v.done[idem]++
			if v.lose.Load() {
				return governance.Result{}, errors.New("connection lost")
			}
			return governance.Result{Data: "ok"}, nil
		},
		Lookup: func(_ context.Context, idem string, _ credit) (governance.Result, bool, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.blind.Load() {
				return governance.Result{}, false, errors.New("vendor is down")
			}
			return governance.Result{Data: "found"}, v.done[idem] > 0, nil
		},
	})
}

func remoteState(t *testing.T, e *govtest.Env, id uuid.UUID) string {
	t.Helper()
	var s string
	require.NoError(t, e.DB.Handle().NewRaw("SELECT state FROM gov_action WHERE id = ?", id).Scan(t.Context(), &s))
	return s
}

func TestRemote(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		creditEnv(t, e, 1000)
		v := &vendor{done: map[string]int{}}
		a := v.action()
		require.NoError(t, e.Kernel.Register(a))
		ctx, dana := t.Context(), e.As("dana")
		sweep := func() {
			e.Advance(30 * time.Minute)
			require.NoError(t, e.Kernel.Sweep(ctx))
		}
		out, err := a.Do(ctx, e.Kernel, dana, eur(1), nil)
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, out.State)

		v.refuse.Store(true)
		out, err = a.Do(ctx, e.Kernel, dana, eur(1), nil)
		require.ErrorContains(t, err, "refused")
		require.Equal(t, governance.StateFailed, out.State)
		v.refuse.Store(false)

		v.lose.Store(true)
		v.blind.Store(true)
		out, err = a.Do(ctx, e.Kernel, dana, eur(1), nil)
		require.Error(t, err)
		require.Equal(t, governance.StateUnknown, out.State)
		sweep()
		require.Equal(t, "unknown", remoteState(t, e, out.Action), "nobody guesses while the vendor cannot be asked")
		v.blind.Store(false)
		sweep()
		require.Equal(t, "executed", remoteState(t, e, out.Action))
		require.Equal(t, 1, v.done[out.Action.String()], "called once")
		alerts, err := e.Kernel.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Empty(t, alerts)
		require.Subset(t, e.Actions(t), []string{"vendor.credit done", "vendor.credit failed", "vendor.credit unknown"})
	})
}
