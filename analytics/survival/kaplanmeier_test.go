package survival_test

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/analytics/survival"
)

// The leukaemia remission times of Freireich et al. (1963), 6-MP arm: the worked
// example of most text books. Expected values are the published ones.
func TestKaplanMeier_Freireich(t *testing.T) {
	t.Parallel()
	var obs []survival.Observation
	for _, v := range []float64{6, 6, 6, 7, 10, 13, 16, 22, 23} {
		obs = append(obs, survival.Observation{Time: v, Event: true})
	}
	for _, v := range []float64{6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35} {
		obs = append(obs, survival.Observation{Time: v})
	}
	c, err := survival.KaplanMeier(obs)
	require.NoError(t, err)
	require.Equal(t, 21, c.N)
	require.Equal(t, 9, c.Events)
	for _, want := range []struct {
		t, s, se float64
		risk     int
	}{
		{6, 0.857, 0.0764, 21}, {7, 0.807, 0.0869, 17}, {10, 0.753, 0.0963, 15}, {13, 0.690, 0.1068, 12},
		{16, 0.627, 0.1141, 11}, {22, 0.538, 0.1282, 7}, {23, 0.448, 0.1346, 6},
	} {
		e := c.At(want.t)
		require.InDelta(t, want.s, e.Survival, 0.0006, "S(%v)", want.t)
		require.InDelta(t, want.se, e.StdErr, 0.00006, "SE(%v)", want.t)
		require.Equal(t, want.risk, e.AtRisk, "at risk at %v", want.t)
	}
	median, ok := c.Quantile(0.5)
	require.True(t, ok)
	require.Equal(t, 23.0, median)
	_, ok = c.Quantile(0.9)
	require.False(t, ok)
}

func TestKaplanMeier_Telco(t *testing.T) {
	t.Parallel()
	rows := telco(t)
	all := make([]survival.Observation, 0, len(rows))
	byContract := map[string][]survival.Observation{}
	for _, r := range rows {
		all = append(all, r.Observation)
		byContract[r.contract] = append(byContract[r.contract], r.Observation)
	}
	c, err := survival.KaplanMeier(all)
	require.NoError(t, err)
	require.Equal(t, 7043, c.N)
	require.Equal(t, 1869, c.Events)
	for _, want := range []struct{ t, s, se float64 }{
		{1, .945961, .002696}, {6, .884826, .003876}, {12, .843200, .004492}, {24, .788736, .005209},
		{36, .748545, .005744}, {48, .708840, .006321}, {60, .664404, .007125}, {72, .592790, .009919},
	} {
		e := c.At(want.t)
		require.InDelta(t, want.s, e.Survival, 5e-7, "S(%v)", want.t)
		require.InDelta(t, want.se, e.StdErr, 5e-7, "SE(%v)", want.t)
	}
	lo, hi, ok := c.Interval(12, 0.95, survival.Log)
	require.True(t, ok)
	require.InDelta(t, .834441, lo, 5e-7)
	require.InDelta(t, .852050, hi, 5e-7)
	for _, want := range []struct {
		contract string
		t, s     float64
	}{{"Month-to-month", 12, .703097}, {"One year", 12, .990808}, {"One year", 24, .978272}, {"Two year", 12, 1}} {
		c, err := survival.KaplanMeier(byContract[want.contract])
		require.NoError(t, err)
		require.InDelta(t, want.s, c.At(want.t).Survival, 5e-7, want.contract)
	}
}

func TestKaplanMeier_LeftTruncation(t *testing.T) {
	t.Parallel()
	c, err := survival.KaplanMeier([]survival.Observation{
		{Time: 2, Event: true}, {Time: 5, Event: true},
		{Entry: 3, Time: 6, Event: true}, {Entry: 5, Time: 8},
	})
	require.NoError(t, err)
	// At 2: two watched from the start. At 5: one of them and the one who came in
	// at 3; the one who came in at 5 is not yet at risk. At 6: two.
	require.Equal(t, 2, c.At(2).AtRisk)
	require.Equal(t, 2, c.At(5).AtRisk)
	require.Equal(t, 2, c.At(6).AtRisk)
	require.InDelta(t, 0.125, c.At(6).Survival, 1e-12)
}

