package retentionapi

import (
	"time"

	"github.com/reevehq/reeve/retention"
)

// The wire types repeat the service's structs under names of their own, because huma
// names schemas by type name and a host has its own Rule, Plan and Group.

// RetentionClock says when a period begins.
type RetentionClock struct {
	From   string `json:"from,omitempty" maxLength:"200" doc:"The event, in words"`
	Round  string `json:"round,omitempty" enum:"month,calendar_year,fiscal_year" doc:"The period counts from the end of it"`
	Fiscal string `json:"fiscal,omitempty" pattern:"^[0-9]{2}-[0-9]{2}$" example:"04-06" doc:"First day of the fiscal year"`
}

func clock(c retention.Clock) RetentionClock {
	return RetentionClock{c.From, string(c.Round), c.Fiscal}
}

func (c RetentionClock) parse() retention.Clock {
	return retention.Clock{From: c.From, Round: retention.Round(c.Round), Fiscal: c.Fiscal}
}

// RetentionRuleBody is a rule of law as it is put.
type RetentionRuleBody struct {
	Jurisdiction  string         `json:"jurisdiction" maxLength:"10" example:"DE" doc:"A country's code or a region such as EU"`
	Class         string         `json:"class" maxLength:"100" example:"invoice" doc:"Data class"`
	Kind          string         `json:"kind" enum:"floor,ceiling,principle"`
	Period        string         `json:"period,omitempty" maxLength:"20" example:"P8Y" doc:"ISO 8601 calendar period; none for a principle"`
	Clock         RetentionClock `json:"clock,omitzero"`
	Citation      string         `json:"citation" minLength:"1" maxLength:"500"`
	Note          string         `json:"note,omitempty" maxLength:"2000"`
	EffectiveFrom time.Time      `json:"effective_from,omitzero"`
	EffectiveTo   time.Time      `json:"effective_to,omitzero" doc:"Exclusive"`
	Status        string         `json:"status" enum:"verify-with-counsel,contested,verified"`
}

// RetentionRule is the newest version of a rule of law.
type RetentionRule struct {
	ID string `json:"id"`
	RetentionRuleBody
	Version  int       `json:"version"`
	EditedBy string    `json:"edited_by,omitempty"`
	At       time.Time `json:"at"`
}

func rule(r retention.RuleVersion) RetentionRule {
	period := ""
	if !r.Period.IsZero() {
		period = r.Period.String()
	}
	return RetentionRule{r.ID, RetentionRuleBody{r.Jurisdiction, r.Class, string(r.Kind), period, clock(r.Clock), r.Citation, r.Note, r.From, r.To, string(r.Status)},
		r.Version, string(r.EditedBy), r.At}
}

func (b RetentionRuleBody) parse(id string) (retention.Rule, error) {
	r := retention.Rule{ID: id, Jurisdiction: b.Jurisdiction, Class: b.Class, Kind: retention.Kind(b.Kind), Clock: b.Clock.parse(), Citation: b.Citation, Note: b.Note,
		From: b.EffectiveFrom, To: b.EffectiveTo, Status: retention.Status(b.Status)}
	var err error
	if b.Period != "" {
		r.Period, err = retention.ParsePeriod(b.Period)
	}
	return r, err
}

// RetentionPolicyBody is the owner's target for a class of data, as it is put.
type RetentionPolicyBody struct {
	Title   string         `json:"title" minLength:"1" maxLength:"200"`
	Class   string         `json:"class" maxLength:"100" example:"contact"`
	Country string         `json:"country,omitempty" maxLength:"10" doc:"A country's code or a region; absent: everywhere"`
	Source  string         `json:"source,omitempty" maxLength:"100" doc:"Absent: every source of the class"`
	Period  string         `json:"period" maxLength:"20" example:"P2Y"`
	Clock   RetentionClock `json:"clock,omitzero"`
	Action  string         `json:"action" enum:"delete,anonymise"`
	Off     bool           `json:"off,omitempty" doc:"No longer in force"`
}

