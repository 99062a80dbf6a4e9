package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/console/chart"
	"github.com/reevehq/reeve/governance"
)

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

// timeline tells what a tenant did to its MRR; currency rates are nothing it did.
func (p revenuePages) timeline(ctx context.Context, id governance.TenantID, limit int) ([]TimelineItem, error) {
	f, err := p.svc.Figures(ctx)
	if errors.Is(err, governance.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, ms, err := f.TenantMonths(ctx, id)
	if err != nil {
		return nil, err
	}
	var out []TimelineItem
	for _, m := range slices.Backward(ms) {
		if m.Line == analytics.LineFX || len(out) == limit {
			continue
		}
		item := TimelineItem{At: m.Day.Start(p.svc.Zone()), Icon: "revenue", Tone: ToneOK, Title: "MRR: " + strings.ToLower(lineText(m.Line)) + " of " + FormatMoney(minor(f.Reporting, m.Delta)),
			Text: m.Subscription + ": " + FormatMoney(m.Before) + " → " + FormatMoney(m.After), Href: drillPath(string(m.Line), m.Day.Month(), "tenant", string(id))}
		if m.Delta < 0 {
			item.Tone = ToneWarn
		}
		out = append(out, item)
	}
	return out, nil
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
