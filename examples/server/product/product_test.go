package product_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

type bench struct {
	*govtest.Env
	svc     *product.Service
	blobs   *recorder.Dir
	dir     string
	changes []product.PlanChanged
	failing bool
}

func each(t *testing.T, fn func(t *testing.T, b *bench)) {
	t.Helper()
	opts := &govtest.Options{Schemas: []govdb.Schema{oversight.Schema(), product.Schema()}, Rates: map[string]int64{"USD→EUR": 900_000, "GBP→EUR": 1_150_000}}
	govtest.Each(t, opts, func(t *testing.T, e *govtest.Env) {
		b := &bench{Env: e, dir: t.TempDir()}
		e.People.Put("dana", "cs_agent")
		e.People.Put("eve", "cs_agent")
		e.People.Put("ada", "gov_approver")
		e.People.Allow("cs_agent", "tenant:credit", "tenant:plan", "tenant:export", "session:start")
		e.People.Allow("gov_approver", "approval:vote", "approval:read")
		var err error
		b.blobs, err = recorder.OpenDir(b.dir)
		require.NoError(t, err)
		t.Cleanup(func() { _ = b.blobs.Close() })
		b.svc, err = product.New(e.Kernel, &product.Options{Blobs: b.blobs, LinkKey: bytes.Repeat([]byte("k"), 32),
			OnPlanChange: func(_ context.Context, _ *governance.Tx, _ governance.Identity, c product.PlanChanged) error {
				if b.failing {
					return errors.New("no fact")
				}
				b.changes = append(b.changes, c)
				return nil
			}})
		require.NoError(t, err)
		require.NoError(t, b.svc.Install(t.Context()))
		require.NoError(t, b.svc.Install(t.Context()), "again")
		require.NoError(t, e.Kernel.InstallPolicies(t.Context(), oversight.Policies(&oversight.PolicyOptions{ExportRows: 20})...))
		b.tenant(t, "acme", "EUR", 10)
		b.tenant(t, "globex", "USD", 100)
		fn(t, b)
	})
}

func (b *bench) tenant(t *testing.T, id governance.TenantID, currency string, seats int64) {
	t.Helper()
	require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		sys := governance.System("test")
		_, err := b.Kernel.UpsertTenantTx(ctx, tx, sys, governance.Tenant{ID: id, Name: "Tenant " + string(id), Country: "DE", Status: governance.TenantActive, Plan: "growth", Seats: seats})
		var users []product.User
		var docs []product.Document
		for i := range 12 {
			u := fmt.Sprintf("%s-u%02d", id, i)
			role := product.RoleMember
			if i == 0 {
				role = product.RoleAdmin
			}
			users = append(users, product.User{ID: u, Tenant: id, Email: u + "@example.com", Name: "User " + u, Role: role, Active: true, CreatedAt: b.Now().Add(-time.Hour)})
			docs = append(docs, product.Document{ID: fmt.Sprintf("%s-d%02d", id, i), Tenant: id, Title: "Document", Author: u, CreatedAt: b.Now().Add(-time.Hour)})
		}
		return errors.Join(err, b.svc.SubscribeTx(ctx, tx, sys, id, "growth", currency, seats), b.svc.AddUsersTx(ctx, tx, users...), b.svc.AddDocumentsTx(ctx, tx, docs...),
			b.Kernel.GrantTx(ctx, tx, sys, id, governance.Entitlement{Feature: "beta", Source: "sales"}))
	}))
}

func why() *governance.DoOptions { return &governance.DoOptions{Reason: "asked for it"} }

func (b *bench) features(t *testing.T, id governance.TenantID) []string {
	t.Helper()
	s, err := b.Kernel.TenantState(t.Context(), id)
	require.NoError(t, err)
	out := []string{}
	for _, e := range s.Entitlements {
		out = append(out, e.Feature)
	}
	return out
}

