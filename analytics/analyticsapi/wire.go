package analyticsapi

import (
	"strconv"
	"time"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
)

// AnalyticsMoney is an amount of money.
type AnalyticsMoney struct {
	Amount   string `json:"amount" example:"1200.00" doc:"Decimal, exact"`
	Currency string `json:"currency" example:"EUR"`
}

func wireMoney(m governance.Money) AnalyticsMoney { return AnalyticsMoney{m.Amount(), m.Currency} }

// wire gives amounts of the reporting currency.
type wire struct{ currency string }

func (w wire) money(minor int64) AnalyticsMoney {
	return wireMoney(governance.Money{Minor: minor, Currency: w.currency})
}

// AnalyticsStamp says what an answer was made from.
type AnalyticsStamp struct {
	DataThrough string    `json:"data_through" format:"date" doc:"The last day that every source has told in full"`
	AsOf        time.Time `json:"as_of" doc:"Facts learned later are not in it"`
	Generation  int64     `json:"generation" doc:"Published generation of the marts"`
	Currency    string    `json:"currency" doc:"The reporting currency"`
}

func stamp(f *analytics.Figures) AnalyticsStamp {
	return AnalyticsStamp{f.Through.String(), f.AsOf, f.Generation, f.Reporting}
}

// AnalyticsSummary is the figures of the front page.
type AnalyticsSummary struct {
	AnalyticsStamp
	MRR           AnalyticsMoney `json:"mrr" doc:"At the end of data_through"`
	ARR           AnalyticsMoney `json:"arr" doc:"12 × MRR"`
	ARPA          AnalyticsMoney `json:"arpa"`
	Customers     int            `json:"customers"`
	Month         string         `json:"month" doc:"The last complete month, which the following are about"`
	NRR           *float64       `json:"nrr_percent" doc:"Net revenue retention over twelve months; null in the first year"`
	GRR           *float64       `json:"grr_percent" doc:"Gross revenue retention; never above 100"`
	LogoRetention *float64       `json:"logo_retention_percent"`
	QuickRatio    *float64       `json:"quick_ratio" doc:"null when nothing was lost"`
	Change        AnalyticsMoney `json:"change" doc:"Of MRR in that month"`
	Restatements  int            `json:"restatements" doc:"Published figures that the last refresh changed"`
}

func hundredths(v *int64) *float64 {
	if v == nil {
		return nil
	}
	f := float64(*v) / 100
	return &f
}

func wireSummary(f *analytics.Figures) AnalyticsSummary {
	s := f.Summary()
	out := AnalyticsSummary{AnalyticsStamp: stamp(f), MRR: wireMoney(s.MRR), ARR: wireMoney(s.ARR), ARPA: wireMoney(s.ARPA), Customers: s.Logos,
		NRR: hundredths(s.NRR), GRR: hundredths(s.GRR), LogoRetention: hundredths(s.LogoKept), QuickRatio: hundredths(s.QuickRatio), Change: wireMoney(s.Change),
		Restatements: s.Restatements}
	if s.Month != 0 {
		out.Month = s.Month.String()
	}
	return out
}

// AnalyticsDefinition says what a figure means.
type AnalyticsDefinition struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

// AnalyticsRollForward is the MRR of a month or day: opening and the six movements
// make closing.
type AnalyticsRollForward struct {
	Period       string              `json:"period" example:"2026-01" doc:"Month or day"`
	Complete     bool                `json:"complete" doc:"false: the month is not over"`
	Opening      AnalyticsMoney      `json:"opening"`
	New          AnalyticsMoney      `json:"new"`
	Expansion    AnalyticsMoney      `json:"expansion"`
	Contraction  AnalyticsMoney      `json:"contraction"`
	Churn        AnalyticsMoney      `json:"churn"`
	Reactivation AnalyticsMoney      `json:"reactivation"`
	FX           AnalyticsMoney      `json:"fx" doc:"What new exchange rates did to the opening"`
	Closing      AnalyticsMoney      `json:"closing"`
	ARR          AnalyticsMoney      `json:"arr" doc:"12 × closing"`
	Logos        *AnalyticsLogos     `json:"logos,omitempty" doc:"Of months"`
	Retention    *AnalyticsRetention `json:"retention,omitempty" doc:"Of months, from the thirteenth on"`
}

