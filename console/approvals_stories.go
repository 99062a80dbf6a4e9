package console

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

func approvalStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	day := governance.Duration{Duration: 24 * time.Hour}
	a := governance.Approval{
		ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"), Action: "tenant.credit", Resource: "tenant/acme", Digest: "sha256:9f2c4f6b1c0d8a7e5f3b2a1908172635445362718091a2b3c4d5e6f708192a3b",
		State: governance.StatePending, Requester: governance.Actor{ID: "user:sam", Name: "Sam Ortiz", Person: "sam"}, Reason: "Outage of 14 November, agreed with their CTO", Ticket: "SUP-4182",
		Measures: []governance.Measure{{Unit: "EUR.cent", Value: 70000}}, Preview: json.RawMessage(`{"before":{"balance":{"amount":"400.00","currency":"EUR"},"credits":2,"plan":"scale"},"after":{"balance":{"amount":"1100.00","currency":"EUR"},"credits":3,"plan":"scale","note":"Outage"}}`),
		Input: json.RawMessage(`{"amount":{"amount":"700.00","currency":"EUR"},"tenant":"acme"}`), CreatedAt: at, DecideBy: at.Add(24 * time.Hour),
		Decision: governance.Decision{Policies: []governance.PolicyHit{{Policy: "credit-daily", Version: 3, Mode: governance.Enforce, Effect: governance.Hold, Why: "over the limit",
			Limits: []governance.LimitHit{{Key: "credit-daily|0|EUR.cent|tenant|acme", Unit: "EUR.cent", Sum: 40000, Amount: 70000, Max: 100000, Window: day, Exceeds: true,
				Rate: &governance.Rate{From: "USD", To: "EUR", Micro: 921500, Date: "2026-11-22", Source: "ECB"}}}}}},
		Missing: []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
		Votes:   []governance.CastVote{{Vote: governance.Vote{Decision: governance.Approve, Comment: "Matches the incident report."}, Actor: governance.Actor{Name: "Dana Weiss"}, Groups: []governance.GroupID{"gov_approver"}, At: at.Add(time.Hour)}},
	}
	c := storyCtx()
	page := func(change func(*governance.Approval, *approvalPage)) View {
		b := a
		pre := approvalPage{}
		change(&b, &pre)
		p := newApprovalPage(c, b)
		p.WhyNoYes, p.Settle = pre.WhyNoYes, settleForm(c, b)
		p.CanVote, p.WhyNot, p.Execute, p.CanCancel = pre.CanVote, pre.WhyNot, pre.Execute, pre.CanCancel
		return approvalView("Tenant credit: €700.00 for Acme GmbH", p)
	}
	long := page(func(b *governance.Approval, p *approvalPage) {
		b.Reason = strings.Repeat("A very long reason that somebody pasted from a chat. ", 12)
		b.Resource = "tenant/" + strings.Repeat("x", 120)
		p.WhyNot = "you asked for this"
	})
	bad := page(func(_ *governance.Approval, p *approvalPage) { p.CanVote = true })
	list := func(rows []approvalRow, e Empty) View {
		return View{Title: "Approvals", Template: "approvals_list", Tabs: []Tab{{Title: "Waiting for me", Href: "/approvals?show=mine", Current: true, Count: len(rows)}, {Title: "Open", Href: "/approvals?show=open"}}, Data: approvalListPage{Rows: rows, Empty: e}}
	}
	purge := a
	purge.Action, purge.Tenant, purge.Resource, purge.Measures, purge.Votes = "retention.purge", "", "retention_plan/0192d0a1", []governance.Measure{{Unit: "rows", Value: 9379}}, nil
	purge.Preview = json.RawMessage(`{"as_of":"2026-11-23T09:00:00Z","source":"crm-tickets","exceptions":[{"country":"DE","count":9,"state":"held","sample":[[6306,1],[8106,1]]},{"country":"FR","count":29,"state":"held"}]}`)
	done := a
	done.State, done.ExecutedAt, done.Result = governance.StateExecuted, at.Add(2*time.Hour), json.RawMessage(`{"balance":{"amount":"1100.00","currency":"EUR"}}`)
	return []Story{
		{Name: "approvals, none", View: list(nil, Empty{Icon: "check", Title: "Nothing waits for you", Text: "When a policy asks for your decision, it stands here."})},
		{Name: "approvals, rows", View: list([]approvalRow{{Approval: a, Title: "Tenant credit: €700.00", Tenant: "Acme GmbH", Asked: "Sam Ortiz", Why: "credit-daily", Votes: "1 of 2", Mine: true, Overdue: true},
			{Approval: done, Title: "Tenant plan downgrade", Tenant: strings.Repeat("Long name ", 8), Asked: "Kim", Why: "downgrade", Votes: "2 of 2"}}, Empty{})},
		{Name: "approval, may vote", View: page(func(_ *governance.Approval, p *approvalPage) { p.CanVote, p.CanCancel = true, true })},
		{Name: "approval, to be signed", View: page(func(b *governance.Approval, p *approvalPage) {
			b.Decision.Require = []governance.Require{{Signed: true}}
			p.CanVote = true
		})},
		{Name: "approval, to be signed, without a key", View: page(func(b *governance.Approval, p *approvalPage) {
			b.Decision.Require = []governance.Require{{Signed: true}}
			p.CanVote, p.WhyNoYes = true, "the policy wants your vote signed, and you have no security key registered"
		})},
		{Name: "approval of a purge", View: approvalView("Retention purge: 9,379 rows", newApprovalPage(c, purge))},
		{Name: "approval, may not vote, long text", View: long},
		{Name: "approval, form came back", View: bad, Errors: []FieldError{{"comment", "has more than 2000 bytes"}}},
		{Name: "approval, failed after approval", View: page(func(b *governance.Approval, p *approvalPage) {
			b.State, b.Error, b.DecidedAt = governance.StateFailed, "timed out", at.Add(time.Hour)
			p.WhyNot, p.Execute = "it is failed", &Button{Text: "Try again", Post: "/approvals/x/execute", Kind: "primary"}
		})},
		{Name: "approval, ended nobody knows how", View: page(func(b *governance.Approval, p *approvalPage) {
			b.State, b.Remote, b.Error, b.DecidedAt = governance.StateUnknown, true, "timed out", at.Add(time.Hour)
			p.WhyNot = "it is unknown"
		})},
		{Name: "approval, executed", View: approvalView("Tenant credit: €700.00 for Acme GmbH", newApprovalPage(c, done))},
		{Name: "approval, nothing measured, right to left", RTL: true, View: page(func(b *governance.Approval, p *approvalPage) {
			b.Measures, b.Preview, b.Decision, b.Votes = nil, json.RawMessage("null"), governance.Decision{}, nil
			p.CanVote = true
		})},
	}
}