func (b *bench) approve(t *testing.T, err error) governance.Approval {
	t.Helper()
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	a, err := b.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	a, err = b.Kernel.Decide(t.Context(), b.As("ada"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
	require.NoError(t, err)
	return a
}

func TestChangePlan(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		_, err := b.svc.ChangePlan(t.Context(), b.As("dana"), "acme", "starter", why()) // EUR 290 → 120: below the limit
		require.NoError(t, err)
		sub, err := b.svc.Subscription(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, governance.Money{Minor: 12_000, Currency: "EUR"}, sub.MRR)
		tenant, err := b.Kernel.Tenant(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "starter", tenant.Plan)
		require.Equal(t, []string{"beta", "documents", "exports"}, b.features(t, "acme"), "what sales granted stays")
		require.Len(t, b.changes, 1)
		require.Equal(t, "growth", b.changes[0].From)
		require.Contains(t, b.Actions(t), "tenant.plan_changed done")

		// USD 3,200 → 0 is EUR 2,880 of MRR: held, whoever asked for what before.
		_, err = b.svc.ChangePlan(t.Context(), b.As("eve"), "globex", "free", why())
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		a, err := b.Kernel.Approval(t.Context(), held.Approval)
		require.NoError(t, err)
		hit := a.Decision.Policies[0].Limits[0]
		require.EqualValues(t, 288_000, hit.Amount)
		require.EqualValues(t, 900_000, hit.Rate.Micro)
		require.Contains(t, string(a.Preview), `"before":{"features":["api","exports"]`)

		// An upgrade loses nothing and passes; it supersedes what was asked before it.
		_, err = b.svc.ChangePlan(t.Context(), b.As("eve"), "globex", "enterprise", why())
		require.NoError(t, err)
		a, err = b.Kernel.Decide(t.Context(), b.As("ada"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
		require.NoError(t, err)
		require.Equal(t, governance.StateSuperseded, a.State)

		_, err = b.svc.ChangePlan(t.Context(), b.As("dana"), "globex", "free", why())
		require.Equal(t, governance.StateExecuted, b.approve(t, err).State)
		require.Equal(t, []string{"beta", "documents"}, b.features(t, "globex"))
	})
}

func TestChangePlan_Refused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		var invalid *governance.InvalidError
		var denied *governance.DeniedError
		change := func(tenant governance.TenantID, plan string, opts *governance.DoOptions) error {
			_, err := b.svc.ChangePlan(t.Context(), b.As("dana"), tenant, plan, opts)
			return err
		}
		require.ErrorAs(t, change("acme", "gold", why()), &invalid)
		require.ErrorIs(t, change("nobody", "free", why()), governance.ErrNotFound)
		require.ErrorIs(t, change("acme", "growth", why()), governance.ErrConflict)
		require.ErrorAs(t, change("acme", "starter", nil), &denied, "without a reason")
		b.failing = true
		require.Error(t, change("acme", "starter", why()), "what hangs on the change fails with it")
		sub, err := b.svc.Subscription(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "growth", sub.Plan)
	})
}

func TestCredit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		give := func(as governance.PersonID, minor int64, currency string) error {
			_, err := b.svc.Credit(t.Context(), b.As(as), "acme", governance.Money{Minor: minor, Currency: currency}, why())
			return err
		}
		require.NoError(t, give("dana", 60_000, "EUR"))
		require.NoError(t, give("eve", 44_444, "USD")) // EUR 400.00: exactly 1,000.00 does not exceed it
		err := give("dana", 1, "EUR")
		require.Equal(t, governance.StateExecuted, b.approve(t, err).State)
		b.Advance(25 * time.Hour)
		require.NoError(t, give("dana", 100_000, "EUR"))
		var invalid *governance.InvalidError
		require.ErrorAs(t, give("dana", 100, "JPY"), &invalid)
		require.ErrorAs(t, give("dana", -100, "EUR"), &invalid)
		_, err = b.svc.Credit(t.Context(), b.As("dana"), "nobody", governance.Money{Minor: 1_000_000, Currency: "EUR"}, why())
		require.ErrorIs(t, err, governance.ErrNotFound, "not held either")
		all, err := b.svc.Credits(t.Context(), "acme", uuid.Nil, 3)
		require.NoError(t, err)
		require.Len(t, all, 3)
		rest, err := b.svc.Credits(t.Context(), "acme", all[2].ID, 0)
		require.NoError(t, err)
		require.Len(t, rest, 1)
		id := b.As("dana")
		id.Subject = &governance.Actor{ID: "product:acme-u00", Kind: governance.ActorUser}
		var denied *governance.DeniedError
		_, err = b.svc.Credit(t.Context(), id, "acme", governance.Money{Minor: 1, Currency: "EUR"}, why())
		require.ErrorAs(t, err, &denied)
	})
}

// follow reads a link as a browser would send it back.
func follow(t *testing.T, link string) (uuid.UUID, int64, string) {
	t.Helper()
	u, err := url.Parse(link)
	require.NoError(t, err)
	id, err := uuid.Parse(strings.Split(u.Path, "/")[2])
	require.NoError(t, err)
	expires, err := strconv.ParseInt(u.Query().Get("expires"), 10, 64)
	require.NoError(t, err)
	return id, expires, u.Query().Get("signature")
}