// RetentionPolicy is the newest version of a policy.
type RetentionPolicy struct {
	ID string `json:"id"`
	RetentionPolicyBody
	Version  int       `json:"version"`
	EditedBy string    `json:"edited_by,omitempty"`
	At       time.Time `json:"at"`
}

func policy(p retention.PolicyVersion) RetentionPolicy {
	return RetentionPolicy{p.ID, RetentionPolicyBody{p.Title, p.Class, p.Country, p.Source, p.Period.String(), clock(p.Clock), string(p.Action), p.Off}, p.Version, string(p.EditedBy), p.At}
}

func (b RetentionPolicyBody) parse(id string) (retention.Policy, error) {
	p := retention.Policy{ID: id, Title: b.Title, Class: b.Class, Country: b.Country, Source: b.Source, Clock: b.Clock.parse(), Action: retention.Action(b.Action), Off: b.Off}
	var err error
	p.Period, err = retention.ParsePeriod(b.Period)
	return p, err
}

// RetentionSelector says which rows a hold is about; all given fields must fit.
type RetentionSelector struct {
	Tenant  string `json:"tenant,omitempty" maxLength:"500"`
	Subject string `json:"subject,omitempty" maxLength:"500" doc:"The data subject's key"`
	Class   string `json:"class,omitempty" maxLength:"500"`
	Country string `json:"country,omitempty" maxLength:"500"`
	Source  string `json:"source,omitempty" maxLength:"500"`
	Key     string `json:"key,omitempty" maxLength:"500" doc:"Of one row in source: 42, or [\"a\",1]"`
	Child   string `json:"child,omitempty" maxLength:"500" doc:"Key is of a row in this related table"`
}

// RetentionHold is a legal hold.
type RetentionHold struct {
	ID          string            `json:"id"`
	Matter      string            `json:"matter"`
	Reason      string            `json:"reason"`
	Selector    RetentionSelector `json:"selector"`
	PlacedBy    string            `json:"placed_by"`
	PlacedAt    time.Time         `json:"placed_at"`
	ReleasedBy  string            `json:"released_by,omitempty"`
	ReleasedAt  time.Time         `json:"released_at,omitzero"`
	ReleasedFor string            `json:"released_for,omitempty"`
	Unfenced    []string          `json:"unfenced,omitempty" doc:"Sources that did not answer: a batch that is running there may not know the hold, the next one will"`
}

func hold(h retention.Hold) RetentionHold {
	return RetentionHold{h.ID.String(), h.Matter, h.Reason, RetentionSelector(h.Selector), h.PlacedBy, h.PlacedAt, h.ReleasedBy, h.ReleasedAt, h.ReleasedFor, h.Unfenced}
}

// RetentionBound is one rule or policy in a decision.
type RetentionBound struct {
	Kind     string `json:"kind" enum:"floor,ceiling,principle,policy"`
	ID       string `json:"id"`
	Version  int    `json:"version"`
	Period   string `json:"period,omitempty"`
	Due      string `json:"due,omitempty" doc:"Civil day"`
	Citation string `json:"citation,omitempty"`
	Status   string `json:"status,omitempty"`
}

func bounds(bs []retention.Bound) []RetentionBound {
	out := make([]RetentionBound, len(bs))
	for i, b := range bs {
		out[i] = RetentionBound{b.Kind, b.ID, b.Version, "", b.Due, b.Citation, string(b.Status)}
		if !b.Period.IsZero() {
			out[i].Period = b.Period.String()
		}
	}
	return out
}

// RetentionPlanGroup counts planned rows of one country.
type RetentionPlanGroup struct {
	Country string `json:"country"`
	Action  string `json:"action"`
	Rows    int64  `json:"rows"`
}

