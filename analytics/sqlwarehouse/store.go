package sqlwarehouse

import (
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
)

type segmentRow struct {
	bun.BaseModel `bun:"table:analytics_mart_segment"`

	Gen          int64               `bun:"gen,pk"`
	Tenant       governance.TenantID `bun:"tenant,pk"`
	Subscription string              `bun:"subscription,pk"`
	From         analytics.Day       `bun:"from_day,pk"`
	To           analytics.Day       `bun:"to_day"`
	Plan         string              `bun:"plan"`
	Quantity     int64               `bun:"quantity"`
	Amount       int64               `bun:"amount"`
	Currency     string              `bun:"currency"`
	Facts        string              `bun:"facts"`
	FactCount    int                 `bun:"fact_count"`
}

func newSegmentRow(gen int64, s analytics.Segment) *segmentRow {
	return &segmentRow{Gen: gen, Tenant: s.Tenant, Subscription: s.Subscription, From: s.From, To: s.To, Plan: s.Plan, Quantity: s.Quantity,
		Amount: s.MRR.Minor, Currency: s.MRR.Currency, Facts: joinIDs(s.Facts), FactCount: len(s.Facts)}
}

func (r segmentRow) out() (analytics.Segment, error) {
	facts, err := splitIDs(r.Facts)
	return analytics.Segment{Tenant: r.Tenant, Subscription: r.Subscription, Plan: r.Plan, Quantity: r.Quantity,
		MRR: governance.Money{Minor: r.Amount, Currency: r.Currency}, From: r.From, To: r.To, Facts: facts}, err
}

type movementRow struct {
	bun.BaseModel `bun:"table:analytics_mart_movement"`

	Gen            int64               `bun:"gen,pk"`
	Tenant         governance.TenantID `bun:"tenant,pk"`
	Subscription   string              `bun:"subscription,pk"`
	Day            analytics.Day       `bun:"day,pk"`
	Line           analytics.Line      `bun:"line,pk"`
	Month          analytics.Month     `bun:"month"`
	Delta          int64               `bun:"delta"`
	BeforeAmount   int64               `bun:"before_amount"`
	BeforeCurrency string              `bun:"before_currency"`
	AfterAmount    int64               `bun:"after_amount"`
	AfterCurrency  string              `bun:"after_currency"`
	ValueBefore    int64               `bun:"value_before"`
	ValueAfter     int64               `bun:"value_after"`
	RateBefore     int64               `bun:"rate_before"`
	RateAfter      int64               `bun:"rate_after"`
}

func newMovementRow(gen int64, m analytics.Movement) *movementRow {
	return &movementRow{Gen: gen, Tenant: m.Tenant, Subscription: m.Subscription, Day: m.Day, Line: m.Line, Month: m.Day.Month(), Delta: m.Delta,
		BeforeAmount: m.Before.Minor, BeforeCurrency: m.Before.Currency, AfterAmount: m.After.Minor, AfterCurrency: m.After.Currency,
		ValueBefore: m.ValueBefore, ValueAfter: m.ValueAfter, RateBefore: m.RateBefore, RateAfter: m.RateAfter}
}

func (r movementRow) out() analytics.Movement {
	return analytics.Movement{Tenant: r.Tenant, Subscription: r.Subscription, Day: r.Day, Line: r.Line, Delta: r.Delta,
		Before: governance.Money{Minor: r.BeforeAmount, Currency: r.BeforeCurrency}, After: governance.Money{Minor: r.AfterAmount, Currency: r.AfterCurrency},
		ValueBefore: r.ValueBefore, ValueAfter: r.ValueAfter, RateBefore: r.RateBefore, RateAfter: r.RateAfter}
}

type monthRow struct {
	bun.BaseModel `bun:"table:analytics_mart_month"`

	Gen              int64           `bun:"gen,pk"`
	Month            analytics.Month `bun:"month,pk"`
	Complete         bool            `bun:"complete"`
	Opening          int64           `bun:"opening"`
	New              int64           `bun:"new_mrr"`
	Expansion        int64           `bun:"expansion"`
	Contraction      int64           `bun:"contraction"`
	Churn            int64           `bun:"churn"`
	Reactivation     int64           `bun:"reactivation"`
	FX               int64           `bun:"fx"`
	Closing          int64           `bun:"closing"`
	LogosOpening     int             `bun:"logos_opening"`
	LogosNew         int             `bun:"logos_new"`
	LogosChurned     int             `bun:"logos_churned"`
	LogosReactivated int             `bun:"logos_reactivated"`
	LogosClosing     int             `bun:"logos_closing"`
	HasRetention     bool            `bun:"has_retention"`
	RetStart         int64           `bun:"ret_start"`
	RetNow           int64           `bun:"ret_now"`
	RetKept          int64           `bun:"ret_kept"`
	RetLogos         int             `bun:"ret_logos"`
	RetStayed        int             `bun:"ret_stayed"`
}

