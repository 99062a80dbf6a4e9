package findingsapi

import (
	"fmt"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/oversight/findings"
)

// OversightFinding is something unlike what was before, with why.
type OversightFinding struct {
	ID        string                `json:"id"`
	Kind      string                `json:"kind" enum:"rate,pair,off_hours,structuring,ring,rubber_stamp"`
	Severity  string                `json:"severity" enum:"info,warning,critical"`
	Who       string                `json:"who,omitempty" doc:"The person it is about; absent: about a tenant"`
	Others    []string              `json:"others" doc:"Others it is about"`
	Tenant    string                `json:"tenant,omitempty"`
	Title     string                `json:"title"`
	Dimension string                `json:"dimension" doc:"What was measured"`
	Baseline  string                `json:"baseline" doc:"What is usual"`
	Value     string                `json:"value" doc:"What was seen"`
	Acts      []OversightFindingAct `json:"acts" doc:"The latest acts behind it, at most 50"`
	ActCount  int64                 `json:"act_count"`
	At        time.Time             `json:"at"`
	State     string                `json:"state" enum:"open,dismissed,confirmed"`
	Reason    string                `json:"reason,omitempty"`
	DecidedBy string                `json:"decided_by,omitempty"`
	DecidedAt *time.Time            `json:"decided_at,omitempty"`
}

// OversightFindingAct is one record behind a finding.
type OversightFindingAct struct {
	Record string    `json:"record" doc:"Id of the ledger record"`
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	Action string    `json:"action"`
	Tenant string    `json:"tenant,omitempty"`
	Act    string    `json:"act,omitempty" doc:"Id of the guarded action"`
}

func wireFinding(f findings.Finding) OversightFinding {
	out := OversightFinding{ID: f.ID.String(), Kind: string(f.Kind), Severity: string(f.Severity), Who: f.Who, Others: append([]string{}, f.Others...), Tenant: string(f.Tenant), Title: f.Title, Dimension: f.Dimension,
		Baseline: f.Baseline, Value: f.Value, Acts: []OversightFindingAct{}, ActCount: f.ActCount, At: f.At, State: string(f.State), Reason: f.Reason, DecidedBy: f.DecidedBy}
	for _, a := range f.Acts {
		out.Acts = append(out.Acts, OversightFindingAct{a.Record.String(), a.At, a.Who, a.Action, a.Tenant, a.ActionID})
	}
	if !f.DecidedAt.IsZero() && f.State != findings.Open {
		out.DecidedAt = &f.DecidedAt
	}
	return out
}

// OversightAuditSample is one executed sensitive action.
type OversightAuditSample struct {
	ID       string               `json:"id"`
	At       time.Time            `json:"at" doc:"When it was executed"`
	Action   string               `json:"action"`
	Who      string               `json:"who"`
	Tenant   string               `json:"tenant,omitempty"`
	Reason   string               `json:"reason,omitempty"`
	Ticket   string               `json:"ticket,omitempty"`
	Enforced bool                 `json:"enforced" doc:"A policy in force had a say"`
	Held     bool                 `json:"held" doc:"People approved it first"`
	Limit    string               `json:"limit" enum:"none,under,over"`
	Money    *OversightAuditMoney `json:"money,omitempty"`
	In       *OversightAuditMoney `json:"in,omitempty" doc:"In the currency of the figures, by the rate stored with the decision"`
	Rate     *govapi.GovRate      `json:"rate,omitempty" doc:"The rate used"`
}

// OversightAuditMoney is an amount with its currency.
type OversightAuditMoney struct {
	Amount   string `json:"amount" example:"5.00"`
	Currency string `json:"currency"`
}

func wireMoney(m governance.Money) OversightAuditMoney {
	return OversightAuditMoney{m.Amount(), m.Currency}
}

func wireSample(s findings.Sample) OversightAuditSample {
	out := OversightAuditSample{ID: s.ID.String(), At: s.At, Action: s.Action, Who: s.Who, Tenant: string(s.Tenant), Reason: s.Reason, Ticket: s.Ticket, Enforced: s.Enforced, Held: s.Held, Limit: string(s.Limit)}
	if s.Money.Currency != "" {
		m := wireMoney(s.Money)
		out.Money = &m
	}
	if s.In.Currency != "" {
		m := wireMoney(s.In)
		out.In = &m
	}
	if r := s.Rate; r != nil {
		out.Rate = &govapi.GovRate{From: r.From, To: r.To, Rate: fmt.Sprintf("%d.%06d", r.Micro/1e6, r.Micro%1e6), Date: r.Date, Source: r.Source}
	}
	return out
}