// AnalyticsLogos counts paying tenants over a month.
type AnalyticsLogos struct {
	Opening     int `json:"opening"`
	New         int `json:"new"`
	Churned     int `json:"churned"`
	Reactivated int `json:"reactivated"`
	Closing     int `json:"closing"`
}

// AnalyticsRetention compares tenants of a year ago with the same tenants now.
type AnalyticsRetention struct {
	Start  AnalyticsMoney `json:"start" doc:"Their MRR a year ago, at this month's rates"`
	Now    AnalyticsMoney `json:"now"`
	Kept   AnalyticsMoney `json:"kept" doc:"The lesser of the two, tenant by tenant"`
	NRR    *float64       `json:"nrr_percent"`
	GRR    *float64       `json:"grr_percent"`
	Logos  int            `json:"logos"`
	Stayed int            `json:"stayed"`
}

func (w wire) rollForward(period string, complete bool, r analytics.RollForward) AnalyticsRollForward {
	return AnalyticsRollForward{Period: period, Complete: complete, Opening: w.money(r.Opening), New: w.money(r.New), Expansion: w.money(r.Expansion),
		Contraction: w.money(r.Contraction), Churn: w.money(r.Churn), Reactivation: w.money(r.Reactivation), FX: w.money(r.FX), Closing: w.money(r.Closing),
		ARR: w.money(12 * r.Closing)}
}

func (w wire) month(m analytics.MonthRow) AnalyticsRollForward {
	out := w.rollForward(m.Month.String(), m.Complete, m.RollForward)
	out.Logos = &AnalyticsLogos{m.Logos.Opening, m.Logos.New, m.Logos.Churned, m.Logos.Reactivated, m.Logos.Closing}
	if r := m.Retention; r != nil {
		out.Retention = &AnalyticsRetention{Start: w.money(r.Start), Now: w.money(r.Now), Kept: w.money(r.Kept), Logos: r.Logos, Stayed: r.Stayed}
		if v, ok := r.NRR(); ok {
			out.Retention.NRR = hundredths(&v)
		}
		if v, ok := r.GRR(); ok {
			out.Retention.GRR = hundredths(&v)
		}
	}
	return out
}

// AnalyticsMovement is the change that one subscription or a new rate made to the
// MRR on one day.
type AnalyticsMovement struct {
	Tenant       string         `json:"tenant"`
	Subscription string         `json:"subscription"`
	Day          string         `json:"day" format:"date"`
	Line         string         `json:"line" enum:"new,expansion,contraction,churn,reactivation,fx"`
	Amount       AnalyticsMoney `json:"amount"`
	Before       AnalyticsMoney `json:"before" doc:"MRR in its own currency"`
	After        AnalyticsMoney `json:"after"`
	RateBefore   string         `json:"rate_before,omitempty" example:"0.918000"`
	RateAfter    string         `json:"rate_after,omitempty"`
}

func rate(micro int64) string {
	if micro == 0 {
		return ""
	}
	return analytics.FormatRate(micro)
}

func (w wire) movement(m analytics.Movement) AnalyticsMovement {
	return AnalyticsMovement{Tenant: string(m.Tenant), Subscription: m.Subscription, Day: m.Day.String(), Line: string(m.Line), Amount: w.money(m.Delta),
		Before: wireMoney(m.Before), After: wireMoney(m.After), RateBefore: rate(m.RateBefore), RateAfter: rate(m.RateAfter)}
}

