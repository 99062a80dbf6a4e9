// Package warehousetest proves that a warehouse keeps and sums the marts of
// analytics as the [analytics.Warehouse] contract says.
//
// Start with [Run] in a test of the warehouse.
package warehousetest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
)

// Facts draws a history of subscriptions and rates: several currencies, several
// subscriptions for a tenant, changes on one day, cancellations and returns,
// changes of currency. It is the same for the same r.
func Facts(r *rand.Rand, tenants int, first, last analytics.Day) (subscriptions, rates []analytics.Fact) {
	currencies := []string{"EUR", "USD", "GBP", "JPY"}
	base := map[string]int64{"USD": 920_000, "GBP": 1_170_000, "JPY": 6_100}
	at := func(d analytics.Day, hour int) time.Time {
		return d.Start(time.UTC).Add(time.Duration(hour) * time.Hour)
	}
	for _, c := range currencies[1:] {
		for d := first; d <= last; d += analytics.Day(3 + r.IntN(20)) {
			rates = append(rates, analytics.Fact{ID: id(r), Source: "rates", Key: c + d.String(), Kind: analytics.KindRate, Currency: c, Day: d, At: at(d, 0),
				Rate: base[c] * (900 + r.Int64N(200)) / 1000})
		}
	}
	for t := range tenants {
		tenant := governance.TenantID(fmt.Sprintf("tenant-%03d", t))
		currency := currencies[r.IntN(len(currencies))]
		for sub := range 1 + r.IntN(3) {
			name := fmt.Sprintf("%s/%d", tenant, sub)
			d := first + analytics.Day(r.IntN(int(last-first)))
			for n := 0; d <= last; n++ {
				f := analytics.Fact{ID: id(r), Source: "billing", Key: fmt.Sprintf("%s/%d", name, n), Kind: analytics.KindSubscription, Tenant: tenant, Subscription: name,
					Plan: []string{"team", "business"}[r.IntN(2)], Quantity: 1 + r.Int64N(50), Amount: r.Int64N(50_000), Currency: currency, Day: d, At: at(d, r.IntN(24)), Sequence: int64(n)}
				switch r.IntN(8) {
				case 0:
					f.Cancelled, f.Quantity, f.Amount = true, 0, 0
				case 1:
					f.Amount = 0
				case 2:
					currency = currencies[r.IntN(len(currencies))]
				}
				subscriptions = append(subscriptions, f)
				if r.IntN(5) > 0 { // else several on one day
					d += analytics.Day(1 + r.IntN(120))
				}
			}
		}
	}
	return subscriptions, rates
}

func id(r *rand.Rand) uuid.UUID {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return uuid.UUID(b)
}

// Marts builds a generation of random facts, with something in every mart.
func Marts(t testing.TB, seed uint64) *analytics.Marts {
	t.Helper()
	first, last := analytics.Date(2023, 11, 20), analytics.Date(2026, 1, 14)
	subscriptions, rates := Facts(rand.New(rand.NewPCG(seed, 7)), 40, first, last)
	m, err := analytics.Build("EUR", last, subscriptions, rates)
	require.NoError(t, err)
	m.Revenue = []analytics.RevenueRow{
		{Month: 24300, Kind: analytics.KindInvoice, Currency: "EUR", Amount: 1000, Facts: 3, Tenants: 2},
		{Month: 24301, Kind: analytics.KindInvoice, Currency: "EUR", Amount: -250, Facts: 1, Tenants: 1},
		{Month: 24301, Kind: analytics.KindPurchase, Currency: "USD", Amount: 999, Facts: 1, Tenants: 1},
	}
	m.Usage = []analytics.UsageRow{
		{Tenant: "tenant-001", Metric: "active_users", Month: 24300, Quantity: 12, Facts: 4},
		{Tenant: "tenant-001", Metric: "active_users", Month: 24301, Quantity: 30, Facts: 4},
		{Tenant: "tenant-002", Metric: "active_users", Month: 24301, Quantity: 5, Facts: 1},
	}
	m.Forecast, err = analytics.NewForecast(m.Months)
	require.NoError(t, err)
	return m
}

