package governance_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

func TestKernel_Suspended(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		restrict := map[governance.TenantID]string{"whole": "", "part": "export"}
		for _, id := range []governance.TenantID{"whole", "part", "free"} {
			require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				by := governance.System("test")
				if _, err := e.Kernel.UpsertTenantTx(ctx, tx, by, governance.Tenant{ID: id, Name: string(id), Country: "DE", Status: governance.TenantActive, Plan: "pro"}); err != nil {
					return err
				}
				feature, ok := restrict[id]
				if !ok {
					return nil
				}
				_, _, err := e.Kernel.RestrictTx(ctx, tx, by, id, governance.Restriction{Reason: "unpaid", Feature: feature})
				return err
			}))
		}
		got, err := e.Kernel.Suspended(t.Context(), []governance.TenantID{"whole", "part", "free", "nobody"})
		require.NoError(t, err)
		require.Equal(t, map[governance.TenantID]bool{"whole": true}, got)
		none, err := e.Kernel.Suspended(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, none)
	})
}