// AnalyticsCohort is the tenants that began in one month, some months later.
type AnalyticsCohort struct {
	Cohort string         `json:"cohort" example:"2025-03"`
	Age    int            `json:"age"`
	Size   int            `json:"size" doc:"Tenants that began"`
	Base   AnalyticsMoney `json:"base" doc:"Their MRR on their first day, or what they bought in the first month"`
	Logos  int            `json:"logos" doc:"Of them paying at the end of the month, or buying in it"`
	Amount AnalyticsMoney `json:"amount" doc:"Their MRR then at the rates of the first month, or what they bought"`
}

// AnalyticsRevenue is what was billed, paid or sold in a month.
type AnalyticsRevenue struct {
	Month   string         `json:"month"`
	Kind    string         `json:"kind" enum:"invoice,payment,purchase"`
	Amount  AnalyticsMoney `json:"amount"`
	Facts   int            `json:"facts"`
	Tenants int            `json:"tenants"`
}

// AnalyticsForecast is the expected MRR of the next twelve months.
type AnalyticsForecast struct {
	AnalyticsStamp
	Available bool                     `json:"available" doc:"false while there are fewer than six complete months"`
	Origin    string                   `json:"origin,omitempty" doc:"The last month it was made from"`
	Method    string                   `json:"method,omitempty"`
	Fit       string                   `json:"fit,omitempty"`
	Levels    []int                    `json:"levels" doc:"Percent, of the bands"`
	Points    []AnalyticsForecastPoint `json:"points"`
	Backtest  *AnalyticsBacktest       `json:"backtest,omitempty" doc:"What the methods would have said in the past"`
}

// AnalyticsForecastPoint is one month ahead; lo and hi are parallel to levels.
type AnalyticsForecastPoint struct {
	Month string           `json:"month"`
	MRR   AnalyticsMoney   `json:"mrr"`
	Lo    []AnalyticsMoney `json:"lo"`
	Hi    []AnalyticsMoney `json:"hi"`
}

// AnalyticsBacktest is stored with the forecast it justifies.
type AnalyticsBacktest struct {
	Origins int                      `json:"origins" doc:"Months of the past that were forecast from"`
	Horizon int                      `json:"horizon"`
	Pairs   int                      `json:"pairs" doc:"Forecasts compared with what came"`
	Naive   string                   `json:"yardstick"`
	Scale   AnalyticsMoney           `json:"scale" doc:"The error that is a MASE of 1"`
	Scores  []AnalyticsForecastScore `json:"scores" doc:"Best first"`
}

// AnalyticsForecastScore is how one method did.
type AnalyticsForecastScore struct {
	Method   string  `json:"method"`
	Chosen   bool    `json:"chosen"`
	MASE     float64 `json:"mase"`
	VsNaive  float64 `json:"vs_yardstick" doc:"Below 1 is better"`
	Bias     float64 `json:"bias"`
	Coverage []int   `json:"coverage_percent" doc:"Months inside the band, by level"`
}

func wireForecast(f *analytics.Figures, fc *analytics.Forecast) AnalyticsForecast {
	out := AnalyticsForecast{AnalyticsStamp: stamp(f), Levels: []int{}, Points: []AnalyticsForecastPoint{}}
	if fc == nil {
		return out
	}
	w := wire{f.Reporting}
	out.Available, out.Origin, out.Method, out.Fit, out.Levels = true, fc.Origin.String(), fc.Method, fc.Fit, fc.Levels
	for _, p := range fc.Points {
		point := AnalyticsForecastPoint{Month: p.Month.String(), MRR: w.money(p.MRR), Lo: []AnalyticsMoney{}, Hi: []AnalyticsMoney{}}
		for i := range p.Lo {
			point.Lo, point.Hi = append(point.Lo, w.money(p.Lo[i])), append(point.Hi, w.money(p.Hi[i]))
		}
		out.Points = append(out.Points, point)
	}
	out.Backtest = &AnalyticsBacktest{Origins: fc.Backtest.Origins, Horizon: fc.Backtest.Horizon, Pairs: fc.Backtest.Pairs, Naive: fc.Backtest.Naive,
		Scale: w.money(fc.Backtest.Scale), Scores: []AnalyticsForecastScore{}}
	for _, s := range fc.Backtest.Scores {
		out.Backtest.Scores = append(out.Backtest.Scores, AnalyticsForecastScore(s))
	}
	return out
}

