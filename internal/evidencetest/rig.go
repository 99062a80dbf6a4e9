// Package evidencetest is a kernel with a session that was recorded and an action that
// was voted on, for tests of evidence.
package evidencetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/browserrec"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/recorder"
)

// Rig is what a test of evidence starts from.
type Rig struct {
	*govtest.Env
	Svc      *oversight.Service
	Rec      *recorder.Recorder
	Blobs    *Blobs
	Evidence *evidence.Service
	Credit   *governance.Action[Credit]
	Rename   *governance.Action[Rename]
}

// Blobs is a folder whose writes can be made to fail.
type Blobs struct {
	*recorder.Dir
	Broken atomic.Bool
}

// Put implements recorder.BlobStore.
func (b *Blobs) Put(ctx context.Context, key string, data []byte) error {
	if b.Broken.Load() {
		return errors.New("the disk is full")
	}
	return b.Dir.Put(ctx, key, data)
}

// Credit is a sensitive act that a policy holds.
type Credit struct {
	Tenant governance.TenantID `json:"tenant"`
	Cents  int64               `json:"cents"`
}

// Rename is an act that may be done while impersonating.
type Rename struct {
	Tenant governance.TenantID `json:"tenant"`
	Name   string              `json:"name"`
}

// Options are the kernel's.
func Options() *govtest.Options {
	// A real clock has nanoseconds, which a database cuts off and a record keeps.
	return &govtest.Options{Start: time.Date(2026, 1, 15, 12, 0, 0, 789, time.UTC), Schemas: []govdb.Schema{oversight.Schema(), browserrec.Schema(), evidence.Schema()}}
}

// New makes a Rig of an Env made with [Options].
func New(t testing.TB, e *govtest.Env) *Rig {
	t.Helper()
	r := &Rig{Env: e}
	for p, role := range map[governance.PersonID]string{"dana": "cs_agent", "fay": "finance", "fin": "finance", "sue": "security", "root": "root", "aud": "auditor"} {
		e.People.Put(p, role)
	}
	e.People.Put("both", "finance", "security")
	e.People.Put("root2", "root")
	e.People.Allow("cs_agent", "session:start", "tenant:credit", "tenant:rename")
	e.People.Allow("finance", "approval:vote", "approval:read")
	e.People.Allow("security", "approval:vote", "approval:read")
	e.People.Allow("auditor", "ledger:read", "approval:read", "session:read", "alert:read", evidence.PermissionRead, evidence.PermissionBuild)
	var err error
	r.Svc, err = oversight.New(e.Kernel, &oversight.Options{Targets: func(context.Context, governance.TenantID, string) (governance.Actor, error) {
		return governance.Actor{ID: "product:u1", Kind: governance.ActorUser, Name: "User One"}, nil
	}})
	require.NoError(t, err)
	dir, err := recorder.OpenDir(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	r.Blobs = &Blobs{Dir: dir}
	r.Rec, err = recorder.New(r.Svc, r.Blobs, nil)
	require.NoError(t, err)
	r.Evidence, err = evidence.New(e.Kernel, r.Svc, r.Rec, r.Blobs, &evidence.Options{Software: "reeve test"})
	require.NoError(t, err)
	r.Credit = governance.Define("tenant.credit", governance.Spec[Credit]{Permission: "tenant:credit", Sensitive: true,
		Tenant:   func(in Credit) governance.TenantID { return in.Tenant },
		Resource: func(in Credit) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
		Measures: func(_ context.Context, _ *governance.Tx, in Credit) ([]governance.Measure, error) {
			return []governance.Measure{{Unit: "EUR.cent", Value: in.Cents}}, nil
		},
		Preview: func(_ context.Context, _ *governance.Tx, in Credit) (any, error) { return in, nil },
	}, func(_ context.Context, _ *governance.Tx, in Credit) (governance.Result, error) {
		return governance.Result{Data: map[string]any{"cents": in.Cents}}, nil
	})
	r.Rename = governance.Define("tenant.rename", governance.Spec[Rename]{Permission: "tenant:rename",
		Tenant:   func(in Rename) governance.TenantID { return in.Tenant },
		Resource: func(in Rename) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
	}, func(_ context.Context, _ *governance.Tx, in Rename) (governance.Result, error) {
		return governance.Result{Data: in}, nil
	})
	require.NoError(t, e.Kernel.Register(r.Credit, r.Rename))
	day := governance.Duration{Duration: 24 * time.Hour}
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "credits", Title: "Two of finance and one of security", Actions: []string{"tenant.credit"}, Mode: governance.Enforce,
		Limits:  []governance.Limit{{Unit: "EUR.cent", Max: 1000, Window: day, By: governance.ByTenant}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "finance", Approvals: 2}, {Group: "security", Approvals: 1}}, DecideWithin: day, ExecuteWithin: governance.Duration{Duration: time.Hour}}},
		governance.Policy{ID: "watch", Title: "Watch renames", Actions: []string{"tenant.*"}, Mode: governance.Shadow, NeedTick: true}))
	require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("test"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive, Plan: "pro", Seats: 5})
		return err
	}))
	return r
}

