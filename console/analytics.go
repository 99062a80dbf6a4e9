package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/console/chart"
	"github.com/reevehq/reeve/governance"
)

const (
	analyticsRead  = "analytics:read"
	analyticsWrite = "analytics:write"
)

// Revenue is the pages of package analytics.
func Revenue(svc *analytics.Service) Section {
	p := revenuePages{svc}
	page := func(path string, fn func(c *Ctx) (View, error)) Route {
		return Route{Pattern: "GET /revenue" + path, Permission: analyticsRead, Page: fn}
	}
	return Section{
		Name: "revenue",
		Nav:  []NavItem{{Group: GroupCustomers, Order: 30, Title: "Revenue", Path: "/revenue", Icon: "revenue", Permission: analyticsRead}},
		Routes: []Route{
			page("", p.overview), page("/rollforward", p.rollForward), page("/retention", p.retention), page("/cohorts", p.cohorts),
			page("/forecast", p.forecast), page("/survival", p.survival), page("/billing", p.billing), page("/drill", p.drill), page("/facts", p.facts),
			page("/refreshes", p.refreshes), page("/refreshes/{generation}", p.refresh),
			{Pattern: "POST /revenue/refreshes", Permission: analyticsWrite, Post: p.run},
			{Pattern: "GET /revenue/import", Permission: analyticsWrite, Page: p.importForm},
			{Pattern: "POST /revenue/import", Permission: analyticsWrite, Post: p.importCSV, Back: p.importForm, MaxBody: analytics.MaxCSV + 1<<20},
		},
		Home:    []HomeCard{{Permission: analyticsRead, Lead: []string{"finance_viewer"}, Order: 20, Load: p.card}},
		Tenant:  []TenantTab{{Slug: "revenue", Title: "Revenue", Permission: analyticsRead, Order: 20, Load: p.tenantTab}},
		Stories: revenueStories(),
	}
}

type revenuePages struct{ svc *analytics.Service }

// errNoFigures: nothing is published yet.
var errNoFigures = errors.New("no figures")

// figures gives the published figures, or errNoFigures.
func (p revenuePages) figures(c *Ctx) (*analytics.Figures, error) {
	f, err := p.svc.Figures(c.Context())
	if errors.Is(err, governance.ErrNotFound) {
		return nil, errNoFigures
	}
	return f, err
}

var revenueTabs = []Tab{{Title: "Overview", Href: "/revenue"}, {Title: "Roll-forward", Href: "/revenue/rollforward"}, {Title: "Retention", Href: "/revenue/retention"},
	{Title: "Cohorts", Href: "/revenue/cohorts"}, {Title: "Forecast", Href: "/revenue/forecast"}, {Title: "Survival", Href: "/revenue/survival"},
	{Title: "Billing", Href: "/revenue/billing"}, {Title: "Facts", Href: "/revenue/facts"}, {Title: "Refreshes", Href: "/revenue/refreshes"}}

// view is the head that the pages of the section share.
func revenueView(title, lead, tpl, here string, data any) View {
	v := View{Title: title, Lead: lead, Template: tpl, Data: data, Tabs: slices.Clone(revenueTabs)}
	for i := range v.Tabs {
		v.Tabs[i].Current = v.Tabs[i].Href == here
	}
	if here != "/revenue" {
		v.Crumbs = []Crumb{{"Revenue", "/revenue"}, {title, ""}}
	}
	return v
}

// empty is the page before the first figures.
func (p revenuePages) empty(c *Ctx, here string) (View, error) {
	v := revenueView("Revenue", "What customers pay, and what changed it.", "revenue_empty", here, emptyRevenue(c.Can(analyticsWrite)))
	v.Crumbs = nil
	return v, nil
}

type revenueEmpty struct {
	Empty   Empty
	Refresh *Button
}

func emptyRevenue(write bool) revenueEmpty {
	out := revenueEmpty{Empty: Empty{Icon: "revenue", Title: "No figures yet", Text: "Figures are built from facts that a billing and a usage system send, or that are imported as CSV. They appear after the first refresh."}}
	if write {
		out.Empty.Action = &Button{Text: "Import facts", Href: "/revenue/import", Kind: "primary"}
		b := refreshButton()
		out.Refresh = &b
	}
	return out
}

func refreshButton() Button {
	return Button{Text: "Refresh now", Post: "/revenue/refreshes"}
}

// through is the sentence that every page of figures carries.
func through(f analytics.Refresh) string {
	return "Data through " + dayText(f.Through) + ", refreshed " + f.FinishedAt.Format("2 Jan 2006, 15:04 MST") + "."
}

func dayText(d analytics.Day) string { return d.Start(time.UTC).Format("2 Jan 2006") }

func monthText(m analytics.Month) string { return m.First().Start(time.UTC).Format("Jan 2006") }

func minor(currency string, v int64) governance.Money {
	return governance.Money{Minor: v, Currency: currency}
}

// moneyShort formats chart values, which are in whole units.
func moneyShort(currency string) func(float64) string {
	scale := math.Pow10(governance.Exponent(currency))
	return func(v float64) string { return FormatMoneyShort(minor(currency, int64(math.Round(v*scale)))) }
}

