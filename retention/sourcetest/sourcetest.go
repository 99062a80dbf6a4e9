// Package sourcetest is the conformance suite of retention.Source: what a run relies
// on, tested through the interface alone.
package sourcetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/retention"
)

// Fixture is a source with at least 20 rows that Resolver without holds calls due as
// of AsOf. The suite purges some of them.
type Fixture struct {
	Source   retention.Source
	AsOf     time.Time
	Resolver func(holds ...retention.Hold) *retention.Resolver
}

// Run runs the suite; fixture is called once for each test and may give the same
// data again.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	ctx := context.Background()
	due := func(t *testing.T, f Fixture) []retention.Facts {
		r := f.Resolver()
		var out []retention.Facts
		_, err := f.Source.Plan(ctx, retention.Selection{AsOf: f.AsOf, Soon: f.AsOf.AddDate(0, 0, 30), Resolver: r}, func(row retention.Facts) error {
			if state, _ := r.Decide(row, f.AsOf); state == retention.Due {
				out = append(out, row)
			}
			return nil
		})
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(out), 10, "the fixture has too few due rows")
		return out
	}
	batch := func(f Fixture, r *retention.Resolver, epoch int64, rows ...retention.Facts) retention.Batch {
		_, action := f.Resolver().Decide(rows[0], f.AsOf)
		b := retention.Batch{Run: uuid.NewString(), AsOf: f.AsOf, Epoch: epoch, Resolver: r, Action: action, Secret: make([]byte, 32), Salt: []byte("salt"), Budget: 1 << 40}
		for _, row := range rows {
			b.Keys = append(b.Keys, row.Key)
		}
		return b
	}
	t.Run("description is stable", func(t *testing.T) {
		f := fixture(t)
		a, err := f.Source.Describe(ctx)
		require.NoError(t, err)
		b, err := f.Source.Describe(ctx)
		require.NoError(t, err)
		require.Equal(t, a, b)
		require.NotEmpty(t, a.Fingerprint)
		require.NotEmpty(t, a.Actions)
	})
	t.Run("plan gives each row once and stops on an error", func(t *testing.T) {
		f := fixture(t)
		seen := map[string]bool{}
		for _, row := range due(t, f) {
			require.False(t, seen[row.Key])
			seen[row.Key] = true
		}
		stop := errors.New("stop")
		n := 0
		_, err := f.Source.Plan(ctx, retention.Selection{AsOf: f.AsOf, Soon: f.AsOf, Resolver: f.Resolver()}, func(retention.Facts) error { n++; return stop })
		require.ErrorIs(t, err, stop)
		require.Equal(t, 1, n)
	})
	t.Run("apply accounts for each row and is done once", func(t *testing.T) {
		f := fixture(t)
		rows := due(t, f)[:4]
		b := batch(f, f.Resolver(retention.Hold{ID: governance.NewID[retention.Hold](), Selector: retention.Selector{Source: rows[0].Source, Key: rows[0].Key}}), 1, rows...)
		res, err := f.Source.Apply(ctx, b)
		require.NoError(t, err)
		require.False(t, res.Replayed)
		require.EqualValues(t, 4, res.Counts.Planned)
		require.Equal(t, res.Counts.Planned, res.Counts.Done())
		require.EqualValues(t, 1, res.Counts.Held)
		require.NotEmpty(t, res.Root)
		again, err := f.Source.Apply(ctx, b)
		require.NoError(t, err)
		require.True(t, again.Replayed)
		require.Equal(t, res.Counts, again.Counts)
		require.Equal(t, res.Root, again.Root)
		applied, err := f.Source.Applied(ctx, b.Run)
		require.NoError(t, err)
		require.Len(t, applied, 1)
		other, err := f.Source.Applied(ctx, uuid.NewString())
		require.NoError(t, err)
		require.Empty(t, other)
		held := false
		for _, row := range due(t, f) {
			require.NotContains(t, []string{rows[1].Key, rows[2].Key, rows[3].Key}, row.Key, "a purged row is still due")
			held = held || row.Key == rows[0].Key
		}
		require.True(t, held, "the held row is gone")
		b.Run, b.Keys = uuid.NewString(), b.Keys[1:]
		res, err = f.Source.Apply(ctx, b)
		require.NoError(t, err)
		require.EqualValues(t, 3, res.Counts.Changed, "rows that are gone are listed, not counted as done")
	})
	t.Run("a fence keeps out batches that do not know it", func(t *testing.T) {
		f := fixture(t)
		rows := due(t, f)[:2]
		require.NoError(t, f.Source.Fence(ctx, 100))
		_, err := f.Source.Apply(ctx, batch(f, f.Resolver(), 99, rows...))
		require.ErrorIs(t, err, retention.ErrStaleHolds)
		require.Equal(t, len(due(t, f)), len(due(t, f)))
		_, err = f.Source.Apply(ctx, batch(f, f.Resolver(), 100, rows...))
		require.NoError(t, err)
	})
	t.Run("a batch over its budget does nothing", func(t *testing.T) {
		f := fixture(t)
		rows := due(t, f)
		b := batch(f, f.Resolver(), 1000, rows[:2]...)
		b.Budget = 1
		_, err := f.Source.Apply(ctx, b)
		require.ErrorIs(t, err, retention.ErrBrake)
		require.Len(t, due(t, f), len(rows))
	})
}