// AnalyticsSurvival is how long subscriptions live.
type AnalyticsSurvival struct {
	AnalyticsStamp
	Subscriptions int                      `json:"subscriptions"`
	Ended         int                      `json:"ended"`
	Median        *float64                 `json:"median_months" doc:"null: more than half still live"`
	Points        []AnalyticsSurvivalPoint `json:"points"`
}

// AnalyticsSurvivalPoint is the share that lives longer, with its 95 % interval.
type AnalyticsSurvivalPoint struct {
	Months   int     `json:"months"`
	Survival float64 `json:"survival"`
	StdErr   float64 `json:"std_err"`
	Lo       float64 `json:"lo"`
	Hi       float64 `json:"hi"`
	AtRisk   int     `json:"at_risk"`
}

// AnalyticsDrill is a number with the parts that add up to it.
type AnalyticsDrill struct {
	AnalyticsStamp
	Number  AnalyticsMoney        `json:"number" doc:"The whole number, whatever page this is"`
	Tenants []AnalyticsTenantPart `json:"tenants" doc:"Its parts; one tenant's when tenant is given"`
	Rows    []AnalyticsDrillRow   `json:"rows" doc:"The changes or subscriptions of the tenant given"`
	Next    string                `json:"next,omitempty" doc:"Cursor of the next page of tenants"`
}

// AnalyticsTenantPart is one tenant's part of a number.
type AnalyticsTenantPart struct {
	Tenant string         `json:"tenant"`
	Amount AnalyticsMoney `json:"amount"`
	Rows   int            `json:"rows"`
}

// AnalyticsDrillRow is a change, or a subscription as it stood, with its facts.
type AnalyticsDrillRow struct {
	Subscription string          `json:"subscription"`
	Day          string          `json:"day" format:"date"`
	Line         string          `json:"line,omitempty"`
	Amount       AnalyticsMoney  `json:"amount"`
	Before       *AnalyticsMoney `json:"before,omitempty"`
	After        AnalyticsMoney  `json:"after"`
	Rate         string          `json:"rate,omitempty"`
	Plan         string          `json:"plan,omitempty"`
	Quantity     int64           `json:"quantity"`
	Facts        []string        `json:"facts" doc:"Ids for GET /analytics/facts"`
}

func wireRow(r analytics.DrillRow) AnalyticsDrillRow {
	out := AnalyticsDrillRow{Subscription: r.Subscription, Day: r.Day.String(), Line: string(r.Line), Amount: wireMoney(r.Amount), After: wireMoney(r.After),
		Rate: rate(r.Rate), Plan: r.Plan, Quantity: r.Quantity, Facts: []string{}}
	if r.Before != nil {
		m := wireMoney(*r.Before)
		out.Before = &m
	}
	for _, id := range r.Facts {
		out.Facts = append(out.Facts, id.String())
	}
	return out
}

// AnalyticsFact is a fact as it was taken.
type AnalyticsFact struct {
	ID           string          `json:"id"`
	Source       string          `json:"source"`
	Key          string          `json:"key"`
	Revision     int             `json:"revision" doc:"From 1; a higher one corrects it"`
	Kind         string          `json:"kind" enum:"subscription,invoice,payment,purchase,usage,rate,watermark"`
	Tenant       string          `json:"tenant,omitempty"`
	Subscription string          `json:"subscription,omitempty"`
	Plan         string          `json:"plan,omitempty"`
	Metric       string          `json:"metric,omitempty"`
	Ref          string          `json:"ref,omitempty"`
	Quantity     int64           `json:"quantity"`
	Amount       *AnalyticsMoney `json:"amount,omitempty" doc:"Of a subscription: its MRR"`
	Currency     string          `json:"currency,omitempty"`
	Rate         string          `json:"rate,omitempty"`
	At           time.Time       `json:"at" doc:"When it took effect"`
	Day          string          `json:"day" format:"date"`
	Due          string          `json:"due,omitempty"`
	Cancelled    bool            `json:"cancelled"`
	Void         bool            `json:"void"`
	RecordedAt   time.Time       `json:"recorded_at" doc:"When it was learned"`
	Batch        string          `json:"batch"`
}