// units turns minor units into the chart's whole units.
func units(currency string, v int64) float64 {
	return float64(v) / math.Pow10(governance.Exponent(currency))
}

func basisText(v int64) string { return FormatPercent(float64(v) / 10_000) }

// define is the short form of a definition, for the note below a number.
var define = map[string]string{
	"mrr": "what subscriptions pay a month", "arr": "12 × MRR", "nrr": "net, of last year's customers", "grr": "gross, never above 100 %",
	"logos": "tenants that pay", "arpa": "MRR per customer",
}

func drillPath(metric string, m analytics.Month, extra ...string) string {
	q := url.Values{"metric": {metric}, "month": {m.String()}}
	for i := 0; i+1 < len(extra); i += 2 {
		if extra[i+1] != "" {
			q.Set(extra[i], extra[i+1])
		}
	}
	return "/revenue/drill?" + q.Encode()
}

// rollTable is the roll-forward with every figure a link to what is behind it.
type rollTable struct {
	Head []string
	Rows []rollRow
}

type rollRow struct {
	Period  string
	Partial bool
	Cells   []rollCell
	Logos   int
}

type rollCell struct {
	Text string
	Href string
	Bold bool
}

var rollLines = append(append([]analytics.Line{analytics.LineOpening}, analytics.MovementLines()...), analytics.LineClosing)

func lineText(l analytics.Line) string {
	if l == analytics.LineFX {
		return "Currency"
	}
	return Humanize(string(l))
}

func newRollTable(months []analytics.MonthRow, currency string) rollTable {
	t := rollTable{}
	for _, l := range rollLines {
		t.Head = append(t.Head, lineText(l))
	}
	for _, m := range slices.Backward(months) {
		r := rollRow{Period: monthText(m.Month), Partial: !m.Complete, Logos: m.Logos.Closing}
		for _, l := range rollLines {
			cell := rollCell{Text: FormatMoney(minor(currency, m.Line(l))), Bold: l == analytics.LineClosing}
			if m.Line(l) != 0 {
				cell.Href = drillPath(string(l), m.Month)
			} else {
				cell.Text = "–"
			}
			r.Cells = append(r.Cells, cell)
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

func lastMonths(months []analytics.MonthRow, n int) []analytics.MonthRow {
	return months[max(0, len(months)-n):]
}

func column(months []analytics.MonthRow, currency string, of func(m analytics.MonthRow) int64) (values []float64, texts []string) {
	for _, m := range months {
		v := of(m)
		values, texts = append(values, units(currency, v)), append(texts, FormatMoney(minor(currency, v)))
	}
	return values, texts
}

func monthLabels(months []analytics.MonthRow) []string {
	out := make([]string, len(months))
	for i, m := range months {
		out[i] = monthText(m.Month)
	}
	return out
}

// movementBars draws the movements; each bar leads to what is behind it.
func movementBars(months []analytics.MonthRow, currency string, at func(path string) string) template.HTML {
	classes := map[analytics.Line]string{analytics.LineNew: "s-1", analytics.LineExpansion: "s-2", analytics.LineReactivation: "s-3", analytics.LineContraction: "s-4",
		analytics.LineChurn: "s-neg", analytics.LineFX: "s-5"}
	var series []chart.Series
	for _, l := range []analytics.Line{analytics.LineNew, analytics.LineExpansion, analytics.LineReactivation, analytics.LineContraction, analytics.LineChurn, analytics.LineFX} {
		s := chart.Series{Name: lineText(l), Class: classes[l]}
		s.Values, s.Texts = column(months, currency, func(m analytics.MonthRow) int64 { return m.Line(l) })
		for _, m := range months {
			href := ""
			if m.Line(l) != 0 {
				href = at(drillPath(string(l), m.Month))
			}
			s.Hrefs = append(s.Hrefs, href)
		}
		series = append(series, s)
	}
	net := chart.Series{Name: "Net"}
	net.Values, net.Texts = column(months, currency, func(m analytics.MonthRow) int64 { return m.Closing - m.Opening })
	return chart.Bars(chart.BarSpec{Title: "What changed MRR", Labels: monthLabels(months), Series: series, Net: &net, Format: moneyShort(currency)})
}

// mrrLine draws MRR, with the forecast's fan when there is one.
func mrrLine(title string, months []analytics.MonthRow, fc *analytics.Forecast, currency string) template.HTML {
	labels := monthLabels(months)
	mrr := chart.Series{Name: "MRR"}
	mrr.Values, mrr.Texts = column(months, currency, func(m analytics.MonthRow) int64 { return m.Closing })
	spec := chart.LineSpec{Title: title, Labels: labels, Series: []chart.Series{mrr}, Format: moneyShort(currency), Area: true}
	if fc == nil || len(fc.Points) == 0 {
		return chart.Line(spec)
	}
	// The forecast begins at the last complete month; a month that is not over is
	// drawn beside it.
	index := map[analytics.Month]int{}
	for i, m := range months {
		index[m.Month] = i
	}
	n := len(labels)
	for _, p := range fc.Points {
		if _, ok := index[p.Month]; !ok {
			index[p.Month] = n
			spec.Labels = append(spec.Labels, monthText(p.Month))
			n++
		}
	}
	gap := func() []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = math.NaN()
		}
		return v
	}
	line := chart.Series{Name: "Forecast", Values: gap(), Texts: make([]string, n), Dashed: true, Class: "s-1"}
	bands := make([]chart.Band, len(fc.Levels))
	for k := range fc.Levels {
		w := len(fc.Levels) - 1 - k // widest first
		bands[k] = chart.Band{Name: strconv.Itoa(fc.Levels[w]) + "\u00a0% band", Lo: gap(), Hi: gap()}
	}
	put := func(i int, mean int64, lo, hi []int64) {
		line.Values[i], line.Texts[i] = units(currency, mean), FormatMoney(minor(currency, mean))
		for k := range bands {
			w := len(fc.Levels) - 1 - k
			bands[k].Lo[i], bands[k].Hi[i] = units(currency, lo[w]), units(currency, hi[w])
		}
	}
	if i, ok := index[fc.Origin]; ok {
		v := months[i].Closing
		same := slices.Repeat([]int64{v}, len(fc.Levels))
		put(i, v, same, same)
	}
	for _, p := range fc.Points {
		put(index[p.Month], p.MRR, p.Lo, p.Hi)
	}
	values := gap()
	copy(values, mrr.Values)
	mrr.Values = values
	mrr.Texts = append(mrr.Texts, slices.Repeat([]string{"–"}, n-len(mrr.Texts))...)
	spec.Series, spec.Bands, spec.Area = []chart.Series{mrr, line}, bands, false
	return chart.Line(spec)
}

type revenueOverview struct {
	Notes       []Alert
	Stats       []Stat
	Line, Bars  template.HTML
	Roll        rollTable
	Definitions []analytics.Definition
}

func (p revenuePages) overview(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue")
	}
	if err != nil {
		return View{}, err
	}
	fc, err := f.Forecast(c.Context())
	if err != nil {
		return View{}, err
	}
	latest, err := p.svc.Refreshes(c.Context(), 1)
	if err != nil {
		return View{}, err
	}
	data := newRevenueOverview(f.Summary(), f.Months(), fc, f.Reporting, c.URL)
	data.Notes = revenueNotes(f.Refresh, latest)
	v := revenueView("Revenue", through(f.Refresh), "revenue_overview", "/revenue", data)
	if c.Can(analyticsWrite) {
		v.Actions = []Button{{Text: "Import facts", Href: "/revenue/import"}, refreshButton()}
	}
	return v, nil
}

