package console

import (
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/console/chart"
	"github.com/reevehq/reeve/governance"
)

type retentionRow struct {
	Month             string
	Start, Now, Kept  rollCell
	NRR, GRR          string
	Logos, Stayed     int
	LogoRetentionText string
}

type revenueRetention struct {
	Line  template.HTML
	Rows  []retentionRow
	Empty Empty
}

func (p revenuePages) retention(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue/retention")
	}
	if err != nil {
		return View{}, err
	}
	return revenueView("Retention", "What the customers of a year ago pay now. "+through(f.Refresh), "revenue_retention", "/revenue/retention", newRevenueRetention(f.Months(), f.Reporting)), nil
}

func newRevenueRetention(months []analytics.MonthRow, currency string) revenueRetention {
	out := revenueRetention{Empty: Empty{Icon: "revenue", Title: "No retention yet", Text: "NRR and GRR compare with the same month a year before: they begin with the thirteenth month."}}
	var labels []string
	nrr, grr := chart.Series{Name: "NRR", Class: "s-1"}, chart.Series{Name: "GRR", Class: "s-2"}
	for _, m := range months {
		n, ok := m.Retention.NRR()
		if !ok {
			continue
		}
		g, _ := m.Retention.GRR()
		labels = append(labels, monthText(m.Month))
		nrr.Values, grr.Values = append(nrr.Values, float64(n)/10_000), append(grr.Values, float64(g)/10_000)
		r := m.Retention
		cell := func(metric analytics.Metric, v int64) rollCell {
			return rollCell{Text: FormatMoney(minor(currency, v)), Href: drillPath(string(metric), m.Month)}
		}
		out.Rows = append(out.Rows, retentionRow{Month: monthText(m.Month), Start: cell(analytics.MetricNRRStart, r.Start), Now: cell(analytics.MetricNRRNow, r.Now),
			Kept: cell(analytics.MetricGRRKept, r.Kept), NRR: basisText(n), GRR: basisText(g), Logos: r.Logos, Stayed: r.Stayed,
			LogoRetentionText: FormatPercent(float64(r.Stayed) / float64(max(1, r.Logos)))})
	}
	slices.Reverse(out.Rows)
	if len(labels) > 0 {
		out.Line = chart.Line(chart.LineSpec{Title: "Net and gross revenue retention", Labels: labels, Series: []chart.Series{nrr, grr}, Format: FormatPercent})
	}
	return out
}

type revenueCohorts struct {
	Filters []Field
	Heat    template.HTML
	Note    string
	Empty   Empty
	Any     bool
}

func (p revenuePages) cohorts(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue/cohorts")
	}
	if err != nil {
		return View{}, err
	}
	kind := c.Query("show")
	basis := analytics.BySubscription
	if strings.HasPrefix(kind, "purchase") {
		basis = analytics.ByPurchase
	}
	rows, err := f.Cohorts(c.Context(), basis)
	if err != nil {
		return View{}, err
	}
	data := newRevenueCohorts(rows, kind, c.URL)
	return revenueView("Cohorts", "Customers by the month in which they began. "+through(f.Refresh), "revenue_cohorts", "/revenue/cohorts", data), nil
}

