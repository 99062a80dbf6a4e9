package analytics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/sqlwarehouse"
	"github.com/reevehq/reeve/analytics/warehousetest"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
)

// bed is a service on a database.
type bed struct {
	*govtest.Env
	svc *analytics.Service
	id  governance.Identity
}

var schemas = &govtest.Options{Schemas: []govdb.Schema{analytics.Schema(), sqlwarehouse.Schema()}}

func newBed(t *testing.T, e *govtest.Env, w analytics.Warehouse, opts *analytics.Options) bed {
	t.Helper()
	if w == nil {
		w = sqlwarehouse.New(e.DB)
	}
	svc, err := analytics.New(e.Kernel, w, opts)
	require.NoError(t, err)
	e.People.Put("fin", "finance")
	e.People.Put("ops", "ops")
	e.People.Allow("finance", "analytics:read")
	e.People.Allow("ops", "analytics:read", "analytics:write")
	return bed{e, svc, e.As("ops")}
}

func (b bed) ingest(t *testing.T, facts ...analytics.Fact) analytics.Ingested {
	t.Helper()
	got, err := b.svc.Ingest(t.Context(), b.id, facts, nil)
	require.NoError(t, err)
	return got
}

func (b bed) refresh(t *testing.T) analytics.Refresh {
	t.Helper()
	r, err := b.svc.Refresh(t.Context(), governance.System("test"), "")
	require.NoError(t, err)
	return r
}

func (b bed) published(t *testing.T) *analytics.Figures {
	t.Helper()
	r := b.refresh(t)
	for _, v := range r.Tests {
		require.True(t, v.OK, "%s: %s", v.Name, v.Detail)
	}
	require.Equal(t, analytics.RefreshPublished, r.State)
	f, err := b.svc.Figures(t.Context())
	require.NoError(t, err)
	require.Equal(t, r.Generation, f.Generation)
	return f
}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func sub(tenant, name, on string, minor int64) analytics.Fact {
	return analytics.Fact{Source: "billing", Key: name + "@" + on, Kind: analytics.KindSubscription, Tenant: governance.TenantID(tenant), Subscription: name, Plan: "team",
		Quantity: 5, Amount: minor, Currency: "EUR", At: day(on)}
}

func watermark(on string) analytics.Fact {
	return analytics.Fact{Source: "billing", Key: "through", Kind: analytics.KindWatermark, At: day(on)}
}

// TestService_Property sends a random history in random batches, out of order, with
// corrections and facts taken back, and compares what is published with a model in
// memory; then it walks every cell down.
func TestService_Property(t *testing.T) {
	t.Parallel()
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) {
		b := newBed(t, e, nil, nil)
		r := rand.New(rand.NewPCG(11, 3))
		first, last := analytics.Date(2024, 9, 10), analytics.Date(2026, 1, 14)
		subscriptions, rates := warehousetest.Facts(r, 12, first, last)
		all := append(slices.Clone(subscriptions), rates...)
		r.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		model := map[string]analytics.Fact{}
		send := func(batch []analytics.Fact) {
			b.ingest(t, batch...)
			for _, f := range batch {
				model[f.Source+" "+f.Key] = f
			}
		}
		for len(all) > 0 {
			n := min(len(all), 1+r.IntN(60))
			send(all[:n])
			all = all[n:]
			b.Advance(time.Minute)
			var corrections []analytics.Fact
			for _, f := range subscriptions {
				if known, ok := model[f.Source+" "+f.Key]; ok && r.IntN(40) == 0 && !known.Void {
					if r.IntN(3) == 0 {
						known.Void = true
					} else {
						known.Amount, known.Cancelled = r.Int64N(90_000), false
					}
					corrections = append(corrections, known)
				}
			}
			if len(corrections) > 0 {
				send(corrections)
			}
		}
		send([]analytics.Fact{{Source: "billing", Key: "through", Kind: analytics.KindWatermark, At: last.Start(time.UTC)}})

		f := b.published(t)
		require.Equal(t, last, f.Through)
		var wantSubs, wantRates []analytics.Fact
		for _, v := range model {
			switch {
			case v.Void:
			case v.Kind == analytics.KindSubscription:
				wantSubs = append(wantSubs, v)
			case v.Kind == analytics.KindRate:
				wantRates = append(wantRates, v)
			}
		}
		want, err := analytics.Build("EUR", last, wantSubs, wantRates)
		require.NoError(t, err)
		require.Equal(t, want.Months, f.Months(), "what the engine gives back is what the facts say")
		months, through, err := b.svc.AsOf(t.Context(), b.Now())
		require.NoError(t, err)
		require.Equal(t, f.Months(), months)
		require.Equal(t, last, through)
		walk(t, b, f)
	})
}