// revenueNotes says what a reader must know before believing the figures.
func revenueNotes(shown analytics.Refresh, latest []analytics.Refresh) []Alert {
	var out []Alert
	if len(latest) > 0 && latest[0].Generation != shown.Generation && latest[0].State != analytics.RefreshBuilding {
		out = append(out, Alert{Tone: ToneDanger, Title: "The latest refresh was not published", Text: "It failed a test. What is shown is from the one before.",
			Link: &Crumb{"See the tests", "/revenue/refreshes/" + strconv.FormatInt(latest[0].Generation, 10)}})
	}
	if n := len(shown.Restatements); n > 0 {
		text := plural(n, "figure that was published before has", "figures that were published before have")
		out = append(out, Alert{Tone: ToneInfo, Title: "Earlier months were restated", Text: text + " changed, because facts about those months came later.",
			Link: &Crumb{"See what changed", "/revenue/refreshes/" + strconv.FormatInt(shown.Generation, 10)}})
	}
	return out
}

func newRevenueOverview(s analytics.Summary, months []analytics.MonthRow, fc *analytics.Forecast, currency string, at func(string) string) revenueOverview {
	recent := lastMonths(months, 18)
	var spark []float64
	for _, m := range lastMonths(months, 12) {
		spark = append(spark, units(currency, m.Closing))
	}
	last := analytics.Month(0)
	if len(months) > 0 {
		last = months[len(months)-1].Month
	}
	mrr := Stat{Label: "MRR", Value: FormatMoney(s.MRR), Note: define["mrr"], Spark: chart.Spark(spark, "MRR, 12 months")}
	if last != 0 {
		mrr.Href = drillPath("closing", last)
	}
	if s.PreviousMRR.Minor > 0 {
		share := float64(s.Change.Minor) / float64(s.PreviousMRR.Minor)
		mrr.Delta, mrr.Trend = signed(share)+" in "+monthText(s.Month), ToneOK
		if share < 0 {
			mrr.Trend = ToneDanger
		}
		mrr.Note = ""
	}
	out := revenueOverview{Definitions: analytics.Definitions(), Roll: newRollTable(lastMonths(months, 13), currency)}
	out.Stats = []Stat{
		mrr,
		{Label: "ARR", Value: FormatMoney(s.ARR), Note: define["arr"]},
		ratioStat("NRR", s.NRR, define["nrr"], drillPath(string(analytics.MetricNRRNow), s.Month)),
		ratioStat("GRR", s.GRR, define["grr"], drillPath(string(analytics.MetricGRRKept), s.Month)),
		{Label: "Customers", Value: FormatInt(int64(s.Logos)), Note: define["logos"]},
		{Label: "ARPA", Value: FormatMoney(s.ARPA), Note: define["arpa"]},
	}
	out.Line = mrrLine("MRR and forecast", recent, fc, currency)
	out.Bars = movementBars(lastMonths(months, 13), currency, at)
	return out
}

