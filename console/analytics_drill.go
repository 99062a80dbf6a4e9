package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
)

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
