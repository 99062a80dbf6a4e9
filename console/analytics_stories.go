package console

import (
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
)

// storyMonths is an invented business of n months.
func storyMonths(n int) []analytics.MonthRow {
	first := analytics.MonthOf(2026, 11) - analytics.Month(n-1)
	var out []analytics.MonthRow
	closing, logos := int64(1_200_000), 12
	for i := range n {
		r := analytics.MonthRow{Month: first + analytics.Month(i), Complete: i < n-1, RollForward: analytics.RollForward{Opening: closing, Closing: closing}}
		r.Logos.Opening = logos
		if i == 0 {
			r.Opening, r.Closing, r.Logos.Opening = 0, 0, 0
			r.Add(analytics.LineNew, closing)
			r.Logos.New = logos
		} else {
			r.Add(analytics.LineNew, int64(90_000+i*7000))
			r.Add(analytics.LineExpansion, int64(30_000+(i%3)*12_000))
			r.Add(analytics.LineContraction, -int64(11_000*(i%2)))
			r.Add(analytics.LineChurn, -int64(25_000+(i%5)*9000))
			r.Add(analytics.LineReactivation, int64((i%4)*3000))
			r.Add(analytics.LineFX, int64((i%3-1)*4000))
			r.Logos.New, r.Logos.Churned = 2, i%2
		}
		logos = r.Logos.Opening + r.Logos.New - r.Logos.Churned
		r.Logos.Closing = logos
		closing = r.Closing
		if i >= 12 {
			start := out[i-12].Closing
			r.Retention = &analytics.Retention{Start: start, Now: start * 108 / 100, Kept: start * 91 / 100, Logos: out[i-12].Logos.Closing, Stayed: out[i-12].Logos.Closing - 1}
		}
		out = append(out, r)
	}
	return out
}

func storyForecast(months []analytics.MonthRow) *analytics.Forecast {
	last := months[len(months)-2] // the last one that is over
	f := &analytics.Forecast{Origin: last.Month, Method: "mean of seasonal drift and theta", Fit: "seasonal drift, 9.1e+05 a season; theta", Levels: []int{80, 95},
		Backtest: analytics.Backtest{Origins: 14, Horizon: 12, Pairs: 110, Naive: "seasonal naive", Scale: 812_00, Scores: []analytics.ForecastScore{
			{Method: "mean of seasonal drift and theta", Chosen: true, MASE: 0.39, VsNaive: 0.28, Bias: -0.05, Coverage: []int{77, 96}},
			{Method: "seasonal naive", MASE: 1.39, VsNaive: 1, Bias: 1.2, Coverage: []int{80, 95}}}}}
	for i := range 12 {
		v := last.Closing + int64(i+1)*95_000
		w := int64(i+1) * 60_000
		f.Points = append(f.Points, analytics.ForecastPoint{Month: last.Month + analytics.Month(i+1), MRR: v, Lo: []int64{v - w, v - 2*w}, Hi: []int64{v + w, v + 2*w}})
	}
	return f
}