func signed(share float64) string {
	if share > 0 {
		return "+" + FormatPercent(share)
	}
	return FormatPercent(share)
}

func ratioStat(label string, v *int64, note, href string) Stat {
	if v == nil {
		return Stat{Label: label, Value: "–", Note: "needs twelve months of history"}
	}
	return Stat{Label: label, Value: basisText(*v), Note: note, Href: href}
}

type revenueRoll struct {
	Filters []Field
	Months  *rollTable
	Days    []analytics.DayRow
	DayRows []rollRow
	Head    []string
	Line    template.HTML
}

func (p revenuePages) rollForward(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue/rollforward")
	}
	if err != nil {
		return View{}, err
	}
	data := revenueRoll{Filters: []Field{{Name: "month", Label: "Days of", Kind: "select", Value: c.Query("month"), Options: monthOptions(f.Months()), Required: true}}}
	if v := c.Query("month"); v != "" {
		m, err := analytics.ParseMonth(v)
		if err != nil {
			return View{}, governance.ErrNotFound
		}
		if _, ok := f.Month(m); !ok {
			return View{}, governance.ErrNotFound
		}
		days, err := f.Days(c.Context(), m.First(), min(m.Last(), f.Through))
		if err != nil {
			return View{}, err
		}
		data.Head, data.DayRows = dayRows(days, f.Reporting)
	} else {
		t := newRollTable(f.Months(), f.Reporting)
		data.Months = &t
	}
	return revenueView("Roll-forward", "Opening and movements make closing, to the cent. Every figure leads to what is behind it. "+through(f.Refresh), "revenue_roll", "/revenue/rollforward", data), nil
}

func monthOptions(months []analytics.MonthRow) []Option {
	out := []Option{{"", "All months"}}
	for _, m := range slices.Backward(months) {
		out = append(out, Option{m.Month.String(), monthText(m.Month)})
	}
	return out
}

func dayRows(days []analytics.DayRow, currency string) (head []string, rows []rollRow) {
	for _, l := range rollLines {
		head = append(head, lineText(l))
	}
	for _, d := range days {
		r := rollRow{Period: dayText(d.Day)}
		for _, l := range rollLines {
			cell := rollCell{Text: FormatMoney(minor(currency, d.Line(l))), Bold: l == analytics.LineClosing}
			switch {
			case d.Line(l) == 0:
				cell.Text = "–"
			case l != analytics.LineOpening && l != analytics.LineClosing:
				cell.Href = drillPath(string(l), d.Day.Month(), "day", d.Day.String())
			}
			r.Cells = append(r.Cells, cell)
		}
		rows = append(rows, r)
	}
	return head, rows
}

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
	median := "more than half still live"
	if s.Median != nil {
		median = strconv.FormatFloat(*s.Median, 'f', 1, 64) + " months"
	}
	out.Stats = []Stat{{Label: "Subscriptions", Value: FormatInt(int64(s.Subscriptions)), Note: "that were ever paid for"}, {Label: "Ended", Value: FormatInt(int64(s.Ended))},
		{Label: "Half live longer than", Value: median}}
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

type drillTenant struct {
	Name   string
	ID     string
	Amount governance.Money
	Share  string
	Rows   int
	Href   string
}

type drillLine struct{ analytics.DrillRow }

// RateText is the rate of the amount, empty when nothing was converted.
func (l drillLine) RateText() string {
	switch {
	case l.Line == analytics.LineFX:
		return analytics.FormatRate(l.RateBefore) + " → " + analytics.FormatRate(l.Rate)
	case l.Rate != 0:
		return analytics.FormatRate(l.Rate)
	case l.RateBefore != 0:
		return analytics.FormatRate(l.RateBefore)
	}
	return ""
}

type revenueDrill struct {
	Number  governance.Money
	Tenants []drillTenant
	Parts   int // of the number, over all pages
	Rows    []drillLine
	Facts   []factView
	Tenant  string // link to the tenant's own page
	Pager   Pager
	Def     string
	Empty   Empty
	Adds    bool // the parts sum to the number: shown, and never taken for granted
}

// factView is a fact with the way to its subscription's history.
type factView struct {
	analytics.Fact
	Href string
}

func factViews(facts []analytics.Fact) []factView {
	out := make([]factView, len(facts))
	for i, f := range facts {
		out[i] = factView{Fact: f}
		if f.Subscription != "" {
			out[i].Href = "/revenue/facts?history=on&subscription=" + url.QueryEscape(f.Subscription)
		}
	}
	return out
}

// Says is what the fact tells, in words.
func (f factView) Says() string {
	switch {
	case f.Void:
		return "taken back"
	case f.Cancelled:
		return "cancelled"
	case f.Kind == analytics.KindUsage:
		return FormatInt(f.Quantity) + " " + Humanize(f.Metric)
	case f.Kind == analytics.KindRate:
		return f.Currency + " at " + analytics.FormatRate(f.Rate)
	case f.Kind == analytics.KindWatermark:
		return "complete up to this day"
	}
	return FormatMoney(f.Money())
}

