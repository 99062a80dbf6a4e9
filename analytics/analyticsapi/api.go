// Package analyticsapi puts the figures of package analytics, and the way in for
// facts, on a huma API that the host already has.
//
// Start with [Register]. Reading needs analytics:read, sending facts and refreshing
// analytics:write. Every figure comes with data_through, as_of and the generation it
// was read from. Errors are those of package govapi; a bad fact is named by its
// place, "body.facts[3].currency" or "row 4, column currency".
package analyticsapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
)

const (
	read  = "analytics:read"
	write = "analytics:write"
)

// body wraps a response body.
type body[T any] struct{ Body T }

// list is a page of items with what they were made from.
type list[T any] struct {
	AnalyticsStamp
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent at the end"`
}

type server struct{ svc *analytics.Service }

// Register adds the operations of svc to api.
func Register(api huma.API, svc *analytics.Service) {
	a := govapi.New(api, svc.Kernel())
	s := server{svc}
	op := func(id, method, path, summary, text string) huma.Operation {
		return huma.Operation{OperationID: "analytics-" + id, Method: method, Path: "/analytics" + path, Summary: summary, Description: text, Tags: []string{"Revenue"}}
	}
	get := func(id, path, summary, text string) huma.Operation {
		return op(id, http.MethodGet, path, summary, text)
	}

	govapi.Register(a, read, get("summary", "/summary", "Read MRR, ARR, NRR, GRR and customers", "404 until figures are published for the first time."), s.summary)
	govapi.Register(a, read, get("definitions", "/definitions", "Read what the figures mean", ""), s.definitions)
	govapi.Register(a, read, get("rollforward", "/rollforward", "Read the roll-forward of MRR by month or day",
		"Opening and movements make closing, exactly. With as_of the months as they would have been published at an earlier instant."), s.rollForward)
	govapi.Register(a, read, get("movements", "/movements", "List movements of MRR", "By tenant, subscription and day."), s.movements)
	govapi.Register(a, read, get("cohorts", "/cohorts", "Read logo and revenue cohorts", ""), s.cohorts)
	govapi.Register(a, read, get("revenue", "/revenue", "Read what was billed, paid and sold by month", ""), s.revenue)
	govapi.Register(a, read, get("forecast", "/forecast", "Read the forecast of MRR with its back-test", ""), s.forecast)
	govapi.Register(a, read, get("survival", "/survival", "Read how long subscriptions live", "Kaplan–Meier."), s.survival)
	govapi.Register(a, read, get("drill", "/drill", "Walk a number down to tenants, changes and facts", "Without tenant: its parts by tenant. With tenant: the changes or subscriptions, each with its facts. The parts add up to the number."), s.drill)
	govapi.Register(a, read, get("list-facts", "/facts", "List facts", "The latest taken first."), s.facts)
	govapi.Register(a, read, get("list-signals", "/signals", "List what is known of every tenant", ""), s.allSignals)
	govapi.Register(a, read, get("signals", "/signals/{tenant}", "Read what is known of a tenant", "Each value with the instant up to which it is known."), s.signals)
	govapi.Register(a, read, get("list-refreshes", "/refreshes", "List refreshes with their tests", ""), s.refreshes)

	in := op("ingest", http.MethodPost, "/facts", "Send facts", "All of them are taken or none. What is known already changes nothing, so a batch may be sent again.")
	in.MaxBodyBytes = analytics.MaxCSV
	govapi.Register(a, write, in, s.ingest)
	in = op("ingest-csv", http.MethodPost, "/facts/csv", "Send facts as CSV", "With a header line. Columns: "+strings.Join(analytics.CSVColumns(), ", ")+". All rows are taken or none.")
	in.MaxBodyBytes = analytics.MaxCSV
	govapi.Register(a, write, in, s.ingestCSV)
	govapi.Guarded(a, write, op("refresh", http.MethodPost, "/refreshes", "Build and publish the figures anew", "A generation that fails a test is not published: 409, and the one before stays."), s.refresh)
}

type none struct{}

func (s server) summary(ctx context.Context, _ governance.Identity, _ *none) (*body[AnalyticsSummary], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	return &body[AnalyticsSummary]{wireSummary(f)}, nil
}

