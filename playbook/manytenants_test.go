package playbook_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/playbook/actions"
)

// TestSimulate_ManyTenants goes over more than one page of tenants, closed ones on
// each.
func TestSimulate_ManyTenants(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{playbook.Schema()}})
	require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		for i := range 450 {
			status := governance.TenantActive
			if i%7 == 3 {
				status = governance.TenantClosed
			}
			_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("test"), governance.Tenant{ID: governance.TenantID(fmt.Sprintf("t%03d", i)), Name: "T", Country: "DE", Status: status, Plan: "x"})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	acts, err := actions.New(e.Kernel)
	require.NoError(t, err)
	svc, err := playbook.New(e.Kernel, &playbook.Options{Kinds: acts.Kinds(), Signals: func(_ context.Context, ids []governance.TenantID) (map[governance.TenantID]map[string]playbook.Signal, error) {
		out := map[governance.TenantID]map[string]playbook.Signal{}
		for _, id := range ids {
			out[id] = map[string]playbook.Signal{"mrr": {Value: 1.0, AsOf: e.Kernel.Now()}}
		}
		return out, nil
	}})
	require.NoError(t, err)
	p, err := svc.SimulateSource(t.Context(), `name: everybody
title: Everybody
trigger:
  daily: "07:00"
signals:
  mrr: {type: number, max_age: 24h}
when: signals.mrr > 0.0
safeguards:
  max_targets: 10
  max_percent: 5
  max_unusable: 20
  repeat_after: 30d
steps:
  - id: tell
    kind: notice
    params: {severity: info, title: "x", body: "y"}
`)
	require.NoError(t, err)
	require.Equal(t, 386, p.Scanned)
	require.NotEmpty(t, p.Stopped)
}