// Effective is when the fact took effect, without a time where there is none.
func (f factView) Effective() string {
	if f.Fact.At.Equal(f.Day.Start(time.UTC)) {
		return dayText(f.Day)
	}
	return f.Fact.At.Format("2 Jan 2006, 15:04")
}

var drillTitles = map[analytics.Metric]string{analytics.MetricNRRStart: "MRR of last year's customers, a year before", analytics.MetricNRRNow: "MRR of last year's customers, now",
	analytics.MetricGRRKept: "MRR kept of last year's customers", analytics.MetricCohort: "Cohort"}

var drillDefinitions = map[analytics.Metric]string{analytics.MetricNRRStart: "nrr", analytics.MetricNRRNow: "nrr", analytics.MetricGRRKept: "grr", analytics.MetricCohort: "cohort",
	analytics.Metric(analytics.LineOpening): "mrr", analytics.Metric(analytics.LineClosing): "mrr"}

func drillTitle(cell analytics.Cell) string {
	switch {
	case cell.Metric == analytics.MetricCohort:
		return fmt.Sprintf("Cohort of %s after %d months", monthText(cell.Month), cell.Age)
	case cell.Day != nil:
		return lineText(analytics.Line(cell.Metric)) + ", " + dayText(*cell.Day)
	}
	if t, ok := drillTitles[cell.Metric]; ok {
		return t + ", " + monthText(cell.Month)
	}
	return lineText(analytics.Line(cell.Metric)) + ", " + monthText(cell.Month)
}

func (p revenuePages) cell(c *Ctx) (analytics.Cell, error) {
	cell := analytics.Cell{Metric: analytics.Metric(c.Query("metric")), Tenant: governance.TenantID(c.Query("tenant"))}
	var err error
	if cell.Month, err = analytics.ParseMonth(c.Query("month")); err != nil {
		return cell, governance.ErrNotFound
	}
	if v := c.Query("age"); v != "" {
		if cell.Age, err = strconv.Atoi(v); err != nil || cell.Age < 0 || cell.Age > 1200 {
			return cell, governance.ErrNotFound
		}
	}
	if v := c.Query("day"); v != "" {
		d, err := analytics.ParseDay(v)
		if err != nil {
			return cell, governance.ErrNotFound
		}
		cell.Day = &d
	}
	if strings.ContainsRune(string(cell.Tenant)+string(cell.Metric), 0) || len(cell.Tenant) > 200 {
		return cell, governance.ErrNotFound
	}
	return cell, nil
}

const drillPage = 50

func (p revenuePages) drill(c *Ctx) (View, error) {
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return p.empty(c, "/revenue")
	}
	if err != nil {
		return View{}, err
	}
	cell, err := p.cell(c)
	if err != nil {
		return View{}, err
	}
	d, err := f.Drill(c.Context(), cell)
	var invalid *governance.InvalidError
	if errors.As(err, &invalid) { // an address nobody made
		return View{}, governance.ErrNotFound
	}
	if err != nil {
		return View{}, err
	}
	data := revenueDrill{Number: d.Number, Empty: Empty{Icon: "revenue", Title: "Nothing is behind this figure", Text: "It is zero."}}
	id := string(cell.Metric)
	if v, ok := drillDefinitions[cell.Metric]; ok {
		id = v
	}
	for _, def := range analytics.Definitions() {
		if def.ID == id {
			data.Def = def.Text
		}
	}
	v := revenueView(drillTitle(cell), through(f.Refresh), "revenue_drill", "", &data)
	v.Tabs = nil
	if cell.Tenant == "" {
		return v, p.drillTenants(c, f, d, cell, &data)
	}
	name := p.name(c.Context(), cell.Tenant)
	back := c.With("tenant", "")
	v.Crumbs = []Crumb{{"Revenue", "/revenue"}, {v.Title, back}, {name, ""}}
	v.Title = name + ": " + v.Title
	if c.Can("tenant:read") {
		v.Actions = []Button{{Text: "Open tenant", Href: "/tenants/" + url.PathEscape(string(cell.Tenant))}}
	}
	return v, p.drillRows(c, d, &data)
}

func (p revenuePages) drillTenants(c *Ctx, f *analytics.Figures, d *analytics.Drill, cell analytics.Cell, data *revenueDrill) error {
	sum := int64(0)
	for _, t := range d.Tenants {
		sum += t.Amount
	}
	data.Adds, data.Parts = sum == d.Number.Minor, len(d.Tenants)
	// The largest first: that is what is looked for. Ties by id, so that pages are stable.
	slices.SortFunc(d.Tenants, func(a, b analytics.TenantAmount) int {
		return cmp.Or(cmp.Compare(abs(b.Amount), abs(a.Amount)), cmp.Compare(a.Tenant, b.Tenant))
	})
	start := 0
	if v := c.Query("cursor"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return governance.ErrNotFound
		}
		start = min(n, len(d.Tenants))
	}
	end := min(len(d.Tenants), start+drillPage)
	for _, t := range d.Tenants[start:end] {
		row := drillTenant{Name: p.name(c.Context(), t.Tenant), ID: string(t.Tenant), Amount: minor(f.Reporting, t.Amount), Rows: t.Rows, Share: "–",
			Href: drillPath(string(cell.Metric), cell.Month, "tenant", string(t.Tenant), "day", c.Query("day"), "age", c.Query("age"))}
		if d.Number.Minor != 0 {
			row.Share = FormatPercent(float64(t.Amount) / float64(d.Number.Minor))
		}
		data.Tenants = append(data.Tenants, row)
	}
	next := ""
	if end < len(d.Tenants) {
		next = strconv.Itoa(end)
	}
	data.Pager = c.Pager(next)
	return nil
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}