func (s server) definitions(context.Context, governance.Identity, *none) (*body[govapi.List[AnalyticsDefinition]], error) {
	var items []AnalyticsDefinition
	for _, d := range analytics.Definitions() {
		items = append(items, AnalyticsDefinition(d))
	}
	return &body[govapi.List[AnalyticsDefinition]]{govapi.NewList(items, "")}, nil
}

func parseMonth(field, v string) (analytics.Month, error) {
	if v == "" {
		return 0, nil
	}
	m, err := analytics.ParseMonth(v)
	if err != nil {
		return 0, governance.Invalid(field, "is not a month such as 2026-01")
	}
	return m, nil
}

func parseDay(field, v string, empty analytics.Day) (analytics.Day, error) {
	if v == "" {
		return empty, nil
	}
	d, err := analytics.ParseDay(v)
	if err != nil {
		return 0, governance.Invalid(field, "is not a date such as 2026-01-31")
	}
	return d, nil
}

type rollForwardInput struct {
	Grain string `query:"grain" enum:"month,day" default:"month"`
	From  string `query:"from" maxLength:"10" example:"2025-01-01" doc:"First day; default the beginning, or 90 days for days"`
	To    string `query:"to" maxLength:"10" doc:"Last day; default data_through"`
	AsOf  string `query:"as_of" maxLength:"40" doc:"RFC 3339: months as they were known then"`
}

func (s server) rollForward(ctx context.Context, _ governance.Identity, in *rollForwardInput) (*body[list[AnalyticsRollForward]], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	out := &body[list[AnalyticsRollForward]]{list[AnalyticsRollForward]{AnalyticsStamp: stamp(f), Items: []AnalyticsRollForward{}}}
	months := f.Months()
	if in.AsOf != "" {
		at, err := time.Parse(time.RFC3339Nano, in.AsOf)
		if err != nil || in.Grain == "day" {
			return nil, governance.Invalid("query.as_of", "is an RFC 3339 instant, and is given for months only")
		}
		var through analytics.Day
		if months, through, err = s.svc.AsOf(ctx, at); err != nil {
			return nil, err
		}
		out.Body.DataThrough, out.Body.AsOf, out.Body.Generation = through.String(), at.UTC(), 0
	}
	from, err := parseDay("query.from", in.From, 0)
	if err != nil {
		return nil, err
	}
	to, err := parseDay("query.to", in.To, analytics.Forever)
	if err != nil {
		return nil, err
	}
	w := wire{f.Reporting}
	if in.Grain == "day" {
		to = min(to, f.Through)
		if in.From == "" {
			from = to - 89
		}
		days, err := f.Days(ctx, from, to)
		if err != nil {
			return nil, err
		}
		for _, d := range days {
			out.Body.Items = append(out.Body.Items, w.rollForward(d.Day.String(), true, d.RollForward))
		}
		return out, nil
	}
	for _, m := range months {
		if m.Month.Last() >= from && m.Month.First() <= to {
			out.Body.Items = append(out.Body.Items, w.month(m))
		}
	}
	return out, nil
}

type movementsInput struct {
	govapi.Page
	Month  string `query:"month" maxLength:"7" example:"2026-01" doc:"Empty: every month"`
	Line   string `query:"line" enum:"new,expansion,contraction,churn,reactivation,fx"`
	Tenant string `query:"tenant" maxLength:"200"`
}