// Run proves the warehouse that newWarehouse makes, empty, for each test.
func Run(t *testing.T, newWarehouse func(t *testing.T) analytics.Warehouse) {
	t.Helper()
	t.Run("keeps what it is given", func(t *testing.T) {
		t.Parallel()
		w, ctx, m := newWarehouse(t), t.Context(), Marts(t, 1)
		require.NoError(t, w.Load(ctx, 1, Marts(t, 2)))
		require.NoError(t, w.Load(ctx, 1, m), "a generation is replaced as a whole")
		require.NoError(t, w.Load(ctx, 2, Marts(t, 3)), "another one is beside it")

		months, err := w.Months(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, m.Months, months)
		segments, err := w.Segments(ctx, 1, analytics.SegmentFilter{})
		require.NoError(t, err)
		require.Equal(t, m.Segments, segments)
		movements, err := w.Movements(ctx, 1, analytics.MovementFilter{To: m.Through})
		require.NoError(t, err)
		require.Equal(t, m.Movements, movements)
		rates, err := w.Rates(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, m.Rates, rates)
		cohorts, err := w.Cohorts(ctx, 1, analytics.BySubscription)
		require.NoError(t, err)
		require.Equal(t, m.Cohorts, cohorts)
		revenue, err := w.Revenue(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, m.Revenue, revenue)
		usage, err := w.Usage(ctx, 1, "tenant-001")
		require.NoError(t, err)
		require.Equal(t, m.Usage[:2], usage)
		f, err := w.Forecast(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, m.Forecast, f)
		f, err = w.Forecast(ctx, 9)
		require.NoError(t, err)
		require.Nil(t, f)
	})

	t.Run("sums as Go does", func(t *testing.T) {
		t.Parallel()
		w, ctx, m := newWarehouse(t), t.Context(), Marts(t, 4)
		require.NoError(t, w.Load(ctx, 1, m))
		sums, err := w.Check(ctx, 1)
		require.NoError(t, err)
		byMonth := map[analytics.Month]analytics.RollForward{}
		for _, s := range sums.Months {
			r := byMonth[s.Month]
			r.Add(s.Line, s.Sum)
			byMonth[s.Month] = r
		}
		closing := int64(0)
		for _, r := range m.Months {
			require.True(t, r.Closes(), "%s", r.Month)
			for _, l := range analytics.MovementLines() {
				require.Equal(t, r.Line(l), byMonth[r.Month].Line(l), "%s %s", r.Month, l)
			}
			closing = r.Closing
		}
		require.Equal(t, closing, sums.Tenants)
		facts := 0
		for _, s := range m.Segments {
			facts += len(s.Facts)
		}
		require.Equal(t, []int{0, 0, 0, facts, len(m.Segments)}, []int{sums.Below, sums.Gaps, sums.Negative, sums.Facts, sums.Segments})
		require.Equal(t, []analytics.RevenueRow{{Kind: analytics.KindInvoice, Currency: "EUR", Amount: 750, Facts: 4}, {Kind: analytics.KindPurchase, Currency: "USD", Amount: 999, Facts: 1}}, sums.Revenue)
		require.Equal(t, []analytics.UsageRow{{Metric: "active_users", Quantity: 47, Facts: 9}}, sums.Usage)

		m.Segments[0].To--
		m.Movements[0].Delta -= 1 << 40
		require.NoError(t, w.Load(ctx, 2, m))
		sums, err = w.Check(ctx, 2)
		require.NoError(t, err)
		require.Equal(t, 1, sums.Gaps, "a gap is seen")
		require.Equal(t, 1, sums.Below, "a tenant below zero is seen")
	})

	t.Run("selects", func(t *testing.T) {
		t.Parallel()
		w, ctx, m := newWarehouse(t), t.Context(), Marts(t, 5)
		require.NoError(t, w.Load(ctx, 1, m))
		f := analytics.MovementFilter{Line: analytics.LineExpansion, From: analytics.Date(2024, 2, 1), To: analytics.Date(2025, 9, 30), Limit: 7}
		var want, got []analytics.Movement
		for _, v := range m.Movements {
			if v.Line == f.Line && v.Day >= f.From && v.Day <= f.To {
				want = append(want, v)
			}
		}
		for {
			page, err := w.Movements(ctx, 1, f)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			f.After = &page[len(page)-1]
		}
		require.Equal(t, want, got)
		f.Limit, f.After = 0, nil
		tenants, err := w.MovementsByTenant(ctx, 1, f)
		require.NoError(t, err)
		sum, rows := int64(0), 0
		for _, v := range tenants {
			sum, rows = sum+v.Amount, rows+v.Rows
		}
		for _, v := range want {
			sum -= v.Delta
		}
		require.Zero(t, sum)
		require.Equal(t, len(want), rows)

		on := analytics.Date(2025, 6, 30)
		var standing []analytics.Segment
		for _, s := range m.Segments {
			if s.From <= on && on < s.To && s.MRR.Minor > 0 {
				standing = append(standing, s)
			}
		}
		segments, err := w.Segments(ctx, 1, analytics.SegmentFilter{On: &on, Paid: true})
		require.NoError(t, err)
		require.Equal(t, standing, segments)

		days, err := w.Days(ctx, 1, analytics.Date(2025, 3, 1), analytics.Date(2025, 3, 31))
		require.NoError(t, err)
		require.Len(t, days, 31)
		for _, r := range m.Months {
			if r.Month == analytics.MonthOf(2025, 3) {
				total := analytics.RollForward{Opening: days[0].Opening, Closing: days[0].Opening}
				for _, d := range days {
					require.True(t, d.Closes())
					for _, l := range analytics.MovementLines() {
						total.Add(l, d.Line(l))
					}
				}
				require.Equal(t, r.RollForward, total, "days make the month")
			}
		}
	})

	t.Run("prunes", func(t *testing.T) {
		t.Parallel()
		w, ctx := newWarehouse(t), t.Context()
		for gen := int64(1); gen <= 4; gen++ {
			require.NoError(t, w.Load(ctx, gen, Marts(t, 6)))
		}
		require.NoError(t, w.Prune(ctx, 2, 4))
		for gen, kept := range map[int64]bool{1: false, 2: true, 3: true, 4: false} {
			months, err := w.Months(ctx, gen)
			require.NoError(t, err)
			require.Equal(t, kept, len(months) > 0, "generation %d", gen)
		}
	})
}
