package evidence_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// insider writes what the kernel would have refused, past it: rows, and genuine records
// of the log.
type insider struct {
	*testing.T
	r *evidencetest.Rig
	a governance.Approval
}

func (i insider) vote(person governance.PersonID, group string) {
	i.Helper()
	require.NoError(i, i.r.DB.Do(i.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO gov_vote (approval, person, actor, decision, digest, comment, groups, created_at) VALUES (?, ?, ?, 'approve', ?, '', ?, ?)",
			i.a.ID, person, `{"id":"user:`+string(person)+`","kind":"user"}`, i.a.Digest, `["`+group+`"]`, govdb.At(i.r.Now()))
		if err != nil {
			return err
		}
		_, err = i.r.Kernel.RecordTx(ctx, tx, i.r.As(person), governance.Record{Action: "approval.vote", Tenant: "acme", Resource: governance.RefTo("approval", i.a.ID), ActionID: i.a.ID, Digest: i.a.Digest,
			Data: map[string]any{"decision": "approve", "comment": "", "groups": []string{group}, "state": "pending", "action": i.a.Action}})
		return err
	}))
}

func (i insider) execute(by ...string) {
	i.Helper()
	require.NoError(i, i.r.DB.Do(i.Context(), func(ctx context.Context, tx *governance.Tx) error {
		now := i.r.Now()
		_, err := tx.ExecContext(ctx, "UPDATE gov_action SET state = 'executed', executed_at = ?, execute_by = ? WHERE id = ?", govdb.At(now), govdb.At(now), i.a.ID)
		if err != nil {
			return err
		}
		_, err = i.r.Kernel.RecordTx(ctx, tx, i.r.As("dana"), governance.Record{Action: i.a.Action, Tenant: "acme", Resource: governance.ParseRef(i.a.Resource), ActionID: i.a.ID, Digest: i.a.Digest,
			Data: map[string]any{"result": nil, "approved_by": by, "policy_hash": i.a.Decision.Hash}})
		return err
	}))
}

// TestBuild_InsiderPastTheKernel: records that are genuine leaves of the log do not make
// an approval of what was none.
func TestBuild_InsiderPastTheKernel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(i insider)
		want string
	}{
		"honest": {func(i insider) {
			i.vote("fay", "finance")
			i.vote("fin", "finance")
			i.vote("sue", "security")
			i.execute("fay", "fin", "sue")
		}, ""},
		"too few": {func(i insider) {
			i.vote("fay", "finance")
			i.vote("sue", "security")
			i.execute("fay", "sue")
		}, "executes without its quorum: nobody is left for a place of finance"},
		"votes that were never cast": {func(i insider) { i.execute("fay", "fin", "sue") }, "was approved by fay, fin, sue, the votes in the pack are of"},
		"the requester votes": {func(i insider) {
			i.vote("dana", "finance")
			i.vote("fin", "finance")
			i.vote("sue", "security")
			i.execute("dana", "fin", "sue")
		}, "dana may not vote: they asked for it"},
		"executed first, approved later": {func(i insider) {
			i.execute("fay", "fin", "sue")
			i.vote("fay", "finance")
			i.vote("fin", "finance")
			i.vote("sue", "security")
		}, "executes before the last vote"},
		"approved after the time to decide": {func(i insider) {
			i.r.Advance(25 * time.Hour)
			i.vote("fay", "finance")
			i.vote("fin", "finance")
			i.vote("sue", "security")
			i.execute("fay", "fin", "sue")
		}, "after the time to decide"},
		"executed after the time to execute": {func(i insider) {
			i.vote("fay", "finance")
			i.vote("fin", "finance")
			i.vote("sue", "security")
			i.r.Advance(2 * time.Hour)
			i.execute("fay", "fin", "sue")
		}, "gives more time to execute"},
		"executed twice": {func(i insider) {
			i.vote("fay", "finance")
			i.vote("fin", "finance")
			i.vote("sue", "security")
			i.execute("fay", "fin", "sue")
			i.execute("fay", "fin", "sue")
		}, "executes the action a second time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := evidencetest.New(t, govtest.New(t, evidencetest.Options()))
			i := insider{t, r, r.Ask(t, 5000, "goodwill")}
			c.do(i)
			_, err := r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: "action", Subject: i.a.ID, Reason: "audit"})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, evidence.ErrDoesNotHold)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestBuild_RecorderThatFailed: a session whose recorder failed for a request, which