// walk drills every cell down to its facts and adds up on the way.
func walk(t *testing.T, b bed, f *analytics.Figures) {
	t.Helper()
	check := func(c analytics.Cell, want int64) {
		top, err := f.Drill(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, want, top.Number.Minor, "%+v", c)
		sum := int64(0)
		for i, tenant := range top.Tenants {
			sum += tenant.Amount
			if i%3 > 0 {
				continue // every third tenant to the facts: the others differ by nothing but data
			}
			c.Tenant = tenant.Tenant
			part, err := f.Drill(t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, tenant.Amount, part.Number.Minor, "%+v", c)
			rows := int64(0)
			for _, row := range part.Rows {
				rows += row.Amount.Minor
				require.NotEmpty(t, row.Facts, "%+v", c)
				facts, err := b.svc.DrillFacts(t.Context(), row.Facts)
				require.NoError(t, err)
				require.Len(t, facts, len(row.Facts))
				now := facts[len(facts)-1] // the last fact of the segment says its price
				if row.Line == "" || row.Line == analytics.LineFX {
					require.Equal(t, row.After, now.Money())
				}
				require.LessOrEqual(t, facts[0].Day, row.Day)
				for _, fact := range facts {
					require.Equal(t, row.Subscription, fact.Subscription)
				}
			}
			require.Equal(t, part.Number.Minor, rows, "%+v", c)
		}
		require.Equal(t, want, sum, "%+v", c)
	}
	for _, m := range f.Months() {
		for _, l := range append(analytics.MovementLines(), analytics.LineOpening, analytics.LineClosing) {
			check(analytics.Cell{Metric: analytics.Metric(l), Month: m.Month}, m.Line(l))
		}
		if r := m.Retention; r != nil {
			check(analytics.Cell{Metric: analytics.MetricNRRStart, Month: m.Month}, r.Start)
			check(analytics.Cell{Metric: analytics.MetricNRRNow, Month: m.Month}, r.Now)
			check(analytics.Cell{Metric: analytics.MetricGRRKept, Month: m.Month}, r.Kept)
		}
	}
	cohorts, err := f.Cohorts(t.Context(), analytics.BySubscription)
	require.NoError(t, err)
	for _, c := range cohorts {
		check(analytics.Cell{Metric: analytics.MetricCohort, Month: c.Cohort, Age: c.Age}, c.Amount)
	}
}

func TestService_Ingest(t *testing.T) {
	t.Parallel()
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) {
		b := newBed(t, e, nil, nil)
		a := sub("acme", "s1", "2025-03-01", 10_000)
		require.Equal(t, 1, b.ingest(t, a).Added)
		got := b.ingest(t, a, sub("acme", "s1", "2025-04-01", 12_000))
		require.Equal(t, []int{1, 1}, []int{got.Added, got.Duplicate}, "what is known changes nothing")

		corrected := a
		corrected.Amount = 11_000
		require.Equal(t, 1, b.ingest(t, corrected).Corrected)
		require.Equal(t, 1, b.ingest(t, a).Duplicate, "a late copy of what was corrected does not come back")
		require.EqualValues(t, 11_000, b.published(t).Months()[0].Closing)

		versioned := corrected
		versioned.Version, versioned.Amount = 5, 13_000
		require.Equal(t, 1, b.ingest(t, versioned).Corrected)
		versioned.Version, versioned.Amount = 4, 1
		require.Equal(t, 1, b.ingest(t, versioned).Late, "a lower version arrived late")
		b.Advance(time.Second)
		history, err := b.svc.Facts(t.Context(), analytics.FactFilter{Subscription: "s1", History: true})
		require.NoError(t, err)
		require.Len(t, history, 4, "nothing is overwritten")
		now, err := b.svc.Facts(t.Context(), analytics.FactFilter{Subscription: "s1"})
		require.NoError(t, err)
		require.Len(t, now, 2)

		void := versioned
		void.Version, void.Void = 6, true
		b.ingest(t, void)
		require.EqualValues(t, 12_000, b.published(t).Months()[0].New, "what is taken back no longer counts")

		_, err = b.svc.Ingest(t.Context(), b.As("fin"), []analytics.Fact{a}, nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
	})
}

