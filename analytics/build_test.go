package analytics_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/warehousetest"
	"github.com/reevehq/reeve/governance"
)

// naive is the MRR of each tenant at the end of a day, by the rates of a month: a
// loop over all facts, which shares nothing with segments and movements.
func naive(t require.TestingT, facts, rates []analytics.Fact, on analytics.Day, month analytics.Month) map[governance.TenantID]int64 {
	type sub struct {
		tenant governance.TenantID
		name   string
	}
	latest := map[sub]analytics.Fact{}
	for _, f := range facts {
		if f.Day > on {
			continue
		}
		k := sub{f.Tenant, f.Subscription}
		old, ok := latest[k]
		if !ok || cmp.Or(f.At.Compare(old.At), cmp.Compare(f.Sequence, old.Sequence), f.RecordedAt.Compare(old.RecordedAt), slices.Compare(f.ID[:], old.ID[:])) > 0 {
			latest[k] = f
		}
	}
	out := map[governance.TenantID]int64{}
	for k, f := range latest {
		if f.Cancelled || f.Amount == 0 {
			continue
		}
		v := f.Amount
		if f.Currency != "EUR" {
			var best *analytics.Fact
			for _, r := range rates {
				if r.Currency == f.Currency && r.Day <= month.First() && (best == nil || r.Day > best.Day) {
					best = &r
				}
			}
			if best == nil {
				for _, r := range rates {
					if r.Currency == f.Currency && r.Day <= month.Last() && (best == nil || r.Day < best.Day) {
						best = &r
					}
				}
			}
			require.NotNil(t, best)
			var err error
			v, err = analytics.Convert(f.Money(), best.Rate, "EUR")
			require.NoError(t, err)
		}
		out[k.tenant] += v
	}
	return out
}

func TestBuild_RollForward(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first := analytics.Date(2024, 1, 1) + analytics.Day(rapid.IntRange(0, 40).Draw(t, "first"))
		last := first + analytics.Day(rapid.IntRange(1, 500).Draw(t, "days"))
		facts, rates := warehousetest.Facts(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), 6, first, last)
		m, err := analytics.Build("EUR", last, facts, rates)
		require.NoError(t, err)
		tenants := map[governance.TenantID]int64{}
		seen := map[governance.TenantID]bool{}
		byMonth := map[analytics.Month][]analytics.Movement{}
		for _, v := range m.Movements {
			byMonth[v.Day.Month()] = append(byMonth[v.Day.Month()], v)
			require.Equal(t, v.ValueAfter-v.ValueBefore, v.Delta)
		}
		opening := int64(0)
		for _, r := range m.Months {
			require.Equal(t, opening, r.Opening, "%s opens with what the month before closed with", r.Month)
			require.True(t, r.Closes(), "%s", r.Month)
			for _, v := range byMonth[r.Month] {
				tenants[v.Tenant] += v.Delta
				seen[v.Tenant] = true
			}
			want := naive(t, facts, rates, min(r.Month.Last(), last), r.Month)
			total := int64(0)
			for tenant := range seen {
				require.Equal(t, want[tenant], tenants[tenant], "%s in %s", tenant, r.Month)
				total += tenants[tenant]
			}
			require.Equal(t, total, r.Closing)
			require.GreaterOrEqual(t, r.Closing, int64(0))
			require.GreaterOrEqual(t, r.New, int64(0))
			require.LessOrEqual(t, r.Churn, int64(0))
			if ret := r.Retention; ret != nil && ret.Start > 0 {
				grr, _ := ret.GRR()
				nrr, _ := ret.NRR()
				require.LessOrEqual(t, grr, int64(10_000))
				require.LessOrEqual(t, grr, nrr)
				require.LessOrEqual(t, ret.Stayed, ret.Logos)
			}
			opening = r.Closing
		}
		sizes := map[analytics.Month]int{}
		for _, c := range m.Cohorts {
			sizes[c.Cohort] = c.Size
			require.LessOrEqual(t, c.Logos, c.Size)
		}
		for _, r := range m.Months {
			if r.Complete {
				require.Equal(t, r.Logos.New, sizes[r.Month], "a cohort is the new tenants of its month")
			}
		}
	})
}

// history is a small builder of facts.
type history struct {
	facts, rates []analytics.Fact
	n            byte
}

func (h *history) sub(tenant, sub, day string, minor int64, currency string) {
	d, err := analytics.ParseDay(day)
	if err != nil {
		panic(err)
	}
	h.n++
	h.facts = append(h.facts, analytics.Fact{ID: uuid.UUID{h.n}, Kind: analytics.KindSubscription, Tenant: governance.TenantID(tenant), Subscription: sub, Amount: minor,
		Currency: currency, Cancelled: minor == 0, Day: d, At: d.Start(time.UTC), Sequence: int64(h.n)})
}