func TestExport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		out, err := b.svc.Export(t.Context(), b.As("dana"), "acme", "users", why())
		require.NoError(t, err)
		files, err := b.svc.Exports(t.Context(), "acme", 0)
		require.NoError(t, err)
		require.Len(t, files, 1)
		require.Equal(t, out.Action, files[0].ID)
		require.EqualValues(t, 12, files[0].Rows)

		link := b.svc.Link(b.As("dana"), files[0])
		require.Empty(t, b.svc.Link(b.As("eve"), files[0]))
		id, expires, sig := follow(t, link)
		f, data, err := b.svc.Download(t.Context(), b.As("dana"), id, expires, sig)
		require.NoError(t, err)
		require.EqualValues(t, len(data), f.Bytes)
		require.Contains(t, b.Actions(t), "export.download done")
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		require.Len(t, z.File, 2)
		r, err := z.Open("users.ndjson")
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, 12, strings.Count(string(text), "\n"))
		require.NotContains(t, string(text), "globex")

		var denied *governance.DeniedError
		refused := func(as governance.PersonID, id uuid.UUID, expires int64, sig string) string {
			_, data, err := b.svc.Download(t.Context(), b.As(as), id, expires, sig)
			require.ErrorAs(t, err, &denied)
			require.Nil(t, data)
			return denied.Reason
		}
		require.Contains(t, refused("eve", id, expires, sig), "somebody else")
		require.Contains(t, refused("dana", id, expires+3600, sig), "not one of ours")
		require.Contains(t, refused("dana", id, expires, sig+"x"), "not one of ours")
		b.People.Put("dana", "viewer")
		require.Contains(t, refused("dana", id, expires, sig), "permission")
		b.People.Put("dana", "cs_agent")
		b.Advance(16 * time.Minute)
		require.Contains(t, refused("dana", id, expires, sig), "expired")
		require.Contains(t, b.Actions(t), "export.download denied")

		require.NoError(t, b.svc.RemoveExpired(t.Context()))
		link = b.svc.Link(b.As("dana"), files[0])
		require.NotEmpty(t, link)
		b.Advance(25 * time.Hour)
		require.NoError(t, b.svc.RemoveExpired(t.Context()))
		left, err := filepath.Glob(filepath.Join(b.dir, "exports", "*"))
		require.NoError(t, err)
		require.Empty(t, left)
		require.Empty(t, b.svc.Link(b.As("dana"), files[0]))
	})
}

// TestExport_Bound: what comes out is never more than what was counted before
// anybody approved it.
func TestExport_Bound(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		_, err := b.svc.Export(t.Context(), b.As("dana"), "acme", "all", why()) // 24 rows, more than 20
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		none, rerr := b.svc.Exports(t.Context(), "acme", 0)
		require.NoError(t, rerr)
		require.Empty(t, none, "no file before the approval")
		add := func(id string, at time.Time) {
			require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				return b.svc.AddUsersTx(ctx, tx, product.User{ID: id, Tenant: "acme", Email: "x@example.com", Name: "X", Role: product.RoleViewer, Active: true, CreatedAt: at})
			}))
		}
		add("late", b.Now())
		require.Equal(t, governance.StateExecuted, b.approve(t, err).State)
		files, rerr := b.svc.Exports(t.Context(), "acme", 0)
		require.NoError(t, rerr)
		require.EqualValues(t, 24, files[0].Rows)

		_, err = b.svc.Export(t.Context(), b.As("dana"), "globex", "all", why())
		require.ErrorAs(t, err, &held)
		require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			return b.svc.AddUsersTx(ctx, tx, product.User{ID: "backdated", Tenant: "globex", Role: product.RoleViewer, Active: true, CreatedAt: b.Now().Add(-48 * time.Hour)})
		}))
		require.Equal(t, governance.StateFailed, b.approve(t, err).State)
		files, rerr = b.svc.Exports(t.Context(), "globex", 0)
		require.NoError(t, rerr)
		require.Empty(t, files)

		var invalid *governance.InvalidError
		_, err = b.svc.Export(t.Context(), b.As("dana"), "acme", "passwords", why())
		require.ErrorAs(t, err, &invalid)
		_, err = b.svc.Export(t.Context(), b.As("dana"), "nobody", "all", why())
		require.ErrorIs(t, err, governance.ErrNotFound)
	})
}

func TestTarget(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		a, err := b.svc.Target(t.Context(), "acme", "acme-u00")
		require.NoError(t, err)
		require.Equal(t, []string{"admin"}, a.Roles)
		_, err = b.svc.Target(t.Context(), "globex", "acme-u00")
		require.ErrorIs(t, err, governance.ErrNotFound, "another tenant's user is nobody here")
	})
}