func wireFact(f analytics.Fact) AnalyticsFact {
	out := AnalyticsFact{ID: f.ID.String(), Source: f.Source, Key: f.Key, Revision: f.Revision, Kind: string(f.Kind), Tenant: string(f.Tenant), Subscription: f.Subscription,
		Plan: f.Plan, Metric: f.Metric, Ref: f.Ref, Quantity: f.Quantity, Currency: f.Currency, Rate: rate(f.Rate), At: f.At, Day: f.Day.String(), Cancelled: f.Cancelled,
		Void: f.Void, RecordedAt: f.RecordedAt, Batch: f.Batch.String()}
	if f.Kind != analytics.KindRate && f.Currency != "" {
		m := wireMoney(f.Money())
		out.Amount = &m
	}
	if f.Due != 0 {
		out.Due = f.Due.String()
	}
	return out
}

// AnalyticsIngested is what became of a batch.
type AnalyticsIngested struct {
	Batch     string `json:"batch"`
	Facts     int    `json:"facts"`
	Added     int    `json:"added"`
	Corrected int    `json:"corrected"`
	Duplicate int    `json:"duplicate" doc:"Known already"`
	Late      int    `json:"late" doc:"Of a lower version than is known; not taken"`
}

func wireIngested(i analytics.Ingested) AnalyticsIngested {
	return AnalyticsIngested{i.Batch.String(), i.Facts, i.Added, i.Corrected, i.Duplicate, i.Late}
}

// AnalyticsNewFact is a fact to be taken. The same source and key again with other
// content corrects it; with void it is taken back.
type AnalyticsNewFact struct {
	Source       string `json:"source" minLength:"1" maxLength:"200" doc:"The system that tells it"`
	Key          string `json:"key" minLength:"1" maxLength:"200" doc:"The source's own id of the fact"`
	Kind         string `json:"kind" enum:"subscription,invoice,payment,purchase,usage,rate,watermark"`
	Tenant       string `json:"tenant,omitempty" maxLength:"200"`
	Subscription string `json:"subscription,omitempty" maxLength:"200"`
	Plan         string `json:"plan,omitempty" maxLength:"200"`
	Metric       string `json:"metric,omitempty" maxLength:"200" doc:"Of usage"`
	Ref          string `json:"ref,omitempty" maxLength:"200" doc:"Of an invoice or payment: the invoice"`
	Quantity     int64  `json:"quantity,omitempty" minimum:"0"`
	Amount       string `json:"amount,omitempty" maxLength:"30" example:"120.00" doc:"Decimal; of a subscription its MRR"`
	Currency     string `json:"currency,omitempty" maxLength:"3" example:"EUR"`
	Rate         string `json:"rate,omitempty" maxLength:"30" example:"0.918000" doc:"Of a rate: one unit of currency in the reporting currency"`
	At           string `json:"at" maxLength:"40" example:"2026-01-31" doc:"When it takes effect: a date in the reporting zone or an RFC 3339 instant"`
	Due          string `json:"due,omitempty" maxLength:"10" example:"2026-02-14"`
	Cancelled    bool   `json:"cancelled,omitempty" doc:"The subscription ends at that time"`
	Void         bool   `json:"void,omitempty" doc:"The fact of this source and key is taken back"`
	Version      int64  `json:"version,omitempty" minimum:"0" doc:"The source's own; a lower one than is known is late and not taken"`
	Sequence     int64  `json:"sequence,omitempty" minimum:"0" doc:"Orders changes of one subscription at one instant"`
}