func TestService_IngestRefusals(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, schemas)
	b := newBed(t, e, nil, nil)
	ok := sub("acme", "s1", "2025-03-01", 10_000)
	for name, c := range map[string]struct {
		change func(f *analytics.Fact)
		field  string
	}{
		"no tenant":           {func(f *analytics.Fact) { f.Tenant = "" }, "facts[1].tenant"},
		"no source":           {func(f *analytics.Fact) { f.Source = "" }, "facts[1].source"},
		"unknown kind":        {func(f *analytics.Fact) { f.Kind = "guess" }, "facts[1].kind"},
		"negative MRR":        {func(f *analytics.Fact) { f.Amount = -1 }, "facts[1].amount"},
		"no currency":         {func(f *analytics.Fact) { f.Currency = "euro" }, "facts[1].currency"},
		"huge":                {func(f *analytics.Fact) { f.Amount = 1 << 60 }, "facts[1].amount"},
		"cancelled and paid":  {func(f *analytics.Fact) { f.Cancelled = true }, "facts[1].amount"},
		"U+0000":              {func(f *analytics.Fact) { f.Plan = "a\x00b" }, "facts[1].plan"},
		"not UTF-8":           {func(f *analytics.Fact) { f.Key = "\xff" }, "facts[1].key"},
		"long":                {func(f *analytics.Fact) { f.Key = strings.Repeat("x", 201) }, "facts[1].key"},
		"no time":             {func(f *analytics.Fact) { f.At = time.Time{} }, "facts[1].at"},
		"metric on a plan":    {func(f *analytics.Fact) { f.Metric = "seats" }, "facts[1].metric"},
		"purchase to come":    {func(f *analytics.Fact) { f.Kind, f.Plan, f.At = analytics.KindPurchase, "", b.Now().AddDate(0, 0, 2) }, "facts[1].at"},
		"rate of a tenant":    {func(f *analytics.Fact) { f.Kind, f.Rate = analytics.KindRate, 1 }, "facts[1].tenant"},
		"same key, other say": {func(f *analytics.Fact) { f.Key = ok.Key }, "facts[1].key"},
	} {
		bad := sub("acme", "s2", "2025-03-01", 10_000)
		c.change(&bad)
		_, err := b.svc.Ingest(t.Context(), b.id, []analytics.Fact{ok, bad}, nil)
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid, name)
		require.Equal(t, c.field, invalid.Field, name)
	}
	_, err := b.svc.Ingest(t.Context(), b.id, nil, nil)
	require.Error(t, err)
	facts, err := b.svc.Facts(t.Context(), analytics.FactFilter{History: true})
	require.NoError(t, err)
	require.Empty(t, facts, "nothing of a bad batch is kept")
}

