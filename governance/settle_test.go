package governance_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// TestSettle_ByHand: where the vendor cannot be asked, a person who had no part in it
// says how it ended, once and on record.
func TestSettle_ByHand(t *testing.T) {
	t.Parallel()
	govtest.Each(t, creditOptions, func(t *testing.T, e *govtest.Env) {
		creditEnv(t, e, 1000)
		e.People.Put("vera", "root")
		e.People.Put("carl", "root")
		v := &vendor{done: map[string]int{}}
		v.lose.Store(true)
		v.blind.Store(true)
		a, ctx, k := v.action(), t.Context(), e.Kernel
		require.NoError(t, k.Register(a))
		unknown := func(opts *governance.DoOptions) governance.Outcome {
			out, err := a.Do(ctx, k, e.As("vera"), eur(1), opts)
			require.Error(t, err)
			require.Equal(t, governance.StateUnknown, out.State)
			return out
		}
		settle := func(who governance.PersonID, of governance.Outcome, done bool) error {
			_, err := k.SettleUnknown(ctx, e.As(who), governance.Settlement{Action: of.Action, Done: done, Reason: "the vendor's support told me"}, nil)
			return err
		}
		one, two := unknown(&governance.DoOptions{Exclude: []governance.PersonID{"carl"}}), unknown(nil)
		_, err := k.SettleUnknown(ctx, e.As("vera"), governance.Settlement{Action: one.Action, Done: true, Reason: "so"}, nil)
		require.ErrorContains(t, err, "reason")
		wantDenied(t, settle("vera", one, true), "had no part")
		wantDenied(t, settle("carl", one, true), "had no part")
		e.People.Put("sam", "guest")
		wantDenied(t, settle("sam", one, true), "no role")
		require.Equal(t, "unknown", remoteState(t, e, one.Action))
		e.People.Put("rob", "root")
		require.NoError(t, settle("rob", one, true))
		require.NoError(t, settle("rob", two, false))
		require.Equal(t, "executed", remoteState(t, e, one.Action))
		require.Equal(t, "failed", remoteState(t, e, two.Action))
		require.ErrorIs(t, settle("rob", one, false), governance.ErrConflict, "once")

		v.blind.Store(false)
		e.Advance(time.Hour)
		require.NoError(t, k.Sweep(ctx))
		require.Equal(t, "failed", remoteState(t, e, two.Action), "nothing looks again at what is settled")
		require.Equal(t, 1, v.done[two.Action.String()], "nor calls again")
		alerts, err := k.Alerts(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		require.Empty(t, alerts)
		require.Subset(t, e.Actions(t), []string{"vendor.credit done", "vendor.credit failed", "action.settle done"})
		problems, err := governance.Check(ctx, e.DB)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}
