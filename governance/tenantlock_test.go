package governance_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

func TestKernel_LockTenantTx(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		id := governance.System("test")
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			if _, err := e.Kernel.UpsertTenantTx(ctx, tx, id, governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive}); err != nil {
				return err
			}
			return e.Kernel.GrantTx(ctx, tx, id, "acme", governance.Entitlement{Feature: "sso", Source: "plan"})
		}))
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			s, err := e.Kernel.LockTenantTx(ctx, tx, "acme")
			require.NoError(t, err)
			require.Len(t, s.Entitlements, 1)
			require.EqualValues(t, 2, s.Tenant.Version, "locking is no change")
			_, err = e.Kernel.LockTenantTx(ctx, tx, "nobody")
			require.ErrorIs(t, err, governance.ErrNotFound)
			_, err = e.Kernel.UpsertTenantTx(ctx, tx, id, governance.Tenant{ID: "gone", Name: "Gone", Country: "DE", Status: governance.TenantClosed})
			return err
		}))
		n, err := e.Kernel.CountTenants(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n, "closed ones do not count")
	})
}

func TestIsNotDone(t *testing.T) {
	t.Parallel()
	err := errors.New("refused")
	require.True(t, governance.IsNotDone(fmt.Errorf("call: %w", governance.NotDone(err))))
	require.False(t, governance.IsNotDone(err))
	require.False(t, governance.IsNotDone(nil))
}