func newMonthRow(gen int64, m analytics.MonthRow) *monthRow {
	r := &monthRow{Gen: gen, Month: m.Month, Complete: m.Complete, Opening: m.Opening, New: m.New, Expansion: m.Expansion, Contraction: m.Contraction,
		Churn: m.Churn, Reactivation: m.Reactivation, FX: m.FX, Closing: m.Closing, LogosOpening: m.Logos.Opening, LogosNew: m.Logos.New,
		LogosChurned: m.Logos.Churned, LogosReactivated: m.Logos.Reactivated, LogosClosing: m.Logos.Closing}
	if t := m.Retention; t != nil {
		r.HasRetention, r.RetStart, r.RetNow, r.RetKept, r.RetLogos, r.RetStayed = true, t.Start, t.Now, t.Kept, t.Logos, t.Stayed
	}
	return r
}

func (r monthRow) out() analytics.MonthRow {
	m := analytics.MonthRow{Month: r.Month, Complete: r.Complete,
		RollForward: analytics.RollForward{Opening: r.Opening, New: r.New, Expansion: r.Expansion, Contraction: r.Contraction, Churn: r.Churn,
			Reactivation: r.Reactivation, FX: r.FX, Closing: r.Closing},
		Logos: analytics.Logos{Opening: r.LogosOpening, New: r.LogosNew, Churned: r.LogosChurned, Reactivated: r.LogosReactivated, Closing: r.LogosClosing}}
	if r.HasRetention {
		m.Retention = &analytics.Retention{Start: r.RetStart, Now: r.RetNow, Kept: r.RetKept, Logos: r.RetLogos, Stayed: r.RetStayed}
	}
	return m
}

type rateRow struct {
	bun.BaseModel `bun:"table:analytics_mart_rate"`

	Gen      int64           `bun:"gen,pk"`
	Month    analytics.Month `bun:"month,pk"`
	Currency string          `bun:"currency,pk"`
	Micro    int64           `bun:"micro"`
	Day      analytics.Day   `bun:"day"`
}

type cohortRow struct {
	bun.BaseModel `bun:"table:analytics_mart_cohort"`

	Gen      int64           `bun:"gen,pk"`
	Basis    analytics.Basis `bun:"basis,pk"`
	Currency string          `bun:"currency,pk"`
	Cohort   analytics.Month `bun:"cohort,pk"`
	Age      int             `bun:"age,pk"`
	Size     int             `bun:"size"`
	Base     int64           `bun:"base"`
	Logos    int             `bun:"logos"`
	Amount   int64           `bun:"amount"`
}

type revenueRow struct {
	bun.BaseModel `bun:"table:analytics_mart_revenue"`

	Gen      int64           `bun:"gen,pk"`
	Month    analytics.Month `bun:"month,pk"`
	Kind     analytics.Kind  `bun:"kind,pk"`
	Currency string          `bun:"currency,pk"`
	Amount   int64           `bun:"amount"`
	Facts    int             `bun:"facts"`
	Tenants  int             `bun:"tenants"`
}

func (r revenueRow) out() analytics.RevenueRow {
	return analytics.RevenueRow{Month: r.Month, Kind: r.Kind, Currency: r.Currency, Amount: r.Amount, Facts: r.Facts, Tenants: r.Tenants}
}

type usageRow struct {
	bun.BaseModel `bun:"table:analytics_mart_usage"`

	Gen      int64               `bun:"gen,pk"`
	Tenant   governance.TenantID `bun:"tenant,pk"`
	Metric   string              `bun:"metric,pk"`
	Month    analytics.Month     `bun:"month,pk"`
	Quantity int64               `bun:"quantity"`
	Facts    int                 `bun:"facts"`
}

func (r usageRow) out() analytics.UsageRow {
	return analytics.UsageRow{Tenant: r.Tenant, Metric: r.Metric, Month: r.Month, Quantity: r.Quantity, Facts: r.Facts}
}

type forecastRow struct {
	bun.BaseModel `bun:"table:analytics_mart_forecast"`

	Gen  int64  `bun:"gen,pk"`
	Body string `bun:"body"`
}