func newRevenueCohorts(rows []analytics.CohortRow, kind string, at func(string) string) revenueCohorts {
	if !slices.Contains([]string{"logos", "purchase-logos", "purchase-net"}, kind) {
		kind = "net"
	}
	out := revenueCohorts{Filters: []Field{{Name: "show", Label: "Show", Kind: "select", Value: kind, Required: true, Options: []Option{{"net", "Net revenue"}, {"logos", "Customers"},
		{"purchase-logos", "Repeat buyers"}, {"purchase-net", "Repeat purchases"}}}},
		Note:  "Net revenue: what the cohort pays at the end of a later month, at the rates of its first month, against what it paid on its first day. A cell leads to the customers behind it.",
		Empty: Empty{Icon: "revenue", Title: "No cohorts yet", Text: "A cohort needs a complete month."}, Any: len(rows) > 0}
	logos := strings.HasSuffix(kind, "logos")
	if logos {
		out.Note = "How many of those who began in a month pay at the end of a later one."
	}
	if strings.HasPrefix(kind, "purchase") {
		out.Note = "Customers by the month of their first purchase, and the share that buys again in a later month. Single sales are no part of MRR."
		out.Empty.Text = "No single sales were told; this business has subscriptions only."
	}
	spec := chart.HeatSpec{Title: "Cohorts by month of beginning", Corner: "Began", Size: "Customers", Hi: 1}
	if !logos {
		spec.Hi = 1.2
	}
	const oldest, ages = 24, 25
	byCohort := map[string]*chart.HeatRow{}
	var order []string
	widest := 0
	for _, r := range rows {
		if r.Age >= ages {
			continue
		}
		key := r.Currency + r.Cohort.String()
		if byCohort[key] == nil {
			label := monthText(r.Cohort)
			if r.Basis == analytics.ByPurchase {
				label += " " + r.Currency
			}
			byCohort[key] = &chart.HeatRow{Label: label, Size: FormatInt(int64(r.Size))}
			order = append(order, key)
		}
		h := byCohort[key]
		share := math.NaN()
		switch {
		case logos && r.Size > 0:
			share = float64(r.Logos) / float64(r.Size)
		case !logos && r.Base > 0:
			share = float64(r.Amount) / float64(r.Base)
		}
		h.Values = append(h.Values, share)
		href := ""
		if r.Basis == analytics.BySubscription {
			href = at(drillPath(string(analytics.MetricCohort), r.Cohort, "age", strconv.Itoa(r.Age)))
		}
		h.Hrefs = append(h.Hrefs, href)
		widest = max(widest, r.Age)
	}
	for a := range widest + 1 {
		spec.Cols = append(spec.Cols, "M"+strconv.Itoa(a))
	}
	for _, key := range order[max(0, len(order)-oldest):] {
		spec.Rows = append(spec.Rows, *byCohort[key])
	}
	if out.Any {
		out.Heat = chart.Heat(spec)
	}
	return out
}

type forecastRow struct {
	Month string
	MRR   string
	ARR   string
	Bands []string
}

type scoreRow struct {
	analytics.ForecastScore
	MASE, VsNaive, Bias string
	Coverage            []string
}

type revenueForecast struct {
	Any    bool
	Empty  Empty
	Chart  template.HTML
	Method string
	Origin string
	Facts  []Fact
	Levels []string
	Points []forecastRow
	Scores []scoreRow
}

func (p revenuePages) forecast(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue/forecast")
	}
	if err != nil {
		return View{}, err
	}
	fc, err := f.Forecast(c.Context())
	if err != nil {
		return View{}, err
	}
	return revenueView("Forecast", "MRR of the next twelve months, and how wrong the method was in the past. "+through(f.Refresh), "revenue_forecast", "/revenue/forecast",
		newRevenueForecast(f.Months(), fc, f.Reporting)), nil
}

func newRevenueForecast(months []analytics.MonthRow, fc *analytics.Forecast, currency string) revenueForecast {
	out := revenueForecast{Empty: Empty{Icon: "revenue", Title: "No forecast yet", Text: "A forecast needs six complete months."}}
	if fc == nil {
		return out
	}
	out.Any, out.Method, out.Origin = true, fc.Method, monthText(fc.Origin)
	out.Chart = mrrLine("MRR and forecast", lastMonths(months, 24), fc, currency)
	for _, l := range fc.Levels {
		out.Levels = append(out.Levels, strconv.Itoa(l)+"\u00a0%")
	}
	for _, p := range fc.Points {
		r := forecastRow{Month: monthText(p.Month), MRR: FormatMoney(minor(currency, p.MRR)), ARR: FormatMoneyShort(minor(currency, 12*p.MRR))}
		for k := range p.Lo {
			r.Bands = append(r.Bands, FormatMoneyShort(minor(currency, p.Lo[k]))+" to "+FormatMoneyShort(minor(currency, p.Hi[k])))
		}
		out.Points = append(out.Points, r)
	}
	b := fc.Backtest
	out.Facts = []Fact{{Label: "Method", Value: fc.Method}, {Label: "Form", Value: fc.Fit}, {Label: "Made from", Value: "months up to " + monthText(fc.Origin)},
		{Label: "Back-test", Value: fmt.Sprintf("%d starting months, %d forecasts up to %d months ahead", b.Origins, b.Pairs, b.Horizon)},
		{Label: "Yardstick", Value: b.Naive}, {Label: "An error of 1", Value: FormatMoney(minor(currency, b.Scale))}}
	for _, s := range b.Scores {
		r := scoreRow{ForecastScore: s, MASE: decimal(s.MASE), VsNaive: decimal(s.VsNaive), Bias: decimal(s.Bias)}
		for _, v := range s.Coverage {
			r.Coverage = append(r.Coverage, strconv.Itoa(v)+"\u00a0%")
		}
		out.Scores = append(out.Scores, r)
	}
	return out
}