// RetentionException is rows that are not touched although somebody may expect it.
type RetentionException struct {
	Source  string   `json:"source"`
	State   string   `json:"state" enum:"held,conflict,no_rule,no_policy,unknown_country,no_start,implausible_start,unsupported"`
	Country string   `json:"country,omitempty"`
	Written string   `json:"written,omitempty" doc:"The country as the host writes it"`
	Hold    string   `json:"hold,omitempty"`
	Count   int64    `json:"count"`
	Sample  []string `json:"sample"`
}

func exceptions(es []retention.Exception) []RetentionException {
	out := make([]RetentionException, len(es))
	for i, e := range es {
		out[i] = RetentionException{e.Source, string(e.State), e.Country, e.Written, e.Hold, e.Count, append([]string{}, e.Sample...)}
	}
	return out
}

// RetentionPlan names the exact rows that are due in one source.
type RetentionPlan struct {
	ID         string               `json:"id"`
	Source     string               `json:"source"`
	Class      string               `json:"class"`
	Place      string               `json:"place"`
	AsOf       time.Time            `json:"as_of"`
	Rows       int64                `json:"rows"`
	Related    int64                `json:"related" doc:"Rows that go with them"`
	Groups     []RetentionPlanGroup `json:"groups"`
	Exceptions []RetentionException `json:"exceptions"`
	Sample     []string             `json:"sample"`
	Law        []RetentionBound     `json:"law"`
	Warnings   []string             `json:"warnings"`
	KeysHash   string               `json:"keys_hash"`
	Digest     string               `json:"digest" doc:"What a purge must repeat"`
	Approval   string               `json:"approval,omitempty"`
	Run        string               `json:"run,omitempty"`
	CreatedBy  string               `json:"created_by"`
	CreatedAt  time.Time            `json:"created_at"`
}

func plan(p retention.Plan) RetentionPlan {
	groups := make([]RetentionPlanGroup, len(p.Groups))
	for i, g := range p.Groups {
		groups[i] = RetentionPlanGroup{g.Country, string(g.Action), g.Rows}
	}
	return RetentionPlan{p.ID.String(), p.Source, p.Class, p.Place, p.AsOf, p.Rows, p.Related, groups, exceptions(p.Exceptions), append([]string{}, p.Sample...),
		bounds(p.Law), append([]string{}, p.Warnings...), p.KeysHash, string(p.Digest), p.Approval, p.Run, p.CreatedBy, p.CreatedAt}
}

// RetentionCounts are rows by outcome.
type RetentionCounts struct {
	Planned    int64 `json:"planned"`
	Deleted    int64 `json:"deleted"`
	Anonymised int64 `json:"anonymised"`
	Held       int64 `json:"held"`
	Changed    int64 `json:"changed"`
	Failed     int64 `json:"failed"`
	Related    int64 `json:"related" doc:"Rows that went with them; not part of planned"`
}

// RetentionRun is the execution of a plan.
type RetentionRun struct {
	ID           string          `json:"id"`
	Plan         string          `json:"plan"`
	Source       string          `json:"source"`
	State        string          `json:"state" enum:"running,completed,completed_with_exceptions,cancelled,braked,failed,unproven"`
	Counts       RetentionCounts `json:"counts"`
	Remaining    int64           `json:"remaining"`
	Batches      int             `json:"batches"`
	Chunks       int             `json:"chunks"`
	Error        string          `json:"error,omitempty"`
	RequestedBy  string          `json:"requested_by"`
	EvidenceHash string          `json:"evidence_hash,omitempty"`
	StartedAt    time.Time       `json:"started_at"`
	EndedAt      time.Time       `json:"ended_at,omitzero"`
}

func run(r retention.Run) RetentionRun {
	return RetentionRun{r.ID.String(), r.Plan, r.Source, string(r.State), RetentionCounts(r.Counts), r.Remaining, r.Batches, r.Chunks, r.Error, r.RequestedBy, r.EvidenceHash,
		r.StartedAt, r.EndedAt}
}

