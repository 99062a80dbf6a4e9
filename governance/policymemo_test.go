package governance_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// TestPolicies_SharedCommit: callers that share a commit see a policy that one of them
// changes from there on, and not one whose change was undone.
func TestPolicies_SharedCommit(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		_, err := e.DB.Handle().ExecContext(t.Context(), "CREATE TABLE host_credit (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, minor BIGINT NOT NULL)")
		require.NoError(t, err)
		e.People.Put("ana", "root")
		act := creditAction()
		require.NoError(t, e.Kernel.Register(act))
		in := credit{"acme", governance.Money{Minor: 100, Currency: "EUR"}}
		try := func(ctx context.Context, tx *governance.Tx) error {
			_, err := act.InTx(ctx, e.Kernel, tx, e.As("ana"), in, nil)
			return err
		}
		put := func(ctx context.Context, tx *governance.Tx) error {
			return e.Kernel.PutPolicyTx(ctx, tx, e.As("ana"), governance.Policy{ID: "stop", Title: "Stop", Actions: []string{"tenant.credit"}, Mode: governance.Enforce, Deny: true})
		}
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			require.NoError(t, try(ctx, tx))
			undone := tx.Savepoint(ctx, func(ctx context.Context, tx *governance.Tx) error {
				require.NoError(t, put(ctx, tx))
				var denied *governance.DeniedError
				require.ErrorAs(t, try(ctx, tx), &denied)
				return errors.New("no")
			})
			require.Error(t, undone)
			require.NoError(t, try(ctx, tx))
			return nil
		}))
	})
}
