package governance_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// TestBudget_NothingAdded: an action that adds nothing to a window passes it, also
// while others hold it above its limit.
func TestBudget_NothingAdded(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		e.People.Put("ann", "root")
		spec := creditSpec()
		done := 0
		a := governance.Define("tenant.credit", spec, func(context.Context, *governance.Tx, credit) (governance.Result, error) {
			done++
			return governance.Result{}, nil
		})
		require.NoError(t, e.Kernel.Register(a))
		require.NoError(t, e.Kernel.InstallPolicies(t.Context(), creditPolicy(100)))
		give := func(minor int64) error {
			_, err := a.Do(t.Context(), e.Kernel, e.As("ann"), credit{"acme", governance.Money{Minor: minor, Currency: "EUR"}}, nil)
			return err
		}
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, give(101), &held)
		require.NoError(t, give(0))
		require.ErrorAs(t, give(1), &held)
		require.Equal(t, 1, done)
	})
}
