package governance_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

// TestLimit_AttemptsOutliveTheRollback: a caller that rolls back on every refusal does
// not try for ever.
func TestLimit_AttemptsOutliveTheRollback(t *testing.T) {
	t.Parallel()
	boom := errors.New("the host gave up")
	for name, in := range map[string]func(t *testing.T, w *deskWorld, fn func(ctx context.Context, tx *governance.Tx) error) error{
		"own": func(t *testing.T, w *deskWorld, fn func(ctx context.Context, tx *governance.Tx) error) error {
			return w.DB.Do(t.Context(), fn)
		},
		"savepoint": func(t *testing.T, w *deskWorld, fn func(ctx context.Context, tx *governance.Tx) error) error {
			var inner error
			require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				inner = tx.Savepoint(ctx, fn)
				return nil
			}))
			return inner
		},
		"adopted": func(t *testing.T, w *deskWorld, fn func(ctx context.Context, tx *governance.Tx) error) error {
			mine, err := w.DB.Handle().BeginTx(t.Context(), nil)
			require.NoError(t, err)
			tx := w.DB.Adopt(mine.Tx)
			if err := fn(t.Context(), tx); err != nil {
				require.NoError(t, mine.Rollback())
				return errors.Join(err, tx.RolledBack(t.Context()))
			}
			return mine.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counter(t, func(p governance.Policy) []governance.Policy {
				p.Require = nil
				p.Limits = []governance.Limit{{Unit: governance.UnitCount, Max: 3, Window: hours(1), By: governance.ByActor, Count: governance.CountAttempts}}
				return []governance.Policy{p}
			}, func(t *testing.T, w *deskWorld) {
				try := func(who governance.PersonID, after error) error {
					return in(t, w, func(ctx context.Context, tx *governance.Tx) error {
						_, err := w.act.InTx(ctx, w.Kernel, tx, w.As(who), creditInput{"acme", 1}, nil)
						return errors.Join(err, after)
					})
				}
				require.ErrorIs(t, try("ann", boom), boom) // done, and rolled back
				w.broken = true
				require.Error(t, try("ann", nil)) // failed
				w.broken = false
				require.NoError(t, try("ann", nil))
				for range 2 { // refused, and rolled back for it
					wantDenied(t, try("ann", nil), "would be more than 3")
				}
				as := w.Actions(t)
				count := func(s string) (n int) {
					for _, a := range as {
						if a == s {
							n++
						}
					}
					return n
				}
				require.Equal(t, []int{2, 1, 2}, []int{count("desk.act failed"), count("desk.act done"), count("desk.act denied")}, "%v", as)

				w.People.Put("nobody", "guest")
				wantDenied(t, try("nobody", nil), "no role")
				require.Equal(t, 3, func() int { as = w.Actions(t); return count("desk.act denied") }(), "a permission that is missing is on record as well")
				require.False(t, slices.Contains(as, "desk.act held"))
			})
		})
	}
}
