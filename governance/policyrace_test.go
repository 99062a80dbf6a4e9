package governance_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

// TestPolicies_OtherServer: a server that has a policy set in memory does not decide
// by it once another server has replaced it.
func TestPolicies_OtherServer(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		_, err := e.DB.Handle().ExecContext(t.Context(), "CREATE TABLE host_credit (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, minor BIGINT NOT NULL)")
		require.NoError(t, err)
		e.People.Put("ana", "root")
		key, _, err := ledger.GenerateKey("reeve.test")
		require.NoError(t, err)
		var mine [2]*governance.Action[credit]
		var servers [2]*governance.Kernel
		for i := range servers {
			servers[i], err = governance.New(e.DB, &governance.Options{Authorizer: e.People, Directory: e.People, LedgerKey: key})
			require.NoError(t, err)
			mine[i] = creditAction()
			require.NoError(t, servers[i].Register(mine[i]))
		}
		p := governance.Policy{ID: "why", Title: "Reasons", Actions: []string{"tenant.credit"}, Mode: governance.Enforce, NeedWhy: true}
		_, err = servers[0].PutPolicy(t.Context(), e.As("ana"), p, nil)
		require.NoError(t, err)
		in := credit{"acme", governance.Money{Minor: 100, Currency: "EUR"}}
		because := &governance.DoOptions{Reason: "because"}
		for range 2 { // the second time from memory
			_, err = mine[1].Do(t.Context(), servers[1], e.As("ana"), in, because)
			require.NoError(t, err)
		}
		p.NeedTick = true
		_, err = servers[0].PutPolicy(t.Context(), e.As("ana"), p, nil)
		require.NoError(t, err)
		var denied *governance.DeniedError
		_, err = mine[1].Do(t.Context(), servers[1], e.As("ana"), in, because)
		require.ErrorAs(t, err, &denied)
		require.Equal(t, "a ticket is required", denied.Reason)
	})
}