// OversightAuditShare is how many sensitive actions ran under a policy in force.
type OversightAuditShare struct {
	From     time.Time                 `json:"from"`
	To       time.Time                 `json:"to"`
	Enforced int                       `json:"enforced"`
	Total    int                       `json:"total"`
	Actions  []OversightAuditShareLine `json:"actions"`
}

// OversightAuditShareLine is the share of one action.
type OversightAuditShareLine struct {
	Action   string `json:"action"`
	Enforced int    `json:"enforced"`
	Total    int    `json:"total"`
}

func wireShare(s findings.Share) OversightAuditShare {
	out := OversightAuditShare{s.From, s.To, s.Enforced, s.Total, []OversightAuditShareLine{}}
	for _, l := range s.Actions {
		out.Actions = append(out.Actions, OversightAuditShareLine(l))
	}
	return out
}

// OversightAuditCredits is the credits and refunds of a period.
type OversightAuditCredits struct {
	From      time.Time                  `json:"from"`
	To        time.Time                  `json:"to"`
	Currency  string                     `json:"currency"`
	ByPerson  []OversightAuditCreditLine `json:"by_person"`
	ByReason  []OversightAuditCreditLine `json:"by_reason"`
	Total     OversightAuditCreditLine   `json:"total"`
	Unpriced  int                        `json:"unpriced" doc:"Counted, but in no sum: no rate was stored with their decision"`
	Unlimited int                        `json:"unlimited" doc:"Without any limit; they are counted as under"`
}

// OversightAuditCreditLine is the credits of one person, or for one reason.
type OversightAuditCreditLine struct {
	Key        string              `json:"key"`
	UnderCount int                 `json:"under_count"`
	Under      OversightAuditMoney `json:"under"`
	OverCount  int                 `json:"over_count"`
	Over       OversightAuditMoney `json:"over"`
}

func wireCredits(c findings.Credits) OversightAuditCredits {
	line := func(l findings.CreditLine) OversightAuditCreditLine {
		return OversightAuditCreditLine{l.Key, l.UnderCount, wireMoney(l.Under), l.OverCount, wireMoney(l.Over)}
	}
	out := OversightAuditCredits{From: c.From, To: c.To, Currency: c.Currency, ByPerson: []OversightAuditCreditLine{}, ByReason: []OversightAuditCreditLine{}, Total: line(c.Total), Unpriced: c.Unpriced, Unlimited: c.Unlimited}
	for _, l := range c.ByPerson {
		out.ByPerson = append(out.ByPerson, line(l))
	}
	for _, l := range c.ByReason {
		out.ByReason = append(out.ByReason, line(l))
	}
	return out
}

// OversightAuditApprovers is how approving works.
type OversightAuditApprovers struct {
	Waiting   int                      `json:"waiting" doc:"Asked for in the period and not decided"`
	Approvers []OversightAuditApprover `json:"approvers"`
	Quorums   []OversightAuditQuorum   `json:"quorums"`
}

// OversightAuditApprover is how one person decided.
type OversightAuditApprover struct {
	Person        string `json:"person"`
	Approved      int    `json:"approved"`
	Denied        int    `json:"denied"`
	MedianSeconds int64  `json:"median_seconds" doc:"From the request to the decision"`
	SlowSeconds   int64  `json:"slowest_seconds"`
	Fast          int    `json:"fast" doc:"Decided in less than ten seconds"`
}

// OversightAuditQuorum is who can fill one place of a policy now.
type OversightAuditQuorum struct {
	Policy string   `json:"policy"`
	Mode   string   `json:"mode" enum:"shadow,enforce"`
	Group  string   `json:"group"`
	Needed int      `json:"needed"`
	People []string `json:"people"`
	Spare  int      `json:"spare" doc:"How many of them may be missing before nobody can approve; one less when one of them asks"`
}

func wireHealth(h findings.Health) OversightAuditApprovers {
	out := OversightAuditApprovers{h.Waiting, []OversightAuditApprover{}, []OversightAuditQuorum{}}
	for _, a := range h.Approvers {
		out.Approvers = append(out.Approvers, OversightAuditApprover{string(a.Person), a.Approved, a.Denied, int64(a.Median.Seconds()), int64(a.Slowest.Seconds()), a.Fast})
	}
	for _, q := range h.Quorums {
		people := make([]string, len(q.People))
		for i, p := range q.People {
			people[i] = string(p)
		}
		out.Quorums = append(out.Quorums, OversightAuditQuorum{q.Policy, string(q.Mode), string(q.Group), q.Needed, people, q.Spare})
	}
	return out
}