func (p revenuePages) drillRows(c *Ctx, d *analytics.Drill, data *revenueDrill) error {
	var ids []uuid.UUID
	sum := int64(0)
	for _, r := range d.Rows {
		sum += r.Amount.Minor
		data.Rows = append(data.Rows, drillLine{r})
		ids = append(ids, r.Facts...)
	}
	data.Adds, data.Parts = sum == d.Number.Minor, len(d.Rows)
	facts, err := p.svc.DrillFacts(c.Context(), ids)
	data.Facts = factViews(facts)
	return err
}

// name is a tenant's name, or its id when the kernel does not know it.
func (p revenuePages) name(ctx context.Context, id governance.TenantID) string {
	t, err := p.svc.Kernel().Tenant(ctx, id)
	if err != nil {
		return string(id)
	}
	return t.Name
}

type revenueFacts struct {
	Filters []Field
	Rows    []factView
	Pager   Pager
	Empty   Empty
}

var factKinds = []analytics.Kind{analytics.KindSubscription, analytics.KindInvoice, analytics.KindPayment, analytics.KindPurchase, analytics.KindUsage, analytics.KindRate, analytics.KindWatermark}

func (p revenuePages) facts(c *Ctx) (View, error) {
	q := analytics.FactFilter{Tenant: governance.TenantID(c.Query("tenant")), Subscription: c.Query("subscription"), Kind: analytics.Kind(c.Query("kind")),
		History: c.Query("history") != "", Limit: drillPage}
	if len(q.Tenant) > 200 || len(q.Subscription) > 200 || strings.ContainsRune(string(q.Tenant)+q.Subscription+string(q.Kind), 0) {
		return View{}, governance.ErrNotFound
	}
	var err error
	if v := c.Query("month"); v != "" {
		if q.Month, err = analytics.ParseMonth(v); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	if v := c.Query("cursor"); v != "" {
		if q.Before, err = uuid.Parse(v); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	facts, err := p.svc.Facts(c.Context(), q)
	if err != nil {
		return View{}, err
	}
	data := revenueFacts{Filters: factFilters(q, c.Query("month")), Rows: factViews(facts), Empty: factsEmpty(q.Tenant != "" || q.Subscription != "" || q.Kind != "" || q.Month != 0, c.Can(analyticsWrite))}
	next := ""
	if len(facts) == drillPage {
		next = facts[len(facts)-1].ID.String()
	}
	data.Pager = c.Pager(next)
	v := revenueView("Facts", "What billing and usage systems told, the latest first. Nothing is ever overwritten.", "revenue_facts", "/revenue/facts", data)
	if c.Can(analyticsWrite) {
		v.Actions = []Button{{Text: "Import facts", Href: "/revenue/import", Kind: "primary"}}
	}
	return v, nil
}

func factFilters(q analytics.FactFilter, month string) []Field {
	options := []Option{{"", "All kinds"}}
	for _, k := range factKinds {
		options = append(options, Option{string(k), Humanize(string(k))})
	}
	history := ""
	if q.History {
		history = "on"
	}
	return []Field{{Name: "kind", Label: "Kind", Kind: "select", Value: string(q.Kind), Options: options, Required: true}, {Name: "tenant", Label: "Tenant", Value: string(q.Tenant), MaxLen: 200},
		{Name: "subscription", Label: "Subscription", Value: q.Subscription, MaxLen: 200}, {Name: "month", Label: "Month", Value: month, Placeholder: "2026-01", MaxLen: 7},
		{Name: "history", Label: "With corrected ones", Kind: "checkbox", Value: history}}
}

func factsEmpty(filtered, write bool) Empty {
	if filtered {
		return Empty{Icon: "search", Title: "No fact matches", Text: "Change the filter or clear it.", Action: &Button{Text: "Clear filter", Href: "/revenue/facts"}}
	}
	e := Empty{Icon: "revenue", Title: "No facts yet", Text: "Send them to POST /v1/analytics/facts, or import a CSV file."}
	if write {
		e.Action = &Button{Text: "Import facts", Href: "/revenue/import", Kind: "primary"}
	}
	return e
}

type refreshView struct {
	analytics.Refresh
	Failed int
	Took   time.Duration
	MRR    governance.Money
}

func newRefreshView(r analytics.Refresh) refreshView {
	v := refreshView{Refresh: r, Took: time.Duration(r.Micros) * time.Microsecond, MRR: minor(cmp.Or(r.Reporting, "EUR"), r.MRR)}
	for _, t := range r.Tests {
		if !t.OK {
			v.Failed++
		}
	}
	return v
}

// Status is the word of the state that the status pill knows.
func (v refreshView) Status() string {
	switch v.State {
	case analytics.RefreshPublished:
		return "done"
	case analytics.RefreshBuilding:
		return "running"
	case analytics.RefreshRefused:
		return "blocked"
	}
	return "failed"
}

type restatementView struct {
	Month, Line   string
	Before, After governance.Money
	Change        governance.Money
	Href          string
}

type revenueRefreshes struct {
	Rows  []refreshView
	Empty Empty
}

type revenueRefresh struct {
	R            refreshView
	Facts        []Fact
	Restatements []restatementView
}

func (p revenuePages) refreshes(c *Ctx) (View, error) {
	all, err := p.svc.Refreshes(c.Context(), 60)
	if err != nil {
		return View{}, err
	}
	data := revenueRefreshes{Empty: emptyRevenue(c.Can(analyticsWrite)).Empty}
	for _, r := range all {
		data.Rows = append(data.Rows, newRefreshView(r))
	}
	v := revenueView("Refreshes", "Figures are built anew every day, tested, and published only when every test passes.", "revenue_refreshes", "/revenue/refreshes", data)
	if c.Can(analyticsWrite) {
		v.Actions = []Button{refreshButton()}
	}
	return v, nil
}

func (p revenuePages) refresh(c *Ctx) (View, error) {
	n, err := strconv.ParseInt(c.Path("generation"), 10, 64)
	if err != nil {
		return View{}, governance.ErrNotFound
	}
	r, err := p.svc.RefreshOf(c.Context(), n)
	if err != nil {
		return View{}, err
	}
	return refreshPage(r), nil
}

func refreshPage(r analytics.Refresh) View {
	data := revenueRefresh{R: newRefreshView(r)}
	data.Facts = []Fact{{Label: "Generation", Value: strconv.FormatInt(r.Generation, 10)}, {Label: "Data through", Value: dayText(r.Through)}, {Label: "Facts learned up to", At: r.AsOf},
		{Label: "Started by", Value: strings.TrimPrefix(strings.TrimPrefix(r.Actor, "system:"), "user:")}, {Label: "Took", Value: FormatDuration(data.R.Took)},
		{Label: "Segments", Value: FormatInt(int64(r.Segments))}, {Label: "Movements", Value: FormatInt(int64(r.Movements))}, {Label: "MRR", Value: FormatMoney(data.R.MRR)}}
	if r.Reason != "" {
		data.Facts = append(data.Facts, Fact{Label: "Reason", Value: r.Reason})
	}
	for _, v := range r.Restatements {
		cur := data.R.MRR.Currency
		data.Restatements = append(data.Restatements, restatementView{monthText(v.Month), lineText(v.Line), minor(cur, v.Before), minor(cur, v.After), minor(cur, v.After-v.Before),
			drillPath(string(v.Line), v.Month)})
	}
	lead := "Its tests passed and it was published."
	switch r.State {
	case analytics.RefreshRefused:
		lead = "A test failed, so it was not published. What was published before stays."
	case analytics.RefreshFailed:
		lead = "It did not run to its end. What was published before stays."
	case analytics.RefreshBuilding:
		lead = "It is being built."
	}
	v := revenueView("Refresh "+strconv.FormatInt(r.Generation, 10), lead, "revenue_refresh", "", data)
	v.Tabs, v.Badge = nil, data.R.Status()
	v.Crumbs = []Crumb{{"Revenue", "/revenue"}, {"Refreshes", "/revenue/refreshes"}, {strconv.FormatInt(r.Generation, 10), ""}}
	return v
}

func (p revenuePages) run(c *Ctx) (Done, error) {
	out, err := p.svc.RefreshAction().Do(c.Context(), p.svc.Kernel(), c.Identity, analytics.RefreshInput{}, &governance.DoOptions{Key: c.Key()})
	if err != nil {
		return Done{}, err
	}
	var got struct {
		Through string `json:"data_through"`
	}
	if err := out.Into(&got); err != nil {
		return Done{}, err
	}
	return Done{To: "/revenue", Flash: "The figures are new, with data through " + got.Through + "."}, nil
}

type revenueImport struct {
	File    Field
	Columns string
	Faults  []FieldError
}

func (p revenuePages) importForm(c *Ctx) (View, error) {
	return importPage(c.Field(Field{Name: "file", Label: "CSV file", Kind: "file", Required: true, Hint: "UTF-8, with a header line, at most " + FormatBytes(analytics.MaxCSV) + " and " + FormatInt(analytics.MaxBatch) + " rows."})), nil
}

func importPage(f Field) View {
	v := revenueView("Import facts", "All rows are taken or none. Rows that are known already change nothing; a row with a known source and key and other content corrects it.", "revenue_import", "",
		revenueImport{File: f, Columns: strings.Join(analytics.CSVColumns(), ", ")})
	v.Tabs, v.Narrow = nil, true
	return v
}

func (p revenuePages) importCSV(c *Ctx) (Done, error) {
	f, _, err := c.R.FormFile("file")
	if errors.Is(err, http.ErrMissingFile) || errors.Is(err, http.ErrNotMultipart) {
		return Done{}, governance.Invalid("file", "is required")
	}
	if err != nil {
		return Done{}, fmt.Errorf("uploaded file: %w", err)
	}
	defer func() { _ = f.Close() }()
	got, err := p.svc.IngestCSV(c.Context(), c.Identity, f)
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/revenue/facts", Flash: fmt.Sprintf("%s facts: %s new, %s corrections, %s known already. Figures change with the next refresh.", FormatInt(int64(got.Facts)),
		FormatInt(int64(got.Added)), FormatInt(int64(got.Corrected)), FormatInt(int64(got.Duplicate)))}, nil
}