func (s server) movements(ctx context.Context, _ governance.Identity, in *movementsInput) (*body[list[AnalyticsMovement]], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	q := analytics.MovementFilter{Tenant: governance.TenantID(in.Tenant), Line: analytics.Line(in.Line), To: f.Through, Limit: in.Limit}
	m, err := parseMonth("query.month", in.Month)
	if err != nil {
		return nil, err
	}
	if m != 0 {
		q.From, q.To = m.First(), min(m.Last(), f.Through)
	}
	cur, err := govapi.ParseCursor(in.Cursor, 4)
	if err != nil {
		return nil, err
	}
	if cur[0] != "" {
		day, err := parseDay("query.cursor", cur[2], 0)
		if err != nil {
			return nil, err
		}
		q.After = &analytics.Movement{Tenant: governance.TenantID(cur[0]), Subscription: cur[1], Day: day, Line: analytics.Line(cur[3])}
	}
	ms, err := f.Movements(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &body[list[AnalyticsMovement]]{list[AnalyticsMovement]{AnalyticsStamp: stamp(f), Items: []AnalyticsMovement{}}}
	w := wire{f.Reporting}
	for _, v := range ms {
		out.Body.Items = append(out.Body.Items, w.movement(v))
	}
	if len(ms) == in.Limit {
		last := ms[len(ms)-1]
		out.Body.Next = govapi.Cursor(string(last.Tenant), last.Subscription, last.Day.String(), string(last.Line))
	}
	return out, nil
}

type cohortsInput struct {
	Basis string `query:"basis" enum:"subscription,purchase" default:"subscription"`
}

func (s server) cohorts(ctx context.Context, _ governance.Identity, in *cohortsInput) (*body[list[AnalyticsCohort]], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := f.Cohorts(ctx, analytics.Basis(in.Basis))
	if err != nil {
		return nil, err
	}
	out := &body[list[AnalyticsCohort]]{list[AnalyticsCohort]{AnalyticsStamp: stamp(f), Items: []AnalyticsCohort{}}}
	for _, r := range rows {
		w := wire{r.Currency}
		out.Body.Items = append(out.Body.Items, AnalyticsCohort{r.Cohort.String(), r.Age, r.Size, w.money(r.Base), r.Logos, w.money(r.Amount)})
	}
	return out, nil
}

func (s server) revenue(ctx context.Context, _ governance.Identity, _ *none) (*body[list[AnalyticsRevenue]], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := f.Revenue(ctx)
	if err != nil {
		return nil, err
	}
	out := &body[list[AnalyticsRevenue]]{list[AnalyticsRevenue]{AnalyticsStamp: stamp(f), Items: []AnalyticsRevenue{}}}
	for _, r := range rows {
		out.Body.Items = append(out.Body.Items, AnalyticsRevenue{r.Month.String(), string(r.Kind), wire{r.Currency}.money(r.Amount), r.Facts, r.Tenants})
	}
	return out, nil
}

func (s server) forecast(ctx context.Context, _ governance.Identity, _ *none) (*body[AnalyticsForecast], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	fc, err := f.Forecast(ctx)
	if err != nil {
		return nil, err
	}
	return &body[AnalyticsForecast]{wireForecast(f, fc)}, nil
}

type survivalInput struct {
	Plan string `query:"plan" maxLength:"200" doc:"Of subscriptions that began on this plan"`
}

func (s server) survival(ctx context.Context, _ governance.Identity, in *survivalInput) (*body[AnalyticsSurvival], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	v, err := f.Survival(ctx, in.Plan)
	if err != nil {
		return nil, err
	}
	out := AnalyticsSurvival{AnalyticsStamp: stamp(f), Subscriptions: v.Subscriptions, Ended: v.Ended, Median: v.Median, Points: []AnalyticsSurvivalPoint{}}
	for _, p := range v.Points {
		out.Points = append(out.Points, AnalyticsSurvivalPoint(p))
	}
	return &body[AnalyticsSurvival]{out}, nil
}

type drillInput struct {
	govapi.Page
	Metric string `query:"metric" required:"true" enum:"opening,new,expansion,contraction,churn,reactivation,fx,closing,nrr_start,nrr_now,grr_kept,cohort"`
	Month  string `query:"month" required:"true" maxLength:"7" example:"2026-01" doc:"Of cohorts: the month the cohort began"`
	Age    int    `query:"age" minimum:"0" maximum:"1200" doc:"Of cohorts"`
	Day    string `query:"day" maxLength:"10" doc:"Of movements: this day alone"`
	Tenant string `query:"tenant" maxLength:"200"`
}

func (s server) drill(ctx context.Context, _ governance.Identity, in *drillInput) (*body[AnalyticsDrill], error) {
	f, err := s.svc.Figures(ctx)
	if err != nil {
		return nil, err
	}
	c := analytics.Cell{Metric: analytics.Metric(in.Metric), Age: in.Age, Tenant: governance.TenantID(in.Tenant)}
	if c.Month, err = parseMonth("query.month", in.Month); err != nil {
		return nil, err
	}
	if in.Day != "" {
		d, err := parseDay("query.day", in.Day, 0)
		if err != nil {
			return nil, err
		}
		c.Day = &d
	}
	cur, err := govapi.ParseCursor(in.Cursor, 1)
	if err != nil {
		return nil, err
	}
	d, err := f.Drill(ctx, c)
	if err != nil {
		return nil, err
	}
	out := AnalyticsDrill{AnalyticsStamp: stamp(f), Number: wireMoney(d.Number), Tenants: []AnalyticsTenantPart{}, Rows: []AnalyticsDrillRow{}}
	page, more := d.TenantPage(governance.TenantID(cur[0]), in.Limit)
	for _, t := range page {
		out.Tenants = append(out.Tenants, AnalyticsTenantPart{string(t.Tenant), wire{f.Reporting}.money(t.Amount), t.Rows})
	}
	if more {
		out.Next = govapi.Cursor(string(page[len(page)-1].Tenant))
	}
	for _, r := range d.Rows {
		out.Rows = append(out.Rows, wireRow(r))
	}
	return &body[AnalyticsDrill]{out}, nil
}

type factsInput struct {
	govapi.Page
	ID           []string `query:"id" maxItems:"200" doc:"These alone"`
	Tenant       string   `query:"tenant" maxLength:"200"`
	Subscription string   `query:"subscription" maxLength:"200"`
	Kind         string   `query:"kind" enum:"subscription,invoice,payment,purchase,usage,rate,watermark"`
	Month        string   `query:"month" maxLength:"7"`
	History      bool     `query:"history" doc:"With what was corrected or taken back"`
}

func (s server) facts(ctx context.Context, _ governance.Identity, in *factsInput) (*body[govapi.List[AnalyticsFact]], error) {
	q := analytics.FactFilter{Tenant: governance.TenantID(in.Tenant), Subscription: in.Subscription, Kind: analytics.Kind(in.Kind), History: in.History, Limit: in.Limit}
	for _, v := range in.ID {
		id, err := uuid.Parse(v)
		if err != nil {
			return nil, governance.Invalid("query.id", "is not a UUID")
		}
		q.IDs, q.History = append(q.IDs, id), true
	}
	var err error
	if q.Month, err = parseMonth("query.month", in.Month); err != nil {
		return nil, err
	}
	if q.Before, err = govapi.ParseIDCursor(in.Cursor); err != nil {
		return nil, err
	}
	facts, err := s.svc.Facts(ctx, q)
	if err != nil {
		return nil, err
	}
	items := make([]AnalyticsFact, len(facts))
	for i, f := range facts {
		items[i] = wireFact(f)
	}
	next := ""
	if len(items) == in.Limit {
		next = govapi.Cursor(items[len(items)-1].ID)
	}
	return &body[govapi.List[AnalyticsFact]]{govapi.NewList(items, next)}, nil
}

func (s server) allSignals(ctx context.Context, _ governance.Identity, in *govapi.Page) (*body[govapi.List[AnalyticsSignals]], error) {
	cur, err := govapi.ParseCursor(in.Cursor, 1)
	if err != nil {
		return nil, err
	}
	all, err := s.svc.AllSignals(ctx)
	if err != nil {
		return nil, err
	}
	var items []AnalyticsSignals
	next := ""
	for _, v := range all {
		if string(v.Tenant) <= cur[0] {
			continue
		}
		if len(items) == in.Limit {
			next = govapi.Cursor(items[len(items)-1].Tenant)
			break
		}
		items = append(items, wireSignals(v))
	}
	return &body[govapi.List[AnalyticsSignals]]{govapi.NewList(items, next)}, nil
}

type signalsInput struct {
	Tenant string `path:"tenant" maxLength:"128"`
}

func (s server) signals(ctx context.Context, _ governance.Identity, in *signalsInput) (*body[AnalyticsSignals], error) {
	v, err := s.svc.Signals(ctx, governance.TenantID(in.Tenant))
	if err != nil {
		return nil, err
	}
	return &body[AnalyticsSignals]{wireSignals(v)}, nil
}

type refreshesInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"20"`
}

func (s server) refreshes(ctx context.Context, _ governance.Identity, in *refreshesInput) (*body[govapi.List[AnalyticsRefresh]], error) {
	all, err := s.svc.Refreshes(ctx, in.Limit)
	if err != nil {
		return nil, err
	}
	items := make([]AnalyticsRefresh, len(all))
	for i, r := range all {
		items[i] = wireRefresh(r, s.svc.Reporting())
	}
	return &body[govapi.List[AnalyticsRefresh]]{govapi.NewList(items, "")}, nil
}

type analyticsIngestInput struct {
	Body struct {
		Facts []AnalyticsNewFact `json:"facts" minItems:"1" maxItems:"20000"`
	}
}

func (s server) ingest(ctx context.Context, id governance.Identity, in *analyticsIngestInput) (*body[AnalyticsIngested], error) {
	place := func(i int, field string) string { return fmt.Sprintf("body.facts[%d].%s", i, field) }
	facts := make([]analytics.Fact, len(in.Body.Facts))
	var errs []error
	for i, n := range in.Body.Facts {
		f, err := s.fact(n, func(field string) string { return place(i, field) })
		if err != nil && len(errs) < 50 {
			errs = append(errs, err)
		}
		facts[i] = f
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	got, err := s.svc.Ingest(ctx, id, facts, &analytics.IngestOptions{Format: "json", Place: place})
	if err != nil {
		return nil, err
	}
	return &body[AnalyticsIngested]{wireIngested(got)}, nil
}

// fact reads what JSON carries as text.
func (s server) fact(n AnalyticsNewFact, place func(field string) string) (analytics.Fact, error) {
	f := analytics.Fact{Source: n.Source, Key: n.Key, Kind: analytics.Kind(n.Kind), Tenant: governance.TenantID(n.Tenant), Subscription: n.Subscription, Plan: n.Plan,
		Metric: n.Metric, Ref: n.Ref, Quantity: n.Quantity, Currency: n.Currency, Cancelled: n.Cancelled, Void: n.Void, Version: n.Version, Sequence: n.Sequence}
	var errs []error
	var err error
	if n.Amount != "" {
		m, err := governance.ParseMoney(n.Amount, n.Currency)
		var invalid *governance.InvalidError
		if errors.As(err, &invalid) {
			errs = append(errs, governance.Invalid(place(invalid.Field), "is not valid here: an amount is a decimal with no more decimals than its currency has"))
		}
		f.Amount = m.Minor
	}
	if n.Rate != "" {
		if f.Rate, err = analytics.ParseRate(n.Rate); err != nil {
			errs = append(errs, governance.Invalid(place("rate"), "is not a decimal rate with at most six decimals"))
		}
	}
	if f.At, err = analytics.ParseAt(n.At, s.svc.Zone()); err != nil {
		errs = append(errs, governance.Invalid(place("at"), "is neither a date such as 2026-01-31 nor an instant such as 2026-01-31T09:30:00Z"))
	}
	if f.Due, err = parseDay(place("due"), n.Due, 0); err != nil {
		errs = append(errs, err)
	}
	return f, errors.Join(errs...)
}

type ingestCSVInput struct {
	RawBody []byte `contentType:"text/csv"`
}

func (s server) ingestCSV(ctx context.Context, id governance.Identity, in *ingestCSVInput) (*body[AnalyticsIngested], error) {
	got, err := s.svc.IngestCSV(ctx, id, bytes.NewReader(in.RawBody))
	if err != nil {
		return nil, err
	}
	return &body[AnalyticsIngested]{wireIngested(got)}, nil
}

type analyticsRefreshInput struct {
	govapi.Idempotent
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"200"`
	}
}

func (s server) refresh(ctx context.Context, id governance.Identity, in *analyticsRefreshInput) (governance.Outcome, error) {
	return s.svc.RefreshAction().Do(ctx, s.svc.Kernel(), id, analytics.RefreshInput{Reason: in.Body.Reason}, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
}
