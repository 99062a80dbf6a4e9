package actions_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/playbook/actions"
)

func TestActions(t *testing.T) {
	t.Parallel()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{playbook.Schema()}}, func(t *testing.T, e *govtest.Env) {
		e.People.Put("dana", "root")
		e.People.Put("carl", "cs")
		e.People.Allow("playbook", "tenant:restrict")
		a, err := actions.New(e.Kernel)
		require.NoError(t, err)
		ctx := t.Context()
		require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("host"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive})
			return err
		}))
		state := func() governance.TenantState {
			s, err := e.Kernel.TenantState(ctx, "acme")
			require.NoError(t, err)
			return s
		}
		in := actions.Restrict{Tenant: "acme", Reason: "fraud", Detail: "chargebacks"}
		var denied *governance.DeniedError
		_, err = a.Restrict.Do(ctx, e.Kernel, e.As("carl"), in, nil)
		require.ErrorAs(t, err, &denied)
		impersonating := e.As("dana")
		impersonating.Subject = &governance.Actor{ID: "user:x"}
		_, err = a.Restrict.Do(ctx, e.Kernel, impersonating, in, nil)
		require.ErrorAs(t, err, &denied)
		robot := governance.Identity{Actor: governance.Actor{ID: "playbook:x", Kind: governance.ActorPlaybook, Roles: []string{"playbook"}}}
		in.Run, in.Step = uuid.NewString(), "s"
		_, err = a.Restrict.Do(ctx, e.Kernel, robot, in, nil)
		require.ErrorAs(t, err, &denied, "no policy is installed here, and still an automation may not")
		require.Equal(t, "automation", denied.Rule)
		require.False(t, state().Suspended)

		_, err = a.Restrict.Do(ctx, e.Kernel, e.As("dana"), actions.Restrict{Tenant: "acme", Reason: "fraud"}, nil)
		require.NoError(t, err, "a person may, as far as the policies go")
		require.True(t, state().Suspended)
		v := state().Restrictions[0].Version
		_, err = a.Lift.Do(ctx, e.Kernel, e.As("dana"), actions.Lift{Tenant: "acme", Reason: "fraud", IfVersion: v + 1}, nil)
		require.ErrorIs(t, err, governance.ErrConflict)
		_, err = a.Lift.Do(ctx, e.Kernel, e.As("dana"), actions.Lift{Tenant: "acme", Reason: "fraud", IfVersion: v}, nil)
		require.NoError(t, err)

		set := func(in actions.Entitlement) error {
			in.Tenant, in.Feature = "acme", "sso"
			_, err := a.Entitlement.Do(ctx, e.Kernel, e.As("dana"), in, nil)
			return err
		}
		require.ErrorIs(t, set(actions.Entitlement{Remove: true}), governance.ErrNotFound)
		require.NoError(t, set(actions.Entitlement{Quantity: 5, Source: "sales", IfVersion: -1}))
		require.ErrorIs(t, set(actions.Entitlement{Quantity: 6, Source: "sales", IfVersion: -1}), governance.ErrConflict, "it is there by now")
		v = state().Entitlements[0].Version
		require.NoError(t, set(actions.Entitlement{Quantity: 6, Source: "sales", IfVersion: v}))
		require.ErrorIs(t, set(actions.Entitlement{Remove: true, IfVersion: v}), governance.ErrConflict, "it changed")
		require.NoError(t, set(actions.Entitlement{Remove: true}))
		require.Error(t, set(actions.Entitlement{Source: "sales", ExpiresAt: "tomorrow"}))
		require.Empty(t, state().Entitlements)
	})
}