func TestService_IngestCSV(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, schemas)
	b := newBed(t, e, nil, nil)
	const head = "source,key,kind,tenant,subscription,amount,currency,at,rate,metric,quantity\n"
	send := func(s string) (analytics.Ingested, error) {
		return b.svc.IngestCSV(t.Context(), b.id, strings.NewReader(s))
	}
	got, err := send("\xef\xbb\xbf" + head +
		"billing,1,subscription,acme,s1,12.50,EUR,2025-03-01,,,\n" +
		"billing,2,subscription,acme,s2,7,USD,2025-03-01T10:00:00+02:00,,,\n" +
		"bank,3,rate,,,,USD,2025-03-01,0.92,,\n" +
		"app,4,usage,acme,,,,2025-03-01,,active_users,12\n")
	require.NoError(t, err)
	require.Equal(t, 4, got.Added)
	facts, err := b.svc.Facts(t.Context(), analytics.FactFilter{Subscription: "s2"})
	require.NoError(t, err)
	require.EqualValues(t, 700, facts[0].Amount)
	require.Equal(t, time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC), facts[0].At)

	for text, want := range map[string]string{
		head + "billing,9,subscription,acme,s1,12.50,EUR,2025-03-01,,,\nbilling,8,subscription,acme,s1,12.505,EUR,2025-03-01,,,\n": "row 3, column amount",
		head + "billing,9,subscription,acme,s1,12.50,EUR,01/03/2025,,,\n":                                                          "row 2, column at",
		head + "billing,9,subscription,,s1,12.50,EUR,2025-03-01,,,\n":                                                              "row 2, column tenant",
		head + "billing,9,subscription,acme,s1,12.50,eur,2025-03-01,,,\n":                                                          "row 2, column currency",
		head + "billing,9,guess,acme,s1,12.50,EUR,2025-03-01,,,\n":                                                                 "row 2, column kind",
		head + "app,9,usage,acme,,,,2025-03-01,,m,1.5\n":                                                                           "row 2, column quantity",
		head + "billing,9,subscription,acme\n":                                                                                     "row 2",
		head + "\"billing\n,9,subscription,acme,s1,12.50,EUR,2025-03-01,,,\n":                                                      "row",
		head + "billing,9,subscription,ac\x00me,s1,12.50,EUR,2025-03-01,,,\n":                                                      "row 2",
		"source,key,kind,at,colour\n":                                                                                              `row 1, column "colour"`,
		"source,key,at\n":                                                                                                          "row 1, column kind",
		"source,key,kind,at,at\n":                                                                                                  "row 1, column at",
		"":                                                                                                                         "file",
		head:                                                                                                                       "file",
		"\xff\xfe":                                                                                                                 "file",
		strings.Repeat("x", analytics.MaxCSV+1):                                                                                    "file",
	} {
		_, err := send(text)
		var invalid *governance.InvalidError
		require.ErrorAs(t, err, &invalid, "%.60q", text)
		require.True(t, strings.HasPrefix(invalid.Field, want), "%.60q: %s", text, err)
	}
	facts, err = b.svc.Facts(t.Context(), analytics.FactFilter{History: true})
	require.NoError(t, err)
	require.Len(t, facts, 4, "nothing of a bad file is kept")
	_, err = b.svc.IngestCSV(t.Context(), b.As("fin"), strings.NewReader(head))
	var denied *governance.DeniedError
	require.ErrorAs(t, err, &denied)
}

func FuzzIngestCSV(f *testing.F) {
	f.Add([]byte("source,key,kind,tenant,subscription,amount,currency,at\nb,1,subscription,a,s,1.00,EUR,2025-01-01\n"))
	f.Add([]byte("\xef\xbb\xbfsource,\"key\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := newBed(t, govtest.New(t, schemas), nil, nil)
		got, err := b.svc.IngestCSV(t.Context(), b.id, bytes.NewReader(text))
		if err != nil {
			var invalid *governance.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.Zero(t, got)
		}
	})
}

// broken damages what is loaded, as a bug in a warehouse would.
type broken struct {
	analytics.Warehouse
	damage func(m *analytics.Marts) error
}

func (b *broken) Load(ctx context.Context, gen int64, m *analytics.Marts) error {
	if b.damage != nil {
		if err := b.damage(m); err != nil {
			return err
		}
	}
	return b.Warehouse.Load(ctx, gen, m)
}

