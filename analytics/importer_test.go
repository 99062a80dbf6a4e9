package analytics_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/sharedtest"
)

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(sharedtest.Path(t, name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestImportTelco(t *testing.T) {
	t.Parallel()
	facts, err := analytics.ImportTelco(open(t, "telco_churn.csv"), analytics.Date(2025, 6, 1), "USD")
	require.NoError(t, err)
	require.Len(t, facts, 7043+1869+1)
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) {
		b := newBed(t, e, nil, &analytics.Options{Reporting: "USD"})
		b.ingest(t, facts...)
		f := b.published(t)
		require.Equal(t, "2025-06-01", f.Through.String())
		require.Equal(t, 7043-1869, f.Summary().Logos)
		require.EqualValues(t, 31_698_575, f.Summary().MRR.Minor, "sum of the monthly charges of those who stayed")
		s, err := f.Survival(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, []int{7043, 1869}, []int{s.Subscriptions, s.Ended})
		for _, want := range []struct {
			month int
			s     float64
		}{{1, .945961}, {6, .884826}, {12, .843200}, {24, .788736}, {36, .748545}, {48, .708840}, {60, .664404}, {72, .592790}} {
			require.InDelta(t, want.s, s.Points[want.month].Survival, 5e-7, "month %d", want.month)
		}
		s, err = f.Survival(t.Context(), "Month-to-month")
		require.NoError(t, err)
		require.InDelta(t, .703097, s.Points[12].Survival, 5e-7)
	})
}

func TestImportCDNow(t *testing.T) {
	t.Parallel()
	facts, err := analytics.ImportCDNow(open(t, "cdnow_master.txt"))
	require.NoError(t, err)
	require.Len(t, facts, 69_659+1)
	b := newBed(t, govtest.New(t, schemas), nil, nil)
	for part := range slices.Chunk(facts, 10_000) {
		b.ingest(t, part...)
	}
	f := b.published(t)
	revenue, err := f.Revenue(t.Context())
	require.NoError(t, err)
	require.Len(t, revenue, 18)
	var minor int64
	n := 0
	for _, r := range revenue {
		minor, n = minor+r.Amount, n+r.Facts
	}
	require.Equal(t, 69_659, n)
	require.EqualValues(t, 250_031_563, minor)
	cohorts, err := f.Cohorts(t.Context(), analytics.ByPurchase)
	require.NoError(t, err)
	buyers := map[string]int{}
	repeat := map[string]int{}
	for _, c := range cohorts {
		switch c.Age {
		case 0:
			buyers[c.Cohort.String()] = c.Logos
			require.Equal(t, c.Size, c.Logos)
		case 1:
			repeat[c.Cohort.String()] = c.Logos
		}
	}
	require.Equal(t, map[string]int{"1997-01": 7846, "1997-02": 8476, "1997-03": 7248}, buyers, "all 23,570 bought first in the first quarter")
	require.Len(t, repeat, 3)
	for c, r := range repeat {
		require.Less(t, r, buyers[c]/4, c)
		require.Greater(t, r, buyers[c]/10, c)
	}
}

func TestImport_Refusals(t *testing.T) {
	t.Parallel()
	const head = "churn,tenure,contract,monthly_charges\n"
	for text, want := range map[string]string{
		"churn,tenure\n":                "row 1, column contract",
		head + "No,x,Two year,1.00\n":   "row 2, column tenure",
		head + "Maybe,1,Two year,1.0\n": "row 2, column churn",
		head + "No,1,Two year,1.005\n":  "row 2, column monthly_charges",
	} {
		_, err := analytics.ImportTelco(strings.NewReader(text), analytics.Date(2025, 6, 1), "USD")
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.Equal(t, want, invalid.Field)
	}
	for text, want := range map[string]string{" 00001 19970101 1\n": "row 1", " 00001 1997-01-01 1 1.00\n": "row 1, column date"} {
		_, err := analytics.ImportCDNow(strings.NewReader(text))
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.Equal(t, want, invalid.Field)
	}
}
