package console

import (
	"errors"
	"html/template"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/console/chart"
	"github.com/reevehq/reeve/governance"
)

const (
	analyticsRead  = "analytics:read"
	analyticsWrite = "analytics:write"
)

// Analytics is the pages of package analytics, called Revenue in the navigation.
func Analytics(svc *analytics.Service) Section {
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
		Home:     []HomeCard{{Permission: analyticsRead, Lead: []string{"finance_viewer"}, Order: 20, Load: p.card}},
		Tenant:   []TenantTab{{Slug: "revenue", Title: "Revenue", Permission: analyticsRead, Order: 20, Load: p.tenantTab}},
		Timeline: []TimelineSource{{Permission: analyticsRead, Load: p.timeline}},
		Stories:  revenueStories(),
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