func decimal(v float64) string {
	return strings.ReplaceAll(strconv.FormatFloat(v, 'f', 2, 64), "-", "−")
}

type survivalRow struct {
	Months                 int
	Survival, Interval, SE string
	AtRisk                 int
}

type revenueSurvival struct {
	Any   bool
	Empty Empty
	Stats []Stat
	Chart template.HTML
	Rows  []survivalRow
}

func (p revenuePages) survival(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue/survival")
	}
	if err != nil {
		return View{}, err
	}
	s, err := f.Survival(c.Context(), "")
	if err != nil {
		return View{}, err
	}
	return revenueView("Survival", "How long subscriptions live. "+through(f.Refresh), "revenue_survival", "/revenue/survival", newRevenueSurvival(s)), nil
}

func newRevenueSurvival(s *analytics.Survival) revenueSurvival {
	out := revenueSurvival{Empty: Empty{Icon: "revenue", Title: "No subscription was ever paid for", Text: "Survival counts from the first paid day."}, Any: len(s.Points) > 0}
	if !out.Any {
		return out
	}
	half := Stat{Label: "Half live longer than", Value: "–", Note: "more than half still live"}
	if s.Median != nil {
		half.Value, half.Unit, half.Note = strconv.FormatFloat(*s.Median, 'f', 1, 64), " months", ""
	}
	out.Stats = []Stat{{Label: "Subscriptions", Value: FormatInt(int64(s.Subscriptions)), Note: "that were ever paid for"}, {Label: "Ended", Value: FormatInt(int64(s.Ended))}, half}
	line := chart.Series{Name: "Still paid for"}
	band := chart.Band{Name: "95\u00a0% interval"}
	var labels []string
	for _, p := range s.Points {
		labels = append(labels, strconv.Itoa(p.Months))
		line.Values = append(line.Values, p.Survival)
		band.Lo, band.Hi = append(band.Lo, p.Lo), append(band.Hi, p.Hi)
		if p.Months%6 == 0 || p.Months == 1 {
			out.Rows = append(out.Rows, survivalRow{p.Months, FormatPercent(p.Survival), FormatPercent(p.Lo) + " to " + FormatPercent(p.Hi), strconv.FormatFloat(p.StdErr, 'f', 4, 64), p.AtRisk})
		}
	}
	out.Chart = chart.Line(chart.LineSpec{Title: "Share of subscriptions still paid for, by months", Labels: labels, Series: []chart.Series{line}, Bands: []chart.Band{band}, Format: FormatPercent, Zero: true})
	return out
}

type billingRow struct {
	Month, Kind string
	Amount      governance.Money
	Facts       int
	Tenants     int
	Href        string
}

type revenueBilling struct {
	Rows  []billingRow
	Empty Empty
}

func (p revenuePages) billing(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue/billing")
	}
	if err != nil {
		return View{}, err
	}
	rows, err := f.Revenue(c.Context())
	if err != nil {
		return View{}, err
	}
	return revenueView("Billing", "What was billed, paid and sold, as the sources told it: no part of MRR. "+through(f.Refresh), "revenue_billing", "/revenue/billing", newRevenueBilling(rows)), nil
}

func newRevenueBilling(rows []analytics.RevenueRow) revenueBilling {
	out := revenueBilling{Empty: Empty{Icon: "revenue", Title: "Nothing was billed", Text: "Invoices, payments and purchases appear here."}}
	for _, r := range slices.Backward(rows) {
		out.Rows = append(out.Rows, billingRow{monthText(r.Month), string(r.Kind), minor(r.Currency, r.Amount), r.Facts, r.Tenants,
			"/revenue/facts?kind=" + url.QueryEscape(string(r.Kind)) + "&month=" + r.Month.String()})
	}
	return out
}