// card answers the question of finance: what is ARR, and how current is it.
func (p revenuePages) card(c *Ctx) (Card, error) {
	card := Card{Title: "How much do customers pay?", Href: "/revenue", More: "Open revenue", Empty: "No figures yet: they appear after the first refresh."}
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return card, nil
	}
	if err != nil {
		return card, err
	}
	s := f.Summary()
	var spark []float64
	for _, m := range lastMonths(f.Months(), 12) {
		spark = append(spark, units(f.Reporting, 12*m.Closing))
	}
	arr := Stat{Label: "ARR", Value: FormatMoney(s.ARR), Spark: chart.Spark(spark, "ARR, 12 months"), Href: "/revenue"}
	if s.PreviousMRR.Minor > 0 {
		share := float64(s.Change.Minor) / float64(s.PreviousMRR.Minor)
		arr.Delta, arr.Trend = signed(share)+" in "+monthText(s.Month), ToneOK
		if share < 0 {
			arr.Trend = ToneDanger
		}
	}
	card.Stats = []Stat{arr, ratioStat("NRR", s.NRR, "", "/revenue/retention"), {Label: "Customers", Value: FormatInt(int64(s.Logos))}}
	card.Note = "Data through " + dayText(f.Through)
	return card, nil
}

type signalView struct {
	Name  string
	Value string
	AsOf  time.Time
}

