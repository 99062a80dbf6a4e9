package analytics_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
)

func monthsOf(y []int64) []analytics.MonthRow {
	out := make([]analytics.MonthRow, len(y))
	for i, v := range y {
		out[i] = analytics.MonthRow{Month: analytics.MonthOf(2023, 1) + analytics.Month(i), Complete: true, RollForward: analytics.RollForward{Closing: v}}
	}
	return out
}

func TestNewForecast(t *testing.T) {
	t.Parallel()
	f, err := analytics.NewForecast(monthsOf([]int64{1, 2, 3, 4, 5}))
	require.NoError(t, err)
	require.Nil(t, f, "five months say nothing")

	// Business is won in January alone; a forecast that knows the season jumps then.
	r := rand.New(rand.NewPCG(1, 1))
	y := []int64{}
	v := int64(1_000_000)
	for i := range 36 {
		v += 10_000 + r.Int64N(4000)
		if i%12 == 0 {
			v += 400_000
		}
		y = append(y, v)
	}
	f, err = analytics.NewForecast(monthsOf(y))
	require.NoError(t, err)
	require.Len(t, f.Points, 12)
	require.Equal(t, "2026-01", f.Points[0].Month.String())
	require.Greater(t, f.Points[0].MRR-y[35], int64(150_000), "January")
	require.Less(t, f.Points[5].MRR-f.Points[4].MRR, int64(100_000), "June")
	for i, p := range f.Points {
		require.LessOrEqual(t, p.Lo[1], p.Lo[0])
		require.LessOrEqual(t, p.Lo[0], p.MRR)
		require.GreaterOrEqual(t, p.Hi[1], p.Hi[0])
		if i > 0 {
			require.GreaterOrEqual(t, p.Hi[0]-p.Lo[0], f.Points[i-1].Hi[0]-f.Points[i-1].Lo[0], "what is further off is known less")
		}
	}
	require.True(t, f.Backtest.Scores[0].Chosen)
	require.Less(t, f.Backtest.Scores[0].VsNaive, 1.0)
	require.Equal(t, "seasonal naive", f.Backtest.Naive)

	flat := make([]int64, 30)
	f, err = analytics.NewForecast(monthsOf(flat))
	require.NoError(t, err)
	require.Zero(t, f.Points[11].MRR)
	falling := []int64{}
	for i := range 30 {
		falling = append(falling, int64(3000-100*i))
	}
	f, err = analytics.NewForecast(monthsOf(falling))
	require.NoError(t, err)
	for _, p := range f.Points {
		require.GreaterOrEqual(t, p.Lo[1], int64(0), "nobody pays less than nothing")
	}
}