func TestService_RefusesWhatDoesNotAddUp(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, schemas)
	w := &broken{Warehouse: sqlwarehouse.New(e.DB)}
	b := newBed(t, e, w, nil)
	b.ingest(t, sub("acme", "s1", "2025-03-01", 10_000), sub("acme", "s1", "2025-05-01", 12_000), sub("zeta", "s2", "2025-04-01", 9000),
		analytics.Fact{Source: "app", Key: "u", Kind: analytics.KindUsage, Tenant: "acme", Metric: "m", Quantity: 3, At: day("2026-01-14")}, watermark("2026-01-14"))
	good := b.published(t)
	for want, damage := range map[string]func(m *analytics.Marts) error{
		"tenants add up to the total":               func(m *analytics.Marts) error { m.Movements = m.Movements[1:]; return nil },
		"opening and movements make closing":        func(m *analytics.Marts) error { m.Months[1].Closing++; return nil },
		"no subscription has a gap":                 func(m *analytics.Marts) error { m.Segments[0].To--; return nil },
		"every subscription fact is in one segment": func(m *analytics.Marts) error { m.Segments[0].Facts = nil; return nil },
		"no tenant pays less than nothing":          func(m *analytics.Marts) error { m.Segments[0].MRR.Minor = -1; return nil },
		"usage is the facts":                        func(m *analytics.Marts) error { m.Usage[0].Quantity++; return nil },
		"tenants are counted once":                  func(m *analytics.Marts) error { m.Months[0].Logos.New++; return nil },
		"ran to the end":                            func(*analytics.Marts) error { return errors.New("the disk is full") },
	} {
		w.damage = damage
		r, err := b.svc.Refresh(t.Context(), governance.System("test"), "")
		if want == "ran to the end" {
			require.ErrorContains(t, err, "disk is full")
			require.Equal(t, analytics.RefreshFailed, r.State)
		} else {
			require.NoError(t, err)
			require.Equal(t, analytics.RefreshRefused, r.State, want)
		}
		var failed []string
		for _, v := range r.Tests {
			if !v.OK {
				failed = append(failed, v.Name)
			}
		}
		require.Contains(t, failed, want)
		f, err := b.svc.Figures(t.Context())
		require.NoError(t, err)
		require.Equal(t, good.Generation, f.Generation, "what was published stays")
		require.Equal(t, good.Months(), f.Months())
	}
	w.damage = nil
	b.published(t)
	require.Contains(t, b.Actions(t), "analytics.refresh.finish failed")
	alerts, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{})
	require.NoError(t, err)
	require.NotEmpty(t, alerts)
}

func TestService_OneRefreshAtATime(t *testing.T) {
	t.Parallel()
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) {
		w := &broken{Warehouse: sqlwarehouse.New(e.DB)}
		b := newBed(t, e, w, nil)
		b.ingest(t, sub("acme", "s1", "2025-03-01", 10_000), watermark("2026-01-14"))
		var inner error
		w.damage = func(*analytics.Marts) error {
			_, inner = b.svc.Refresh(context.Background(), governance.System("other"), "")
			return nil
		}
		b.published(t)
		require.ErrorIs(t, inner, governance.ErrConflict)
	})
}

// TestService_Crash leaves a generation half written, as a killed server does.
func TestService_Crash(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, schemas)
	real := sqlwarehouse.New(e.DB)
	b := newBed(t, e, real, nil)
	b.ingest(t, sub("acme", "s1", "2025-03-01", 10_000), watermark("2026-01-14"))
	first := b.published(t)
	_, err := e.DB.Handle().ExecContext(t.Context(), `INSERT INTO analytics_refresh (gen, id, state, actor, reason, through, as_of, body, started_at, finished_at)
		SELECT gen + 1, '00000000-0000-4000-8000-000000000001', 'building', actor, reason, through, as_of, body, started_at, 0 FROM analytics_refresh`)
	require.NoError(t, err)
	half := warehousetest.Marts(t, 1)
	half.Months = half.Months[:3]
	require.NoError(t, real.Load(t.Context(), first.Generation+1, half))
	now, err := b.svc.Figures(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.Months(), now.Months(), "nobody sees half a generation")
	b.published(t)
	last := b.published(t)
	require.EqualValues(t, 4, last.Generation)
	left, err := real.Months(t.Context(), 2)
	require.NoError(t, err)
	require.Empty(t, left, "what was left over is gone")
}