func (h *history) rate(currency, day string, micro int64) {
	d, err := analytics.ParseDay(day)
	if err != nil {
		panic(err)
	}
	h.rates = append(h.rates, analytics.Fact{Kind: analytics.KindRate, Currency: currency, Rate: micro, Day: d, At: d.Start(time.UTC)})
}

func (h *history) build(t *testing.T, through string) map[string]analytics.MonthRow {
	t.Helper()
	d, err := analytics.ParseDay(through)
	require.NoError(t, err)
	m, err := analytics.Build("EUR", d, h.facts, h.rates)
	require.NoError(t, err)
	out := map[string]analytics.MonthRow{}
	for _, r := range m.Months {
		out[r.Month.String()] = r
	}
	return out
}

func TestBuild_Lines(t *testing.T) {
	t.Parallel()
	t.Run("the life of one customer", func(t *testing.T) {
		t.Parallel()
		// Four yearly seats make 166.67 a month; two more monthly seats are expansion and
		// ending them contraction, because the customer stays; the end of all is churn,
		// the return reactivation.
		var h history
		require.EqualValues(t, 16667, analytics.Monthly(200_000, 12))
		h.sub("syn", "gold", "2025-01-10", 16667, "EUR")
		h.sub("syn", "silver", "2025-02-10", 6000, "EUR")
		h.sub("syn", "silver", "2025-03-10", 0, "EUR")
		h.sub("syn", "gold", "2025-04-10", 0, "EUR")
		h.sub("syn", "gold", "2025-06-10", 15000, "EUR")
		m := h.build(t, "2025-06-30")
		require.Equal(t, analytics.RollForward{New: 16667, Closing: 16667}, m["2025-01"].RollForward)
		require.Equal(t, analytics.RollForward{Opening: 16667, Expansion: 6000, Closing: 22667}, m["2025-02"].RollForward)
		require.Equal(t, analytics.RollForward{Opening: 22667, Contraction: -6000, Closing: 16667}, m["2025-03"].RollForward)
		require.Equal(t, analytics.RollForward{Opening: 16667, Churn: -16667}, m["2025-04"].RollForward)
		require.Equal(t, analytics.RollForward{}, m["2025-05"].RollForward)
		require.Equal(t, analytics.RollForward{Reactivation: 15000, Closing: 15000}, m["2025-06"].RollForward)
		require.Equal(t, analytics.Logos{Opening: 0, Reactivated: 1, Closing: 1}, m["2025-06"].Logos)
	})
	t.Run("a new rate is currency and no expansion", func(t *testing.T) {
		t.Parallel()
		var h history
		h.rate("USD", "2025-01-01", 900_000)
		h.rate("USD", "2025-01-20", 950_000) // not the rate of January
		h.rate("USD", "2025-03-01", 900_000)
		h.sub("a", "s", "2025-01-10", 10_000, "USD")
		h.sub("a", "s", "2025-02-01", 12_000, "USD") // on the day of the new rate
		m := h.build(t, "2025-03-31")
		require.Equal(t, analytics.RollForward{New: 9000, Closing: 9000}, m["2025-01"].RollForward)
		require.Equal(t, analytics.RollForward{Opening: 9000, FX: 500, Expansion: 1900, Closing: 11_400}, m["2025-02"].RollForward)
		require.Equal(t, analytics.RollForward{Opening: 11_400, FX: -600, Closing: 10_800}, m["2025-03"].RollForward)
	})
	t.Run("cancel and create on one day is one change", func(t *testing.T) {
		t.Parallel()
		var h history
		h.sub("a", "old", "2025-01-10", 10_000, "EUR")
		h.sub("a", "old", "2025-02-10", 0, "EUR")
		h.sub("a", "new", "2025-02-10", 12_000, "EUR")
		h.sub("a", "new", "2025-03-10", 0, "EUR")
		h.sub("a", "third", "2025-03-10", 12_000, "EUR")
		m := h.build(t, "2025-03-31")
		require.Equal(t, analytics.RollForward{Opening: 10_000, Expansion: 2000, Closing: 12_000}, m["2025-02"].RollForward)
		require.Equal(t, analytics.RollForward{Opening: 12_000, Closing: 12_000}, m["2025-03"].RollForward)
		require.Zero(t, m["2025-02"].Logos.Churned+m["2025-02"].Logos.New)
	})
	t.Run("begin and end in one month counts in both", func(t *testing.T) {
		t.Parallel()
		var h history
		h.sub("a", "s", "2025-01-10", 10_000, "EUR")
		h.sub("a", "s", "2025-01-20", 0, "EUR")
		m := h.build(t, "2025-01-31")
		require.Equal(t, analytics.RollForward{New: 10_000, Churn: -10_000}, m["2025-01"].RollForward)
		require.Equal(t, analytics.Logos{New: 1, Churned: 1}, m["2025-01"].Logos)
	})
	t.Run("a change on one day that is undone is none", func(t *testing.T) {
		t.Parallel()
		var h history
		h.sub("a", "s", "2025-01-10", 10_000, "EUR")
		h.sub("a", "s", "2025-02-20", 0, "EUR")
		h.sub("a", "s", "2025-02-20", 10_000, "EUR")
		m := h.build(t, "2025-02-28")
		require.Equal(t, analytics.RollForward{Opening: 10_000, Closing: 10_000}, m["2025-02"].RollForward)
	})
	t.Run("a trial is no customer until it pays", func(t *testing.T) {
		t.Parallel()
		var h history
		h.sub("a", "s", "2025-01-10", 0, "EUR")
		h.facts[0].Cancelled = false
		h.sub("a", "s", "2025-02-10", 5000, "EUR")
		m := h.build(t, "2025-02-28")
		require.NotContains(t, m, "2025-01")
		require.Equal(t, analytics.RollForward{New: 5000, Closing: 5000}, m["2025-02"].RollForward)
	})
	t.Run("retention", func(t *testing.T) {
		t.Parallel()
		var h history
		h.rate("USD", "2024-12-01", 1_000_000)
		h.rate("USD", "2025-12-01", 500_000)
		h.sub("up", "s", "2024-12-01", 10_000, "EUR")
		h.sub("up", "s", "2025-05-01", 15_000, "EUR")
		h.sub("down", "s", "2024-12-01", 10_000, "EUR")
		h.sub("down", "s", "2025-05-01", 4000, "EUR")
		h.sub("gone", "s", "2024-12-01", 10_000, "EUR")
		h.sub("gone", "s", "2025-05-01", 0, "EUR")
		h.sub("back", "s", "2024-12-01", 10_000, "EUR")
		h.sub("back", "s", "2025-05-01", 0, "EUR")
		h.sub("back", "s", "2025-06-01", 10_000, "EUR")
		h.sub("dollar", "s", "2024-12-01", 20_000, "USD") // the same all year: currencies play no part
		h.sub("new", "s", "2025-03-01", 99_000, "EUR")
		r := h.build(t, "2025-12-31")["2025-12"].Retention
		require.Equal(t, &analytics.Retention{Start: 50_000, Now: 29_000, Kept: 24_000, Logos: 5, Stayed: 3}, r)
		nrr, ok := r.NRR()
		require.True(t, ok)
		require.EqualValues(t, 5800, nrr)
		grr, _ := r.GRR()
		require.EqualValues(t, 4800, grr)
	})
}

