package billing_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/sqlwarehouse"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/demodata/billing"
)

var today = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)

func TestGenerate(t *testing.T) {
	t.Parallel()
	a, err := json.Marshal(billing.Generate(1, today))
	require.NoError(t, err)
	b, err := json.Marshal(billing.Generate(1, today.Add(5*time.Hour)))
	require.NoError(t, err)
	require.True(t, slices.Equal(a, b), "the same seed and day give the same business")
	c, err := json.Marshal(billing.Generate(2, today))
	require.NoError(t, err)
	require.False(t, slices.Equal(a, c))

	for _, day := range []time.Time{today, time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 1, 0, 0, 0, time.UTC)} {
		d := billing.Generate(1, day)
		require.GreaterOrEqual(t, len(d.Tenants), 180)
		require.LessOrEqual(t, len(d.Facts), 60_000)
		countries, currencies, notes := map[string]int{}, map[string]int{}, map[string]int{}
		ids := map[string]bool{}
		for _, v := range d.Tenants {
			countries[v.Country]++
			currencies[v.Currency]++
			notes[v.Note]++
			ids[v.ID], ids[v.Domain] = true, true
			require.False(t, v.LastActivity.After(day), v.ID)
			if v.Status != governance.TenantClosed {
				require.True(t, v.RenewalAt.After(day.AddDate(0, 0, -1)), "%s %s renews %s", v.ID, v.Status, v.RenewalAt)
			}
		}
		require.Len(t, ids, 2*len(d.Tenants), "ids and domains are unique")
		require.Len(t, countries, 9)
		require.Len(t, currencies, 3)
		require.GreaterOrEqual(t, notes["idle"], 5)
		require.GreaterOrEqual(t, notes["overdue"], 5)
		require.GreaterOrEqual(t, notes["trial"], 5)
		var subscriptions, rates []analytics.Fact
		for _, f := range d.Facts {
			f.Day = analytics.DayOf(f.At, time.UTC)
			switch f.Kind {
			case analytics.KindSubscription:
				subscriptions = append(subscriptions, f)
			case analytics.KindRate:
				rates = append(rates, f)
			}
		}
		m, err := analytics.Build("EUR", analytics.DayOf(day, time.UTC)-1, subscriptions, rates)
		require.NoError(t, err)
		sum := map[analytics.Line]int64{}
		for _, r := range m.Months {
			require.True(t, r.Closes())
			for _, l := range analytics.MovementLines() {
				sum[l] += r.Line(l)
			}
		}
		for _, l := range analytics.MovementLines() {
			require.NotZero(t, sum[l], "%s happens, on %s", l, day.Format(time.DateOnly))
		}
		keys := map[string]bool{}
		for _, f := range d.Facts {
			require.False(t, keys[f.Source+f.Key], f.Key)
			keys[f.Source+f.Key] = true
		}
	}
}

func TestGenerate_AddsUp(t *testing.T) {
	t.Parallel()
	govtest.Each(t, &govtest.Options{Start: today, Schemas: []govdb.Schema{analytics.Schema(), sqlwarehouse.Schema()}}, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		svc, err := analytics.New(e.Kernel, sqlwarehouse.New(e.DB), nil)
		require.NoError(t, err)
		e.People.Put("ops", "root")
		d := billing.Generate(1, today)
		require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			for _, v := range d.Tenants {
				if _, err := e.Kernel.UpsertTenantTx(ctx, tx, e.As("ops"), governance.Tenant{ID: governance.TenantID(v.ID), Name: v.Name, Country: v.Country, Region: v.Region,
					Status: v.Status, Plan: v.Plan, Seats: v.Seats, RenewalAt: v.RenewalAt, ActiveAt: v.LastActivity, ExternalKeys: map[string][]string{"domain": {v.Domain}}}); err != nil {
					return err
				}
			}
			return nil
		}))
		began := time.Now()
		for part := range slices.Chunk(d.Facts, 5000) {
			got, err := svc.Ingest(ctx, e.As("ops"), part, &analytics.IngestOptions{Format: "demo"})
			require.NoError(t, err)
			require.Equal(t, len(part), got.Added)
		}
		t.Logf("%d facts taken in %s", len(d.Facts), time.Since(began).Round(time.Millisecond))
		began = time.Now()
		r, err := svc.Refresh(ctx, e.As("ops"), "demo")
		require.NoError(t, err)
		for _, v := range r.Tests {
			require.True(t, v.OK, "%s: %s", v.Name, v.Detail)
		}
		t.Logf("refreshed in %s", time.Since(began).Round(time.Millisecond))
		f, err := svc.Figures(ctx)
		require.NoError(t, err)
		require.Equal(t, "2026-01-14", f.Through.String())
		require.GreaterOrEqual(t, len(f.Months()), 36)
		sum := map[analytics.Line]int64{}
		for _, m := range f.Months()[2:] {
			for _, l := range analytics.MovementLines() {
				sum[l] += m.Line(l)
			}
			t.Logf("%s new %8d exp %8d con %8d churn %9d react %7d fx %8d close %9d logos %d", m.Month, m.New, m.Expansion, m.Contraction, m.Churn, m.Reactivation, m.FX, m.Closing, m.Logos.Closing)
		}
		for _, l := range analytics.MovementLines() {
			require.NotZero(t, sum[l], "%s happens", l)
		}
		s := f.Summary()
		require.NotNil(t, s.NRR)
		require.NotNil(t, s.GRR)
		t.Logf("MRR %s, NRR %d, GRR %d, %d customers", s.MRR, *s.NRR, *s.GRR, s.Logos)
		fc, err := f.Forecast(ctx)
		require.NoError(t, err)
		require.Len(t, fc.Points, 12)
		t.Logf("forecast by %s (%s), %+v", fc.Method, fc.Fit, fc.Backtest.Scores[0])
		all, err := svc.AllSignals(ctx)
		require.NoError(t, err)
		quiet, unpaid := 0, 0
		for i, v := range all {
			require.NotEmpty(t, v.Values, "%d", i)
			if i%20 == 0 {
				n, err := svc.Signals(ctx, v.Tenant)
				require.NoError(t, err)
				require.Equal(t, v.Values["active_users_30d"], n.Values["active_users_30d"])
			}
			if v.Values["active_users_trend_pct"].Value < -50 && v.Values["mrr"].Value > 0 {
				quiet++
			}
			if v.Values["overdue_days"].Value > 15 {
				unpaid++
			}
		}
		began = time.Now()
		_, err = svc.Signals(ctx, all[0].Tenant)
		require.NoError(t, err)
		t.Logf("%d quiet, %d overdue; signals of one tenant in %s", quiet, unpaid, time.Since(began).Round(time.Microsecond))
		require.GreaterOrEqual(t, quiet, 5)
		require.GreaterOrEqual(t, unpaid, 5)
	})
}
