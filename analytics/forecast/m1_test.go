package forecast_test

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics/forecast"
)

type m1Series struct {
	id          string
	train, test []float64
}

func m1(t testing.TB) []m1Series {
	t.Helper()
	f, err := os.Open(sharedData(t, "m1_monthly.csv"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	records, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	at := map[string]int{}
	var out []m1Series
	for _, r := range records[1:] {
		i, ok := at[r[0]]
		if !ok {
			i = len(out)
			at[r[0]] = i
			out = append(out, m1Series{id: r[0]})
		}
		var v []float64
		for part := range strings.SplitSeq(r[5], ";") {
			x, err := strconv.ParseFloat(part, 64)
			require.NoError(t, err)
			v = append(v, x)
		}
		if r[2] == "train" {
			out[i].train = v
		} else {
			out[i].test = v
		}
	}
	require.Len(t, out, 617)
	return out
}

// mase is the error of a forecast in units of the seasonal naive error in the
// training part, as the literature computes it.
func mase(train, test, mean []float64) float64 {
	scale := 0.0
	for t := 12; t < len(train); t++ {
		scale += math.Abs(train[t]-train[t-12]) / float64(len(train)-12)
	}
	sum := 0.0
	for i, m := range mean {
		sum += math.Abs(test[i] - m)
	}
	return sum / float64(len(mean)) / scale
}

// The gate: over real series that nobody here chose, what Auto picks must beat the
// seasonal naive forecast, the mean of models must be worth its cost, and the
// bands must hold what they promise. REEVE_M1=all runs all 617 series; otherwise
// a sixth runs, none of which was used to choose the margin in backtest.go.
func TestAuto_M1(t *testing.T) {
	t.Parallel()
	const h = 12
	var auto, seasonalNaive, theta float64
	var n, points, in80, in95 int
	for i, s := range m1(t) {
		if i%6 != 1 && os.Getenv("REEVE_M1") != "all" {
			continue
		}
		n++
		r, err := forecast.Auto(s.train, nil)
		require.NoError(t, err, s.id)
		var mean []float64
		for k, p := range r.Points {
			mean = append(mean, p.Mean)
			points++
			if s.test[k] >= p.Lo[0] && s.test[k] <= p.Hi[0] {
				in80++
			}
			if s.test[k] >= p.Lo[1] && s.test[k] <= p.Hi[1] {
				in95++
			}
		}
		auto += mase(s.train, s.test[:h], mean)
		seasonalNaive += mase(s.train, s.test[:h], points12(t, forecast.SeasonalNaive(), s.train))
		theta += mase(s.train, s.test[:h], points12(t, forecast.Theta(), s.train))
	}
	k := float64(n)
	cover80, cover95 := float64(in80)/float64(points), float64(in95)/float64(points)
	t.Logf("M1 monthly, %d series, 12 months: MASE auto %.4f, theta %.4f, seasonal naive %.4f (ratio %.3f); coverage of the 80 %% band %.3f, of the 95 %% band %.3f",
		n, auto/k, theta/k, seasonalNaive/k, auto/seasonalNaive, cover80, cover95)
	require.Less(t, auto, 0.9*seasonalNaive)
	require.InDelta(t, 0.80, cover80, 0.05)
	require.InDelta(t, 0.95, cover95, 0.04)
}

func points12(t testing.TB, m forecast.Model, y []float64) []float64 {
	t.Helper()
	f, err := m.Fit(y, 12)
	require.NoError(t, err)
	mean, _ := f.Forecast(12)
	return mean
}

// sharedData finds a file of the shared data folder, or skips.
func sharedData(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("REEVE_SHARED_DATA")
	if dir == "" {
		at, err := os.Getwd()
		require.NoError(t, err)
		for {
			if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
				break
			}
			up := filepath.Dir(at)
			require.NotEqual(t, at, up, "no go.mod above the test")
			at = up
		}
		dir = filepath.Join(at, "..", "shared", "data")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("not verified: %s is not there", path)
	}
	return path
}