func TestService_NeedsRates(t *testing.T) {
	t.Parallel()
	b := newBed(t, govtest.New(t, schemas), nil, nil)
	f := sub("acme", "s1", "2025-03-01", 10_000)
	f.Currency = "USD"
	b.ingest(t, f, watermark("2026-01-10"))
	r := b.refresh(t)
	require.Equal(t, analytics.RefreshRefused, r.State)
	require.Contains(t, fmt.Sprint(r.Tests), "no rate of USD to EUR in 2025-03")
	b.ingest(t, analytics.Fact{Source: "bank", Key: "1", Kind: analytics.KindRate, Currency: "USD", Rate: 900_000, At: day("2025-02-20")})
	require.EqualValues(t, 9000, b.published(t).Months()[0].Closing)
}

func TestService_Restates(t *testing.T) {
	t.Parallel()
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) {
		b := newBed(t, e, nil, nil)
		b.ingest(t, sub("acme", "s1", "2025-03-10", 10_000), watermark("2025-12-31"))
		b.published(t)
		before := b.Now()
		b.Advance(time.Hour)
		b.ingest(t, sub("acme", "s1", "2025-11-10", 15_000)) // learned two months late
		f := b.published(t)
		require.Equal(t, []analytics.Restatement{
			{Month: analytics.MonthOf(2025, 11), Line: analytics.LineExpansion, Before: 0, After: 5000},
			{Month: analytics.MonthOf(2025, 11), Line: analytics.LineClosing, Before: 10_000, After: 15_000},
			{Month: analytics.MonthOf(2025, 12), Line: analytics.LineClosing, Before: 10_000, After: 15_000},
		}, f.Restatements)
		require.Equal(t, 1, f.Late)
		was, _, err := b.svc.AsOf(t.Context(), before)
		require.NoError(t, err)
		require.EqualValues(t, 10_000, was[len(was)-1].Closing, "as it was known then")
		require.Empty(t, b.published(t).Restatements)
	})
}

func TestService_Through(t *testing.T) {
	t.Parallel()
	b := newBed(t, govtest.New(t, schemas), nil, nil) // it is 2026-01-15
	usage := func(on string) analytics.Fact {
		return analytics.Fact{Source: "app", Key: on, Kind: analytics.KindUsage, Tenant: "acme", Metric: "m", Quantity: 3, At: day(on)}
	}
	b.ingest(t, sub("acme", "s1", "2025-03-10", 10_000), sub("acme", "s1", "2026-02-01", 99_000), watermark("2026-01-15"), usage("2026-01-12"))
	f := b.published(t)
	require.Equal(t, "2026-01-12", f.Through.String(), "the source that told least decides")
	require.EqualValues(t, 10_000, f.Summary().MRR.Minor, "a change to come does not count yet")
	b.ingest(t, usage("2026-01-15"))
	require.Equal(t, "2026-01-14", b.published(t).Through.String(), "today is not over")
	months := f.Months()
	require.False(t, months[len(months)-1].Complete)
	b.Advance(20 * 24 * time.Hour)
	b.ingest(t, watermark("2026-02-02"), usage("2026-02-02"))
	require.EqualValues(t, 99_000, b.published(t).Summary().MRR.Minor)
}

func TestService_RefreshAction(t *testing.T) {
	t.Parallel()
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) {
		b := newBed(t, e, nil, nil)
		_, err := b.svc.Figures(t.Context())
		require.ErrorIs(t, err, governance.ErrNotFound)
		b.ingest(t, sub("acme", "s1", "2025-03-10", 10_000), watermark("2026-01-10"))
		do := func(id governance.Identity, key string) (governance.Outcome, error) {
			return b.svc.RefreshAction().Do(t.Context(), b.Kernel, id, analytics.RefreshInput{Reason: "month end"}, &governance.DoOptions{Key: key})
		}
		out, err := do(b.id, "k")
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, out.State)
		again, err := do(b.id, "k")
		require.NoError(t, err)
		require.True(t, again.Replayed)
		all, err := b.svc.Refreshes(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, b.id.Actor.ID, all[0].Actor)
		_, err = do(b.As("fin"), "")
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		require.Contains(t, b.Actions(t), "analytics.refresh.finish done")
		require.Len(t, b.svc.Jobs(), 1)
		require.NoError(t, b.svc.Jobs()[0].Run(t.Context(), b.Now()))
	})
}