// RetentionItem is a planned row that a run left alone.
type RetentionItem struct {
	Key     string `json:"key"`
	Outcome string `json:"outcome" enum:"held,changed,failed"`
	Reason  string `json:"reason"`
}

// RetentionSource is where retained data lives.
type RetentionSource struct {
	Name     string   `json:"name"`
	Class    string   `json:"class"`
	Place    string   `json:"place"`
	Key      []string `json:"key"`
	Actions  []string `json:"actions"`
	Related  []string `json:"related"`
	Warnings []string `json:"warnings"`
	Error    string   `json:"error,omitempty"`
}

func source(s retention.SourceStatus) RetentionSource {
	out := RetentionSource{s.Name, s.Class, s.Place, append([]string{}, s.Key...), []string{}, append([]string{}, s.Related...), append([]string{}, s.Warnings...), s.Error}
	for _, a := range s.Actions {
		out.Actions = append(out.Actions, string(a))
	}
	return out
}

// RetentionExplanation says why a row is kept or due.
type RetentionExplanation struct {
	Source  string           `json:"source"`
	Key     string           `json:"key"`
	AsOf    time.Time        `json:"as_of"`
	State   string           `json:"state"`
	Action  string           `json:"action,omitempty"`
	Country string           `json:"country,omitempty"`
	Zone    string           `json:"zone,omitempty"`
	Due     string           `json:"due,omitempty" doc:"Civil day in zone"`
	DueAt   time.Time        `json:"due_at,omitzero"`
	HeldBy  []string         `json:"held_by"`
	Why     string           `json:"why"`
	Trace   []RetentionBound `json:"trace"`
}

func explanation(e retention.Explanation) RetentionExplanation {
	d := e.Decision
	return RetentionExplanation{e.Source, e.Key, e.AsOf, string(d.State), string(d.Action), d.Country, d.Zone, d.Due, d.DueAt, append([]string{}, d.HeldBy...), d.Why, bounds(d.Trace)}
}

// RetentionOverdue counts rows that are due and still there.
type RetentionOverdue struct {
	Source  string    `json:"source"`
	Class   string    `json:"class"`
	Country string    `json:"country"`
	Action  string    `json:"action"`
	Rows    int64     `json:"rows"`
	Soon    int64     `json:"soon" doc:"Due within 30 days more"`
	AsOf    time.Time `json:"as_of"`
}

// RetentionDashboard answers what is overdue.
type RetentionDashboard struct {
	TotalOverdue int64                `json:"total_overdue"`
	TotalSoon    int64                `json:"total_soon"`
	Overdue      []RetentionOverdue   `json:"overdue"`
	Holds        int                  `json:"holds"`
	HeldRows     int64                `json:"held_rows"`
	Exceptions   []RetentionException `json:"exceptions"`
	Runs         []RetentionRun       `json:"runs"`
	Unplanned    []string             `json:"unplanned" doc:"Sources without a plan"`
	Paused       bool                 `json:"paused"`
	NextPlan     time.Time            `json:"next_plan,omitzero"`
}

func dashboard(d retention.Dashboard) RetentionDashboard {
	out := RetentionDashboard{TotalOverdue: d.TotalOverdue, TotalSoon: d.TotalSoon, Overdue: []RetentionOverdue{}, Holds: d.Holds, HeldRows: d.HeldRows,
		Exceptions: exceptions(d.Exceptions), Runs: []RetentionRun{}, Unplanned: append([]string{}, d.Unplanned...), Paused: d.Paused, NextPlan: d.NextPlan}
	for _, o := range d.Overdue {
		out.Overdue = append(out.Overdue, RetentionOverdue{o.Source, o.Class, o.Country, string(o.Action), o.Rows, o.Soon, o.AsOf})
	}
	for _, r := range d.Runs {
		out.Runs = append(out.Runs, run(r))
	}
	return out
}