// AnalyticsRefresh is one run that built the marts.
type AnalyticsRefresh struct {
	ID           string                 `json:"id"`
	Generation   int64                  `json:"generation"`
	State        string                 `json:"state" enum:"building,published,refused,failed"`
	Actor        string                 `json:"actor"`
	Reason       string                 `json:"reason,omitempty"`
	DataThrough  string                 `json:"data_through" format:"date"`
	AsOf         time.Time              `json:"as_of"`
	StartedAt    time.Time              `json:"started_at"`
	FinishedAt   *time.Time             `json:"finished_at,omitempty"`
	Sources      []AnalyticsSource      `json:"sources"`
	Tests        []AnalyticsTest        `json:"tests"`
	Restatements []AnalyticsRestatement `json:"restatements"`
	LateFacts    int                    `json:"late_facts" doc:"About days that were published before"`
	MRR          AnalyticsMoney         `json:"mrr"`
}

// AnalyticsSource is how far a source has told everything.
type AnalyticsSource struct {
	Source   string `json:"source"`
	Through  string `json:"through" format:"date"`
	Declared bool   `json:"declared" doc:"By the source itself; otherwise the day of its latest fact"`
}

// AnalyticsTest is one test before a generation is published.
type AnalyticsTest struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// AnalyticsRestatement is a published figure that later facts changed.
type AnalyticsRestatement struct {
	Month  string         `json:"month"`
	Line   string         `json:"line"`
	Before AnalyticsMoney `json:"before"`
	After  AnalyticsMoney `json:"after"`
}

func wireRefresh(r analytics.Refresh, reporting string) AnalyticsRefresh {
	if r.Reporting != "" {
		reporting = r.Reporting
	}
	w := wire{reporting}
	out := AnalyticsRefresh{ID: r.ID.String(), Generation: r.Generation, State: string(r.State), Actor: r.Actor, Reason: r.Reason, DataThrough: r.Through.String(), AsOf: r.AsOf,
		StartedAt: r.StartedAt, Sources: []AnalyticsSource{}, Tests: []AnalyticsTest{}, Restatements: []AnalyticsRestatement{}, LateFacts: r.Late, MRR: w.money(r.MRR)}
	if !r.FinishedAt.IsZero() {
		out.FinishedAt = &r.FinishedAt
	}
	for _, s := range r.Sources {
		out.Sources = append(out.Sources, AnalyticsSource{s.Source, s.Through.String(), s.Declared})
	}
	for _, t := range r.Tests {
		out.Tests = append(out.Tests, AnalyticsTest(t))
	}
	for _, v := range r.Restatements {
		out.Restatements = append(out.Restatements, AnalyticsRestatement{v.Month.String(), string(v.Line), w.money(v.Before), w.money(v.After)})
	}
	return out
}

// AnalyticsSignals is what is known of one tenant, for playbooks.
type AnalyticsSignals struct {
	Tenant  string                     `json:"tenant"`
	Signals map[string]AnalyticsSignal `json:"signals"`
}

// AnalyticsSignal is one value and the instant up to which it is known.
type AnalyticsSignal struct {
	Value string    `json:"value" example:"12500" doc:"An integer; of money, in minor units"`
	Unit  string    `json:"unit" example:"EUR.cent"`
	AsOf  time.Time `json:"as_of"`
}

func wireSignals(s analytics.Signals) AnalyticsSignals {
	out := AnalyticsSignals{string(s.Tenant), map[string]AnalyticsSignal{}}
	for name, v := range s.Values {
		out.Signals[name] = AnalyticsSignal{strconv.FormatInt(v.Value, 10), v.Unit, v.AsOf}
	}
	return out
}