func TestKaplanMeier_Edges(t *testing.T) {
	t.Parallel()
	_, err := survival.KaplanMeier(nil)
	require.Error(t, err)
	for _, bad := range []survival.Observation{
		{Time: -1}, {Time: math.NaN()}, {Time: math.Inf(1)}, {Time: 3, Entry: 3}, {Time: 3, Entry: -1},
	} {
		_, err := survival.KaplanMeier([]survival.Observation{{Time: 1}, bad})
		require.ErrorContains(t, err, "observation 1")
	}
	c, err := survival.KaplanMeier([]survival.Observation{{Time: 0}, {Time: 1, Event: true}, {Time: 2, Event: true}})
	require.NoError(t, err)
	require.Equal(t, 2, c.At(1).AtRisk, "a lifetime of zero is at no risk")
	require.InDelta(t, 0.5, c.At(1.5).Survival, 1e-12)
	require.Zero(t, c.At(2).Survival)
	_, _, ok := c.Interval(2, 0.95, survival.Log)
	require.False(t, ok)
	require.InDelta(t, 1.5, c.Restricted(10), 1e-12)
}

// Without censoring the estimate is the share of lifetimes that are longer.
func TestKaplanMeier_UncensoredIsEmpirical(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.IntRange(1, 30), 1, 60).Draw(t, "times")
		at := rapid.IntRange(0, 31).Draw(t, "at")
		var obs []survival.Observation
		longer := 0
		for _, v := range times {
			obs = append(obs, survival.Observation{Time: float64(v), Event: true})
			if v > at {
				longer++
			}
		}
		c, err := survival.KaplanMeier(obs)
		if err != nil {
			t.Fatal(err)
		}
		got, want := c.At(float64(at)).Survival, float64(longer)/float64(len(times))
		if math.Abs(got-want) > 1e-9 {
			t.Fatalf("S(%d) = %v, want %v", at, got, want)
		}
	})
}

// A later censoring never lowers the curve, and every interval holds its estimate.
func TestKaplanMeier_Properties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 50).Draw(t, "n")
		obs := make([]survival.Observation, n)
		for i := range obs {
			obs[i] = survival.Observation{
				Time:  float64(rapid.IntRange(0, 24).Draw(t, "time")),
				Event: rapid.Bool().Draw(t, "event"),
			}
		}
		c, err := survival.KaplanMeier(obs)
		if err != nil {
			t.Fatal(err)
		}
		prev, total := 1.0, 0
		for _, s := range c.Steps {
			total += s.Events + s.Censored
			if s.Survival > prev || s.Survival < 0 {
				t.Fatalf("not falling at %v", s.Time)
			}
			prev = s.Survival
			for _, tr := range []survival.Transform{survival.Log, survival.LogLog, survival.Plain} {
				lo, hi, ok := c.Interval(s.Time, 0.9, tr)
				if ok && (lo > s.Survival || hi < s.Survival || lo < 0 || hi > 1) {
					t.Fatalf("interval [%v, %v] around %v", lo, hi, s.Survival)
				}
			}
		}
		if total != n {
			t.Fatalf("%d of %d lifetimes appear in the steps", total, n)
		}
	})
}

type telcoRow struct {
	survival.Observation
	contract string
}

func telco(t *testing.T) []telcoRow {
	t.Helper()
	f, err := os.Open(sharedData(t, "telco_churn.csv"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	records, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	col := map[string]int{}
	for i, name := range records[0] {
		col[name] = i
	}
	var out []telcoRow
	for _, r := range records[1:] {
		tenure, err := strconv.ParseFloat(r[col["tenure"]], 64)
		require.NoError(t, err)
		out = append(out, telcoRow{survival.Observation{Time: tenure, Event: r[col["churn"]] == "Yes"}, r[col["contract"]]})
	}
	return out
}

// sharedData finds a file of the shared data folder, or skips.
func sharedData(t *testing.T, name string) string {
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