func revenueStories() []Story {
	at := time.Date(2026, 11, 24, 2, 15, 0, 0, time.UTC)
	same := func(p string) string { return "/console" + p }
	id := uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")
	months := storyMonths(26)
	last := months[len(months)-1]
	fc := storyForecast(months)
	nrr, grr := int64(10_850), int64(9_120)
	money := func(v int64) governance.Money { return minor("EUR", v) }
	summary := analytics.Summary{Through: analytics.Date(2026, 11, 23), AsOf: at, Generation: 41, MRR: money(last.Closing), ARR: money(12 * last.Closing), ARPA: money(last.Closing / 40),
		Logos: last.Logos.Closing, Month: last.Month - 1, NRR: &nrr, GRR: &grr, Change: money(120_000), PreviousMRR: money(2_400_000)}
	refresh := analytics.Refresh{ID: id, Generation: 41, State: analytics.RefreshPublished, Actor: "system:analytics", Reason: "daily refresh", Through: summary.Through, AsOf: at, StartedAt: at,
		FinishedAt: at.Add(412 * time.Millisecond)}
	refresh.Reporting, refresh.Segments, refresh.Movements, refresh.MRR, refresh.Micros, refresh.Late = "EUR", 812, 1024, last.Closing, 412_000, 3
	refresh.Sources = []analytics.Source{{Source: "billing", Through: summary.Through, Declared: true}, {Source: "product", Through: summary.Through}}
	refresh.Tests = []analytics.TestResult{{Name: "opening and movements make closing", OK: true, Detail: "26 months"}, {Name: "tenants add up to the total", OK: true, Detail: "148 lines of 1024 movements"}}
	restated := refresh
	restated.Restatements = []analytics.Restatement{{Month: last.Month - 2, Line: analytics.LineChurn, Before: -25_000, After: -61_000}, {Month: last.Month - 2, Line: analytics.LineClosing, Before: 2_400_000, After: 2_364_000}}
	refused := refresh
	refused.Generation, refused.State = 42, analytics.RefreshRefused
	refused.Tests = []analytics.TestResult{{Name: "every amount has a rate", OK: false, Detail: "no rate of USD to EUR in 2026-11 or before, and 0 more are wanted"}}
	failed := refresh
	failed.Generation, failed.State, failed.Tests, failed.Sources = 43, analytics.RefreshFailed, nil, nil
	overview := newRevenueOverview(summary, months, fc, "EUR", same)
	noted := overview
	noted.Notes = revenueNotes(restated, []analytics.Refresh{refused})
	short := storyMonths(4)
	young := newRevenueOverview(analytics.Summary{MRR: money(short[3].Closing), ARR: money(12 * short[3].Closing), ARPA: money(100_000), Change: money(0), PreviousMRR: money(0), Logos: 14}, short, nil, "EUR", same)

	fact := analytics.Fact{ID: id, Source: "billing", Key: "sub-0007/3", Kind: analytics.KindSubscription, Tenant: "t-norvind-freight", Subscription: "sub-0007", Plan: "team", Quantity: 14,
		Amount: 54_600, Currency: "USD", At: at, Day: summary.Through, Revision: 2, RecordedAt: at}
	usage := analytics.Fact{ID: id, Source: "product", Key: strings.Repeat("long-key/", 20), Kind: analytics.KindUsage, Tenant: "t-norvind-freight", Metric: "active_users", Quantity: 31, At: summary.Through.Start(time.UTC), Day: summary.Through, Revision: 1, RecordedAt: at}
	gone := fact
	gone.Cancelled, gone.Amount = true, 0
	rateFact := analytics.Fact{ID: id, Source: "rates", Key: "USD@2026-11-01", Kind: analytics.KindRate, Currency: "USD", Rate: 918_000, At: summary.Through.Start(time.UTC), Day: summary.Through, Revision: 1, RecordedAt: at}
	mark := analytics.Fact{ID: id, Source: "billing", Key: "through", Kind: analytics.KindWatermark, At: summary.Through.Start(time.UTC), Day: summary.Through, Revision: 311, RecordedAt: at}
	before := minor("USD", 46_800)
	change := drillLine{analytics.DrillRow{Subscription: "sub-0007", Amount: money(7160), Day: summary.Through, Line: analytics.LineExpansion, Before: &before, After: minor("USD", 54_600), RateBefore: 918_000, Rate: 918_000, Plan: "team", Quantity: 14}}
	fx := drillLine{analytics.DrillRow{Subscription: "sub-0007", Amount: money(-420), Day: summary.Through, Line: analytics.LineFX, Before: &before, After: before, RateBefore: 927_000, Rate: 918_000, Plan: "team", Quantity: 14}}
	stands := drillLine{analytics.DrillRow{Subscription: "sub-0008", Amount: money(50_123), Day: summary.Through, After: minor("USD", 54_600), Rate: 918_000, Quantity: 14}}
	drill := revenueDrill{Number: money(81_000), Adds: true, Parts: 2, Def: "A paying tenant pays more.", Tenants: []drillTenant{
		{Name: "Norvind Freight GmbH", ID: "t-norvind-freight", Amount: money(71_000), Share: "87.7 %", Rows: 2, Href: drillPath("expansion", last.Month, "tenant", "t-norvind-freight")},
		{Name: strings.Repeat("Quillbank Instruments ", 8), ID: "t-quillbank", Amount: money(10_000), Share: "12.3 %", Rows: 1, Href: drillPath("expansion", last.Month, "tenant", "t-quillbank")}}}
	rows := revenueDrill{Number: money(56_863), Adds: true, Parts: 3, Rows: []drillLine{change, fx, stands}, Facts: factViews([]analytics.Fact{fact, gone})}
	wrong := rows
	wrong.Adds = false
	cohorts := []analytics.CohortRow{}
	for c := range 8 {
		for a := 0; a <= 7-c; a++ {
			cohorts = append(cohorts, analytics.CohortRow{Basis: analytics.BySubscription, Currency: "EUR", Cohort: last.Month - 8 + analytics.Month(c), Age: a, Size: 10 + c, Base: 100_000, Logos: 10 + c - a, Amount: int64(100_000 + 4000*a - 2000*a*a)})
		}
	}
	curve := &analytics.Survival{Subscriptions: 240, Ended: 61}
	for m := range 37 {
		s := 1 - float64(m)*0.009
		curve.Points = append(curve.Points, analytics.SurvivalPoint{Months: m, Survival: s, StdErr: 0.02, Lo: s - 0.04, Hi: min(1, s+0.04), AtRisk: 240 - 5*m})
	}
	tenant := tenantRevenue{Any: true, Tenant: "t-norvind-freight", Stats: []Stat{{Label: "MRR", Value: "€546.00"}, {Label: "ARR", Value: "€6,552.00"}}, Line: mrrLine("MRR", months[14:], nil, "EUR"),
		Rows: []drillLine{change}, Facts: factViews([]analytics.Fact{fact}), Overdue: []analytics.OpenInvoice{{Tenant: "t-norvind-freight", Ref: "INV-7", Currency: "USD", Amount: 54_600, Due: summary.Through}},
		Signals: newSignalViews(analytics.Signals{Values: map[string]analytics.Signal{"active_users_trend_pct": {Value: -62, Unit: "percent", AsOf: at}, "overdue_days": {Value: 14, Unit: "days", AsOf: at},
			"overdue": {Value: 54_600, Unit: "EUR.cent", AsOf: at}, "active_users_7d": {Value: 120, Unit: "count", AsOf: at}}})}
	head := func(v View) View {
		v.Actions = []Button{{Text: "Import facts", Href: "/revenue/import"}, refreshButton()}
		return v
	}
	page := func(title, tpl, here string, data any) View {
		return revenueView(title, through(refresh), tpl, here, data)
	}
	table := newRollTable(months, "EUR")
	days, dayList := dayRows([]analytics.DayRow{{Day: summary.Through, RollForward: last.RollForward}}, "EUR")
	file := Field{Name: "file", Label: "CSV file", Kind: "file", Required: true}
	return []Story{
		{Name: "revenue", View: head(page("Revenue", "revenue_overview", "/revenue", overview))},
		{Name: "revenue, restated and the latest refresh refused", View: head(page("Revenue", "revenue_overview", "/revenue", noted))},
		{Name: "revenue, four months old", View: page("Revenue", "revenue_overview", "/revenue", young)},
		{Name: "revenue, first use", View: page("Revenue", "revenue_empty", "/revenue", emptyRevenue(true))},
		{Name: "revenue, first use of a reader", View: page("Revenue", "revenue_empty", "/revenue", emptyRevenue(false))},
		{Name: "roll-forward", View: page("Roll-forward", "revenue_roll", "/revenue/rollforward", revenueRoll{Months: &table, Filters: []Field{{Name: "month", Label: "Days of", Kind: "select", Options: monthOptions(months)}}})},
		{Name: "roll-forward, days", View: page("Roll-forward", "revenue_roll", "/revenue/rollforward", revenueRoll{Head: days, DayRows: dayList})},
		{Name: "retention", View: page("Retention", "revenue_retention", "/revenue/retention", newRevenueRetention(months, "EUR"))},
		{Name: "retention, too young", View: page("Retention", "revenue_retention", "/revenue/retention", newRevenueRetention(short, "EUR"))},
		{Name: "cohorts, net revenue", View: page("Cohorts", "revenue_cohorts", "/revenue/cohorts", newRevenueCohorts(cohorts, "net", same))},
		{Name: "cohorts, customers", View: page("Cohorts", "revenue_cohorts", "/revenue/cohorts", newRevenueCohorts(cohorts, "logos", same))},
		{Name: "cohorts, no single sales", View: page("Cohorts", "revenue_cohorts", "/revenue/cohorts", newRevenueCohorts(nil, "purchase-net", same))},
		{Name: "forecast", View: page("Forecast", "revenue_forecast", "/revenue/forecast", newRevenueForecast(months, fc, "EUR"))},
		{Name: "forecast, too young", View: page("Forecast", "revenue_forecast", "/revenue/forecast", newRevenueForecast(short, nil, "EUR"))},
		{Name: "survival", View: page("Survival", "revenue_survival", "/revenue/survival", newRevenueSurvival(curve))},
		{Name: "survival, nothing", View: page("Survival", "revenue_survival", "/revenue/survival", newRevenueSurvival(&analytics.Survival{}))},
		{Name: "billing", View: page("Billing", "revenue_billing", "/revenue/billing", newRevenueBilling([]analytics.RevenueRow{{Month: last.Month, Kind: analytics.KindInvoice, Currency: "GBP", Amount: 1_234_567, Facts: 31, Tenants: 30}}))},
		{Name: "billing, nothing", View: page("Billing", "revenue_billing", "/revenue/billing", newRevenueBilling(nil))},
		{Name: "drill-down, customers", View: page("Expansion, Nov 2026", "revenue_drill", "", &drill)},
		{Name: "drill-down, one customer", View: page("Norvind Freight GmbH: Expansion, Nov 2026", "revenue_drill", "", &rows)},
		{Name: "drill-down that does not add up", View: page("Expansion, Nov 2026", "revenue_drill", "", &wrong)},
		{Name: "drill-down, nothing", View: page("Expansion, Nov 2026", "revenue_drill", "", &revenueDrill{Number: money(0), Adds: true, Empty: Empty{Icon: "revenue", Title: "Nothing is behind this figure", Text: "It is zero."}})},
		{Name: "facts", View: page("Facts", "revenue_facts", "/revenue/facts", revenueFacts{Filters: factFilters(analytics.FactFilter{History: true}, ""), Rows: factViews([]analytics.Fact{fact, usage, gone, rateFact, mark})})},
		{Name: "facts, none match", View: page("Facts", "revenue_facts", "/revenue/facts", revenueFacts{Filters: factFilters(analytics.FactFilter{Tenant: "nobody"}, "2026-13"), Empty: factsEmpty(true, true)})},
		{Name: "facts, first use", View: page("Facts", "revenue_facts", "/revenue/facts", revenueFacts{Filters: factFilters(analytics.FactFilter{}, ""), Empty: factsEmpty(false, true)})},
		{Name: "refreshes", View: page("Refreshes", "revenue_refreshes", "/revenue/refreshes", revenueRefreshes{Rows: []refreshView{newRefreshView(failed), newRefreshView(refused), newRefreshView(restated)}})},
		{Name: "refreshes, first use", View: page("Refreshes", "revenue_refreshes", "/revenue/refreshes", revenueRefreshes{Empty: emptyRevenue(true).Empty})},
		{Name: "refresh, restated", View: refreshPage(restated)},
		{Name: "refresh, refused", View: refreshPage(refused)},
		{Name: "refresh, failed", View: refreshPage(failed)},
		{Name: "import", View: importPage(file)},
		{Name: "import, bad rows", View: importPage(file), Errors: fieldErrors(errors.Join(governance.Invalid("row 3, column amount", "is not a decimal"), governance.Invalid("row 9, column at", "is required")))},
		{Name: "tenant's revenue", View: View{Title: "Norvind Freight GmbH", Template: "revenue_tenant", Data: tenant}},
		{Name: "tenant's revenue, nothing known", View: View{Title: "Norvind Freight GmbH", Template: "revenue_tenant", Data: tenantRevenue{Tenant: "t", Empty: Empty{Icon: "revenue", Title: "Nothing is known of what this tenant pays"}}}},
		{Name: "drill-down, right to left", View: page("توسع", "revenue_drill", "", &rows), RTL: true},
	}
}