func TestRetention_Ratios(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ now, start, want int64 }{{29, 50, 5800}, {1, 3, 3333}, {2, 3, 6666}, {90_071_992_547_409_93, 90_071_992_547_409_93, 10_000}, {1 << 60, 1<<60 + 1, 9999}} {
		v, ok := (&analytics.Retention{Start: c.start, Now: c.now}).NRR()
		require.True(t, ok)
		require.Equal(t, c.want, v, "%d of %d", c.now, c.start)
	}
	var none *analytics.Retention
	_, ok := none.NRR()
	require.False(t, ok)
	_, ok = (&analytics.Retention{}).GRR()
	require.False(t, ok, "nothing divided by nothing")
}

func TestConvert(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		minor    int64
		from, to string
		micro    int64
		want     int64
	}{
		{100, "USD", "EUR", 925_000, 92},              // 92.5 to even
		{300, "USD", "EUR", 925_000, 278},             // 277.5 to even
		{-100, "USD", "EUR", 925_000, -92},            // the same with a sign
		{1000, "JPY", "EUR", 6_150, 615},              // no decimals to two: 6.15
		{1000, "EUR", "JPY", 162_000_000, 1620},       // and back
		{1_000_000, "KWD", "EUR", 3_000_000, 300_000}, // three decimals
		{10_000_000_000_000, "USD", "EUR", 10_000_000_000, 100_000_000_000_000_000},
	} {
		got, err := analytics.Convert(governance.Money{Minor: c.minor, Currency: c.from}, c.micro, c.to)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%d %s at %d", c.minor, c.from, c.micro)
	}
	_, err := analytics.Convert(governance.Money{Minor: 1 << 62, Currency: "JPY"}, 10_000_000_000, "EUR")
	require.Error(t, err)
	_, err = analytics.Convert(governance.Money{Minor: 1, Currency: "JPY"}, 0, "EUR")
	require.Error(t, err)
}

func TestParseRate(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{"0.92": 920_000, "1": 1_000_000, "162.000001": 162_000_001} {
		got, err := analytics.ParseRate(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", ".5", "1.", "-1", "+1", "1e3", "0.1234567", "1.2.3", "1_0", "123456789"} {
		_, err := analytics.ParseRate(s)
		require.Error(t, err, "%q", s)
	}
}
