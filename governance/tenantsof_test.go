package governance_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

func TestKernel_TenantsOf(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		now := e.Now()
		put := func(id, owner string, status governance.TenantStatus, renewal time.Time) {
			require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("test"), governance.Tenant{ID: governance.TenantID(id), Name: id, Country: "DE",
					Status: status, Plan: "pro", Owner: governance.PersonID(owner), RenewalAt: renewal})
				return err
			}))
		}
		put("later", "sam", governance.TenantActive, now.AddDate(0, 2, 0))
		put("never", "sam", governance.TenantTrial, time.Time{})
		put("soon", "sam", governance.TenantActive, now.AddDate(0, 1, 0))
		put("gone", "sam", governance.TenantClosed, now)
		put("other", "kim", governance.TenantActive, now)
		put("orphan", "", governance.TenantActive, now)
		got, err := e.Kernel.TenantsOf(t.Context(), "sam")
		require.NoError(t, err)
		var ids []governance.TenantID
		for _, tn := range got {
			ids = append(ids, tn.ID)
		}
		require.Equal(t, []governance.TenantID{"soon", "later", "never"}, ids)
		none, err := e.Kernel.TenantsOf(t.Context(), "")
		require.NoError(t, err)
		require.Empty(t, none, "nobody is not everybody")
	})
}