// showed the actor nothing, still makes a pack, and the pack says so.
func TestBuild_RecorderThatFailed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx := t.Context()
		out, err := r.Svc.Start(ctx, r.As("dana"), oversightRequest)
		require.NoError(t, err)
		s, token, err := r.Svc.Open(ctx, r.As("dana"), out.Action)
		require.NoError(t, err)
		send := func() int {
			req := httptest.NewRequest(http.MethodGet, "/app/", nil)
			req = req.WithContext(governance.WithIdentity(ctx, r.As("dana")))
			req.AddCookie(&http.Cookie{Name: "reeve_impersonation", Value: token})
			w := httptest.NewRecorder()
			r.Svc.Middleware(r.Rec.Middleware(http.NotFoundHandler())).ServeHTTP(w, req)
			return w.Code
		}
		require.Equal(t, http.StatusNotFound, send())
		r.Blobs.Broken.Store(true)
		require.NotEqual(t, http.StatusNotFound, send())
		r.Blobs.Broken.Store(false)
		require.NoError(t, r.Rec.Recover(ctx))
		require.Equal(t, http.StatusNotFound, send())
		require.NoError(t, r.Svc.End(ctx, r.As("root"), s.ID, "enough"))
		rep := verify(t, r, r.Build(t, pack.KindSession, s.ID))
		require.Empty(t, rep.Problems)
		require.Equal(t, 2, rep.Chunks)
		require.Contains(t, strings.Join(rep.Notes, "\n"), "1 of 3 requests were let through and have no frame")
	})
}

// TestBuild_HeldSession: a session that needed approval brings its votes along, and one
// that was never opened makes a pack as well.
func TestBuild_HeldSession(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx := t.Context()
		hour := governance.Duration{Duration: time.Hour}
		require.NoError(t, r.Kernel.InstallPolicies(ctx, governance.Policy{ID: "sessions", Title: "One of security", Actions: []string{oversight.ActionStart}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "security", Approvals: 1}}, DecideWithin: hour, ExecuteWithin: hour}}))
		ask := func() uuid.UUID {
			_, err := r.Svc.Start(ctx, r.As("dana"), oversightRequest)
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			a, err := r.Kernel.Approval(ctx, held.Approval)
			require.NoError(t, err)
			require.Equal(t, governance.StateExecuted, r.Vote(t, a, governance.Approve, "sue").State)
			return held.Approval
		}
		id := ask()
		_, _, err := r.Svc.Open(ctx, r.As("dana"), id)
		require.NoError(t, err)
		require.NoError(t, r.Svc.End(ctx, r.As("dana"), id, ""))
		rep := verify(t, r, r.Build(t, pack.KindSession, id))
		require.Empty(t, rep.Problems)
		require.Equal(t, 1, rep.Votes)
		id = ask()
		r.Advance(2 * time.Hour)
		require.NoError(t, r.Svc.Sweep(ctx))
		require.Empty(t, verify(t, r, r.Build(t, pack.KindSession, id)).Problems)
	})
}

// TestBuild_RemoteAction: what is done elsewhere has its record with the answer.
func TestBuild_RemoteAction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx := t.Context()
		var fails bool
		remote := governance.DefineRemote("vendor.rename", governance.Spec[evidencetest.Rename]{Permission: "tenant:rename", Tenant: func(in evidencetest.Rename) governance.TenantID { return in.Tenant },
			Resource: func(in evidencetest.Rename) governance.Ref {
				return governance.Ref{Kind: "tenant", ID: string(in.Tenant)}
			}},
			governance.Remote[evidencetest.Rename]{Call: func(context.Context, string, evidencetest.Rename) (governance.Result, error) {
				if fails {
					return governance.Result{}, errors.New("no answer")
				}
				return governance.Result{Data: "ok"}, nil
			}, Lookup: func(context.Context, string, evidencetest.Rename) (governance.Result, bool, error) {
				return governance.Result{Data: "ok"}, true, nil
			}})
		require.NoError(t, r.Kernel.Register(remote))
		out, err := remote.Do(ctx, r.Kernel, r.As("dana"), evidencetest.Rename{Tenant: "acme", Name: "x"}, nil)
		require.NoError(t, err)
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, out.Action)).Problems)
		fails = true
		out, err = remote.Do(ctx, r.Kernel, r.As("dana"), evidencetest.Rename{Tenant: "acme", Name: "y"}, nil)
		require.Error(t, err)
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, out.Action)).Problems, "nobody knows yet, and the pack says so")
		r.Advance(time.Hour)
		require.NoError(t, r.Kernel.Sweep(ctx))
		rep := verify(t, r, r.Build(t, pack.KindAction, out.Action))
		require.Empty(t, rep.Problems, "it was found out an hour later")
		require.Equal(t, 4, rep.Records, "unknown, done, and the pack before with its download")

		// Held, approved, and settled late.
		hour := governance.Duration{Duration: time.Hour}
		require.NoError(t, r.Kernel.InstallPolicies(ctx, governance.Policy{ID: "vendor", Title: "One of security", Actions: []string{"vendor.*"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "security", Approvals: 1}}, DecideWithin: hour, ExecuteWithin: hour}}))
		_, err = remote.Do(ctx, r.Kernel, r.As("dana"), evidencetest.Rename{Tenant: "acme", Name: "z"}, nil)
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		a, err := r.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		require.Equal(t, governance.StateUnknown, r.Vote(t, a, governance.Approve, "sue").State)
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, a.ID)).Problems)
		r.Advance(2 * time.Hour)
		require.NoError(t, r.Kernel.Sweep(ctx))
		require.Empty(t, verify(t, r, r.Build(t, pack.KindAction, a.ID)).Problems)
	})
}
