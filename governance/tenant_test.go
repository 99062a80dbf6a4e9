package governance_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

func TestTenant(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx, k, id := t.Context(), e.Kernel, governance.System("test")
		var events []governance.Event
		var mu sync.Mutex
		k.Subscribe("test", func(_ context.Context, _ *governance.Tx, evs []governance.Event) error {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, evs...)
			return nil
		})
		do := func(fn func(ctx context.Context, tx *governance.Tx) error) error { return e.DB.Do(ctx, fn) }
		acme := governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive, Plan: "pro", ExternalKeys: map[string][]string{"domain": {"acme.example"}}}
		upsert := func(x governance.Tenant) error {
			return do(func(ctx context.Context, tx *governance.Tx) error {
				_, err := k.UpsertTenantTx(ctx, tx, id, x)
				return err
			})
		}
		access := func(feature string) string {
			d, err := k.Access(ctx, "acme", feature)
			require.NoError(t, err)
			require.Equal(t, d.Allowed, d.Reason == "ok")
			return d.Reason
		}
		require.Equal(t, "unknown_tenant", access(""))
		require.NoError(t, upsert(acme))
		require.NoError(t, upsert(acme), "nothing changed")
		acme.Plan = "free"
		require.NoError(t, upsert(acme))
		require.Error(t, upsert(governance.Tenant{ID: "x"}))
		require.ErrorIs(t, upsert(governance.Tenant{ID: "thief", Name: "T", Country: "DE", Status: governance.TenantActive, ExternalKeys: acme.ExternalKeys}), governance.ErrConflict)
		found, err := k.TenantByKey(ctx, "domain", "acme.example")
		require.NoError(t, err)
		require.EqualValues(t, "acme", found.ID)
		require.Equal(t, "ok", access(""))
		require.Equal(t, "not_entitled", access("api"))

		require.NoError(t, do(func(ctx context.Context, tx *governance.Tx) error {
			return k.GrantTx(ctx, tx, id, "acme", governance.Entitlement{Feature: "api", Source: "plan", ExpiresAt: e.Now().Add(time.Hour)})
		}))
		require.Equal(t, "ok", access("api"))
		e.Advance(2 * time.Hour)
		require.Equal(t, "expired", access("api"))

		restrict := func(reason string) {
			require.NoError(t, do(func(ctx context.Context, tx *governance.Tx) error {
				_, _, err := k.RestrictTx(ctx, tx, id, "acme", governance.Restriction{Reason: reason})
				return err
			}))
		}
		lift := func(reason string, version int64) error {
			return do(func(ctx context.Context, tx *governance.Tx) error {
				return k.LiftTx(ctx, tx, id, "acme", reason, version)
			})
		}
		restrict("unpaid")
		restrict("fraud")
		restrict("fraud")
		require.Equal(t, "restricted:unpaid", access(""))
		require.NoError(t, lift("unpaid", 0))
		require.Equal(t, "restricted:fraud", access(""), "lifting one cause never lifts another")
		require.ErrorIs(t, lift("fraud", 1), governance.ErrConflict)
		require.ErrorIs(t, lift("unpaid", 0), governance.ErrNotFound)
		require.NoError(t, lift("fraud", 0))
		require.Equal(t, "ok", access(""))

		e.Drain(t)
		var types []string
		for i, ev := range events {
			require.EqualValues(t, i+1, ev.N)
			require.EqualValues(t, i+1, ev.TenantSeq)
			require.EqualValues(t, i+1, ev.TenantVersion)
			var s governance.TenantState
			require.NoError(t, json.Unmarshal(ev.Data, &s))
			require.Equal(t, ev.TenantVersion, s.Tenant.Version, "an event carries the state it made")
			types = append(types, ev.Type)
		}
		require.Equal(t, []string{"tenant.created", "tenant.plan_changed", "entitlement.granted", "tenant.suspended", "tenant.suspended",
			"tenant.restriction_lifted", "tenant.reactivated"}, types)
		rep, err := k.Ledger().Verify(ctx)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		require.EqualValues(t, 7, rep.Records)
	})
}