func TestService_Signals(t *testing.T) {
	t.Parallel()
	govtest.Each(t, schemas, func(t *testing.T, e *govtest.Env) {
		b := newBed(t, e, nil, nil) // it is 2026-01-15
		for _, id := range []governance.TenantID{"acme", "zeta"} {
			require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				_, err := b.Kernel.UpsertTenantTx(ctx, tx, b.id, governance.Tenant{ID: id, Name: string(id), Country: "DE", Status: governance.TenantActive, Plan: "team", RenewalAt: day("2026-02-14")})
				return err
			}))
		}
		facts := []analytics.Fact{sub("acme", "s1", "2025-03-10", 10_000), watermark("2026-01-14"),
			{Source: "bank", Key: "r", Kind: analytics.KindRate, Currency: "USD", Rate: 500_000, At: day("2025-12-01")}}
		for d := range 60 {
			q := int64(10)
			if d < 30 {
				q = 4
			}
			facts = append(facts, analytics.Fact{Source: "app", Key: fmt.Sprint(d), Kind: analytics.KindUsage, Tenant: "acme", Metric: "active_users", Quantity: q, At: day("2026-01-13").AddDate(0, 0, -d)})
		}
		invoice := func(ref, due, currency string, minor int64) analytics.Fact {
			d, err := analytics.ParseDay(due)
			require.NoError(t, err)
			return analytics.Fact{Source: "billing", Key: ref, Kind: analytics.KindInvoice, Tenant: "acme", Ref: ref, Amount: minor, Currency: currency, At: day("2025-12-01"), Due: d}
		}
		facts = append(facts, invoice("i1", "2025-12-31", "USD", 10_000), invoice("i2", "2025-12-15", "EUR", 5000), invoice("i3", "2026-01-14", "EUR", 5000),
			analytics.Fact{Source: "billing", Key: "p1", Kind: analytics.KindPayment, Tenant: "acme", Ref: "i1", Amount: 4000, Currency: "USD", At: day("2026-01-02")},
			analytics.Fact{Source: "billing", Key: "p2", Kind: analytics.KindPayment, Tenant: "acme", Ref: "i2", Amount: 5000, Currency: "EUR", At: day("2026-01-02")})
		b.ingest(t, facts...)
		b.published(t)
		got, err := b.svc.Signals(t.Context(), "acme")
		require.NoError(t, err)
		usage, billing := day("2026-01-14"), day("2026-01-15") // the ends of the last days told
		mrr := got.Values["mrr"]
		require.EqualValues(t, 10_000, mrr.Value)
		delete(got.Values, "mrr")
		renewal := got.Values["renewal_days"]
		require.EqualValues(t, 30, renewal.Value)
		delete(got.Values, "renewal_days")
		require.Equal(t, map[string]analytics.Signal{
			"active_users_7d": {Value: 28, Unit: "count", AsOf: usage}, "active_users_30d": {Value: 120, Unit: "count", AsOf: usage},
			"active_users_trend_pct": {Value: -60, Unit: "percent", AsOf: usage}, "active_users_idle_days": {Value: 0, Unit: "days", AsOf: usage},
			"overdue_days": {Value: 14, Unit: "days", AsOf: billing}, "overdue": {Value: 3000, Unit: "EUR.cent", AsOf: billing},
		}, got.Values)

		all, err := b.svc.AllSignals(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.EqualValues(t, 28, all[0].Values["active_users_7d"].Value)
		require.EqualValues(t, 0, all[1].Values["active_users_7d"].Value, "silence of a source that is up to date is a zero")
		require.EqualValues(t, 60, all[1].Values["active_users_idle_days"].Value)
		require.NotContains(t, all[1].Values, "active_users_trend_pct")

		b.Advance(10 * 24 * time.Hour)
		got, err = b.svc.Signals(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, usage, got.Values["active_users_7d"].AsOf, "a source that fell silent leaves the time where it was")
		require.EqualValues(t, 28, got.Values["active_users_7d"].Value)
		_, err = b.svc.Signals(t.Context(), "nobody")
		require.ErrorIs(t, err, governance.ErrNotFound)
	})
}
