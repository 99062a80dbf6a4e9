package analytics_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// A limit on money must not become wider because somebody who may send facts tells a
// rate that is far too low.
func TestRates_FarFromTheOthers(t *testing.T) {
	t.Parallel()
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) { // it is 2026-01-15
		b := newBed(t, e, nil, nil)
		tell := func(key, on string, micro int64) {
			b.ingest(t, analytics.Fact{Source: "bank", Key: key, Kind: analytics.KindRate, Currency: "USD", Rate: micro, At: day(on)})
		}
		rate := func(from, to string) int64 {
			r, err := analytics.NewRates(e.DB, "EUR", 0).Rate(t.Context(), from, to, e.Now())
			require.NoError(t, err)
			return r.Micro
		}
		_, err := analytics.NewRates(e.DB, "EUR", 0).Rate(t.Context(), "USD", "EUR", e.Now())
		require.ErrorIs(t, err, governance.ErrNotFound)
		tell("old", "2025-11-02", 1_900_000) // too long ago to matter
		tell("1", "2026-01-05", 900_000)
		tell("2", "2026-01-12", 880_000)
		require.EqualValues(t, 880_000, rate("USD", "EUR"), "the newest")
		tell("3", "2026-01-14", 950_000)
		require.EqualValues(t, 950_000, rate("USD", "EUR"))
		tell("4", "2026-01-15", 1)
		require.EqualValues(t, 950_000, rate("USD", "EUR"), "the highest: one of a millionth would let everything through")
		for i, key := range []string{"1", "2", "3"} {
			tell(key, fmt.Sprintf("2026-01-%02d", 5+i), int64(2+i)) // corrected, all of them
		}
		require.EqualValues(t, 950_000, rate("USD", "EUR"), "what was told before a correction counts as well")
		tell("5", "2026-01-15", 900_000)
		tell("4", "2026-01-15", 900_000)
		require.Greater(t, rate("EUR", "USD"), int64(1_000_000), "the other way round it is the lowest")
	})
}