// Ask asks for a credit that is held.
func (r *Rig) Ask(t testing.TB, cents int64, reason string) governance.Approval {
	t.Helper()
	_, err := r.Credit.Do(t.Context(), r.Kernel, r.As("dana"), Credit{"acme", cents}, &governance.DoOptions{Reason: reason})
	var held *governance.ApprovalRequiredError
	require.True(t, errors.As(err, &held), "%v", err)
	a, err := r.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	return a
}

// Vote casts votes.
func (r *Rig) Vote(t testing.TB, a governance.Approval, d governance.VoteDecision, people ...governance.PersonID) governance.Approval {
	t.Helper()
	for _, p := range people {
		id := r.As(p)
		id.Origin.IP = "192.0.2.7"
		var err error
		a, err = r.Kernel.Decide(t.Context(), id, a.ID, governance.Vote{Decision: d, Digest: a.Digest, Comment: "seen by " + string(p)})
		require.NoError(t, err)
		r.Advance(time.Minute)
	}
	return a
}

// Executed is a credit that three people approved.
func (r *Rig) Executed(t testing.TB, reason string) governance.Approval {
	t.Helper()
	a := r.Vote(t, r.Ask(t, 5000, reason), governance.Approve, "fay", "sue", "fin")
	require.Equal(t, governance.StateExecuted, a.State)
	return a
}

// Session is a session that has ended, with pages that were shown, an act, and a
// request that was refused.
func (r *Rig) Session(t testing.TB, pages int) oversight.Session {
	t.Helper()
	ctx := t.Context()
	out, err := r.Svc.Start(ctx, r.As("dana"), oversight.Request{Tenant: "acme", User: "u1", Scope: oversight.ReadWrite, Reason: "the invoice page is empty", Ticket: "T-7"})
	require.NoError(t, err)
	s, token, err := r.Svc.Open(ctx, r.As("dana"), out.Action)
	require.NoError(t, err)
	send := func(h http.HandlerFunc, method, path string) {
		req := httptest.NewRequest(method, path, nil)
		req = req.WithContext(governance.WithIdentity(ctx, r.As("dana")))
		req.AddCookie(&http.Cookie{Name: "reeve_impersonation", Value: token})
		r.Svc.Middleware(r.Rec.Middleware(h)).ServeHTTP(httptest.NewRecorder(), req)
		r.Advance(2 * time.Second)
	}
	show := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Invoices</title><p>None.</p>")
	}
	for range pages {
		send(show, http.MethodGet, "/app/invoices")
	}
	send(func(w http.ResponseWriter, req *http.Request) {
		id, _ := governance.IdentityFrom(req.Context())
		_, err := r.Rename.Do(req.Context(), r.Kernel, id, Rename{"acme", "Acme Ltd"}, &governance.DoOptions{Reason: "asked for"})
		require.NoError(t, err)
		w.WriteHeader(http.StatusNoContent)
	}, http.MethodPost, "/app/name")
	send(show, http.MethodGet, "/app/password")
	require.NoError(t, r.Svc.End(ctx, r.As("dana"), s.ID, ""))
	s, err = r.Svc.Session(ctx, s.ID)
	require.NoError(t, err)
	return s
}

// Build builds a pack and gives its bytes.
func (r *Rig) Build(t testing.TB, kind string, subject uuid.UUID) []byte {
	t.Helper()
	p, err := r.Evidence.Build(t.Context(), r.As("root"), evidence.Request{Kind: kind, Subject: subject, Reason: "audit 2026"})
	require.NoError(t, err)
	_, data, err := r.Evidence.Download(t.Context(), r.As("root"), p.ID)
	require.NoError(t, err)
	return data
}