type tenantRevenue struct {
	Stats    []Stat
	Line     template.HTML
	Rows     []drillLine
	Signals  []signalView
	Overdue  []analytics.OpenInvoice
	Facts    []factView
	Tenant   string
	Empty    Empty
	Any      bool
	Currency string
}

func (p revenuePages) tenantTab(c *Ctx, t governance.TenantState) (string, any, error) {
	id := t.Tenant.ID
	data := tenantRevenue{Tenant: string(id), Empty: Empty{Icon: "revenue", Title: "Nothing is known of what this tenant pays", Text: "It has no subscription in the published figures."}}
	signals, err := p.svc.Signals(c.Context(), id)
	if err != nil {
		return "", nil, err
	}
	data.Signals = newSignalViews(signals)
	if data.Overdue, err = p.svc.Overdue(c.Context(), id); err != nil {
		return "", nil, err
	}
	facts, err := p.svc.Facts(c.Context(), analytics.FactFilter{Tenant: id, Kind: analytics.KindSubscription, Limit: 20})
	if err != nil {
		return "", nil, err
	}
	data.Facts = factViews(facts)
	f, err := p.figures(c)
	if errors.Is(err, errNoFigures) {
		return "revenue_tenant", data, nil
	}
	if err != nil {
		return "", nil, err
	}
	data.Currency = f.Reporting
	months, ms, err := f.TenantMonths(c.Context(), id)
	if err != nil || len(months) == 0 {
		return "revenue_tenant", data, err
	}
	data.Any = true
	last := months[len(months)-1]
	data.Stats = []Stat{{Label: "MRR", Value: FormatMoney(minor(f.Reporting, last.Closing)), Note: "data through " + dayText(f.Through)},
		{Label: "ARR", Value: FormatMoney(minor(f.Reporting, 12*last.Closing)), Note: define["arr"]}}
	data.Line = mrrLine("MRR", lastMonths(months, 24), nil, f.Reporting)
	for _, m := range slices.Backward(ms) {
		if m.Line != analytics.LineFX && len(data.Rows) < 20 {
			before := m.Before
			data.Rows = append(data.Rows, drillLine{DrillRow: analytics.DrillRow{Subscription: m.Subscription, Amount: minor(f.Reporting, m.Delta), Day: m.Day, Line: m.Line, Before: &before, After: m.After}})
		}
	}
	return "revenue_tenant", data, nil
}

func newSignalViews(s analytics.Signals) []signalView {
	var out []signalView
	for name, v := range s.Values {
		text := FormatInt(v.Value)
		switch v.Unit {
		case "percent":
			text = signed(float64(v.Value) / 100)
		case "days":
			text = plural(v.Value, "day", "days")
		default:
			if cur, ok := strings.CutSuffix(v.Unit, ".cent"); ok {
				text = FormatMoney(minor(cur, v.Value))
			}
		}
		out = append(out, signalView{name, text, v.AsOf})
	}
	slices.SortFunc(out, func(a, b signalView) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
